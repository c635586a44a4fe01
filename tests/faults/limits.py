"""Fault 22: requests above every limit, again and again. Each is refused by its status, and memory stays bounded."""

from __future__ import annotations

import asyncio

from engine.pb.tact.v1 import decision_pb2 as pb
from engine.transport import MAX_MESSAGE_BYTES, Code
from tests.faults.line import OK, connect, event
from tests.faults.report import Report, memory_mib, serving

BATCH = "/tact.v1.DecisionService/DecideBatch"
_GROWTH_MIB = 300  # two messages of the largest size under way, parsed, and the collector's leisure


async def run(long: bool = False) -> Report:
    """Once each, or a hundred times."""
    report, times = Report(22), 100 if long else 1
    many = pb.DecideBatchRequest(requests=[pb.DecideRequest.FromString(event(1))] * 100_000)
    cases = {
        "message": (bytes(MAX_MESSAGE_BYTES + 1), BATCH, (), Code.RESOURCE_EXHAUSTED),
        "metadata": (event(1), "", ((b"x-long", b"v" * (64 << 10)),), Code.RESOURCE_EXHAUSTED),
        "batch": (
            many.SerializeToString(),
            BATCH,
            (),
            Code.INVALID_ARGUMENT,
        ),
    }
    with serving() as (server, address):
        line = await connect(address)
        report.must((await line.call(event(0))).status == OK, "a good call before")
        held = memory_mib(server)
        for name, (body, path, metadata, expected) in cases.items():
            for _ in range(times):
                given = {"metadata": metadata, **({"path": path} if path else {})}
                async with asyncio.timeout(60):
                    answer = await line.call(body, **given)
                report.must(answer.status == expected, f"{name}: status {answer.status}, expected {expected}")
            report.must((await line.call(event(0))).status == OK, f"a good call after {name}")
        grown = memory_mib(server) - held
        report.must("Traceback" not in server.said(), "a traceback")
    report.must(grown < _GROWTH_MIB, f"memory grew by {grown:.0f} MiB")
    report.figures = {"times": times, "cases": list(cases), "grown_mib": round(grown, 1)}
    return report
