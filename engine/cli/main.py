"""The command line `tact`: what can be asked, with which options. Each command's work is a module beside this.

Those are imported by the command that needs them: grpc and the kernels take their time to load.
"""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from engine.cli import learnt, readout
from engine.cli.options import DATA, DataDir, Json, StoreUrl

app = typer.Typer(
    name="tact",
    help="Rules for what to say to each customer, and when to say nothing.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit status: 0 well, 1 findings or failures, 2 wrong usage.",
)

Rules = Annotated[Path, typer.Argument(metavar="DIR", exists=True, file_okay=False, help="A rule set's directory.")]
Target = Annotated[str, typer.Option(metavar="HOST:PORT", envvar="TACT_TARGET", help="The server to ask.")]
Expect = Annotated[str, typer.Option(metavar="REVISION", help="Refuse unless this revision is active.")]
Lines = Annotated[Path, typer.Argument(metavar="FILE", dir_okay=False, allow_dash=True, help="`-`: standard input.")]


class Format(str, Enum):  # noqa: UP042
    """How findings are written."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"
    GITHUB = "github"


class Color(str, Enum):  # noqa: UP042
    """When to write colours."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


_TARGET = "127.0.0.1:50051"
_RULES, _EVENTS, _SERVER = "Rule sets", "Events and customers", "A running server"


def _version(wanted: bool) -> None:
    if wanted:
        from engine import __version__

        typer.echo(f"tact {__version__}")
        raise typer.Exit(0)


Version = Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")]


@app.callback()
def options(version: Version = False) -> None:
    """Rules for what to say to each customer, and when to say nothing."""


def _done(status: int) -> None:
    raise typer.Exit(status)


@app.command(rich_help_panel=_RULES)
def check(
    directory: Annotated[
        Path | None, typer.Argument(metavar="DIR", exists=True, file_okay=False, help="A rule set's directory.")
    ] = None,
    json: Json = False,
    format: Annotated[Format, typer.Option(help="sarif and github are for code review.")] = Format.TEXT,
    strict: Annotated[bool, typer.Option("--strict", help="A warning fails, as an error does.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Check again whenever a file changes.")] = False,
    code: Annotated[str, typer.Option("--explain", metavar="CODE", help="Tell what this code means.")] = "",
    color: Annotated[Color, typer.Option(help="auto: in a terminal, unless NO_COLOR is set.")] = Color.AUTO,
) -> None:
    """Tell everything that is wrong with a rule set, or what it holds."""
    if code:
        from engine.cli import codes

        return _done(codes.explain(code, json, color))
    if directory is None:
        raise typer.BadParameter("which directory? A rule set's, or --explain CODE", param_hint="DIR")
    from engine.cli import check as command

    view = command.View(Format.JSON if json else format, color, strict)
    if not watch:
        return _done(command.run(directory, view))
    if view.format is not Format.TEXT:
        raise typer.BadParameter("it writes for people: leave --json and --format out", param_hint="--watch")
    from engine.cli import watch as watching

    return _done(watching.run(directory, view))


@app.command(rich_help_panel=_RULES)
def schema() -> None:
    """Write the JSON Schema of rule files, for editors."""
    from engine.cli.output import print_json
    from engine.compiler.schema import rules_schema

    print_json(rules_schema())


table = typer.Typer(no_args_is_help=True, help="Decision tables in CSV and XLSX.")
app.add_typer(table, name="table", rich_help_panel=_RULES)


@table.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="FROM", exists=True, dir_okay=False, help="A .csv or .xlsx file.")],
    target: Annotated[Path, typer.Argument(metavar="TO", dir_okay=False, help="The other one.")],
    sheet: Annotated[str, typer.Option(metavar="NAME", help="The sheet of the workbook.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Write over TO.")] = False,
    json: Json = False,
) -> None:
    """Turn a table from CSV into a workbook, or back; nothing is lost."""
    from engine.cli import tables as command

    _done(command.convert(source, target, sheet, force, json))


@app.command("test", rich_help_panel=_RULES)
def run_tests(
    directory: Rules,
    filter: Annotated[str, typer.Option(metavar="TEXT", help="Only tests whose name contains this.")] = "",
    json: Json = False,
) -> None:
    """Run the tests that stand beside the rules."""
    from engine.cli import trials as command

    _done(command.run_tests(directory, filter, json))


@app.command("eval", rich_help_panel=_RULES)
def evaluate(
    expression: Annotated[str | None, typer.Argument(metavar="EXPR", help="For example 'features.age >= 18'.")] = None,
    vars: Annotated[
        Path | None, typer.Option(metavar="FILE", exists=True, dir_okay=False, help="JSON or YAML: path -> value.")
    ] = None,
    var: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="One value; a bare name is a feature.")
    ] = None,
    cases: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", exists=True, help="CEL's conformance cases, or their folder.")
    ] = None,
    lifted: Annotated[bool, typer.Option(help="With --cases: put the literals into variables.")] = False,
    json: Json = False,
) -> None:
    """Evaluate one CEL expression on given values, or judge the conformance cases of CEL."""
    from engine.cli import conformance
    from engine.cli import evaluate as command
    from engine.cli.output import USAGE, CommandError

    if (expression is None) == (not cases):
        raise CommandError("tact eval takes an expression, or --cases FILE", USAGE)
    if cases:
        _done(conformance.run(cases, lifted, json))
    elif expression is not None:
        _done(command.run(expression, vars, var or [], json))


@app.command(rich_help_panel=_RULES)
def replay(
    rules: Annotated[Path, typer.Option(metavar="DIR", exists=True, file_okay=False, help="The rule set.")],
    events: Annotated[Path, typer.Option(metavar="FILE", exists=True, dir_okay=False, help="CSV or JSON lines; .gz.")],
    mapping: Annotated[Path, typer.Option(metavar="FILE", exists=True, dir_okay=False, help="Columns to events.")],
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="Only the first N rows.")] = None,
    log: Annotated[
        Path | None, typer.Option(metavar="DIR", file_okay=False, help="Keep the decision log here, as Parquet.")
    ] = None,
    json: Json = False,
) -> None:
    """Put a file of real events through the rules, at full speed and in their own time."""
    from engine.cli import replay as command

    _done(command.run(rules, events, mapping, limit, log, json))


@app.command(rich_help_panel=_EVENTS)
def decide(file: Lines, target: Target = _TARGET, json: Json = False) -> None:
    """Send events (one tact.v1.DecideRequest a line, protobuf JSON) and show the decisions."""
    from engine.cli import decide as command

    _done(command.run(file, target, json))


@app.command(rich_help_panel=_EVENTS)
def load(
    file: Lines,
    target: Target = _TARGET,
    customer: Annotated[str, typer.Option(metavar="COLUMN", help="The column of the customer's id.")] = "",
    mapped: Annotated[
        list[str] | None, typer.Option("--map", metavar="COLUMN=NAME", help="What a column is; COLUMN= leaves it out.")
    ] = None,
    delimiter: Annotated[str, typer.Option(metavar="CHARACTER", help="Between the cells of a CSV file.")] = ",",
    rejects: Annotated[
        Path | None, typer.Option(metavar="FILE", dir_okay=False, help="For all that was wrong, a JSON object a row.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an earlier load of this file ended.")] = False,
    json: Json = False,
) -> None:
    """Store profiles: CSV, JSON lines (rows, or tact.v1.Profile messages), Parquet; .gz of the first two."""
    from engine.cli import load as command

    if len(delimiter) != 1:
        raise typer.BadParameter("expected one character", param_hint="--delimiter")
    options = command.Options(customer, tuple(mapped or ()), delimiter, rejects, resume)
    _done(command.run(file, target, json, options))


@app.command(rich_help_panel=_EVENTS)
def backfill(
    file: Lines,
    since: Annotated[
        str, typer.Option(metavar="TIME", help="The file is whole from here on; absent: from its first event.")
    ] = "",
    until: Annotated[
        str, typer.Option(metavar="TIME", help="The file is whole to here, and ends; absent: at its last event.")
    ] = "",
    mapping: Annotated[
        Path | None, typer.Option(metavar="FILE", exists=True, dir_okay=False, help="For a table: columns to events.")
    ] = None,
    rules: Annotated[
        Path | None, typer.Option(metavar="DIR", exists=True, file_okay=False, help="With --mapping: the rule set.")
    ] = None,
    target: Target = _TARGET,
    json: Json = False,
) -> None:
    """Count past events in the windows (lines as for decide, or a table with --mapping); nothing is decided."""
    from engine.cli import backfill as command

    _done(command.run(file, since, until, mapping, rules, target, json))


@app.command(rich_help_panel=_EVENTS)
def explain(
    decision_id: Annotated[str, typer.Argument(metavar="[DECISION_ID]", help="A decision of the last day.")] = "",
    customer: Annotated[str, typer.Option(metavar="ID", help="What if this customer ..")] = "",
    event: Annotated[str, typer.Option(metavar="TYPE", help=".. caused this event ..")] = "",
    attribute: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help=".. with this in it?")] = None,
    request: Annotated[
        Path | None, typer.Option(metavar="FILE", exists=True, dir_okay=False, help="A DecideRequest, protobuf JSON.")
    ] = None,
    revision: Annotated[str, typer.Option(metavar="REVISION", help="By this rule set instead of the active one.")] = "",
    locale: Annotated[str, typer.Option(metavar="LANGUAGE", help="Language of the reasons.")] = "",
    why: Annotated[
        list[str] | None, typer.Option(metavar="MESSAGE", help="Show what each part of its conditions was; or 'all'.")
    ] = None,
    target: Target = _TARGET,
    json: Json = False,
) -> None:
    """Tell why each message was, or would be, said or not."""
    from engine.cli import explain as command

    subject = command.subject_of(decision_id, customer, event, attribute or [], request, revision, locale)
    _done(command.run(subject, why or [], target, json))


@app.command(rich_help_panel=_SERVER)
def deploy(
    directory: Rules,
    note: Annotated[str, typer.Option(metavar="TEXT", help="Kept with the revision.")] = "",
    stage_only: Annotated[bool, typer.Option("--stage-only", help="Keep it without activating it.")] = False,
    expect: Expect = "",
    target: Target = _TARGET,
    json: Json = False,
) -> None:
    """Check a rule set, send it to the server, and activate it."""
    from engine.cli import revisions as command

    _done(command.deploy(directory, target, note, stage_only, expect, json))


@app.command(rich_help_panel=_SERVER)
def activate(
    revision: Annotated[str, typer.Argument(metavar="REVISION")],
    expect: Expect = "",
    target: Target = _TARGET,
    json: Json = False,
) -> None:
    """Make a revision that the server keeps the active one."""
    from engine.cli import revisions as command

    _done(command.activate(revision, target, expect, json))


@app.command(rich_help_panel=_SERVER)
def rollback(expect: Expect = "", target: Target = _TARGET, json: Json = False) -> None:
    """Go back to the revision that was active before."""
    from engine.cli import revisions as command

    _done(command.rollback(target, expect, json))


@app.command(rich_help_panel=_SERVER)
def revisions(
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="At most so many.")] = 20,
    target: Target = _TARGET,
    json: Json = False,
) -> None:
    """List the revisions that the server keeps, newest activation first."""
    from engine.cli import revisions as command

    _done(command.revisions(target, limit, json))


Message = Annotated[str, typer.Option(metavar="NAME", help="This message.")]
Purpose = Annotated[str, typer.Option(metavar="NAME", help="All messages of this purpose.")]
All = Annotated[bool, typer.Option("--all", help="Everything.")]
Why = Annotated[str, typer.Option(metavar="TEXT", help="Why; kept by the server.")]


@app.command(rich_help_panel=_SERVER)
def pause(
    message: Message = "",
    purpose: Purpose = "",
    everything: All = False,
    reason: Why = "",
    target: Target = _TARGET,
    json: Json = False,
) -> None:
    """Stop a message, a purpose or everything, within a second."""
    from engine.cli import revisions as command

    _done(command.pause(target, message, purpose, everything, reason, False, json))


@app.command(rich_help_panel=_SERVER)
def resume(
    message: Message = "",
    purpose: Purpose = "",
    everything: All = False,
    reason: Why = "",
    target: Target = _TARGET,
    json: Json = False,
) -> None:
    """Let go again what was paused."""
    from engine.cli import revisions as command

    _done(command.pause(target, message, purpose, everything, reason, True, json))


@app.command(rich_help_panel=_SERVER)
def acknowledge(
    redis: StoreUrl = "",
    data: DataDir = DATA,
    force: Annotated[bool, typer.Option("--force", help="Also where the store seems whole.")] = False,
    archive: Annotated[bool, typer.Option("--archive", help="The log's archive is another from now on.")] = False,
    json: Json = False,
) -> None:
    """Go on after the store lost its data, or the log its archive: until then nothing that needs state is sent."""
    from engine.cli import acknowledge as command

    if archive:
        _done(command.acknowledge_archive(redis, data, json))
    _done(command.acknowledge(redis, data, force, json))


@app.command(rich_help_panel=_SERVER)
def backup(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to; it must not exist yet.")],
    redis: StoreUrl = "",
    data: DataDir = DATA,
    json: Json = False,
) -> None:
    """Copy what must be kept of the store, while it is in use."""
    from engine.cli import backup as command

    _done(command.backup(directory, redis, data, json))


@app.command(rich_help_panel=_SERVER)
def restore(
    directory: Annotated[Path, typer.Argument(metavar="DIR", exists=True, file_okay=False, help="A backup.")],
    redis: StoreUrl = "",
    data: DataDir = DATA,
    archive: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The log's archive; else that of the data directory.")
    ] = None,
    no_archive: Annotated[bool, typer.Option("--no-archive", help="Caps forget what was said since.")] = False,
    rules: Annotated[
        Path | None,
        typer.Option(metavar="DIR", exists=True, file_okay=False, help="Rules deployed since the backup."),
    ] = None,
    acknowledge: Annotated[bool, typer.Option("--acknowledge", help="Open the store at once.")] = False,
    json: Json = False,
) -> None:
    """Bring a backup into an empty store, and book what the log's archive has since."""
    from engine.cli import backup as command

    _done(command.restore_backup(directory, redis, data, archive, no_archive, rules, acknowledge, json))


@app.command(rich_help_panel=_SERVER)
def migrate(
    redis: StoreUrl = "",
    data: DataDir = DATA,
    commit: Annotated[bool, typer.Option("--commit", help="Do it; else only what would be done is told.")] = False,
    json: Json = False,
) -> None:
    """Bring what the store holds to the layout of this version."""
    from engine.cli import migrate as command

    _done(command.run(redis, data, commit, json))


@app.command("erase-archive", rich_help_panel=_SERVER)
def erase_archive(data: DataDir = DATA, json: Json = False) -> None:
    """Take what erased customers left out of the log's archive now; the server does so within days."""
    from engine.cli import erase_archive as command

    _done(command.run(data, json))


app.registered_commands += learnt.app.registered_commands + readout.app.registered_commands


def main() -> None:
    """Runs the command line and ends the process with its exit status."""
    try:
        app()
    except Exception as error:
        from engine.cli.output import FAILED, CommandError
        from engine.errors import TactError

        if not isinstance(error, CommandError | TactError | OSError):
            raise
        sys.stderr.write(f"tact: {error}\n")
        sys.exit(error.status if isinstance(error, CommandError) else FAILED)


if __name__ == "__main__":
    main()
