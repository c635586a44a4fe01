"""What messages that rank by what they learn have learnt, by row of their shares, and how the log tells it."""

from __future__ import annotations

from collections.abc import Sequence

import msgpack
import numpy as np
import numpy.typing as npt

from engine.learning.enrolment import Assignment
from engine.learning.posteriors import Posteriors
from engine.learning.ranks import learnt_worth
from engine.plan import MessageStep

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
U8 = npt.NDArray[np.uint8]


class Rates:
    """Of the rows of one `ShareTable`, those of messages with `rank: learned`, as in `kernels.messages.Given`."""

    def __init__(self) -> None:
        self.rates: F64 = np.zeros((64, 2))
        self.spans: I64 = np.zeros((64, 3), np.int64)
        self.texts: U8 = np.zeros(4096, np.uint8)
        self._end = 0

    def add(
        self,
        row: int,
        step: MessageStep,
        segment: str,
        variants: Sequence[str],
        shares: Sequence[int],
        posteriors: Posteriors,
        how: Assignment,
    ) -> None:
        """The rate of a message with these shares, which it has by `how`."""
        if not step.message.learned or step.policy is None or step.context or not any(shares):
            return
        worth = learnt_worth(step.policy, step.message.name, 1.0, segment, variants, shares, posteriors)
        while row >= len(self.rates):
            self.rates = np.concatenate((self.rates, np.zeros_like(self.rates)))
            self.spans = np.concatenate((self.spans, np.zeros_like(self.spans)))
        self.rates[row] = worth.value, worth.rate
        ahead = b"".join(msgpack.packb(part) for part in (posteriors.version, segment, ",".join(variants), ""))
        behind = b"".join(msgpack.packb(part) for part in (*worth[1:], int(how)))
        self.spans[row] = self._put(ahead), self._end, self._put(behind) + len(behind)

    def _put(self, piece: bytes) -> int:
        begin, end = self._end, self._end + len(piece)
        while end > len(self.texts):
            self.texts = np.concatenate((self.texts, np.zeros_like(self.texts)))
        self.texts[begin:end] = np.frombuffer(piece, np.uint8)
        self._end = end
        return begin
