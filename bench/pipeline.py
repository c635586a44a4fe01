"""Decisions in process, from request bytes to answer bytes, on a real store; beside, the same written with redis-py.

The pipeline (ours, then the peer's) is on core 0, the store on core 1. One call at a time, with as many
events as the batch; two mixes of the same 1,000 messages: nearly every event sends, or one in eight.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import count, cycle
from typing import Generic, TypeVar

import uvloop

from bench import generate
from bench.compare import set_value
from bench.plain import Ask, Plain
from bench.processes import SERVER_CORE, pinned, store
from bench.rows import Effort, Row
from engine.bundle import Active, Bundle, compile_bundle
from engine.columns.lane import Lane
from engine.columns.warm import warm
from engine.decider import Decider
from engine.errors import TactError
from engine.pb.tact.v1 import decision_pb2 as pb
from engine.state.model import ConsentEntry, Contact
from engine.state.redis import RedisStore
from engine.step.operations import ProfileChange

BATCHES = (1, 64, 256)
BOUND = 3.0  # design.md, section 5: "one store core"
_MAX_LOG = 10_000_000
_BUDGET_MS = 10_000
_COLD_PART = 7 / 8  # of the customers in the second mix, rules find nothing
_WARM_BATCHES = 3
A = TypeVar("A")
B = TypeVar("B")


def _mixes(size: int) -> dict[str, list[generate.Customer]]:
    warm = generate.customers(size)
    edge = round(size * _COLD_PART)
    # only the messages for anybody could hold for someone of whom nothing but a phone is known
    cold = [generate.Customer(c.customer_id, {"phone": c.features["phone"]}, c.consent) for c in warm[:edge]]
    return {"mostly SEND": warm, "mostly NO_MESSAGE": cold + warm[edge:]}


def asks(customers: int, tag: str) -> Iterator[Ask]:
    """Events for ever, customers in turn, each event with an id of its own."""
    happenings = cycle(generate.events(4096))
    # a stride that shares no factor with any size: neighbours in a batch are not neighbours in the mix
    return (Ask(f"{tag}{k}", f"c{k * 7919 % customers}", next(happenings)) for k in count())


def payload(ask: Ask) -> bytes:
    """A DecideRequest as it comes over the wire."""
    request = pb.DecideRequest()
    request.event.event_id, request.event.customer_id, request.event.type = (
        ask.event_id,
        ask.customer_id,
        ask.event.type,
    )
    for name, value in ask.event.attributes.items():
        set_value(request.event.attributes[name], value)
    return request.SerializeToString()


class _Waiting:
    """One request of a batch, as the lane takes it; `ended` with the last answer of `size`."""

    __slots__ = ("answers", "ended", "payload", "size")

    def __init__(self, payload: bytes, answers: list[bytes], size: int, ended: asyncio.Future[None]) -> None:
        self.payload = payload
        self.answers = answers
        self.size = size
        self.ended = ended

    def answered(self, answer: bytes | TactError) -> None:
        if isinstance(answer, TactError):
            self.ended.set_exception(answer)
            return
        self.answers.append(answer)
        if len(self.answers) == self.size:
            self.ended.set_result(None)

    def handed_back(self, ahead: bool) -> None:
        if not self.ended.done():
            self.ended.set_exception(RuntimeError("the lane left a plain request"))


async def through(lane: Lane, batch: list[bytes]) -> list[bytes]:
    """The answers to a batch of requests, in the order in which they come."""
    answers: list[bytes] = []
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    lane.submit([_Waiting(one, answers, len(batch), ended) for one in batch])
    await ended
    return answers


def change(customer: generate.Customer) -> ProfileChange:
    """As the service would hand it to the decider."""
    consents = [ConsentEntry("marketing", True, 0, "", "")] if customer.consent else []
    return ProfileChange(customer.customer_id, dict(customer.features), [], Contact(consents))


class _Way(Generic[B, A]):
    """How a batch is decided: made ready and looked at outside of what is timed."""

    def __init__(
        self, ready: Callable[[list[Ask]], B], decide: Callable[[B], Awaitable[A]], sent: Callable[[A], int]
    ) -> None:
        self.ready = ready
        self.decide = decide
        self.sent = sent


async def _rate(way: _Way[B, A], source: Iterator[Ask], size: int, seconds: float) -> tuple[float, float]:
    """(decisions per second, part of them that send)."""
    for _ in range(_WARM_BATCHES):
        await way.decide(way.ready([next(source) for _ in range(size)]))
    done = sent = 0
    elapsed = 0.0
    while elapsed < seconds:
        batch = way.ready([next(source) for _ in range(size)])
        start = time.perf_counter()
        answers = await way.decide(batch)
        elapsed += time.perf_counter() - start
        sent += way.sent(answers)
        done += size
    return done / elapsed, sent / done


def _sends(answers: list[bytes]) -> int:
    parsed = (pb.DecideResponse.FromString(answer) for answer in answers)
    return sum(one.decisions[0].outcome == pb.Decision.SEND for one in parsed)


async def put(decider: Decider, customers: list[generate.Customer]) -> None:
    """Writes the customers' profiles. Raises TactError where one is refused."""
    refused = [e for e in await decider.put_profiles([change(c) for c in customers]) if e is not None]
    if refused:
        raise refused[0]


@contextmanager
def collector_as_in_service() -> Iterator[None]:
    """The garbage collector's settings of server.py, for both: what is there now is left out of collections."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


async def _measure(bundle: Bundle, rules: generate.Rules, url: str, mix: str, effort: Effort) -> list[Row]:
    customers = _mixes(effort.customers)[mix]
    records = RedisStore(url, "bench:", commit_budget_ms=_BUDGET_MS, max_log_length=_MAX_LOG)
    decider = Decider(Active(bundle), records)
    await put(decider, customers)
    plain = Plain(url, rules.rules)
    plain.put(customers)

    lane = Lane(decider, records)
    lane.prepare()

    async def ours(batch: list[bytes]) -> list[bytes]:
        return await through(lane, batch)

    async def peer(batch: list[Ask]) -> list[dict[str, object]]:
        return plain.decide(batch)

    mine_way = _Way(lambda batch: [payload(ask) for ask in batch], ours, _sends)
    their_way = _Way(lambda batch: batch, peer, lambda answers: sum(d["outcome"] == "SEND" for d in answers))
    rows = []
    try:
        for size in BATCHES:
            taken = min(size, len(customers))  # of one customer the lane takes one event at a time
            figures: tuple[list[float], list[float]] = ([], [])
            parts = (0.0, 0.0)
            for repeat in range(effort.repeats):
                # the same events for both
                mine = await _rate(mine_way, asks(len(customers), f"{size}-{repeat}-"), taken, effort.seconds)
                theirs = await _rate(their_way, asks(len(customers), f"{size}-{repeat}-"), taken, effort.seconds)
                figures[0].append(mine[0])
                figures[1].append(theirs[0])
                parts = (mine[1], theirs[1])
            name = f"decisions, {mix}, batch {size}, against plain redis-py"
            bound = BOUND if size == BATCHES[-1] else None
            note = f"{mix}, batch {size}: {parts[0]:.0%} of ours and {parts[1]:.0%} of the peer's sent something."
            rows.append(Row(name, "1/s", *figures, bound=bound, note=note))
    finally:
        plain.close()
        await decider.drain()
        await records.close()
    return rows


def run(effort: Effort) -> list[Row]:
    """Both mixes, each on a store of its own."""
    warm()
    rules = generate.rules(effort.messages)
    bundle = compile_bundle(rules.files)
    rows: list[Row] = []
    for mix in _mixes(0):
        with store() as url, pinned(SERVER_CORE), collector_as_in_service():
            rows += uvloop.run(_measure(bundle, rules, url, mix, effort))
    return rows
