"""The command line `tact`: what can be asked, with which options. Each command's work is a module beside this.

Those are imported by the command that needs them: grpc and the kernels take their time to load.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

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
Json = Annotated[bool, typer.Option("--json", help="Write JSON for programs instead of text for people.")]
Target = Annotated[str, typer.Option(metavar="HOST:PORT", envvar="TACT_TARGET", help="The server to ask.")]
Expect = Annotated[str, typer.Option(metavar="REVISION", help="Refuse unless this revision is active.")]
Lines = Annotated[Path, typer.Argument(metavar="FILE", dir_okay=False, allow_dash=True, help="`-`: standard input.")]
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
def check(directory: Rules, json: Json = False) -> None:
    """Tell everything that is wrong with a rule set, or what it holds."""
    from engine.cli import check as command

    _done(command.run(directory, json))


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
    expression: Annotated[str, typer.Argument(metavar="EXPR", help="For example 'features.age >= 18'.")],
    vars: Annotated[
        Path | None, typer.Option(metavar="FILE", exists=True, dir_okay=False, help="JSON or YAML: path -> value.")
    ] = None,
    var: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="One value; a bare name is a feature.")
    ] = None,
    json: Json = False,
) -> None:
    """Evaluate one CEL expression on given values."""
    from engine.cli import evaluate as command

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
def load(file: Lines, target: Target = _TARGET, json: Json = False) -> None:
    """Store profiles (one tact.v1.Profile a line, protobuf JSON)."""
    from engine.cli import load as command

    _done(command.run(file, target, json))


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
    target: Target = _TARGET,
    json: Json = False,
) -> None:
    """Tell why each message was, or would be, said or not."""
    from engine.cli import explain as command

    subject = command.subject_of(decision_id, customer, event, attribute or [], request, revision, locale)
    _done(command.run(subject, target, json))


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


StoreUrl = Annotated[
    str, typer.Option(metavar="URL", envvar="TACT_REDIS", help="The store; without it the embedded one.")
]
DataDir = Annotated[Path, typer.Option(metavar="DIR", envvar="TACT_DATA", help="The server's data directory.")]
_DATA = Path(".tact")


@app.command(rich_help_panel=_SERVER)
def acknowledge(
    redis: StoreUrl = "",
    data: DataDir = _DATA,
    force: Annotated[bool, typer.Option("--force", help="Also where the store seems whole.")] = False,
    json: Json = False,
) -> None:
    """Go on after the store lost its data: until then nothing that needs state is sent."""
    from engine.cli import acknowledge as command

    _done(command.acknowledge(redis, data, force, json))


def main() -> None:
    """Runs the command line and ends the process with its exit status."""
    try:
        app()
    except Exception as error:
        from engine.cli.output import FAILED, CommandError
        from engine.errors import TactError

        if not isinstance(error, CommandError | TactError):
            raise
        sys.stderr.write(f"tact: {error}\n")
        sys.exit(error.status if isinstance(error, CommandError) else FAILED)


if __name__ == "__main__":
    main()
