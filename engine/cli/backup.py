"""`tact backup` and `tact restore`: a copy of what must be kept, and the way back with everything booked since."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from engine.cli.output import OK, USAGE, CommandError, counted, out, print_json
from engine.cli.stores import running_store
from engine.compiler.ruleset import read_directory
from engine.recovery.backup import back_up
from engine.recovery.restore import RestoreReport, last_served, restore
from engine.state.redis import RedisStore


def backup(directory: Path, redis: str, data: Path, as_json: bool) -> int:
    """Copies the store, which may be in use. Raises what `back_up` raises, CommandError where there is no store."""
    with running_store(redis, data) as url:
        report = asyncio.run(back_up(url, directory))
    if as_json:
        print_json(asdict(report))
        return OK
    console = out()
    console.print(f"{directory}: {report.bytes / 1e6:,.1f} MB, as of {_at(report.made_ms)}", style="green")
    console.print(
        f"  {counted(report.profiles, 'profile')}, {counted(report.records, 'record')}, "
        f"{counted(report.answers, 'answer')} of their own, {report.other:,} of rules and learning, "
        f"{report.log_entries:,} of the log"
    )
    console.print("  it holds personal data: keep it as you keep the store; the archive is not in it")
    return OK


def restore_backup(
    directory: Path, redis: str, data: Path, archive: Path | None, without: bool, rules: Path | None,
    acknowledge: bool, as_json: bool,
) -> int:  # fmt: skip
    """Restores into an empty store and books what the archive has since.

    Raises what `restore` raises, CommandError where there is no archive or no store.
    """
    if without and archive is not None:
        raise CommandError("--archive DIR or --no-archive, not both", USAGE)
    where = None if without else archive or data / "archive"
    if where is not None and not where.is_dir():
        raise CommandError(
            f"there is no archive in {where}: say where it is with --archive DIR, or --no-archive to do without, "
            "and caps will not count what was said since the backup",
            USAGE,
        )
    given: list[Mapping[str, bytes]] = [read_directory(rules)] if rules is not None else []
    given += last_served(data)

    async def work(url: str) -> RestoreReport:
        report = await restore(url, directory, where, given)
        if acknowledge:
            store = RedisStore(url)
            try:
                await store.acknowledge_generation()
            finally:
                await store.close()
        return report

    with running_store(redis, data, fresh=True) as url:
        report = asyncio.run(work(url))
    _tell(report, where, acknowledge, as_json)
    return OK


def _tell(report: RestoreReport, archive: Path | None, acknowledged: bool, as_json: bool) -> None:
    booked = report.rebooked
    if as_json:
        shown = asdict(report)
        shown["rebooked"]["to_load"] = sorted(customer.hex() for customer in booked.to_load)
        print_json(shown | {"acknowledged": acknowledged})
        return
    console = out()
    console.print(f"restored {counted(report.keys, 'key')} of the backup of {_at(report.made_ms)}", style="green")
    if archive is None:
        console.print("  without the archive: nothing said since then counts against caps", style="yellow")
    elif not report.until_ms:
        console.print("  the archive has nothing newer", style="yellow")
    else:
        touches = f"{booked.touches:,} {'touch' if booked.touches == 1 else 'touches'}"
        console.print(
            f"  booked again from the archive, up to {_at(report.until_ms)}: {touches}, "
            f"{counted(booked.outcomes, 'outcome')}, {counted(booked.stops, 'stop')}, "
            f"{counted(booked.consents, 'consent')}, {counted(booked.erased, 'erasure')}, "
            f"{counted(booked.answers, 'answer')}"
        )
    if booked.without_rules:
        text = f"  {counted(booked.without_rules, 'message')} of no rule set at hand: caps by purpose or topic miss it"
        console.print(text + " (--rules DIR)", style="yellow")
    if booked.unreadable:
        text = f"  {booked.unreadable:,} log entries of a later version were passed over: restore with that one"
        console.print(text, style="yellow")
    if booked.to_load:
        text = f"  {counted(len(booked.to_load), 'customer')} had features written since: load these profiles again"
        console.print(text, style="yellow")
    if acknowledged:
        console.print("acknowledged: decisions go on; what came after the archive's end is lost")
    else:
        console.print("closed until you run `tact acknowledge`: what came after the archive's end is lost")


def _at(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
