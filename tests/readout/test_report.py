"""The readout on logs of simulated customers whose truth is known."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from engine.compiler.ruleset import load
from engine.decision import SHARE_UNIT, OutcomeKind, Reason
from engine.errors import TactError
from engine.readout.page import page
from engine.readout.report import MessageReport, Report, Wish, make_report
from engine.readout.trials import read_trials
from engine.state.log import CandidateEntry, Entry
from tests.readout.written import DAY_MS, RULES, START_MS, archive, decision, outcome, write_log

HALF = {"a": SHARE_UNIT // 2, "b": SHARE_UNIT // 2}


def simulated(
    rate: Callable[[str, int], float],
    n: int = 2000,
    shares: Callable[[int], dict[str, int]] = lambda i: HALF,
    kept: Callable[[str, random.Random], bool] = lambda v, rng: True,
    seed: int = 1,
    **more: object,
) -> list[Entry]:
    """`n` trials, one a customer, 20 a day; `rate(variant, i)` is the chance of a conversion after an hour."""
    rng = random.Random(seed)
    entries: list[Entry] = []
    for i in range(n):
        vector = shares(i)
        u = rng.randrange(SHARE_UNIT)
        variant = next(v for k, v in enumerate(vector) if u < sum(list(vector.values())[: k + 1]))
        extra = {"values_read": {"features.region": "ns"[i % 2], "features.age": 20 + i % 50}} | more
        one = decision(f"c{i}", i + 1, START_MS + i * DAY_MS // 20, vector, variant, **extra)
        if kept(variant, rng):
            entries.append(one)
            entries.append(outcome(one, OutcomeKind.DELIVERED))
            if rng.random() < rate(variant, i):
                entries.append(outcome(one, OutcomeKind.CONVERTED, value=10.0))
    return entries


def read(directory: Path, entries: list[Entry], **wish: object) -> Report:
    return make_report(read_trials(archive(directory, entries), "by" in wish), Wish(**wish))  # type: ignore[arg-type]


def only(report: Report) -> MessageReport:
    [message] = report.messages
    return message


def test_an_effect_is_found_and_sized(tmp_path: Path) -> None:
    report = read(tmp_path, simulated(lambda v, i: 0.3 if v == "b" else 0.2))
    message = only(report)
    assert (message.message, message.policy, message.control) == ("offer", "words", "a")
    assert not message.control_known
    assert not message.learns
    [main] = message.main
    assert (main.variant, main.kind, main.days, main.verdict) == ("b", "CONVERTED", 7, "higher")
    assert main.effect.effect == pytest.approx(0.1, abs=0.04)
    assert main.effect.ratio == pytest.approx(1.5, abs=0.25)
    assert main.holm == main.effect.p
    assert message.open_trials == pytest.approx(140, abs=3)  # the last week's
    value = next(c for c in message.others if c.measure == "value" and c.days == 7)
    assert value.effect.effect == pytest.approx(10 * (main.effect.effect or 0))
    assert not message.ratio.suspect
    assert report.strays == 0


def test_moving_shares_and_a_moving_customer_base_are_no_effect(tmp_path: Path) -> None:
    """Simpson's paradox of every bandit: it favours b just when everybody buys more."""
    late = {"a": SHARE_UNIT // 10, "b": SHARE_UNIT - SHARE_UNIT // 10}
    entries = simulated(
        lambda v, i: 0.1 if i < 1500 else 0.4, 3000, lambda i: HALF if i < 1500 else late, policy_version=3
    )
    message = only(read(tmp_path, entries))
    a, b = (next(t for t in arm.totals if (t.kind, t.days) == ("CONVERTED", 7)) for arm in message.arms)
    assert b.positive / b.trials > 1.3 * a.positive / a.trials  # as drawn
    assert message.learns
    [main] = message.main
    assert main.verdict == "open"
    assert main.effect.low is not None
    assert main.effect.high is not None
    assert main.effect.low < 0 < main.effect.high


def test_horizons_and_open_trials(tmp_path: Path) -> None:
    entries: list[Entry] = []
    for i in range(40):
        one = decision(f"c{i}", i + 1, START_MS, HALF, "ab"[i % 2])
        entries += [one, outcome(one, OutcomeKind.REPLIED, 20 * DAY_MS), outcome(one, OutcomeKind.REPLIED, 21 * DAY_MS)]
    entries.append(decision("late", 99, START_MS + 59 * DAY_MS, HALF, "a"))
    entries.append(outcome(decision("gone", 98, START_MS, HALF, "a"), OutcomeKind.REPLIED))
    report = read(tmp_path, entries)
    assert report.kind == "REPLIED"
    assert report.strays == 1
    a = only(report).arms[0]
    assert [(t.days, t.trials, t.positive, t.count) for t in a.totals if t.kind == "REPLIED"] == [
        (7, 20, 0, 0),
        (30, 20, 20, 40),
        (60, 0, 0, 0),
    ]
    assert (a.trials, a.customers) == (21, 21)


def test_lost_trials_make_a_trial_suspect(tmp_path: Path) -> None:
    entries = simulated(lambda v, i: 0.2, 4000, kept=lambda v, rng: v == "a" or rng.random() < 0.8)
    assert only(read(tmp_path, entries)).ratio.suspect


def test_segments_are_compared_with_the_rest(tmp_path: Path) -> None:
    entries = simulated(lambda v, i: 0.5 if v == "b" and i % 2 else 0.2, 4000, segment="x")
    message = only(read(tmp_path, entries, by=("features.region", "features.age", "features.unread")))
    assert {s.by for s in message.segments} == {"features.region", "features.age"}
    regions = {s.segment: s for s in message.segments if s.by == "features.region"}
    assert regions["s"].effect.effect == pytest.approx(0.3, abs=0.05)
    assert regions["n"].effect.effect == pytest.approx(0.0, abs=0.05)
    assert regions["s"].adjusted is not None
    assert regions["s"].adjusted < 1e-6
    ages = [s for s in message.segments if s.by == "features.age"]
    assert [s.segment for s in ages] == ["<= 32", "32 to 44.5", "44.5 to 57", "> 57"]
    assert {by: p < 0.001 for _, by, p in message.heterogeneity}["features.region"]


def test_the_policys_own_segments_are_splits(tmp_path: Path) -> None:
    entries: list[Entry] = []
    for segment in ("n", "s"):
        entries += simulated(lambda v, i: 0.3, 300, segment=segment, seed=ord(segment))
    message = only(read(tmp_path, entries))
    assert {(s.by, s.segment) for s in message.segments} == {("policy's segment", "n"), ("policy's segment", "s")}


def test_a_sticky_customer_counts_with_the_first_draw(tmp_path: Path) -> None:
    rng = random.Random(3)
    entries: list[Entry] = []
    for i in range(300):
        variant = rng.choice("ab")
        entries.append(decision(f"c{i}", 1, START_MS, HALF, variant))
        for k in range(2, 5):
            alone = {v: HALF[v] if v == variant else 0 for v in HALF}
            again = decision(f"c{i}", k, START_MS + k * DAY_MS, alone, variant, sticky=True)
            entries.append(again)
            if rng.random() < 0.3:
                entries.append(outcome(again, OutcomeKind.CONVERTED))
    entries.append(decision("end", 1, START_MS + 30 * DAY_MS, HALF, "a"))
    message = only(read(tmp_path, entries))
    assert sum(message.ratio.drawn) == 301  # repetitions are no draws
    [main] = message.main
    assert main.effect.incomparable == 0
    assert main.effect.n_treated + main.effect.n_control == 1200
    assert main.effect.customers == 300


def test_the_holdout_is_compared_customer_by_customer(tmp_path: Path) -> None:
    rng = random.Random(5)
    entries: list[Entry] = []
    for i in range(3000):
        held = i % 5 == 0
        for k in range(2):
            one = decision(f"c{i}", k + 1, START_MS + k * DAY_MS, HALF, "a")
            if held:
                one.outcome, one.reason, one.withheld = 2, 40, True
            entries.append(one)
        if rng.random() < (0.1 if held else 0.2):
            entries.append(outcome(one, OutcomeKind.CONVERTED, value=5.0))
    entries.append(decision("end", 1, START_MS + 40 * DAY_MS, HALF, "a"))
    report = read(tmp_path, entries)
    found = {(h.measure, h.days): h for h in report.holdout}
    sold = found["CONVERTED", 7]
    assert (sold.sent, sold.held) == (2400, 600)
    assert sold.difference is not None
    assert sold.difference.value == pytest.approx(0.1, abs=0.03)
    assert sold.seq_low is not None
    assert sold.seq_low > 0
    assert found["CONVERTED value", 7].mean_held == pytest.approx(5 * sold.mean_held)
    assert found["activity", 7].mean_sent == found["activity", 7].mean_held == 1.0  # the second event
    assert found["activity", 60].sent == 0


def test_what_was_credited_to_several_messages_counts_once_a_customer(tmp_path: Path) -> None:
    entries: list[Entry] = []
    for i in range(100):
        pair = [decision(f"c{i}", k + 1, START_MS, HALF, "a") for k in range(2)]
        for one in pair if i % 2 else ():
            one.outcome, one.reason, one.withheld = 2, 40, True
        sold = [replace(outcome(one, OutcomeKind.CONVERTED, value=5.0), outcome=7) for one in pair]
        entries += [*pair, *sold, replace(sold[0], outcome=0), replace(sold[0], outcome=8)]
    entries.append(decision("end", 1, START_MS + 10 * DAY_MS, HALF, "a"))
    found = {(h.measure, h.days): h for h in read(tmp_path, entries).holdout}
    worth = found["CONVERTED value", 7]
    assert (worth.sent, worth.held, worth.mean_sent, worth.mean_held) == (50, 50, 15.0, 15.0)


def test_activity_before_the_trial_is_the_covariate(tmp_path: Path) -> None:
    entries: list[Entry] = []
    for k, day in enumerate((0, 10, 20, 45)):
        entries.append(decision("ana", k + 1, START_MS + day * DAY_MS, HALF, "a"))
    log = read_trials(archive(tmp_path, entries))
    assert log.activity.tolist() == [0, 1, 2, 1]


def test_events_that_came_too_late_are_not_in_the_span(tmp_path: Path) -> None:
    late = replace(decision("bo", 9, 0, HALF, ""), outcome=2, reason=int(Reason.EVENT_TOO_OLD), candidates=[])
    days = [decision("ana", k, START_MS + k * DAY_MS, HALF, "a") for k in (1, 2)]
    log = read_trials(archive(tmp_path / "log", [late, *days]))
    assert (log.first_ms, log.last_ms, log.funnel.decisions) == (START_MS + DAY_MS, START_MS + 2 * DAY_MS, 3)
    log = read_trials(archive(tmp_path / "late", [late]))
    assert (log.first_ms, log.last_ms) == (0, 0)


def test_the_pipelines_own_log(tmp_path: Path) -> None:
    """Fixed, sticky, learning and withheld decisions of the real pipeline, whose outcomes no variant changes."""
    write_log(tmp_path, customers=300, events=10, seed=2)
    ruleset = load(RULES)
    report = make_report(read_trials(tmp_path, True), Wish(by=("features.region",)), ruleset)
    messages = {m.message: m for m in report.messages}
    assert set(messages) == {"offer", "bill", "letter", "hint", "portrait", "note"}
    assert report.single == ["tip"]  # rest is always outranked
    assert (messages["offer"].control, messages["offer"].control_known, messages["offer"].learns) == ("a", True, True)
    assert messages["bill"].arms[1].probability == pytest.approx(0.74)  # a floor of 0.02 each
    assert all(not m.ratio.suspect for m in report.messages)
    assert all(c.verdict in ("open", "too few") for m in report.messages for c in m.main)
    assert report.decisions == 3000
    assert sum(report.reasons.values()) == 3000
    assert report.stops["rest"].keys() == {"OUTRANKED", "CAP_REACHED"}
    assert report.reasons["SELECTED"] == sum(s.get("SELECTED", 0) for s in report.stops.values())
    held = {h.days: h for h in report.holdout if h.measure == "activity"}
    assert held[7].share_p is not None
    assert not held[7].suspect


def test_a_log_without_a_draw_or_an_outcome(tmp_path: Path) -> None:
    nothing: list[Entry] = [
        decision(f"c{i}", 1, START_MS, {}, "", outcome=2, reason=12, candidates=[CandidateEntry("offer", 12, 0.0, 0)])
        for i in range(5)
    ]
    report = read(tmp_path, nothing)
    assert (report.decisions, report.trials, report.messages) == (5, 0, [])
    assert report.stops == {"offer": {"NOT_ELIGIBLE": 5}}
    assert "NOT_ELIGIBLE" in page(report, "empty")


def test_a_log_of_an_older_version(tmp_path: Path) -> None:
    """Columns that came later have their defaults."""
    entries = [decision(f"c{i}", 1, START_MS, HALF, "ab"[i % 2]) for i in range(20)]
    archive(tmp_path, entries)
    [path] = tmp_path.rglob("decision.parquet")
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["sticky", "withheld", "segment", "attribution_s", "candidates"]), path)
    log = read_trials(tmp_path)
    assert len(log) == 0  # nothing says that there was a draw
    later = ["assignment", "reported", "measured", "context"]
    pq.write_table(table.drop_columns(["sticky", "withheld", "segment", "attribution_s", *later]), path)
    log = read_trials(tmp_path)
    assert len(log) == log.in_trial.sum() == 20
    assert log.reported_paths(np.arange(20)) == []


def test_an_outcome_that_the_log_lacks_is_told(tmp_path: Path) -> None:
    with pytest.raises(TactError, match="has no outcome 'replied'; it has: converted, delivered"):
        read(tmp_path, simulated(lambda v, i: 0.5, 20), kind=OutcomeKind.REPLIED)


def test_a_log_without_outcomes_still_has_a_funnel(tmp_path: Path) -> None:
    entries: list[Entry] = [decision(f"c{i}", 1, START_MS, HALF, "ab"[i % 2]) for i in range(30)]
    report = read(tmp_path, entries)
    assert only(report).main == []
    assert report.reasons == {"SELECTED": 30}
