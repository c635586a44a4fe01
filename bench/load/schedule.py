"""When calls are sent: fixed before the run, so that a slow server cannot slow its own load."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

ARRIVALS = ("constant", "poisson")


def send_times(rate: float, seconds: float, arrivals: str, seed: int) -> npt.NDArray[np.int64]:
    """Nanoseconds from the start, ascending: `rate` calls a second, evenly or as independent customers come.

    At least one.
    """
    count = max(1, round(rate * seconds))
    if arrivals == "constant":
        return (np.arange(count) * (1e9 / rate)).astype(np.int64)
    gaps = np.random.default_rng(seed).exponential(1e9 / rate, count)
    return np.cumsum(gaps).astype(np.int64)
