"""The decider in process on a real store, beside the same work written plainly with redis-py.

The pipeline (ours, then the peer's) is on core 0, the store on core 1. One call at a time, with as many
events as the batch; two mixes of the same 1,000 messages: nearly every event sends, or one in eight.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import count, cycle

import uvloop

from bench import generate
from bench.plain import Ask, Plain
from bench.processes import SERVER_CORE, pinned, store
from bench.rows import Effort, Row
from engine.bundle import Active, Bundle, compile_bundle
from engine.decider import Decider
from engine.decision import DecideRequest, Event, Outcome
from engine.state.model import ConsentEntry, Contact
from engine.state.redis import RedisStore
from engine.step.operations import ProfileChange

BATCHES = (1, 64, 256)
BOUND = 3.0  # design.md, section 5: "one store core"
_MAX_LOG = 10_000_000
_BUDGET_MS = 10_000
_COLD_PART = 7 / 8  # of the customers in the second mix, rules find nothing
_WARM_BATCHES = 3


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


def request(ask: Ask) -> DecideRequest:
    """As the service would hand it to the decider."""
    return DecideRequest(Event(ask.event_id, ask.customer_id, ask.event.type, None, dict(ask.event.attributes)))


def change(customer: generate.Customer) -> ProfileChange:
    """As the service would hand it to the decider."""
    consents = [ConsentEntry("marketing", True, 0, "", "")] if customer.consent else []
    return ProfileChange(customer.customer_id, dict(customer.features), [], Contact(consents))


async def _rate(
    decide: Callable[[list[Ask]], Awaitable[int]], source: Iterator[Ask], size: int, seconds: float
) -> tuple[float, float]:
    """(decisions per second, part of them that send)."""
    for _ in range(_WARM_BATCHES):
        await decide([next(source) for _ in range(size)])
    done = sent = 0
    elapsed = 0.0
    while elapsed < seconds:
        batch = [next(source) for _ in range(size)]
        start = time.perf_counter()
        sent += await decide(batch)
        elapsed += time.perf_counter() - start
        done += size
    return done / elapsed, sent / done


async def put(decider: Decider, customers: list[generate.Customer]) -> None:
    """Writes the customers' profiles. Raises TactError where one is refused."""
    refused = [e for e in await decider.put_profiles([change(c) for c in customers]) if e is not None]
    if refused:
        raise refused[0]


@contextmanager
def _collector_as_in_service() -> Iterator[None]:
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

    async def ours(batch: list[Ask]) -> int:
        answers = await decider.decide([request(a) for a in batch])
        sent = 0
        for answer in answers:
            if not isinstance(answer, list):
                raise answer
            sent += answer[0].outcome is Outcome.SEND
        return sent

    async def peer(batch: list[Ask]) -> int:
        return sum(d["outcome"] == "SEND" for d in plain.decide(batch))

    rows = []
    try:
        for size in BATCHES:
            figures: tuple[list[float], list[float]] = ([], [])
            parts = (0.0, 0.0)
            for repeat in range(effort.repeats):
                # the same events for both
                mine = await _rate(ours, asks(len(customers), f"{size}-{repeat}-"), size, effort.seconds)
                theirs = await _rate(peer, asks(len(customers), f"{size}-{repeat}-"), size, effort.seconds)
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
    rules = generate.rules(effort.messages)
    bundle = compile_bundle(rules.files)
    rows: list[Row] = []
    for mix in _mixes(0):
        with store() as url, pinned(SERVER_CORE), _collector_as_in_service():
            rows += uvloop.run(_measure(bundle, rules, url, mix, effort))
    return rows
