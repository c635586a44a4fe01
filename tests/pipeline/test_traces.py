"""Every part of every condition of a message, with its value and its place: what Explain tells."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from engine.bundle import compile_bundle
from engine.compiler.ruleset import read_directory
from engine.step import traces
from engine.step.traces import ConditionTrace
from engine.trial import run

sys.path.insert(0, str(Path(__file__).parent))
from trace_rules import HEAD, bundle_of, check_places, conditions, told, when


def test_values_of_every_part() -> None:
    assert when("event.n > 1 && event.n * 2 < 5 || false", "n: 2") == [
        "event.n > 1 && event.n * 2 < 5 || false = true",
        "  event.n > 1 && event.n * 2 < 5 = true",
        "    event.n > 1 = true",
        "      event.n = 2",
        "    event.n * 2 < 5 = true",
        "      event.n * 2 = 4",
        "        event.n = 2",
    ]


def test_errors_have_their_cause_and_absorbed_ones_are_told_too() -> None:
    assert when("features.salary > 1.0 || event.n % (event.n - 2) > 0 || event.n == 2", "n: 2") == [
        "features.salary > 1.0 || event.n % (event.n - 2) > 0 || event.n == 2 = true",
        "  features.salary > 1.0 = error: features.salary is missing",
        "    features.salary = error: features.salary is missing",
        "  event.n % (event.n - 2) > 0 = error: modulus by zero",
        "    event.n % (event.n - 2) = error: modulus by zero",
        "      event.n = 2",
        "      (event.n - 2) = 0",
        "        event.n = 2",
        "  event.n == 2 = true",
        "    event.n = 2",
    ]


def test_defaults_has_and_ternaries() -> None:
    steps = when("'has(features.balance) ? features.balance > 1.0 : features.balance > 3.0'")
    assert steps[1:] == [
        "  has(features.balance) = false",
        "  features.balance > 1.0 = true",
        "    features.balance = 3.5 (default)",
        "  features.balance > 3.0 = true",
        "    features.balance = 3.5 (default)",
    ]


def test_units_of_money_dates_and_times() -> None:
    text = 'event.amount + event.fee > event.fee && event.due > date("2026-01-01") && event.at < now'
    given = 'amount: 12.50, fee: 1, due: 2026-03-01, at: "2026-01-14T10:30:00+01:00"'
    steps = [step.strip() for step in when(text, given)]
    assert "event.amount + event.fee = 13.50 EUR" in steps
    assert "event.fee = 1.00 EUR" in steps
    assert "event.due = 2026-03-01" in steps
    assert "event.at = 2026-01-14T09:30:00Z" in steps
    assert "now = 2026-01-15T12:00:00Z" in steps


def test_money_has_the_currency_of_money_only() -> None:
    steps = when("'(features.rate > features.limit ? event.amount : event.fee) > event.fee'", "amount: 5, fee: 2")
    assert steps[1] == "  (features.rate > features.limit ? event.amount : event.fee) = 2.00 EUR"
    assert "      features.rate = 2.00 USD (default)" in steps


def test_conversions_that_nobody_wrote_are_not_told() -> None:
    steps = when("ratio(event.amount, event.fee) >= 2.5", "amount: 5, fee: 2")
    assert steps[1:] == [
        "  ratio(event.amount, event.fee) = 2.5",
        "    event.amount = 5.00 EUR",
        "    event.fee = 2.00 EUR",
    ]


def test_numbers_are_told_to_twelve_digits() -> None:
    steps = when("features.balance > 1.0", features="balance: 1234567.125")
    assert steps[1] == "  features.balance = 1234567.125"


def test_facts_have_their_own_file_and_are_opened_once() -> None:
    [condition] = conditions(bundle_of("    when: facts.twice > 6.0"), features="balance: 9000, salary: 3000")
    assert told(condition) == [
        "facts.twice > 6.0 = false",
        "  facts.twice = 6",
        "    facts.months + facts.months = 6",
        "      facts.months = 3",
        "        features.balance / features.salary = 3",
        "          features.balance = 9000",
        "          features.salary = 3000",
        "      facts.months = 3",
    ]
    assert [step.fact for step in condition.steps] == [
        "",
        "",
        *["facts.twice"] * 2,
        *["facts.months"] * 3,
        "facts.twice",
    ]
    assert str(condition.steps[2].position) == "facts.yaml:4:10"
    assert str(condition.steps[6].position) == "facts.yaml:3:30"
    assert str(condition.steps[7].position) == "facts.yaml:4:25"


def test_a_fact_of_two_conditions_is_opened_in_both() -> None:
    bundle = bundle_of("    when: facts.months > 1.0\n    unless: facts.months > 5.0")
    first, second = conditions(bundle, features="balance: 9000, salary: 3000")
    assert told(first)[1:] == told(second)[1:]
    assert "    features.balance / features.salary = 3" in told(second)


def test_macros_tell_the_value_for_each_element() -> None:
    text = 'event.tags.exists(t, t.startsWith("x") && size(t) > event.n)'
    assert when(f"'{text}'", "n: 1, tags: [xa, b, xyz]")[1:] == [
        '  event.tags = ["xa", "b", "xyz"]',
        '  t.startsWith("x") && size(t) > event.n = true, false, true',
        '    t.startsWith("x") = true, false, true',
        "    size(t) > event.n = true, false, true",
        "      size(t) = 2, 1, 3",
        "      event.n = 1",
    ]


def test_macros_of_macros_and_of_long_lists() -> None:
    tags = ", ".join("abcdefghij")
    text = 'event.tags.exists(t, ["a", "z"].exists_one(u, u == t)) && event.tags.map(t, t + "!").size() > 20'
    steps = when(f"'{text}'", f"tags: [{tags}]")
    few = "true, false, false, false, false, false, false, false, .."
    assert f'    ["a", "z"].exists_one(u, u == t) = {few}' in steps
    assert not any("u == t" in step and "exists_one" not in step for step in steps)
    assert any(step.endswith('t + "!" = "a!", "b!", "c!", "d!", "e!", "f!", "g!", "h!", ..') for step in steps)


def test_an_error_for_one_element() -> None:
    steps = when("event.tags.exists(t, int(t) > 1)", "tags: ['5', x]")
    assert steps[2:] == ["  int(t) > 1 = true, error", "    int(t) = 5, error"]
    steps = when("event.tags.exists(t, int(t) > 1)", "tags: [y, x]")
    assert steps[3] == "    int(t) = error: int: the text is not an integer"


def slots(expressions: dict[str, str], event: str = "", features: str = "", head: str = HEAD) -> list[ConditionTrace]:
    """The traces of the message's slots."""
    written = "".join(f"      {name}: '{text}'\n" for name, text in expressions.items())
    used = " ".join(f"{{{name}}}" for name in expressions)
    message = f"    slots:\n{written}    variants: {{plain: {{en: '{used}'}}}}"
    return conditions(bundle_of(message, {"head.yaml": head}), event, features)


def test_personal_values_are_hidden_also_in_what_they_are_part_of() -> None:
    expressions = {
        "who": 'features.first_name + "!"',
        "size": "size(features.phone)",
        "code": "int(event.secret)",
        "known": 'has(features.phone) ? "yes" : "no"',
    }
    found = slots(expressions, "secret: Joe99", 'first_name: Ana77, phone: "34600"')
    assert not any(value in str(found) for value in ("Joe99", "Ana77", "34600"))
    assert [(c.role, c.name, c.value) for c in found] == [
        ("slot", "who", "personal"),
        ("slot", "size", "personal"),
        ("slot", "code", "error: personal"),
        ("slot", "known", '"yes"'),
    ]
    assert told(found[1]) == ["size(features.phone) = personal", "  features.phone = personal"]
    assert told(found[3])[1] == "  has(features.phone) = true"


def test_a_personal_value_that_is_missing_may_be_named() -> None:
    [condition] = slots({"code": "event.secret"})
    assert condition.value == "error: event.secret is missing"
    assert condition.failed


def test_elements_of_a_personal_list_are_hidden() -> None:
    head = HEAD.replace("tags: texts", "tags: {type: texts, personal: true}")
    [condition] = slots({"long": "size(event.tags.filter(t, size(t) > 2))"}, "tags: [abc]", head=head)
    assert [step.value for step in condition.steps] == ["personal"] * 5


def test_every_expression_of_a_message_in_its_order() -> None:
    message = """\
    product: fund
    when: event.n > 0
    unless: event.n > 50
    value: event.n * 2
    about: string(event.n)
    slots: {n: event.n}
    variants: {plain: {en: "{n}"}}"""
    products = "products: {fund: {eligible: {enough: {is: event.n > 1, because: {en: No.}}}}}\n"
    bundle = bundle_of(message, {"products.yaml": products}, channels="[push: event.n > 5, sms]")
    found = conditions(bundle, "n: 7")
    assert [(c.role, c.name, c.value) for c in found] == [
        ("eligible", "enough", "true"),
        ("when", "", "true"),
        ("unless", "", "false"),
        ("channel", "push", "true"),
        ("channel", "push", "true"),
        ("value", "", "14"),
        ("about", "", '"7"'),
        ("slot", "n", "7"),
    ]
    assert [str(c.position.path) for c in found[3:5]] == ["rules.yaml", "head.yaml"]


@pytest.mark.parametrize(
    ("scalar", "places"),
    [
        (">-\n      event.n > 1 &&\n\n        event.n <\n        9", ["7:7", "7:7", "7:7", "9:9", "9:9"]),
        ("|\n      event.n > 1 &&\n      event.n < 9", ["7:7", "7:7", "7:7", "8:7", "8:7"]),
        ("event.n > 1 &&\n      event.n < 9", ["6:11", "6:11", "6:11", "7:7", "7:7"]),
        ("'event.n > 1\n\n      && event.n < 9'", ["6:12", "6:12", "6:12", "8:10", "8:10"]),
        ('"event.n \\x3e 1 && event.n \\\n      < 9"', ["6:12", "6:12", "6:12", "6:30", "6:30"]),
    ],
)
def test_places_in_scalars_of_every_style(scalar: str, places: list[str]) -> None:
    [condition] = conditions(bundle_of(f"    when: {scalar}"), "n: 3")
    assert condition.expression == "event.n > 1 && event.n < 9"
    assert [f"{s.position.line}:{s.position.column}" for s in condition.steps] == places
    assert [s.text for s in condition.steps][3:] == ["event.n < 9", "event.n"]


def test_only_messages_that_hear_the_event_have_conditions() -> None:
    assert conditions(bundle_of("    when: event.n > 0"), "n: 1", name="other") == []


def test_a_condition_with_too_many_parts_is_cut() -> None:
    parts = " || ".join(f"event.n == {i}" for i in range(240))
    [condition] = conditions(bundle_of(f"    when: {parts}"), "n: 1")
    assert condition.truncated
    assert len(condition.steps) == traces.STEPS_MAX
    assert condition.value == "true"
    assert len(condition.expression) == len(parts)
    assert len(condition.steps[0].text) == traces.TEXT_MAX


def test_all_of_it_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "BYTES_MAX", 600)
    bundle = bundle_of(
        "    when: event.n > 1 && event.n < 9\n    unless: event.n * event.n == 16\n    value: event.n * 3"
    )
    found = conditions(bundle, "n: 2")
    assert [c.truncated for c in found] == [False, True, True]
    assert [c.value for c in found] == ["true", "false", "6"]


def test_long_values_and_texts_are_cut() -> None:
    [condition] = conditions(bundle_of("    when: size(event.tags) > 1"), f"tags: [{'x' * 5000}, y]")
    assert max(len(step.value) for step in condition.steps) == traces.TEXT_MAX


def test_places_in_the_rules_that_come_with_it() -> None:
    bundle = compile_bundle(read_directory(Path(__file__).parents[2] / "rules"))
    roles = set()
    for test in bundle.ruleset.tests:
        for view in run(bundle, test).explanation.candidates:
            for condition in view.conditions:
                check_places(bundle, condition)
                assert condition.steps[0].value == condition.value
                roles.add(condition.role)
    assert roles >= {"eligible", "when", "unless", "channel", "slot"}
