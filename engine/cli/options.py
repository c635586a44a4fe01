"""Options that many commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Write JSON for programs instead of text for people.")]
StoreUrl = Annotated[
    str, typer.Option(metavar="URL", envvar="TACT_REDIS", help="The store; without it the embedded one.")
]
DataDir = Annotated[Path, typer.Option(metavar="DIR", envvar="TACT_DATA", help="The server's data directory.")]
DATA = Path(".tact")
