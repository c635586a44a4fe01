"""The store that a command works on: where it is, and an embedded one started for the command where none runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson

from engine.cli.output import USAGE, CommandError
from engine.errors import Conflict
from engine.state.address import Address
from engine.state.embedded import EmbeddedStore


def embedded_url(data: Path) -> str:
    """The address of the embedded store that last ran in a data directory. Raises CommandError."""
    described = data / "server.json"
    try:
        return str(orjson.loads(described.read_bytes())["url"])
    except (OSError, ValueError, KeyError, TypeError):
        raise CommandError(
            f"no embedded store has run in {data} ({described} cannot be read); "
            "say where the store is with --redis URL or --data DIR",
            USAGE,
        ) from None


def checked(redis: str) -> str:
    """The address as it is. Raises CommandError where it is none."""
    try:
        Address.parse(redis)
    except ValueError as error:
        raise CommandError(f"--redis: {error}", USAGE) from None
    return redis


@contextmanager
def running_store(redis: str, data: Path, fresh: bool = False) -> Iterator[str]:
    """The store's address. An embedded one that no server owns is started, and ended afterwards.

    `fresh`: also where there is none yet. Raises CommandError, StoreUnavailable.
    """
    if redis:
        if Address.parse(checked(redis)).kind != "node":
            raise CommandError("--redis: this works on one node, so its address begins with redis:// or unix://", USAGE)
        yield redis
        return
    if not fresh:
        embedded_url(data)
    store = EmbeddedStore(data)
    try:
        url = store.start()
    except Conflict:  # a server's: it is there for as long as that is
        yield embedded_url(data)
        return
    try:
        yield url
    finally:
        store.stop()
