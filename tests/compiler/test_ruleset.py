from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.compiler import ruleset
from engine.compiler.model import Period, RuleSet
from engine.compiler.nodes import Const, Ref, Type
from engine.compiler.reference import reads
from engine.compiler.source import Finding, render
from engine.errors import RulesInvalid

BASE = Path(__file__).with_name("base_rules.yaml").read_text()  # the example of the design, with its schema


def load(*texts: str) -> RuleSet:
    files = {f"{chr(97 + i)}.yaml": textwrap.dedent(t).encode() for i, t in enumerate(texts)}
    return ruleset.load(files)


def findings(*texts: str) -> tuple[Finding, ...]:
    with pytest.raises(RulesInvalid) as caught:
        load(*texts)
    return caught.value.findings


def changed(old: str, new: str) -> str:
    assert BASE.count(old) == 1, old
    return BASE.replace(old, new)


def test_the_example_of_the_design_loads() -> None:
    rules = load(BASE)
    message = rules.messages["green_fund_intro"]
    assert (message.product, message.purpose, message.topic, message.stage) == (
        "green_fund", "marketing", "investing", "expand",
    )  # fmt: skip
    assert message.on == ("deposit",)
    assert isinstance(message.value.node, Const)
    assert message.value.node.value == 12.0
    assert [c.channel for c in message.channels] == ["push", "sms"]
    assert {k: s.shape for k, s in message.slots.items()} == {"months": "integer", "first_name": "text"}
    assert message.slots["first_name"].expression.node == Ref(Type.TEXT, "features.first_name", message.value.node.span)
    assert list(message.variants) == ["control", "cushion"]
    assert message.variants["control"].texts["en"].text == "You can invest from your account."
    assert rules.purposes["marketing"].tier == 2
    assert rules.purposes["service"].if_state_unknown == "send"
    assert [c.title for c in rules.caps] == [
        "at most 3 per customer in 7 days (marketing)", "at most 1 per customer and topic in a calendar day",
    ]  # fmt: skip
    assert rules.caps[0].over == Period(7, "day")
    assert rules.caps[1].calendar == "day"
    assert rules.gaps[0].apart.span_s == 4 * 3600
    policy = rules.policies["reply_bandit"]
    assert (policy.attribution_s, policy.floor, policy.control) == (172_800, 0.02, "control")
    assert policy.reward == {"replied": 1.0, "converted": 5.0}
    assert rules.holdout is not None
    assert (rules.holdout.share, rules.holdout.salt) == (0.05, "2026-H2")
    assert (rules.quiet_hours["night"].from_minute, rules.quiet_hours["night"].to_minute) == (1200, 480)
    assert {n: (w.kind, w.type) for n, w in rules.windows.items()} == {
        "deposits_30d": ("count", Type.INTEGER), "spend_7d": ("sum", Type.NUMBER),
        "deposit_months": ("months_with", Type.INTEGER), "last_payment": ("last", Type.TIME),
    }  # fmt: skip
    assert rules.tests[0].given.now_ns == 1_795_251_600 * 10**9
    assert rules.tests[0].given.windows == {"deposit_months": 11}
    assert rules.tests[0].attributes == {"amount": 500.0}
    assert (len(rules.revision), rules.default_language) == (16, "en")


def test_what_has_warnings_alone_is_kept() -> None:
    """A message or a window with a warning in an expression is the same as without it."""
    rules = load(
        """\
        events: {deposit: {amount: {type: number, unit: EUR}, fee: {type: number, unit: USD}}}
        purposes: {service: {consent: not_required}}
        windows: {large: {count: deposit, over: 7 days, where: event.amount > event.fee}}
        messages:
          thanks:
            purpose: service
            on: [deposit]
            when: windows.large > 0 && event.amount + event.fee in [event.amount + event.fee]
            channels: [sms]
            variants: {plain: {en: "Thank you."}}
        """
    )
    assert {f.code for f in rules.warnings} == {"unit-mismatch"}
    assert list(rules.windows) == ["large"]
    assert rules.messages["thanks"].when is not None


EVENTS = "events:\n  deposit: {amount: number}\n"
SPOKEN = """\
purposes: {service: {consent: not_required}}
messages: {hi: {purpose: service, channels: [sms], variants: {plain: {en: "Hi."}}}}
"""
EMPTIED = [  # files, and the warnings about what is empty
    ((BASE, "caps:\n\nwindows: # none\n"), ["empty-section b.yaml:1:1", "empty-section b.yaml:3:1"]),
    ((BASE, "tests:\ndefaults:\nmessages:\n"), [
        "empty-section b.yaml:1:1", "empty-section b.yaml:2:1", "empty-section b.yaml:3:1",
    ]),
    ((BASE, "caps: []\nwindows: {}\n"), []),
    ((BASE, "", "# comments alone\n"), ["empty-file b.yaml:1:1", "empty-file c.yaml:1:1"]),
    (("",), ["empty-file a.yaml:1:1", "no-messages a.yaml:1:1"]),
    ((EVENTS,), ["no-messages a.yaml:1:1"]),
    ((EVENTS, "messages:\n"), ["no-messages b.yaml:1:1"]),
    ((EVENTS, "messages: {}\n"), ["no-messages a.yaml:1:1"]),
    ((SPOKEN,), ["no-events a.yaml:1:1"]),
    ((SPOKEN, EVENTS), []),
]  # fmt: skip


@pytest.mark.parametrize(("texts", "expected"), EMPTIED)
def test_what_is_empty_is_told_and_stops_nothing(texts: tuple[str, ...], expected: list[str]) -> None:
    told = load(*texts).warnings
    assert [
        f"{f.code} {f.position}" for f in told if f.code.startswith(("empty-", "no-messages", "no-events"))
    ] == expected


def test_an_emptied_section_shows_its_key() -> None:
    (told,) = [f for f in load(BASE, "gaps:\n").warnings if f.code == "empty-section"]
    assert render(told) == (
        "b.yaml:1:1: warning[empty-section]: nothing is written below 'gaps'\n"
        "  1 | gaps:\n"
        "    | ^^^^\n"
        "    = hint: remove the key, or bring back what stood below it"
    )


WHEN = "when: features.carbon_page_visits_30d > 0"
TEXT = '{en: "You can invest from your account."}'

NAMED = "  - {name: a day, at_most: 2, per: [customer], in: 30 days}\n"
SUPPRESSED = "  - {name: taken, after: converted, for: 30 days, per: [message]}\n"

# What was written, what is written instead, and (code, line:column) of every finding.
MISTAKES = [
    (WHEN, "when: features.carbon_page_visit_30d > 0", ["unknown-name 37:11"]),
    (WHEN, "when: features.region", ["wrong-type 37:11"]),
    (WHEN, "when: >-\n      features.region == 'x' &&\n      features.regio == 'y'", ["unknown-name 39:7"]),
    (WHEN, 'when: "features.region == \'x\' && features.regio == \'y\'"', ["unknown-name 37:38"]),
    (WHEN, 'when: features.region == "a #1"', ["text-cut-off 37:11"]),
    (WHEN, "when: !has(features.phone)", ["yaml-tag 37:11"]),
    (WHEN, 'when: features.phone == "1"', ["personal-in-condition 37:11"]),
    (WHEN, "when: has(features.phone)\n    unless: {a: b}", ["wrong-shape 38:13"]),
    (WHEN, "when:", ["missing-value 37:5"]),
    ("value: 12.0 ", "value: features.region ", ["text-cut-off 38:12"]),
    ("value: 12.0 ", 'value: "features.region" ', ["wrong-type 38:12"]),
    ("product: green_fund  ", "product: gren_fund  ", ["unknown-product 32:14"]),
    ("purpose: marketing\n", "purpose: marketting\n", ["unknown-purpose 33:14"]),
    ("policy: reply_bandit ", "policy: replybandit ", ["unknown-policy 44:13"]),
    ("topic: investing\n", "topc: investing\n", ["unknown-key 34:5"]),
    ("on: [deposit] ", "on: [deposits] ", ["unknown-event-type 36:10"]),
    ("on: [deposit] ", "on: deposit ", ["wrong-shape 36:9"]),
    ("on: [deposit] ", "on: [] ", ["missing-value 36:9"]),
    ("    on: [deposit] ", "    #: ", ["marketing-without-on 31:3"]),
    ("channels: [push, sms]", "channels: [push, smss]", ["unknown-channel 39:22"]),
    ("channels: [push, sms]", "channels: [push, {sms: feature.x}]", ["unknown-name 39:28"]),
    ("as: integer}}", "as: whole}}", ["bad-value 40:52"]),
    ("as: integer}}", "as: date}}", ["bad-slot 40:26"]),
    ("{is: facts.months_covered,", "{is: max(facts.months_covered, 2) > 1,", ["flow-split 40:26"]),
    ("{months} months", "{month} months", ["unknown-slot 43:59"]),
    ("{months} months", "{months:mony} months", ["bad-slot 43:59"]),
    ("{months} months", "{months months", ["bad-slot 43:58"]),
    ("{months} months", "{event.amont:money} months", ["unknown-name 43:59"]),
    ("{months} months", "{months}} months", ["bad-slot 43:66"]),
    (TEXT, "{en: no}", ["unquoted-word 42:21"]),
    (TEXT, "{en: 2026-01-01}", ["unquoted-date 42:21"]),
    (TEXT, "{en: 5}", ["unquoted-number 42:21"]),
    (TEXT, "{en: }", ["missing-value 42:17"]),
    (TEXT, "{}", ["missing-value 42:7"]),
    (TEXT, "{english: x}", ["bad-language 42:17"]),
    (TEXT, '"You can invest"', ["wrong-shape 42:16"]),
    (TEXT, "{en: {sms: x, pigeon: y}}", ["missing-key 42:21", "unknown-key 42:30"]),
    ("share: 0.05", "share: 5", ["bad-share 61:18"]),
    ('salt: "2026-H2"', "salt: 2026", ["unquoted-number 61:30"]),
    ('holdout: {share: 0.05, salt: "2026-H2"}', "holdout:\n\n# none", ["missing-value 61:1"]),
    ("  green_fund_intro:\n", "  empty:\n  green_fund_intro:\n", ["missing-value 31:3"]),
    ("  green_fund_intro:\n", "  a: {like: empty}\n  empty:\n  green_fund_intro:\n", ["missing-value 32:3"]),
    ("  - {at_least: 4 hours", "  -\n  - {at_least: 4 hours", ["missing-value 57:4"]),
    ("region: text", "region:", ["missing-value 13:3"]),
    ("at_most: 3", "at_most: many", ["bad-value 54:15"]),
    ("in: 7 days", "in: 7 fortnights", ["bad-value 54:39"]),
    ("in: calendar day", "in: calendar year", ["bad-value 55:46"]),
    ("per: [customer, topic]", "per: [customer, topics]", ["bad-value 55:34"]),
    ("per: [customer, topic], ", "", ["missing-key 55:5"]),
    ("per: [customer, topic]", "per: [topic]", ["bad-value 55:23"]),
    ("at_least: 4 hours", "at_least: 4", ["bad-value 57:16"]),
    ("caps:\n", f"caps:\n{2 * NAMED}", ["duplicate-name 55:12"]),
    ("caps:\n", f"caps:\n{NAMED}  - {{name: a day, volume: 9, in: calendar day}}\n", ["duplicate-name 55:12"]),
    ("gaps:\n", "gaps:\n" + 2 * "  - {name: rest, at_least: 1 hour, per: [customer]}\n", ["duplicate-name 58:12"]),
    ("gaps:\n", "suppress:\n" + 2 * SUPPRESSED + "gaps:\n", ["duplicate-name 58:12"]),
    ("product: green_fund  ", "was: [green_fund_intro]\n    product: green_fund  ", ["duplicate-name 32:11"]),
    ("  green_fund_intro:\n", "  b: {like: green_fund_intro, was: [a, green_fund_intro]}\n  green_fund_intro:\n",
     ["duplicate-name 31:40"]),
    ('from: "20:00"', 'from: "25:00"', ["bad-value 52:17"]),
    ("zone: customer", "zone: Europe/Berln", ["unknown-zone 52:45"]),
    ("quiet_hours: night,", "quiet_hours: nigth,", ["unknown-quiet-hours 47:47"]),
    ("consent: not_required", "consent: required", ["state-needed 48:32"]),
    ("kind: thompson", "kind: linear", ["bad-value 60:24"]),
    ("kind: thompson", "kind: thomson", ["bad-value 60:24"]),
    ("kind: thompson", "kind: fixed", ["unknown-key 60:31"]),
    ("reward: {replied: 1.0, converted: 5.0}, ", "", ["missing-key 60:18"]),
    ("reward: {replied: 1.0,", "reward: {replyed: 1.0,", ["unknown-outcome 60:43"]),
    ("control: control", "control: controll", ["unknown-variant 60:119"]),
    ("by: [features.region]", "by: [features.savings_balance]", ["wrong-type 60:133"]),
    ("region: text", "region: money", ["missing-key 13:11"]),
    ("region: text", "region: txt", ["unknown-type 13:11"]),
    ("phone: {type: text, personal: true}", "phone: {type: text, personal: yes}", ["bad-value 14:33"]),
    ("phone: {type: text, personal: true}", "phone: {personal: true}", ["missing-key 14:10"]),
    ("timezone: text ", "time-zone: text ", ["bad-name 10:3"]),
    ("channel: text}", "type: text}", ["reserved-name 3:48"]),
    ("sum: payment.amount", "sum: payment.amout", ["unknown-attribute 18:18"]),
    ("sum: payment.amount", "sum: payment.category", ["bad-value 18:10"]),
    ("sum: payment.amount", "sum: payments.amount", ["unknown-event-type 18:10"]),
    ("sum: payment.amount", "mean: payment.category", ["bad-value 18:11"]),
    ("sum: payment.amount", "mode: payment.amount", ["wrong-shape 17:3"]),
    ("where: event.category", "where: features.region", ["not-available-here 20:12"]),
    ("over: 7 days", "over: 7 days\n    having: count() > 1", ["bad-value 20:5"]),
    ("over: 7 days", "over: calendar year", ["bad-value 19:11"]),
    ("over: 7 days", "over: 25 months", ["window-too-long 19:11"]),
    ("over: 7 days", "over: 732 days", ["window-too-long 19:11"]),
    ("over: 12 months", "over: 12 days", ["bad-value 21:48"]),
    ("over: 12 months", "over: calendar month", ["bad-value 21:48"]),
    ("over: 12 months", "over: 25 months", ["window-too-long 21:48"]),
    ("ratio(features.savings_balance,", "ratio(features.savings_balanc,", ["unknown-name 24:25"]),
    ("expect: {send: green_fund_intro}", "expect: {no_message: NOT_ELIGBLE}", ["unknown-reason 67:26"]),
    ("expect: {send: green_fund_intro}", "expect: {send: green_intro}", ["unknown-message 67:20"]),
    ("expect: {send: green_fund_intro}", "expect: {send: green_fund_intro, variant: x}", ["unknown-variant 67:47"]),
    ("amount: 500}", "amount: lots}", ["bad-value 66:36"]),
    ("amount: 500}", "amont: 500}", ["unknown-attribute 66:28"]),
    ("savings_balance: 9000", "savings: 9000", ["unknown-feature 65:24"]),
    ("deposit_months: 11", "deposit_months: eleven", ["bad-value 65:96"]),
    ('now: "2026-11-21T10:00:00+01:00"', "now: 2026-11-21", ["bad-value 65:128"]),
    ("holdout: {share", "holdouts: {share", ["unknown-key 61:1"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "expected"), MISTAKES, ids=[f"{m[2][0].split()[0]}-{i}" for i, m in enumerate(MISTAKES)]
)
def test_mistakes(old: str, new: str, expected: list[str]) -> None:
    found = findings(changed(old, new))
    told = [f"{f.code} {f.position.line}:{f.position.column}" for f in found]
    assert told == expected, "\n".join(render(f) for f in found)


def test_spans_say_how_long_they_may_be() -> None:
    limits = """
caps:
  - {at_most: 1, per: [customer], in: 0 days}
  - {at_most: 1, per: [customer], in: 401 days}
  - {at_most: 1, per: [customer], in: 4000 days}
  - {at_most: 1, per: [customer], in: 400 days}
gaps:
  - {at_least: 0 days, per: [customer]}
suppress:
  - {after: converted, per: [product], for: 0 days}
windows:
  w: {count: deposit, over: 0 days}
"""
    assert [(f.position.line, f.expected) for f in findings(BASE, limits) if f.position.path == "b.yaml"] == [
        (3, "more than nothing and at most 400 days"),
        (4, "at most 400 days"),
        (5, "more than nothing and at most 400 days"),
        (8, "more than nothing and at most ten years"),
        (10, "more than nothing and at most 400 days"),
        (12, "more than nothing and at most 24 months"),
    ]


def test_names_that_no_expression_says_may_have_more_in_them() -> None:
    rules = load(BASE, "messages:\n  1of-fer.b: {like: green_fund_intro, value: 3}\n")
    assert "1of-fer.b" in rules.messages
    told = findings(BASE, "features:\n  1of: bool\n  of-fer: bool\n")
    assert [(f.code, f.expected) for f in told] == 2 * [("bad-name", "letters, digits and _, no digit first")]


RENDERED = [
    (
        (WHEN, "when: features.carbon_page_visit_30d > 0"),
        """\
        a.yaml:37:11: error[unknown-name]: no feature is called 'carbon_page_visit_30d'
          37 |     when: features.carbon_page_visit_30d > 0
             |           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
             = expected: a feature of the schema
             = hint: did you mean 'carbon_page_visits_30d'?""",
    ),
    (
        (WHEN, 'when: features.region == "a"  # north'),
        """\
        a.yaml:37:11: error[text-cut-off]: an expression ends at ' #': what follows on the line is read as a comment
          37 |     when: features.region == "a"  # north
             |           ^^^^^^^^^^^^^^^^^^^^^^
             = found: features.region == "a"
             = hint: quote it: 'features.region == "a" # north', or 'features.region == "a"' if a comment was meant""",
    ),
    (
        (WHEN, 'when: "deposit" == event.type'),
        """\
        a.yaml:37:21: error[yaml-syntax]: nothing may follow a quoted text
          37 |     when: "deposit" == event.type
             |                     ^
             = hint: quote it: '"deposit" == event.type'""",
    ),
    (
        (TEXT, "{en: no}"),
        """\
        a.yaml:42:21: error[unquoted-word]: an unquoted yes/no word where a text is expected
          42 |       control: {en: no}
             |                     ^^
             = hint: quote it: "no\"""",
    ),
    (
        (TEXT, '{en: "Hello {frist_name}"}'),
        """\
        a.yaml:42:29: error[unknown-slot]: 'frist_name' is neither a slot of the message \
'green_fund_intro' nor a feature
          42 |       control: {en: "Hello {frist_name}"}
             |                             ^^^^^^^^^^
             = hint: did you mean 'first_name'?""",
    ),
    (
        ("share: 0.05", "share: 5"),
        """\
        a.yaml:61:18: error[bad-share]: a bare 5 is not a share
          61 | holdout: {share: 5, salt: "2026-H2"}
             |                  ^
             = found: 5
             = expected: 0.05 or 5%
             = hint: write 5%""",
    ),
    (
        ("on: [deposit] ", "on: [deposits] "),
        """\
        a.yaml:36:10: error[unknown-event-type]: no event type is called 'deposits'
          36 |     on: [deposits]                        # event types; absent: all
             |          ^^^^^^^^
             = expected: one of deposit, payment
             = hint: did you mean 'deposit'?""",
    ),
    (
        ("topic: investing\n", "topic: investing\n    topic: saving\n"),
        """\
        a.yaml:35:5: error[duplicate-key]: 'topic' is written twice in one map
          35 |     topic: saving
             |     ^^^^^
             = also at: a.yaml:34:5
          34 |     topic: investing
             |     -----""",
    ),
    (
        ("at_least: 4 hours", "at_least: 4"),
        """\
        a.yaml:57:16: error[bad-value]: 'at_least' cannot be read
          57 |   - {at_least: 4, per: [customer], purposes: [marketing]}
             |                ^
             = found: 4
             = expected: a span such as `30 days`, `36 hours` or `12 months`
             = hint: write 4 days, or 4 hours""",
    ),
]


@pytest.mark.parametrize(("change", "expected"), RENDERED)
def test_what_people_read(change: tuple[str, str], expected: str) -> None:
    assert "\n".join(render(f) for f in findings(changed(*change))) == textwrap.dedent(expected)


def test_everything_is_told_at_once_and_in_order() -> None:
    text = (
        changed(WHEN, "when: features.regoin == 1")
        .replace("share: 0.05", "share: 5")
        .replace("region: text", "region: money")
    )
    told = findings(text, "caps: [{at_most: 0.5, per: [customer], in: 1 day}]\nbogus: 1\n")
    assert [str(f.position) for f in told] == sorted(
        (str(f.position) for f in told), key=lambda p: (p[0], int(p.split(":")[1]))
    )
    assert [f.code for f in told] == ["missing-key", "unknown-name", "bad-share", "bad-value", "unknown-key"]


def test_a_file_that_cannot_be_read_is_told_alone() -> None:
    told = findings("features: {a: text\n", changed(WHEN, "when: features.a == 1"))
    assert [(f.code, f.position.path) for f in told] == [("yaml-syntax", "a.yaml")]


def test_maps_merge_and_lists_append_in_the_order_of_paths() -> None:
    extra = """\
        features: {age: integer}
        caps: [{at_most: 9, per: [customer, channel], in: 2 weeks, name: "Not too often"}]
        """
    rules = load(BASE, extra)
    assert list(rules.features)[-1] == "age"
    assert [c.title for c in rules.caps][-1] == "Not too often"
    assert rules.caps[-1].per == ("customer", "channel")


def test_a_name_in_two_files_shows_both_places() -> None:
    (finding,) = findings(BASE, "\nfeatures:\n  region: text\n")
    assert render(finding) == (
        "b.yaml:3:3: error[duplicate-name]: 'region' is defined twice in features\n"
        "   3 |   region: text\n"
        "     |   ^^^^^^\n"
        "     = also at: a.yaml:13:3\n"
        "  13 |   region: text\n"
        "     |   ------"
    )
    (finding,) = findings(BASE, 'holdout: {share: 1%, salt: "x"}')
    assert (finding.code, str(finding.also)) == ("duplicate-name", "a.yaml:61:1")


def test_like_copies_one_level() -> None:
    rules = load(BASE, "messages:\n  b: {like: green_fund_intro, value: 3, topic: saving, was: [old]}\n")
    first, second = rules.messages["green_fund_intro"], rules.messages["b"]
    assert (second.topic, second.stage, second.was) == ("saving", "expand", ("old",))
    assert second.variants["cushion"].texts == first.variants["cushion"].texts
    assert second.position.path == "b.yaml"
    assert isinstance(second.value.node, Const)
    assert second.value.node.value == 3.0


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ("{b: {like: green_fund_intro}, c: {like: b}}", "like-chain"),
        ("{b: {like: b}}", "like-chain"),
        ("{b: {like: green_fund}}", "unknown-message"),
    ],
)
def test_like_makes_no_chains(messages: str, code: str) -> None:
    assert [f.code for f in findings(BASE, f"messages: {messages}\n")] == [code]


def test_facts_use_facts_and_never_in_circles() -> None:
    rules = load(BASE, "facts:\n  b: facts.a && facts.months_covered > 2\n  a: features.region == 'x'\n")
    assert list(rules.facts) == ["months_covered", "b", "a"]
    assert reads(rules.facts["b"].node) == ["features.region", "features.savings_balance", "features.monthly_salary"]
    (finding,) = findings(BASE, "facts:\n  a: facts.b\n  b: facts.c && true\n  c: facts.a\n  d: facts.a || facts.b\n")
    assert (finding.code, finding.found, str(finding.position)) == ("fact-cycle", "a -> b -> c -> a", "b.yaml:2:6")
    (finding,) = findings(BASE, "facts: {a: 'facts.a'}\n")
    assert finding.found == "a -> a"
    load(BASE, "facts: {a: 'features.region == \"facts.a\"'}\n")


def test_a_fact_is_not_asked_for_itself_when_a_hint_is_sought() -> None:
    (finding,) = findings(BASE, "facts:\n  salary: features.salary > 1\n")
    assert (finding.code, str(finding.position)) == ("unknown-name", "b.yaml:2:11")


def test_long_chains_of_facts_are_refused() -> None:
    chain = "".join(f"  f{i}: facts.f{i - 1} + facts.f{i - 1}\n" for i in range(1, 3000))
    told = findings(BASE, "facts:\n  f0: features.savings_balance\n" + chain)
    assert {f.code for f in told} <= {"too-deep", "too-many-nodes"}


FACTS = "facts:\n  big: event.amount > 5\n  cat: event.category == 'x'\n  both: facts.big && facts.cat\n"
MESSAGE = """
messages:
  m: {{purpose: ad, channels: [push], on: [{on}], when: {when}, variants: {{x: {{en: Hi}}}}}}
purposes: {{ad: {{consent: required}}}}
"""


@pytest.mark.parametrize(
    ("on", "when", "codes"),
    [
        ("deposit", "facts.big", []),
        ("payment", "facts.both", []),
        ("'deposit', 'payment'", "facts.big", []),
        ("deposit", "facts.cat", ["fact-not-for-event"]),
        ("deposit", "facts.both", ["fact-not-for-event"]),
        ("'deposit', 'payment'", "facts.cat", ["fact-not-for-event"]),
    ],
)
def test_a_fact_serves_the_event_types_that_have_what_it_reads(on: str, when: str, codes: list[str]) -> None:
    text = FACTS + MESSAGE.format(on=on, when=when)
    if codes:
        assert [f.code for f in findings(BASE, text)] == codes
    else:
        assert load(BASE, text).messages["m"].when is not None


def test_an_unused_fact_must_serve_some_event_type() -> None:
    (finding,) = findings(BASE, "facts: {a: event.colour == 'red'}\n")
    assert str(finding.position) == "b.yaml:1:12"


def test_slots_are_what_texts_use() -> None:
    text = """\
        messages:
          m:
            purpose: info
            on: [payment]
            channels: [push, sms]
            slots: {kind: event.category}
            variants:
              x:
                en:
                  text: "{{plain}} {kind} {event.amount:money} {features.region}"
                  sms: "{first_name}"
                  replies: ["{kind:text}", "No"]
        purposes: {info: {consent: not_required}}
        """
    message = load(BASE, text).messages["m"]
    assert {k: (s.expression.text, s.shape) for k, s in message.slots.items()} == {
        "kind": ("event.category", "text"),
        "event.amount:money": ("event.amount", "money"),
        "features.region": ("features.region", "text"),
        "first_name": ("features.first_name", "text"),
        "kind:text": ("event.category", "text"),
    }
    assert message.variants["x"].texts["en"].replies == ("{kind:text}", "No")


@pytest.mark.parametrize(
    ("rest", "codes"),
    [
        ("when: event.amount > 5", []),
        ("when: features.region == 'x'", ["state-needed"]),
        ("when: windows.spend_7d > 5", ["state-needed"]),
        ("when: days_since(event.occurred_at) > 5", ["state-needed"]),
        ("when: facts.months_covered > 5", ["state-needed"]),
        ("product: green_fund", ["state-needed"]),
    ],
)
def test_what_is_sent_without_state_reads_events_alone(rest: str, codes: list[str]) -> None:
    text = f"messages:\n  m: {{purpose: service, channels: [push], {rest}, variants: {{x: {{en: Hi}}}}}}\n"
    text = text.replace("{x: {en: Hi}}", '{x: {en: "Hi"}}')
    if codes:
        assert [f.code for f in findings(BASE, text)] == codes
    else:
        load(BASE, text.replace("channels: [push]", "channels: [push], on: [deposit, payment]"))


@pytest.mark.parametrize(
    ("weights", "code"),
    [
        ("{control: 1, cushion: 2}", None),
        ("{}", None),
        ("{control: 1, cushion: 0}", None),
        ("{control: 1}", "missing-weight"),
        ("{control: 1, cushion: 1, extra: 1}", "unknown-variant"),
        ("{control: -1, cushion: 1}", "bad-value"),
        ("{control: 0, cushion: 0}", "bad-value"),
    ],
)
def test_weights_name_variants(weights: str, code: str | None) -> None:
    text = changed("policy: reply_bandit ", "policy: trial ")
    extra = f"policies:\n  trial: {{kind: fixed, weights: {weights}, sticky: customer}}\n"
    if code is None:
        policy = load(text, extra).policies["trial"]
        assert (policy.kind, policy.sticky, policy.if_unfit) == ("fixed", True, "leave_out")
    else:
        assert findings(text, extra)[0].code == code


def test_a_product_may_name_its_conditions() -> None:
    text = changed(
        "eligible: facts.months_covered >= 6 && windows.deposit_months >= 9 && features.cashflow_positive_months >= 12",
        "eligible:\n      cushion: {is: facts.months_covered >= 6, because: {en: Six salaries are needed.}}",
    )
    (condition,) = load(text).products["green_fund"].eligible
    assert (condition.name, condition.because) == ("cushion", {"en": "Six salaries are needed."})


def test_a_window_is_defined_by_what_it_counts() -> None:
    def definition(text: str) -> str:
        return load(BASE, f"windows:\n  w: {text}\n").windows["w"].definition

    one = definition("{count: payment, over: 7 days, where: event.category != 'x'}")
    assert one == definition("{over: 7 day, where: \"event.category  !=  'x'\", count: payment}")
    assert one != definition("{count: payment, over: 7 days, where: event.category != 'y'}")
    assert one != definition("{count: payment, over: 8 days, where: event.category != 'x'}")
    assert (
        one
        == load(BASE, "windows:\n  v: {count: payment, over: 7 days, where: event.category != 'x'}\n")
        .windows["v"]
        .definition
    )


def test_declarations_that_cannot_be_read_do_not_echo() -> None:
    text = "features: {x: mony}\nwindows: {w: {last: payment.category}}\n"
    text += "facts: {f: features.x > 1, t: {table: x.csv}}\n"
    text += "products: {p: {eligible: features.x > 1 && windows.w > 1 && facts.f && facts.t.y == 'a'}}\n"
    assert [f.code for f in findings(BASE, text)] == ["unknown-type", "not-yet-supported", "missing-key"]


def test_the_revision_is_of_paths_and_contents() -> None:
    one = ruleset.load({"a.yaml": BASE.encode(), "b.yaml": b""}).revision
    assert one == ruleset.load({"b.yaml": b"", "a.yaml": BASE.encode()}).revision
    assert one != ruleset.load({"a.yaml": BASE.encode(), "c.yaml": b""}).revision
    assert one != ruleset.load({"a.yaml": BASE.encode() + b"\n", "b.yaml": b""}).revision


def test_a_directory_is_read_in_order_and_without_samples(tmp_path: Path) -> None:
    for name in (
        "b/x.yaml",
        "a.yml",
        "samples/s.yaml",
        "b/examples/e.yaml",
        ".git/g.yaml",
        ".h.yaml",
        "mapping.yaml",
        "n.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("caps: []\n")
    assert list(ruleset.read_directory(tmp_path)) == ["a.yml", "b/x.yaml"]


def test_a_directory_with_nothing_to_read_is_a_finding(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RulesInvalid) as caught:
            ruleset.read_directory(path)
        assert [f.code for f in caught.value.findings] == ["no-rules"]
    with pytest.raises(RulesInvalid):
        ruleset.load({"mapping.yaml": b"mapping: {}\n"})


def test_too_many_files_are_refused() -> None:
    with pytest.raises(RulesInvalid) as caught:
        ruleset.load({f"{i}.yaml": b"" for i in range(ruleset.FILES_MAX + 1)})
    assert [f.code for f in caught.value.findings] == ["too-large"]


KINDS = ("cut", "insert", "drop", "copy", "indent")
WORDS = (
    "x",
    "{",
    "}",
    "[",
    "]",
    ":",
    "- ",
    '"',
    "'",
    "no",
    "-1",
    "!x",
    "&a ",
    "*a",
    " #",
    "\n",
    "  ",
    "null",
    "facts.x",
    "{x}",
    "1 day",
    "like: a",
    ",",
    "é",
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(st.sampled_from(KINDS), st.integers(0, len(BASE)), st.sampled_from(WORDS)),
        min_size=1, max_size=4,
    )
)  # fmt: skip
def test_a_damaged_file_raises_nothing_but_findings(changes: list[tuple[str, int, str]]) -> None:
    text = BASE
    for kind, number, word in changes:
        at = number % (len(text) + 1)
        lines = text.split("\n")
        line = number % len(lines)
        if kind == "cut":
            text = text[:at] + text[at + 1 + number % 7 :]
        elif kind == "insert":
            text = text[:at] + word + text[at:]
        elif kind == "drop":
            text = "\n".join(lines[:line] + lines[line + 1 :])
        elif kind == "copy":
            text = "\n".join([*lines, lines[line]])
        else:
            text = "\n".join([*lines[:line], "  " + lines[line], *lines[line + 1 :]])
    try:
        ruleset.load({"a.yaml": text.encode()})
        told: tuple[Finding, ...] = ()
    except RulesInvalid as invalid:
        told = invalid.findings
    for finding in told:
        assert finding.code in render(finding)
        assert finding.position.line <= text.count("\n") + 1
