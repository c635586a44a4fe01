"""All keys of a deployment on one node: found by SCAN, read in chunks, so that nothing is held up for long."""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from collections.abc import AsyncIterator, Sequence

import hiredis

from engine.errors import StoreUnavailable
from engine.identity import BUCKETS, CustomerKey
from engine.state.connection import Command, Connection, Reply

_SCANNED = 1000  # keys in one turn of SCAN: about a millisecond of the store
_DIGEST_TEXT = 22


class Contents:
    """What lies under one prefix. `names` are keys without it: `{17}p:AbC..`."""

    def __init__(self, url: str, prefix: str = "tact:", timeout_s: float = 30.0) -> None:
        self.prefix = prefix.encode()
        self._connection = Connection(url, timeout_s)

    async def names(self, pattern: str = "*") -> AsyncIterator[list[bytes]]:
        """Every key that was there all the time, some perhaps twice, in chunks. Raises StoreUnavailable."""
        match = b"".join(b"\\" + bytes((c,)) if c in b"*?[]\\^-" else bytes((c,)) for c in self.prefix)
        cursor = b"0"
        while True:
            cursor, keys = await self.ask("SCAN", cursor, "MATCH", match + pattern.encode(), "COUNT", _SCANNED)
            if keys:
                yield [key[len(self.prefix) :] for key in keys]
            if cursor == b"0":
                return

    async def ask(self, *command: str | bytes | int) -> Reply:
        """One reply. Raises StoreUnavailable where the store refuses."""
        [reply] = await self.run([command])
        return reply

    async def run(self, commands: Sequence[Command], missing: bool = False) -> list[Reply]:
        """The replies of a pipeline. Raises StoreUnavailable where the store refuses one.

        `missing`: that there is no such key is a reply.
        """
        replies = await self._connection.pipeline(commands)
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError) and not (missing and "no such key" in str(reply)):
                raise StoreUnavailable(f"the store refused: {reply}")
        return replies

    async def now_ms(self) -> int:
        """The store's clock."""
        seconds, micros = await self.ask("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    def key(self, name: bytes | str) -> bytes:
        """The key of a name."""
        return self.prefix + (name.encode() if isinstance(name, str) else name)

    async def close(self) -> None:
        """Closes the connection."""
        await self._connection.close()


def names_of(customer: CustomerKey) -> tuple[bytes, bytes, bytes]:
    """Names of a customer's profile and record, and what those of answers begin with."""
    digest = b2a_base64(customer.digest, newline=False)[:_DIGEST_TEXT]
    tag = b"{%d}" % customer.bucket
    return tag + b"p:" + digest, tag + b"r:" + digest, tag + b"a:" + digest + b":"


def customer_of(name: bytes) -> CustomerKey | None:
    """Whose profile, record or answer a name is; None for anything else."""
    tag, _, rest = name.partition(b"}")
    if rest[:2] not in (b"p:", b"r:", b"a:"):
        return None
    try:
        digest = a2b_base64(rest[2 : 2 + _DIGEST_TEXT] + b"==")
        bucket = int(tag[1:])
    except ValueError:
        return None
    whole = len(digest) == 16 and int.from_bytes(digest[:8], "little") % BUCKETS == bucket
    return CustomerKey(digest, bucket) if whole else None
