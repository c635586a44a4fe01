"""Deployed rule sets as the store keeps them: files, metadata, which is active, what is paused.

Keys (`key` names them, all in one slot): `control` hash, `activations` list, `deployed` and
`activated` hashes by revision, `files:<revision>`, `paused` hash.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, NamedTuple

import orjson
from google.protobuf.message import DecodeError

from engine.bundle import Pauses
from engine.errors import Conflict, NotFound, StoreUnavailable
from engine.pb.tact.v1 import rules_pb2
from engine.state.connection import Command
from engine.state.link import Link

MAX_UNPACKED_BYTES = 64 << 20
KEPT_REVISIONS = 200
_SCRIPT = resources.files("engine.state").joinpath("lua/activate.lua").read_text()


class Control(NamedTuple):
    """`active` is "" where nothing was ever activated; `directory` the content hash last taken over."""

    active: str
    directory: str
    pauses: Pauses


@dataclass(frozen=True, slots=True)
class Stored:
    """What is known of a revision. `activated_at_ms` is 0 where it never was."""

    revision: str
    deployed_at_ms: int = 0
    activated_at_ms: int = 0
    note: str = ""
    file_count: int = 0
    message_count: int = 0


def pack(files: Mapping[str, bytes]) -> bytes:
    """The files of a rule set, compressed."""
    message = rules_pb2.DeployRequest(
        files=[rules_pb2.RuleFile(path=path, content=files[path]) for path in sorted(files)]
    )
    return zlib.compress(message.SerializeToString(), 6)


def unpack(packed: bytes) -> dict[str, bytes]:
    """Inverse of `pack`. Raises ValueError where the bytes are damaged."""
    try:
        reader = zlib.decompressobj()
        raw = reader.decompress(packed, MAX_UNPACKED_BYTES)
        if not reader.eof:
            raise ValueError(f"a stored rule set is cut off or above {MAX_UNPACKED_BYTES} bytes")
        message = rules_pb2.DeployRequest.FromString(raw)
    except (zlib.error, DecodeError) as error:
        raise ValueError(f"a stored rule set is damaged: {error}") from error
    return {file.path: file.content for file in message.files}


class RevisionStore:
    """All methods raise StoreUnavailable where the store cannot be reached or refuses."""

    def __init__(self, link: Link, key: Callable[[str], bytes]) -> None:
        self._link = link
        self._key = key

    async def _ask(self, *commands: Command) -> list[Any]:
        replies = await self._link.pipeline(commands)
        for reply in replies:
            if isinstance(reply, Exception):
                raise StoreUnavailable(f"the store refused: {reply}")
        return replies

    async def control(self) -> Control:
        """Which revision is active and what is paused, in one round trip."""
        (active, directory), paused = await self._ask(
            ("HMGET", self._key("control"), "active", "directory"), ("HKEYS", self._key("paused"))
        )
        names = [name.decode() for name in paused]
        pauses = Pauses(
            "all" in names,
            frozenset(n.removeprefix("message:") for n in names if n.startswith("message:")),
            frozenset(n.removeprefix("purpose:") for n in names if n.startswith("purpose:")),
        )
        return Control((active or b"").decode(), (directory or b"").decode(), pauses)

    async def keep(
        self, described: Stored, files: Mapping[str, bytes], expected: str, *, activate: bool, directory: str = ""
    ) -> None:
        """Stores a rule set and, if asked, makes it the active one. Raises Conflict."""
        about = orjson.dumps([described.note, described.file_count, described.message_count])
        mode = "deploy" if activate else "stage"
        await self._change(mode, described.revision, expected, await asyncio.to_thread(pack, files), about, directory)

    async def activate(self, revision: str, expected: str) -> None:
        """Makes a stored revision the active one. Raises Conflict and NotFound."""
        await self._change("activate", revision, expected)

    async def rollback(self, revision: str, expected: str) -> None:
        """Makes the revision active that was so before `expected`. Raises Conflict and NotFound."""
        await self._change("rollback", revision, expected)

    async def _change(
        self, mode: str, revision: str, expected: str, packed: bytes = b"", about: bytes = b"", directory: str = ""
    ) -> None:
        names = ("control", "activations", "deployed", "activated", f"files:{revision}")
        keys = [self._key(n) for n in names]
        [reply] = await self._ask(
            ("EVAL", _SCRIPT, len(keys), *keys, mode, revision, expected, packed, about, directory)
        )
        status, _, active = reply.decode().partition(" ")
        if status == "conflict":
            raise Conflict(f"the active revision is {active or 'none'}, not {expected or 'the one before'}")
        if status == "unknown":
            raise NotFound(f"no revision {revision} is kept")

    async def before(self) -> str:
        """The revision that was active before the active one, or ""."""
        [found] = await self._ask(("LINDEX", self._key("activations"), 1))
        return bytes(found or b"").decode()

    async def files(self, revision: str) -> dict[str, bytes]:
        """The files of a revision. Raises NotFound, and ValueError where they are damaged."""
        [packed] = await self._ask(("GET", self._key(f"files:{revision}")))
        if packed is None:
            raise NotFound(f"no revision {revision} is kept")
        return await asyncio.to_thread(unpack, packed)

    async def all(self) -> list[Stored]:
        """Every revision kept, newest activation first, those never activated last."""
        deployed, flat = await self._ask(("HGETALL", self._key("deployed")), ("HGETALL", self._key("activated")))
        activated = dict(zip(flat[::2], flat[1::2], strict=True))
        stored = []
        for revision, row in zip(deployed[::2], deployed[1::2], strict=True):
            at, _, about = row.partition(b" ")
            stored.append(Stored(revision.decode(), int(at), int(activated.get(revision, 0)), *orjson.loads(about)))
        return sorted(stored, key=lambda s: (s.activated_at_ms, s.deployed_at_ms, s.revision), reverse=True)

    async def prune(self) -> None:
        """Forgets the oldest revisions above 200; never the active one or one to roll back to."""
        stored = await self.all()
        if len(stored) <= KEPT_REVISIONS:
            return
        [activations] = await self._ask(("LRANGE", self._key("activations"), 0, -1))
        needed = {r.decode() for r in activations}
        oldest = sorted(stored, key=lambda s: max(s.activated_at_ms, s.deployed_at_ms))
        spare = [s.revision for s in oldest if s.revision not in needed][: len(stored) - KEPT_REVISIONS]
        if spare:
            await self._ask(
                *(("DEL", self._key(f"files:{revision}")) for revision in spare),
                ("HDEL", self._key("deployed"), *spare),  # last, so that what is left half done is done again
                ("HDEL", self._key("activated"), *spare),
            )

    async def pause(self, target: str, reason: str) -> None:
        """Holds `message:<name>`, `purpose:<name>` or `all`."""
        await self._ask(("HSET", self._key("paused"), target, reason))

    async def resume(self, target: str) -> None:
        """Lets it go again."""
        await self._ask(("HDEL", self._key("paused"), target))
