"""The lane as it runs, over a real store: the same as the ordinary way, whatever happens to the store meanwhile.

Checked from outside: one answer per event, one booking per answer, caps exact, log and record agree.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from engine.bundle import Active, Bundle, Pauses, compile_bundle
from engine.columns import lane
from engine.columns.batch import ColumnBatch
from engine.columns.lane import Lane
from engine.columns.rules import RuleColumns
from engine.decider import Decider, DeciderSettings, create_decider
from engine.decision import DecideRequest, Decision, Outcome, OutcomeKind, Outcomes, Reason
from engine.errors import StoreUnavailable, TactError
from engine.identity import customer_key, event_hash
from engine.pb.tact.v1 import decision_pb2 as pb
from engine.revisions import Revisions
from engine.service.decision import DecisionService
from engine.service.limiter import Limiter
from engine.state.embedded import EmbeddedStore
from engine.state.log import DecisionEntry
from engine.state.log import decode as decode_entry
from engine.state.model import ReadRequest, Record
from engine.state.record import decode as decode_record
from engine.state.redis import Look, RedisStore
from engine.step.operations import ProfileChange
from engine.transport import Awaited, Call, Code, RpcError, UnaryBegin
from tests.columns.customers import Customers, words_of
from tests.columns.rule_sets import files
from tests.pipeline.test_chaos import Chaos

RULES = b"""
events: {deposit: {amount: number}, ping: {}}
features: {balance: {type: number, default: 0.0}}
windows: {deposits: {count: deposit, over: 30 days, since_start: zero}}
purposes:
  marketing: {consent: not_required, if_state_unknown: silent}
  urgent: {consent: not_required, tier: 1, if_state_unknown: silent}
messages:
  offer:
    purpose: marketing
    on: [deposit]
    unless: features.balance > 1000
    value: windows.deposits
    channels: [push]
    variants: {a: {en: "A"}, b: {en: "B"}}
  pong: {purpose: urgent, on: [ping], channels: [sms], variants: {a: {en: "P"}}}
caps: [{at_most: 5, per: [customer], in: 7 days, purposes: [marketing]}]
"""
CAP = 5


class Bounded:
    """A loop in which nothing takes for ever."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner

    def run(self, work: Awaitable[None]) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(60):
                await work

        self._runner.run(bounded())


@pytest.fixture
def runner() -> Iterator[Bounded]:
    with asyncio.Runner() as one:
        yield Bounded(one)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return compile_bundle({"r.yaml": RULES})


def _awaited(begin: UnaryBegin, payload: bytes) -> asyncio.Future[bytes]:
    reply = Awaited()
    begin(payload, Call(), reply)
    return reply.future


class Counting(DecisionService):
    """Remembers what the lane did not take."""

    handed: list[bool]

    def begin(self, item: Any, ahead: bool) -> None:
        self.handed.append(ahead)
        super().begin(item, ahead)


@dataclass
class Worker:
    """The parts of a server that decide, in front of a store."""

    store: RedisStore
    active: Active
    decider: Decider
    limiter: Limiter
    service: Counting
    calls: list[asyncio.Future[bytes]] = field(default_factory=list)

    def one(self, request: pb.DecideRequest) -> asyncio.Future[bytes]:
        self.calls.append(_awaited(self.service.decide, request.SerializeToString()))
        return self.calls[-1]

    def many(self, requests: Sequence[pb.DecideRequest | bytes]) -> asyncio.Future[bytes]:
        payload = b"".join(
            pb.DecideBatchRequest(requests=[r]).SerializeToString()
            if isinstance(r, pb.DecideRequest)
            else b"\x0a" + bytes((len(r),)) + r
            for r in requests
        )
        self.calls.append(_awaited(self.service.decide_batch, payload))
        return self.calls[-1]

    async def answers(self, requests: Sequence[pb.DecideRequest | bytes]) -> list[pb.DecideResponse]:
        return list(pb.DecideBatchResponse.FromString(await self.many(requests)).responses)

    async def stop(self) -> None:
        """Drains; then nothing may be left of what was taken."""
        await self.decider.drain()
        assert all(call.done() for call in self.calls)
        assert self.limiter.in_flight == 0


def worker(
    store: Any, bundle: Bundle, fast: bool = True, batch_max: int = 256, budget_ms: int = 2000, journal: Any = None
) -> Worker:
    active = Active(bundle)
    settings = DeciderSettings(commit_budget_ms=budget_ms)
    decider = create_decider(active, store, settings, journal=journal)
    limiter = Limiter(100_000, window=(100_000, 100_000))
    way = Lane(decider, store, batch_max) if fast else None
    real: RedisStore = getattr(store, "store", store)
    service = Counting(decider, active, Revisions(real.side, real.key), limiter, way)
    service.handed = []
    return Worker(store, active, decider, limiter, service)


def event(event_id: str, customer: str = "ana", type_: str = "deposit", **attributes: float) -> pb.DecideRequest:
    values = {name: pb.Value(number=value) for name, value in attributes.items()}
    return pb.DecideRequest(event=pb.Event(event_id=event_id, customer_id=customer, type=type_, attributes=values))


def said(answer: bytes | pb.DecideResponse) -> pb.Decision:
    response = pb.DecideResponse.FromString(answer) if isinstance(answer, bytes) else answer
    [decision] = response.decisions
    return decision


def reasons(responses: Iterable[pb.DecideResponse]) -> Counter[Reason]:
    return Counter(Reason(int(said(r).reason)) for r in responses)


async def record_of(store: RedisStore, customer: str) -> Record:
    return decode_record((await store.read([ReadRequest(customer_key(customer), ())])).entries[0].record)


async def log_of(store: RedisStore, customer: str) -> list[DecisionEntry]:
    key = customer_key(customer)
    rows = await store.admin.xrange(store.bucket_key(key.bucket, "log"))
    entries = [decode_entry(fields[b"d"]) for _, fields in rows]
    return [e for e in entries if isinstance(e, DecisionEntry) and e.customer == key.digest]


async def check(store: RedisStore, customer: str, sent: set[str]) -> list[DecisionEntry]:
    """What was booked and logged of a customer agrees, and with the events answered by a SEND. Returns the log."""
    booked = [t.event for t in (await record_of(store, customer)).touches]
    logged = await log_of(store, customer)
    assert len(booked) == len(set(booked))  # nothing booked twice
    assert {event_hash(e) for e in sent} <= set(booked)  # every answered SEND is booked
    assert max(Counter(e.event for e in logged).values()) == 1  # each event decided once
    assert {e.event for e in logged if e.outcome == Outcome.SEND} == set(booked)  # log and record agree
    return logged


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0)


# ---- the same as the ordinary way -------------------------------------------------------------------


class Still(RedisStore):
    """A store whose clock stands where it was put, so that two runs can be the same."""

    at_ms = 0

    def _take_time(self, reply: object) -> int:
        super()._take_time(reply)
        return self.at_ms


@pytest.mark.parametrize("seed", [1, 6, 11])
def test_the_same_as_the_ordinary_way(seed: int, store_url: str, key_prefix: str, runner: Bounded) -> None:
    texts = files(seed, plain=seed != 6)
    bundle = compile_bundle(texts)
    names = [f"c{k}" for k in range(40)]

    async def scenario() -> None:
        drawn = Customers(seed, bundle, words_of(texts), odd=seed == 6)
        stores = [Still(store_url, f"{key_prefix}{k}:") for k in range(2)]
        workers = [worker(one, bundle, fast=k == 0, budget_ms=400_000) for k, one in enumerate(stores)]
        at_ms = time.time_ns() // 1_000_000
        for name in names:
            profile, record = drawn.profile(at_ms), drawn.record(at_ms)
            for one in stores:
                profile_key, record_key, _ = one._customer_keys(customer_key(name))
                for key, blob in ((profile_key, profile), (record_key, record)):
                    if blob:
                        await one.admin.set(key, blob)
        for k in range(5):
            for one in stores:
                one.at_ms = at_ms + k * 3_700_000
            requests = [drawn.request(f"e{k}-{name}", name, stores[0].at_ms) for name in names]
            requests += [requests[0], *[drawn.request(f"f{k}-{n}", names[n], stores[0].at_ms) for n in range(3)]]
            told, wanted = [await w.many(requests) for w in workers]
            assert told == wanted
            single = [drawn.request(f"g{k}-{name}", name, stores[0].at_ms) for name in names[:10]]
            one, other = [await asyncio.gather(*[w.one(r) for r in single], return_exceptions=True) for w in workers]
            assert [str(a) for a in one] == [str(b) for b in other]
        handed = [len(w.service.handed) for w in workers]
        assert handed[0] < (0.4 if seed != 6 else 1) * handed[1]
        count = 0
        for name in names:
            mine, twin = [await record_of(one, name) for one in stores]
            mine.version = twin.version
            assert mine == twin
            one_log, other_log = [
                [repr(replace(e, record_version=b"", profile_version=b"")) for e in await log_of(s, name)]
                for s in stores
            ]
            assert one_log == other_log
            count += len(one_log)
        assert count > 5 * len(names)
        for w in workers:
            await w.stop()
            await w.store.close()

    runner.run(scenario())


# ---- repeats ----------------------------------------------------------------------------------------


def test_a_repeated_event_has_one_answer_and_is_booked_once(
    store: RedisStore, store_url: str, bundle: Bundle, runner: Bounded
) -> None:
    async def scenario() -> None:
        there = RedisStore(store_url, store.prefix)
        one, other = worker(store, bundle), worker(there, bundle)
        told = await asyncio.gather(*[w.one(event("e1", amount=1.0)) for w in (one, other) * 10])
        told += [await w.one(event("e1", amount=1.0)) for w in (one, other)]
        assert len(set(told)) == 1
        assert said(told[0]).outcome == Outcome.SEND
        batch = await other.answers([event("e1", amount=1.0)] * 3 + [event("e2")] * 3)
        assert [said(r) for r in batch] == [said(told[0])] * 3 + [said(batch[3])] * 3
        assert [r.request_index for r in batch] == list(range(6))
        assert [e.event for e in await check(store, "ana", {"e1", "e2"})] == [event_hash("e1"), event_hash("e2")]
        with pytest.raises(RpcError, match="used for this customer with other content"):
            await other.one(event("e1", amount=2.0))
        [bad, good] = await other.answers([event("e2", amount=2.0), event("e1", "bo")])
        assert (bad.error.code, bad.event_id, said(good).outcome) == (Code.INVALID_ARGUMENT, "e2", Outcome.SEND)
        for w in (one, other):
            await w.stop()
        await there.close()

    runner.run(scenario())


@pytest.mark.parametrize("rules", [b"", b"features: {age: integer}\nwindows: {}"], ids=["empty", "no events"])
def test_rules_without_events_are_served(store: RedisStore, rules: bytes, runner: Bounded) -> None:
    async def scenario() -> None:
        w = worker(store, compile_bundle({"a.yaml": rules}))
        [answer] = await w.answers([event("e1")])
        assert answer.error.code == Code.INVALID_ARGUMENT
        assert RuleColumns(w.active.bundle, b"").usable
        await w.stop()

    runner.run(scenario())


@pytest.mark.parametrize("messages", [1, 400], ids=["few", "many"])
def test_rules_whose_tables_cannot_be_made_are_served_the_ordinary_way(
    store: RedisStore, messages: int, runner: Bounded, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(lane, "RuleColumns", lambda *_: 1 / 0)
        more = b"".join(b"  m%d: {like: pong}\n" % k for k in range(messages))
        w = worker(store, compile_bundle({"rules.yaml": RULES, "more.yaml": b"messages:\n" + more}))
        assert w.service._lane is not None
        w.service._lane.prepare()  # as at a start
        for n in range(3):
            assert said(await w.one(event(f"e{n}", f"c{n}"))).outcome == Outcome.SEND
        assert len([r for r in caplog.records if "decided the ordinary way" in r.message]) <= 2
        await w.stop()

    runner.run(scenario())


# ---- batches ----------------------------------------------------------------------------------------


def test_a_batch_keeps_its_order_whichever_way_its_items_go(store: RedisStore, bundle: Bundle, runner: Bounded) -> None:
    async def scenario() -> None:
        w = worker(store, bundle)
        dry, slate, unknown = event("dry"), event("slate"), event("unknown", colour=1.0)
        dry.dry_run, slate.max_messages = True, 2
        requests = [
            event("b1", "bo"), event("a1"), dry, event("a2"), b"\xff", unknown, slate, event("c1", "cy"), event("a3"),
            event("none", type_="nothing"), event("p1", type_="ping"), event("b2", "bo", "ping"), event("d1", "di"),
        ]  # fmt: skip
        told = await w.answers(requests)
        assert [r.request_index for r in told] == list(range(len(requests)))
        assert [r.event_id for r in told] == [r.event.event_id if not isinstance(r, bytes) else "" for r in requests]
        wrong = [i for i, r in enumerate(told) if r.HasField("error")]
        assert wrong == [4, 5, 9]
        assert {told[i].error.code for i in wrong} == {Code.INVALID_ARGUMENT}
        assert all(said(r).outcome == Outcome.SEND for i, r in enumerate(told) if i not in wrong)
        logged = await check(store, "ana", {"a1", "a2", "slate", "a3", "p1"})
        assert [e.event for e in logged] == [event_hash(e) for e in ("a1", "a2", "slate", "a3", "p1")]
        counted = [e.values_read.get("windows.deposits") for e in logged]
        assert counted[:4] == [1, 2, 3, 4]
        assert [e.event for e in await check(store, "bo", set())] == [event_hash("b1"), event_hash("b2")]
        assert len(w.service.handed) == len(requests) - 2  # cy and di alone had but one event
        # one's lane batch is under way, the next event is of another way, and then plain ones again
        calls = [w.one(event("x1", "xi")), w.one(slate_of("x2", "xi")), w.one(event("x3", "xi"))]
        await asyncio.sleep(0)
        calls += [w.one(event("x4", "xi")), w.one(slate_of("x5", "xi"))]
        await asyncio.gather(*calls)
        logged = await check(store, "xi", set())
        assert [e.event for e in logged] == [event_hash(f"x{k}") for k in range(1, 6)]
        await w.stop()

    runner.run(scenario())


def slate_of(event_id: str, customer: str) -> pb.DecideRequest:
    request = event(event_id, customer)
    request.max_messages = 2
    return request


def test_a_batch_of_a_thousand_in_many_batches_of_the_lane(store: RedisStore, bundle: Bundle, runner: Bounded) -> None:
    async def scenario() -> None:
        w = worker(store, bundle, batch_max=64)
        chance = random.Random(5)
        requests = [event(f"e{k}", f"c{k % 60 if k < 300 else chance.randrange(600)}") for k in range(1000)]
        told = await w.answers(requests)
        assert [(r.event_id, r.request_index) for r in told] == [(f"e{k}", k) for k in range(1000)]
        assert 100 < len(w.service.handed) < 800
        wanted: dict[str, list[int]] = defaultdict(list)
        sent: dict[str, set[str]] = defaultdict(set)
        for request, answer in zip(requests, told, strict=True):
            name = request.event.customer_id
            wanted[name].append(event_hash(request.event.event_id))
            if said(answer).outcome == Outcome.SEND:
                sent[name].add(request.event.event_id)
        for name in list(wanted)[:80]:
            logged = await check(store, name, sent[name])
            assert [e.event for e in logged] == wanted[name]
            assert len(sent[name]) == min(CAP, len(wanted[name]))
        assert await w.answers(requests) == told
        await w.stop()

    runner.run(scenario())


# ---- two workers, and trouble -----------------------------------------------------------------------


def test_a_cap_is_exact_over_two_lanes(store: RedisStore, store_url: str, bundle: Bundle, runner: Bounded) -> None:
    async def scenario() -> None:
        there = RedisStore(store_url, store.prefix)
        workers = [worker(store, bundle), worker(there, bundle, batch_max=3)]
        calls = {}
        for k in range(60):
            for c in range(4):
                calls[f"c{c}", f"e{k}"] = workers[(k + c) % 2].one(event(f"e{k}", f"c{c}", amount=float(k)))
            if k % 4 == 0:
                await asyncio.sleep(0.001)
        answers = dict(zip(calls, await asyncio.gather(*calls.values()), strict=True))
        assert sum(len(w.service.handed) for w in workers) < 240
        for c in range(4):
            sent = {e for (name, e), a in answers.items() if name == f"c{c}" and said(a).outcome == Outcome.SEND}
            assert len(sent) == CAP
            assert len(await check(store, f"c{c}", sent)) == 60
        assert {said(a).reason for a in answers.values()} == {Reason.SELECTED, Reason.CAP_REACHED}
        for w in workers:
            await w.stop()
        await there.close()

    runner.run(scenario())


class BadDay(Chaos):
    """The same for looks and their transactions."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    async def look(self, slot: int, command: bytes, customers: int, budget_ms: int) -> Look:
        if self.chance.random() < 0.02:
            raise StoreUnavailable("the read is lost")
        look = await self.store.look(slot, command, customers, budget_ms)
        await asyncio.sleep(self.chance.random() * 0.003)
        return look

    async def commit_look(self, look: Look, command: bytes, commands: int) -> str:
        fate = self.chance.random()
        if fate < 0.05:
            raise StoreUnavailable("nothing was sent")
        if fate < 0.10:  # done, but the reply is lost
            await self.store.commit_look(look, command, commands)
            return "unknown"
        if fate < 0.20:
            return self.chance.choice(("moved", "refused"))
        return await self.store.commit_look(look, command, commands)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_bad_day(seed: int, store_url: str, key_prefix: str, bundle: Bundle, runner: Bounded) -> None:
    """Lost replies and reads, forgotten scripts, pauses, connections that break, callers that go away."""
    chance = random.Random(seed)
    answers: dict[tuple[str, str], set[bytes]] = defaultdict(set)
    sent: dict[str, set[str]] = defaultdict(set)
    away = 0

    def request() -> pb.DecideRequest:
        number = chance.randrange(60)
        asked = event(f"e{number}", f"c{chance.randrange(6)}", "deposit" if number % 3 else "ping")
        asked.max_messages = 2 if number % 10 == 9 else 0
        return asked

    async def scenario() -> None:
        nonlocal away
        stores = [RedisStore(store_url, key_prefix, commit_budget_ms=2000) for _ in range(2)]
        workers = [worker(BadDay(s, chance), bundle, True, m, 300) for s, m in zip(stores, (256, 4), strict=True)]

        async def client() -> None:
            nonlocal away
            for _ in range(25):
                asked = [request() for _ in range(chance.randrange(1, 9))]
                call = chance.choice(workers).many(asked)
                if chance.random() < 0.1:  # the caller goes away
                    await asyncio.sleep(chance.random() * 0.004)
                    away += call.cancel()
                    continue
                for one, told in zip(asked, pb.DecideBatchResponse.FromString(await call).responses, strict=True):
                    assert told.event_id == one.event.event_id
                    if told.HasField("error"):
                        assert told.error.code == Code.UNAVAILABLE, told
                        continue
                    decisions = list(told.decisions)
                    if decisions[0].reason == Reason.STATE_UNKNOWN:
                        continue
                    told.request_index = 0
                    answers[one.event.customer_id, one.event.event_id].add(told.SerializeToString(deterministic=True))
                    if decisions[0].outcome == Outcome.SEND:
                        sent[one.event.customer_id].add(one.event.event_id)

        async def trouble() -> None:
            while True:
                await stores[0].admin.script_flush()
                await asyncio.sleep(chance.random() * 0.01)
                await stores[0].admin.execute_command("CLIENT", "PAUSE", chance.randrange(1, 15), "ALL")
                await asyncio.sleep(chance.random() * 0.02)
                if chance.random() < 0.1:
                    chance.choice(stores)._connection.drop("it broke")

        troubles = asyncio.ensure_future(trouble())
        await asyncio.gather(*[client() for _ in range(8)])
        troubles.cancel()
        with suppress(asyncio.CancelledError):
            await troubles
        assert any(not ahead for w in workers for ahead in w.service.handed)
        assert any(ahead for w in workers for ahead in w.service.handed)
        for w in workers:
            await w.stop()
        await stores[0].read([])
        for c in range(6):
            logged = await check(stores[0], f"c{c}", sent[f"c{c}"])
            assert sum(e.message == "offer" for e in logged if e.outcome == Outcome.SEND) == CAP
        for s in stores:
            await s.close()

    runner.run(scenario())
    assert away > 3
    assert len(answers) > 100
    assert all(len(told) == 1 for told in answers.values())  # one event, one answer


def test_a_store_that_lost_its_data_is_closed_until_acknowledged(
    store: RedisStore, bundle: Bundle, runner: Bounded
) -> None:
    async def scenario() -> None:
        w = worker(store, bundle)
        names = [f"c{k}" for k in range(20)]
        assert reasons(await w.answers([event("e1", n) for n in names])) == {Reason.SELECTED: 20}
        assert not w.service.handed
        keys = [k async for k in store.admin.scan_iter(f"{store.prefix}*", count=5000)]
        await store.admin.delete(*keys)
        for k in range(2, 5):  # what is known of the generation is doubted after the first
            told = await w.answers([event(f"e{k}", n) for n in names])
            assert reasons(told) == {Reason.STATE_UNKNOWN: 20}
            assert "acknowledge" in said(told[0]).details.cause
        assert not await log_of(store, names[0])
        await store.acknowledge_generation()
        handed = len(w.service.handed)
        assert reasons(await w.answers([event("e9", n) for n in names])) == {Reason.SELECTED: 20}
        assert len(w.service.handed) == handed
        assert len(await check(store, names[0], {"e9"})) == 1
        await w.stop()

    runner.run(scenario())


def test_a_store_that_is_full(store: RedisStore, bundle: Bundle, runner: Bounded) -> None:
    async def scenario() -> None:
        w = worker(store, bundle)
        first = await w.answers([event("e1", f"c{k}") for k in range(5)])
        await store.admin.config_set("maxmemory", 1)
        try:
            told = await w.answers([event("e2", f"c{k}") for k in range(5)])
            assert await w.answers([event("e1", f"c{k}") for k in range(5)]) == first
        finally:
            await store.admin.config_set("maxmemory", 0)
        assert reasons(told) == {Reason.STATE_UNKNOWN: 5}
        assert said(told[0]).details.cause == "the store refuses to be written"
        assert reasons(await w.answers([event("e2", f"c{k}") for k in range(5)])) == {Reason.SELECTED: 5}
        assert len(await check(store, "c0", {"e1", "e2"})) == 2
        await w.stop()

    runner.run(scenario())


def test_a_log_that_is_full(
    store_url: str, key_prefix: str, bundle: Bundle, runner: Bounded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Buckets that are nearly full are not the lane's: what counts exactly says when it is enough."""

    async def scenario() -> None:
        strict = RedisStore(store_url, key_prefix, max_log_length=30)
        easy = RedisStore(store_url, key_prefix, max_log_length=30, audit="best-effort")
        short = worker(strict, bundle)
        assert reasons(await short.answers([event("e1")])) == {Reason.SELECTED: 1}
        assert len(short.service.handed) == 1  # so short a log fills too fast
        monkeypatch.setattr(lane, "LOG_MIN", 0)
        monkeypatch.setattr(lane, "EVERY_S", -1.0)
        w, other = worker(strict, bundle), worker(easy, bundle)
        told = [(await w.answers([event(f"e{k}"), event(f"f{k}", "bo")])) for k in range(40)]
        assert {said(ana).reason for ana, _ in told[:30]} == {Reason.SELECTED, Reason.CAP_REACHED}
        assert {said(ana).reason for ana, _ in told[30:]} == {Reason.LOG_FULL}
        assert len(w.service.handed) == 2 * (40 - 27) + 1  # beyond 27 of each, and what was answered before
        assert len(await check(strict, "ana", {f"e{k}" for k in range(5)})) == 30
        assert reasons(await other.answers([event("e99")])) == {Reason.CAP_REACHED: 1}
        assert (easy.log_dropped, len(other.service.handed)) == (1, 1)
        for one in (short, w, other):
            await one.stop()
        await strict.close()
        await easy.close()

    runner.run(scenario())


def test_a_store_that_goes_down_and_comes_back(bundle: Bundle, runner: Bounded, tmp_path: Path) -> None:
    speaking = compile_bundle(
        {"r.yaml": RULES.replace(b"tier: 1, if_state_unknown: silent", b"if_state_unknown: send")}
    )
    journal: list[str] = []

    def keep(request: DecideRequest, _: list[Decision]) -> None:
        journal.append(request.event.event_id)

    async def scenario() -> None:
        server = EmbeddedStore(tmp_path, persist=False)
        store = RedisStore(server.start(), "down:")
        w = worker(store, speaking, journal=keep)
        assert reasons(await w.answers([event("e1"), event("p1", "bo", "ping")])) == {Reason.SELECTED: 2}
        server.stop()
        for k in range(2, 5):
            told = await w.answers([event(f"e{k}"), event(f"p{k}", "bo", "ping")])
            assert said(told[0]).reason == Reason.STATE_UNKNOWN
            assert (said(told[1]).outcome, said(told[1]).provisional) == (Outcome.SEND, True)
        assert journal == ["e2", "p2", "e3", "p3", "e4", "p4"]
        server = EmbeddedStore(tmp_path, persist=False)
        store.url = server.start()
        again = RedisStore(store.url, "down:")
        newcomer = worker(again, speaking)
        assert reasons(await newcomer.answers([event("e1")])) == {Reason.SELECTED: 1}
        assert not newcomer.service.handed
        for one in (w, newcomer):
            await one.stop()
            await one.store.close()
        server.stop()

    runner.run(scenario())


def test_a_store_that_does_not_answer_in_time(store_url: str, key_prefix: str, bundle: Bundle, runner: Bounded) -> None:
    async def scenario() -> None:
        store = RedisStore(store_url, key_prefix, timeout_ms=10_000)
        w = worker(store, bundle)
        await store.check()  # it has a generation
        assert reasons(await w.answers([event("e1")])) == {Reason.SELECTED: 1}
        w.decider.settings.commit_budget_ms = 60
        await store.admin.execute_command("CLIENT", "PAUSE", 1500, "ALL")
        assert reasons(await w.answers([event("e2")])) == {Reason.STATE_UNKNOWN: 1}
        w.decider.settings.commit_budget_ms = 2000
        await store.read([])
        assert reasons(await w.answers([event("e3"), event("e3", "bo")])) == {Reason.SELECTED: 2}
        assert [e.event for e in await check(store, "ana", {"e1", "e3"})] == [event_hash("e1"), event_hash("e3")]
        await w.stop()
        await store.close()

    runner.run(scenario())


def test_a_store_whose_clock_is_far_off(store_url: str, key_prefix: str, bundle: Bundle, runner: Bounded) -> None:
    async def scenario() -> None:
        off = 600.0
        store = RedisStore(store_url, key_prefix, clock=lambda: time.time() + off)
        w = worker(store, bundle)
        assert reasons(await w.answers([event("e1"), event("e1", "bo")])) == {Reason.STATE_UNKNOWN: 2}
        off = 0.0
        assert reasons(await w.answers([event("e1"), event("e1", "bo")])) == {Reason.SELECTED: 2}
        await w.stop()
        await store.close()

    runner.run(scenario())


# ---- others want the same customer ------------------------------------------------------------------


class Doors(RedisStore):
    """A store in front of which the lane's requests wait while a door is closed."""

    def __init__(self, url: str, prefix: str) -> None:
        super().__init__(url, prefix)
        self.reads, self.commits = asyncio.Event(), asyncio.Event()
        self.waiting = 0
        self.open()

    def open(self) -> None:
        self.reads.set()
        self.commits.set()

    async def _pass(self, door: asyncio.Event) -> None:
        self.waiting += 1
        try:
            await door.wait()
        finally:
            self.waiting -= 1

    async def look(self, slot: int, command: bytes, customers: int, budget_ms: int) -> Look:
        await self._pass(self.reads)
        return await super().look(slot, command, customers, budget_ms)

    async def commit_look(self, look: Look, command: bytes, commands: int) -> str:
        await self._pass(self.commits)
        return await super().commit_look(look, command, commands)


Scenario = Callable[[Doors, Worker], Awaitable[None]]


@pytest.fixture
def behind_doors(store_url: str, key_prefix: str, bundle: Bundle, runner: Bounded) -> Callable[[Scenario], None]:
    """Runs a scenario with a worker whose store has doors."""

    async def whole(scenario: Scenario) -> None:
        store = Doors(store_url, key_prefix)
        w = worker(store, bundle)
        try:
            await store.read([])
            await scenario(store, w)
            await w.stop()
        finally:
            store.open()
            await store.close()

    return lambda scenario: runner.run(whole(scenario))


def test_others_wait_for_what_the_lane_commits(behind_doors: Callable[[Scenario], None]) -> None:
    async def scenario(store: Doors, w: Worker) -> None:
        store.commits.clear()
        first = w.one(event("e1"))
        await until(lambda: store.waiting == 1)
        put = asyncio.ensure_future(w.decider.put_profiles([ProfileChange("ana", {"balance": 5000.0}, [], None)]))
        second = w.one(event("e2"))  # behind the profile
        elsewhere = asyncio.ensure_future(w.decider.put_profiles([ProfileChange("bo", {"balance": 1.0}, [], None)]))
        assert await elsewhere == [None]  # others are not held up
        assert not first.done()
        assert not put.done()
        assert not second.done()
        store.open()
        assert said(await first).outcome == Outcome.SEND
        assert await put == [None]
        assert said(await second).reason == Reason.LEFT_ALONE
        assert len(await check(store, "ana", {"e1"})) == 2

        # an outcome of what was said before, while the next one is under way
        store.commits.clear()
        third = w.one(event("p1", type_="ping"))
        await until(lambda: store.waiting == 1)
        report = Outcomes(said(await first).decision_id, OutcomeKind.NOT_DELIVERED, None, 0.0, "", "")
        reported = asyncio.ensure_future(w.decider.record_outcomes([report]))
        await asyncio.sleep(0.01)
        assert not reported.done()
        store.open()
        [result] = await reported
        assert not isinstance(result, TactError)
        assert said(await third).outcome == Outcome.SEND
        touches = {t.event: t for t in (await record_of(store, "ana")).touches}
        assert set(touches) == {event_hash("e1"), event_hash("p1")}

        # erased while a decision is under way: it is forgotten as well
        store.reads.clear()
        fourth = w.one(event("p2", type_="ping"))
        await until(lambda: store.waiting == 1)
        erased = asyncio.ensure_future(w.decider.erase("ana"))
        await asyncio.sleep(0.01)
        assert not erased.done()
        store.open()
        assert said(await fourth).outcome == Outcome.SEND
        assert await erased
        assert not (await record_of(store, "ana")).touches
        assert await w.decider.get_profile("ana") is None

    behind_doors(scenario)


def test_what_moved_meanwhile_is_decided_anew_ahead_of_what_waits(
    behind_doors: Callable[[Scenario], None], store: RedisStore, bundle: Bundle
) -> None:
    async def scenario(doors: Doors, w: Worker) -> None:
        there = RedisStore(doors.url, doors.prefix)
        other = worker(there, bundle)
        doors.commits.clear()
        first = w.one(event("e1"))
        await until(lambda: doors.waiting == 1)
        second = w.one(event("e2"))
        await other.one(event("e0"))  # another worker has the customer meanwhile
        doors.open()
        await asyncio.gather(first, second)
        logged = await check(doors, "ana", {"e0", "e1", "e2"})
        assert [e.event for e in logged] == [event_hash(f"e{k}") for k in range(3)]
        assert w.service.handed == [False, True]  # e2 at once, as its customer was taken; e1 after its commit
        await other.stop()
        await there.close()

    behind_doors(scenario)


def test_one_that_moved_costs_the_others_of_its_batch_nothing(behind_doors: Callable[[Scenario], None]) -> None:
    async def scenario(doors: Doors, w: Worker) -> None:
        doors.commits.clear()
        calls = [w.one(event("e1", f"c{k}")) for k in range(21)]
        await until(lambda: doors.waiting == 1)
        there = RedisStore(doors.url, doors.prefix)
        assert await worker(there, w.active.bundle).answers([event("e0", "c7")])
        await worker(there, w.active.bundle).decider.put_profiles([ProfileChange("c9", {"balance": 5000.0}, [], None)])
        doors.open()
        told = await asyncio.gather(*calls)
        assert [k for k, a in enumerate(told) if said(a).outcome != Outcome.SEND] == [9]
        for k in range(21):
            assert len(await check(doors, f"c{k}", {"e1"} - ({"e1"} if k == 9 else set()))) == 1 + (k == 7)
        assert len(w.service.handed) <= 2
        assert [await w.one(event("e1", f"c{k}")) for k in range(21)] == told
        await there.close()

    behind_doors(scenario)


def test_draining_answers_all_that_was_accepted(
    store_url: str, key_prefix: str, bundle: Bundle, runner: Bounded
) -> None:
    async def scenario() -> None:
        store = Doors(store_url, key_prefix)
        w = worker(store, bundle, batch_max=1)
        await store.read([])
        store.commits.clear()
        calls = [w.one(event("e1", f"c{k}")) for k in range(10)]
        await until(lambda: store.waiting == 2)  # two batches are under way, the others wait in the lane
        await RedisStore.commit(store, [], 0)
        there = worker(RedisStore(store_url, key_prefix), bundle)
        await there.one(event("e0", "c0"))  # so one of those under way will be handed back
        drained = asyncio.ensure_future(w.decider.drain())
        await asyncio.sleep(0.02)
        assert not drained.done()
        late = [w.one(event("late", f"c{k}")) for k in (0, 20)]
        for told in await asyncio.gather(*late, return_exceptions=True):
            assert isinstance(told, RpcError)
            assert told.code is Code.UNAVAILABLE
        assert not drained.done()
        store.open()
        await drained
        assert all(call.done() for call in calls)
        assert all(said(call.result()).outcome == Outcome.SEND for call in calls)
        with pytest.raises(RpcError, match="UNAVAILABLE"):
            await w.one(event("late", "c1"))
        for k in range(10):
            assert len(await check(store, f"c{k}", {"e1"})) == (1 if k else 2)
        await w.stop()
        await there.stop()
        await there.store.close()
        await store.close()

    runner.run(scenario())


def test_draining_at_once(store: RedisStore, bundle: Bundle, runner: Bounded) -> None:
    """Whatever was submitted in the same turn of the loop was accepted."""

    async def scenario(turns: int) -> None:
        w = worker(store, bundle, batch_max=2)
        calls = [w.one(event(f"e{turns}", f"c{k}")) for k in range(9)]
        for _ in range(turns):
            await asyncio.sleep(0)
        await w.decider.drain()
        assert [said(call.result()).outcome for call in calls] == [Outcome.SEND] * 9
        await w.stop()

    for turns in range(4):
        runner.run(scenario(turns))


# ---- deploys and pauses -----------------------------------------------------------------------------


def test_a_deploy_while_batches_are_under_way(behind_doors: Callable[[Scenario], None], bundle: Bundle) -> None:
    changed = RULES.replace(b"messages:", b"messages:\n" + EARLIER).replace(b'"A"', b'"New"').replace(b'"B"', b'"New"')
    new = compile_bundle({"r.yaml": changed})

    async def scenario(store: Doors, w: Worker) -> None:
        store.reads.clear()
        old = [w.one(event("e1", f"o{k}")) for k in range(8)]
        await until(lambda: store.waiting == 1)
        w.active.bundle = new
        fresh = [w.one(event("e1", f"n{k}")) for k in range(8)]
        await until(lambda: store.waiting == 2)
        store.open()
        by_old = [said(a) for a in await asyncio.gather(*old)]
        by_new = [said(a) for a in await asyncio.gather(*fresh)]
        assert not w.service.handed
        assert {(d.revision, d.message, d.text in ("A", "B")) for d in by_old} == {(bundle.revision, "offer", True)}
        assert {(d.revision, d.message, d.text) for d in by_new} == {(new.revision, "offer", "New")}
        # and under the new one alone: nothing of the old one's tables stayed
        later = [said(a) for a in await asyncio.gather(*[w.one(event("e2", f"n{k}")) for k in range(8)])]
        assert {(d.revision, d.message, d.text) for d in later} == {(new.revision, "offer", "New")}
        for name in ("o0", "n0", "n1", "n2"):
            for entry in await check(store, name, {"e1"}):
                assert [tuple(v) for v in entry.variants] == [("a", 1 << 29), ("b", 1 << 29)]
        assert not w.service.handed

    behind_doors(scenario)


EARLIER = b"""\
  early: {purpose: urgent, on: [ping], channels: [sms], variants: {a: {en: "1"}}}
"""


def test_pauses_take_effect_with_the_next_batch(behind_doors: Callable[[Scenario], None]) -> None:
    async def scenario(store: Doors, w: Worker) -> None:
        store.reads.clear()
        before = w.one(event("e1"))
        await until(lambda: store.waiting == 1)
        w.active.pauses = Pauses(messages=frozenset({"offer"}))
        store.open()
        assert said(await before).outcome == Outcome.SEND  # it began before
        told = await w.answers([event("e2"), event("p2", "bo", "ping")])
        assert [said(r).reason for r in told] == [Reason.PAUSED, Reason.SELECTED]
        w.active.pauses = Pauses(everything=True)
        assert reasons(await w.answers([event("e3"), event("p3", "bo", "ping")])) == {Reason.PAUSED: 2}
        w.active.pauses = Pauses()
        assert reasons(await w.answers([event("e4"), event("p4", "bo", "ping")])) == {Reason.SELECTED: 2}
        assert not w.service.handed

    behind_doors(scenario)


# ---- callers, and what must not happen --------------------------------------------------------------


def test_callers_that_go_away_disturb_nobody(behind_doors: Callable[[Scenario], None]) -> None:
    async def scenario(store: Doors, w: Worker) -> None:
        store.commits.clear()
        calls = [w.one(event("e1", f"c{k}")) for k in range(30)]
        calls[0].cancel()  # before anything began
        await until(lambda: store.waiting >= 1)
        batch = w.many([event("f1", f"c{k}") for k in range(30)])
        for call in calls[1:10]:
            call.cancel()
        batch.cancel()
        assert w.limiter.in_flight == 60
        store.open()
        for call in calls[10:]:
            assert said(await call).outcome == Outcome.SEND
        again = [said(a) for a in await asyncio.gather(*[w.one(event("e1", f"c{k}")) for k in range(30)])]
        assert [said(c.result()) for c in calls[10:]] == again[10:]
        for k in (0, 1, 10):
            assert len(await check(store, f"c{k}", {"e1", "f1"})) == 2

    behind_doors(scenario)


@pytest.mark.parametrize("method", ["__init__", "keys", "read_command", "open", "step", "answer", "commit", "answers"])
def test_what_fails_in_columns_is_decided_the_ordinary_way(
    method: str,
    store: RedisStore,
    bundle: Bundle,
    runner: Bounded,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    real = getattr(ColumnBatch, method)
    failures = 1

    def failing(self: ColumnBatch, *args: object, **named: object) -> object:
        nonlocal failures
        if failures:
            failures -= 1
            raise RuntimeError("this was not foreseen")
        return real(self, *args, **named)

    async def scenario() -> None:
        w = worker(store, bundle)
        monkeypatch.setattr(ColumnBatch, method, failing)
        requests = [event("e1", f"c{k % 12}") for k in range(14)] + [event("e2", "c0")]
        told = await w.answers(requests)
        assert failures == 0
        assert reasons(told) == {Reason.SELECTED: 15}
        assert [r.request_index for r in told] == list(range(15))
        assert said(told[0]) == said(told[12])
        assert len(w.service.handed) == 15  # of two customers there were several
        for k in range(12):
            assert len(await check(store, f"c{k}", {"e1"})) == (1 if k else 2)
        assert await w.answers(requests) == told
        handed = len(w.service.handed)
        assert reasons(await w.answers([event("e3", f"c{k}") for k in range(12)])) == {Reason.SELECTED: 12}
        assert len(w.service.handed) == handed  # by the lane again
        await w.stop()

    runner.run(scenario())
    assert "a batch could not be decided in columns" in caplog.text
