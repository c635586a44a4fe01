"""A decision of linear Thompson sampling, 10 arms x 20 features: processor time beside bandit libraries.

Ours is what a decision costs the ordinary way: the context rounded, the probability of every arm to be the best,
shares and one draw. The libraries sample once, and know no probability (Vowpal Wabbit: of its bags). All have learnt
the same 1,000 trials; one thread each, by turns. "In batches" is for those that take many rows in one call.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

from bench.learning.play import SALT, Player, policy
from bench.peers import MISSING
from bench.peers.bandits import LIBRARIES, Bandits
from bench.rows import Effort, Row
from engine.identity import customer_key
from engine.learning.fold import Increments
from engine.learning.linear import REWARD_UNIT, context_of
from engine.learning.shares import VARIANT_STAGE, drawn, uniform

ARMS, FEATURES, TRIALS = 10, 20, 1000
BOUNDS = {"vowpalwabbit": 2.0, "mabwiser": 10.0}  # design.md, section 5
HOW = {"vowpalwabbit": "bag of 5, from text", "mabwiser": "LinTS", "contextualbandits": "LinTS"}


def work() -> dict[str, object]:
    """Features of 2 x TRIALS customers, actions and rewards of the first half."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2 * TRIALS, FEATURES)).round(4)
    actions = rng.integers(0, ARMS, TRIALS)
    liked = rng.normal(size=(ARMS, FEATURES)) * 0.3
    worth = (x[:TRIALS] * liked[actions]).sum(axis=1) - 1.0
    rewards = (rng.random(TRIALS) < 1.0 / (1.0 + np.exp(-worth))).astype(int)
    return {"features": x.tolist(), "actions": actions.tolist(), "rewards": rewards.tolist(), "arms": ARMS}


def decider(given: Mapping[str, object]) -> Callable[[int], int]:
    """Our decision for a row of the second half: the arm drawn."""
    features, actions, rewards = given["features"], given["actions"], given["rewards"]
    assert isinstance(features, list)
    assert isinstance(actions, list)
    assert isinstance(rewards, list)
    names = [f"f{k}" for k in range(FEATURES)]
    player = Player(policy("linear_thompson", "reward: {converted: 1}, floor: 1%", names), ARMS)
    closed = Increments()
    for row, arm, reward in zip(features, actions, rewards, strict=False):
        closed.add(player.arm(arm), reward * REWARD_UNIT, player.policy.context_key, context_of(row))
    player.learn(closed)
    customer, rows = customer_key("one"), features[len(actions) :]

    def decide(i: int) -> int:
        shares = player.shares(context_of(rows[i]))
        return drawn(shares, uniform(SALT, customer, i, 0, VARIANT_STAGE))

    return decide


def _us(decide: Callable[[int], int], seconds: float) -> float:
    done, start = 0, time.process_time()
    while (spent := time.process_time() - start) < seconds:
        decide(done % TRIALS)
        done += 1
    return spent / done * 1e6


def run(effort: Effort) -> list[Row]:
    """By turns: ours, then each library that is there."""
    given = work()
    decide = decider(given)
    seconds = effort.seconds / 3
    ours: list[float] = []
    theirs: dict[tuple[str, str], list[float]] = {}
    with Bandits(given) as peers:
        decide(0)
        turns = [(name, how) for name in peers.available for how in _ways(name)]
        for name, how in turns:
            peers.us(name, how, seconds / 10)  # warm
        for _ in range(effort.repeats):
            ours.append(_us(decide, seconds))
            for name, how in turns:
                theirs.setdefault((name, how), []).append(peers.us(name, how, seconds))
        versions = peers.available
    rows = []
    for name in LIBRARIES:
        for how in _ways(name):
            title = f"linear, {ARMS} x {FEATURES}: {name}" + (", in batches" * (how == "batch"))
            found = theirs.get((name, how))
            note = f"{name} {versions[name]}: {HOW[name]}" if found else f"{name}: {MISSING}"
            bound = BOUNDS.get(name) if found and how == "one" else None
            rows.append(Row(title, "us", ours, found, bound=bound, invert=True, note=note))
    return rows


def _ways(name: str) -> tuple[str, ...]:
    return ("one",) if name == "vowpalwabbit" else ("one", "batch")
