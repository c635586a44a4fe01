"""`tact erase-archive`: takes what erased customers left out of the log's archive, now."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from engine.cli.output import OK, USAGE, CommandError, counted, out, print_json
from engine.state.erasure import pending, rewrite


def run(data: Path, as_json: bool) -> int:
    """Writes the files again that hold entries of customers erased since the last time.

    Raises CommandError where there is no archive, Conflict where it is being done, ArchiveError where counts differ.
    """
    directory = data / "archive"
    if not directory.is_dir():
        raise CommandError(
            f"there is no archive in {directory}; say where the server's data are with --data DIR", USAGE
        )
    waiting = pending(directory).customers
    report = rewrite(directory)
    if as_json:
        print_json(asdict(report))
    elif not waiting:
        out().print("nothing to do: nobody was erased since the last time")
    else:
        told = f"{report.removed:,} log {'entry' if report.removed == 1 else 'entries'}"
        files = counted(report.files, "file")
        out().print(f"{counted(waiting, 'customer')} erased: {told} taken out of {files}, counts agree", style="green")
    return OK
