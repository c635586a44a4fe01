"""Simulated months: people's events through the engine, on a real store, by its own services, three hours at a time.

The bank played here does what docs/integrators.md asks for: it decides in batches, asks again before it sends what was
deferred, and reports what became of every message. Only the transport is left out, and the store's clock stands where
it is put. Once a simulated day the log is learnt from.
"""

from __future__ import annotations

import heapq
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import uvloop
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.status_pb2 import Status

from bench.people import (
    COST,
    DAY_MS,
    KINDS,
    MARGIN,
    MATURITIES,
    OFFERS,
    PAGE_VIEW,
    PAYMENT,
    REGIONS,
    START_MS,
    WEEKLY_CHECK,
    Floats,
    Ints,
    People,
    Population,
)
from engine.bundle import Active, Bundle, compile_bundle
from engine.columns.lane import Lane
from engine.columns.put_lane import PutLane
from engine.decider import Decider, DeciderSettings
from engine.learning.learner import Learner, refresh
from engine.learning.snapshot import Learnt
from engine.pb.tact.v1 import decision_pb2 as pb
from engine.pb.tact.v1 import profile_pb2
from engine.replay.manual_store import ManualStore
from engine.revisions import Revisions
from engine.service.table import Table
from engine.state.archive import Archiver
from engine.state.embedded import EmbeddedStore
from engine.transport import Call, Unary

TICK_MS = 3 * 3_600_000
SECRET = b"bench"  # keys the draws: `tact verify --secret bench`
_AT_ONCE = 1000  # items of a call
_MAX_LOG = 1_000_000
_ZONES = {"islands": "Atlantic/Canary"}
T = TypeVar("T")
_NAMES = ("Ana", "Luis", "Eva", "Juan", "Rosa", "Iván", "Nora", "Hugo")
_COUNTED = ("sent", "replies", "conversions", "stops", "earned", "margin", "stayed", "reached")


@dataclass
class Course:
    """What came of a way of messaging, a number a day in each of `days`' arrays.

    `sent`, `replies`, `conversions`, `stops`: how many; `earned`: EUR of conversions, `margin` of payments. At a day's
    end `stayed`: people who have not left, `reached`: those of them who have not said stop either.
    """

    size: int
    days: dict[str, Floats]
    decisions: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    arms: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # (message, variant, region)

    def total(self, of: str) -> float:
        """Over all days."""
        return float(self.days[of].sum())

    @property
    def value(self) -> Floats:
        """EUR of each day: what was earned and the margin, less what messages cost."""
        return self.days["earned"] + self.days["margin"] - COST * self.days["sent"]


def run_months(
    files: dict[str, bytes], of: Population, harm: float = 1.0, ideal: bool = False, log: Path | None = None
) -> Course:
    """The whole of `of.days` under a rule set, on a store of its own. With `log` the decision log is archived there."""
    with tempfile.TemporaryDirectory(prefix="tact-bench-") as temporary:
        server = EmbeddedStore(Path(temporary), persist=False)
        try:
            return uvloop.run(_run(server.start(), compile_bundle(files), of, People(of, harm, ideal), log))
        finally:
            server.stop()


async def _run(url: str, bundle: Bundle, of: Population, people: People, log: Path | None) -> Course:
    store = ManualStore(url, max_log_length=_MAX_LOG, timeout_ms=10_000)
    store.at_ms = START_MS
    await store.check()
    bank = _Bank(store, bundle, of, people)
    archiver = Archiver(store, log, bank.learner.safe_id) if log is not None else None
    try:
        await bank.put_profiles()
        for day in range(of.days):
            for at_ms in range(START_MS + day * DAY_MS + TICK_MS, START_MS + (day + 1) * DAY_MS + 1, TICK_MS):
                await bank.tick(at_ms)
            await bank.end_day(day)
        if archiver is not None:
            while (await archiver.run_once()).behind:
                pass
        return bank.course
    finally:
        if archiver is not None:
            await archiver.close()
        await bank.close()


class _Bank:
    """Calls the engine's methods, and keeps what is to be sent and to be reported."""

    def __init__(self, store: ManualStore, bundle: Bundle, of: Population, people: People) -> None:
        self._store = store
        self._of = of
        self._people = people
        self._learnt = Learnt()
        revisions = Revisions(store.side, store.key)
        revisions.active = Active(bundle)
        settings = DeciderSettings(salt=SECRET, secret=SECRET, commit_budget_ms=60_000)
        self._decider = Decider(revisions.active, store, settings, self._learnt)
        lane = Lane(self._decider, store)
        lane.prepare()
        table = Table(self._decider, revisions, lane=lane, puts=PutLane(self._decider, store, lane.logs_fit))
        self._methods = {m.path.rpartition("/")[2]: m.handler for m in table.methods if isinstance(m, Unary)}
        self.learner = Learner(store, revisions.active)
        self.course = Course(of.size, {name: np.zeros(of.days) for name in _COUNTED})
        self._next = 0  # event
        self._deferred: list[tuple[int, int, str, str, str]] = []  # (at, event, decision, message, variant)
        self._due: list[tuple[int, int, pb.OutcomeReport]] = []  # (at, a number for order, report)
        self._reported = 0
        self._stopped = np.zeros(of.size, np.bool_)

    async def close(self) -> None:
        """Closes all connections."""
        await self._decider.drain()
        await self.learner.close()
        await self._store.close()

    async def put_profiles(self) -> None:
        """Tells the engine who the customers are."""
        for part in _parts(range(self._of.size)):
            request = profile_pb2.PutProfilesRequest(profiles=[_profile(self._of, who) for who in part])
            answer = await self._call("PutProfiles", request)
            for result in profile_pb2.PutProfilesResponse.FromString(answer).results:
                _check(result.error)

    async def tick(self, at_ms: int) -> None:
        """What happened since the last tick, as the engine is told at its end."""
        self._store.at_ms = at_ms
        await self._send_deferred(at_ms)
        await self._report(at_ms)
        begin, of = self._next, self._of
        self._next = int(np.searchsorted(of.at_ms, at_ms, "right"))
        happened = [e for e in range(begin, self._next) if self._people.happens(e)]
        self.course.days["margin"][self._today(at_ms)] += MARGIN * int(np.sum(of.kind[happened] == PAYMENT))
        for part in _waves(happened, of.who):
            request = pb.DecideBatchRequest(requests=[_event(of, e) for e in part])
            answer = pb.DecideBatchResponse.FromString(await self._call("DecideBatch", request))
            for event, response in zip(part, answer.responses, strict=True):
                _check(response.error)
                self._decided(event, response.decisions[0], at_ms)

    async def end_day(self, day: int) -> None:
        """Who leaves; and the engine learns."""
        at_ms = START_MS + (day + 1) * DAY_MS
        self._people.end_day(at_ms)
        stayed = ~self._people.gone
        self.course.days["stayed"][day] = stayed.sum()
        self.course.days["reached"][day] = (stayed & ~self._stopped).sum()
        await self.learner.run_once(at_ms)
        await refresh(self._store, self._learnt)

    def _today(self, at_ms: int) -> int:
        return min(self._of.days, -(-(at_ms - START_MS) // DAY_MS)) - 1

    def _decided(self, event: int, decision: pb.Decision, at_ms: int) -> None:
        self.course.decisions += 1
        self.course.reasons[pb.Decision.Reason.Name(decision.reason)] += 1
        if decision.outcome != pb.Decision.SEND:
            return
        region = REGIONS[self._of.region[self._of.who[event]]]
        self.course.arms[decision.message, decision.variant, region] += 1
        if decision.confirm_before_sending:
            send_ms = decision.send_after.ToMilliseconds()
            heapq.heappush(self._deferred, (send_ms, event, decision.decision_id, decision.message, decision.variant))
        else:
            self._send(event, decision.decision_id, decision.message, decision.variant, at_ms)

    async def _send_deferred(self, at_ms: int) -> None:
        while self._deferred and self._deferred[0][0] <= at_ms:
            _, event, decision_id, message, variant = heapq.heappop(self._deferred)
            answer = await self._call("ConfirmSend", pb.ConfirmSendRequest(decision_id=decision_id))
            if pb.ConfirmSendResponse.FromString(answer).outcome == pb.Decision.SEND:
                self._send(event, decision_id, message, variant, at_ms)

    def _send(self, event: int, decision_id: str, message: str, variant: str, at_ms: int) -> None:
        reaction = self._people.receive(event, message, variant, at_ms)
        days, today = self.course.days, self._today(at_ms)
        days["sent"][today] += 1
        Report = pb.OutcomeReport
        if not reaction.arrived:
            self._later(at_ms, decision_id, Report.NOT_DELIVERED)
            return
        self._later(at_ms, decision_id, Report.DELIVERED)
        if reaction.replied_ms is not None:
            self._later(reaction.replied_ms, decision_id, Report.REPLIED)
            if reaction.refused:
                self._later(reaction.replied_ms, decision_id, Report.DECLINED)
        if reaction.agreed_ms is not None:
            self._later(reaction.agreed_ms, decision_id, Report.CONVERTED, OFFERS[message].value)
        if reaction.stopped_ms is not None:
            self._later(reaction.stopped_ms, decision_id, Report.OPTED_OUT)
            self._stopped[self._of.who[event]] = True

    def _later(self, at_ms: int, decision_id: str, kind: pb.OutcomeReport.Kind, value: float = 0.0) -> None:
        self._reported += 1
        report = pb.OutcomeReport(decision_id=decision_id, kind=kind, occurred_at=_timestamp(at_ms), value=value)
        heapq.heappush(self._due, (at_ms, self._reported, report))

    async def _report(self, at_ms: int) -> None:
        due = []
        while self._due and self._due[0][0] <= at_ms:
            due.append(heapq.heappop(self._due)[2])
        for part in _parts(due):
            answer = await self._call("RecordOutcomes", pb.RecordOutcomesRequest(outcomes=part))
            for report, result in zip(part, pb.RecordOutcomesResponse.FromString(answer).results, strict=True):
                _check(result.error)
                self._count(report)

    def _count(self, report: pb.OutcomeReport) -> None:
        days, today = self.course.days, self._today(report.occurred_at.ToMilliseconds())
        match report.kind:
            case pb.OutcomeReport.REPLIED:
                days["replies"][today] += 1
            case pb.OutcomeReport.CONVERTED:
                days["conversions"][today] += 1
                days["earned"][today] += report.value
            case pb.OutcomeReport.OPTED_OUT:
                days["stops"][today] += 1

    async def _call(self, method: str, request: Message) -> bytes:
        return await self._methods[method](request.SerializeToString(), Call())


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for first in range(0, len(items), _AT_ONCE):
        yield items[first : first + _AT_ONCE]


def _waves(events: Sequence[int], who: Ints) -> Iterator[Sequence[int]]:
    """Calls with at most one event of a person: a second one of the same hours comes in the call after."""
    while events:
        first: dict[int, int] = {}
        later = [e for e in events if first.setdefault(int(who[e]), e) != e]
        yield from _parts(list(first.values()))
        events = later


def _check(error: Status) -> None:
    if error.code:
        raise RuntimeError(f"the engine refused: {error.message}")


def _timestamp(at_ms: int) -> Timestamp:
    stamp = Timestamp()
    stamp.FromMilliseconds(at_ms)
    return stamp


def _event(of: Population, k: int) -> pb.DecideRequest:
    request = pb.DecideRequest()
    event, kind = request.event, int(of.kind[k])
    event.event_id, event.customer_id, event.type = f"e{k}", f"c{of.who[k]}", KINDS[kind]
    event.occurred_at.FromMilliseconds(int(of.at_ms[k]))
    if kind == PAGE_VIEW:
        event.attributes["page"].text = "loan" if of.special[k] else "home"
    elif kind != WEEKLY_CHECK:
        _euros(event.attributes["amount"], float(of.amount[k]))
        if kind == PAYMENT:
            event.attributes["category"].text = "bill" if of.special[k] else "shop"
    return request


def _profile(of: Population, who: int) -> profile_pb2.Profile:
    profile = profile_pb2.Profile(customer_id=f"c{who}")
    region = REGIONS[of.region[who]]
    features = profile.features
    features["first_name"].text = _NAMES[who % len(_NAMES)]
    features["has_app"].flag = bool(of.has_app[who])
    features["language"].text = "es" if of.spanish[who] else "en"
    features["timezone"].text = _ZONES.get(region, "Europe/Madrid")
    features["region"].text = region
    features["maturity"].text = MATURITIES[of.maturity[who]]
    _euros(features["income"], float(of.income[who]))
    profile.contact.consents.add(purpose="marketing", state=profile_pb2.Consent.GRANTED)
    return profile


def _euros(value: pb.Value, amount: float) -> None:
    cents = round(amount * 100)
    value.money.currency_code, value.money.units, value.money.nanos = "EUR", cents // 100, cents % 100 * 10_000_000
