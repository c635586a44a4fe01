"""Linear bandits: the reward of a variant as a linear function of a context, one function per variant.

    linear_thompson   the probability to be the best, of normal posteriors (Agrawal & Goyal 2013)
    linucb            the largest mean + explore x deviation (Li et al. 2010, disjoint)

The context is 1 and the policy's expressions, as integers of 1 / X_UNIT within LIMIT, so that sums do not depend on
their order. Sums ("moments") of an arm, d being the context's length: the upper half of the sum of x x' by rows, in
X_UNIT squared (a rounded one could stop being positive definite), then the sum of reward x x, in REWARD_UNIT.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.compiler.model import Learning
from engine.kernels.best import best_of_normals, linear_scores

F64 = npt.NDArray[np.float64]

REWARD_UNIT = 1 << 20  # rewards are summed as integers of this part of the best possible one
X_UNIT = 1 << 10
LIMIT = 16


def context_of(values: Sequence[object]) -> tuple[int, ...]:
    """A context from the values of its expressions; what is missing or not finite counts nothing."""
    found = [X_UNIT]
    for value in values:
        number = float(value) if isinstance(value, (int, float)) else 0.0
        if -LIMIT <= number <= LIMIT:
            found.append(round(number * X_UNIT))
        else:
            found.append((LIMIT if number > 0.0 else -LIMIT) * X_UNIT if math.isfinite(number) else 0)
    return tuple(found)


def moments_of(context: Sequence[int], reward: int) -> list[int]:
    """What one closed trial adds; `reward` in REWARD_UNIT."""
    products = [a * b for i, a in enumerate(context) for b in context[i:]]
    return products + [a * reward // X_UNIT for a in context]


def moments_size(d: int) -> int:
    """How many sums an arm has."""
    return d * (d + 1) // 2 + d


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """Posteriors of some arms: `centre` (k, d) coefficients, `spread` (k, d, d) inverse precisions."""

    centre: F64
    spread: F64

    def weights(self, kind: str, learning: Learning, context: Sequence[int], values: Sequence[float]) -> list[float]:
        """A weight for each arm."""
        x = np.array(context, np.float64) / X_UNIT
        k = len(self.centre)
        means, deviations, best = np.empty(k), np.empty(k), np.empty(k)
        linear_scores(x, self.centre, self.spread, learning.explore, np.array(values, np.float64), means, deviations)
        if kind == "linear_thompson":
            best_of_normals(means, deviations, best)
            return [float(p) for p in best]
        bounds = means + deviations
        return [float(b) for b in bounds == bounds.max()]


def model(learning: Learning, d: int, moments: Sequence[F64]) -> Model:
    """Ridge regression per arm: `prior_weight` is the precision of each coefficient before anything was seen, the
    first coefficient is then thought to be `prior_rate`, the others nothing."""
    k, half = len(moments), d * (d + 1) // 2
    precision, right = np.zeros((k, d, d)), np.zeros((k, d))
    rows, columns = np.triu_indices(d)
    for arm, sums in enumerate(moments):
        precision[arm, rows, columns] = precision[arm, columns, rows] = sums[:half] / X_UNIT**2
        right[arm] = sums[half:] / REWARD_UNIT
    precision += learning.prior_weight * np.eye(d)
    right[:, 0] += learning.prior_weight * learning.prior_rate
    spread = np.linalg.inv(precision)
    return Model(np.einsum("kij,kj->ki", spread, right), np.ascontiguousarray(spread))
