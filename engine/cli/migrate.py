"""`tact migrate`: brings what a store holds to the layout of this version."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path

from engine.cli.output import FAILED, OK, complain, counted, out, print_json
from engine.cli.stores import running_store
from engine.state.migrate import MigrationReport, migrate
from engine.state.redis import RedisStore


def run(redis: str, data: Path, commit: bool, as_json: bool) -> int:
    """Shows what is to be done, or does it; 1 where something could not be read.

    Raises CommandError where there is no store, Conflict where it is of a newer format, StoreUnavailable.
    """

    async def work(url: str) -> MigrationReport:
        store = RedisStore(url)
        try:
            return await migrate(store, commit)
        finally:
            await store.close()

    with running_store(redis, data) as url:
        report = asyncio.run(work(url))
    unreadable = [customer for step in report.steps for customer in step.unreadable]
    if as_json:
        print_json(asdict(report) | {"committed": commit})
        return FAILED if unreadable else OK
    console = out()
    console.print(f"the store is of layout {report.layout}, this version writes {report.target}")
    if not report.steps:
        console.print("nothing to do", style="green")
        return OK
    for step in report.steps:
        what = f"{step.rewritten:,} written again" if commit else f"{step.older:,} to be written again"
        console.print(f"  {step.layout}: {step.about}: {counted(step.looked_at, 'profile')}, {what}")
    for customer in unreadable:
        complain(customer, "the profile cannot be read; it stays as it is")
    if report.done:
        console.print(f"the store is of layout {report.target} now", style="green")
    elif commit:
        console.print("the layout stays as it was: load or erase what cannot be read, then run it again", style="red")
    else:
        console.print("nothing was changed: --commit does it")
    return FAILED if unreadable else OK
