"""History added to the windows: each event once, whatever is sent again, and nothing that may have been counted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.compiler.reference import Absent
from engine.decision import Event, Reason
from engine.errors import InvalidInput, TactError
from engine.identity import customer_key
from engine.state.model import ReadBatch, ReadEntry
from engine.state.record import decode as decode_record
from engine.step import backfill as module
from engine.step.backfill import Backfill, Backfilled
from engine.step.group import Group, Pending, apply_groups
from engine.windows import HISTORY
from tests.columns.test_windows import DAY, HOUR, SEEN, SEEN_COLUMNS, ZONES, Customer, Raw, alike, recomputed
from tests.columns.twin import world

CUT = 1_790_000_000_000  # from here on events are sent
Sent = tuple[str, Raw]


def as_event(event_id: str, raw: Raw) -> Event:
    attributes: dict[str, object] = {"amount": float(raw.amount), "who": raw.who, "n": raw.n}
    if raw.type == "deposit":
        attributes = {"amount": int(raw.amount * 10**9)}
    return Event(event_id, "c", raw.type, raw.at_ms * 1_000_000, attributes)


def backfill(customer: Customer, events: Sequence[Sent], since_ms: int, until_ms: int, now_ms: int) -> Backfilled:
    """Adds a history; raises what was refused."""
    operation = Backfill([as_event(*one) for one in events], since_ms, until_ms)
    loop = asyncio.new_event_loop()
    pending = Pending(operation, loop.create_future())
    loop.close()
    read = ReadBatch(now_ms, [ReadEntry(customer.profile, customer.record, {})])
    (commit,) = apply_groups(world(customer.bundle), [Group(customer_key("c"), [pending])], read, False)
    if isinstance(pending.result, TactError):
        raise pending.result
    if commit is not None:
        assert commit.record is not None
        customer.record = commit.record
    assert isinstance(pending.result, Backfilled)
    return pending.result


def entry(at_ms: int, n: int = 1, kind: str = "account_entry") -> Raw:
    return Raw(at_ms, kind, Fraction(n, 4), f"who {n % 3}", n)


RAW = st.tuples(st.sampled_from(("account_entry", "account_entry", "deposit")), st.integers(-40, 40))
BEFORE = st.integers(1, 6 * HOUR) | st.integers(1, 3 * DAY) | st.integers(1, 420 * DAY)
AFTER = st.integers(0, 6 * HOUR) | st.integers(0, 3 * DAY) | st.integers(0, 40 * DAY)
DELAY = st.integers(0, HOUR) | st.integers(0, DAY - 1)


@settings(max_examples=120, deadline=None)
@given(
    past=st.lists(st.tuples(BEFORE, RAW), min_size=1, max_size=12),
    live=st.lists(st.tuples(AFTER, DELAY, RAW, st.booleans()), max_size=10),
    exported_ms=st.just(0) | AFTER,
    wait_ms=st.integers(0, 2 * HOUR) | st.integers(0, 2 * DAY) | st.integers(0, 60 * DAY),
    says_until=st.booleans(),
    zone=st.sampled_from(ZONES),
)
@example(
    past=[(HOUR, ("account_entry", 1)), (400 * DAY, ("account_entry", 2))],
    live=[(HOUR, 0, ("account_entry", 3), False)], exported_ms=0, wait_ms=3 * DAY, says_until=True, zone=None,
)  # fmt: skip
def test_every_event_counts_once(
    past: list[tuple[int, tuple[str, int]]],
    live: list[tuple[int, int, tuple[str, int], bool]],
    exported_ms: int,
    wait_ms: int,
    says_until: bool,
    zone: str | None,
) -> None:
    """Events before CUT stand in the file alone, those from then on are sent, and may stand in the file too."""
    customer = Customer(zone, SEEN, SEEN_COLUMNS)
    history = [(f"p{k}", entry(CUT - before, n, kind)) for k, (before, (kind, n)) in enumerate(past)]
    sent = [
        (CUT + after + delay, f"l{k}", entry(CUT + after, n, kind), again)
        for k, (after, delay, (kind, n), again) in enumerate(live)
    ]
    sent.sort(key=lambda one: one[0])
    exported_ms, now_ms = CUT + exported_ms, CUT + exported_ms + wait_ms
    arrived = [one for one in sent if one[0] <= now_ms]
    for at_ms, event_id, raw, again in arrived:
        customer.send(event_id, raw, at_ms)
        if again:
            customer.send(event_id, raw, at_ms + 1)
    file = history + [(event_id, raw) for _, event_id, raw, _ in sent if raw.at_ms <= exported_ms]
    since_ms = min(raw.at_ms for _, raw in file)
    until_ms = now_ms if says_until else exported_ms
    told = backfill(customer, file, since_ms, until_ms, now_ms)
    assert told.counted + told.known + told.late + told.apart == len(file)
    before = customer.record
    again_told = backfill(customer, file[::-1], since_ms, until_ms, now_ms + HOUR)
    assert again_told.counted == 0
    assert customer.record == before
    began_ms = customer.since_ms or now_ms
    if told.late:
        assert now_ms >= began_ms + DAY
        assert any(began_ms - DAY < raw.at_ms < began_ms for _, raw in file)
    if told.apart:
        assert not says_until
    for at_ms, event_id, raw, _ in sent[len(arrived) :]:
        now_ms = at_ms
        customer.send(event_id, raw, at_ms)
    if told.late or told.apart:
        return
    events = [raw for _, raw in history] + [raw for _, _, raw, _ in sent]
    for name, value in customer.windows(now_ms + 1).items():
        expected = recomputed(name, events, since_ms, now_ms + 1, zone)
        assert alike(value, expected), (name, value, expected)


def test_a_history_makes_windows_complete() -> None:
    customer = Customer("Europe/Madrid", SEEN, SEEN_COLUMNS)
    history = [(f"p{k}", entry(CUT - k * 20 * DAY, 4)) for k in range(1, 22)]
    assert customer.windows(CUT)["positive_months"] == Absent("WINDOW_INCOMPLETE")
    assert backfill(customer, history, CUT - 420 * DAY, CUT, CUT) == Backfilled(counted=21)
    assert customer.windows(CUT)["positive_months"] == 12
    assert customer.windows(CUT)["most_24m"] == Absent("WINDOW_INCOMPLETE")
    assert backfill(customer, history, CUT - 420 * DAY, CUT, CUT + DAY) == Backfilled(known=21)
    # an older part of the same history, as `tact backfill` sends it behind the latest
    older = [(f"o{k}", entry(CUT - (420 + k * 20) * DAY - 1, 8)) for k in range(20)]
    assert backfill(customer, older, CUT - 820 * DAY, CUT - 420 * DAY, CUT + DAY) == Backfilled(counted=20)
    assert customer.windows(CUT + DAY)["most_24m"] == 2.0


def test_an_event_of_the_last_day_is_not_counted_again_when_it_arrives() -> None:
    customer = Customer(None, SEEN, SEEN_COLUMNS)
    young = entry(CUT - HOUR)
    assert backfill(customer, [("e", young)], CUT - 400 * DAY, CUT, CUT) == Backfilled(counted=1)
    taken = customer.taken
    answer = customer.send("e", young, CUT + HOUR)
    assert answer is not None
    assert answer.reason != Reason.EVENT_TOO_OLD  # it is decided
    assert customer.windows(CUT + HOUR)["entries_month"] == 1
    assert customer.taken == taken  # kernels leave a customer with such a list
    customer.send("f", entry(CUT + 2 * HOUR), CUT + 2 * HOUR)
    assert customer.windows(CUT + 2 * HOUR)["entries_month"] == 2
    customer.send("g", entry(CUT + 2 * DAY), CUT + 2 * DAY)  # nothing in it can arrive any more
    assert customer.taken == taken + 1
    later = CUT + 31 * DAY
    customer.send("h", entry(later), later)
    assert HISTORY not in decode_record(customer.record).windows


def test_the_list_of_young_events_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "YOUNG_MAX", 10)
    customer = Customer(None, SEEN, SEEN_COLUMNS)
    for k in range(5):
        events = [(f"x{k} {n}", entry(CUT - HOUR - n)) for n in range(2)]
        assert backfill(customer, events, CUT - DAY, CUT, CUT).counted == len(events)
    before = customer.record
    with pytest.raises(InvalidInput):
        backfill(customer, [("more", entry(CUT - HOUR))], CUT - DAY, CUT, CUT)
    assert customer.record == before


def test_events_that_may_have_been_counted_are_late() -> None:
    customer = Customer(None, SEEN, SEEN_COLUMNS)
    customer.send("first", entry(CUT), CUT)
    history = [("gap", entry(CUT - HOUR)), ("old", entry(CUT - 2 * DAY))]
    other = Customer(None, SEEN, SEEN_COLUMNS)
    other.record = customer.record
    # two days later no answer tells any more whether "gap" was among the events sent late on the first day
    assert backfill(customer, history, CUT - 400 * DAY, CUT, CUT + 2 * DAY) == Backfilled(counted=1, late=1)
    assert customer.windows(CUT + 2 * DAY)["days_30d"] == 2
    assert backfill(other, history, CUT - 400 * DAY, CUT, CUT + DAY - 1) == Backfilled(counted=2)


def test_a_gap_between_the_history_and_the_first_event_is_told() -> None:
    customer = Customer(None, SEEN, SEEN_COLUMNS)
    customer.send("first", entry(CUT + 9 * DAY), CUT + 9 * DAY)
    history = [("old", entry(CUT - 2 * DAY))]
    assert backfill(customer, history, CUT - 400 * DAY, CUT, CUT + 9 * DAY) == Backfilled(apart=1)
    assert customer.windows(CUT + 9 * DAY)["days_30d"] == Absent("WINDOW_INCOMPLETE")
    assert backfill(customer, history, CUT - 400 * DAY, CUT + 9 * DAY, CUT + 9 * DAY) == Backfilled(counted=1)
    assert customer.windows(CUT + 9 * DAY)["days_30d"] == 2


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([("x", entry(CUT + HOUR))], "ahead of the engine's clock"),
        ([("x", entry(CUT - 2 * DAY))], "outside of `since` and `until`"),
        ([(f"x{k}", entry(CUT - HOUR)) for k in range(11)], "expected at most"),
    ],
)
def test_what_is_refused_changes_nothing(events: list[Sent], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "YOUNG_MAX", 10)
    customer = Customer(None, SEEN, SEEN_COLUMNS)
    with pytest.raises(InvalidInput) as refused:
        backfill(customer, events, CUT - DAY, CUT + 2 * HOUR, CUT)
    assert told in refused.value.violations[0].description
    assert customer.record == b""
