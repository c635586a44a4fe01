"""`tact learn`: a policy begins with what was learnt elsewhere."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from engine.cli.offpolicy import is_table
from engine.cli.output import OK, USAGE, CommandError, counted, out, print_json
from engine.cli.stores import running_store
from engine.recovery.elsewhere import Table, give, take_back


class Asked(NamedTuple):
    """What is to be learnt, by whom, and what it is called; or what is to be taken back."""

    source: Path | None
    policy: str
    of: str
    name: str
    worth: int
    remove: str


def run(asked: Asked, table: Table, redis: str, data: Path, as_json: bool) -> int:
    """Raises what `give` and `take_back` raise, CommandError where it is not clear what is asked, or no store is."""
    if (asked.source is None) != bool(asked.remove) or (asked.source is not None and not asked.policy):
        raise CommandError("tact learn takes SOURCE and --policy NAME, or --remove TEXT alone", USAGE)
    source = asked.source
    with running_store(redis, data) as url:
        if source is None:
            given = asyncio.run(take_back(url, asked.remove))
        else:
            columns = table if is_table(source) else None
            given = asyncio.run(give(url, source, asked.policy, asked.of, columns, asked.worth, asked.name))
    if as_json:
        print_json(asdict(given))
        return OK
    console = out()
    what = f"'{given.name}': {counted(given.trials, 'trial')} of {counted(given.arms, 'arm')}"
    if source is None:
        console.print(f"{what} taken back from the policy '{given.policy}'")
    elif given.known:
        console.print(f"{what}: the policy '{given.policy}' had them already, nothing was changed")
    else:
        told = ", in place of what had this name" if given.replaced else ""
        console.print(f"{what}: the policy '{given.policy}' learnt them{told}", style="green")
    if given.left_out:
        text = f"  left out: {counted(given.left_out, 'trial')} of messages or variants that the policy does not have"
        console.print(text, style="yellow")
    return OK
