"""Which trials reports are on: those of a decision's id. An event id that was used again has several."""

from __future__ import annotations

import numpy as np

from engine.readout.log import I64, U64


class Decided:
    """Trials by `log.decision_keys`."""

    def __init__(self, keys: U64) -> None:
        self._order: I64 = np.argsort(keys)
        ordered = keys[self._order]
        new = np.ones(len(keys), np.bool_)
        new[1:] = ordered[1:] != ordered[:-1]
        self._begin = np.flatnonzero(new)
        self._count = np.diff(self._begin, append=len(keys))
        self._keys = ordered[new]

    def of(self, reports: U64) -> tuple[I64, I64]:
        """The rows of reports and of trials: each report, in their order, with every trial of its id.

        It counts for those that were in the log before it, as `learning.fold` has it; these are not left out here.
        """
        at = np.searchsorted(self._keys, reports)
        at[at == len(self._keys)] = 0
        known = np.flatnonzero(self._keys[at] == reports) if len(self._keys) else np.zeros(0, np.int64)
        at = at[known]
        count = self._count[at]
        ends = np.cumsum(count)
        place = np.arange(int(count.sum())) - np.repeat(ends - count, count)
        return np.repeat(known, count), self._order[np.repeat(self._begin[at], count) + place]
