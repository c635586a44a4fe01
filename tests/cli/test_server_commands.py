"""The commands that ask a running server: one real server for all of them."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Tact = Callable[..., Any]


def deposit(event: str, customer: str, **attributes: dict[str, Any]) -> str:
    return json.dumps(
        {"event": {"eventId": event, "customerId": customer, "type": "deposit", "attributes": attributes}}
    )


AMOUNT = {"amount": {"number": 500.0}}


def profile(customer: str, **features: dict[str, Any]) -> str:
    return json.dumps({"customerId": customer, "features": features})


@pytest.fixture
def lines(tmp_path: Path) -> Callable[..., Path]:
    """Writes lines to a file of their own."""

    def write(name: str, *texts: str) -> Path:
        file = tmp_path / name
        file.write_text("\n".join(texts) + "\n")
        return file

    return write


def test_profiles_and_events_and_why(tact: Tact, target: str, lines: Callable[..., Path]) -> None:
    profiles = lines("p.jsonl", profile("tell-1", phone={"text": "1"}), "", profile("tell-2", phone={"text": "2"}))
    ran = tact("load", profiles, "--target", target)
    assert (ran.status, ran.out, ran.err) == (0, "2 profiles stored\n", "")

    events = lines("e.jsonl", deposit("a", "tell-1", **AMOUNT), deposit("b", "tell-1", **AMOUNT))
    ran = tact("decide", events, "--target", target)
    assert ran.status == 0
    table = [line.split() for line in ran.out.splitlines()]
    assert table[0] == ["customer", "event", "outcome", "message", "variant", "channel", "reason", "propensity"]
    assert table[1] == ["tell-1", "a", "SEND", "thanks", "plain", "sms", "SELECTED", "1.0000"]
    assert table[2] == ["tell-1", "b", "NO_MESSAGE", "thanks", "CAP_REACHED:", "one", "a", "week"]
    assert table[3] == ["2", "events:", "1", "with", "a", "message"]

    ran = tact("decide", events, "--target", target, "--json")
    first, second = map(json.loads, ran.out.splitlines())
    assert (first["outcome"], first["message"], first["event_id"]) == ("SEND", "thanks", "a")
    assert second["details"]["cap"] == "one a week"

    ran = tact("explain", first["decision_id"], "--target", target)
    assert ran.status == 0
    assert ran.out.startswith('SEND  thanks / plain by sms\n    "Thank you."\n')
    assert "* thanks  SELECTED" in ran.out

    what_if = ["explain", "--customer", "tell-1", "--event", "deposit", "--attribute", "amount=50.0"]
    ran = tact(*what_if, "--target", target)
    assert ran.status == 0
    told = ran.out.splitlines()
    assert told[0].startswith("NO_MESSAGE  NOT_IN_AUDIENCE")
    assert told[3:] == [
        "- thanks  NOT_IN_AUDIENCE  the customer is not in the audience of 'thanks'",
        "  rules.yaml:24:11",
        "  event.amount >= 100",
        "  read: event.amount = 50",
        "  not for this event: fund_intro",
    ]

    ran = tact(*what_if, "--why", "thanks", "--target", target)
    assert ran.out.splitlines()[3:] == [
        "- thanks  NOT_IN_AUDIENCE  the customer is not in the audience of 'thanks'",
        "  when  false  rules.yaml:24:11",
        "    event.amount >= 100",
        "      event.amount  50",
        "  channel sms  true  rules.yaml:15:15",
        "    has(features.phone)",
        "  not for this event: fund_intro",
    ]
    assert tact(*what_if, "--why", "all", "--target", target).out == ran.out
    ran = tact(*what_if, "--why", "thanx", "--target", target)
    assert ran.status == 1
    assert "conditions_of[0]: found 'thanx', which is no message; did you mean 'thanks'?" in ran.err
    ran = tact("explain", first["decision_id"], "--why", "all", "--target", target)
    assert ran.status == 2
    assert "--why is for a what-if" in ran.err

    request = lines("r.json", deposit("c", "tell-2", **AMOUNT))
    answer = tact("explain", "--request", request, "--target", target, "--json").json
    assert answer["decision"]["message"] == "thanks"
    assert answer["candidates"][0]["stopped_by"] == "SELECTED"


def test_bad_lines_do_not_stop_the_others(tact: Tact, target: str, lines: Callable[..., Path]) -> None:
    events = lines(
        "e.jsonl",
        "nonsense",
        "[1]",
        '{"evnt": {}}',
        deposit("x", "bad-1", amuont={"number": 1}),
        deposit("y", "bad-1", amount={"number": 1}),
    )
    ran = tact("decide", events, "--target", target)
    assert ran.status == 1
    assert ran.err.splitlines() == [
        f"{events}:1: not JSON: Expecting value at column 1; expected a tact.v1.DecideRequest",
        f"{events}:2: found list, expected an object that is a tact.v1.DecideRequest",
        f"{events}:3: DecideRequest has no field 'evnt'; did you mean 'event'?",
    ]
    out = ran.out.splitlines()
    assert "did you mean 'amount'?" in out[1]
    assert "NOT_IN_AUDIENCE" in out[2]
    assert out[3] == "2 events: 0 with a message, 4 refused"

    ran = tact("decide", events, "--target", target, "--json")
    error, decision = map(json.loads, ran.out.splitlines())
    assert (error["line"], error["event_id"]) == (4, "x")
    assert decision["reason"] == "NOT_IN_AUDIENCE"

    profiles = lines("p.jsonl", profile("bad-1", phone={"number": 1}), "{", profile("bad-2", age={"integer": "3"}))
    ran = tact("load", profiles, "--target", target)
    assert (ran.status, ran.out) == (1, "1 profile stored, 2 refused\n")
    first, second = ran.err.splitlines()
    assert first == f'{profiles}:1: features["phone"]: found number 1.0: expected a text'
    assert second.startswith(f"{profiles}:2: not JSON")


def test_rule_sets_come_and_go(tact: Tact, target: str, rules: Path) -> None:
    to = ("--target", target)
    old = tact("check", rules, "--json").json["revision"]
    file = rules / "rules.yaml"
    file.write_text(file.read_text().replace("Thank you.", "Thanks."))
    ran = tact("deploy", rules, "--note", "shorter", "--stage-only", *to, "--json")
    new = ran.json["revision"]
    assert (ran.status, ran.json["note"]) == (0, "shorter")
    assert tact("activate", new, "--expect", old, *to).out == f"revision {new} is active: 2 messages\n"
    ran = tact("revisions", *to)
    assert ran.out.splitlines()[1].split()[:2] == ["*", new]
    ran = tact("deploy", rules, "--expect", old, *to)
    assert ran.status == 1
    assert ran.err == f"tact: the server at {target} refused (ABORTED): the active revision is {new}, not {old}\n"
    ran = tact("deploy", rules, "--stage-only", *to)
    assert ran.out == f"revision {new} is kept, and active already: 2 messages\n"
    assert tact("revisions", *to, "--json").json["revisions"][0]["note"] == "shorter"
    assert tact("rollback", *to).out == f"revision {old} is active again: 2 messages\n"
    assert [r["revision"] for r in tact("revisions", *to, "--json").json["revisions"] if r.get("active")] == [old]

    file.write_text(file.read_text().replace("product: fund", "product: fnd"))
    ran = tact("deploy", rules, *to)
    assert ran.status == 1
    assert "error[unknown-product]" in ran.out

    assert tact("pause", "--message", "thanks", *to).out == "paused now: message thanks\n"
    assert tact("pause", "--all", *to, "--json").json == {
        "paused_messages": ["thanks"],
        "paused_purposes": [],
        "all_paused": True,
    }
    tact("resume", "--all", *to)
    assert tact("resume", "--message", "thanks", *to).out == "paused now: nothing\n"


def test_what_the_server_refuses_is_told(tact: Tact, target: str) -> None:
    ran = tact("explain", "nonsense", "--target", target)
    assert ran.status == 1
    assert ran.err == (
        f"tact: the server at {target} refused (INVALID_ARGUMENT):\n"
        '  decision_id: found "nonsense": expected a decision_id as a Decision gave it\n'
    )
    ran = tact("pause", "--message", "thansk", "--target", target)
    assert "did you mean 'thanks'?" in ran.err


def test_usage(tact: Tact, tmp_path: Path) -> None:
    for arguments in (
        ["explain"],
        ["explain", "abc", "--customer", "c"],
        ["explain", "--customer", "c"],
        ["explain", "--customer", "c", "--event", "e", "--attribute", "x"],
        ["pause"],
        ["pause", "--all", "--message", "m"],
        ["decide", tmp_path / "nowhere.jsonl"],
        ["load", tmp_path],
    ):
        assert tact(*arguments).status == 2


def test_no_server(tact: Tact, rules: Path, lines: Callable[..., Path]) -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{s.getsockname()[1]}"
    events = lines("e.jsonl", deposit("a", "c", **AMOUNT))
    profiles = lines("p.jsonl", profile("c"))
    for arguments in (["decide", events], ["load", profiles], ["deploy", rules], ["revisions"]):
        ran = tact(*arguments, "--target", target)
        assert (ran.status, ran.out) == (1, "")
        assert ran.err.startswith(f"tact: no server answers at {target} (")
        assert "Start one with `make serve`" in ran.err
        assert ran.err.count("\n") == 1
