"""`tact acknowledge`: the store lost its data, or its log's archive is gone; somebody looked, and says go on."""

from __future__ import annotations

import asyncio
from pathlib import Path

from engine.cli.output import OK, out, print_json
from engine.cli.stores import checked, embedded_url
from engine.state.cluster_store import kind_of_store
from engine.state.generation import EMPTY
from engine.state.tenure import Belonging, belonging, forget


def acknowledge(redis: str, data: Path, force: bool, as_json: bool) -> int:
    """Begins a new generation on a store that lost its own; every engine on it takes that over with its next commit.

    `force`: also where the store has one, as after it was replaced by another.

    Raises CommandError where there is no store to be found, StoreUnavailable where it does not answer.
    """
    url = checked(redis) if redis else embedded_url(data)

    async def begin() -> tuple[bool, str]:
        store = kind_of_store(url)(url)
        try:
            lacks = await store.lacks()
            if not force and not lacks:
                return False, ""
            await store.acknowledge_generation()
            return True, lacks
        finally:
            await store.close()

    done, lacks = asyncio.run(begin())
    if not done:
        if as_json:
            print_json({"acknowledged": False, "lost": ""})
        else:
            out().print("nothing to acknowledge: this store has not lost its data (--force begins anew all the same)")
        return OK
    if as_json:
        print_json({"acknowledged": True, "lost": lacks})
    else:
        if lacks:
            out().print(lacks)
        counted = "from now" if lacks == EMPTY else "what it holds"
        out().print(f"acknowledged: decisions go on with the store as it is; caps count {counted}", style="green")
    return OK


def acknowledge_archive(redis: str, data: Path, as_json: bool) -> int:
    """The store forgets its log's archive: that of the next keeper is the store's, and begins with what the log holds.

    Raises CommandError where there is no store to be found, StoreUnavailable where it does not answer.
    """
    url = checked(redis) if redis else embedded_url(data)

    async def give_up() -> Belonging:
        store = kind_of_store(url)(url)
        try:
            found = await belonging(store)
            if found.archive.id and not found.keeper:
                await forget(store)
            return found
        finally:
            await store.close()

    found = asyncio.run(give_up())
    done = bool(found.archive.id and not found.keeper)
    if as_json:
        print_json({"acknowledged": done, "archive": found.archive.id, "run": found.archive.run, "where": found.where})
    elif done:
        out().print(f"the log went to {found.archive}, last at {found.where}: what was archived is there alone")
        out().print("acknowledged: the archive of the keeper that looks next goes on from here", style="green")
    elif found.keeper:
        out().print(f"nothing to acknowledge: the log is archived at {found.keeper}; stop that server first")
    else:
        out().print("nothing to acknowledge: the store knows of no archive yet")
    return OK
