"""Which life of the store this is: how a store that came back empty is noticed.

Every bucket has a key `{<bucket>}g` with the same 8 random bytes, and the commit script compares it
with what the engine remembers (in memory, and in a file where one is given). A store that lost its
data, or part of a cluster that did, has none: every commit there says `generation` and nothing is
sent, until somebody acknowledges the loss. All 4,096 keys are written when a store is first used
(about 20 ms): a key made on a bucket's first use could not be told from one that was lost.

`{0}g` is written last, so that it stands for all. Candidates (`{0}g-new`) are set only where there is
none, so that two engines starting at once agree; `{0}g-acknowledged` names the generation that was
acknowledged last, which others that remember an older one then take over.

A newcomer begins no generation where other buckets have one that is not the candidate: then the node of
bucket 0 alone lost its data. While that node is away others go on with the generation that they joined,
since every commit compares its own bucket's.

A store that lost its last writes only (losses.py) has its generation still: whoever notices closes it for
everybody, by a generation that nobody knows and `{0}g-lost`, which says what happened.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import hiredis

from engine.errors import StoreUnavailable
from engine.identity import BUCKETS
from engine.state import format as formats
from engine.state.connection import Command, Reply
from engine.state.link import Link
from engine.state.losses import Loss, Seen
from engine.state.profile import new_version

log = logging.getLogger(__name__)

EMPTY = "the store is empty"  # what is missing from one that lost everything
_TOLD = ("g", "g-acknowledged", "g-lost", "format")  # what bucket 0 says of the whole store
_CANDIDATE_LIFE_MS = 10_000
_UNTIL = " (its generation is closed until somebody runs `tact acknowledge`)"


class Generation:
    """What is remembered of the store's generation, and the steps that change it."""

    def __init__(self, link: Link, key: Callable[[int, str], bytes], file: Path | None, max_loss_ms: int = 0) -> None:
        self._link = link
        self._key = key
        self._file = file
        self.known = b"" if file is None or not file.exists() else file.read_bytes()[:8]
        self._joining = asyncio.Lock()
        self.joined = False  # whether `known` was compared with the store's since the last doubt
        self.closed = ""  # why nothing may be committed, until somebody acknowledges
        self.losses = 0  # how often lost writes were noticed
        self.seen = Seen(key)
        self._max_loss_ms = max_loss_ms
        self._made = -1  # which connection it was compared on

    async def join(self) -> bool:
        """Whether the store is the one remembered: then commits may go ahead. Raises StoreUnavailable."""
        if self.holds:
            return True
        async with self._joining:
            if not self.holds:
                self.joined = await self._compare()
        return self.joined

    @property
    def holds(self) -> bool:
        """Whether it was compared on the very connection that is there now: behind a new one may be an older store."""
        return self.joined and self._link.connected and self._made == self._link.made

    def doubt(self) -> None:
        """A commit was refused for its generation: compare again before the next."""
        self.joined = False

    async def acknowledge(self) -> None:
        """Begins a new generation on the store as it is now. Raises StoreUnavailable."""
        self._remember(await self._create("g-next", fresh=False))
        self.seen.forget()
        self.joined, self.closed, self._made = True, "", self._link.made

    async def notice(self, loss: Loss) -> bool:
        """Writes are gone: said, and beyond `max_loss_ms` the store is closed for all; whether it may go on.

        Raises StoreUnavailable.
        """
        self.losses += 1
        if 0 < self._max_loss_ms >= loss.span_ms:
            log.error("the store lost writes: %s; going on, as --max-loss allows", loss)
            self.seen.told()
            return True
        why = f"the store lost writes: {loss}"
        self.joined, self.closed = False, why + _UNTIL
        log.error("%s; until then nothing that needs state is sent", self.closed)
        await self.close(why)
        self.seen.forget()  # not before: where it could not be closed it is noticed again
        return False

    async def close(self, why: str) -> None:
        """Nobody commits from now on, until somebody acknowledges. Raises StoreUnavailable."""
        nobodys = new_version()
        await self._run([("SET", self._key(0, "g-lost"), why)])
        await self._run([("SET", self._key(b, "g"), nobodys) for b in range(BUCKETS)])
        self.joined = False

    async def _compare(self) -> bool:
        """Whether the store is the one remembered. Raises StoreUnavailable."""
        answers = await self._link.ask([("GET", self._key(0, name)) for name in _TOLD])
        made = self._link.made
        away = next((a for a in answers if isinstance(a, StoreUnavailable)), None)
        if away is None:
            theirs, acknowledged, lost, form = _values(answers)
            self.closed = lost.decode(errors="replace") + _UNTIL if lost else formats.refusal(form)
            if self.closed:
                return False
            if not theirs and not self.known:
                if await self._lives_on():
                    self.closed = "a node of the cluster lost its data (others have their generation still)"
                    return False
                theirs = await self._create("g-new", fresh=True)
            if not theirs or (theirs not in (self.known, acknowledged) and self.known):
                self.closed = "the store lost its data since it was last used (its generation is another)"
                return False
        elif self.joined:
            theirs = self.known
        else:
            raise away
        if theirs != self.known:
            self.seen.forget()
        elif (loss := await self.seen.compare(self._link)) and not await self.notice(loss):
            return False
        self._remember(theirs)
        self._made = made
        return True

    async def _lives_on(self) -> bool:
        """Whether buckets on other servers have a generation that nobody is just beginning."""
        server_of, here = self._link.server_of, self._link.server_of(self._key(0, "g"))
        elsewhere = [key for key in (self._key(b, "g") for b in range(1, BUCKETS)) if server_of(key) is not here]
        if not elsewhere:
            return False
        others = await self._run([("GET", key) for key in elsewhere])
        candidate = await self._run([("GET", self._key(0, "g-new"))])  # behind them: it is written before all
        return not {None, *candidate}.issuperset(others)

    async def _create(self, candidate: str, fresh: bool) -> bytes:
        life: Command = () if fresh else ("PX", _CANDIDATE_LIFE_MS)
        only_new: Command = ("NX",) if fresh else ()
        name = self._key(0, candidate)
        _, chosen = await self._run([("SET", name, new_version(), "NX", *life), ("GET", name)])
        if not isinstance(chosen, bytes):
            raise StoreUnavailable("the store did not keep a new generation")
        await self._run([("SET", self._key(b, "g"), chosen, *only_new) for b in range(1, BUCKETS)])
        begun: Command = ("SET", self._key(0, "g"), chosen)
        if fresh:
            await self._run([("SET", self._key(0, "format"), formats.encode(formats.Format()), "NX"), begun])
        else:
            await self._run([("SET", self._key(0, "g-acknowledged"), chosen), begun, ("DEL", self._key(0, "g-lost"))])
        return chosen

    async def _run(self, commands: list[Command]) -> list[Reply]:
        replies = await self._link.pipeline(commands)
        _values(replies)
        return replies

    def _remember(self, generation: bytes) -> None:
        if self.known == generation:
            return
        self.known = generation
        if self._file is not None:
            temporary = self._file.with_suffix(f".{os.getpid()}.tmp")
            temporary.write_bytes(generation)
            os.replace(temporary, self._file)


def _values(replies: Sequence[Reply]) -> list[bytes]:
    """The replies, b"" for none. Raises StoreUnavailable where one of them is an error."""
    for reply in replies:
        if isinstance(reply, hiredis.ReplyError):
            raise StoreUnavailable(f"the store refused: {reply}")
    return [reply or b"" for reply in replies]
