"""Copies what must be kept of a store, while it is in use.

Of each bucket the end of its log is noted first: whatever is logged up to there is in the customers that are copied
afterwards. What is logged later may be in them or not, and is booked again from the archive, which does nothing
where it is there already. Sums of learning are copied after the log's entries, so none of these is missing from both.
Answers that have keys of their own are copied after the records that they were moved out of.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from engine import __version__
from engine.errors import Conflict
from engine.identity import BUCKETS
from engine.recovery.files import LOGS, STATE, FrameWriter, Manifest, new_backup, write_manifest
from engine.state import format as formats
from engine.state.connection import Command, Reply
from engine.state.contents import Contents
from engine.state.losses import ends

_STREAMED = 1000  # entries in one piece
_LEFT_OUT = (b"log", b"g", b"format", b"archiver", b"archive")  # written anew when it is restored
_LEFT_OUT_ALL = (b"g-", b"guard:")
_READ: dict[bytes, Callable[[bytes], Command]] = {
    b"string": lambda key: ("GET", key),
    b"hash": lambda key: ("HGETALL", key),
    b"list": lambda key: ("LRANGE", key, 0, -1),
    b"set": lambda key: ("SMEMBERS", key),
    b"zset": lambda key: ("ZRANGE", key, 0, -1, "WITHSCORES"),
}


@dataclass(slots=True)
class BackupReport:
    """What was copied; `bytes` is what it takes on disk."""

    directory: str
    made_ms: int
    profiles: int
    records: int
    answers: int
    other: int
    log_entries: int
    bytes: int


class _Copier:
    def __init__(self, contents: Contents, now_ms: int, state: FrameWriter, logs: FrameWriter) -> None:
        self.contents = contents
        self.now_ms = now_ms
        self.state = state
        self.logs = logs
        self.counts = {"profiles": 0, "records": 0, "answers": 0, "other": 0, "log_entries": 0}

    async def positions(self) -> dict[int, str]:
        """Where each log ends."""
        replies = await self.contents.run([("XINFO", "STREAM", self._log(b)) for b in range(BUCKETS)], missing=True)
        lasts = {bucket: ends(about)[1] for bucket, about in enumerate(replies)}
        return {bucket: last for bucket, last in lasts.items() if last != "0-0"}

    async def copy_logs(self, positions: dict[int, str]) -> None:
        """What learning has not folded yet, or the archive has not taken."""
        for bucket, last in positions.items():
            start = "-"
            while found := await self.contents.ask("XRANGE", self._log(bucket), start, last, "COUNT", _STREAMED):
                self.logs.write([bucket, [[entry_id, pairs[1]] for entry_id, pairs in found]])
                self.counts["log_entries"] += len(found)
                start = "(" + found[-1][0].decode()

    async def copy_customers(self) -> set[bytes]:
        """Profiles and records; returns the names of what is neither theirs nor the log's."""
        other: set[bytes] = set()
        async for names in self.contents.names():
            kinds = {name: name.partition(b"}")[2] for name in names}
            await self._copy_strings([n for n, k in kinds.items() if k[:2] == b"p:"], "profiles")
            await self._copy_strings([n for n, k in kinds.items() if k[:2] == b"r:"], "records")
            theirs = (*_LEFT_OUT_ALL, b"p:", b"r:", b"a:")
            other |= {n for n, k in kinds.items() if k not in _LEFT_OUT and not k.startswith(theirs)}
        return other

    async def copy_answers(self) -> None:
        """Answers out of records."""
        async for names in self.contents.names("{*}a:*"):
            await self._copy_strings(names, "answers")

    async def copy_other(self, names: Iterable[bytes]) -> None:
        """Rule sets, what is active and paused, what was learnt: all of one moment. Raises Conflict."""
        names = sorted(names)
        kinds = await self.contents.run([("TYPE", self.contents.key(n)) for n in names])
        strange = [n for n, kind in zip(names, kinds, strict=True) if kind not in (*_READ, b"none")]
        if strange:
            raise Conflict(f"the store holds {strange[0].decode()}, of a type that cannot be copied")
        there = [(n, bytes(kind)) for n, kind in zip(names, kinds, strict=True) if kind != b"none"]
        if not there:
            return
        reads: list[Command] = []
        for name, kind in there:
            reads += [_READ[kind](self.contents.key(name)), ("PTTL", self.contents.key(name))]
        *_, replies = await self.contents.run([("MULTI",), *reads, ("EXEC",)])
        for (name, kind), value, left_ms in zip(there, replies[::2], replies[1::2], strict=True):
            if value is not None and left_ms != -2:  # it went away meanwhile
                self._write(name, kind.decode(), left_ms, value)
                self.counts["other"] += 1

    async def _copy_strings(self, names: list[bytes], counted: str) -> None:
        if not names:
            return
        keys = [self.contents.key(name) for name in names]
        blobs, *lives = await self.contents.run([("MGET", *keys), *[("PTTL", key) for key in keys]])
        for name, blob, left_ms in zip(names, blobs, lives, strict=True):
            if blob is not None and left_ms != -2:
                self._write(name, "string", left_ms, blob)
                self.counts[counted] += 1

    def _write(self, name: bytes, kind: str, left_ms: int, value: Reply) -> None:
        self.state.write([name, kind, self.now_ms + left_ms if left_ms >= 0 else 0, value])

    def _log(self, bucket: int) -> bytes:
        return self.contents.key(f"{{{bucket}}}log")


async def back_up(url: str, directory: Path, prefix: str = "tact:") -> BackupReport:
    """Copies the store to a directory that does not exist yet.

    Raises Conflict where it does, or the store is of a newer format, empty, or holds what cannot be copied;
    StoreUnavailable, OSError.
    """
    contents = Contents(url, prefix)
    try:
        with new_backup(directory) as path:
            form, generation = (await contents.run([("MGET", contents.key("{0}format"), contents.key("{0}g"))]))[0]
            if refused := formats.refusal(form):
                raise Conflict(refused)
            if generation is None:
                raise Conflict("the store holds nothing: no server has used it under this prefix")
            now_ms = await contents.now_ms()
            copier = _Copier(contents, now_ms, FrameWriter(path / STATE), FrameWriter(path / LOGS))
            positions = await copier.positions()
            await copier.copy_logs(positions)
            other = await copier.copy_customers()
            await copier.copy_other(other)
            await copier.copy_answers()
            written = {STATE: copier.state.done(), LOGS: copier.logs.done()}
            write_manifest(
                path,
                Manifest(
                    os.urandom(8).hex(),
                    now_ms,
                    f"tact {__version__}",
                    prefix,
                    formats.decode(form)._asdict(),
                    {str(bucket): last for bucket, last in positions.items()},
                    copier.counts,
                    written,
                ),
            )
        size = sum(file["bytes"] for file in written.values())
        return BackupReport(str(directory), now_ms, **copier.counts, bytes=size)
    finally:
        await contents.close()
