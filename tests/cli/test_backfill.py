"""`tact backfill`: past events into the windows of a real server."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from engine.cli import backfill

Tact = Callable[..., Any]
RULES = """
events:
  deposit: {amount: number}
windows:
  deposit_months: {months_with: deposit, over: 12 months, having: sum(event.amount) > 0}
  largest: {maximum: deposit.amount, over: 12 months}
messages:
  regular:
    purpose: service
    on: [deposit]
    when: windows.deposit_months >= 12 && windows.largest >= 1000
    channels: [sms]
    variants: {plain: {en: "A deposit every month."}}
purposes: {service: {consent: not_required, if_state_unknown: silent}}
channels: {sms: {}}
"""
MAPPING = """
mapping:
  customer: who
  event: {type: deposit, id: "{id}"}
  occurred_at: {column: when, format: rfc3339}
  attributes: {amount: amount}
"""


@pytest.fixture(scope="module")
def target(serve: Callable[[Path], str], tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("rules") / "rules.yaml"
    file.write_text(RULES)
    return serve(file)


def months_ago(count: int, now: datetime) -> str:
    year, month = divmod(now.year * 12 + now.month - 1 - count, 12)
    return f"{year}-{month + 1:02}-15T10:00:00Z"


def line(event: str, customer: str, when: str | None = None, amount: float = 1.0) -> str:
    told: dict[str, Any] = {"eventId": event, "customerId": customer, "type": "deposit"}
    if when is not None:
        told["occurredAt"] = when
    return json.dumps({"event": {**told, "attributes": {"amount": {"number": amount}}}})


def write(file: Path, *lines: str) -> Path:
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.mark.parametrize("part", [500, 3])
def test_a_file_completes_windows_once(
    tact: Tact, target: str, tmp_path: Path, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "PART", part)  # a long history goes in several calls
    now = datetime.now(UTC)
    names = [f"{name}-{part}" for name in ("always", "seldom", "never")]
    asked = [write(tmp_path / f"e{k}.jsonl", *[line(f"now{k}", name) for name in names]) for k in range(2)]

    def answers(file: Path) -> list[str]:
        found = map(json.loads, tact("decide", file, "--target", target, "--json").out.splitlines())
        return [f"{d['outcome']} {d['reason']}" for d in found]

    assert answers(asked[0]) == 3 * ["NO_MESSAGE WINDOW_INCOMPLETE"]
    past = [line(f"p{k}", names[0], months_ago(k, now), 500.0 * (k % 3)) for k in range(1, 15) if k % 3]
    past += [line(f"q{k}", names[0], months_ago(k, now)) for k in range(1, 15)]
    past += [line(f"s{k}", names[1], months_ago(k, now), 2000.0) for k in (2, 3, 14)]
    file = write(tmp_path / "past.jsonl", *past[::2], "", *past[1::2], json.dumps({"event": {"customerId": names[2]}}))
    arguments = ["backfill", file, "--until", now.isoformat(), "--target", target]
    ran = tact(*arguments)
    assert (ran.status, ran.out, ran.err) == (0, f"3 customers: {len(past)} events added, 0 known\n", "")
    assert answers(asked[1]) == ["SEND SELECTED", *(2 * ["NO_MESSAGE NOT_IN_AUDIENCE"])]
    ran = tact(*arguments, "--json")
    assert ran.status == 0
    assert ran.json == {
        "customers": 3, "events": len(past), "outside": 0, "counted": 0, "known": len(past), "late": 0, "apart": 0,
        "errors": [],
    }  # fmt: skip


def test_a_file_that_ends_too_early_is_told(tact: Tact, target: str, tmp_path: Path) -> None:
    tact("decide", write(tmp_path / "e.jsonl", line("e", "early")), "--target", target)
    when = months_ago(3, datetime.now(UTC))
    ran = tact("backfill", write(tmp_path / "past.jsonl", line("p", "early", when)), "--target", target)
    assert ran.status == 0
    assert ran.out.splitlines() == [
        "1 customer: 0 events added, 0 known",
        "1 not added: the file ends before windows began: --until TIME says that nothing happened in between",
    ]


def test_a_table_by_a_mapping(tact: Tact, target: str, tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    write(tmp_path / "rules" / "rules.yaml", RULES)
    write(tmp_path / "mapping.yaml", MAPPING)
    rows = [f"t{k},table,{months_ago(k, datetime.now(UTC))},{k}.5" for k in range(1, 4)]
    file = write(tmp_path / "past.csv", "id,who,when,amount", *rows)
    mapped = ["--mapping", tmp_path / "mapping.yaml", "--rules", tmp_path / "rules"]
    ran = tact("backfill", file, *mapped, "--target", target, "--json")
    assert ran.json["counted"] == 3
    ran = tact("backfill", file, "--mapping", tmp_path / "mapping.yaml", "--target", target)
    assert (ran.status, ran.err) == (2, "tact: --mapping needs --rules DIR, for the types of the attributes\n")


def test_nothing_is_sent_where_a_line_is_wrong(tact: Tact, target: str, tmp_path: Path) -> None:
    when = months_ago(2, datetime.now(UTC))
    file = write(tmp_path / "past.jsonl", line("a", "wrong", when), line("b", "wrong"), "{", '{"event": {"type": "x"}}')
    ran = tact("backfill", file, "--target", target)
    assert ran.status == 1
    assert ran.err.splitlines() == [
        f"{file}:2: the event has no occurredAt: expected when it happened",
        f"{file}:3: not JSON: Expecting property name enclosed in double quotes at line 2, column 1; "
        "expected a tact.v1.DecideRequest",
        f"{file}:4: the event has no customerId",
        f"tact: nothing was sent: 3 lines of {file} cannot be used",
    ]
    ran = tact("backfill", file, "--since", "yesterday", "--target", target)
    assert ran.status == 2
    assert "--since: found 'yesterday'" in ran.err


def test_a_customer_whose_events_do_not_fit_is_refused_alone(tact: Tact, target: str, tmp_path: Path) -> None:
    when = months_ago(2, datetime.now(UTC))
    bad = line("b", "unfit", when).replace("amount", "amuont")
    file = write(tmp_path / "past.jsonl", line("a", "fit", when), bad)
    ran = tact("backfill", file, "--target", target)
    assert ran.status == 1
    assert ran.out.splitlines() == ["1 customer: 1 event added, 0 known", "1 customer refused"]
    assert ran.err.startswith('customer unfit: events[0].attributes["amuont"]: deposit attribute "amuont" is not in')
