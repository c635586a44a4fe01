"""The readout of trials that not everybody is in: what is left out, what is told apart, what is measured."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.compiler.ruleset import load
from engine.decision import SHARE_UNIT, OutcomeKind
from engine.errors import TactError
from engine.learning.enrolment import Assignment
from engine.readout import trials as module
from engine.readout.judged import from_trials
from engine.readout.kpis import rows_of
from engine.readout.log import Names
from engine.readout.page import page
from engine.readout.report import MessageReport, Report, Wish, make_report
from engine.readout.trials import read_trials
from engine.readout.verify import verify
from engine.state.log import DecisionEntry, Entry
from tests.readout.written import DAY_MS, RULES, START_MS, archive, decision, outcome, write_log

HALF = {"a": SHARE_UNIT // 2, "b": SHARE_UNIT // 2}
ALL_A = {"a": SHARE_UNIT, "b": 0}
TRIALS = {
    "rules.yaml": RULES["rules.yaml"]
    .replace(b"  trial: {kind: fixed,", b"  trial: {kind: fixed, report_by: [features.region], from: 2026-01-02,")
    .replace(b"by: [features.region]}", b"by: [features.region], trial: {share: 30%, weights: {a: 1, b: 2, c: 3}}}", 1)
    .replace(b"sticky: customer}", b"sticky: customer, outside: leave_out, then: b, until: 2026-01-01}")
    + b"\nlayers: {front: {salt: s, slices: {stuck: 50%, trial: 40%}}}\n"
}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("log")
    write_log(directory, customers=300, events=10, seed=3, rules=TRIALS)
    return directory


def altered(log: Path, to: Path, **changes: object) -> Path:
    """A copy with the first row of `trial` outside of it altered."""
    shutil.copytree(log, to)
    for path in sorted(to.rglob("decision.parquet")):
        table = pq.read_table(path)
        rows: list[dict[str, Any]] = table.to_pylist()
        for row in rows:
            if row["policy"] == "trial" and row["assignment"] == Assignment.OUTSIDE:
                row.update(changes)
                pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
                return to
    raise AssertionError("no row to alter")


def test_the_pipelines_own_log_holds(log: Path) -> None:
    rules = load(TRIALS)
    verdict = verify(log, ruleset=rules)
    assert verdict.good, verdict.differences
    assert verdict.open_shares == 0
    found = read_trials(log)
    assert set(found.assignment.tolist()) == set(Assignment) - {Assignment.OBJECTED}  # nobody objects here
    report = make_report(found, Wish(), rules)
    parts = {(m.message, m.fixed_slice): m for m in report.messages}
    assert {("offer", False), ("offer", True), ("bill", False)} < set(parts)
    names = found.names.texts
    bill = (found.message == names.index("bill")) & ~found.withheld
    assert parts["bill", False].outside == (bill & ~found.in_trial).sum() > 100
    assert parts["bill", False].trials == (bill & found.in_trial).sum() > 30
    assert [a.probability for a in parts["offer", True].arms] == [pytest.approx(k / 6) for k in (1, 2, 3)]
    assert parts["offer", False].learns
    assert not parts["offer", True].learns
    assert all(not m.ratio.suspect for m in report.messages)
    assert "features.region" in {s.by for s in parts["bill", False].segments}  # by `report_by` alone
    ready = from_trials(found, "trial", {"converted": 1.0}, 0.01, [])
    assert ready.log.propensity.min() > 0.2


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"assignment": int(Assignment.POLICY)}, "assignment"),
        ({"assignment": 77}, "assignment"),
        ({"variants": [{"variant": "a", "share": 5}, {"variant": "b", "share": SHARE_UNIT - 5}]}, "variant_shares"),
    ],
)
def test_a_log_that_was_altered_is_found_out(log: Path, tmp_path: Path, changes: dict[str, object], check: str) -> None:
    verdict = verify(altered(log, tmp_path / "log", **changes), ruleset=load(TRIALS))
    assert verdict.counts[check] == 1


def trials(seed: int = 1, n: int = 3000) -> list[Entry]:
    """A bandit that favours b, a slice beside it that does not, and customers outside who convert all the time."""
    rng = random.Random(seed)
    entries: list[Entry] = []
    for i in range(n):
        at_ms = START_MS + i * DAY_MS // 50
        how = rng.choice([Assignment.POLICY, Assignment.FIXED_SLICE, Assignment.OUTSIDE])
        shares = HALF if how is Assignment.FIXED_SLICE else {"a": SHARE_UNIT // 8, "b": SHARE_UNIT - SHARE_UNIT // 8}
        shares = ALL_A if how is Assignment.OUTSIDE else shares
        variant = "a" if rng.randrange(SHARE_UNIT) < shares["a"] else "b"
        version = 3 if how is Assignment.POLICY else 0
        one = decision(f"c{i}", i + 1, at_ms, shares, variant, assignment=int(how), policy_version=version)
        entries.append(one)
        if how is Assignment.OUTSIDE or rng.random() < (0.4 if variant == "b" else 0.2):
            entries.append(outcome(one, OutcomeKind.CONVERTED, value=4.0))
    return entries


def read(directory: Path, entries: list[Entry], **wish: object) -> Report:
    return make_report(read_trials(archive(directory, entries), True), Wish(**wish))  # type: ignore[arg-type]


def test_the_slice_is_compared_apart_and_who_is_outside_not_at_all(tmp_path: Path) -> None:
    report = read(tmp_path, trials())
    bandit, beside = report.messages
    assert (bandit.fixed_slice, bandit.learns, beside.fixed_slice, beside.learns) == (False, True, True, False)
    assert bandit.trials + beside.trials + bandit.outside == 3000
    for message in (bandit, beside):
        [main] = message.main
        assert main.verdict == "higher"
        assert main.effect.effect == pytest.approx(0.2, abs=0.06)
    a, b = (next(t for t in arm.totals if (t.kind, t.days) == ("CONVERTED", 7)) for arm in beside.arms)
    assert b.positive / b.trials - a.positive / a.trials == pytest.approx(0.2, abs=0.06)  # rates as drawn do not lean
    assert "fixed slice beside it" in page(report, "x")
    assert "decisions outside of the trial are left out" in page(report, "x")


def only(report: Report) -> MessageReport:
    [message] = report.messages
    return message


def said(k: int, i: int) -> list[Entry]:
    """A customer's trial, and an event of each of two types after it: soon, and late."""
    one = decision(f"c{i}", 1, START_MS, HALF, "ab"[k])
    nothing: dict[str, object] = {"outcome": 2, "reason": 10, "candidates": [], "message": "", "policy": ""}
    events: list[DecisionEntry] = [
        decision(f"c{i}", 10 + day, START_MS + day * DAY_MS, {}, "", **(nothing | {"event_type": kind}))  # type: ignore[arg-type]
        for day, kind in ((2, "pay"), (20, "pay"), (3, "read"))[: 3 if k else 1]
    ]
    return [one, *events]


def test_replies_and_what_they_were_about_and_events_by_horizon(tmp_path: Path) -> None:
    entries: list[Entry] = []
    for i in range(40):
        one, *events = said(i % 2, i)
        assert isinstance(one, DecisionEntry)
        for event in events:
            if isinstance(event, DecisionEntry) and event.event_type == "pay":
                event.measured = [("spent", 7.5)]
        entries += [one, *events]
        if i % 2:
            entries += [outcome(one, OutcomeKind.REPLIED, day * DAY_MS, category="fees") for day in (1, 20)]
    entries.append(decision("late", 99, START_MS + 61 * DAY_MS, HALF, "a"))
    report = read(tmp_path, entries, events=("pay",))
    message = only(report)
    rows = {(r.title, r.days): r.values for r in rows_of([arm.totals for arm in message.arms])}
    assert rows["replies a customer", 7] == [0.0, 1.0]
    assert rows["replies a customer", 30] == [0.0, 2.0]
    assert rows["replied: fees", 60] == [0.0, 1.0]
    assert rows["events after it", 7] == [1.0, 2.0]
    assert rows["pay after it", 7] == [1.0, 1.0]
    assert rows["pay after it", 30] == [1.0, 2.0]
    assert rows["pay after it", 60] == [1.0, 2.0]
    assert rows["spent after it", 7] == [7.5, 7.5]
    assert rows["spent after it", 30] == [7.5, 15.0]
    outcomes = {(c.outcome, c.measure) for c in message.others}
    assert {
        ("replied", "count"),
        ("replied fees", "rate"),
        ("activity", "count"),
        ("pay", "count"),
        ("spent", "value"),
    } <= outcomes
    assert "replied: fees" in page(report, "x")


class Many(Names):
    """More texts than two bytes count."""

    def __init__(self) -> None:
        super().__init__()
        for k in range(1 << 16):
            self.code(f"text {k}")


def test_a_repeated_draw_has_the_shares_of_its_own_customer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Names", Many)
    one = dict.fromkeys("a", SHARE_UNIT)
    entries: list[Entry] = [decision(f"c{k}", 1, START_MS + k, one if k % 2 else HALF, "a") for k in range(8)]
    entries += [decision(f"c{k}", 2, START_MS + 10 + k, one, "a", sticky=True) for k in range(8)]
    log = read_trials(archive(tmp_path, entries))
    shares = log.shares(np.arange(16), [log.names.code(v) for v in "ab"]).tolist()
    assert shares == [[1.0, 0.0] if k % 2 else [0.5, 0.5] for k in (*range(8), *range(8))]


def test_an_event_id_that_was_used_again(tmp_path: Path) -> None:
    """Each trial has what was reported after it, within its horizon; a customer's outcome is one all the same."""
    first = decision("ana", 1, START_MS, HALF, "a")
    second = decision("ana", 1, START_MS + 2 * DAY_MS, HALF, "b")
    other = decision("bob", 1, START_MS + 90 * DAY_MS, HALF, "a")
    entries = [first, outcome(first, OutcomeKind.REPLIED), second, outcome(second, OutcomeKind.CONVERTED, value=2.0)]
    log = read_trials(archive(tmp_path, [*entries, other, outcome(other, OutcomeKind.REPLIED)]))
    assert log.rewards(1, OutcomeKind.REPLIED).tolist() == [1.0, 0.0, 1.0]
    assert log.rewards(7, OutcomeKind.REPLIED).tolist() == [1.0, 0.0, 1.0]
    assert log.rewards(1, OutcomeKind.CONVERTED, "value").tolist() == [0.0, 2.0, 0.0]
    assert log.rewards(7, OutcomeKind.CONVERTED, "value").tolist() == [2.0, 2.0, 0.0]
    assert log.happened.value[~log.happened.again].sum() == 2.0
    assert make_report(log, Wish()).outcomes == 3


def test_an_event_type_that_the_log_lacks_is_told(tmp_path: Path) -> None:
    with pytest.raises(TactError, match="has no event of the type 'pray'; it has: visit"):
        read(tmp_path, trials(n=20), events=("pray",))
