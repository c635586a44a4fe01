"""Latencies in a histogram of fixed size: HdrHistogram's layout with three significant digits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_BITS = 11  # 2048 steps a doubling: a value is off by at most 1 in 1,000
_HALF = 1 << (_BITS - 1)
_DOUBLINGS = 38  # up to 2^48 ns: three days
QUANTILES = (0.5, 0.9, 0.99, 0.999, 0.9999)


class Histogram:
    """Counts of nanoseconds. Histograms of several clients add up."""

    __slots__ = ("counts", "largest", "total")

    def __init__(self) -> None:
        self.counts: npt.NDArray[np.int64] = np.zeros((_DOUBLINGS + 1) * _HALF + _HALF, np.int64)
        self.total = 0
        self.largest = 0

    def record(self, ns: npt.NDArray[np.int64]) -> None:
        """Takes in latencies; below 0 counts as 0."""
        if not len(ns):
            return
        ns = np.clip(ns, 0, (1 << (_BITS + _DOUBLINGS - 1)) - 1)
        np.add.at(self.counts, _places(ns), 1)
        self.total += len(ns)
        self.largest = max(self.largest, int(ns.max()))

    def add(self, other: Histogram) -> None:
        """Takes in another histogram."""
        self.counts += other.counts
        self.total += other.total
        self.largest = max(self.largest, other.largest)

    def quantile(self, share: float) -> int:
        """The least latency that `share` of the calls do not exceed, in ns; 0 where nothing was recorded."""
        if not self.total:
            return 0
        wanted = min(self.total, max(1, int(np.ceil(share * self.total - 1e-9))))
        place = int(np.searchsorted(np.cumsum(self.counts), wanted))
        return min(self.largest, _highest(place))

    def mean(self) -> float:
        """In ns, by the middle of each step."""
        places = np.flatnonzero(self.counts)
        return float(sum(_highest(int(p)) * int(self.counts[p]) for p in places)) / max(1, self.total)

    def curve(self) -> list[tuple[float, float]]:
        """(quantile, milliseconds) from the median's side to the last call, for a chart."""
        shares = [1 - 10 ** (-k / 10) for k in range(61)]
        shares = [s for s in shares if s <= 1 - 1 / max(2, self.total)]
        return [(s, self.quantile(s) / 1e6) for s in shares] + [(1.0, self.largest / 1e6)]


def _places(ns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    _, exponent = np.frexp(ns.astype(np.float64))
    shift = np.maximum(exponent - _BITS, 0).astype(np.int64)
    places: npt.NDArray[np.int64] = shift * _HALF + (ns >> shift)
    return places


def _highest(place: int) -> int:
    """The largest value that falls into a place."""
    if place < 2 * _HALF:
        return place
    shift, low = place // _HALF - 1, place % _HALF + _HALF
    return ((low + 1) << shift) - 1
