"""`tact rebuild`: the sums of learning against the log."""

from __future__ import annotations

import asyncio
from pathlib import Path

from rich.table import Table

from engine.cli.output import FAILED, OK, counted, out, print_json, print_table, say
from engine.cli.stores import running_store
from engine.learning.linear import REWARD_UNIT
from engine.learning.posteriors import ArmState
from engine.recovery.rebuild import Differs, RebuildReport, rebuild

_SHOWN = 20


def run(redis: str, data: Path, archive: Path | None, write: bool, force: bool, as_json: bool) -> int:
    """1 where something differs and stays so. Raises what `rebuild` raises, CommandError where there is no store."""
    with running_store(redis, data) as url:
        report = asyncio.run(rebuild(url, archive or data / "archive", write, force))
    if as_json:
        print_json(_json(report))
    else:
        _tell(report)
    return OK if report.same or report.written else FAILED


def _tell(report: RebuildReport) -> None:
    console = out()
    given = f", {report.elsewhere} learnt elsewhere" if report.elsewhere else ""
    of = f"{counted(report.arms, 'arm')}, {counted(report.trials, 'trial')} of the log{given}"
    if report.same:
        say(console, f"what was learnt is what the log says: {of}")
    elif report.written:
        say(console, f"built again from the log: {of}; {counted(len(report.differs), 'arm')} differed")
    else:
        say(console, f"not what the log says: {counted(len(report.differs), 'arm')}, of {report.arms:,}")
    if report.passed_over:
        trials = counted(report.passed_over, "trial")
        text = "were added" if report.written else "no learner will see"
        say(console, f"{trials} in the archive alone, which {text}")
    if report.differs:
        _grid(report.differs)
    for one in report.unknown:
        console.print(f"not known: {one}", style="yellow")
    if not report.same and not report.written:
        say(console, "--write puts it right")


def _grid(differs: list[Differs]) -> None:
    grid = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("policy", "message", "segment", "variant"):
        grid.add_column(name, no_wrap=True)
    for name in ("trials", "rewards", "by the log", "rewards"):
        grid.add_column(name, justify="right", no_wrap=True)
    for arm, found, right in differs[:_SHOWN]:
        grid.add_row(arm.policy, arm.message, arm.segment, arm.variant, *_words(found), *_words(right))
    print_table(out(), grid)
    if len(differs) > _SHOWN:
        say(out(), f".. and {len(differs) - _SHOWN:,} more (--json)")


def _words(state: ArmState | None) -> tuple[str, str]:
    return (f"{state.trials:,}", f"{state.reward / REWARD_UNIT:,.4f}") if state is not None else ("none", "")


def _json(report: RebuildReport) -> dict[str, object]:
    def sums(state: ArmState | None) -> dict[str, object] | None:
        if state is None:
            return None
        moments = {f"{key:x}": list(row) for key, row in state.moments.items()}
        return {"trials": state.trials, "reward": state.reward, "squares": state.squares, "moments": moments}

    return {
        "trials": report.trials,
        "arms": report.arms,
        "elsewhere": report.elsewhere,
        "differs": [
            {**arm._asdict(), "found": sums(found), "log": sums(right)} for arm, found, right in report.differs
        ],
        "passed_over": report.passed_over,
        "unknown": report.unknown,
        "written": report.written,
    }
