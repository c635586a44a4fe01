"""Who archives a store's log: one keeper at a time, and only into the archive that belongs to the store.

    <prefix>{0}archiver    the lease, "<keeper> <where>"; a keeper renews it with each run, and before it trims
    <prefix>{0}archive     hash: id and last run of the archive that the log was trimmed for, where it was, and when

Whoever trims takes away what others have not read. So a second keeper stands by, and one whose archive is another, or
an older copy, does not go on where the first one ended: its archive would have a hole there. See lua/tenure.lua.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from engine.errors import StoreUnavailable
from engine.state.link import reply_of
from engine.state.redis import RedisStore

log = logging.getLogger(__name__)

LEASE_MS = 20_000  # two runs
_TRUSTED_S = 5.0  # so long an answer is good for: a quarter of the lease
_NAMES = ("archiver", "archive")
_SCRIPT = resources.files("engine.state").joinpath("lua/tenure.lua").read_text()
_END = "if string.sub(redis.call('GET', KEYS[1]) or '', 1, #ARGV[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"


class Standing(NamedTuple):
    """An archive: its id, "" where it has none yet, and its last run."""

    id: str = ""
    run: int = 0

    def __str__(self) -> str:
        if not self.run and not self.id:
            return "no archive"
        return f"the archive {self.id} (run {self.run})" if self.id else f"an archive of no store (run {self.run})"


class Tenure:
    """One keeper's claim on a store's log, for the archive in `directory`."""

    def __init__(self, store: RedisStore, directory: Path) -> None:
        self._store = store
        self._keeper = os.urandom(8).hex()
        self._directory = directory.absolute()
        self._where = f"{socket.gethostname()}:{self._directory}"
        self._told = ""
        self._trims: Standing | None = None  # what may be trimmed for, as was said at `_said_at`
        self._said_at = 0.0

    async def take(self, archive: Standing) -> bool:
        """Takes the lease or renews it; whether this keeper archives. Why not is logged once.

        Raises StoreUnavailable.
        """
        return await self._ask(archive, trims=False)

    async def may_trim(self, archive: Standing) -> bool:
        """The same right before trimming: the store remembers the archive. One answer lasts for a quarter of the lease.

        Raises StoreUnavailable.
        """
        now = asyncio.get_running_loop().time()
        if self._trims != archive or now - self._said_at > _TRUSTED_S:
            self._trims = archive if await self._ask(archive, trims=True) else None
            self._said_at = now  # from before it was asked
        return self._trims is not None

    async def end(self) -> None:
        """Gives the lease back; where the store is away it runs out by itself."""
        with suppress(StoreUnavailable):
            await reply_of(self._store.side, "EVAL", _END, 1, self._store.key("archiver"), self._keeper)

    async def _ask(self, archive: Standing, trims: bool) -> bool:
        keys = [self._store.key(name) for name in _NAMES]
        arguments = (self._keeper, self._where, LEASE_MS, *archive, int(trims))
        word, *about = await reply_of(self._store.side, "EVAL", _SCRIPT, len(keys), *keys, *arguments)
        if word == b"mine":
            self._tell(logging.WARNING, "")
            return True
        told = [part.decode(errors="replace") for part in about]
        if word == b"held":
            self._tell(logging.WARNING, f"the log is archived by the keeper of {told[0]}; this one stands by")
        else:
            self._tell(logging.ERROR, self._refusal(Standing(told[0], int(told[1])), told[2], archive))
        return False

    def _refusal(self, expected: Standing, where: str, found: Standing) -> str:
        here = f"{found}, an older copy," if found.id == expected.id else str(found)
        return (
            f"the log is not archived: found {here} in {self._directory}, expected {expected}, last at {where}; "
            "bring that here, or run `tact acknowledge --archive` to go on with what is here"
        )

    def _tell(self, level: int, why: str) -> None:
        if why != self._told:
            log.log(level, "%s", why or "this keeper archives the log now")
            self._told = why


class Belonging(NamedTuple):
    """What a store says of its archive: which, where it was last, and who archives now ("": nobody)."""

    archive: Standing
    where: str
    keeper: str


async def belonging(store: RedisStore) -> Belonging:
    """Which archive a store's log belongs to. Raises StoreUnavailable."""
    lease, known = await store.shared(
        [("GET", store.key("archiver")), ("HMGET", store.key("archive"), "id", "run", "where")]
    )
    name, run, where = [(part or b"").decode(errors="replace") for part in known]
    return Belonging(Standing(name, int(run or 0)), where, (lease or b"").decode(errors="replace").partition(" ")[2])


async def belongs_to(store: RedisStore, archive: Standing, where: str) -> None:
    """This archive is the store's from now on, if it has an id. Raises StoreUnavailable."""
    if archive.id:
        await store.shared([("HSET", store.key("archive"), "id", archive.id, "run", archive.run, "where", where)])


async def forget(store: RedisStore) -> None:
    """The store has no archive: that of the keeper that comes next is its own. Raises StoreUnavailable."""
    await store.shared([("DEL", store.key("archive"))])


async def archived_s(store: RedisStore) -> int:
    """When the log was archived last, in unix seconds by the store's clock; 0: never. Raises StoreUnavailable."""
    return int(await reply_of(store.side, "HGET", store.key("archive"), "at_s") or 0)
