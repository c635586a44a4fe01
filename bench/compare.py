"""Decisions through the real server, over gRPC, beside empty echoes of the same payload: whoever decides nothing.

The server (`server.py`: state, log, caps, 1,000 messages), its log's keeper and the echoes are processes on core 0;
the client and the store are on core 1. Those that are not measured are stopped meanwhile. One client for all:
`bench.load`'s.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Literal

import uvloop

from bench import generate
from bench.echo import AIO, CXX, ECHOES, STORED, Echo
from bench.load.client import Target
from bench.load.closed import closed_loop, wake
from bench.load.drive import DECIDE, DRAIN_S, Result, drive
from bench.load.profiles import put_profiles
from bench.load.requests import Requests
from bench.load.schedule import send_times
from bench.processes import CLIENT_CORE, Child, pinned, store, write_files
from bench.rows import Effort, Row
from engine.pb.tact.v1 import decision_pb2, profile_pb2

DECIDE_BATCH = "/tact.v1.DecisionService/DecideBatch"
IN_FLIGHT = 256
BATCH = 500
BATCHES_IN_FLIGHT = 2
OPEN_RATE = 2000.0
# design.md, section 5
RATE_BOUNDS: Mapping[Echo, float] = {AIO: 10.0, CXX: 0.8}
P50_BOUNDS: Mapping[Echo, float] = {AIO: 1.5}
P99_BOUND, BATCH_BOUND = 1.0, 20.0
_BETTER: Mapping[str, Literal["higher", "lower"]] = {"1/s": "higher", "us": "lower"}


@dataclass(slots=True)
class Figures:
    """Of one server, a number a repeat."""

    rates: list[float] = field(default_factory=list)
    p50_us: list[float] = field(default_factory=list)
    p99_us: list[float] = field(default_factory=list)
    batched: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)  # the client's part of its core, at 256 in flight
    processor_us: list[float] = field(default_factory=list)  # the server's a call, at 256 in flight; with its keeper
    without_answer: float = 0.0  # largest part of the open loop's calls


Pick = Callable[[Figures], list[float]]


def requests(customers: int) -> Requests:
    """An event of each customer, by turns."""
    return Requests(_request(k, event) for k, event in enumerate(generate.events(customers)))


def _request(customer: int, event: generate.Happening) -> decision_pb2.DecideRequest:
    request = decision_pb2.DecideRequest()
    request.event.customer_id = f"c{customer}"
    request.event.type = event.type
    for name, value in event.attributes.items():
        set_value(request.event.attributes[name], value)
    return request


def profile(customer: generate.Customer) -> profile_pb2.Profile:
    """As the bank would write it."""
    made = profile_pb2.Profile(customer_id=customer.customer_id)
    for name, value in customer.features.items():
        set_value(made.features[name], value)
    if customer.consent:
        made.contact.consents.add(purpose="marketing", state=profile_pb2.Consent.GRANTED)
    return made


def set_value(target: decision_pb2.Value, value: object) -> None:
    """A plain value into a protobuf one."""
    if isinstance(value, bool):
        target.flag = value
    elif isinstance(value, int):
        target.integer = value
    elif isinstance(value, float):
        target.number = value
    else:
        target.text = str(value)


def p99_us(result: Result) -> float:
    """Of all calls: one without a good answer counts as one that took as long as answers are waited for."""
    wanted, good = 0.99 * result.sent, result.latencies.total
    return result.latencies.quantile(wanted / good) / 1e3 if good >= wanted else DRAIN_S * 1e6


async def _measure_one(
    child: Child, made: Requests, effort: Effort, figures: Figures, open_loop: bool, batches: bool
) -> None:
    """One call at a time first, as what a full load leaves behind (log, learning) would be in its way."""
    target = Target(child.address)
    await wake(target, DECIDE, made.one)
    await child.settle()
    alone = await closed_loop(target, DECIDE, made.one, 1, effort.seconds / 2)
    figures.p50_us.append(median(alone.latencies_s) * 1e6)
    if open_loop:
        times = send_times(OPEN_RATE, effort.seconds * 2, "poisson", len(figures.p99_us))
        result = await drive(target, made.one, times, OPEN_RATE, 4)
        figures.p99_us.append(p99_us(result))
        figures.without_answer = max(figures.without_answer, 1 - result.latencies.total / result.sent)
    began_s = child.processor_s()
    at_once = await closed_loop(target, DECIDE, made.one, IN_FLIGHT, effort.seconds)
    figures.processor_us.append((child.processor_s() - began_s) / len(at_once.latencies_s) * 1e6)
    figures.rates.append(at_once.per_second)
    figures.busy.append(at_once.busy)
    if batches:
        in_batches = await closed_loop(
            target, DECIDE_BATCH, lambda: made.batch(BATCH), BATCHES_IN_FLIGHT, effort.seconds
        )
        figures.batched.append(in_batches.per_second * BATCH)


async def _measure(server: Child, echoes: Mapping[Echo, Child], effort: Effort) -> tuple[Figures, dict[Echo, Figures]]:
    made = requests(effort.served)
    target = Target(server.address)
    await put_profiles(target, (profile(c) for c in generate.customers(effort.served)))
    await closed_loop(target, DECIDE, made.one, IN_FLIGHT, effort.seconds / 2)  # caches, and the first branches
    ours, peers = Figures(), {echo: Figures() for echo in echoes}
    server.pause()
    for _ in range(effort.repeats):
        for echo, child in echoes.items():
            child.resume()
            stored = echo is STORED
            await _measure_one(child, made, effort, peers[echo], open_loop=stored or echo is AIO, batches=stored)
            child.pause()
        server.resume()
        await _measure_one(server, made, effort, ours, open_loop=True, batches=True)
        server.pause()
    server.resume()
    return ours, peers


def rows(ours: Figures, peers: Mapping[Echo, Figures], missing: Mapping[Echo, str], messages: int) -> list[Row]:
    """The rows of design.md, section 5, that a client sees; without a ratio where a peer is missing."""
    all_of_them = [("Tact", ours), *((echo.name, figures) for echo, figures in peers.items())]
    busy = ", ".join(f"{name} {max(f.busy):.0%}" for name, f in all_of_them)
    note = f"compare: how busy the client's core was at {IN_FLIGHT} in flight: {busy}. At 100 % it is the limit."
    paid = ", ".join(f"{name} {median(f.processor_us):.0f}" for name, f in all_of_them if f.processor_us)
    note += f" Processor time a call there, us, with all that a server does in the background: {paid}."
    if ours.without_answer:
        note += f" In open loop {ours.without_answer:.1%} of our calls had no good answer: they count as {DRAIN_S:g} s."

    def row(what: str, unit: str, mine: Sequence[float], theirs: Pick, echo: Echo, bound: float | None = None) -> Row:
        name, better = f"{what}, against {echo.name}", _BETTER[unit]
        if echo not in peers:
            return Row(name, unit, mine, better=better, note=f"{echo.name}: {missing[echo]}")
        return Row(name, unit, mine, theirs(peers[echo]), bound=bound, better=better, note=note)

    at_once = f"Decide, {IN_FLIGHT} in flight, {messages:,} messages"
    alone, open_loop = "Decide, one at a time, p50", f"Decide, p99 at {OPEN_RATE:,.0f}/s, open loop"
    made = [row(at_once, "1/s", ours.rates, lambda f: f.rates, echo, RATE_BOUNDS.get(echo)) for echo in ECHOES]
    made += [row(alone, "us", ours.p50_us, lambda f: f.p50_us, echo, P50_BOUNDS.get(echo)) for echo in ECHOES]
    made.append(row(open_loop, "us", ours.p99_us, lambda f: f.p99_us, AIO, P99_BOUND))
    made.append(row(open_loop, "us", ours.p99_us, lambda f: f.p99_us, STORED))
    batched = f"DecideBatch of {BATCH}, decisions beside unary calls"
    made.append(row(batched, "1/s", ours.batched, lambda f: f.rates, AIO, BATCH_BOUND))
    made.append(row(f"DecideBatch of {BATCH}", "1/s", ours.batched, lambda f: f.batched, STORED))
    return made


def run(effort: Effort) -> list[Row]:
    """Starts the store, the server and the echoes; measures them by turns."""
    missing = {echo: echo.missing() for echo in ECHOES}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tact-bench-")))
        url = stack.enter_context(store())
        stack.enter_context(pinned(CLIENT_CORE))
        write_files(directory / "rules", generate.rules(effort.messages).files)

        def started(name: str, command: Sequence[str]) -> Child:
            child = Child(command, directory / f"{name}.log")
            stack.callback(child.stop)
            return child

        command = [sys.executable, "server.py", "--listen", "127.0.0.1:0", "--rules", str(directory / "rules")]
        command += ["--redis", url, "--data", str(directory / "data"), "--max-log", "10000000"]
        server = started("server", command)
        echoes = {}
        for place, echo in enumerate(e for e in ECHOES if not missing[e]):
            echoes[echo] = started(str(place), (*echo.command, url) if echo.stored else echo.command)
            echoes[echo].pause()
        ours, peers = uvloop.run(_measure(server, echoes, effort))
    return rows(ours, peers, missing, effort.messages)
