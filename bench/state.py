"""What the store is asked for, and what it costs: commands, bytes, round trips, memory, its core; profiles loaded.

Beside the decisions the same work with redis-py (`bench.plain`), on the same store in the same run, by turns. The
store's core is told by its own clock of processor time, so it does not matter who else is at work. One batch is 256.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from unittest import mock

import redis
import uvloop
from google.protobuf.json_format import Parse

from bench import generate
from bench.make import profile_lines
from bench.pipeline import asks, collector_as_in_service, payload, put, through
from bench.plain import Ask, Plain
from bench.processes import SERVER_CORE, pinned, store
from bench.rows import Effort, Row
from engine.bundle import Active, Bundle, compile_bundle
from engine.columns.lane import Lane
from engine.columns.put_lane import PutLane
from engine.columns.warm import warm
from engine.decider import Decider
from engine.identity import customer_key, event_hash, name_hash
from engine.pb.tact.v1 import decision_pb2
from engine.pb.tact.v1 import profile_pb2 as pb
from engine.service.codec import decode_request, parse
from engine.state.connection import Wire
from engine.state.model import Cell, Commit, ConsentEntry, Contact, Profile, Record, Touch, WindowState
from engine.state.profile import encode as encode_profile
from engine.state.profile import new_version
from engine.state.record import encode as encode_record
from engine.state.redis import RedisStore

BATCH = 256
CORE_BOUND = 3.0  # design, section 5: decisions of one store core, beside redis-py
BYTES_BOUND = 1200  # a customer with 40 features, 6 windows and 10 touches
COMMANDS_BOUND = 2.1  # two, and what a batch has of its own
TRIPS_BOUND = 2.1  # two, and one of all every two seconds
LOAD_BOUND = 50_000
_PUT_AT_ONCE = 1000
_DAY_MS = 86_400_000
_NOW_MS = 1_790_000_000_000
_BATCHES_MIN, _BATCHES_A_SECOND = 4, 40
_MAX_LOG = 10_000_000
_BUDGET_MS = 10_000


@dataclass(frozen=True, slots=True)
class Spent:
    """What a store has done so far, or between two moments: its own figures (INFO)."""

    core_s: float
    commands: float
    read: float
    written: float
    exec_s: float
    script_s: float

    def since(self, before: Spent) -> Spent:
        """The difference."""
        names = self.__slots__
        return Spent(*(getattr(self, n) - getattr(before, n) for n in names))


def spent(admin: redis.Redis) -> Spent:
    """Now. Not counted are what is asked here, and the lengths of all logs that are asked for every two seconds."""
    info, calls = admin.info("all"), admin.info("commandstats")
    core = info.get("used_cpu_user_main_thread", 0.0) + info.get("used_cpu_sys_main_thread", 0.0)
    counted = sum(c["calls"] for name, c in calls.items() if name.partition("_")[2] not in ("info", "xlen"))
    exec_us, script_us = (calls.get(f"cmdstat_{c}", {}).get("usec", 0) for c in ("exec", "evalsha"))
    return Spent(
        float(core),
        counted,
        info["total_net_input_bytes"],
        info["total_net_output_bytes"],
        exec_us / 1e6,
        script_us / 1e6,
    )


def run(effort: Effort) -> list[Row]:
    """Each part on a store of its own."""
    warm()
    rules = generate.rules(effort.messages)
    bundle = compile_bundle(rules.files)
    rows: list[Row] = []
    with store() as url, pinned(SERVER_CORE), collector_as_in_service():
        rows += uvloop.run(_decisions(bundle, rules, url, effort))
    with store() as url:
        rows.append(uvloop.run(_bytes_of_a_customer(url, max(200, effort.customers // 4))))
    with store() as url, pinned(SERVER_CORE), collector_as_in_service():
        rows += uvloop.run(_profiles(bundle, rules, url, effort))
    return rows


# ---- decisions ------------------------------------------------------------------------------------


async def _decisions(bundle: Bundle, rules: generate.Rules, url: str, effort: Effort) -> list[Row]:
    customers = generate.customers(effort.customers)
    records = RedisStore(url, "bench:", commit_budget_ms=_BUDGET_MS, max_log_length=_MAX_LOG)
    decider = Decider(Active(bundle), records)
    await put(decider, customers)
    plain = Plain(url, rules.rules)
    plain.put(customers)
    lane, admin = Lane(decider, records), redis.Redis.from_url(url, protocol=2)
    lane.prepare()
    size = min(BATCH, len(customers))
    batches = max(_BATCHES_MIN, round(effort.seconds * _BATCHES_A_SECOND))
    ours: list[Spent] = []
    theirs: list[Spent] = []
    trips: list[float] = []
    try:
        for repeat in range(-1, effort.repeats):  # the first is to warm up
            tag = f"s{repeat}-"
            mine = _made(asks(len(customers), tag), size, batches)
            with _CountedSends() as sends:
                before = spent(admin)
                for batch in mine:
                    await through(lane, [payload(ask) for ask in batch])
                done = spent(admin).since(before)
            before = spent(admin)
            for batch in mine:
                plain.decide(batch)
            beside = spent(admin).since(before)
            if repeat >= 0:
                ours.append(done)
                theirs.append(beside)
                trips.append(sends[0] / batches)
        script = await _scripts(decider, bundle, admin, effort)
    finally:
        plain.close()
        admin.close()
        await decider.drain()
        await records.close()
    decisions = size * batches
    one_core = [decisions / max(s.core_s, 1e-9) for s in ours], [decisions / max(s.core_s, 1e-9) for s in theirs]
    note = f"Decisions: batches of {size}, nearly all send; beside them {len(customers):,} customers with redis-py."
    return [
        Row("decisions of one store core, beside redis-py", "1/s", *one_core, bound=CORE_BOUND, note=note),
        Row(
            "commands of a decision", "", _each(ours, "commands", decisions), bound=COMMANDS_BOUND, better="lower",
            facts={"plain": _each(theirs, "commands", decisions)},
        ),
        Row("round trips of a batch", "", trips, bound=TRIPS_BOUND, better="lower"),
        Row(
            "bytes to the store, a decision", "B", _each(ours, "read", decisions), _each(theirs, "read", decisions),
            better="lower",
        ),
        Row(
            "bytes from the store, a decision", "B", _each(ours, "written", decisions),
            _each(theirs, "written", decisions), better="lower",
        ),
        Row(
            "time of the store in EXEC (the peer's: in its script), a decision", "us",
            _each(ours, "exec_s", decisions / 1e6), _each(theirs, "script_s", decisions / 1e6), better="lower",
        ),
        Row("time of the store in the commit script, a decision that goes alone", "us", script, better="lower"),
    ]  # fmt: skip


def _made(source: Iterator[Ask], size: int, batches: int) -> list[list[Ask]]:
    return [[next(source) for _ in range(size)] for _ in range(batches)]


def _each(figures: Sequence[Spent], name: str, decisions: float) -> list[float]:
    return [getattr(s, name) / decisions for s in figures]


async def _scripts(decider: Decider, bundle: Bundle, admin: redis.Redis, effort: Effort) -> list[float]:
    """The ordinary way: a script a customer. Microseconds of the store in it."""
    found = []
    for repeat in range(effort.repeats):
        batch = _made(asks(effort.customers, f"o{repeat}-"), min(BATCH, effort.customers), 2)
        before = spent(admin)
        for one in batch:
            requests = [decode_request(_request(ask), bundle.ruleset) for ask in one]
            await decider.decide(requests)
        done = spent(admin).since(before)
        found.append(done.script_s * 1e6 / sum(map(len, batch)))
    return found


def _request(ask: Ask) -> decision_pb2.DecideRequest:
    return parse(decision_pb2.DecideRequest, payload(ask))


class _CountedSends:
    """Counts what is sent to the store: one is one round trip."""

    def __enter__(self) -> list[int]:
        count, send = [0], Wire.send

        def counted(wire: Wire, data: bytes, wanted: int):  # type: ignore[no-untyped-def]
            count[0] += 1
            return send(wire, data, wanted)

        self._patch = mock.patch.object(Wire, "send", counted)
        self._patch.start()
        return count

    def __exit__(self, *_: object) -> None:
        self._patch.stop()


# ---- memory ---------------------------------------------------------------------------------------


def record_of(k: int) -> Record:
    """A customer that is known for a while: six windows and ten touches of three months."""
    windows = {}
    for w, (span_days, step, buckets) in enumerate(
        ((30, 1, 9), (7, 1, 3), (365, 30, 9), (90, 1, 14), (1, 1, 1), (30, 1, 5))
    ):
        end = _NOW_MS // _DAY_MS
        places = sorted({end - (k * 7 + n * 11 + w) % span_days // step * step for n in range(buckets)})
        values: list[float] = [float((k + n * 37) % 5000) / 100 if w % 2 else 1 + n % 3 for n in range(len(places))]
        windows[name_hash(f"window {w}")] = WindowState(
            bool(w % 2), places, values, _NOW_MS - (200 + k % 100) * _DAY_MS, _NOW_MS - k % 9 * _DAY_MS
        )
    touches = []
    for t in range(10):
        at_ms = _NOW_MS - (9 * t + k % 7) * _DAY_MS - k * 1_000_003 % _DAY_MS
        message = (k + t * t) % 40
        touches.append(
            Touch(
                at_ms, event_hash(f"{k}-{t}"), 0, name_hash(f"message {message}"), name_hash(f"variant {t % 2}"),
                name_hash(("push", "sms")[t % 3 == 0]), name_hash("marketing"), name_hash(f"topic {message % 12}"), 0,
                name_hash("grow"), 0, 0, 0, at_ms + _DAY_MS, at_ms + 3 * _DAY_MS, 0x100,
            )
        )  # fmt: skip
    touches.reverse()
    return Record(new_version(), _NOW_MS - k % 1000, _NOW_MS - 300 * _DAY_MS, windows, touches)


def profile_of(customer: generate.Customer) -> Profile:
    """As the bank writes it: 40 features and a consent."""
    kinds = {bool: "bool", int: "integer", float: "number", str: "text"}
    cells = {name: Cell(kinds[type(value)], value, _NOW_MS) for name, value in customer.features.items()}
    return Profile(
        new_version(), cells, Contact([ConsentEntry("marketing", True, _NOW_MS - _DAY_MS, "branch form", "2026-01")])
    )


async def _bytes_of_a_customer(url: str, count: int) -> Row:
    """Memory of the store, keys and all overhead included, by what it grows."""
    records, admin = RedisStore(url, "tact:", max_log_length=_MAX_LOG), redis.Redis.from_url(url, protocol=2)
    customers = generate.customers(2 * count, missing=0.0)

    async def write(some: Sequence[generate.Customer], first: int) -> None:
        commits = [
            Commit(
                customer_key(c.customer_id),
                b"",
                b"",
                encode_record(record_of(first + k)),
                encode_profile(profile_of(c)),
            )
            for k, c in enumerate(some)
        ]
        for at in range(0, len(commits), BATCH):
            now_ms = (await records.read([])).now_ms
            statuses = await records.commit(commits[at : at + BATCH], now_ms + _BUDGET_MS)
            assert all(s.done for s in statuses), statuses

    try:
        await write(customers[:count], 0)  # the table of keys is there, and grows with the rest
        before = admin.info("memory")["used_memory"]
        await write(customers[count:], count)
        grown = admin.info("memory")["used_memory"] - before
    finally:
        admin.close()
        await records.close()
    note = "Customers: 40 features, one consent, 6 windows of 41 buckets, 10 touches; no answers of the last day."
    return Row("bytes of a customer in the store", "B", [grown / count], bound=BYTES_BOUND, better="lower", note=note)


# ---- profiles ---------------------------------------------------------------------------------------


async def _profiles(bundle: Bundle, rules: generate.Rules, url: str, effort: Effort) -> list[Row]:
    """PutProfiles behind the transport: new customers, and then the same again with other values."""
    count = max(_PUT_AT_ONCE, effort.customers // _PUT_AT_ONCE * _PUT_AT_ONCE)
    requests = [_requests(count, seed) for seed in (1, 2)]
    records = RedisStore(url, "bench:", commit_budget_ms=_BUDGET_MS, max_log_length=_MAX_LOG)
    decider, plain = Decider(Active(bundle), records), Plain(url, rules.rules)
    lane, admin = Lane(decider, records), redis.Redis.from_url(url, protocol=2)
    puts = PutLane(decider, records, lane.logs_fit)
    names = ("profiles put, new customers", "profiles put over what is there")
    ours: tuple[list[float], list[float]] = ([], [])
    store_us: tuple[list[float], list[float]] = ([], [])
    theirs: list[float] = []
    try:
        await _put_all(puts, requests[0][:1])  # warm
        for _ in range(effort.repeats):
            admin.flushdb()
            await records.acknowledge_generation()
            for turn in (0, 1):
                before = spent(admin)
                ours[turn].append(count / await _put_all(puts, requests[turn]))
                store_us[turn].append(spent(admin).since(before).core_s * 1e6 / count)
            made = generate.customers(count)
            start = time.process_time()
            plain.put(made)
            theirs.append(count / (time.process_time() - start))
    finally:
        plain.close()
        admin.close()
        await decider.drain()
        await records.close()
    note = (
        "Profiles: 41 features, four in five with a consent; requests of 1,000, from their bytes on, a second of the "
        "server's core. The peer writes features and consent to a hash; it reads and logs nothing."
    )
    new, again = names
    return [
        Row(f"{new}, beside redis-py", "1/s", ours[0], theirs, note=note),
        Row(new, "1/s", ours[0], bound=LOAD_BOUND),
        Row(again, "1/s", ours[1]),
        Row(f"time of the store's core, {new}", "us", store_us[0], better="lower"),
        Row(f"time of the store's core, {again}", "us", store_us[1], better="lower"),
    ]


def _requests(count: int, seed: int) -> list[bytes]:
    profiles = [Parse(line, pb.Profile()) for line in profile_lines(count, seed)]
    return [
        pb.PutProfilesRequest(profiles=profiles[at : at + _PUT_AT_ONCE]).SerializeToString()
        for at in range(0, count, _PUT_AT_ONCE)
    ]


async def _put_all(puts: PutLane, requests: Sequence[bytes]) -> float:
    """Seconds of this process' core, two requests at a time."""
    start = time.process_time()
    for at in range(0, len(requests), 2):
        await asyncio.gather(*[_put_one(puts, request) for request in requests[at : at + 2]])
    return time.process_time() - start


async def _put_one(puts: PutLane, request: bytes) -> None:
    spans = puts.find(request)
    assert spans is not None
    results = await puts.put(request, spans)
    left = sum(not isinstance(r, bytes) for r in results)
    if left:
        raise RuntimeError(f"{left} of {len(results)} profiles were not put in columns")
