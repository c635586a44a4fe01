"""The kernels of caps and gaps against their twin, over tables built from a rule set."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.bundle import compile_bundle
from engine.columns.limits import limit_tables
from engine.compiler.model import Cap, Gap, Period, Position, Purpose
from engine.compiler.ruleset import read_directory
from engine.contact import caps as twin
from engine.contact.caps import Limits, Proposal, limits_of
from engine.decision import Reason
from engine.identity import name_hash
from engine.kernels import arena
from engine.kernels import limits as kernel
from engine.kernels.hours import LAST_MS, TO_STEP
from engine.state.history import History
from engine.state.model import Touch, TouchFlag
from engine.zones import ZONES, transitions

ROOT = Path(__file__).resolve().parents[2]
HERE = Position("x.yaml", 1, 1)
DAY = 86_400_000
NAMES = (
    "Europe/Madrid",
    "America/Santiago",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Asia/Gaza",
    "America/Havana",
    "UTC",
)
CHANGES = {name: [s for s in transitions(name)[0] if 100 * 86_400 < s < LAST_MS // 1000 - 86_400] for name in NAMES}
PURPOSES = MappingProxyType(
    {name: Purpose(name, False, None, "silent", False, tier, HERE) for name, tier in
     (("security", 1), ("marketing", 2), ("service", 2), ("advice", 3))}
)  # fmt: skip
PER = ("message", "channel", "topic", "product", "stage", "purpose", "about")
periods = st.builds(Period, st.integers(1, 12), st.sampled_from(("minute", "hour", "day", "week", "month")))
pers = st.lists(st.sampled_from(PER), max_size=2, unique=True).map(lambda p: ("customer", *p))
counted = st.one_of(st.none(), st.lists(st.sampled_from(sorted(PURPOSES)), unique=True).map(tuple))


def hashed(*names: str) -> st.SearchStrategy[int]:
    """The hash of a name, or none."""
    return st.sampled_from([0, *map(name_hash, names)])


@dataclass(frozen=True)
class Step:
    """As much of a message step as the tables are built from."""

    message: Any
    limits: Limits
    keys: frozenset[int]
    topic: int
    product: int
    stage: int


@st.composite
def rule_sets(draw: st.DrawFn) -> tuple[Any, Any]:
    """Caps, gaps and a few messages, each with former names, as a rule set and its plan."""
    calendar = st.sampled_from(("day", "week", "month"))
    rolling = st.builds(Cap, st.just("r"), st.integers(0, 5), pers, periods, st.none(), counted, st.just(HERE))
    by_day = st.builds(Cap, st.just("c"), st.integers(0, 5), pers, st.none(), calendar, counted, st.just(HERE))
    gap = st.builds(Gap, st.just("g"), periods, pers, counted, st.just(HERE))
    caps = tuple(draw(st.lists(st.one_of(rolling, by_day), max_size=3)))
    gaps = tuple(draw(st.lists(gap, max_size=2)))
    steps = []
    for k in range(draw(st.integers(1, 3))):
        message = SimpleNamespace(name=f"m{k}", purpose=draw(st.sampled_from(sorted(PURPOSES))))
        former = draw(st.lists(st.sampled_from(("old", "older", f"m{k + 1}")), unique=True))
        steps.append(
            Step(
                message,
                limits_of(message, dict(PURPOSES), caps, gaps),  # type: ignore[arg-type]
                frozenset(map(name_hash, (message.name, *former))),
                draw(hashed("loans", "cards")),
                draw(hashed("gold")),
                draw(hashed("start", "end")),
            )
        )
    return SimpleNamespace(purposes=PURPOSES, caps=caps, gaps=gaps, suppressions=()), SimpleNamespace(
        messages=tuple(steps)
    )


@st.composite
def moments(draw: st.DrawFn, zone: str | None) -> int:
    """Any moment in ms, or one near to a change of the clocks."""
    if zone in CHANGES and CHANGES[zone] and draw(st.booleans()):
        second = draw(st.sampled_from(CHANGES[zone])) + draw(st.integers(-200_000, 200_000))
    else:
        second = draw(st.integers(100 * 86_400, LAST_MS // 1000 - 86_400))
    return second * 1000 + draw(st.sampled_from((0, 1, 999)))


def touches(at_ms: int) -> st.SearchStrategy[list[Touch]]:
    """Touches of the weeks around a moment, many of them at the edges of spans."""
    edges = [s * d for d in (60_000, 3_600_000, DAY, 7 * DAY, 31 * DAY) for s in (-3, -2, -1, 0, 1)]
    edge = st.builds(lambda a, b: a + b, st.sampled_from(edges), st.sampled_from((-1, 0, 0, 1)))
    times = st.one_of(edge, edge, st.integers(-3 * DAY, DAY), st.integers(-60 * DAY, 20 * DAY)).map(at_ms.__add__)
    flags = st.sampled_from((0, 0, 0, TouchFlag.RELEASED, TouchFlag.WITHHELD, TouchFlag.DEFERRED, 3, 256, -1, -2))
    messages = st.sampled_from([name_hash(n) for n in ("m0", "m1", "m2", "old", "older")])
    one = st.builds(
        Touch, times, st.just(1), st.just(0), messages, st.just(0), hashed("push", "mail"),
        hashed(*PURPOSES), hashed("loans", "cards"), hashed("gold"), hashed("start", "end"), hashed("a"),
        st.just(0), st.just(0), st.just(0), st.just(0), flags,
    )  # fmt: skip
    return st.lists(one, max_size=14)


def in_arena(*customers: list[Touch]) -> arena.Records:
    """The touches of customers, each behind the other's."""
    records = arena.records(len(customers), 0)
    at = 0
    for i, those in enumerate(customers):
        records.rec[i, arena.TOUCH_AT], records.rec[i, arena.TOUCH_N] = at, len(those)
        for touch in those:
            records.touches[at] = list(map(signed, touch))
            at += 1
    return records


def signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def asked(
    records: arena.Records,
    i: int,
    shadow: bool,
    tables: kernel.Limits,
    m: int,
    channel: int,
    at_ms: int,
    zone: str | None,
) -> tuple[int, int, int, int]:
    live, times = np.full(kernel.MAX_TOUCHES, -1), np.full(kernel.MAX_TOUCHES, -1)
    count = kernel.live_touches(i, records, shadow, live)
    number = ZONES.id(zone) if zone else -1
    table = ZONES.table
    return kernel.stopped_by_limits(
        i, records, live, count, times, tables, m, signed(channel), at_ms, number,
        table.starts, table.at_s, table.offset_s,
    )  # type: ignore[no-any-return]  # fmt: skip


def agrees(found: tuple[int, int, int, int], rules: Any, expected: Any) -> None:
    """Whether the kernel's answer is the twin's."""
    code, index, count, frees_at_ms = found
    if expected is None:
        assert code == kernel.FREE
        return
    reason, details, position = expected
    assert (count, frees_at_ms) == (details.count, details.frees_at_ms or 0)
    if position is None:
        assert (code, reason, details.limit) == (kernel.FULL, Reason.CAP_REACHED, kernel.MAX_TOUCHES)
    elif reason is Reason.CAP_REACHED:
        cap = rules.caps[index]
        assert (details.cap, details.limit) == (cap.title, cap.at_most)
        assert code == (kernel.CAP_FORGETS if details.cause else kernel.CAP)
        assert position is cap.position
    else:
        gap = rules.gaps[index]
        assert (reason, details.gap) == (Reason.GAP_NOT_ELAPSED, gap.title)
        forgets = details.cause == twin.HISTORY_SHORT
        assert forgets or details.cause == f"less than {gap.apart} apart"
        assert code == (kernel.GAP_FORGETS if forgets else kernel.GAP)


def titled(rules: Any, steps: Any) -> tuple[Any, Any]:
    """The same limits, each with a title and a position of its own."""
    new = {}
    for k, one in enumerate((*rules.caps, *rules.gaps)):
        position = Position("x.yaml", k + 1, 1)
        fields = {name: getattr(one, name) for name in one.__slots__} | {"title": f"t{k}", "position": position}
        new[id(one)] = type(one)(**fields)
    caps, gaps = (tuple(new[id(one)] for one in some) for some in (rules.caps, rules.gaps))
    messages = tuple(
        Step(m.message, limits_of(m.message, dict(PURPOSES), caps, gaps), m.keys, m.topic, m.product, m.stage)
        for m in steps.messages
    )
    return SimpleNamespace(purposes=PURPOSES, caps=caps, gaps=gaps, suppressions=()), SimpleNamespace(messages=messages)


@settings(max_examples=300, deadline=None)
@given(st.data(), rule_sets(), st.sampled_from((*NAMES, None, "Mars/Olympus")), st.booleans())
def test_limits_are_the_twins(data: st.DataObject, built: tuple[Any, Any], zone: str | None, shadow: bool) -> None:
    rules, steps = titled(*built)
    tables = limit_tables(rules, steps)
    at_ms = data.draw(moments(zone))
    customers = data.draw(st.lists(touches(at_ms), min_size=1, max_size=2))
    records = in_arena(*customers)
    records.rec[:, arena.SINCE_MS] = since_ms = data.draw(st.sampled_from((0, 1, at_ms)))
    forgets_ms = data.draw(st.sampled_from((0, 0, 0, at_ms - DAY, at_ms - 7 * DAY + 1, at_ms - 40 * DAY)))
    unknown_ms = History(0, forgets_ms).unknown_before_ms(since_ms)
    tables = tables._replace(history=np.array([forgets_ms], np.int64))
    channel = data.draw(hashed("push", "mail"))
    for i, all_of in enumerate(customers):
        live = [t for t in all_of if t.counts(shadow)]
        for m, step in enumerate(steps.messages):
            purpose = name_hash(step.message.purpose)
            new = Proposal(at_ms, step.keys, purpose, step.topic, channel, step.product, step.stage, 0)
            expected = twin.stopped_by_limits(step.limits, live, len(all_of), new, zone, unknown_ms)
            agrees(asked(records, i, shadow, tables, m, channel, at_ms, zone), rules, expected)


@settings(max_examples=400, deadline=None)
@given(st.data(), st.sampled_from(("day", "week", "month")), st.sampled_from((*NAMES, None)))
def test_a_calendar_span_is_the_twins(data: st.DataObject, unit: str, zone: str | None) -> None:
    at_ms = data.draw(moments(zone))
    number = ZONES.id(zone) if zone else -1
    table = ZONES.table
    code = {"day": kernel.DAY, "week": kernel.WEEK, "month": kernel.MONTH}[unit]
    span = kernel.calendar_span(code, at_ms, number, table.starts, table.at_s, table.offset_s)
    assert span == twin.calendar_span(unit, at_ms, zone)
    reach_ms = one_message(Cap("c", 1, ("customer",), None, unit, None, HERE))[2].caps[0, kernel.C_SPAN_MS]
    assert at_ms - reach_ms < span[0]  # earlier touches are not looked at


def one_message(cap: Cap | None = None, gap: Gap | None = None) -> tuple[Any, Any, kernel.Limits]:
    caps, gaps = (cap,) if cap else (), (gap,) if gap else ()
    message: Any = SimpleNamespace(name="m0", purpose="marketing")
    held = limits_of(message, dict(PURPOSES), caps, gaps)
    steps: Any = SimpleNamespace(messages=(Step(message, held, frozenset({name_hash("m0")}), 0, 0, 0),))
    rules: Any = SimpleNamespace(purposes=PURPOSES, caps=caps, gaps=gaps, suppressions=())
    return rules, steps, limit_tables(rules, steps)


def touch(at_ms: int, flags: int = 0) -> Touch:
    return Touch(at_ms, 1, 0, name_hash("m0"), 0, 3, name_hash("marketing"), 0, 0, 0, 0, 0, 0, 0, 0, flags)


@pytest.mark.parametrize("unit", ["day", None])
@pytest.mark.parametrize("seed", range(3))
def test_many_touches_in_any_order(seed: int, unit: str | None) -> None:
    random = np.random.default_rng(seed)
    now = int(datetime(2026, 6, 10, 12, tzinfo=UTC).timestamp() * 1000)
    at_most = int(random.integers(1, 300))
    rules, steps, tables = one_message(
        Cap("c", at_most, ("customer",), None if unit else Period(3, "day"), unit, None, HERE)
    )
    those = [touch(now + int(t)) for t in random.integers(-5 * DAY, 2 * DAY, 511)]
    new = Proposal(now, steps.messages[0].keys, name_hash("marketing"), 0, 3, 0, 0, 0)
    expected = twin.stopped_by_limits(steps.messages[0].limits, those, len(those), new, "Europe/Madrid")
    agrees(asked(in_arena(those), 0, False, tables, 0, 3, now, "Europe/Madrid"), rules, expected)


def test_the_tables_of_the_shipped_rules_say_what_the_plan_says() -> None:
    """Caps and gaps of each message in the order written, and whose touches they count."""
    bundle = compile_bundle(read_directory(ROOT / "rules"))
    rules, steps = bundle.ruleset, bundle.steps
    assert rules.caps
    assert rules.gaps
    tables = limit_tables(rules, steps)
    assert len(tables.messages) == len(steps.messages)
    for m, step in enumerate(steps.messages):
        held_row, *hashes = tables.messages[m].tolist()
        assert hashes == [signed(h) for h in (name_hash(step.message.purpose), step.topic, step.product, step.stage)]
        assert set(tables.names[tables.names_at[m] : tables.names_at[m + 1]].tolist()) == set(map(signed, step.keys))
        for held, at, of, all_of, spans in (
            (step.limits.caps, tables.cap_at, tables.cap_of, rules.caps, tables.caps[:, kernel.C_FROM :]),
            (step.limits.gaps, tables.gap_at, tables.gap_of, rules.gaps, tables.gaps[:, kernel.G_FROM :]),
        ):
            numbers = of[at[held_row] : at[held_row + 1]].tolist()
            assert [all_of[k] for k in numbers] == [one for one, _ in held]
            for k, (_, purposes) in zip(numbers, held, strict=True):
                begin, end = spans[k]
                assert set(tables.counted[begin:end].tolist()) == set(map(signed, purposes))


def test_a_full_log_stops_whatever_counts_in_it() -> None:
    _, _, tables = one_message()
    for n in (512, 513, 600):
        records = in_arena([touch(DAY, TouchFlag.RELEASED)] * n)
        assert asked(records, 0, False, tables, 0, 3, DAY, None) == (kernel.FULL, 0, n, 0)
    records = in_arena([touch(DAY)] * 511)
    assert asked(records, 0, False, tables, 0, 3, DAY, None)[0] == kernel.FREE


@pytest.mark.parametrize("far", [2**60, -(2**60), 2**63 - 1, -(2**63)])
def test_times_out_of_all_reason_are_left_to_the_step(far: int) -> None:
    _, _, tables = one_message(gap=Gap("g", Period(1, "day"), ("customer",), None, HERE))
    assert asked(in_arena([touch(far)]), 0, False, tables, 0, 3, DAY, None)[0] == TO_STEP
    assert asked(in_arena([touch(far, TouchFlag.RELEASED)]), 0, False, tables, 0, 3, DAY, None)[0] == kernel.FREE
    assert asked(in_arena([touch(DAY)]), 0, False, tables, 0, 3, far, None)[0] == TO_STEP


@pytest.mark.parametrize("at_ms", [-1, LAST_MS])
def test_calendars_beyond_the_tables_of_zones_are_left_to_the_step(at_ms: int) -> None:
    _, _, tables = one_message(Cap("c", 1, ("customer",), None, "month", None, HERE))
    for zone in ("Europe/Madrid", None):
        assert asked(in_arena([touch(at_ms)]), 0, False, tables, 0, 3, at_ms, zone)[0] == TO_STEP
        assert asked(in_arena([]), 0, False, tables, 0, 3, at_ms, zone)[0] == kernel.FREE
