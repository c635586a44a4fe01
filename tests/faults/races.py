"""Fault 1: a hundred events of one customer at once on each of eight connections, over several workers."""

from __future__ import annotations

import asyncio
import time

from engine.pb.tact.v1 import decision_pb2 as pb
from tests.faults.ledger import Ledger
from tests.faults.line import OK, Line
from tests.faults.report import Report
from tests.faults.stage import CAP, Stage, request, staged

_CONNECTIONS, _EVENTS = 8, 100
_ROUNDS, _ROUNDS_LONG = 2, 1000
_WORKERS, _WORKERS_LONG = "2", "8"


async def run(long: bool = False) -> Report:
    """Two rounds over two workers, or a thousand over eight; each with a customer of its own."""
    report, rounds = Report(1), _ROUNDS_LONG if long else _ROUNDS
    async with staged("--workers", _WORKERS_LONG if long else _WORKERS) as stage:
        lines = await stage.dial(_CONNECTIONS * (4 if long else 1))  # the system spreads them: enough for all workers
        began, wrong, ledger = time.monotonic(), 0, Ledger(CAP)
        for turn in range(rounds):
            ledger = Ledger(CAP)
            here = lines[turn * _CONNECTIONS % len(lines) :][:_CONNECTIONS]
            await asyncio.gather(*(_hundred(stage, ledger, line, f"r{turn}", k) for k, line in enumerate(here)))
            sent = sum(map(len, ledger.sent.values()))
            wrong += sent != CAP
            for what in await stage.check(ledger):
                report.must(False, f"round {turn}: {what}")
        seconds = time.monotonic() - began
    report.must(wrong == 0, f"{wrong} rounds did not send exactly {CAP}")
    report.figures = {
        "rounds": rounds,
        "events": rounds * _CONNECTIONS * _EVENTS,
        "events_per_s": round(rounds * _CONNECTIONS * _EVENTS / seconds),
        "last_round": dict(ledger.reasons),
    }
    return report


async def _hundred(stage: Stage, ledger: Ledger, line: Line, customer: str, caller: int) -> None:
    """A hundred calls at once; what is not known to be done is asked for again."""

    async def one(number: int) -> None:
        event = f"{caller}-{number}"
        while True:
            answer = await line.call(request(customer, event), timeout_ms=30_000)
            if answer.status != OK:
                await asyncio.sleep(0.01)
            elif ledger.told(customer, event, pb.DecideResponse.FromString(answer.body), answer.body):
                return

    await asyncio.gather(*(one(number) for number in range(_EVENTS)))
