"""Fault 23: connections that are opened and say nothing, or begin and do not go on. Good clients do not notice."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from tests.faults.good import measure
from tests.faults.line import OK, connect
from tests.faults.report import Report, descriptors, serving
from tests.transport import raw
from tests.transport.raw import END_HEADERS, block, fields, frame

CONNECTIONS, CONNECTIONS_LONG = 200, 2000
_BEGUN = raw.PREFACE + frame(raw.SETTINGS)
_REQUEST = frame(raw.HEADERS, END_HEADERS, 1, block(fields("/tact.v1.DecisionService/Decide")))
_SAID = (b"", raw.PREFACE[:9], _BEGUN, _BEGUN + _REQUEST[:20], _BEGUN + _REQUEST)
_CLOSED_S = 45  # handshake 10 s; keep-alive 1 s and 20 s for the answer
_SLACK = 20  # descriptors
_GONE_S, _LOOK_S = 20, 0.05  # until the server has seen who left


async def run(long: bool = False) -> Report:
    """Two hundred connections; or two thousand, until the server has closed them."""
    report, seconds = Report(23), 5 if long else 0.3
    with serving("--keepalive-s", "1") as (server, address):
        good = [await connect(address)]
        await measure(good, 8, min(seconds, 1))  # warm
        usual, files = await measure(good, 8, seconds), descriptors(server)
        host, port = address.split(":")
        count = CONNECTIONS_LONG if long else CONNECTIONS
        opened = [await asyncio.open_connection(host, int(port)) for _ in range(count)]
        for number, (_, writer) in enumerate(opened):
            writer.write(_SAID[number % len(_SAID)])
        began = time.monotonic()
        meanwhile, most = await measure(good, 8, seconds), descriptors(server)
        closed_s = None
        if long:
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSED_S):
                    await asyncio.gather(*(_until_closed(reader) for reader, _ in opened))
                    closed_s = round(time.monotonic() - began, 1)
            report.in_time(closed_s is not None, f"not all were closed within {_CLOSED_S} s")
        for _, writer in opened:
            writer.transport.abort()
        after = await measure(good, 8, seconds)
        patience = time.monotonic() + _GONE_S
        while (left := descriptors(server)) > files + _SLACK and time.monotonic() < patience:
            await measure(good, 8, _LOOK_S)
    for measured in (usual, meanwhile, after):
        report.must(set(measured.statuses) == {OK}, f"statuses of good clients: {dict(measured.statuses)}")
    report.must(most <= files + count + _SLACK, f"{most} descriptors")
    report.must(left <= files + _SLACK, f"{left} descriptors after the end, {files} before")
    report.in_time(meanwhile.p99_ms <= 2 * usual.p99_ms, "p99 of good clients more than doubled")
    report.figures = {
        "connections": count,
        "p99_ms": [round(m.p99_ms, 1) for m in (usual, meanwhile, after)],
        "descriptors": [files, most, left],
        "closed_s": closed_s,
    }
    return report


async def _until_closed(reader: asyncio.StreamReader) -> None:
    with suppress(ConnectionError):
        while await reader.read(1 << 16):
            pass
