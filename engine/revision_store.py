"""Deployed rule sets as the store keeps them: files, metadata, which is active, what is paused.

Keys (`key` names them, all in one slot): `control` hash, `activations` list, `deployed` and
`activated` hashes by revision, `files:<revision>`, `paused` hash.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from google.protobuf.message import DecodeError
from redis.exceptions import RedisError

from engine.bundle import Pauses
from engine.errors import Conflict, NotFound, StoreUnavailable
from engine.pb.tact.v1 import rules_pb2

if TYPE_CHECKING:
    import redis.asyncio

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

    def __init__(self, admin: redis.asyncio.Redis, key: Callable[[str], bytes]) -> None:
        self._admin: Any = admin  # redis-py types its answers for both of its modes at once
        self._key = key
        self._script = admin.register_script(_SCRIPT)

    async def control(self) -> Control:
        """Which revision is active and what is paused, in one round trip."""
        with _store_errors():
            pipeline = self._admin.pipeline(transaction=False)
            pipeline.hmget(self._key("control"), ["active", "directory"])
            pipeline.hkeys(self._key("paused"))
            (active, directory), paused = await pipeline.execute()
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
        with _store_errors():
            reply = await self._script(
                keys=[self._key(n) for n in names], args=[mode, revision, expected, packed, about, directory]
            )
        status, _, active = reply.decode().partition(" ")
        if status == "conflict":
            raise Conflict(f"the active revision is {active or 'none'}, not {expected or 'the one before'}")
        if status == "unknown":
            raise NotFound(f"no revision {revision} is kept")

    async def before(self) -> str:
        """The revision that was active before the active one, or ""."""
        with _store_errors():
            found = await self._admin.lindex(self._key("activations"), 1)
        return bytes(found or b"").decode()

    async def files(self, revision: str) -> dict[str, bytes]:
        """The files of a revision. Raises NotFound, and ValueError where they are damaged."""
        with _store_errors():
            packed = await self._admin.get(self._key(f"files:{revision}"))
        if packed is None:
            raise NotFound(f"no revision {revision} is kept")
        return await asyncio.to_thread(unpack, packed)

    async def all(self) -> list[Stored]:
        """Every revision kept, newest activation first, those never activated last."""
        with _store_errors():
            pipeline = self._admin.pipeline(transaction=True)
            pipeline.hgetall(self._key("deployed"))
            pipeline.hgetall(self._key("activated"))
            deployed, activated = await pipeline.execute()
        stored = []
        for revision, row in deployed.items():
            at, _, about = row.partition(b" ")
            stored.append(Stored(revision.decode(), int(at), int(activated.get(revision, 0)), *orjson.loads(about)))
        return sorted(stored, key=lambda s: (s.activated_at_ms, s.deployed_at_ms, s.revision), reverse=True)

    async def prune(self) -> None:
        """Forgets the oldest revisions above 200; never the active one or one to roll back to."""
        stored = await self.all()
        if len(stored) <= KEPT_REVISIONS:
            return
        with _store_errors():
            needed = {r.decode() for r in await self._admin.lrange(self._key("activations"), 0, -1)}
            oldest = sorted(stored, key=lambda s: max(s.activated_at_ms, s.deployed_at_ms))
            spare = [s.revision for s in oldest if s.revision not in needed][: len(stored) - KEPT_REVISIONS]
            pipeline = self._admin.pipeline(transaction=True)
            for revision in spare:
                pipeline.delete(self._key(f"files:{revision}"))
                pipeline.hdel(self._key("deployed"), revision)
                pipeline.hdel(self._key("activated"), revision)
            await pipeline.execute()

    async def pause(self, target: str, reason: str) -> None:
        """Holds `message:<name>`, `purpose:<name>` or `all`."""
        with _store_errors():
            await self._admin.hset(self._key("paused"), target, reason)

    async def resume(self, target: str) -> None:
        """Lets it go again."""
        with _store_errors():
            await self._admin.hdel(self._key("paused"), target)


@contextmanager
def _store_errors() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        raise StoreUnavailable(f"the store did not answer: {error}") from error
