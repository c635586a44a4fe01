"""`tact acknowledge`: the store lost its data, somebody looked, and says go on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson

from engine.cli.output import OK, USAGE, CommandError, out, print_json
from engine.state.redis import RedisStore


def acknowledge(redis: str, data: Path, force: bool, as_json: bool) -> int:
    """Begins a new generation on a store that lost its own; every engine on it takes that over with its next commit.

    `force`: also where the store has one, as after it was replaced by another.

    Raises CommandError where there is no store to be found, StoreUnavailable where it does not answer.
    """
    url = redis or _embedded(data)

    async def begin() -> tuple[bool, str]:
        store = RedisStore(url)
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


def _embedded(data: Path) -> str:
    described = data / "server.json"
    try:
        return str(orjson.loads(described.read_bytes())["url"])
    except (OSError, ValueError, KeyError, TypeError):
        raise CommandError(
            f"no embedded store has run in {data} ({described} cannot be read); "
            "say where the store is with --redis URL or --data DIR",
            USAGE,
        ) from None
