"""Layers, dates and fixed slices, as they are written in rule files."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from engine.compiler import ruleset
from engine.compiler.model import FixedSlice, RuleSet, Slice
from engine.errors import RulesInvalid

RULES = """
events: {e: {}, pay: {amount: number, words: text, card: {type: integer, personal: true}}}
features: {region: text, age: number, name: {type: text, personal: true}}
facts: {area: "features.region == 'north' ? 'rural' : 'urban'"}
purposes: {p: {consent: not_required}}
policies: {words: {kind: KIND, REST}, other: {kind: fixed, control: x}}
messages:
  m: {purpose: p, on: [e], channels: [sms], policy: words, variants: {x: {en: One}, y: {en: Two}}}
  n: {purpose: p, on: [e], channels: [sms], policy: other, value: 2, variants: {x: {en: Three}, y: {en: Four}}}
MORE
"""
WHOLE = 1 << 64


def load(rest: str, more: str = "", kind: str = "fixed") -> RuleSet:
    text = RULES.replace("KIND", kind).replace("REST", rest).replace("MORE", more)
    return ruleset.load({"a.yaml": text.encode()})


def layer(slices: str) -> str:
    return f'layers: {{front: {{salt: "2026-H2", slices: {{{slices}}}}}}}'


def midnight(zone: str, *day: int) -> int:
    return int(datetime(*day, tzinfo=ZoneInfo(zone)).timestamp()) * 1000  # type: ignore[arg-type]


def test_slices_lie_one_behind_another() -> None:
    rules = load("control: x", layer("words: 30%, other: 0.7"))
    words, other = (rules.policies[n].enrolment for n in ("words", "other"))
    assert words is not None
    assert other is not None
    assert words.part == Slice("front", "2026-H2", 0, 5_534_023_222_112_865_280)  # 0.3 as a double is
    assert other.part == Slice("front", "2026-H2", 5_534_023_222_112_865_280, WHOLE)
    assert (words.outside, words.then) == ("x", "x")
    assert list(rules.layers["front"].slices) == ["words", "other"]
    thirds = load("control: x", layer("words: 33.3%, other: 66.7%")).policies["other"].enrolment
    assert thirds is not None
    assert thirds.part is not None
    assert thirds.part.high == WHOLE


@pytest.mark.parametrize("zone", ["", "Africa/Nairobi", "America/Bogota"])
def test_dates_are_days_of_the_rule_sets_zone(zone: str) -> None:
    more = f"defaults: {{zone: {zone}}}" if zone else ""
    found = load("control: x, from: 2026-09-01, until: 2026-11-30, then: y", more).policies["words"].enrolment
    assert found is not None
    assert found.from_ms == midnight(zone or "UTC", 2026, 9, 1)
    assert found.until_ms == midnight(zone or "UTC", 2026, 12, 1)  # the last day belongs to it
    assert (found.part, found.outside, found.then) == (None, "x", "y")


def test_who_is_not_in_it_may_hear_nothing() -> None:
    found = load("outside: leave_out, from: 2026-09-01").policies["words"].enrolment
    assert found is not None
    assert (found.outside, found.then, found.until_ms) == ("", "", None)
    ended = load("then: y, until: 2026-09-01").policies["words"].enrolment
    assert ended is not None
    assert ended.then == "y"  # before it is over everybody is in


def test_a_fixed_slice_beside_a_bandit() -> None:
    rest = "reward: {replied: 1}, trial: {share: 25%, weights: {x: 1, y: 3}, salt: s}"
    policy = load(rest, kind="thompson").policies["words"]
    assert policy.fixed_slice == FixedSlice(Slice("trial:words", "s", 0, WHOLE // 4), {"x": 1.0, "y": 3.0})
    assert policy.enrols
    assert not load("control: x").policies["words"].enrols


def test_sums_for_the_readout() -> None:
    [kpi] = load("control: x", "kpis: {spent: pay.amount}").kpis.values()
    assert (kpi.name, kpi.event, kpi.value.text) == ("spent", "pay", "event.amount")


def test_what_is_reported_by() -> None:
    policy = load("report_by: [facts.area, features.age * 2.0]").policies["words"]
    assert [e.text for e in policy.report_by] == ["facts.area", "features.age * 2.0"]


@pytest.mark.parametrize(
    ("rest", "more", "code", "part"),
    [
        ("control: x", layer("words: 60%, other: 50%"), "bad-value", "the slices of the layer 'front' are more than"),
        ("control: x", layer("words: 60"), "bad-share", "a bare 60"),
        ("control: x", layer("wrods: 60%"), "unknown-policy", "no policy is called 'wrods'"),
        ("control: x", layer(""), "missing-value", "has no slice"),
        ("control: x", "layers: {front: {slices: {words: 5%}}}", "missing-key", "salt"),
        ("weights: {x: 1, y: 1}", layer("words: 60%"), "missing-key", "does not say what customers get"),
        ("from: 2026-09-01", "", "missing-key", "`outside: leave_out` for no message"),
        ("until: 2026-09-01", "", "missing-key", "does not say what customers get"),
        ("control: x, outside: y", "", "missing-key", "everybody is in the trial"),
        ("control: x, from: 2026-09-01, then: y", "", "missing-key", "this one has no end"),
        ("control: x, from: 2026-09-02, until: 2026-09-01", "", "bad-value", "would never run"),
        ("control: x, from: 2026-09-31", "", "bad-value", "there is no such day"),
        ("control: x, from: September", "", "bad-value", "a date such as 2026-01-31"),
        ("outside: z, from: 2026-09-01", "", "unknown-variant", "'z'"),
        ("control: x, until: 2026-09-01, then: z", "", "unknown-variant", "'z'"),
        ("trial: {share: 10%}", "", "unknown-key", "a fixed policy is a trial as it is"),
        ("report_by: [features.name]", "", "personal-in-condition", ""),
        ("control: x", "defaults: {zone: Africa/Nairoby}", "unknown-zone", "Nairoby"),
        ("control: x", "kpis: {spent: pay}", "bad-value", "`<event type>.<attribute>`"),
        ("control: x", "kpis: {spent: pray.amount}", "unknown-event-type", "'pray'"),
        ("control: x", "kpis: {spent: pay.amuont}", "unknown-attribute", "'amuont'"),
        ("control: x", "kpis: {spent: pay.words}", "bad-value", "adds numbers and money"),
        ("control: x", "kpis: {spent: pay.card}", "personal-logged", "written to the decision log"),
        ("control: x", "kpis: {CONVERTED: pay.amount}", "reserved-name", "needs another name"),
    ],
)
def test_mistakes(rest: str, more: str, code: str, part: str) -> None:
    with pytest.raises(RulesInvalid) as caught:
        load(rest, more)
    [finding] = caught.value.findings
    assert finding.code == code
    assert part in f"{finding.message} {finding.expected}"


@pytest.mark.parametrize(
    ("trial", "code", "part"),
    [
        ("{}", "missing-key", "share"),
        ("{share: 0%}", "bad-value", "more than 0% and less than 100%"),
        ("{share: 10%, weights: {x: 1, y: 0}}", "bad-value", "fewer than two weights"),
        ("{share: 10%, weights: {x: 1, y: 1, z: 1}}", "unknown-variant", "'z'"),
        ("{share: 10%, weights: {x: 1, y: 1, size: 2}}", "unknown-variant", "'size'"),
    ],
)
def test_mistakes_in_a_fixed_slice(trial: str, code: str, part: str) -> None:
    with pytest.raises(RulesInvalid) as caught:
        load(f"reward: {{replied: 1}}, trial: {trial}", kind="thompson")
    [finding] = caught.value.findings
    assert finding.code == code
    assert part in f"{finding.message} {finding.expected}"


def test_a_policy_is_in_one_layer() -> None:
    two = "layers: {a: {salt: s, slices: {words: 5%}}, b: {salt: s, slices: {words: 5%}}}"
    with pytest.raises(RulesInvalid) as caught:
        load("control: x", two)
    [finding] = caught.value.findings
    assert (finding.code, finding.also is not None) == ("duplicate-name", True)


@pytest.mark.parametrize(
    ("rest", "more", "part"),
    [
        ("control: x", layer("words: 0%"), "its slice of the layer 'front' is empty"),
        ("control: x, weights: {x: 0, y: 1}, from: 2026-09-01", "", "its control 'x' has no weight in `weights`"),
        ("outside: x, weights: {x: 0, y: 1}, from: 2026-09-01", "", "'m' has one variant to draw"),
    ],
)
def test_trials_that_compare_nothing(rest: str, more: str, part: str) -> None:
    found = [f for f in load(rest, more).warnings if f.code == "no-comparison"]
    assert len(found) == 1
    assert part in found[0].message
