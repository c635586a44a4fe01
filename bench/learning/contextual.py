"""Linear policies on customers whose likings are known: beside the best fixed variant, and the best for each.

Four variants, five numbers about a customer; the rate of a variant is a logistic function of these (so a linear model
is not quite right). Each of the variants but the first is what some like best. What was drawn is learnt every 50
decisions. What is earned is counted as true rates: luck is only in what is learnt from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.learning.play import F64, I64, Player, draws, policy
from bench.rows import Effort, Row
from engine.decision import SHARE_UNIT
from engine.learning.fold import Increments
from engine.learning.linear import REWARD_UNIT, context_of
from engine.learning.shares import drawn
from engine.readout.ratio import sample_ratio

KINDS = ("linear_thompson", "linucb")
TIMES = 1.1  # of what the best fixed variant earns
RATIO_P = 0.001
DECISIONS = 10_000

_NAMES = ("age", "income", "tenure", "city", "app")
_BASE = np.array([-1.6, -1.5, -1.5, -1.9])
_LIKED = np.array([
    [0.0, 0.0, 0.0, 0.0, 0.0],
    [-0.9, 0.0, 0.0, 0.0, 0.8],
    [0.8, 0.3, 0.4, 0.0, -0.8],
    [0.0, 0.9, 0.0, 0.8, 0.0],
])  # fmt: skip
_TURN = 50
_SETTINGS = "reward: {converted: 1}, floor: 1%, prior: {rate: 20%, weight: 1}, explore: 0.4"


@dataclass(frozen=True, slots=True)
class Played:
    """`earned`, `fixed`, `possible`: mean true rates a decision, of the policy, of the best fixed variant, of the best
    variant for each customer. `late`: the policy's in the last quarter. `p`: of the sample ratio."""

    earned: float
    late: float
    fixed: float
    possible: float
    p: float


def population(customers: int, seed: int) -> tuple[F64, F64]:
    """What is known of customers (n, 5), and how each variant would do with them (n, 4)."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(customers, len(_NAMES)))
    x[:, 3:] = x[:, 3:] > 0.0  # lives in a city, has the app
    return x, 1.0 / (1.0 + np.exp(-(_BASE + x @ _LIKED.T)))


def meet(kind: str, decisions: int, seed: int) -> Played:
    """A policy meets one customer after the other."""
    x, rates = population(decisions, seed)
    u, luck = draws(seed, decisions), np.random.default_rng((seed, 1)).random(decisions)
    player = Player(policy(kind, _SETTINGS, _NAMES), rates.shape[1])
    arms: I64 = np.empty(decisions, np.int64)
    p: F64 = np.empty(rates.shape)
    waiting = Increments()
    for i in range(decisions):
        if i and i % _TURN == 0:
            player.learn(waiting)
            waiting = Increments()
        context = context_of(x[i].tolist())
        shares = player.shares(context)
        arm = drawn(shares, int(u[i]))
        arms[i], p[i] = arm, np.array(shares) / SHARE_UNIT
        reward = REWARD_UNIT if luck[i] < rates[i, arm] else 0
        waiting.add(player.arm(arm), reward, player.policy.context_key, context)
    got = rates[np.arange(decisions), arms]
    return Played(
        float(got.mean()), float(got[-(decisions // 4) :].mean()), float(rates.mean(axis=0).max()),
        float(rates.max(axis=1).mean()), sample_ratio(arms, p).p,
    )  # fmt: skip


def run(effort: Effort) -> list[Row]:
    """Both kinds, each with customers of its own in every run."""
    decisions = max(300, round(DECISIONS * max(effort.exams, 0.2 if effort.exams else 0.0)))
    return [row for kind in KINDS for row in _rows(kind, [meet(kind, decisions, s) for s in range(3)], decisions)]


def _rows(kind: str, played: Sequence[Played], decisions: int) -> list[Row]:
    possible = float(np.mean([p.possible for p in played]))
    late = float(np.mean([p.late for p in played]))
    long = decisions >= DECISIONS // 5
    note = (
        f"contextual: {decisions:,} decisions, the first ones included; {kind} earned {late:.4f} in the last quarter, "
        f"and the best variant for each customer would have earned {possible:.4f}."
    )
    return [
        Row(
            f"{kind}, beside the best fixed variant", "rate", [p.earned for p in played],
            [p.fixed for p in played], bound=TIMES if long else None, note=note,
            facts={"decisions": decisions, "possible": possible, "late": late},
        ),
        Row(
            f"{kind}: p of draws against logged shares", "", [min(p.p for p in played)],
            bound=RATIO_P,
        ),
    ]  # fmt: skip
