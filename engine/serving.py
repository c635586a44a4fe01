"""The composition root of a serving process: store, rules, pipeline, services, transport, and their end."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import sys
import threading
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.columns.lane import Lane
from engine.columns.put_lane import PutLane
from engine.decider import Decider, DeciderSettings, create_decider
from engine.errors import StoreUnavailable
from engine.journal import Journal
from engine.learning.learner import keep_learnt_fresh
from engine.learning.snapshot import Learnt
from engine.metrics import DRAINING, Metrics
from engine.revisions import Revisions
from engine.service.table import Table
from engine.settings import Address, CannotServe, Settings, announce, without_password
from engine.state.cluster_store import kind_of_store
from engine.state.redis import RedisStore
from engine.state.tenure import archived_s
from engine.transport import Method, Transport
from engine.transport.grpcio import GrpcioTransport
from engine.transport.http2 import Http2Transport, Limits
from engine.transport.tls import Tls

logger = logging.getLogger("tact.server")

LAME_DUCK_S = 0.25  # between NOT_SERVING and the end of accepting: balancers look elsewhere
LEAST_S = 0.25  # for work without a caller, where calls took all of the grace
REFRESH_EVERY_S = 2.0
COUNT_EVERY_S = 1.0
CANCEL_AGAIN_S = 0.5
KEEPER_BEGIN_S = 2.0  # a server's first calls have the machine for themselves
KEEPER_PAUSE_S = 1.0
KEEPER_END_S = 5.0
FILES_OF_OUR_OWN = 128  # store, rules, log, archive: never left to connections
_ROOT = Path(__file__).resolve().parents[1]  # where `import engine` works from


@dataclass(slots=True)
class App:
    """What one process serves with."""

    settings: Settings
    store: RedisStore
    revisions: Revisions
    decider: Decider
    table: Table
    transport: Transport
    background: list[Coroutine[Any, Any, None]]
    closing: list[Callable[[], Coroutine[Any, Any, None]]]

    async def drain(self) -> None:
        """NOT_SERVING first, then accepted calls finish; the grace is for all of it together."""
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + self.settings.grace_s
        self.table.lame_duck()
        await asyncio.sleep(LAME_DUCK_S)
        self.table.close_streams()
        await self.transport.stop(max(0.0, ends_s - loop.time()))
        try:
            async with asyncio.timeout_at(max(ends_s, loop.time() + LEAST_S)):
                await self.table.settle()
                await self.decider.drain()
        except TimeoutError:
            logger.error("work was still under way at the end of the grace")


async def build(settings: Settings, store_url: str) -> App:
    """Wires a server up: store, rules, pipeline, services, transport. Raises RulesInvalid, CannotServe."""
    store = kind_of_store(store_url)(
        store_url,
        commit_budget_ms=settings.commit_budget_ms,
        audit=settings.audit,
        max_log_length=settings.max_log,
        durability=settings.durability,
        max_loss_ms=settings.max_loss * 1000,
        generation_file=settings.data / "generation",
    )
    await _check(store)
    revisions = Revisions(store.side, store.key, settings.data / "last_good" / "rules")
    active = await revisions.start(settings.rules)
    learnt = Learnt()
    metrics = Metrics(settings.worker_of if settings.metrics else None)
    limits = DeciderSettings(
        salt=settings.secret or b"tact", secret=settings.secret, commit_budget_ms=settings.commit_budget_ms
    )
    decider = create_decider(active, store, limits, learnt, metrics, Journal(settings.data / "provisional.jsonl").write)
    lane = Lane(decider, store)
    lane.prepare()
    puts = PutLane(decider, store, lane.logs_fit)
    table = Table(
        decider,
        revisions,
        metrics if settings.metrics else None,
        lane=lane,
        puts=puts,
        closed=lambda: bool(store.closed),
    )
    transport = _transport(settings, table.methods)
    if settings.metrics is not None and settings.worker_of is None:  # of workers the supervisor serves the sums
        _serve_metrics(metrics, settings.metrics, lambda: DRAINING if table.draining else store.closed)
    background = [
        revisions.watch(),
        keep_learnt_fresh(store, learnt, REFRESH_EVERY_S),
        keep_counting(metrics, store),
    ]
    closing: list[Callable[[], Coroutine[Any, Any, None]]] = [store.close]
    return App(settings, store, revisions, decider, table, transport, background, closing)


def _transport(settings: Settings, methods: Sequence[Method]) -> Transport:
    host, port = settings.listen
    shared = settings.worker_of is not None
    tls = None
    if settings.tls_cert is not None and settings.tls_key is not None:
        tls = Tls(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
    if settings.transport == "grpcio":
        options = (
            ("grpc.keepalive_time_ms", settings.keepalive_s * 1000),
            ("grpc.max_connection_age_ms", settings.max_connection_age_s * 1000),
            ("grpc.max_concurrent_streams", settings.max_streams),
        )
        return GrpcioTransport(methods, host, port, reuse_port=shared, tls=tls, options=options)
    limits = Limits(
        connections=max(1, min(Limits().connections, _open_files() - FILES_OF_OUR_OWN)),
        ping_every_s=settings.keepalive_s,
        age_s=settings.max_connection_age_s,
        streams=settings.max_streams,
    )
    return Http2Transport(methods, host, port, reuse_port=shared, tls=tls, limits=limits)


def _open_files() -> int:
    """How many files and sockets this process may have: as many as the system lets it ask for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # some systems say "no limit" and mean another
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return soft if soft >= 0 else sys.maxsize


async def _check(store: RedisStore) -> None:
    try:
        found = await store.check()
    except StoreUnavailable as error:
        logger.error("the store is down: %s", error)
        return
    for sentence in found:
        # A store that lost its data keeps marketing closed by itself; the others would break promises.
        if sentence.startswith("refused:") and "generation" not in sentence:
            raise CannotServe(sentence.removeprefix("refused: "))
        level = logging.ERROR if sentence.startswith("refused:") else logging.WARNING
        logger.log(level, "%s", sentence.partition(": ")[2])


def _serve_metrics(metrics: Metrics, listen: Address, unfit: Callable[[], str]) -> None:
    try:
        logger.info("metrics are served on %s", metrics.serve(*listen, unfit))
    except OSError as error:
        raise CannotServe(f"cannot serve metrics on {listen}: {error.strerror or error}") from error


async def keep_counting(metrics: Metrics, store: RedisStore) -> None:
    """Keeps what is counted elsewhere up to date, for ever."""
    while True:
        metrics.log_dropped.set(store.log_dropped)
        metrics.losses.set(store.losses)
        with suppress(StoreUnavailable):
            await store.look_again()
            metrics.archived_s.set(await archived_s(store))
        metrics.closed.set(bool(store.closed))
        await asyncio.sleep(COUNT_EVERY_S)


async def serve(settings: Settings, store_url: str, arguments: Sequence[str]) -> int:
    """Serves until told to stop. Raises CannotServe, RulesInvalid."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if settings.worker_of is not None:
        _stop_with_supervisor(loop, stop)
    app = await build(settings, store_url)
    tasks = [asyncio.ensure_future(work) for work in app.background]
    keeper: asyncio.Task[None] | None = None
    try:
        try:
            address = await app.transport.start()
        except OSError as error:
            raise CannotServe(str(error)) from error
        gc.collect()
        gc.freeze()  # what is here now stays: leaving it out of collections lowers p99
        gc.set_threshold(50_000, 20, 20)
        store = "embedded" if settings.redis is None else without_password(settings.redis)
        announce(settings, address, app.revisions.serving, store if app.revisions.connected else "down")
        if not settings.worker_of:  # one for all workers
            keeper = asyncio.create_task(keep_started(arguments, {**os.environ, "TACT_REDIS": store_url}))
        await stop.wait()
        logger.info("stopping: accepted calls finish")
        if keeper is not None:
            keeper.cancel()  # it ends while they do
        await app.drain()
    finally:
        await _end(tasks)
        if keeper is not None:
            if not keeper.cancelling():  # a second time would cut its end
                keeper.cancel()
            await asyncio.wait((keeper,))  # while its store is still there
        for close in app.closing:
            await close()
    return 0


async def _end(tasks: Sequence[asyncio.Future[None]]) -> None:
    """Cancels, and again where that was not heard: a cancel that meets redis-py while it connects gets lost."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_S)


def _stop_with_supervisor(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """A worker's standard input ends with its supervisor, however that ended."""

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 64):  # not sys.stdin: its lock would abort the end of the process
            pass
        loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=watch, daemon=True, name="supervisor-watch").start()


async def keep_started(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Keeps a keeper running, with the arguments of the server, until cancelled."""
    await asyncio.sleep(KEEPER_BEGIN_S)
    # in the server's own working directory: its paths may be relative
    path = os.pathsep.join(filter(None, (str(_ROOT), environment.get("PYTHONPATH"))))
    command = (sys.executable, "-m", "engine.keeping", *arguments)
    while True:
        try:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=DEVNULL, env={**environment, "PYTHONPATH": path}
            )
        except OSError as error:
            logger.error("the log's keeper cannot be started, and is tried again: %s", error)
            await asyncio.sleep(KEEPER_PAUSE_S)
            continue
        try:
            status = await process.wait()
        finally:
            if process.returncode is None:
                assert process.stdin is not None
                process.stdin.close()
                with suppress(TimeoutError):
                    async with asyncio.timeout(KEEPER_END_S):
                        await process.wait()
            if process.returncode is None:
                process.kill()
                await process.wait()
        logger.error("the log's keeper ended with status %d and is started again", status)
        await asyncio.sleep(KEEPER_PAUSE_S)
