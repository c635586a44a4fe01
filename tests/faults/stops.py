"""Fault 15: SIGTERM at full load. Watchers hear NOT_SERVING first, every call that was taken is answered, and the
server is gone within its grace.

Whether the server took a call that came to nothing, HTTP/2 says: `Line` counts what its GOAWAY left out, and what could
not be sent any more, as not taken.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import ssl
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import trustme
from grpc_health.v1 import health_pb2

from tests.faults.line import NOT_TAKEN, OK, Answer, Line, connect, event
from tests.faults.report import Report, serving
from tests.server.process import WAIT_S

GRACE_S = 10
KINDS = [(2, True), (1, False), (1, True), (2, False)]  # workers, TLS
ROUNDS, ROUNDS_LONG = 1, 50
WATCH = "/grpc.health.v1.Health/Watch"
_NOT_SERVING = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.NOT_SERVING).SerializeToString()
_LINES, _IN_FLIGHT, _FIRST = 4, 32, 400


@dataclass(slots=True)
class _Load:
    """Callers on each line, one call after the other until the server goes, and a watcher of its health."""

    lines: list[Line]
    statuses: Counter[int] = field(default_factory=Counter)
    enough: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> list[Answer]:
        """Until all has ended; what the watchers heard."""
        silent, numbers = set(self.lines), itertools.count()

        async def call(line: Line) -> None:
            while not line.going and not line.closed.done():
                number = next(numbers)
                self.statuses[(await line.call(event(number))).status] += 1
                silent.discard(line)
                if number >= _FIRST and not silent:  # each was accepted: what waits in the system's queue is not
                    self.enough.set()

        watchers = [line.call(b"", WATCH) for line in self.lines]
        await asyncio.gather(*(call(line) for line in self.lines for _ in range(_IN_FLIGHT)))
        return list(await asyncio.gather(*watchers))


async def run(long: bool = False) -> Report:
    """One stop, or fifty."""
    report, statuses, slowest_s = Report(15), Counter[int](), 0.0
    rounds = ROUNDS_LONG if long else ROUNDS
    with tempfile.TemporaryDirectory(prefix="tact-tls-") as directory:
        files, context = _certificate(Path(directory))
        for turn, (workers, tls) in zip(range(rounds), itertools.cycle(KINDS), strict=False):
            what = f"round {turn}, {workers} workers{', TLS' if tls else ''}"
            options = ["--workers", str(workers), "--grace-s", str(GRACE_S), *(files if tls else [])]
            with serving(*options) as (server, address):
                load = _Load([await connect(address, context if tls else None) for _ in range(_LINES)])
                work = asyncio.ensure_future(load.run())
                await load.enough.wait()
                server.process.send_signal(signal.SIGTERM)
                began = time.monotonic()
                status = await asyncio.to_thread(server.process.wait, WAIT_S)
                slowest_s = max(slowest_s, time.monotonic() - began)
                heard = await work
                report.must(status == 0, f"{what}: exit status {status}")
                report.must("Traceback" not in server.said(), f"{what}: a traceback")
            report.must(all(_in_order(answer) for answer in heard), f"{what}: a GOAWAY before NOT_SERVING")
            failed = {s: n for s, n in load.statuses.items() if s not in (OK, NOT_TAKEN)}
            report.must(not failed, f"{what}: calls that were taken failed, by status: {failed}")
            statuses += load.statuses
    report.in_time(slowest_s <= GRACE_S + 1, "the end took longer than the grace and a second")
    report.figures = {
        "rounds": rounds,
        "answered": statuses[OK],
        "not_taken": statuses[NOT_TAKEN],
        "failed": sum(statuses.values()) - statuses[OK] - statuses[NOT_TAKEN],
        "slowest_end_s": round(slowest_s, 2),
    }
    return report


def _in_order(heard: Answer) -> bool:
    return heard.status == OK and heard.body.endswith(_NOT_SERVING) and not heard.going


def _certificate(directory: Path) -> tuple[list[str], ssl.SSLContext]:
    """Options for a server, and what its clients trust."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    cert, key = directory / "cert.pem", directory / "key.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.set_alpn_protocols(["h2"])
    return ["--tls-cert", str(cert), "--tls-key", str(key)], context
