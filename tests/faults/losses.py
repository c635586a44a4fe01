"""Faults 2 to 5: the store dies while it is written to, loses the end of its file, or comes back empty."""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from pathlib import Path

from engine.pb.tact.v1 import decision_pb2 as pb
from tests.faults.ledger import Ledger
from tests.faults.line import OK
from tests.faults.report import Report
from tests.faults.stage import CAP, Load, Stage, request, staged, until

_BACK_S = 2.0  # serving so soon after the store's return
_CUT_MOST = 20_000  # bytes
_MULTI, _XADD = b"*1\r\n$5\r\nMULTI\r\n", b"\r\nXADD\r\n"


async def killed(long: bool = False) -> Report:
    """Fault 2: kill -9 in the middle of writes, appendfsync always; three times, or a hundred."""
    report, ledger, turns, back_s = Report(2), Ledger(CAP), 100 if long else 3, []
    async with staged() as stage:
        chance = random.Random(2)
        lines = await stage.dial(4)
        load = Load(stage, ledger, "k", customers=20 * turns)
        work = asyncio.ensure_future(load.run(lines))
        for _ in range(turns):
            before = len(ledger.answers)
            await until(lambda before=before: len(ledger.answers) > before + 30)  # type: ignore[misc]
            await asyncio.sleep(chance.random() * 0.1)
            stage.kill()
            await stage.restart()
            await stage.settled()
            back_s.append(stage.settled_s)
        load.over = True
        await work
        for what in await stage.check(ledger):
            report.must(False, what)
    report.in_time(max(back_s) <= _BACK_S, f"serving {max(back_s):.2f} s after the store's return")
    report.figures = {
        "kills": turns,
        "answers": len(ledger.answers),
        "lost": ledger.missing,
        "statuses": dict(ledger.statuses),
        "slowest_return_s": round(max(back_s), 2),
    }
    return report


async def powerless(long: bool = False) -> Report:
    """Fault 3: the machine stops, appendfsync everysec: what was written in the last two seconds is lost.

    A killed process loses nothing that it has written, so the file is cut to the length that it had then.
    """
    report, turns, window_s = Report(3), 20 if long else 1, 2.0 if long else 0.7
    lost: list[int] = []
    over: list[int] = []
    sends: list[int] = []
    async with staged() as stage:
        for turn in range(turns):
            ledger = Ledger(CAP)
            load = Load(stage, ledger, f"p{turn}-", customers=60, pause_s=0.005)
            work = asyncio.ensure_future(load.run(await stage.dial(4)))
            await asyncio.sleep(0.5)
            await until(lambda ledger=ledger: len(ledger.answers) > 100)  # type: ignore[misc]
            length, then = _written(stage).stat().st_size, dict(ledger.answers)
            sent_then = sum(map(len, ledger.sent.values()))
            await asyncio.sleep(window_s)
            stage.kill()
            load.over = True  # what is answered from now on is answered without this store
            await work
            late = len(ledger.answers) - len(then)
            sends.append(sum(map(len, ledger.sent.values())) - sent_then)
            await _cut(stage, length)
            await stage.settled()
            again = Load(stage, ledger, f"p{turn}-", customers=60, callers=8, events="again-")
            again_work = asyncio.ensure_future(again.run(await stage.dial(2)))
            await asyncio.sleep(0.5)
            again.over = True
            await again_work
            for what in await stage.check(ledger, lost=late):
                report.must(False, f"turn {turn}: {what}")
            lost.append(ledger.missing)
            over.append(ledger.overshoot())
            report.must(over[-1] <= sends[-1], f"turn {turn}: {over[-1]} SENDs too many of {sends[-1]}")
    report.figures = {
        "turns": turns,
        "window_s": window_s,
        "answers_lost_most": max(lost),
        "sends_in_the_window_most": max(sends),
        "overshoot_most": max(over),
        "overshoot": sum(over),
    }
    return report


async def truncated(long: bool = False) -> Report:
    """Fault 4: the end of the append-only file is cut off; five times, or fifty, at any byte."""
    report, turns = Report(4), 50 if long else 2
    chance, worst, allowed_most = random.Random(4), 0, 0
    async with staged() as stage:
        for turn in range(turns):
            ledger = Ledger(CAP)
            load = Load(stage, ledger, f"t{turn}-", customers=60)
            work = asyncio.ensure_future(load.run(await stage.dial(4)))
            await until(lambda ledger=ledger: len(ledger.answers) > 250)  # type: ignore[misc]
            load.over = True
            await work
            stage.kill()
            file = _written(stage)
            content = file.read_bytes()
            length = max(content.find(_MULTI), len(content) - chance.randrange(1, _CUT_MOST))
            begin = content.rfind(_MULTI, 0, length)  # of the transaction that is cut into
            allowed = content.count(_XADD, max(begin, 0))
            await _cut(stage, length)
            await stage.settled()
            for what in await stage.check(ledger, lost=allowed):
                report.must(False, f"turn {turn}, {len(content) - length} bytes cut: {what}")
            worst, allowed_most = max(worst, ledger.missing), max(allowed_most, allowed)
    report.figures = {"turns": turns, "records_lost_most": worst, "records_cut_most": allowed_most}
    return report


def _written(stage: Stage) -> Path:
    """The append-only file that the store writes to."""
    return max((stage.valkey.data_dir / "appendonlydir").glob("*.incr.aof"), key=lambda path: path.stat().st_mtime_ns)


async def _cut(stage: Stage, length: int) -> None:
    """Ends the store's file there and starts the store again."""
    await stage.dead()
    with _written(stage).open("r+b") as file:
        file.truncate(length)
    await stage.restart()


async def emptied(long: bool = False) -> Report:
    """Fault 5: FLUSHALL under load, and a store that starts empty. Nothing is sent until somebody acknowledges it."""
    report, turns, closed = Report(5), 10 if long else 1, 0
    async with staged() as stage:
        for turn in range(turns):
            for way in ("flushed", "restarted"):
                ledger, prefix = Ledger(CAP), f"{way}{turn}-"
                load = Load(stage, ledger, prefix, customers=20, retries=1)
                work = asyncio.ensure_future(load.run(await stage.dial(2)))
                await until(lambda ledger=ledger: len(ledger.answers) > 200)  # type: ignore[misc]
                if way == "flushed":
                    await stage.direct.admin.flushall()
                else:
                    stage.kill()
                    await stage.dead()
                    shutil.rmtree(stage.valkey.data_dir / "appendonlydir")
                    await stage.restart()
                empty_at = time.monotonic()
                closed += await _closed(stage, report, f"{way}-new-")
                load.over = True
                await work
                late = [a for began, _, a in load.ended if began > empty_at and a.status == OK and _sends(a.body)]
                report.must(not late, f"{way}: {len(late)} SENDs after the store was empty")
                report.must(not ledger.broken, f"{way}: {ledger.broken[:2]}")
                await stage.direct.acknowledge_generation()
                await stage.settled()
    report.figures = {"turns": 2 * turns, "refused_while_closed": closed}
    return report


async def _closed(stage: Stage, report: Report, prefix: str) -> int:
    """Asks for a hundred customers that nobody knows: none may be sent anything."""
    [line] = await stage.dial(1)
    refused = 0
    for number in range(100):
        answer = await line.call(request(f"{prefix}{number}", "e"), timeout_ms=3000)
        if answer.status == OK:
            report.must(not _sends(answer.body), "a SEND from a store that lost its data")
            refused += 1
    return refused


def _sends(body: bytes) -> bool:
    return pb.DecideResponse.FromString(body).decisions[0].outcome == pb.Decision.SEND
