"""The people of `bench population`: who they are, why they answer, tire, say stop, and leave. The engine never sees it.

The engine is told a person's features and what happens. Hidden are which wording each region likes, how warm a person
is, how many messages that person bears, and the rest of this page. Times are ms since 1970, values EUR.

A reply to message m in wording v comes with the probability

    p = 1 / (1 + exp(-(base[m] + liking[m, v, region] + warmth + ease[maturity] - DULLED x excess)))

Fatigue rises by one with each marketing message (by SERVICE_WEARIES with one of service) and halves in
FATIGUE_HALF_MS. The excess is how far it was above what the person bears when the message came. With each message the
risk of a stop is _STOP x exp(STOP_GROWS x excess); each day the risk of leaving is
_LEAVE x exp(LEAVE_GROWS x excess - BOND x bond). Replies make the bond: each adds one, and it halves in BOND_HALF_MS.

These are assumptions. Those about leaving are set so that a person who is written to four times a week leaves with 17 %
a month, and one who is written to once a week with 3 %: what a wallet saw before and after it learnt to wait. Nobody
measured the others. How far wordings differ (LIKING_SD, REGION_LIKING_SD) decides what learning can be worth.

Chance is drawn beforehand, event by event, so that every way of messaging meets the same people on the same days.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

DAY_MS = 86_400_000
START_MS = 1_767_571_200_000  # Monday, 5 January 2026
KINDS = ("salary", "top_up", "payment", "page_view", "weekly_check")
SALARY, TOP_UP, PAYMENT, PAGE_VIEW, WEEKLY_CHECK = range(len(KINDS))

REGIONS = ("capital", "north", "coast", "islands")
_REGION_SHARES = (0.4, 0.3, 0.2, 0.1)
MATURITIES = ("nascent", "experimenter", "emerger", "enabled")
_MATURITY_SHARES = (0.2, 0.3, 0.3, 0.2)
_EASE = np.array([-0.3, 0.0, 0.2, 0.1])  # of replying, by maturity
_APP_SHARES = np.array([0.1, 0.5, 0.85, 1.0])
_SPANISH = 0.85
_SALARIED = 0.8
_PER_DAY = 1.1  # events of a person in an active week, on the mean, salaries and checks not counted
_MIX = (0.35, 0.45, 0.2)  # top-ups, payments, page views
_BILLS, _LOAN_PAGES = 0.6, 0.8
_FALLS_ASLEEP, _WAKES = 0.06, 0.12  # a week
_ASLEEP = 0.04  # of events still happen
_HOURS = np.array([1, 1, 1, 1, 1, 2, 4, 7, 9, 9, 10, 11, 12, 12, 10, 9, 9, 10, 12, 12, 10, 7, 4, 2], float)

LIKING_SD, REGION_LIKING_SD = 0.4, 0.4  # how far wordings differ: everywhere, and from region to region
WRITTEN_BETTER = 0.15  # a wording beside the plain control, on the mean
_WARMTH_SD = 0.5
_BEARS, _BEARS_SD = 1.8, 0.4  # fatigue that the median person bears without harm; log-normal
FATIGUE_HALF_MS, SERVICE_WEARIES = 7 * DAY_MS, 0.25
DULLED, STOP_GROWS, LEAVE_GROWS = 0.25, 0.4, 0.5
_STOP, _STOP_MAX = 0.002, 0.3  # a message
_LEAVE = 0.001  # a day
BOND, BOND_HALF_MS = 0.4, 45 * DAY_MS
_REFUSED = 0.15  # of replies: not now
_ARRIVES = 0.98
_REPLY_MS, _AGREE_MS = 5 * 3_600_000, 20 * 3_600_000  # mean times until
_AWAKE_MS = 42 * DAY_MS  # somebody who came back uses the wallet at least so long
MARGIN = 0.4  # of a payment
COST = 0.02  # of a message


class Offer(NamedTuple):
    """`rate`: replies of a median person to a wording of no merit; `agrees`: of replies that are no refusals."""

    rate: float
    agrees: float
    value: float


OFFERS = {
    "savings_plan_intro": Offer(0.08, 0.35, 20.0),
    "small_loan_intro": Offer(0.06, 0.3, 30.0),
    "bill_helper": Offer(0.12, 0.4, 6.0),
    "bring_back": Offer(0.1, 0.5, 5.0),
    "invite_friend": Offer(0.06, 0.4, 10.0),
}

# columns of an event's luck
_HAPPENS, _COMES, _REPLIES, _REFUSES, _AGREES, _STOPS, _SOON, _SOONER = range(8)


class Reaction(NamedTuple):
    """What comes of a message that was sent: when, and None for never."""

    arrived: bool
    replied_ms: int | None = None
    refused: bool = False
    agreed_ms: int | None = None
    stopped_ms: int | None = None


@dataclass(frozen=True)
class Population:
    """People and what would happen to them if they stayed and were awake; the same for every way of messaging.

    An array has a place for each person, from `at_ms` on for each event in order of time. `kind`: place in KINDS;
    `special`: a bill, or the page about loans; `luck`: uniforms. `likings`: by message and wording, of each region.
    """

    days: int
    region: Ints
    maturity: Ints
    has_app: npt.NDArray[np.bool_]
    spanish: npt.NDArray[np.bool_]
    income: Floats
    warmth: Floats
    bears: Floats
    lifetime: Floats  # leaves where its summed risk of leaving comes to this
    awake: npt.NDArray[np.bool_]  # by person and week
    at_ms: Ints
    who: Ints
    kind: Ints
    amount: Floats
    special: npt.NDArray[np.bool_]
    luck: Floats
    likings: Mapping[str, Mapping[str, Floats]]

    @property
    def size(self) -> int:
        """How many people."""
        return len(self.region)

    def best_everywhere(self, message: str) -> str:
        """The one wording that brings most replies over all regions."""
        return max(self.likings[message], key=lambda v: float(self._rates(message, v) @ np.array(_REGION_SHARES)))

    def best_in(self, message: str, region: int) -> str:
        """The wording that a region likes best."""
        return max(self.likings[message], key=lambda v: float(self.likings[message][v][region]))

    def _rates(self, message: str, wording: str) -> Floats:
        rates: Floats = 1.0 / (1.0 + np.exp(-(_logit(OFFERS[message].rate) + self.likings[message][wording])))
        return rates


def population(size: int, days: int, seed: int, wordings: Mapping[str, Sequence[str]]) -> Population:
    """People and their days. `wordings`: by message its variants, the control among them under that name."""
    chance = np.random.default_rng([seed, size, days])
    likings = {
        message: {
            v: (WRITTEN_BETTER if v != "control" else 0.0)
            + chance.normal(0.0, LIKING_SD)
            + chance.normal(0.0, REGION_LIKING_SD, len(REGIONS))
            for v in wordings[message]
        }
        for message in OFFERS
    }
    region = chance.choice(len(REGIONS), size, p=_REGION_SHARES)
    maturity = chance.choice(len(MATURITIES), size, p=_MATURITY_SHARES)
    income = chance.lognormal(np.log(1300.0), 0.35, size).round()
    at_ms, who, kind, amount, special = _events(chance, size, days, income)
    order = np.argsort(at_ms, kind="stable")
    return Population(
        days=days,
        region=region,
        maturity=maturity,
        has_app=chance.random(size) < _APP_SHARES[maturity],
        spanish=chance.random(size) < _SPANISH,
        income=income,
        warmth=chance.normal(0.0, _WARMTH_SD, size),
        bears=chance.lognormal(np.log(_BEARS), _BEARS_SD, size),
        lifetime=chance.exponential(1.0, size),
        awake=_weeks(chance, size, days // 7 + 1),
        at_ms=at_ms[order],
        who=who[order],
        kind=kind[order],
        amount=amount[order],
        special=special[order],
        luck=chance.random((len(at_ms), _SOONER + 1)),
        likings=likings,
    )


def _events(
    chance: np.random.Generator, size: int, days: int, income: Floats
) -> tuple[Ints, Ints, Ints, Floats, npt.NDArray[np.bool_]]:
    """(at, who, kind, amount, special) of everybody, in no order."""
    counts = chance.poisson(_PER_DAY * days * chance.lognormal(-0.32, 0.8, size))
    who = np.repeat(np.arange(size), counts)
    n = len(who)
    hour = chance.choice(24, n, p=_HOURS / _HOURS.sum())
    at = START_MS + chance.integers(0, days, n) * DAY_MS + hour * 3_600_000 + chance.integers(0, 3_600_000, n)
    kind = chance.choice((TOP_UP, PAYMENT, PAGE_VIEW), n, p=_MIX)
    part = chance.lognormal(np.log(0.05), 0.6, n)  # of the income
    special = chance.random(n) < np.where(kind == PAYMENT, _BILLS, np.where(kind == PAGE_VIEW, _LOAN_PAGES, 0.0))
    parts = [(at, who, kind, (part * income[who]).round(2), special)]

    paid_on, checked_on = chance.integers(0, 30, size), chance.integers(0, 7, size)
    salaried = chance.random(size) < _SALARIED
    for of, first, every, hour_of, taken in (
        (SALARY, paid_on, 30, 7, salaried),
        (WEEKLY_CHECK, checked_on, 7, 9, np.ones(size, np.bool_)),
    ):
        for k in range(0, days, every):
            here = np.flatnonzero(taken & (first + k < days))
            moment = (
                START_MS + (first[here] + k) * DAY_MS + hour_of * 3_600_000 + chance.integers(0, 3_600_000, len(here))
            )
            amounts = income[here] if of == SALARY else np.zeros(len(here))
            parts.append((moment, here, np.full(len(here), of), amounts, np.zeros(len(here), np.bool_)))
    at, who, kind, amount, special = (np.concatenate(column) for column in zip(*parts, strict=True))
    return at, who, kind, amount, special


def _weeks(chance: np.random.Generator, size: int, weeks: int) -> npt.NDArray[np.bool_]:
    """Who is awake in which week: people fall asleep and wake up by chance."""
    awake = np.ones((size, weeks), np.bool_)
    awake[:, 0] = chance.random(size) < _WAKES / (_WAKES + _FALLS_ASLEEP)
    for week in range(1, weeks):
        u = chance.random(size)
        awake[:, week] = np.where(awake[:, week - 1], u >= _FALLS_ASLEEP, u < _WAKES)
    return awake


class People:
    """A population while it is written to: who is tired, tied, woken up, gone.

    `harm` scales what too many messages do; at 0 nobody ever tires. `ideal`: each message is taken as if it had come in
    the wording that the person's region likes best.
    """

    def __init__(self, of: Population, harm: float = 1.0, ideal: bool = False) -> None:
        self._of = of
        self._harm = harm
        self._ideal = ideal
        self._fatigue, self._bond = np.zeros(of.size), np.zeros(of.size)
        self._fatigue_at, self._bond_at = (np.full(of.size, START_MS) for _ in range(2))
        self._woken_ms = np.zeros(of.size, np.int64)
        self._risk = np.zeros(of.size)
        self.gone = np.zeros(of.size, np.bool_)

    def happens(self, event: int) -> bool:
        """Whether an event takes place: its person is here, and awake enough."""
        of, who = self._of, self._of.who[event]
        if self.gone[who]:
            return False
        if of.kind[event] in (SALARY, WEEKLY_CHECK) or of.at_ms[event] < self._woken_ms[who]:
            return True
        week = (of.at_ms[event] - START_MS) // (7 * DAY_MS)
        return bool(of.awake[who, week] or of.luck[event, _HAPPENS] < _ASLEEP)

    def receive(self, event: int, message: str, wording: str, at_ms: int) -> Reaction:
        """A message that an event caused comes to its person."""
        who, luck = int(self._of.who[event]), self._of.luck[event]
        if luck[_COMES] >= _ARRIVES or self.gone[who]:
            return Reaction(False)
        offer = OFFERS.get(message)
        excess = self._excess(who, at_ms)
        self._fatigue[who] = self._tired(who, at_ms) + (SERVICE_WEARIES if offer is None else 1.0)
        self._fatigue_at[who] = at_ms
        stops = luck[_STOPS] < min(_STOP_MAX, _STOP * math.exp(STOP_GROWS * excess))
        stopped_ms = at_ms + 1_800_000 if stops and offer is not None else None
        if offer is None or luck[_REPLIES] >= self.reply_probability(who, message, wording, excess):
            return Reaction(True, stopped_ms=stopped_ms)
        replied_ms = at_ms + round(-math.log(1.0 - luck[_SOON]) * _REPLY_MS)
        refused = luck[_REFUSES] < _REFUSED
        agreed_ms = None
        if not refused and luck[_AGREES] < offer.agrees:
            agreed_ms = replied_ms + round(-math.log(1.0 - luck[_SOONER]) * _AGREE_MS)
        self._tie(who, replied_ms)
        if message == "bring_back" and not refused:
            self._woken_ms[who] = replied_ms + _AWAKE_MS
        return Reaction(True, replied_ms, refused, agreed_ms, stopped_ms)

    def reply_probability(self, who: int, message: str, wording: str, excess: float = 0.0) -> float:
        """The probability of a reply; see above."""
        of = self._of
        region = int(of.region[who])
        if self._ideal:
            wording = of.best_in(message, region)
        logit = _logit(OFFERS[message].rate) + float(of.likings[message][wording][region])
        logit += float(of.warmth[who] + _EASE[of.maturity[who]]) - DULLED * excess
        return 1.0 / (1.0 + math.exp(-logit))

    def end_day(self, at_ms: int) -> None:
        """A day is over: some leave."""
        fatigue = self._fatigue * 0.5 ** ((at_ms - self._fatigue_at) / FATIGUE_HALF_MS)
        bond = self._bond * 0.5 ** (np.maximum(0, at_ms - self._bond_at) / BOND_HALF_MS)
        excess = self._harm * np.maximum(0.0, fatigue - self._of.bears)
        self._risk += _LEAVE * np.exp(LEAVE_GROWS * excess - BOND * bond)
        self.gone |= self._risk > self._of.lifetime

    def _tired(self, who: int, at_ms: int) -> float:
        return float(self._fatigue[who] * 0.5 ** ((at_ms - self._fatigue_at[who]) / FATIGUE_HALF_MS))

    def _excess(self, who: int, at_ms: int) -> float:
        return self._harm * max(0.0, self._tired(who, at_ms) - float(self._of.bears[who]))

    def _tie(self, who: int, at_ms: int) -> None:
        faded = self._bond[who] * 0.5 ** (max(0, at_ms - self._bond_at[who]) / BOND_HALF_MS)
        self._bond[who], self._bond_at[who] = faded + 1.0, at_ms


def _logit(p: float) -> float:
    return math.log(p / (1.0 - p))
