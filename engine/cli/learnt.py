"""The commands over what a store has learnt: `rebuild`, `learn`. Their options; the work is beside this."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.cli.options import DATA, DataDir, Json, StoreUrl

app = typer.Typer()
_PANEL = "A running server"


@app.command(rich_help_panel=_PANEL)
def rebuild(
    redis: StoreUrl = "",
    data: DataDir = DATA,
    archive: Annotated[
        Path | None,
        typer.Option(metavar="DIR", exists=True, help="The log's archive; else that of the data directory."),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Only tell what differs; this is the default.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Put right what differs.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also where the log does not say everything.")] = False,
    json: Json = False,
) -> None:
    """Compare what was learnt with the log that it was learnt from, or build it again."""
    from engine.cli import rebuild as command
    from engine.cli.output import USAGE, CommandError

    if check and write:
        raise CommandError("--check or --write, not both", USAGE)
    raise typer.Exit(command.run(redis, data, archive, write, force, json))


@app.command(rich_help_panel=_PANEL)
def learn(
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="[SOURCE]", exists=True, help="An archive of a decision log, or a CSV or Parquet table."
        ),
    ] = None,
    policy: Annotated[str, typer.Option(metavar="NAME", help="The policy of the rule set in use that learns it.")] = "",
    of: Annotated[str, typer.Option(metavar="NAME", help="The policy in the log, where it has another name.")] = "",
    name: Annotated[str, typer.Option(metavar="TEXT", help="What it is known by; given again, it is replaced.")] = "",
    worth: Annotated[int, typer.Option(metavar="N", min=0, help="Trials that each arm counts at most; 0: all.")] = 0,
    remove: Annotated[str, typer.Option(metavar="TEXT", help="Take back what was given under this name.")] = "",
    action: Annotated[str, typer.Option(metavar="COLUMN", help="Of a table: the variant.")] = "action",
    reward: Annotated[str, typer.Option(metavar="COLUMN", help="Of a table: what it earned.")] = "reward",
    best: Annotated[float, typer.Option(metavar="X", min=1e-9, help="Of a table: what the best trial earns.")] = 1.0,
    message: Annotated[str, typer.Option(metavar="NAME", help="Of a table: the message that it is of.")] = "",
    segment: Annotated[str, typer.Option(metavar="COLUMN", help="Of a table: the policy's segment.")] = "",
    context: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Of a table: what a linear policy looks at, in its order; again for more."),
    ] = None,
    separator: Annotated[str, typer.Option(metavar="C", help="Of a CSV table; `tab` is a tab.")] = ",",
    redis: StoreUrl = "",
    data: DataDir = DATA,
    json: Json = False,
) -> None:
    """Give a policy what was learnt elsewhere: it begins as if it had seen that."""
    from engine.cli import learn as command
    from engine.recovery.elsewhere import Table

    table = Table(action, reward, tuple(context or ()), segment, message, best, separator)
    asked = command.Asked(source, policy, of, name, worth, remove)
    raise typer.Exit(command.run(asked, table, redis, data, json))
