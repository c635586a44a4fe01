"""Shares of variants by message and the variants that fit: worked out once per snapshot, for kernels to find."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from engine.columns.rates import Rates
from engine.columns.tables import VARIANTS_MAX
from engine.kernels.filters import share_slot
from engine.kernels.messages import OVER
from engine.learning.enrolment import Assignment, assigned_shares, fallback
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
        self._known: dict[tuple[int, int, str, Assignment], int] = {}
        self.rows: I64 = np.zeros((64, self._width), np.int64)
        self.slots = np.full(128, -1, np.int32)

    @property
    def full(self) -> bool:
        """More rows than are kept: a new table is due."""
        return len(self._known) > ROWS_MAX

    def row(self, m: int, fit: int, segment: str, own: bool, how: Assignment = Assignment.POLICY) -> int:
        """The row of a message, its fitting variants (bits), and the customer's segment and assignment."""
        key = (m, fit, segment, how)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = len(self._known)
            if found == len(self.rows):
                self.rows = np.concatenate((self.rows, np.zeros_like(self.rows)))
                self._spread(2 * len(self.slots))
            self.rows[found] = self._made(m, fit, segment, how)
            if not own:
                self._put(found, m, fit)
        return found

    def _made(self, m: int, fit: int, segment: str, how: Assignment) -> I64:
        step = self._steps[m]
        places = [k for k in range(len(step.message.variants)) if fit >> k & 1]
        names = list(step.message.variants)
        fitting = [names[k] for k in places]
        shares = assigned_shares(step.policy, how, step.message.name, segment, fitting, self.posteriors)
        self.rates.add(len(self._known) - 1, step, segment, fitting, shares.shares, self.posteriors, how)
        version = shares.version
        if step.policy is not None and how is not Assignment.POLICY:
            enrolment = step.policy.enrolment
            unfit = enrolment is not None and not how.in_trial and fallback(enrolment, how) not in ("", *fitting)
            version = -how - (OVER if unfit else 0)
        row = np.zeros(self._width, np.int64)
        row[:3] = m, fit, version
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
