"""The commands over what a store has learnt: `rebuild`, `learn`. Their options; the work is beside this."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()
_PANEL = "A running server"
Json = Annotated[bool, typer.Option("--json", help="Write JSON for programs instead of text for people.")]
StoreUrl = Annotated[
    str, typer.Option(metavar="URL", envvar="TACT_REDIS", help="The store; without it the embedded one.")
]
DataDir = Annotated[Path, typer.Option(metavar="DIR", envvar="TACT_DATA", help="The server's data directory.")]
_DATA = Path(".tact")


@app.command(rich_help_panel=_PANEL)
def rebuild(
    redis: StoreUrl = "",
    data: DataDir = _DATA,
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
