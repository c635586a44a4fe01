"""The twin of `engine.kernels.best`: the probability of each arm to be the best one, on fine grids, by numpy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]

_POINTS = 512  # of each arm
_SPREAD = 12.0  # standard deviations covered on either side
_FINE = np.linspace(-_SPREAD, _SPREAD, _POINTS)


def best_of_betas(
    alphas: tuple[float, ...], betas: tuple[float, ...], values: tuple[float, ...] = ()
) -> tuple[float, ...]:
    """For arms with rates that are Beta(alpha, beta), each rate worth its value (above zero; none: all alike).

    In the logit of the rate a Beta density is smooth with exponential tails: a fine grid is exact enough (2e-4).
    """
    if len(alphas) == 1:
        return (1.0,)
    a, b = np.array(alphas)[:, None], np.array(betas)[:, None]
    centre = np.log(a / b)
    spread = np.sqrt(1.0 / a + 1.0 / b)
    if len(set(values)) <= 1:  # every arm's own range, so that a sharp arm beside a wide one is seen as finely
        z = np.unique(_own(a, b, centre, spread))
        return _best(_cumulative(_log_betas(a, b, z), z))
    own = _own(a, b, centre, spread)
    x = np.array(values)[:, None] / (1.0 + np.exp(-own))
    together = np.unique(x)
    rows = [
        np.interp(together, x[i], _cumulative(_log_betas(a[i], b[i], own[i])[None], own[i])[0], 0.0, 1.0)
        for i in range(len(a))
    ]
    return _best(np.array(rows))


def best_of_normals(means: tuple[float, ...], deviations: tuple[float, ...]) -> tuple[float, ...]:
    """For arms that are worth Normal(mean, deviation)."""
    if len(means) == 1:
        return (1.0,)
    mean, deviation = np.array(means)[:, None], np.array(deviations)[:, None]
    x = np.unique(mean + deviation * _FINE)
    return _best(_cumulative(-0.5 * ((x - mean) / deviation) ** 2, x))


def _own(a: F64, b: F64, centre: F64, spread: F64) -> F64:
    """Logits by arm: finely around its middle, and as far as its tails go."""
    far = np.maximum(spread * _SPREAD, 16.0 / np.minimum(a, b)) * np.linspace(-1.0, 1.0, 2 * _POINTS)
    return np.sort(np.concatenate([centre + spread * _FINE, centre + far], axis=1), axis=1)


def _log_betas(a: F64, b: F64, z: F64) -> F64:
    """Log densities in the logit, up to a constant."""
    return np.asarray(a * z - (a + b) * np.logaddexp(0.0, z))


def _cumulative(log_density: F64, x: F64) -> F64:
    """Distribution functions at `x`, a row each, from log densities up to a constant."""
    density = np.exp(log_density - log_density.max(axis=1, keepdims=True))
    pieces = 0.5 * (density[:, 1:] + density[:, :-1]) * np.diff(x)
    cumulative = np.concatenate([np.zeros((len(density), 1)), np.cumsum(pieces, axis=1)], axis=1)
    return np.asarray(cumulative / cumulative[:, -1:])


def _best(cumulative: F64) -> tuple[float, ...]:
    best = np.empty(len(cumulative))
    for i in range(len(cumulative)):
        # the others' distribution functions, averaged over the mass of i
        others = np.delete(cumulative, i, axis=0).prod(axis=0)
        best[i] = (0.5 * (others[1:] + others[:-1]) * np.diff(cumulative[i])).sum()
    return tuple((best / best.sum()).tolist())
