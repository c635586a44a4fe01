"""Which life of the store this is: how a store that came back empty is noticed.

Every bucket has a key `{<bucket>}g` with the same 8 random bytes, and the commit script compares it
with what the engine remembers (in memory, and in a file where one is given). A store that lost its
data, or part of a cluster that did, has none: every commit there says `generation` and nothing is
sent, until somebody acknowledges the loss. All 4,096 keys are written when a store is first used
(about 20 ms): a key made on a bucket's first use could not be told from one that was lost.

`{0}g` is written last, so that it stands for all. Candidates (`{0}g-new`) are set only where there is
none, so that two engines starting at once agree; `{0}g-acknowledged` names the generation that was
acknowledged last, which others that remember an older one then take over.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import hiredis

from engine.errors import StoreUnavailable
from engine.identity import BUCKETS
from engine.state.connection import Command, Reply
from engine.state.link import Link
from engine.state.profile import new_version

_CANDIDATE_LIFE_MS = 10_000


class Generation:
    """What is remembered of the store's generation, and the steps that change it."""

    def __init__(self, link: Link, key: Callable[[int, str], bytes], file: Path | None) -> None:
        self._link = link
        self._key = key
        self._file = file
        self.known = b"" if file is None or not file.exists() else file.read_bytes()[:8]
        self._joining = asyncio.Lock()
        self.joined = False  # whether `known` was compared with the store's since the last doubt

    async def join(self) -> bool:
        """Whether the store is the one remembered: then commits may go ahead. Raises StoreUnavailable."""
        if self.joined:
            return True
        async with self._joining:
            if not self.joined:
                await self._compare()
        return self.joined

    def doubt(self) -> None:
        """A commit was refused for its generation: compare again before the next."""
        self.joined = False

    async def acknowledge(self) -> None:
        """Begins a new generation on the store as it is now. Raises StoreUnavailable."""
        self._remember(await self._create("g-next", fresh=False))
        self.joined = True

    async def _compare(self) -> None:
        theirs, acknowledged = await self._get("g", "g-acknowledged")
        if not theirs and not self.known:
            theirs = await self._create("g-new", fresh=True)
        if theirs and (theirs in (self.known, acknowledged) or not self.known):
            self._remember(theirs)
            self.joined = True

    async def _create(self, candidate: str, fresh: bool) -> bytes:
        life: Command = () if fresh else ("PX", _CANDIDATE_LIFE_MS)
        only_new: Command = ("NX",) if fresh else ()
        name = self._key(0, candidate)
        _, chosen = await self._run([("SET", name, new_version(), "NX", *life), ("GET", name)])
        if not isinstance(chosen, bytes):
            raise StoreUnavailable("the store did not keep a new generation")
        await self._run([("SET", self._key(b, "g"), chosen, *only_new) for b in range(1, BUCKETS)])
        last: list[Command] = [("SET", self._key(0, "g"), chosen)]
        if not fresh:
            last.insert(0, ("SET", self._key(0, "g-acknowledged"), chosen))
        await self._run(last)
        return chosen

    async def _get(self, *names: str) -> list[bytes]:
        return [r or b"" for r in await self._run([("GET", self._key(0, n)) for n in names])]

    async def _run(self, commands: list[Command]) -> list[Reply]:
        replies = await self._link.pipeline(commands)
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError):
                raise StoreUnavailable(f"the store refused: {reply}")
        return replies

    def _remember(self, generation: bytes) -> None:
        if self.known == generation:
            return
        self.known = generation
        if self._file is not None:
            temporary = self._file.with_suffix(f".{os.getpid()}.tmp")
            temporary.write_bytes(generation)
            os.replace(temporary, self._file)
