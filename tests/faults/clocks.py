"""Fault 17: clocks that are off, that jump, that change twice a year, and leap days.

The server's wall clock is set wrong while it runs: a module that its interpreter loads first adds what a file says.
"""

from __future__ import annotations

import asyncio
import struct
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from engine.pb.tact.v1 import decision_pb2 as pb
from engine.replay.manual_store import ManualStore
from tests.cases.runner import Runner, bundle_of, load, ms, play_all, written
from tests.contact.naive import Naive, Person, Sent
from tests.faults.ledger import Ledger
from tests.faults.line import DEADLINE_EXCEEDED, OK
from tests.faults.report import Report
from tests.faults.stage import CAP, MARGIN_S, Stage, request, staged

_SITE = """\
import mmap, os, struct, time
_file = open(os.environ["FAULT_CLOCK"], "rb")
_off = mmap.mmap(_file.fileno(), 8, access=mmap.ACCESS_READ)
_time, _time_ns = time.time, time.time_ns
time.time = lambda: _time() + struct.unpack_from("<d", _off)[0]
time.time_ns = lambda: _time_ns() + int(struct.unpack_from("<d", _off)[0] * 1e9)
"""
_HOUR_S, _BEARABLE_S = 3600.0, 240.0  # five minutes apart are borne
_FILES = ("calendar_caps", "daylight_saving", "quiet_hours", "zones")
_NIGHT = {
    "purposes": {"marketing": {"consent": "not_required", "quiet_hours": "night"}},
    "quiet_hours": {"night": {"from": "22:00", "to": "02:30", "zone": "customer", "then": "defer"}},
    "messages": {"offer": {"purpose": "marketing"}},
}
_CHANGES = {  # hours in UTC around which clocks change, and a leap day
    "Europe/Madrid": ["2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z", "2028-02-29T00:00:00Z"],
    "America/New_York": ["2026-03-08T07:00:00Z", "2026-11-01T06:00:00Z"],
    "Australia/Lord_Howe": ["2026-04-04T15:00:00Z", "2026-10-03T15:30:00Z"],
    "America/Havana": ["2026-03-08T05:00:00Z", "2026-11-01T05:00:00Z"],
}


async def run(long: bool = False) -> Report:
    """Around three nights or, where it is long, around nine, every ninety seconds of five hours."""
    report = Report(17)
    with tempfile.TemporaryDirectory(prefix="tact-clock-") as name:
        directory = Path(name)
        (directory / "sitecustomize.py").write_text(_SITE)
        clock = directory / "off"
        clock.write_bytes(struct.pack("<d", 0.0))
        environment = {"PYTHONPATH": name, "FAULT_CLOCK": str(clock)}
        async with staged(environment=environment) as stage:
            await _wrong(report, stage, clock)
            await _jumps(report, stage, clock)
            if long:  # the suite has them anyway
                failed, _, _ = await play_all(
                    [case for case in load() if case.file in _FILES],
                    lambda which: ManualStore(stage.valkey.url, f"cases-{which}:", commit_budget_ms=60_000),
                )
                report.must(failed == [], f"cases: {failed[:3]}")
            report.figures["moments"] = await _nights(report, stage, long)
    return report


def _set(clock: Path, off_s: float) -> None:
    with clock.open("r+b") as file:
        file.write(struct.pack("<d", off_s))


async def _wrong(report: Report, stage: Stage, clock: Path) -> None:
    """Windows are the store's time; a clock that is too far off closes what needs state."""
    ledger = Ledger(CAP)
    [line] = await stage.dial(1)
    for number, off_s in enumerate((0.0, _BEARABLE_S, -_BEARABLE_S, _HOUR_S, -_HOUR_S, 0.0)):
        _set(clock, off_s)
        before = (await stage.direct.read([])).now_ms
        for turn in range(3):
            customer, event = f"clock{turn}", f"{number}"
            answer = await line.call(request(customer, event), timeout_ms=5000)
            settled = ledger.take(customer, event, answer)
            after = (await stage.direct.read([])).now_ms
            if abs(off_s) < _HOUR_S:
                report.must(settled, f"{off_s:+.0f} s: not decided, status {answer.status}")
                decision = pb.DecideResponse.FromString(answer.body).decisions[0]
                at_ms = decision.send_after.ToMilliseconds()
                if decision.outcome == pb.Decision.SEND:
                    report.must(before <= at_ms <= after, f"{off_s:+.0f} s: sent at {at_ms - before:+d} ms")
            else:
                report.must(answer.status == OK and not settled, f"{off_s:+.0f} s: decided, status {answer.status}")
    report.must("s off this engine's" in stage.server.said(), "the server does not say that clocks differ")
    for what in await stage.check(ledger):
        report.must(False, what)
    report.figures["clocks"] = dict(ledger.reasons)


async def _jumps(report: Report, stage: Stage, clock: Path) -> None:
    """Deadlines are by a clock that does not jump."""
    latest_s = 0.0
    for off_s in (_HOUR_S, -_HOUR_S):
        [line] = await stage.dial(1)
        stage.proxy.hole = True
        began = time.monotonic()
        calls = [line.call(request(f"jump{k}", f"{off_s}"), timeout_ms=600) for k in range(10)]
        await asyncio.sleep(0.2)
        _set(clock, off_s)
        answers = await asyncio.gather(*calls)
        took_s = time.monotonic() - began
        stage.proxy.hole = False
        _set(clock, 0.0)
        report.must({a.status for a in answers} == {DEADLINE_EXCEEDED}, f"statuses {[a.status for a in answers]}")
        report.must(0.55 < took_s < 3, f"{off_s:+.0f} s: calls of 0.6 s took {took_s:.2f} s")
        latest_s = max(latest_s, took_s - 0.6)
        await stage.settled()
    report.in_time(latest_s <= MARGIN_S, f"a call ended {latest_s:.3f} s late")
    report.figures["latest_after_deadline_ms"] = round(1000 * latest_s, 1)


async def _nights(report: Report, stage: Stage, long: bool) -> int:
    """Seconds around what happens in nights in which clocks change, by the engine and by the model."""
    moments = 0
    for zone, changes in list(_CHANGES.items())[: None if long else 1]:
        for fast in (False, True):
            store = ManualStore(stage.valkey.url, f"night-{zone}-{fast}:", commit_budget_ms=60_000)
            runner, model = Runner(store, bundle_of(_NIGHT), fast), Naive(_NIGHT)
            store.at_ms = ms("2026-01-01T00:00:00Z")
            await runner._profile({"profile": {"timezone": zone}})
            for at in _around(zone, changes, every_s=90 if long else 3600):
                store.at_ms = at
                step = {"event": f"e{moments}", "type": "offer", "customer": f"c{at}"}
                await runner._profile({"customer": f"c{at}", "profile": {"timezone": zone}})
                found = await runner._event(step)
                wanted = model.decide(Person(zone), "e", "offer", at)
                moments += 1
                if not isinstance(wanted, Sent) or (found["at"], found["until"]) != (
                    written(wanted.at_ms),
                    written(wanted.until_ms),
                ):
                    report.must(False, f"{zone} {written(at)}, lane {fast}: {found}, expected {wanted}")
            await store.close()
    return moments


def _around(zone: str, changes: list[str], every_s: int) -> list[int]:
    """Moments of the hours around each change: so far apart, and to the millisecond where hours begin and end."""
    found: set[int] = set()
    for change in changes:
        middle = datetime.fromisoformat(change)
        found |= {ms((middle + timedelta(seconds=s)).isoformat()) for s in range(-9000, 9001, every_s)}
        for day in range(-1, 2):
            for hour, minute in ((22, 0), (2, 30), (2, 0), (3, 0)):
                for fold in (0, 1):
                    wall = (middle.astimezone(ZoneInfo(zone)) + timedelta(days=day)).replace(
                        hour=hour, minute=minute, second=0, fold=fold
                    )
                    exact = ms(wall.astimezone(UTC).isoformat())
                    found |= {exact - 1000, exact - 1, exact, exact + 1}
    return sorted(found)
