"""The probability of each arm to be the best one: Thompson sampling's probabilities, computed instead of sampled.

Thompson, Biometrika 1933; `engine.kernels.best` and `engine.kernels.normals` have how. The same few sets of arms come
again and again.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from engine.kernels import best as kernel
from engine.kernels import normals


@lru_cache(maxsize=65536)
def best_of_betas(
    alphas: tuple[float, ...], betas: tuple[float, ...], values: tuple[float, ...] = ()
) -> tuple[float, ...]:
    """For arms with rates that are Beta(alpha, beta), each rate worth its value (above zero; none: all alike)."""
    out = np.empty(len(alphas))
    worth = values or (1.0,) * len(alphas)
    kernel.best_of_betas(np.array(alphas), np.array(betas), np.array(worth), out)
    return tuple(out.tolist())


@lru_cache(maxsize=65536)
def best_of_normals(means: tuple[float, ...], deviations: tuple[float, ...]) -> tuple[float, ...]:
    """For arms that are worth Normal(mean, deviation)."""
    k = len(means)
    out = np.empty(k)
    normals.best_of_normals(
        np.array(means), np.array(deviations), k, *np.empty((2, k, normals.POINTS)), np.empty(normals.POINTS), out
    )
    return tuple(out.tolist())
