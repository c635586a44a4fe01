"""Decisions through the real server, over gRPC, beside an empty grpc.aio echo of the same payload.

The server (`server.py`: state, log, caps, 1,000 messages) and the echo are processes on core 0; the
client and the store are on core 1. The one that is not measured is stopped meanwhile.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import uvloop

from bench import generate
from bench.load.client import OK, connect
from bench.processes import CLIENT_CORE, Child, pinned, store, write_files
from bench.rows import Effort, Row
from engine.pb.tact.v1 import decision_pb2, profile_pb2

IN_FLIGHT = 256
CHANNELS = 4
BATCH = 500
BATCHES_IN_FLIGHT = 2
_ID = "#00000000000"  # replaced in the bytes by another id of the same length
_PROFILES_PER_CALL = 250
_WAKE_S = 10.0
_NOTE = "transport: the client was busy {busy:.0%} of the time at 256 in flight."
_RATE_BOUND, _P50_BOUND, _BATCH_BOUND = 10.0, 1.5, 20.0  # design.md, section 5


@dataclass(frozen=True, slots=True)
class Measured:
    """One stretch of calls: how many ended per second, and each one's latency in seconds."""

    per_second: float
    latencies_s: list[float]
    busy: float  # part of the time that the client's own process was on its core


class Requests:
    """An endless supply of serialized requests, each with an event id of its own.

    Serialized once; of a copy only the id's bytes change, so that the client costs little.
    """

    def __init__(self, customers: int) -> None:
        self._parts: list[tuple[bytes, bytes]] = []
        self._next = 0
        for k, event in enumerate(generate.events(customers)):
            request = decision_pb2.DecideRequest()
            request.event.event_id = _ID
            request.event.customer_id = f"c{k}"
            request.event.type = event.type
            for name, value in event.attributes.items():
                _set(request.event.attributes[name], value)
            head, tail = request.SerializeToString().split(_ID.encode())
            self._parts.append((head, tail))

    def one(self) -> bytes:
        """The bytes of a DecideRequest."""
        self._next += 1
        head, tail = self._parts[self._next % len(self._parts)]
        return b"%b#%011d%b" % (head, self._next, tail)

    def batch(self) -> bytes:
        """The bytes of a DecideBatchRequest: repeated field 1, each a length (a varint) and a request."""
        parts = []
        for _ in range(BATCH):
            body = self.one()
            parts.append(b"\x0a%b%b" % (_varint(len(body)), body))
        return b"".join(parts)


def _varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + _varint(value >> 7)


def _set(target: decision_pb2.Value, value: object) -> None:
    if isinstance(value, bool):
        target.flag = value
    elif isinstance(value, int):
        target.integer = value
    elif isinstance(value, float):
        target.number = value
    else:
        target.text = str(value)


class Client:
    """Calls one server over a few connections. Each call is as cheap as `bench.load` makes it."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def run(self, method: str, body: Callable[[], bytes], in_flight: int, seconds: float) -> Measured:
        """Closed loop: `in_flight` callers, each with one call at a time. Raises where a call fails."""
        started = [0.0] * in_flight
        latencies: list[float] = []
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        open_calls = in_flight

        def done(caller: int, status: int, answer: bytes) -> None:
            nonlocal open_calls
            now = time.perf_counter()
            latencies.append(now - started[caller])
            if status == OK and now < end:
                started[caller] = now
                channels[caller % len(channels)].send(caller, body())
                return
            open_calls -= 1
            if not ended.done() and (status != OK or not open_calls):
                failed = RuntimeError(f"{method} ended with status {status}")
                ended.set_result(None) if status == OK else ended.set_exception(failed)

        count = min(CHANNELS, in_flight)
        channels = [await connect(self._address, method, done, None) for _ in range(count)]
        begin, cpu = time.perf_counter(), time.process_time()
        end = begin + seconds
        for caller in range(in_flight):
            started[caller] = time.perf_counter()
            channels[caller % count].send(caller, body())
        for channel in channels:
            channel.flush()
        await ended
        elapsed = time.perf_counter() - begin
        for channel in channels:
            channel.close()
        return Measured(len(latencies) / elapsed, latencies, (time.process_time() - cpu) / elapsed)

    async def one(self, method: str, body: bytes) -> bytes:
        """The answer of one call. Raises OSError where it fails."""
        ended: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        channel = await connect(
            self._address, method, lambda _, status, answer: ended.set_result((status, answer)), None
        )
        channel.send(0, body)
        channel.flush()
        status, answer = await ended
        channel.close()
        if status != OK:
            raise OSError(f"{method} ended with status {status}")
        return answer

    async def put_profiles(self, customers: list[generate.Customer]) -> None:
        """Writes the customers' profiles. Raises where one is refused."""
        for start in range(0, len(customers), _PROFILES_PER_CALL):
            request = profile_pb2.PutProfilesRequest()
            for customer in customers[start : start + _PROFILES_PER_CALL]:
                profile = request.profiles.add(customer_id=customer.customer_id)
                for name, value in customer.features.items():
                    _set(profile.features[name], value)
                if customer.consent:
                    profile.contact.consents.add(purpose="marketing", state=profile_pb2.Consent.GRANTED)
            answer = await self.one("/tact.v1.ProfileService/PutProfiles", request.SerializeToString())
            response = profile_pb2.PutProfilesResponse.FromString(answer)
            refused = [r.error.message for r in response.results if r.error.code]
            if refused:
                raise RuntimeError(f"a profile was refused: {refused[0]}")

    async def wake(self, method: str, body: Callable[[], bytes]) -> None:
        """After a pause: calls until one is answered, so that a measurement begins with a server awake."""
        end = time.monotonic() + _WAKE_S
        while True:
            try:
                await self.one(method, body())
                return
            except OSError:
                if time.monotonic() > end:
                    raise


async def _measure(server: Child, echo: Child, effort: Effort) -> list[Row]:
    decide, decide_batch = "/tact.v1.DecisionService/Decide", "/tact.v1.DecisionService/DecideBatch"
    ours, peer = Client(server.address), Client(echo.address)
    made = Requests(effort.customers)
    await ours.put_profiles(generate.customers(effort.customers))
    await ours.run(decide, made.one, IN_FLIGHT, effort.seconds / 2)  # caches, and the first branches
    rates: list[float] = []
    rates_peer: list[float] = []
    p50: list[float] = []
    p50_peer: list[float] = []
    batches: list[float] = []
    busy: list[float] = []
    for _ in range(effort.repeats):
        server.pause()
        await peer.wake(decide, made.one)
        at_once = await peer.run(decide, made.one, IN_FLIGHT, effort.seconds)
        rates_peer.append(at_once.per_second)
        p50_peer.append(median((await peer.run(decide, made.one, 1, effort.seconds)).latencies_s) * 1e6)
        busy.append(at_once.busy)
        echo.pause()
        server.resume()
        await ours.wake(decide, made.one)
        at_once = await ours.run(decide, made.one, IN_FLIGHT, effort.seconds)
        rates.append(at_once.per_second)
        busy.append(at_once.busy)
        p50.append(median((await ours.run(decide, made.one, 1, effort.seconds)).latencies_s) * 1e6)
        in_batches = await ours.run(decide_batch, made.batch, BATCHES_IN_FLIGHT, effort.seconds)
        batches.append(in_batches.per_second * BATCH)
        echo.resume()
    note = _NOTE.format(busy=max(busy))
    size = f"{effort.messages:,} messages"
    at_once_row = f"Decide, {IN_FLIGHT} in flight, {size}, against an empty echo"
    alone, batched = (
        "Decide, one at a time, p50, against an empty echo",
        f"DecideBatch of {BATCH}, against unary echoes",
    )
    return [
        Row(at_once_row, "1/s", rates, rates_peer, bound=_RATE_BOUND, note=note),
        Row(alone, "us", p50, p50_peer, bound=_P50_BOUND, better="lower", note=note),
        Row(batched, "1/s", batches, rates_peer, bound=_BATCH_BOUND, note=note),
    ]


def run(effort: Effort) -> list[Row]:
    """Starts the server, the store and the echo; measures them by turns."""
    with tempfile.TemporaryDirectory(prefix="tact-bench-") as name, store() as url, pinned(CLIENT_CORE):
        directory = Path(name)
        write_files(directory / "rules", generate.rules(effort.messages).files)
        arguments = ["server.py", "--listen", "127.0.0.1:0", "--rules", str(directory / "rules")]
        arguments += ["--redis", url, "--data", str(directory / "data"), "--max-log", "10000000"]
        server = Child(arguments, directory / "server.log")
        try:
            echo = Child(["-m", "bench.echo"], directory / "echo.log")
            try:
                return uvloop.run(_measure(server, echo, effort))
            finally:
                echo.stop()
        finally:
            server.stop()
