"""`tact test` and engine.trial: the tests that stand beside the rules."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.bundle import compile_bundle
from engine.decision import Outcome, Reason
from engine.trial import TrialResult, run

Tact = Callable[..., Any]

RULES = (Path(__file__).parent / "small_rules.yaml").read_bytes()
TESTS = """\
tests:
  - name: a large deposit is thanked for
    given: {features: {phone: "+34600"}}
    event: {type: deposit, amount: 150}
    expect: {send: thanks, channel: sms, variant: plain, text: "Thank you."}
  - name: a small one is not
    given: {features: {phone: "+34600"}}
    event: {type: deposit, amount: 99.5}
    expect: {no_message: NOT_IN_AUDIENCE}
"""


def result(test: str) -> TrialResult:
    """What comes of one test of the small rule set."""
    bundle = compile_bundle({"rules.yaml": RULES, "tests.yaml": f"tests:\n  - {test}".encode()})
    return run(bundle, bundle.ruleset.tests[0])


def login(given: str, expect: str = "send: fund_intro", more: str = "") -> TrialResult:
    return result(f"{{name: t, given: {{{given}}}, event: {{type: login}}, expect: {{{expect}}}{more}}}")


def test_all_pass(tact: Tact, rules: Path) -> None:
    (rules / "tests.yaml").write_text(TESTS)
    ran = tact("test", rules)
    assert ran.status == 0
    assert ran.out == "ok    a large deposit is thanked for\nok    a small one is not\n2 tests passed, 0 failed\n"


def test_a_failure_shows_the_funnel(tact: Tact, rules: Path) -> None:
    (rules / "tests.yaml").write_text(TESTS.replace("amount: 150", "amount: 50"))
    ran = tact("test", rules)
    assert ran.status == 1
    assert (
        ran.out
        == """\
FAIL  a large deposit is thanked for
      tests.yaml:2:5
      expected send: thanks; came no_message: NOT_IN_AUDIENCE (the customer is not in the audience of 'thanks')
      - thanks  NOT_IN_AUDIENCE  the customer is not in the audience of 'thanks'
        when  false  rules.yaml:24:11
          event.amount >= 100
            event.amount  50
        not for this event: fund_intro
ok    a small one is not
1 test passed, 1 failed
"""
    )


def test_a_failure_shows_only_the_parts_that_failed(tact: Tact, rules: Path) -> None:
    text = (rules / "rules.yaml").read_text()
    text = text.replace(
        "when: event.amount >= 100", "when: event.channel == 'branch' && facts.grown && event.amount >= 100"
    )
    text = text.replace("service: {consent: not_required, if_state_unknown: send}", "service: {consent: not_required}")
    text = text.replace("products:", "facts: {grown: features.age >= 18 || event.amount > 1000}\nproducts:")
    (rules / "rules.yaml").write_text(text)
    (rules / "tests.yaml").write_text(
        """\
tests:
  - name: a deposit at a branch is thanked for
    given: {features: {age: 17}}
    event: {type: deposit, amount: 150, channel: branch}
    expect: {send: thanks}
"""
    )
    told = tact("test", rules).out.splitlines()
    head = next(i for i, line in enumerate(told) if line.startswith("      - thanks"))
    assert told[head + 1 :] == [
        "        when  false  rules.yaml:25:11",
        "          event.channel == 'branch' && facts.grown && event.amount >= 100",
        "            facts.grown                                  false",
        "              features.age >= 18 || event.amount > 1000  false  rules.yaml:8:16",
        "                features.age >= 18                       false",
        "                  features.age                           17",
        "                event.amount > 1000                      false",
        "                  event.amount                           150",
        "        channel sms  false  rules.yaml:16:15",
        "          has(features.phone)",
        "        not for this event: fund_intro",
        "0 tests passed, 1 failed",
    ]


def test_another_message_that_was_expected_to_be_silent_shows_no_parts(tact: Tact, rules: Path) -> None:
    expected = "expect: {no_message: NO_CHANNEL}"
    (rules / "tests.yaml").write_text(TESTS.replace("expect: {no_message: NOT_IN_AUDIENCE}", expected))
    assert "    event.amount >= 100\n        read: event.amount = 99.5\n" in tact("test", rules).out


def test_json_has_the_decision_and_the_candidates(tact: Tact, rules: Path) -> None:
    (rules / "tests.yaml").write_text(TESTS.replace("amount: 150", "amount: 50"))
    found = tact("test", rules, "--json").json
    assert (found["passed"], found["failed"]) == (1, 1)
    first = found["tests"][0]
    assert first["decision"]["reason"] == "NOT_IN_AUDIENCE"
    assert first["candidates"][0]["position"] == {"path": "rules.yaml", "line": 24, "column": 11}
    assert len(first["failures"]) == 1


def test_the_filter(tact: Tact, rules: Path) -> None:
    (rules / "tests.yaml").write_text(TESTS)
    assert tact("test", rules, "--filter", "SMALL").out == "ok    a small one is not\n1 test passed, 0 failed\n"
    ran = tact("test", rules, "--filter", "nothing")
    assert ran.status == 2
    assert ran.err == f"tact: no name of the 2 tests of {rules} contains 'nothing'\n"


def test_findings_stop_it(tact: Tact, rules: Path) -> None:
    (rules / "tests.yaml").write_text(TESTS.replace("thanks,", "thansk,"))
    ran = tact("test", rules)
    assert ran.status == 1
    assert "error[unknown-message]" in ran.out


ADULT = 'features: {age: 30, phone: "1"}'


def test_consent_is_given_the_day_before() -> None:
    assert login(f"{ADULT}, consent: [marketing]").passed
    assert login(ADULT).decision.reason is Reason.NO_CONSENT


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        ("2026-01-15T10:00:00Z", Reason.SELECTED),
        ("2026-01-15T21:00:00Z", Reason.QUIET_HOURS),
        ("2026-01-15T21:00:00+11:00", Reason.QUIET_HOURS),  # ten in the morning, UTC
        ("2026-01-15T10:00:00-12:00", Reason.SELECTED),
        ("2026-01-15T21:00:00+05:30", Reason.SELECTED),  # no whole hour: read as UTC
    ],
)
def test_the_customer_lives_by_the_offset_written(now: str, reason: Reason) -> None:
    assert login(f'{ADULT}, consent: [marketing], now: "{now}"').decision.reason is reason


def test_eligible_is_about_products() -> None:
    assert login(ADULT, "eligible: [fund]").passed
    assert login("features: {age: 17}", "eligible: []").passed
    assert login("features: {}", "eligible: [fund]").failures == ["expected eligible: fund; came: none"]


def test_the_holdout_is_everybody_or_nobody() -> None:
    given = f"{ADULT}, consent: [marketing]"
    assert login(given).decision.outcome is Outcome.SEND
    assert login(given, "no_message: HOLDOUT", ", holdout: true").passed


def test_each_part_that_does_not_hold_is_told() -> None:
    came = login(f"{ADULT}, consent: [marketing]", 'send: thanks, channel: push, text: "Hi"')
    assert came.failures == [
        "expected send: thanks; came send: fund_intro",
        'expected channel: "push"; came channel: "sms"',
        'expected text: "Hi"; came text: "There is a fund for you."',
    ]
