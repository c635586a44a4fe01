"""The exams play by the product's own rules, and could fail."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bench.learning import contextual, judged, published, speed
from bench.learning.play import MESSAGE, SALT, Change, Player, draws, play, policy
from bench.peers import MISSING, bandits
from bench.rows import TINY, Row
from engine.decision import SHARE_UNIT
from engine.identity import customer_key
from engine.learning.fold import Increments
from engine.learning.linear import REWARD_UNIT
from engine.learning.policies import variant_shares
from engine.learning.posteriors import ArmKey, ArmState, Posteriors
from engine.learning.shares import VARIANT_STAGE, drawn, uniform


def test_draws_are_those_of_the_service() -> None:
    customer = customer_key("exam 7")
    assert draws(7, 20).tolist() == [uniform(SALT, customer, step, 0, VARIANT_STAGE) for step in range(20)]


def test_policies_are_those_of_a_rule_file() -> None:
    made = policy("thompson", "reward: {converted: 1}, floor: 0%, forget: {half_life: 277 hours}")
    assert (made.kind, made.floor, made.learning.bucket_h) == ("thompson", 0.0, 17)
    assert len(policy("linucb", "reward: {converted: 1}", ["a", "b"]).context) == 2


@pytest.mark.parametrize("kind", ["thompson", "ucb1", "kl_ucb", "epsilon_greedy"])
@pytest.mark.parametrize("delay", [1, 7, 50])
def test_a_play_is_what_the_parts_of_the_product_do_one_by_one(kind: str, delay: int) -> None:
    """Step by step, from sums of every trial so far, in a loop that shares no code with the player's."""
    made = policy(kind)
    rates, steps, seed = np.array([0.2, 0.7, 0.4]), 150, 3
    changes: dict[int, Sequence[Change]] = {49: [Change(1, 0.1, new=True)], 98: [Change(0, 0.9)]}
    names, now = ["v0", "v1", "v2"], rates.copy()
    customer, luck = customer_key(f"exam {seed}"), np.random.default_rng(seed).random(steps)
    trials: list[tuple[int, str, int]] = []
    regret = 0.0
    for step in range(steps):
        for change in changes.get(step, ()):
            now[change.place] = change.rate
            if change.new:
                names[change.place] = "v3"
        known = [(name, won) for at, name, won in trials if at < step // delay * delay]
        sums = {}
        for name in {n for n, _ in known}:
            won = sum(w for n, w in known if n == name) * REWARD_UNIT
            sums[ArmKey("exam", MESSAGE, "", name)] = ArmState(sum(n == name for n, _ in known), won, won)
        shares = variant_shares(made, MESSAGE, "", names, Posteriors(1, sums)).shares
        arm = drawn(shares, uniform(SALT, customer, step, 0, VARIANT_STAGE))
        trials.append((step, names[arm], int(luck[step] < now[arm])))
        regret += now.max() - now[arm]
    assert play(Player(made, 3), rates, steps, delay, changes, seed) == pytest.approx(regret)


def test_what_is_forgotten_in_a_play_is_what_a_posterior_forgets() -> None:
    made = policy("thompson", "reward: {converted: 1}, floor: 0%, forget: {half_life: 32 hours}")
    player = Player(made, 2)
    for step in range(100):
        closed = Increments()
        closed.add(player.arm(0, step), REWARD_UNIT)
        player.learn(closed)
    counted = player.posteriors.seen(made, ArmKey("exam", MESSAGE, "", "v0")).trials
    ages = (99 // 2 - np.arange(100) // 2) * 2
    assert counted == pytest.approx(float((0.5 ** (ages / 32)).sum()))


def test_an_item_that_retires_takes_what_is_open_of_it_along() -> None:
    player = Player(policy("thompson"), 2)
    gone = player.variants[0]
    closed = Increments()
    closed.add(player.arm(0), REWARD_UNIT)
    player.learn(closed)
    assert player.shares()[0] > SHARE_UNIT // 2
    player.replace(0)
    assert player.variants[0] != gone
    assert player.shares()[0] == SHARE_UNIT // 2


def test_thompson_learns_and_ucb_pays_more() -> None:
    thompson, ucb, random = (
        published.delayed("thompson", 100, 20_000, 1),
        published.delayed("ucb1", 100, 20_000, 1),
        0.25 * 20_000,
    )
    assert thompson < 0.5 * ucb < 0.5 * random


def test_who_likes_what_is_found_out() -> None:
    played = contextual.meet("linear_thompson", 1200, 1)
    assert played.fixed < played.late < played.possible
    assert played.p > contextual.RATIO_P


def test_false_verdicts_are_seen_where_there_are_some() -> None:
    """One look's test, looked at daily, is what the exam must be able to catch."""
    trials = [judged.watch("a fixed trial", (0.3, 0.3), seed, days=10) for seed in range(60)]
    assert sum(t.called_by_one_look for t in trials) > 2 * sum(t.called for t in trials)
    apart = judged.watch("a fixed trial", (0.2, 0.5), 0, days=10)
    assert apart.called
    assert apart.covered(0.3)
    assert not apart.covered(0.0)
    assert not apart.covered_always(0.0)
    assert not apart.suspect


def test_bounds_that_a_figure_may_leave_either_way() -> None:
    near = Row("regret", "", [9.5], [10.0], bound=0.1, better="near")
    assert near.holds()
    assert not dataclasses.replace(near, ours=[8.9]).holds()
    assert not dataclasses.replace(near, ours=[11.1]).holds()


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TACT_PEERS_PYTHON", sys.executable)
    rows = speed.run(TINY)
    assert {name for name in bandits.LIBRARIES if any(name in row.name for row in rows)} == set(bandits.LIBRARIES)
    for row in rows:
        if MISSING in row.note:
            assert (row.peer, row.bound) == (None, None)
        assert row.ours[0] > 0


_LIBRARY = """
class LearningPolicy:
    LinTS = dict
class MAB:
    def __init__(self, arms, policy): self.arms = arms
    def fit(self, actions, rewards, x): self.trained = len(x)
    def predict(self, x): assert self.trained == 1000 and x.shape[1] == 20
"""


def test_a_library_that_is_there_is_measured_in_its_own_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package of its name, in a directory that only the child's Python has."""
    (tmp_path / "mabwiser").mkdir()
    (tmp_path / "mabwiser" / "mab.py").write_text(_LIBRARY)
    (tmp_path / "mabwiser-9.dist-info").mkdir()
    (tmp_path / "mabwiser-9.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: mabwiser\nVersion: 9\n")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setenv("TACT_PEERS_PYTHON", str(python))
    rows = {row.name.rpartition(": ")[2]: row for row in speed.run(TINY)}
    for name in ("mabwiser", "mabwiser, in batches"):
        assert rows[name].peer
        assert rows[name].note == "mabwiser 9: LinTS"
    assert rows["mabwiser"].bound == 10.0
    assert not rows["vowpalwabbit"].peer
