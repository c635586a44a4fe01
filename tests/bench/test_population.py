"""The simulated wallet: its people are what their page says, and its months are the product's."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from bench.months import SECRET
from bench.people import DAY_MS, OFFERS, REGIONS, START_MS, WEEKLY_CHECK, People, Population
from bench.population import FIXED, KNOWING, LEARNING, RANDOM, UNCAPPED, Job, Size, course, files_of, people_of, rules
from engine.compiler.ruleset import load
from engine.decision import OutcomeKind
from engine.readout.verify import verify
from engine.state.runs import runs

SIZE = Size(40, 28, 1)
WEEK_MS = 7 * DAY_MS


@pytest.fixture(scope="module")
def of() -> Population:
    return people_of(Job(LEARNING, SIZE, 1), rules()[1])


def test_a_seed_gives_the_same_people_and_another_others(of: Population) -> None:
    again, other = (people_of(Job(RANDOM, SIZE, seed), rules()[1]) for seed in (1, 2))
    assert (again.at_ms == of.at_ms).all()
    assert (again.luck == of.luck).all()
    assert again.best_everywhere("bring_back") == of.best_everywhere("bring_back")
    assert other.at_ms[:100].tolist() != of.at_ms[:100].tolist()


def test_events_are_in_order_and_of_their_days(of: Population) -> None:
    assert (np.diff(of.at_ms) >= 0).all()
    assert START_MS <= of.at_ms[0] <= of.at_ms[-1] < START_MS + SIZE.days * DAY_MS
    checks = np.bincount(of.who[of.kind == WEEKLY_CHECK], minlength=SIZE.people)
    assert set(checks) == {SIZE.days // 7}


def test_a_reply_comes_by_likings_warmth_and_weariness(of: Population) -> None:
    people, name = People(of), "savings_plan_intro"
    likings = {v: of.likings[name][v][of.region[0]] for v in of.likings[name]}
    by_liking = sorted(likings, key=lambda v: likings[v])
    told = [people.reply_probability(0, name, v) for v in by_liking]
    assert told == sorted(told)
    fresh, weary = (people.reply_probability(0, name, "goal", excess) for excess in (0.0, 4.0))
    assert math.log(weary / (1 - weary)) == pytest.approx(math.log(fresh / (1 - fresh)) - 1.0)
    knowing = People(of, ideal=True)
    assert knowing.reply_probability(0, name, "control") == pytest.approx(told[-1])
    assert {of.best_in(name, region) for region in range(len(REGIONS))} <= set(likings)
    assert by_liking[-1] == of.best_in(name, int(of.region[0]))


def test_who_is_written_to_daily_leaves_sooner_and_harm_is_a_setting(of: Population) -> None:
    def left(harm: float, every: int) -> int:
        people = People(of, harm)
        mine = {int(who): int(np.flatnonzero(of.who == who)[0]) for who in set(of.who.tolist())}
        for day in range(720):
            at_ms = START_MS + day * DAY_MS
            for event in mine.values() if every and day % every == 0 else ():
                people.receive(event, "invite_friend", "control", at_ms)
            people.end_day(at_ms)
        return int(people.gone.sum())

    assert left(1.0, 1) > left(1.0, 0)
    assert left(0.0, 1) <= left(0.0, 0)  # replies tie, and nobody minds


def test_arms_differ_in_one_file(of: Population) -> None:
    files, ruleset = rules()
    assert files_of(LEARNING, files, ruleset, of) == files
    assert files.keys() - files_of(UNCAPPED, files, ruleset, of).keys() == {"caps.yaml"}
    for arm in (RANDOM, FIXED, KNOWING):
        other = load(files_of(arm, files, ruleset, of))
        assert {p: c for p, c in other.files.items() if files[p] != c}.keys() == {"policies.yaml"}
        for name in OFFERS:
            weights = other.policies[other.messages[name].policy or ""].weights
            liked = [v for v, weight in weights.items() if weight]
            assert liked == ([of.best_everywhere(name)] if arm == FIXED else list(other.messages[name].variants))


def test_months_keep_their_caps_and_their_log_is_true(tmp_path: Path) -> None:
    made = course(Job(LEARNING, SIZE, 1, log=tmp_path / "log"))
    again = course(Job(LEARNING, SIZE, 1))
    assert made.decisions == again.decisions
    assert made.arms == again.arms
    assert all((made.days[name] == again.days[name]).all() for name in made.days)
    assert made.reasons["CAP_REACHED"] > 0
    assert made.total("replies") > 0
    assert made.days["reached"][-1] <= made.days["stayed"][-1] <= SIZE.people

    verdict = verify(tmp_path / "log", SECRET, rules()[1])
    assert verdict.good, verdict.differences
    assert verdict.decisions == made.decisions
    assert verdict.recomputed > 0

    [run] = runs(tmp_path / "log")
    told = pq.read_table(run.path / "outcome.parquet").to_pylist()
    came = {(row["customer"], row["event"]) for row in told if row["kind"] == OutcomeKind.DELIVERED}
    sent: dict[bytes, list[int]] = {}
    for row in pq.read_table(run.path / "decision.parquet").to_pylist():
        if row["message"] in OFFERS and (row["customer"], row["event"]) in came:
            sent.setdefault(row["customer"], []).append(max(row["at_ms"], row["send_at_ms"]))
    assert len(sent) > SIZE.people // 2
    for times in sent.values():
        times.sort()
        assert all(b - a >= WEEK_MS for a, b in pairwise(times))
