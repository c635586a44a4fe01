"""Every kind of window against a plain recomputation from the raw events, by the step in Python and by kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.bundle import Bundle, compile_bundle
from engine.columns.rules import RuleColumns
from engine.compiler.model import DISTINCT_MAX
from engine.compiler.reference import Absent
from engine.decision import Reason
from engine.kernels import windows as kernels
from engine.pb.tact.v1 import decision_pb2 as pb
from engine.state.model import Cell, Profile
from engine.state.profile import encode as encode_profile
from engine.state.profile import new_version
from engine.state.record import decode as decode_record
from engine.windows import value_of
from tests.columns.twin import by_columns, by_step, compare, world

RULES = b"""
events:
  deposit: {amount: {type: money, currency: EUR}}
  account_entry: {amount: number, who: text, n: integer}
features:
  timezone: text
  savings_balance: {type: number, unit: EUR}
  monthly_salary: {type: number, unit: EUR, above: 0}
windows:
  entries_2h: {count: account_entry, over: 2 hours}
  entries_today: {count: account_entry, over: calendar day}
  spent_week: {sum: account_entry.amount, over: calendar week, where: event.amount < 0}
  entries_month: {count: account_entry, over: calendar month}
  least_30d: {minimum: account_entry.amount, over: 30 days}
  most_24m: {maximum: account_entry.amount, over: 24 months}
  largest_36h: {maximum: deposit.amount, over: 36 hours}
  first_entry_90d: {minimum: account_entry.occurred_at, over: 90 days}
  mean_30d: {mean: account_entry.amount, over: 30 days, where: event.n > 0}
  mean_deposit_3m: {mean: deposit.amount, over: 3 months}
  mean_n_7d: {mean: account_entry.n, over: 7 days}
  partners_7d: {distinct: account_entry.who, over: 7 days}
  numbers_3m: {distinct: account_entry.n, over: 3 months}
  days_30d: {days_with: account_entry, over: 30 days}
  days_month: {days_with: account_entry, over: calendar month}
  good_days_week: {days_with: account_entry, over: calendar week, having: count() >= 2}
  good_days: {days_with: account_entry, over: 120 days, having: count() >= 2 && mean(event.n) > 0}
  deposit_months: {months_with: deposit, over: 12 months}
  positive_months: {months_with: account_entry, over: 12 months, having: sum(event.amount) > 0}
  odd_months: {months_with: account_entry, over: 6 months, having: sum(event.n) % 2 == 1}
  last_used: {last: account_entry.occurred_at}
facts:
  months_covered: ratio(features.savings_balance, features.monthly_salary)
products:
  fund:
    eligible:
      cushion: {is: facts.months_covered >= 6, because: {en: "Six salaries."}}
      regular: {is: windows.deposit_months >= 9, because: {en: "Nine months."}}
      positive: {is: windows.positive_months >= 12, because: {en: "A positive year."}}
messages:
  fund_intro:
    purpose: service
    product: fund
    on: [deposit]
    channels: [sms]
    variants: {plain: {en: "Grow it."}}
  dormant:
    purpose: service
    on: [deposit]
    value: 2
    when: days_since(windows.last_used) >= 20
    channels: [sms]
    variants: {plain: {en: "You last used your account a while ago."}}
purposes: {service: {consent: not_required, if_state_unknown: silent}}
channels: {sms: {}}
"""
BUNDLE = compile_bundle({"rules.yaml": RULES})
COLUMNS = RuleColumns(BUNDLE, b"")
NAMED_WITHOUT_KERNEL = "odd_months"  # its condition is no comparison with a constant
SEEN = compile_bundle(
    {
        "rules.yaml": RULES.replace(
            b"  odd_months: {months_with: account_entry, over: 6 months, having: sum(event.n) % 2 == 1}\n", b""
        )
    }
)
SEEN_COLUMNS = RuleColumns(SEEN, b"")
ZONES = ("America/New_York", "Europe/Madrid", "Pacific/Auckland", "Asia/Kolkata", "America/Santiago", None)
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
STARTS = [
    int(datetime.fromisoformat(t).timestamp() * 1000) for t in ("2025-11-01T12:30+00:00", "2026-03-07T23:00+00:00")
]


@dataclass(frozen=True)
class Raw:
    """An event as it happened."""

    at_ms: int
    type: str
    amount: Fraction
    who: str
    n: int


def local(at_ms: int, zone: str | None) -> datetime:
    return datetime.fromtimestamp(at_ms // 1000, ZoneInfo(zone or "UTC"))


def monday(moment: datetime) -> date:
    return moment.date() - timedelta(days=moment.weekday())


def days(count: int) -> Callable[[datetime, datetime], bool]:
    return lambda then, now: (now.date() - then.date()).days < count


def months(count: int) -> Callable[[datetime, datetime], bool]:
    return lambda then, now: (now.year - then.year) * 12 + now.month - then.month < count


def slices(seconds: int, count: int) -> Callable[[datetime, datetime], bool]:
    return lambda then, now: now.timestamp() // seconds - then.timestamp() // seconds < count


def grouped(events: Sequence[Raw], by: Callable[[Raw], object]) -> list[list[Raw]]:
    groups: dict[object, list[Raw]] = {}
    for e in events:
        groups.setdefault(by(e), []).append(e)
    return list(groups.values())


def mean(values: Sequence[Fraction]) -> float | None:
    return float(sum(values) / len(values)) if values else None


Sum = Callable[[Sequence[Raw], str | None], object]
CENT = 10**7  # billionths
# What each window covers, the type of its events, and what it says of those covered; None: nothing.
MEANING: dict[str, tuple[Callable[[datetime, datetime], bool], str, Sum]] = {
    "entries_2h": (slices(60, 120), "account_entry", lambda es, _: len(es)),
    "entries_today": (days(1), "account_entry", lambda es, _: len(es)),
    "spent_week": (
        lambda then, now: monday(then) >= monday(now), "account_entry",
        lambda es, _: float(sum(e.amount for e in es if e.amount < 0)),
    ),
    "entries_month": (months(1), "account_entry", lambda es, _: len(es)),
    "least_30d": (days(30), "account_entry", lambda es, _: float(min(e.amount for e in es)) if es else None),
    "most_24m": (months(24), "account_entry", lambda es, _: float(max(e.amount for e in es)) if es else None),
    "largest_36h": (slices(900, 144), "deposit", lambda es, _: max(int(e.amount * 10**9) for e in es) if es else None),
    "first_entry_90d": (
        days(90), "account_entry", lambda es, _: min(e.at_ms for e in es) * 1_000_000 if es else None,
    ),
    "mean_30d": (days(30), "account_entry", lambda es, _: mean([e.amount for e in es if e.n > 0])),
    "mean_deposit_3m": (months(3), "deposit", lambda es, _: mean([e.amount for e in es])),
    "mean_n_7d": (days(7), "account_entry", lambda es, _: mean([Fraction(e.n) for e in es])),
    "partners_7d": (days(7), "account_entry", lambda es, _: len({e.who for e in es})),
    "numbers_3m": (months(3), "account_entry", lambda es, _: len({e.n for e in es})),
    "days_30d": (days(30), "account_entry", lambda es, zone: len({local(e.at_ms, zone).date() for e in es})),
    "days_month": (months(1), "account_entry", lambda es, zone: len({local(e.at_ms, zone).date() for e in es})),
    "good_days_week": (
        lambda then, now: monday(then) >= monday(now),
        "account_entry",
        lambda es, zone: sum(len(g) >= 2 for g in grouped(es, lambda e: local(e.at_ms, zone).date())),
    ),
    "good_days": (
        days(120), "account_entry",
        lambda es, zone: sum(
            len(g) >= 2 and sum(e.n for e in g) > 0 for g in grouped(es, lambda e: local(e.at_ms, zone).date())
        ),
    ),
    "deposit_months": (months(12), "deposit", lambda es, zone: len(by_month(es, zone))),
    "positive_months": (
        months(12), "account_entry", lambda es, zone: sum(sum(e.amount for e in g) > 0 for g in by_month(es, zone)),
    ),
    "odd_months": (
        months(6), "account_entry",
        lambda es, zone: sum(abs(sum(e.n for e in g)) % 2 == 1 and sum(e.n for e in g) > 0 for g in by_month(es, zone)),
    ),
}  # fmt: skip


def by_month(events: Sequence[Raw], zone: str | None) -> list[list[Raw]]:
    return grouped(events, lambda e: (local(e.at_ms, zone).year, local(e.at_ms, zone).month))


def recomputed(name: str, events: Sequence[Raw], since_ms: int, now_ms: int, zone: str | None) -> object:
    """What a window says, from nothing but the events."""
    if name == "last_used":
        used = [e.at_ms for e in events if e.type == "account_entry"]
        return max(used) * 1_000_000 if used else Absent("DATA_MISSING")
    covers, kind, said = MEANING[name]
    now = local(now_ms, zone)
    if not since_ms or covers(local(since_ms - 1000, zone), now) or covers(local(since_ms - 1, zone), now):
        return Absent("WINDOW_INCOMPLETE")
    found = said([e for e in events if e.type == kind and covers(local(e.at_ms, zone), now)], zone)
    return Absent("DATA_MISSING") if found is None else found


class Customer:
    """One customer's life: events arrive, both ways decide, and the windows are looked at."""

    def __init__(self, zone: str | None, bundle: Bundle = BUNDLE, columns: RuleColumns = COLUMNS) -> None:
        self.zone = zone
        self.bundle, self.columns = bundle, columns
        cells = {"savings_balance": Cell("number", 9000.0, 0), "monthly_salary": Cell("number", 1500.0, 0)}
        if zone is not None:
            cells["timezone"] = Cell("text", zone, 0)
        self.profile = encode_profile(Profile(new_version(), cells, None))
        self.record = b""
        self.since_ms = 0
        self.taken = 0

    def send(self, event_id: str, raw: Raw, now_ms: int) -> pb.Decision | None:
        """Decides; None where it was decided before."""
        request = pb.DecideRequest()
        event = request.event
        event.event_id, event.customer_id, event.type = event_id, "c", raw.type
        event.occurred_at.FromMilliseconds(raw.at_ms)
        if raw.type == "deposit":
            event.attributes["amount"].money.currency_code = "EUR"
            units, rest = divmod(raw.amount, 1)
            if raw.amount < 0 and rest:
                units, rest = units + 1, rest - 1
            event.attributes["amount"].money.units, event.attributes["amount"].money.nanos = (
                int(units),
                int(rest * 10**9),
            )
        else:
            event.attributes["amount"].number = float(raw.amount)
            event.attributes["who"].text = raw.who
            event.attributes["n"].integer = raw.n
        state = {"c": (self.profile, self.record)}
        w = world(self.bundle)
        step = by_step(w, [request], state, now_ms)
        columns = by_columns(self.columns, w, [request], state, now_ms)
        self.taken += compare(columns, step)
        if step[0] is None:
            return None
        self.record = step[0].blob
        decision = pb.DecideResponse.FromString(step[0].answer).decisions[0]
        if decision.reason != Reason.EVENT_TOO_OLD:
            self.since_ms = self.since_ms or now_ms
        return decision

    def windows(self, now_ms: int) -> dict[str, object]:
        """What the rules would read."""
        kept = decode_record(self.record).windows
        return {n: value_of(p, kept, now_ms, self.zone) for n, p in self.bundle.steps.windows.items()}


def alike(found: object, expected: object) -> bool:
    if isinstance(found, float) and isinstance(expected, float):
        return abs(found - expected) <= 1e-12 * max(1.0, abs(expected))
    return type(found) is type(expected) and found == expected


GAPS = st.integers(0, 2 * HOUR) | st.integers(0, 3 * DAY) | st.integers(20 * DAY, 60 * DAY) | st.just(0)
LATE = st.integers(0, 3 * HOUR) | st.integers(0, DAY - 1) | st.integers(DAY, 3 * DAY) | st.just(0)
EVENTS = st.lists(
    st.tuples(
        GAPS, LATE, st.sampled_from(("account_entry", "account_entry", "deposit")), st.integers(-400, 400),
        st.sampled_from(("ana", "bo", "Zoë", "", "a very long name indeed " * 9)), st.integers(-3, 9),
        st.integers(0, 5),
    ),
    min_size=1, max_size=25,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(EVENTS, st.sampled_from(ZONES), st.sampled_from(STARTS), st.booleans())
def test_windows_are_what_the_raw_events_say(
    drawn: list[tuple[int, int, str, int, str, int, int]], zone: str | None, start_ms: int, by_kernels: bool
) -> None:
    customer = Customer(zone, SEEN, SEEN_COLUMNS) if by_kernels else Customer(zone)
    now_ms, events, sent = start_ms, [], []
    for k, (gap, late, kind, quarters, who, n, again) in enumerate(drawn):
        now_ms += gap
        raw = Raw(now_ms - late, kind, Fraction(quarters, 4), who, n)
        decision = customer.send(f"e{k}", raw, now_ms)
        assert decision is not None
        if late < DAY:
            assert decision.reason != Reason.EVENT_TOO_OLD
            events.append(raw)
        else:
            assert (decision.reason, decision.details.cause[:4]) == (Reason.EVENT_TOO_OLD, "LATE")
        sent.append((f"e{k}", raw))
        if again == 0:  # a retry: counted once, whatever came between
            repeated = sent[n % len(sent)]
            known = customer.send(*repeated, now_ms)
            assert known is None or known.reason == Reason.EVENT_TOO_OLD
        for name, value in customer.windows(now_ms).items():
            expected = recomputed(name, events, customer.since_ms, now_ms, zone)
            assert alike(value, expected), (name, value, expected)
    if by_kernels and any(late < DAY for _, late, *_ in drawn):
        assert customer.taken


def test_the_three_criteria_of_a_cushioned_saver() -> None:
    """Six salaries of savings, deposits in nine of the last twelve months, twelve months of positive cash flow."""
    customer = Customer("America/Bogota", SEEN, SEEN_COLUMNS)
    told = []
    for month in range(15):
        year, of = divmod(10 + month, 12)
        first = int(datetime(2025 + year, of + 1, 3, 15, tzinfo=ZoneInfo("America/Bogota")).timestamp() * 1000)
        customer.send(f"in{month}", Raw(first, "account_entry", Fraction(900), "employer", 1), first)
        customer.send(f"out{month}", Raw(first + HOUR, "account_entry", Fraction(-700), "shop", 1), first + HOUR)
        if month not in (5, 8, 11):
            answer = customer.send(f"d{month}", Raw(first + DAY, "deposit", Fraction(200), "", 0), first + DAY)
            assert answer is not None
            told.append((month, answer.message, customer.windows(first + DAY)))
    reached = [month for month, message, _ in told if message == "fund_intro"]
    # November 2025 was watched in part only: the first year that was watched whole ends in November 2026
    assert reached == [12, 13, 14]
    for month, _, windows in told:
        expected = (9, 12) if month >= 12 else 2 * (Absent("WINDOW_INCOMPLETE"),)
        assert (windows["deposit_months"], windows["positive_months"]) == expected, month
    assert customer.taken == 2 * 15 + 12


@pytest.mark.parametrize(("idle", "message"), [(19, ""), (20, "dormant"), (45, "dormant")])
def test_days_since_the_last_use(idle: int, message: str) -> None:
    """Calendar days in the customer's own zone, so not to be had from 24-hour days."""
    customer = Customer("America/New_York", SEEN, SEEN_COLUMNS)
    used = int(datetime(2026, 2, 20, 23, 50, tzinfo=ZoneInfo("America/New_York")).timestamp() * 1000)
    customer.send("used", Raw(used, "account_entry", Fraction(5), "shop", 1), used)
    day = datetime(2026, 2, 20, 0, 10, tzinfo=ZoneInfo("America/New_York")) + timedelta(days=idle)
    now_ms = int(day.timestamp() * 1000)
    answer = customer.send("d", Raw(now_ms, "deposit", Fraction(1), "", 0), now_ms)
    assert answer is not None
    assert answer.message == message


def test_before_the_first_use_there_is_no_last() -> None:
    customer = Customer(None, SEEN, SEEN_COLUMNS)
    answer = customer.send("d", Raw(STARTS[0], "deposit", Fraction(1), "", 0), STARTS[0])
    assert answer is not None
    assert answer.message == ""
    assert customer.windows(STARTS[0])["last_used"] == Absent("DATA_MISSING")


def test_distinct_counts_exactly_up_to_its_bound_and_stays_there() -> None:
    assert kernels.DISTINCT_MAX == DISTINCT_MAX
    customer = Customer(None, SEEN, SEEN_COLUMNS)
    now_ms, events = STARTS[0], []
    for k in range(DISTINCT_MAX + 20):
        now_ms += 3 * HOUR // 2
        raw = Raw(now_ms, "account_entry", Fraction(1), f"partner {k if k % 5 else 0}", k)
        customer.send(f"e{k}", raw, now_ms)
        events.append(raw)
        if now_ms - STARTS[0] > 8 * DAY:
            said = customer.windows(now_ms)
            assert said["partners_7d"] == recomputed("partners_7d", events, customer.since_ms, now_ms, None)
    later = STARTS[0] + 200 * DAY  # complete, and empty: then more than the bound within one span
    for k in range(DISTINCT_MAX + 20):
        later += 6 * HOUR
        customer.send(f"l{k}", Raw(later, "account_entry", Fraction(1), f"partner {k}", k), later)
        assert customer.windows(later)["numbers_3m"] == min(k + 1, DISTINCT_MAX)
        assert customer.windows(later)["partners_7d"] == min(k + 1, 7 * 4 + later % DAY // (6 * HOUR) - 3)
    assert len(decode_record(customer.record).windows[SEEN.steps.windows["numbers_3m"].key].buckets) == DISTINCT_MAX


def test_windows_of_one_meaning_may_be_complete_at_different_times() -> None:
    text = RULES.replace(
        b"  odd_months: {months_with: account_entry, over: 6 months, having: sum(event.n) % 2 == 1}\n",
        b"  at_once: {count: account_entry, over: 12 months, since_start: zero}\n"
        b"  later: {count: account_entry, over: 12 months}\n"
        b"  good_at_once: {months_with: account_entry, over: 12 months, having: count() > 1, since_start: zero}\n",
    ).replace(
        b"days_since(windows.last_used) >= 20",
        b"windows.at_once > 1 && !has(windows.later) && windows.good_at_once == 1",
    )
    bundle = compile_bundle({"rules.yaml": text})
    customer = Customer(None, bundle, RuleColumns(bundle, b""))
    for k in range(2):
        customer.send(f"e{k}", Raw(STARTS[0] + k, "account_entry", Fraction(1), "a", 1), STARTS[0] + k)
    answer = customer.send("d", Raw(STARTS[0] + 9, "deposit", Fraction(1), "", 0), STARTS[0] + 9)
    assert answer is not None
    assert (answer.message, customer.taken) == ("dormant", 3)
    said = customer.windows(STARTS[0] + 9)
    assert (said["at_once"], said["later"], said["good_at_once"]) == (2, Absent("WINDOW_INCOMPLETE"), 1)
