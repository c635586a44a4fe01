"""Shares of variants by message and the variants that fit: worked out once per snapshot, for kernels to find."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from engine.columns.rates import Rates
from engine.columns.tables import VARIANTS_MAX
from engine.compiler.sections_learning import LINEAR
from engine.kernels.filters import share_slot
from engine.kernels.messages import OVER, SHARE_FIT, SHARE_M, SHARE_MODEL, SHARE_VERSION, SHARES_FROM
from engine.learning.enrolment import Assignment, assigned_shares, fallback
from engine.learning.policies import learnt_message
from engine.learning.posteriors import Posteriors
from engine.plan import MessageStep

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
ROWS_MAX = 1 << 16
_MODELS_MAX = 1 << 23  # doubles, 64 MB


def most_variants(steps: Sequence[MessageStep]) -> int:
    """How many variants a message has at most, of those that kernels decide."""
    return min(max((len(step.message.variants) for step in steps), default=1), VARIANTS_MAX)


class ShareTable:
    """The shares that one snapshot of what was learnt gives. Rows as in `kernels.messages.Given.shares`.

    Those of a linear policy depend on the event as well: a row says where its model lies in `models`.
    """

    def __init__(self, posteriors: Posteriors, steps: Sequence[MessageStep]) -> None:
        self.posteriors = posteriors
        self._steps = steps
        self._width = SHARES_FROM + most_variants(steps)
        self.rates = Rates()
        self._known: dict[tuple[int, int, str, Assignment], int] = {}
        self.rows: I64 = np.zeros((64, self._width), np.int64)
        self.slots = np.full(128, -1, np.int32)
        self.models: F64 = np.zeros(1)
        self._models_end = 0

    @property
    def full(self) -> bool:
        """More is kept than is wanted: a new table is due."""
        return len(self._known) > ROWS_MAX or self._models_end > _MODELS_MAX

    def row(self, m: int, fit: int, segment: str, own: bool, how: Assignment = Assignment.POLICY) -> int:
        """The row of a message, its fitting variants (bits), and the customer's segment and assignment."""
        key = (m, fit, segment, how)
        found = self._known.get(key)
        if found is None:
            found = len(self._known)
            if found == len(self.rows):
                self.rows = np.concatenate((self.rows, np.zeros_like(self.rows)))
                self._spread(2 * len(self.slots))
            self.rows[found] = self._made(found, m, fit, segment, how)
            if not own:
                self._put(found, m, fit)
            self._known[key] = found  # where it could not be made, it is tried again
        return found

    def _made(self, found: int, m: int, fit: int, segment: str, how: Assignment) -> I64:
        step = self._steps[m]
        places = [k for k in range(len(step.message.variants)) if fit >> k & 1]
        names = list(step.message.variants)
        fitting = [names[k] for k in places]
        row = np.zeros(self._width, np.int64)
        row[:SHARES_FROM] = m, fit, self.posteriors.version, -1
        if step.policy is not None and step.policy.kind in LINEAR and how is Assignment.POLICY:
            owner = learnt_message(step.policy, step.message.name)
            row[SHARE_MODEL] = self._kept(self.posteriors.model(step.policy, owner, segment, tuple(fitting)).packed)
            return row
        shares = assigned_shares(step.policy, how, step.message.name, segment, fitting, self.posteriors)
        self.rates.add(found, step, segment, fitting, shares.shares, self.posteriors, how)
        row[SHARE_VERSION] = shares.version
        if step.policy is not None and how is not Assignment.POLICY:
            enrolment = step.policy.enrolment
            unfit = enrolment is not None and not how.in_trial and fallback(enrolment, how) not in ("", *fitting)
            row[SHARE_VERSION] = -how - (OVER if unfit else 0)
        row[[SHARES_FROM + k for k in places]] = shares.shares
        return row

    def _kept(self, model: F64) -> int:
        """Where a model lies from now on."""
        begin, self._models_end = self._models_end, self._models_end + len(model)
        if self._models_end > len(self.models):
            more = np.zeros(max(self._models_end, len(self.models)))
            self.models = np.concatenate((self.models, more))
        self.models[begin : self._models_end] = model
        return begin

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
            self._put(row, int(self.rows[row, SHARE_M]), int(self.rows[row, SHARE_FIT]))
