"""Faults 6, 7 and 8: a store that does not answer, is stopped, or is full."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from engine.pb.tact.v1 import decision_pb2 as pb
from tests.faults.ledger import Ledger
from tests.faults.line import OK
from tests.faults.report import Report, memory_mib, quantile
from tests.faults.stage import CAP, MARGIN_S, Load, Stage, request, staged, until

_SILENT_S, _SILENT_LONG_S = 2.5, 30.0
_NOTICED_S = 1.0
_BACK_S = 2.0
_FAST_S = 0.3  # a call once the store is known to be silent: the lane and the step each wait 0.1 s for a connection
_MEMORY_MIB = 50
_DEADLINE_MS = 500
_CALLERS = 64


async def stopped(long: bool = False) -> Report:
    """Fault 6: SIGSTOP for the store, two and a half seconds or thirty."""
    return await _silent(Report(6), long, lambda stage: stage.pause(), lambda stage: stage.go_on())


async def hole(long: bool = False) -> Report:
    """Fault 8: nothing passes between server and store, and all of it arrives in the end."""

    def dig(stage: Stage) -> None:
        stage.proxy.hole = True

    def fill(stage: Stage) -> None:
        stage.proxy.hole = False

    return await _silent(Report(8), long, dig, fill)


async def _silent(report: Report, long: bool, begin: Callable[[Stage], None], end: Callable[[Stage], None]) -> Report:
    ledger = Ledger(CAP)
    async with staged() as stage:
        load = Load(stage, ledger, f"s{report.fault}-", 2000, _CALLERS, _DEADLINE_MS)
        work = asyncio.ensure_future(load.run(await stage.dial(4)))
        await until(lambda: len(ledger.answers) > 200)
        memory = memory_mib(stage.server)
        begin(stage)
        began = time.monotonic()
        await asyncio.sleep(_SILENT_LONG_S if long else _SILENT_S)
        grown = memory_mib(stage.server) - memory
        over = time.monotonic()
        end(stage)
        await stage.settled()
        back_s = stage.settled_s
        await asyncio.sleep(0.3)
        load.over = True
        await work
        for what in await stage.check(ledger):
            report.must(False, what)
    within = [(at - began, took, a) for at, took, a in load.ended if began < at and at + took < over]
    later = [took for at, took, _ in within if at > _NOTICED_S]
    sends = [a for at, _, a in within if at > 0.1 and a.status == OK and _sends(a.body)]
    report.must(not sends, f"{len(sends)} SENDs while the store was silent")
    report.must(grown <= _MEMORY_MIB, f"memory grew by {grown:.0f} MiB")
    report.in_time(max(ledger.late, default=0.0) <= MARGIN_S, f"a call ended {max(ledger.late, default=0):.2f} s late")
    report.in_time(back_s <= _BACK_S, f"normal {back_s:.2f} s after the store was back")
    report.in_time(quantile(later, 0.5) <= _FAST_S, f"{quantile(later, 0.5):.2f} s a call once it was noticed")
    report.figures = {
        "silent_s": _SILENT_LONG_S if long else _SILENT_S,
        "calls_meanwhile": len(within),
        "p50_ms_once_noticed": round(1000 * quantile(later, 0.5), 1),
        "p99_ms_once_noticed": round(1000 * quantile(later, 0.99), 1),
        "latest_after_deadline_ms": round(1000 * max(ledger.late, default=0.0), 1),
        "memory_grown_mib": round(grown, 1),
        "normal_after_s": round(back_s, 2),
        "statuses": dict(ledger.statuses),
    }
    return report


async def full(long: bool = False) -> Report:
    """Fault 7: the store has no memory left and may not evict. Nothing new is sent, what is known is still answered."""
    report, ledger, turns = Report(7), Ledger(CAP), 10 if long else 1
    refused = 0
    async with staged() as stage:
        admin = stage.direct.admin
        [line] = await stage.dial(1)
        for turn in range(turns):
            known = [(f"m{turn}-{number}", "e") for number in range(20)]
            for customer, event in known:
                ledger.take(customer, event, await line.call(request(customer, event), timeout_ms=5000))
            keys = len(await admin.keys("tact:{*}r:*"))
            await admin.config_set("maxmemory", 1)  # whatever is freed meanwhile
            try:
                for number in range(100):
                    customer = f"m{turn}-new-{number}"
                    answer = await line.call(request(customer, "e"), timeout_ms=5000)
                    settled = ledger.take(customer, "e", answer)
                    report.must(answer.status == OK and not settled, f"{customer} was decided: {answer.status}")
                    if answer.status == OK:
                        decision = pb.DecideResponse.FromString(answer.body).decisions[0]
                        why = decision.details.cause
                        report.must("refuses to be written" in why, f"the reason says {why!r}")
                        refused += 1
                for customer, event in known:
                    answer = await line.call(request(customer, event), timeout_ms=5000)
                    report.must(ledger.take(customer, event, answer), f"{customer} has no answer any more")
                stats = await admin.info("stats")
                report.must(stats["evicted_keys"] == 0, f"{stats['evicted_keys']} keys were evicted")
                report.must(len(await admin.keys("tact:{*}r:*")) >= keys, "records are gone")
            finally:
                await admin.config_set("maxmemory", 0)
            await stage.settled()
        for what in await stage.check(ledger):
            report.must(False, what)
    report.figures = {"turns": turns, "refused": refused, "answered_again": 20 * turns}
    return report


def _sends(body: bytes) -> bool:
    return pb.DecideResponse.FromString(body).decisions[0].outcome == pb.Decision.SEND
