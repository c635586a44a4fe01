"""Event streams that look like a bank's, of any size: seeded, in order of time, an hour at a time.

Few customers make most of the events (activity is log-normal, as card data show); days have two peaks and a dead
night, weeks a quiet Sunday; salaries come at the month's end, loans fall due on a day of the month, and after
payday more is spent. Clocks are those of `ZONE`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from bench.generate import EVENT_TYPES, ZIPF

ZONE = ZoneInfo("Europe/Madrid")
CHANNELS = ("app", "card", "web", "branch", "atm", "transfer", "phone", "system")
_OWN = {  # where a type happens, each as often as it is named; the others come through the app mostly
    **dict.fromkeys(("card_payment", "card_declined", "fx_payment"), ("card",)),
    **dict.fromkeys(("deposit", "transfer_in"), ("transfer", "transfer", "branch", "atm")),
    **dict.fromkeys(("direct_debit", "standing_order", "salary", "instalment_due"), ("system",)),
    **dict.fromkeys(("card_online", "page_view", "fund_viewed", "insurance_viewed"), ("web", "app")),
    **dict.fromkeys(("support_contact", "complaint", "card_blocked"), ("phone", "phone", "app", "branch")),
    "cash_withdrawal": ("atm",),
}
_ANYWHERE = ("app", "app", "web", "branch")
_PLACES = 4

# shares of a day by hour, and of a week by day from Monday on; the mean of each is 1
_HOURS = np.array(
    [14, 8, 5, 4, 5, 10, 24, 48, 68, 80, 88, 98, 112, 116, 96, 84, 86, 98, 118, 122, 104, 78, 50, 28], float
)
_WEEK = np.array([98, 98, 100, 104, 122, 104, 74], float)
_HOURS /= _HOURS.mean()
_WEEK /= _WEEK.mean()

_SPREAD = 1.4  # of activity: the busiest tenth of the customers makes half of the events
_SALARIED, _BORROWERS = 0.55, 0.2
_SALARY_RULES = (0.7, 0.2, 0.1)  # last working day, 25th, 1st; on the working day before a weekend
_SALARY_HOUR, _DUE_HOUR = 4, 7  # batch runs of the core system
_SPENDING_DAYS, _SPENDING = 3, 1.3  # after the month's end
_MEDIANS = {  # of amounts in EUR; what is not here moves no money
    "card_payment": 22, "deposit": 180, "transfer_out": 120, "direct_debit": 45, "cash_withdrawal": 60,
    "bill_payment": 60, "transfer_in": 140, "salary": 1500, "card_online": 35, "mobile_top_up": 12,
    "instalment_due": 210, "standing_order": 250, "fx_payment": 70, "card_declined": 40, "savings_move": 150,
    "instalment_paid": 210, "loan_simulated": 6000, "loan_requested": 7000,
}  # fmt: skip
_BY_CALENDAR = ("salary", "instalment_due")  # the others come by chance

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Events:
    """An hour's events in order of time, an array a field: `at_ms` since 1970, places of customer, type, channel."""

    at_ms: Ints
    customer: Ints
    type: Ints
    amount: Floats
    channel: Ints


class Bank:
    """`customers` of one seed; the stream can be asked for again and is the same."""

    def __init__(self, customers: int, seed: int, per_day: float = 2.0) -> None:
        """`per_day`: events of a customer and day, on the mean, salaries and instalments not counted."""
        chance = np.random.default_rng([seed, 0])
        activity = chance.lognormal(0.0, _SPREAD, customers)
        self._seed = seed
        self._count = customers
        self._by_activity: Floats = np.cumsum(activity / activity.sum())
        self._per_hour = per_day * customers / 24
        self._salary = np.where(
            chance.random(customers) < _SALARIED, chance.lognormal(np.log(_MEDIANS["salary"]), 0.45, customers), 0.0
        )
        self._paid_by = chance.choice(len(_SALARY_RULES), customers, p=_SALARY_RULES)
        self._due_day = np.where(chance.random(customers) < _BORROWERS, chance.integers(1, 29, customers), 0)
        types = [k for k, kind in enumerate(EVENT_TYPES) if kind not in _BY_CALENDAR]
        weights = np.array([ZIPF[k] for k in types])
        self._types: Ints = np.array(types)
        self._types_share: Floats = np.cumsum(weights / weights.sum())
        own = [_OWN.get(kind, _ANYWHERE) for kind in EVENT_TYPES]
        self._channels: Ints = np.array([[CHANNELS.index(c[k % len(c)]) for k in range(_PLACES)] for c in own])
        self._log_median: Floats = np.log([max(_MEDIANS.get(kind, 0), 1e-9) for kind in EVENT_TYPES])

    def hours(self, start: date, days: int) -> Iterator[Events]:
        """All hours of `days` days from the midnight that begins `start`."""
        chance = np.random.default_rng([self._seed, 1])
        at = datetime.combine(start, datetime.min.time(), ZONE).astimezone(UTC)
        end = datetime.combine(start + timedelta(days), datetime.min.time(), ZONE).astimezone(UTC)
        while at < end:
            yield self._hour(at, chance)
            at += timedelta(hours=1)

    def _hour(self, at: datetime, chance: np.random.Generator) -> Events:
        local = at.astimezone(ZONE)
        rate = self._per_hour * _HOURS[local.hour] * _WEEK[local.weekday()] * _payday_factor(local.date())
        count = int(chance.poisson(rate))
        customer = np.searchsorted(self._by_activity, chance.random(count)).clip(max=self._count - 1)
        kind = self._types[np.searchsorted(self._types_share, chance.random(count)).clip(max=len(self._types) - 1)]
        amount = np.exp(self._log_median[kind] + chance.normal(0.0, 0.8, count))
        channel = self._channels[kind, chance.integers(0, _PLACES, count)]
        parts = [(customer, kind, amount, channel), *self._by_calendar(local)]
        whole = [np.concatenate(column) for column in zip(*parts, strict=True)]
        at_ms = int(at.timestamp()) * 1000 + chance.integers(0, 3_600_000, len(whole[0]))
        order = np.argsort(at_ms, kind="stable")
        customer, kind, amount, channel = (column[order] for column in whole)
        return Events(at_ms[order], customer, kind, amount.round(2), channel)

    def _by_calendar(self, local: datetime) -> Iterator[tuple[Ints, Ints, Floats, Ints]]:
        """Salaries and instalments, in the hours in which core systems write them."""
        if local.hour == _SALARY_HOUR:
            paid = np.isin(self._paid_by, [k for k in range(len(_SALARY_RULES)) if payday(local.date(), k)])
            yield self._of("salary", np.flatnonzero(paid & (self._salary > 0)), self._salary)
        if local.hour == _DUE_HOUR:
            due = np.flatnonzero(self._due_day == local.day)
            yield self._of("instalment_due", due, np.full(self._count, float(_MEDIANS["instalment_due"])))

    def _of(self, kind: str, customers: Ints, amounts: Floats) -> tuple[Ints, Ints, Floats, Ints]:
        return (
            customers,
            np.full(len(customers), EVENT_TYPES.index(kind)),
            amounts[customers],
            np.full(len(customers), CHANNELS.index("system")),
        )


def payday(day: date, rule: int) -> bool:
    """Whether salaries of a rule are paid on that day: 0 at the month's end, 1 on the 25th, 2 on the 1st."""
    if rule == 0:
        due = (day.replace(day=28) + timedelta(4)).replace(day=1) - timedelta(1)
        return day == _working_day(due)
    for month_of in (day, day + timedelta(7)):  # what falls on a weekend is paid before, may be in the month before
        if day == _working_day(month_of.replace(day=25 if rule == 1 else 1)):
            return True
    return False


def _working_day(day: date) -> date:
    return day - timedelta(max(0, day.weekday() - 4))


def _payday_factor(day: date) -> float:
    past = (day - timedelta(k) for k in range(1, _SPENDING_DAYS + 1))
    return _SPENDING if any(payday(before, 0) for before in past) else 1.0
