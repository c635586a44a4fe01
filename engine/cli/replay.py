"""`tact replay`: a file of real events through the rules, and what came out."""

from __future__ import annotations

import asyncio
import importlib.util
import tempfile
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table as Grid
from rich.text import Text

from engine.bundle import Bundle, compile_bundle
from engine.cli.check import mention, refuse
from engine.cli.output import FAILED, OK, CommandError, counted, out, print_json, print_table, progress, say
from engine.compiler.ruleset import read_directory
from engine.errors import RulesInvalid
from engine.kernels.warm import warm
from engine.replay.mapping import TableMapping, read_mapping
from engine.replay.rows import Table
from engine.replay.run import replay
from engine.replay.summary import Summary
from engine.state.embedded import EmbeddedStore

_PHASES = {
    "rows": "reading and converting rows",
    "decide": "deciding",
    "learn": "outcomes and learning",
    "log": "keeping the log",
}


def run(rules: Path, events: Path, mapping_file: Path, limit: int | None, log: Path | None, as_json: bool) -> int:
    """Replays; 1 where rules or mapping have findings, every row is bad, or decisions failed."""
    try:
        bundle = compile_bundle(read_directory(rules))
    except RulesInvalid as error:
        refuse(rules, error.findings, as_json)
        return FAILED
    mention(rules, bundle.ruleset.warnings)
    try:
        mapping = read_mapping(mapping_file, bundle.ruleset)
        summary = _replay(bundle, mapping, events, limit, log, as_json)
    except RulesInvalid as error:
        refuse(mapping_file, error.findings, as_json)
        return FAILED
    except OSError as error:
        raise CommandError(f"{error.filename or events} cannot be used: {error.strerror or error}") from None
    if as_json:
        print_json({"revision": bundle.revision, **_json(summary, mapping)})
    else:
        _print(out(), bundle, summary, mapping, events)
    return FAILED if summary.failed or (summary.bad and summary.bad == summary.rows) else OK


def _replay(
    bundle: Bundle, mapping: TableMapping, events: Path, limit: int | None, log: Path | None, quiet: bool
) -> Summary:
    warm()
    factory = None
    if importlib.util.find_spec("uvloop") is not None:
        import uvloop

        factory = uvloop.new_event_loop
    with (
        tempfile.TemporaryDirectory(prefix="tact-replay-") as temporary,
        Table(events, mapping, bundle.ruleset) as table,
        progress(quiet) as bar,
    ):
        task = bar.add_task("replaying", total=limit or None)
        embedded = EmbeddedStore(Path(temporary), persist=False)
        try:
            with asyncio.Runner(loop_factory=factory) as runner:
                return runner.run(
                    replay(
                        bundle,
                        table,
                        embedded.start(),
                        Path(temporary),
                        limit,
                        log,
                        lambda summary: _advance(bar, task, table, summary, limit),
                    )
                )
        finally:
            embedded.stop()


def _advance(bar: Progress, task: TaskID, table: Table, summary: Summary, limit: int | None) -> None:
    """Without a limit the number of rows is guessed from the bytes read."""
    share = table.position / table.size if table.size else 1.0
    total = limit or (round(summary.rows / share) if share else None)
    bar.update(task, completed=summary.rows, total=total)


def _print(console: Console, bundle: Bundle, summary: Summary, mapping: TableMapping, events: Path) -> None:
    head = f"{counted(summary.decided, 'decision')} in {summary.total_s:.1f} s, {summary.per_second:,.0f} a second"
    console.print(Text(f"{head}  (revision {bundle.revision})", "bold"), soft_wrap=True)
    for row in summary.first_bad:
        say(console, Text(f"{events}: row {row.number}: {row.problem}", "red"), hang=4)
    if summary.bad:
        left_out = f"{counted(summary.bad, 'bad row')} of {summary.rows:,} left out"
        console.print(f"{left_out}; the first {len(summary.first_bad)} above", style="red", soft_wrap=True)
    for problem, count in summary.failed.most_common(5):
        say(console, Text(f"{counted(count, 'failure')}: {problem}", "red"), hang=4)
    grid = Grid(box=None, show_header=False, pad_edge=False)
    grid.add_column()
    grid.add_column()
    grid.add_column(justify="right")
    grid.add_column(justify="right")
    for title, counter in _tables(summary).items():
        total = sum(counter.values())
        for place, (name, count) in enumerate(counter.most_common()):
            grid.add_row(Text("" if place else title, "bold"), name, f"{count:,}", f"{count / total:.1%}")
    if grid.row_count:
        print_table(console, grid)
    if mapping.outcome is not None:
        _print_outcome(console, summary, mapping)
    spent = [f"{what} {summary.seconds[phase]:.1f} s" for phase, what in _PHASES.items() if summary.seconds[phase]]
    waited = max(0.0, summary.seconds["decide"] - summary.busy_s)
    spent = [s + f" ({waited:.1f} s of it waiting)" if s.startswith("deciding") else s for s in spent]
    say(console, Text("time: " + ", ".join(spent), "dim"), hang=6)


def _tables(summary: Summary) -> dict[str, Counter[str]]:
    return {
        "outcomes": summary.outcomes,
        "reasons": summary.reasons,
        "messages": summary.messages,
        "variants": summary.variants,
        "channels": summary.channels,
        "caps reached": summary.caps,
        "gaps": summary.gaps,
    }


def _print_outcome(console: Console, summary: Summary, mapping: TableMapping) -> None:
    rule = mapping.outcome
    assert rule is not None
    console.print(Text(f"where {rule.column} = {rule.equals}", "bold"))
    for what, (rows, positive) in (("a message", summary.contacted), ("no message", summary.left)):
        share = f"{positive / rows:.1%}" if rows else "-"
        say(console, f"{what:<10}  {positive:,} of {rows:,} rows, {share}", 2)
    note = "This describes whom the rules would have contacted; it is no effect of the rules. Only a trial tells that."
    say(console, Text(note, "italic"), 2)
    say(console, f"policies learnt from {counted(summary.learnt, 'closed trial')}", 2)


def _json(summary: Summary, mapping: TableMapping) -> dict[str, object]:
    shown: dict[str, object] = {
        "rows": summary.rows,
        "bad_rows": summary.bad,
        "first_bad_rows": [{"row": row.number, "problem": row.problem} for row in summary.first_bad],
        "decisions": summary.decided,
        "failures": dict(summary.failed),
        "decisions_per_second": round(summary.per_second, 1),
        "seconds": {"total": round(summary.total_s, 3), **{k: round(v, 3) for k, v in summary.seconds.items()}},
        "decide_waiting_seconds": round(max(0.0, summary.seconds["decide"] - summary.busy_s), 3),
    }
    shown |= {title.replace(" ", "_"): dict(counter.most_common()) for title, counter in _tables(summary).items()}
    if mapping.outcome is not None:
        contacted, left = summary.contacted, summary.left
        shown["outcome"] = {
            "kind": mapping.outcome.kind.name,
            "message": {"rows": contacted[0], "positive": contacted[1]},
            "no_message": {"rows": left[0], "positive": left[1]},
            "note": "descriptive, not causal",
            "trials_learnt": summary.learnt,
        }
    return shown
