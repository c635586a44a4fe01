"""What analysis says about rule sets, and what it does not say. docs/findings.md shows each code once more."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from engine.compiler import ruleset
from engine.compiler.analysis import contact
from engine.compiler.source import Finding, render
from engine.contact.caps import KEPT_MS_MIN
from engine.errors import RulesInvalid

ROOT = Path(__file__).parents[3]
BASE = """\
events:
  deposit: {amount: number, channel: text, teller: {type: text, personal: true}}
  login: {device: text}
features:
  age: {type: integer, at_least: 0, at_most: 120}
  balance: number
  score: {type: number, at_least: 0, at_most: 1, default: 0.5}
  region: text
  active: {type: bool, default: false}
  phone: {type: text, personal: true}
  timezone: text
windows:
  deposits: {count: deposit, over: 30 days}
  months: {months_with: deposit, over: 12 months}
  seen: {last: login.occurred_at}
  spoke_to: {last: deposit.occurred_at, where: has(event.teller)}
facts:
  months: "has(windows.months) ? windows.months : features.age"
  maturity: "features.age < 30 ? 'young' : features.age < 60 ? 'grown' : 'old'"
products:
  fund:
    eligible:
      adult: {is: features.age >= 18}
      covered: {is: features.balance >= 1000 || features.score > 0.9}
purposes:
  ads: {consent: required, quiet_hours: night}
  service: {consent: not_required, tier: 1}
quiet_hours:
  night: {from: "20:00", to: "08:00", zone: customer}
channels:
  sms: {when: has(features.phone)}
  push: {when: features.active}
messages:
  used:
    purpose: service
    on: [login]
    product: fund
    when: "facts.months >= 9 && windows.deposits > 0 && now - windows.seen > days(3) && windows.spoke_to < now"
    unless: "facts.maturity == 'old'"
    channels: [push, sms]
    slots: {region: "has(features.region) ? features.region : 'x'"}
    variants: {plain: {en: "Hello {region}."}}
"""


def findings(more: str, base: str = BASE) -> tuple[Finding, ...]:
    try:
        return ruleset.load({"a.yaml": base.encode(), "b.yaml": more.encode()}).warnings
    except RulesInvalid as refused:
        return refused.findings


def told(more: str, base: str = BASE) -> list[str]:
    return [f"{f.code} {f.position.line}:{f.position.column}+{f.length}" for f in findings(more, base)]


def message(keys: str) -> str:
    return (
        "messages:\n  hello:\n    purpose: ads\n    on: [deposit]\n    channels: [sms]\n"
        '    variants: {plain: {en: "Hello."}}\n' + "".join(f"    {line}\n" for line in keys.splitlines())
    )


def test_the_base_says_nothing() -> None:
    assert findings("facts: {}\n") == ()


def test_channels_that_are_not_declared_are_told_once() -> None:
    two = message("").replace("[sms]", "[pigeon, {drone: features.active}]")
    two += message("").replace("[sms]", "[pigeon]").replace("messages:\n  hello:", "  bye:").replace("Hello", "Bye")
    assert told(two) == ["undeclared-channel 5:16+6", "undeclared-channel 5:25+5"]
    assert findings(two)[0].hint == "declare it: `channels: {pigeon: {}}`"
    assert told(two + "channels: {pigeon: {}, drone: {}}\n") == []
    none = BASE.replace("  sms: {when: has(features.phone)}\n  push: {when: features.active}\n", "")
    assert "undeclared-channel" not in " ".join(told(two, none))


AMOUNTS = [  # the unit of an amount, a slot, what is told, and its hint
    ("EUR", "{event.paid:money}", [], ""),
    ("Euros", "{event.paid:money}", ["unit-no-currency 6:36+16"], "write `unit: EUR` in the schema"),
    ('"€"', "{event.paid * 2.0:money}", ["unit-no-currency 6:36+22"], "write `unit: EUR` in the schema"),
    ("eur", "{event.paid : money}", ["unit-no-currency 6:36+18"], "write `unit: EUR` in the schema"),
    ("points", "{event.paid:money}", ["unit-no-currency 6:36+16"], "mend the unit in the schema, or write `:number`"),
    ("points", "{event.paid:number}", [], ""),
    ("points", "{event.plain:money}", [], ""),
]


@pytest.mark.parametrize(("unit", "slot", "expected", "hint"), AMOUNTS)
def test_an_amount_is_said_in_a_currency(unit: str, slot: str, expected: list[str], hint: str) -> None:
    events = f"events: {{payment: {{paid: {{type: number, unit: {unit}}}, plain: number}}}}\n"
    more = message("").replace("[deposit]", "[payment]").replace("Hello.", f"Paid: {slot}") + events
    assert told(more) == expected
    assert [f.hint for f in findings(more)] == ([hint] if hint else [])


def test_a_declared_slot_is_said_in_a_currency_too() -> None:
    more = message("slots: {sum: {is: event.amount, as: money}}").replace("Hello.", "{sum} arrived.")
    assert [f.code for f in findings(more, BASE.replace("amount: number", "amount: {type: number, unit: Euro}"))] == [
        "unit-no-currency"
    ]


CONDITIONS = [  # a condition of a message on deposits, and what is said of it
    ("true", []),
    ("false", []),
    ("features.age > 17", []),
    ("features.age >= 0", ["always-true 7:12+17"]),
    ("features.age > 120", ["always-false 7:12+18"]),
    ("features.active && features.age > 120", ["always-false 7:31+18"]),
    ("features.score <= 1 || features.active", ["always-true 7:12+19"]),
    ("features.score < 0.5 && features.score > 0.5", ["always-false 7:12+44"]),
    ("!(features.age < 18) && features.age < 10", ["always-false 7:12+41"]),
    ("windows.months > 12", ["always-false 7:12+19"]),
    ("windows.deposits >= 0", ["always-true 7:12+21"]),
    ("facts.months < 0", ["always-false 7:12+16"]),
    ("facts.maturity == 'grwon'", ["always-false 7:12+25"]),
    ("facts.maturity in ['young', 'grown', 'old']", ["always-true 7:12+43"]),
    ("features.region == 'a' && features.region == 'b'", ["always-false 7:12+48"]),
    ("features.region in ['a', 'b'] && features.region != 'c'", ["redundant-condition 7:45+22"]),
    ("features.age > 20 && features.active && features.age > 18", ["redundant-condition 7:52+17"]),
    ("features.age > 20 || features.age > 18", ["redundant-condition 7:12+17"]),
    ("features.active && features.active", ["redundant-condition 7:31+15"]),
    ("features.active && true", ["redundant-condition 7:31+4"]),
    ("features.balance == features.balance", ["redundant-condition 7:12+36"]),
    ("features.balance < 5 || features.balance >= 5", []),  # NaN is neither
    ("has(features.region) && features.region == 'a'", []),  # the reason it gives is another
    ("!has(features.region) && features.region == 'a'", ["always-false 7:12+47"]),
    ("!has(features.score) && features.score > 0.1", []),  # the default
    ("event.type == 'deposit'", ["always-true 7:12+23"]),
    ("event.type == 'login'", ["always-false 7:12+21"]),
    ("features.balance < event.amount && event.amount < features.balance", ["always-false 7:12+66"]),
    ("days_since(windows.seen) > 3 && days_since(windows.seen) < 3", ["always-false 7:12+60"]),
]


@pytest.mark.parametrize(("condition", "expected"), CONDITIONS, ids=[c for c, _ in CONDITIONS])
def test_conditions(condition: str, expected: list[str]) -> None:
    assert told(message(f'when: "{condition}"')) == expected


BIRTHS = "events: {birth: {at: {type: time, personal: true}}}\nwindows: {born: {last: birth.at}}\n"
RULE_SETS = [  # (what it is, a rule file beside the base, what is said)
    ("against its product", message("product: fund\nwhen: features.age < 18"), ["unreachable-message 2:3+5"]),
    (
        "against both alternatives of its product",
        message("product: fund\nwhen: features.score < 0.5 && features.balance < 10"),
        ["unreachable-message 2:3+5"],
    ),
    ("unless against its product", message("product: fund\nunless: features.age > 10"), ["unreachable-message 2:3+5"]),
    ("not against its product", message("product: fund\nwhen: features.age < 19"), []),
    ("against its channel", message('when: "!has(features.phone)"'), ["unreachable-message 2:3+5"]),
    ("switched off", message("product: fund\nwhen: false"), []),
    (
        "no weight",
        message("policy: p") + "policies: {p: {kind: fixed, weights: {plain: 0, other: 1}}}\n",
        ["unknown-variant 8:49+5"],
    ),
    (
        "a channel switched off",
        message("when: features.active") + "channels: {fax: {when: false}}\n",
        ["unused-channel 8:12+3"],
    ),
    (
        "a product against itself",
        "products: {bond: {eligible: {a: {is: features.age > 5}, b: {is: features.age < 5}}}}\n"
        + message("product: bond").replace("\n    ", "\n    "),
        ["never-eligible 1:12+4"],
    ),
    ("twice", message("when: features.active") + "  bye: {like: hello}\n", ["duplicate-message 8:3+3"]),
    ("twice, for others", message("when: features.active") + "  bye: {like: hello, when: features.age > 3}\n", []),
    (
        "one text for two texts",
        message("when: features.region == 'a b'") + "  bye: {like: hello, when: features.region == 'ab'}\n",
        [],
    ),
    (
        "a personal segment",
        message("policy: p") + "policies: {p: {kind: thompson, reward: {replied: 1}, by: [event.teller]}}\n",
        ["personal-in-condition 8:59+12"],
    ),
    ("a personal condition", message("when: event.teller == 'Ana'"), ["personal-in-condition 7:11+12"]),
    ("a personal value", message("value: size(event.teller)"), ["personal-in-condition 7:17+12"]),
    ("a personal fact", "facts: {t: size(event.teller)}\n", ["personal-in-condition 1:17+12"]),
    ("whether a personal value is there", message("when: has(event.teller)"), []),
    ("a personal value in a slot", message("slots: {t: event.teller}").replace("Hello.", "{t}"), []),
    (
        "a window of personal values",
        message("when: windows.born < now") + BIRTHS,
        ["personal-logged 7:11+12"],
    ),
    (
        "whether a window of personal values holds one",
        message("when: has(windows.born)") + BIRTHS,
        [],
    ),
    (
        "curly quotes",
        message("when: features.region == \u201cmadrid\u201d"),
        ["unexpected-character 7:30+1"],
    ),
    (
        "one attribute of two types",
        "events: {a: {x: text}, b: {x: integer}}\n"
        + message("").replace("[deposit]", "[a]").replace("variants", "when: event.x < 'k'\n    variants")
        + "  other: {like: hello, on: [b], when: event.x > 4 && event.x < 3}\n"
        + "  third: {like: hello, on: [b], when: event.x + 1 > 4 && event.x < 9}\n",
        ["always-false 9:39+26"],
    ),
    (
        "a division by zero in a slot",
        message("slots: {x: 'event.amount > 1 ? 1 / 0 : 2 / 0'}"),
        ["integer-division 7:36+5", "integer-division 7:44+5"],
    ),
    (
        "no variant without a feature",
        message("slots: {r: features.region}\nvalue: 2").replace("Hello.", "{r}"),
        ["slot-may-be-missing 2:3+5"],
    ),
    (
        "the audience has the feature",
        message("slots: {r: features.region}\nwhen: features.region != 'x'").replace("Hello.", "{r}"),
        [],
    ),
    ("a default", message("slots: {r: features.score}").replace("Hello.", "{r}"), []),
    (
        "two braces",
        message("slots: {r: features.score}").replace("Hello.", "{{r}} is {{not}} {r}"),
        ["doubled-braces 6:16+5"],
    ),
    ("a language", message("value: 2").replace('{en: "Hello."}', '{es: "Hola."}'), ["missing-language 6:16+5"]),
    ("a base language will do", message("value: 2").replace('{en: "Hello."}', '{en: "Hello.", "en-GB": "Hello."}'), []),
    (
        "replies in one language",
        message("value: 2").replace('{en: "Hello."}', '{en: {text: "Hello.", replies: ["Yes"]}, es: "Hola."}'),
        ["missing-language 6:68+1"],
    ),
    (
        "a cap of nothing",
        message("value: 2") + "caps: [{at_most: 0, per: [customer], in: 7 days}]\n",
        ["cap-never-passes 8:8+1"],
    ),
    (
        "caps that leave each other room",
        message("value: 2")
        + "caps:\n- {at_most: 3, per: [customer], in: 7 days}\n- {at_most: 1, per: [customer], in: 1 day}\n"
        + "- {at_most: 2, per: [customer], in: calendar month}\n- {at_most: 9, per: [customer], in: 9 days}\n",
        [],
    ),
    (
        "caps that do not",
        message("value: 2")
        + "caps:\n- {at_most: 3, per: [customer], in: 7 days}\n"
        + "- {at_most: 3, per: [customer, topic], in: calendar day}\n"
        + "- {at_most: 4, per: [customer], in: calendar week}\n- {at_most: 3, per: [customer], in: 7 days}\n",
        ["shadowed-cap 10:3+1", "shadowed-cap 12:3+1"],
    ),
]


@pytest.mark.parametrize(("more", "expected"), [r[1:] for r in RULE_SETS], ids=[r[0] for r in RULE_SETS])
def test_rule_sets(more: str, expected: list[str]) -> None:
    assert told(more) == expected


def test_hours_of_the_customer_need_a_clock() -> None:
    without = BASE.replace("  timezone: text\n", "")
    assert told("facts: {}\n", without) == ["no-timezone 28:3+5"]
    assert told("facts: {}\n", without.replace("zone: customer", "zone: Europe/Madrid")) == []


def test_errors_are_told_with_the_warnings() -> None:
    bad = "features: {share: {type: number, at_least: 2, at_most: 1}}\n"
    with pytest.raises(RulesInvalid) as caught:
        ruleset.load({"a.yaml": BASE.encode(), "b.yaml": bad.encode()})
    assert [(f.code, f.severity) for f in caught.value.findings] == [
        ("feature-never-valid", "error"),
        ("unused-feature", "warning"),
    ]


def test_what_people_read() -> None:
    (found,) = findings(message("product: fund\nwhen: features.age < 18"))
    head, _, drawn = render(found).partition("\n")
    assert head.startswith("b.yaml:2:3: warning[unreachable-message]: nobody can receive 'hello': ")
    assert head.endswith(": its `when` contradicts the eligibility of 'fund'")
    assert textwrap.dedent(drawn) == textwrap.dedent(
        """\
           2 |   hello:
             |   ^^^^^
             = found: no value of features.age will do
             = also at: a.yaml:21:3
          21 |   fund:
             |   ----"""
    )  # fmt: skip


@pytest.mark.parametrize("path", ["rules", "rules/examples/bank_campaign"])
def test_the_shipped_rules_give_no_warnings(path: str) -> None:
    assert ruleset.load(ruleset.read_directory(ROOT / path)).warnings == ()


def test_the_example_of_the_design_has_windows_to_spare_and_a_channel_without_condition() -> None:
    files = {"a.yaml": (ROOT / "tests/compiler/base_rules.yaml").read_bytes()}
    assert {f.code for f in ruleset.load(files).warnings} <= {"unused-window", "undeclared-channel"}


def test_outcomes_are_remembered_as_long_as_analysis_believes() -> None:
    assert contact.KEPT_S_MIN * 1000 == KEPT_MS_MIN
