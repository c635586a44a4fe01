"""`tact acknowledge`: the store lost its data, somebody looked, and says go on."""

from __future__ import annotations

import asyncio
from pathlib import Path

from engine.cli.output import OK, out, print_json
from engine.cli.stores import checked, embedded_url
from engine.state.cluster_store import kind_of_store


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
        out().print("acknowledged: decisions go on with the store as it is; caps count from now", style="green")
    return OK
