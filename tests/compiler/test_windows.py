"""The section `windows`: kinds, spans and conditions over months and days."""

from __future__ import annotations

import pytest

from engine.bundle import compile_bundle
from engine.compiler.model import Window
from engine.compiler.nodes import Type
from engine.errors import RulesInvalid

SCHEMA = """
events:
  entry:
    amount: {{type: number, unit: EUR}}
    paid: {{type: money, currency: EUR}}
    n: integer
    who: text
    at: time
    ok: bool
  deposit: {{amount: {{type: money, currency: EUR}}, n: number}}
windows:
  w: {window}
messages:
  m:
    purpose: service
    on: [entry]
    when: has(windows.w)
    channels: [sms]
    variants: {{plain: {{en: "Hi"}}}}
purposes: {{service: {{consent: not_required, if_state_unknown: silent}}}}
channels: {{sms: {{}}}}
"""


def window(written: str) -> Window:
    return compile_bundle({"a.yaml": SCHEMA.format(window=written).encode()}).ruleset.windows["w"]


def told(written: str) -> list[str]:
    with pytest.raises(RulesInvalid) as caught:
        window(written)
    return [
        f"{f.code} {f.position.column}-{f.position.column + f.length}: {f.message}"
        + (f" | {f.found}" if f.found else "")
        + (f" | {f.expected}" if f.expected else "")
        + (f" | {f.hint}" if f.hint else "")
        for f in caught.value.findings
    ]


@pytest.mark.parametrize(
    ("written", "type_", "unit"),
    [
        ("{minimum: entry.amount, over: 30 days}", Type.NUMBER, "EUR"),
        ("{maximum: entry.paid, over: calendar week}", Type.MONEY, "EUR"),
        ("{minimum: entry.at, over: 24 months}", Type.TIME, None),
        ("{maximum: entry.occurred_at, over: 731 days}", Type.TIME, None),
        ("{minimum: entry.n, over: 30 minutes}", Type.INTEGER, None),
        ("{mean: entry.n, over: 30 days}", Type.NUMBER, None),
        ("{mean: entry.paid, over: 30 days}", Type.NUMBER, "EUR"),
        ("{distinct: entry.who, over: 24 months}", Type.INTEGER, None),
        ("{distinct: entry.n, over: calendar month}", Type.INTEGER, None),
        ("{days_with: entry, over: 12 weeks}", Type.INTEGER, None),
        ("{days_with: entry, over: 9 days, having: sum(event.n) > 2}", Type.INTEGER, None),
        ("{count: entry, over: calendar day}", Type.INTEGER, None),
    ],
)
def test_types(written: str, type_: Type, unit: str | None) -> None:
    found = window(written)
    assert (found.type, found.unit) == (type_, unit)


WRONG = [
    ("{minimum: entry.who, over: 3 days}",
     ["bad-value 16-25: 'minimum' compares numbers, money and times, and 'who' is text"]),
    ("{mean: entry.at, over: 3 days}", ["bad-value 13-21: 'mean' takes numbers and money, and 'at' is time"]),
    ("{distinct: entry.amount, over: 3 days}",
     ["bad-value 17-29: 'distinct' tells texts and integers apart, and 'amount' is number"]),
    ("{distinct: entry, over: 3 days}",
     ["bad-value 17-22: 'distinct' cannot be read | entry | `<event type>.<attribute>`"]),
    ("{days_with: entry.n, over: 3 days}",
     ["bad-value 18-25: 'days_with' cannot be read | entry.n | the name of an event type"]),
    ("{days_with: entry, over: 3 months}", ["bad-value 31-39: 'days_with' counts days | `30 days`"]),
    ("{days_with: entry, over: 732 days}",
     ["window-too-long 31-39: the window is longer than the engine keeps | 732 days | at most 731 days | "
      "let the bank keep a feature"]),
    ("{sum: entry.n, over: 25 months}",
     ["window-too-long 27-36: the window is longer than the engine keeps | 25 months | at most 24 months | "
      "let the bank keep a feature"]),
    ("{mean: entry.n, maximum: entry.n, over: 3 days}",
     ["wrong-shape 3-4: the window 'w' must say what it keeps, once | exactly one of count, sum, minimum, maximum, "
      "mean, last, distinct, months_with, days_with"]),
    ("{mean: entry.n, over: 3 days, having: count() > 1}",
     ["bad-value 36-42: 'having' chooses months or days, and 'mean' has none to choose from | "
      "use `where:` to choose events, or months_with, or days_with"]),
    ("{months_with: entry, over: 3 months, having: event.n > 1}",
     ["having-not-aggregate 51-58: 'having' sees a month's or a day's events together, no single one | "
      "an aggregate such as `sum(event.amount)` or `count()` | "
      "write sum(event.n), or choose events with `where:`"]),
    ("{months_with: entry, over: 3 months, having: sum(event.n * 2) > 1}",
     ["having-not-aggregate 51-54: sum() takes one attribute of the event | "
      "an aggregate such as `sum(event.amount)` or `count()` | write sum(event.amount)"]),
    ("{months_with: entry, over: 3 months, having: max(event.n) > 1}",
     ["having-not-aggregate 51-54: 'having' has no aggregate 'max' | "
      "an aggregate such as `sum(event.amount)` or `count()` | write maximum"]),
    ("{months_with: entry, over: 3 months, having: count(event.n) > 1}",
     ["having-not-aggregate 51-56: count() counts the events, and takes nothing | "
      "an aggregate such as `sum(event.amount)` or `count()` | choose events with `where:`"]),
    ("{months_with: entry, over: 3 months, having: sum(event.m) > 1}",
     ["unknown-attribute 51-63: the event type 'entry' has no attribute 'm'"]),
    ("{months_with: entry, over: 3 months, having: sum(event.who) > 1}",
     ["bad-value 51-65: 'sum' adds numbers and money, and 'who' is text"]),
    ("{months_with: entry, over: 3 months, having: sum(event.n)}",
     ["wrong-type 51-63: this is integer, not bool | integer | bool | compare it, as in `x > 0`"]),
    ("{months_with: entry, over: 3 months, having: true}",
     ["bad-value 51-55: 'having' asks nothing of the events | an aggregate such as `sum(event.amount)` or `count()`"]),
    ("{months_with: entry, over: 3 months, having: mean(event.n) > features.x}",
     ["not-available-here 67-77: `features` cannot be used here | features | one of `event.`"]),
]  # fmt: skip


@pytest.mark.parametrize(("written", "expected"), WRONG, ids=[w for w, _ in WRONG])
def test_mistakes(written: str, expected: list[str]) -> None:
    found = told(written)
    assert len(found) == len(expected)
    for one, wanted in zip(found, expected, strict=True):
        assert one == wanted if ":" in wanted else one.startswith(wanted)


def test_parts_are_shared_with_the_windows_that_mean_the_same() -> None:
    text = SCHEMA.format(window="{months_with: entry, over: 12 months, having: sum(event.n) > 0 && mean(event.n) < 5}")
    text = text.replace("windows:\n", "windows:\n  total: {sum: entry.n, over: 12 months}\n")
    steps = compile_bundle({"a.yaml": text.encode()}).steps
    assert [(p.kind, p.width_s, p.buckets) for p in steps.stored.values()] == [
        ("sum", -1, 12), ("count", -1, 12), ("count", -1, 12),
    ]  # fmt: skip
    total, chosen = steps.windows["total"], steps.windows["w"]
    assert total.key in {part.key for part in chosen.parts}


def test_an_attribute_may_be_of_another_type_in_another_event_type() -> None:
    text = SCHEMA.format(window="{mean: entry.amount, over: 12 months}")
    text = text.replace("windows:\n", "windows:\n  paid: {sum: deposit.amount, over: 12 months}\n")
    plan = compile_bundle({"a.yaml": text.encode()}).program.windows
    values = [{"event.amount": 2.5}, {"event.amount": 7_500_000_000}]
    batch = plan.batch(["entry", "deposit"], values, [0, 0], [None, None])
    kinds = [output.type for output in plan.outputs]
    assert [batch.value(kinds.index(Type.NUMBER), 0), batch.value(kinds.index(Type.MONEY), 1)] == [2.5, 7_500_000_000]


@pytest.mark.parametrize(
    ("written", "most"),
    [
        ("{distinct: entry.who, over: 30 days}", 100),
        ("{days_with: entry, over: 3 weeks}", 21),
        ("{days_with: entry, over: calendar month}", 31),
        ("{days_with: entry, over: calendar week, having: count() > 1}", 7),
        ("{months_with: entry, over: 9 months, having: count() > 1}", 9),
    ],
)
def test_what_a_window_cannot_reach_is_told(written: str, most: int) -> None:
    for bound, expected in ((most - 1, []), (most, ["always-false"])):
        text = SCHEMA.format(window=written).replace("has(windows.w)", f"windows.w > {bound}")
        warnings = compile_bundle({"a.yaml": text.encode()}).ruleset.warnings
        assert [w.code for w in warnings if w.code != "unused-window"] == expected
