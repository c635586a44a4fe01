"""Commands to a store, wherever it is: one node, the master of a service, or the nodes of a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from engine.errors import StoreUnavailable
from engine.state.address import Address
from engine.state.cluster import Cluster
from engine.state.connection import Command, Connection, Part, Reply
from engine.state.sentinel import SentinelConnection


class Link(Protocol):
    """What all three can do."""

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        ...

    @property
    def made(self) -> int:
        """How often it was connected; in a cluster also how often slots changed their owner. Behind each new one may be
        another store."""
        ...

    async def pipeline(self, commands: Sequence[Command]) -> list[Reply]:
        """Replies in order, error replies as values. Raises StoreUnavailable."""
        ...

    async def ask(self, commands: Sequence[Command]) -> list[Reply]:
        """The same for what only reads; of a cluster StoreUnavailable is the reply where a command's server is away.

        What is sent to such a server afterwards goes by a new connection. Raises StoreUnavailable where all are away.
        """
        ...

    def server_of(self, key: bytes) -> object:
        """Who has the key, as far as is known: what one server has is lost together."""
        ...

    def drop(self, why: str) -> None:
        """Closes what cannot be trusted any more; the next use connects again."""
        ...

    async def close(self) -> None:
        """Stays closed."""
        ...


async def reply_of(link: Link, *command: Part) -> Any:
    """The reply to one command. Raises StoreUnavailable, also where the store refuses it."""
    [reply] = await link.pipeline([command])
    if isinstance(reply, Exception):
        raise StoreUnavailable(f"the store refused {command[0]!r}: {reply}")
    return reply


def connection_to(address: Address, timeout_s: float) -> Connection:
    """To a node, or to the master that sentinels name."""
    return SentinelConnection(address, timeout_s) if address.kind == "sentinel" else Connection(address, timeout_s)


def link_to(address: Address, timeout_s: float) -> Link:
    """To a store of any kind. Times are in seconds."""
    return Cluster(address, timeout_s) if address.kind == "cluster" else connection_to(address, timeout_s)
