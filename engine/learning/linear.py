"""Linear bandits: the reward of a variant as a linear function of a context, one function per variant.

    linear_thompson   the probability to be the best, of normal posteriors (Agrawal & Goyal 2013)
    linucb            the largest mean + explore x deviation (Li et al. 2010, disjoint and hybrid)

The context is 1 and the policy's expressions, as integers of 1 / X_UNIT within LIMIT, so that sums do not depend on
their order. Sums ("moments") of an arm, d being the context's length: the upper half of the sum of x x' by rows, in
X_UNIT squared (a rounded one could stop being positive definite), then the sum of reward x x, in REWARD_UNIT.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.compiler.model import Policy
from engine.identity import name_hash
from engine.kernels import linear as kernel
from engine.kernels.direct import direct

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

X_UNIT = kernel.X_UNIT
REWARD_UNIT = 1 << 20  # rewards are summed as integers of this part of the best possible one
LIMIT = kernel.X_LIMIT
_LEAST_EXPLORE = 1e-6
_linear_shares = direct(kernel.linear_shares)  # always called with the same types


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
    """What is thought of some arms, as `kernels.linear` has it. For one thread: `context` and `room` are used again."""

    packed: F64
    context: I64
    room: kernel.Room
    drawn: I64

    def shares(self, context: Sequence[int]) -> tuple[int, ...]:
        """Shares of 2^30, an arm each. What a context lacks counts nothing."""
        self._take(context)
        _linear_shares(self.packed, self.context, self.room, self.drawn)
        return tuple(self.drawn.tolist())

    def scores(self, context: Sequence[int]) -> tuple[list[float], list[float]]:
        """Mean and deviation of each arm's worth (rate x value), the policy's exploration included."""
        self._take(context)
        kernel.linear_scores(self.packed, self.context, self.room)
        return self.room.means.tolist(), self.room.deviations.tolist()

    def _take(self, context: Sequence[int]) -> None:
        taken = min(len(context), len(self.context))
        self.context[:taken] = context[:taken]
        self.context[taken:] = 0


def model(policy: Policy, variants: Sequence[str], moments: Mapping[str, F64]) -> Model:
    """Ridge regression per variant: `prior_weight` is the precision of each coefficient before anything was seen, the
    first coefficient is then thought to be `prior_rate`, the others nothing. Variants of a hybrid have something
    in common, learnt from all in `moments` (by variant, in an order that is always the same).
    """
    of, k, d = policy.learning, len(variants), 1 + len(policy.context)
    packed = np.empty(kernel.model_size(k, d))
    kind = kernel.THOMPSON if policy.kind == "linear_thompson" else kernel.UCB
    packed[: kernel.HEAD] = k, d, kind, policy.floor
    values = [of.values.get(v, 1.0) for v in variants]
    order, scale = packed[kernel.HEAD :][:k], packed[kernel.HEAD + k :][:k]
    order[sorted(range(k), key=lambda arm: name_hash(variants[arm]))] = np.arange(k)
    scale[:] = max(of.explore, _LEAST_EXPLORE) * np.array(values)
    prior, room, rights = (of.prior_weight, of.prior_rate), np.empty((4, d, d)), np.empty((2, d))
    if of.hybrid:
        fits = np.array([variants.index(v) if v in variants else -1 for v in moments], np.int64)
        sums = np.array(list(moments.values()))
        kernel.pack_hybrid(sums, fits, k, d, *prior, np.array(values), room, rights, packed)
        return _model(packed, k, d)
    for arm, (variant, value) in enumerate(zip(variants, values, strict=True)):
        kernel.pack_arm(moments[variant], arm, k, d, *prior, value, room[0], room[1], rights[0], packed)
    return _model(packed, k, d)


def _model(packed: F64, k: int, d: int) -> Model:
    return Model(packed, np.zeros(d, np.int64), kernel.room(k, d), np.empty(k, np.int64))
