"""Fault 24: rapid resets, floods of SETTINGS, PING, CONTINUATION and others, from ten attackers that come again."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import suppress

from tests.faults.good import measure
from tests.faults.line import OK, connect
from tests.faults.report import Report, memory_mib, serving
from tests.transport import raw
from tests.transport.floods import FLOODS
from tests.transport.raw import frame

_EVERY_S = 0.5  # each attacker: one flood, then the rest of this
_HELLO = raw.PREFACE + frame(raw.SETTINGS)
_RECOVERY_S = 5.0
_END_S = 20


async def run(long: bool = False) -> Report:
    """Each kind of flood once or a few times; or for a minute."""
    report, seconds = Report(24), 60 if long else 0.3
    ended: Counter[str] = Counter()
    with serving() as (server, address):
        good = [await connect(address) for _ in range(2)]
        await measure(good, 16, min(seconds, 1))
        usual, held = await measure(good, 16, min(seconds, 10)), memory_mib(server)
        over = asyncio.Event()
        attackers = [asyncio.ensure_future(_attack(address, kind, over, ended)) for kind in FLOODS]
        meanwhile = await measure(good, 16, seconds)
        over.set()
        await asyncio.gather(*attackers)
        began = time.monotonic()
        recovered = await measure(good, 16, min(seconds, 1))
        while long and recovered.per_s < 0.9 * usual.per_s and time.monotonic() - began < _RECOVERY_S:
            recovered = await measure(good, 16, 1)
        grown = memory_mib(server) - held
        report.must("Traceback" not in server.said(), "a traceback")
    for measured in (usual, meanwhile, recovered):
        report.must(set(measured.statuses) == {OK}, f"statuses of good clients: {dict(measured.statuses)}")
    missing = [kind for kind in FLOODS if not ended[kind]]
    report.must(not missing, f"floods whose connection was not ended: {', '.join(missing)}")
    report.in_time(meanwhile.per_s >= 0.8 * usual.per_s, "goodput of good clients fell below 80 %")
    report.in_time(recovered.per_s >= 0.9 * usual.per_s, f"not recovered within {_RECOVERY_S:g} s")
    report.figures = {
        "floods": ended.total(),
        "goodput_per_s": [round(m.per_s) for m in (usual, meanwhile, recovered)],
        "kept": round(meanwhile.per_s / usual.per_s, 2),
        "grown_mib": round(grown, 1),
    }
    return report


async def _attack(address: str, kind: str, over: asyncio.Event, ended: Counter[str]) -> None:
    host, port = address.split(":")
    while not over.is_set():
        began = time.monotonic()
        reader, writer = await asyncio.open_connection(host, int(port))
        with suppress(ConnectionError):
            async with asyncio.timeout(_END_S):
                writer.write(_HELLO + FLOODS[kind])
                while await reader.read(1 << 16):
                    pass
        ended[kind] += 1
        writer.transport.abort()
        with suppress(TimeoutError):
            async with asyncio.timeout(_EVERY_S - (time.monotonic() - began)):
                await over.wait()
