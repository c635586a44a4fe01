"""Cores and child processes: the server on core 0, everything that drives it on core 1."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import orjson

from engine.state.embedded import EmbeddedStore

SERVER_CORE, CLIENT_CORE = 0, 1
ROOT = Path(__file__).resolve().parents[1]
# of this process before it was pinned: inside `pinned` it has one left, and what is started there still wants another
_CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
_STOP_S = 40
_SETTLE_S, _SETTLE_STEP_S, _QUIET = 5.0, 0.1, 0.25


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Runs this thread on one core, and gives that to processes started meanwhile.

    Does nothing where the system cannot pin (macOS) or has one core.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    if len(_CORES) > 1:
        os.sched_setaffinity(0, {_CORES[core]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def store() -> Iterator[str]:
    """The address of an embedded store of its own on the client's core; append-only file as in service."""
    with tempfile.TemporaryDirectory(prefix="tact-bench-") as directory:
        server = EmbeddedStore(Path(directory))
        with pinned(CLIENT_CORE):
            url = server.start()
        try:
            yield url
        finally:
            server.stop()


class Child:
    """A process on the server's core that says where it listens, as JSON, in its first line; and those it starts."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._log = log
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with pinned(SERVER_CORE), log.open("wb") as errors:
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, cwd=ROOT, env=environment, start_new_session=True
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(command)} did not start: {log.read_text(errors='replace')[-2000:]}")
        self.address: str = orjson.loads(line)["address"]

    def pause(self) -> None:
        """Stops them in their tracks: what they do in the background would be taken from their peer."""
        os.killpg(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Lets them go on."""
        os.killpg(self._process.pid, signal.SIGCONT)

    def processor_s(self) -> float:
        """Processor time of all of them so far; 0 where the system does not say (macOS)."""
        ticks = 0
        for path in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # ended meanwhile
                fields = path.read_text().rpartition(")")[2].split()
                if int(fields[2]) == self._process.pid:  # its group
                    ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    async def settle(self) -> None:
        """Waits, for a few seconds at most, until they have made up in the background for a pause."""
        end = time.monotonic() + _SETTLE_S
        while time.monotonic() < end:
            before = self.processor_s()
            await asyncio.sleep(_SETTLE_STEP_S)
            if self.processor_s() - before < _QUIET * _SETTLE_STEP_S:
                return

    def stop(self) -> None:
        """SIGTERM, and waits."""
        with suppress(ProcessLookupError):
            self.resume()
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # what it left behind
        assert self._process.stdout is not None
        self._process.stdout.close()


def write_files(directory: Path, files: dict[str, bytes]) -> None:
    """A rule set's files under a directory."""
    for path, content in files.items():
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
