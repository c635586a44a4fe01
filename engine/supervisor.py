"""Several serving processes behind one port: spawned, never forked, restarted when they die; one /metrics for all.

Workers share the port by SO_REUSEPORT. Each has a pipe as standard input that ends with the
supervisor, so none outlives it.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import orjson

from engine.metrics import DIRECTORY, Summed
from engine.settings import Address, Settings, without_password

logger = logging.getLogger("tact.supervisor")

WARM = "from engine.columns.warm import warm; warm()"  # what compiles the kernels, before there are workers
Announce = Callable[[Settings, str, str, str], None]
_ROOT = Path(__file__).resolve().parents[1]  # where `import engine` works from
_SOON_S = 5.0  # a worker that dies earlier is restarted only after a pause
_PAUSE_S = 1.0
_KILL_AFTER_S = 5.0  # beyond the grace


def supervise(settings: Settings, command: Sequence[str], environment: Mapping[str, str], announce: Announce) -> int:
    """Runs `settings.workers` workers until told to stop; returns the exit status.

    Raises OSError where the address, or that of metrics, is in use.
    """
    with _reserve(settings.listen) as held, tempfile.TemporaryDirectory(prefix="tact-metrics-") as directory:
        port = held.getsockname()[1]
        address = Address(settings.listen.host, port)
        summed = Summed(Path(directory))
        if settings.metrics is not None:
            environment = {**environment, DIRECTORY: directory}
            _serve_metrics(summed, settings.metrics)
        supervisor = _Supervisor(settings, [*command, "--listen", str(address)], environment, summed)
        return asyncio.run(supervisor.run(lambda ready: _announce(settings, announce, str(address), ready)))


def _serve_metrics(summed: Summed, listen: Address) -> None:
    try:
        logger.info("metrics are served on %s", summed.serve(*listen))
    except OSError as error:
        raise OSError(f"cannot serve metrics on {listen}: {error.strerror or error}") from error


def _announce(settings: Settings, announce: Announce, address: str, ready: Mapping[str, str]) -> None:
    store = "embedded" if settings.redis is None else without_password(settings.redis)
    announce(settings, address, ready["revision"], "down" if ready["store"] == "down" else store)


def _reserve(listen: Address) -> socket.socket:
    """A socket that holds the port without listening. Raises OSError where anybody else listens there."""
    family, kind, proto, _, address = socket.getaddrinfo(*listen, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    try:
        with socket.socket(family, kind, proto) as probe:  # without SO_REUSEPORT: nobody else may be there
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            taken = probe.getsockname()
        held = socket.socket(family, kind, proto)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(taken)
    except OSError as error:
        raise OSError(f"cannot listen on {listen}: {error.strerror or error}") from error
    return held


class _Supervisor:
    def __init__(
        self, settings: Settings, command: Sequence[str], environment: Mapping[str, str], summed: Summed
    ) -> None:
        self._settings = settings
        self._command = command
        self._environment = environment
        self._summed = summed
        self._stop = asyncio.Event()
        self._running: dict[int, Process] = {}

    async def run(self, ready: Callable[[Mapping[str, str]], None]) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        status = await self._warm()
        if status or self._stop.is_set():
            return status
        firsts: list[asyncio.Future[Mapping[str, str]]] = [loop.create_future() for _ in range(self._settings.workers)]
        keepers = [asyncio.ensure_future(self._keep(i, first)) for i, first in enumerate(firsts)]
        stopped = asyncio.ensure_future(self._stop.wait())
        try:
            everyone = asyncio.gather(*firsts)
            await asyncio.wait((everyone, stopped), return_when=asyncio.FIRST_COMPLETED)
            if everyone.done() and everyone.exception() is not None:
                return int(str(everyone.exception()))
            if everyone.done():
                ready(everyone.result()[0])
                await stopped
            return 0
        finally:
            self._stop.set()
            await self._end(keepers)
            await asyncio.gather(*keepers, return_exceptions=True)
            for first in firsts:
                first.cancel()
            everyone.cancel()
            await asyncio.gather(everyone, return_exceptions=True)

    async def _warm(self) -> int:
        """Fills the kernel cache, so that workers find in it what each would else compile for itself."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            WARM,
            env=self._environment,
            cwd=_ROOT,
        )
        self._running[-1] = process
        stopped = asyncio.ensure_future(self._stop.wait())
        ended = asyncio.ensure_future(process.wait())
        await asyncio.wait((stopped, ended), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not ended.done():
            process.terminate()
        await ended
        del self._running[-1]
        return 0 if self._stop.is_set() else abs(process.returncode or 0)

    async def _keep(self, number: int, first: asyncio.Future[Mapping[str, str]]) -> None:
        """Keeps one worker running. Where it never becomes ready, `first` fails with its exit status."""
        loop = asyncio.get_running_loop()
        while not self._stop.is_set():
            began = loop.time()
            process = await asyncio.create_subprocess_exec(
                *self._command, "--worker-of", str(number), stdin=PIPE, stdout=PIPE, env=self._environment
            )
            self._running[number] = process
            if self._stop.is_set():
                process.terminate()
            assert process.stdout is not None
            line = await process.stdout.readline()
            if line:
                self._summed.workers.inc()
                if not first.done():
                    first.set_result(orjson.loads(line))
            status = await process.wait()
            if line:
                self._summed.workers.dec()
            del self._running[number]
            if not first.done():
                first.set_exception(RuntimeError(str(status if status > 0 else 1)))
                return
            if not self._stop.is_set():
                logger.error("worker %d ended with status %d and is started again", number, status)
                self._summed.restarts.inc()
                if loop.time() - began < _SOON_S:
                    await asyncio.sleep(_PAUSE_S)

    async def _end(self, keepers: Sequence[asyncio.Task[None]]) -> None:
        """Lets every worker drain, then ends those that did not."""
        self._summed.draining = True
        for process in self._running.values():
            process.terminate()
        await asyncio.wait(keepers, timeout=self._settings.grace_s + _KILL_AFTER_S)
        for process in self._running.values():
            process.kill()
