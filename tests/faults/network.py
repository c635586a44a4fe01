"""Faults 9 to 12: replies are lost, late, cut or garbage, and the store forgets its scripts."""

from __future__ import annotations

import asyncio
import random

from tests.faults.ledger import Ledger
from tests.faults.line import DEADLINE_EXCEEDED, OK, RESOURCE_EXHAUSTED
from tests.faults.report import Report, memory_mib, quantile
from tests.faults.stage import CAP, Load, staged, until

UNAVAILABLE = 14
_DELAYS_MS = (5, 50, 500)


async def dropped(long: bool = False) -> Report:
    """Fault 9: requests arrive and replies do not, again and again. Retries get the answer that was kept."""
    report, ledger, turns = Report(9), Ledger(CAP), 60 if long else 3
    async with staged() as stage:
        chance = random.Random(9)
        load = Load(stage, ledger, "d", customers=300, timeout_ms=3000)
        work = asyncio.ensure_future(load.run(await stage.dial(4)))
        for _ in range(turns):
            before = len(ledger.answers)
            await until(lambda before=before: len(ledger.answers) > before + 50)  # type: ignore[misc]
            stage.proxy.drop_replies = True
            await asyncio.sleep(0.02 + chance.random() * 0.1)
            stage.proxy.drop_replies = False
        await stage.settled()
        load.over = True
        await work
        for what in await stage.check(ledger):
            report.must(False, what)
    report.must(ledger.statuses[UNAVAILABLE] > 0, "no commit became unknown: the test tried nothing")
    report.figures = {"turns": turns, "answers": len(ledger.answers), "statuses": dict(ledger.statuses)}
    return report


async def slow(long: bool = False) -> Report:
    """Fault 10: replies are 5, 50 and 500 ms late, and as much again at random."""
    report, seconds, deadline_s = Report(10), 20.0 if long else 0.7, 5.0
    async with staged() as stage:
        memory = memory_mib(stage.server)
        for delay_ms in _DELAYS_MS:
            ledger = Ledger(CAP)
            stage.proxy.delay_s = stage.proxy.jitter_s = delay_ms / 1000
            load = Load(stage, ledger, f"w{delay_ms}-", 3000, 300 if long else 100, int(deadline_s * 1000), retries=1)
            work = asyncio.ensure_future(load.run(await stage.dial(4)))
            await asyncio.sleep(seconds + 4 * delay_ms / 1000)
            load.over = True
            await work
            stage.proxy.calm()
            good = [took for _, took, a in load.ended if a.status == OK]
            odd = ledger.statuses.keys() - {OK, RESOURCE_EXHAUSTED, UNAVAILABLE, DEADLINE_EXCEEDED}
            report.must(not odd, f"{delay_ms} ms: statuses {sorted(odd)}")
            report.must(bool(good), f"{delay_ms} ms: nothing was answered")
            report.in_time(quantile(good, 0.99) <= deadline_s, f"{delay_ms} ms: p99 {quantile(good, 0.99):.2f} s")
            report.figures[f"{delay_ms}_ms"] = {
                "calls": load.calls,
                "p50_ms": round(1000 * quantile(good, 0.5)),
                "p99_ms": round(1000 * quantile(good, 0.99)),
                "statuses": dict(ledger.statuses),
                "reasons": dict(ledger.reasons),
            }
            await stage.settled()
            for what in await stage.check(ledger):
                report.must(False, f"{delay_ms} ms: {what}")
        grown = memory_mib(stage.server) - memory
    report.must(grown <= 100, f"memory grew by {grown:.0f} MiB")
    report.figures["memory_grown_mib"] = round(grown, 1)
    return report


class Garbage:
    """Spoils one piece of replies in `every`."""

    def __init__(self, every: int) -> None:
        self.chance, self.every, self.spoilt = random.Random(11), every, 0

    def __call__(self, data: bytes) -> bytes:
        if self.chance.randrange(self.every):
            return data
        self.spoilt += 1
        kind = self.chance.randrange(6)
        if kind == 0:
            return self.chance.randbytes(len(data))
        if kind == 1:
            return data[: self.chance.randrange(len(data))]  # something is missing, and the rest follows
        if kind == 2:
            return b"+OK\r\n" + data  # a reply that nobody asked for
        if kind == 3:
            return b"-ERR nonsense\r\n" + data
        if kind == 4:
            return b"$" + data
        return data + b"*2147483647\r\n"


async def cut(long: bool = False, calls: int = 0) -> Report:
    """Fault 11: connections end after so many bytes of replies, or bring garbage; a million calls where it is long."""
    report, ledger, calls = Report(11), Ledger(CAP), calls or (1_000_000 if long else 800)
    async with staged() as stage:
        load = Load(stage, ledger, "c", customers=20_000 if long else 300, callers=64, timeout_ms=5000)
        work = asyncio.ensure_future(load.run(await stage.dial(4)))
        garbage = Garbage(200 if long else 25)
        done = 0
        for part in range(1, 3):
            stage.proxy.calm()
            if part == 1:
                stage.proxy.cut_after = 200_000 if long else 10_000
            else:
                stage.proxy.change = garbage
            while done < calls * part // 2:
                before = load.calls
                if not await until(lambda before=before: load.calls > before + 100, 20):  # type: ignore[misc]
                    break
                done += load.calls - before
                load.ended.clear()
        cuts = stage.proxy.cuts
        stage.proxy.calm()
        await stage.settled()
        load.over = True
        await work
        for what in await stage.check(ledger):
            report.must(False, what)
    report.must(done >= calls, f"only {done} calls: the server did not go on")
    report.must(cuts > 0 and garbage.spoilt > 0, "nothing was cut or spoilt: the test tried nothing")
    report.figures = {
        "calls": load.calls,
        "answers": len(ledger.answers),
        "cuts": cuts,
        "spoilt": garbage.spoilt,
        "statuses": dict(ledger.statuses),
    }
    return report


async def forgotten(long: bool = False) -> Report:
    """Fault 12: SCRIPT FLUSH a hundred times a second under load, for a second and a half or a minute."""
    report, ledger, flushes = Report(12), Ledger(CAP), 0
    async with staged() as stage:
        load = Load(stage, ledger, "f", customers=300, timeout_ms=10_000, retries=1)
        work = asyncio.ensure_future(load.run(await stage.dial(4)))
        for _ in range(6000 if long else 150):
            await stage.direct.admin.script_flush()
            flushes += 1
            await asyncio.sleep(0.01)
        load.over = True
        await work
        for what in await stage.check(ledger):
            report.must(False, what)
    report.must(set(ledger.statuses) == {OK}, f"a client saw an error: {dict(ledger.statuses)}")
    report.must(set(ledger.reasons) <= {"SELECTED", "CAP_REACHED"}, f"reasons: {dict(ledger.reasons)}")
    report.figures = {"flushes": flushes, "calls": load.calls, "reasons": dict(ledger.reasons)}
    return report
