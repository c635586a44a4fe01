"""Fault 27: eight workers started with an empty kernel cache. None crashes, none is ready before kernels are warm."""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from engine.supervisor import WARM
from tests.faults.line import OK, Line, connect, event
from tests.faults.report import Report, serving
from tests.server.process import Server

WORKERS, ROUNDS_LONG = 8, 50
_LOOK_S = 0.02
_CONNECTIONS = 32  # enough to meet every worker, nearly always


async def run(long: bool = False) -> Report:
    """Once, or fifty times: minutes each where kernels are compiled."""
    report, rounds, slowest_s = Report(27), ROUNDS_LONG if long else 1, 0.0
    for turn in range(rounds):
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="tact-kernels-") as cache:
            started = asyncio.to_thread(_start, cache, report, turn)
            slowest_s = max(slowest_s, await started - began)
    report.figures = {"rounds": rounds, "workers": WORKERS, "slowest_start_s": round(slowest_s, 1)}
    return report


def _start(cache: str, report: Report, turn: int) -> float:
    """One cold start; when it was ready."""
    with serving("--workers", str(WORKERS), environment={"NUMBA_CACHE_DIR": cache}, ready=False) as (server, _):
        warmed, together = _watch(server)
        address, ready_s = server.ready()["address"], time.monotonic()
        report.must(warmed, f"round {turn}: nothing warmed the kernels before there were workers")
        report.must(not together, f"round {turn}: workers ran while kernels were compiled")
        compiled = _kernels(cache)
        report.must(bool(compiled), f"round {turn}: no kernels were compiled: the cache was not cold")
        statuses = asyncio.run(_ask(address))
        report.must(statuses == [OK] * _CONNECTIONS, f"round {turn}: statuses {statuses}")
        report.must(_kernels(cache) == compiled, f"round {turn}: kernels were compiled after the start")
        report.must(server.end() == 0, f"round {turn}: the end")
        said = server.said()
        report.must("ended with status" not in said and "Traceback" not in said, f"round {turn}: a worker died")
        return ready_s


def _watch(server: Server) -> tuple[bool, bool]:
    """Looks at the supervisor's children until there are workers: the warming one was seen, and ran beside them."""
    warmed = False
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    while server.process.poll() is None:
        lines = []
        for child in children.read_text().split():
            with suppress(OSError):
                lines.append(Path(f"/proc/{child}/cmdline").read_bytes())
        warming = any(WARM.encode() in line for line in lines)
        if any(b"--worker-of" in line for line in lines):
            return warmed, warming
        warmed |= warming
        time.sleep(_LOOK_S)
    return warmed, False


def _kernels(cache: str) -> list[str]:
    return sorted(path.name for path in Path(cache).rglob("*.nbc"))


async def _ask(address: str) -> list[int]:
    lines: list[Line] = [await connect(address) for _ in range(_CONNECTIONS)]
    answers = await asyncio.gather(*(line.call(event(number)) for number, line in enumerate(lines)))
    for line in lines:
        line.close()
    return [answer.status for answer in answers]
