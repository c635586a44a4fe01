"""Which message of the best tier: shares of 2^30 from what each is thought to be worth.

    best       the largest rank, ties shared
    softmax    exp(rank / temperature)
    thompson   the probability that value x rate is the largest, with the posterior of the rate; a message whose rate is
               known takes part with its rank, one that can never be the largest has none

The Beta of a message with several variants is the one with the mean and deviation of their sum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from engine.compiler.model import Arbitration
from engine.compiler.sections_arbitration import ARBITRATIONS
from engine.learning.best import best_of_betas, best_of_normals
from engine.learning.ranks import Worth
from engine.learning.shares import shares_of

_PARTS = ("temperature", "floor")
_LEAST = 1e-300  # whatever may be taken has its floor; without one, a unit
_SHARP = 1e-4  # deviation of a known rank among uncertain ones: of its logit, or of the sharpest of them
_STRENGTH_MAX = 1e10  # trials: beyond it the densities of Betas lose their digits
_MANY, _FAR = 12, 8.0  # of more than so many, those so many deviations below another's
_EDGE = 1e-9  # of a rate: nearer to 0 or 1 nobody can tell


def written(arbitration: Arbitration) -> str:
    """As the log has it: "" for best, else as `softmax temperature=0.1 floor=0.01`, numbers exactly."""
    parts = [f"{name}={value!r}" for name in _PARTS if (value := getattr(arbitration, name))]
    return " ".join((arbitration.kind, *parts)) if arbitration.kind != "best" else ""


def read(text: str) -> Arbitration:
    """The other way round. Raises ValueError where it is none."""
    kind, *parts = text.split(" ") if text else ("best",)
    values = {name: float(value) for name, _, value in (part.partition("=") for part in parts)}
    if (
        kind not in ARBITRATIONS
        or not set(values) <= set(_PARTS)
        or any(not 0.0 < v < math.inf for v in values.values())
    ):
        raise ValueError(f"'{text[:60]}' is no arbitration")
    if (kind == "softmax") != ("temperature" in values):
        raise ValueError(f"'{text[:60]}' is no arbitration: a temperature is softmax's")
    return Arbitration(kind, **values)


def message_shares(arbitration: Arbitration, worths: Sequence[Worth], keys: Sequence[int]) -> tuple[int, ...]:
    """Shares of the candidates of one tier; `keys` are hashes of their names, by which ties of rounding go."""
    if arbitration.kind == "best":
        most = max(w.rank for w in worths)
        weights = [1.0 if w.rank == most else 0.0 for w in worths]
    elif arbitration.kind == "softmax":
        most = max(w.rank for w in worths)
        weights = [max(math.exp((w.rank - most) / arbitration.temperature), _LEAST) for w in worths]
    else:
        weights = largest(worths)
    return shares_of(tuple(weights), arbitration.floor, tuple(keys))


def largest(worths: Sequence[Worth]) -> list[float]:
    """The probability of each to be the largest, to about 1e-3; of uncertain ones never quite zero."""
    known = [w.rank for w in worths if w.known]
    bar = max(known, default=-math.inf)
    weights = [0.0 if w.known else _LEAST for w in worths]
    rivals = _rivals(worths, bar)
    at_bar = 1.0
    if rivals:
        those = [worths[k] for k in rivals]
        plain = not any(w.normal or w.value < 0.0 for w in those)
        chances, at_bar = _of_betas(those, bar) if plain else _of_normals(those, bar)
        for k, chance in zip(rivals, chances, strict=True):
            weights[k] = max(chance, _LEAST)
    for k, w in enumerate(worths):
        if w.known and w.rank == bar:
            weights[k] = at_bar / known.count(bar)
    return weights


def _rivals(worths: Sequence[Worth], bar: float) -> list[int]:
    """The uncertain ones. Of many those that are far below another are left out: the time goes by their square."""
    those = [k for k, w in enumerate(worths) if not w.known]
    if len(those) <= _MANY:
        return those
    ends = [(w.rank, _FAR * abs(w.value) * w.deviation) for w in (worths[k] for k in those)]
    least = max(bar, max(rank - far for rank, far in ends))
    return [k for k, (rank, far) in zip(those, ends, strict=True) if rank + far >= least]


def _of_normals(worths: Sequence[Worth], bar: float) -> tuple[Sequence[float], float]:
    """Chances of the uncertain ones, and that none of them reaches the bar."""
    means = [w.rank for w in worths]
    deviations = [abs(w.value) * w.deviation for w in worths]
    if bar == -math.inf:
        return best_of_normals(tuple(means), tuple(deviations)), 0.0
    *chances, at_bar = best_of_normals((*means, bar), (*deviations, min(deviations) * _SHARP))
    return chances, at_bar


def _of_betas(worths: Sequence[Worth], bar: float) -> tuple[Sequence[float], float]:
    """The same of Betas: what is known takes part as a very sharp one."""
    pairs = [_beta(w) for w in worths]
    values = [w.value for w in worths]
    most = max(values)
    if bar >= most:
        return [0.0] * len(worths), 1.0
    alphas, betas = [a for a, _ in pairs], [b for _, b in pairs]
    if bar <= 0.0:  # each of them is worth more
        return best_of_betas(tuple(alphas), tuple(betas), tuple(values)), 0.0
    part = min(max(bar / most, _EDGE), 1.0 - _EDGE)
    strength = min(1.0 / (_SHARP**2 * part * (1.0 - part)), _STRENGTH_MAX)
    sharp = (part * strength, (1.0 - part) * strength)
    *chances, at_bar = best_of_betas((*alphas, sharp[0]), (*betas, sharp[1]), (*values, most))
    return chances, at_bar


def _beta(worth: Worth) -> tuple[float, float]:
    """The Beta with this mean and deviation."""
    rate = min(max(worth.rate, _EDGE), 1.0 - _EDGE)
    strength = min(max(rate * (1.0 - rate) / worth.deviation**2 - 1.0, _EDGE), _STRENGTH_MAX)
    return rate * strength, (1.0 - rate) * strength
