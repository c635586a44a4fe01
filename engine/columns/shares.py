"""Shares of variants by message and the variants that fit: worked out once per snapshot, for kernels to find."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from engine.columns.rates import Rates
from engine.columns.tables import VARIANTS_MAX
from engine.kernels.filters import share_slot
from engine.learning.policies import variant_shares
from engine.learning.posteriors import Posteriors
from engine.plan import MessageStep

I64 = npt.NDArray[np.int64]
ROWS_MAX = 1 << 16


class ShareTable:
    """The shares that one snapshot of what was learnt gives. Rows as in `kernels.messages.Given.shares`."""

    def __init__(self, posteriors: Posteriors, steps: Sequence[MessageStep]) -> None:
        self.posteriors = posteriors
        self._steps = steps
        most = max((len(step.message.variants) for step in steps), default=1)
        self._width = 3 + min(most, VARIANTS_MAX)
        self.rates = Rates()
        self._known: dict[tuple[int, int, str], int] = {}
        self.rows: I64 = np.zeros((64, self._width), np.int64)
        self.slots = np.full(128, -1, np.int32)

    @property
    def full(self) -> bool:
        """More rows than are kept: a new table is due."""
        return len(self._known) > ROWS_MAX

    def row(self, m: int, fit: int, segment: str, own: bool) -> int:
        """The row of a message, its fitting variants (bits) and the customer's segment."""
        key = (m, fit, segment)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = len(self._known)
            if found == len(self.rows):
                self.rows = np.concatenate((self.rows, np.zeros_like(self.rows)))
                self._spread(2 * len(self.slots))
            self.rows[found] = self._made(m, fit, segment)
            if not own:
                self._put(found, m, fit)
        return found

    def _made(self, m: int, fit: int, segment: str) -> I64:
        step = self._steps[m]
        places = [k for k in range(len(step.message.variants)) if fit >> k & 1]
        names = list(step.message.variants)
        shares = variant_shares(step.policy, step.message.name, segment, [names[k] for k in places], self.posteriors)
        self.rates.add(len(self._known) - 1, step, segment, [names[k] for k in places], shares.shares, self.posteriors)
        row = np.zeros(self._width, np.int64)
        row[:3] = m, fit, shares.version
        row[[3 + k for k in places]] = shares.shares
        return row

    def _put(self, row: int, m: int, fit: int) -> None:
        slot = int(share_slot(m, fit, self.slots))
        while self.slots[slot] >= 0:
            slot = (slot + 1) % len(self.slots)
        self.slots[slot] = row

    def _spread(self, size: int) -> None:
        """Slots anew, at most half of them taken."""
        taken = self.slots[self.slots >= 0]
        self.slots = np.full(size, -1, np.int32)
        for row in taken.tolist():
            self._put(row, int(self.rows[row, 0]), int(self.rows[row, 1]))
