"""Counters that all workers share: how much was said to all customers together (`contact.volume`).

    <prefix>{0}v:<counter>    what is taken, leases among it; goes two days after its period

All of them share a slot, so a lease is one small script. Workers lease a few at a time, fewer when little is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import NamedTuple, Protocol

from engine.state.connection import Command
from engine.state.redis import RedisStore

LEASE_MAX = 64  # beyond what is wanted at once, and at most a sixteenth of what is left
_KEPT_MS = 2 * 86_400_000
_SCRIPT = resources.files("engine.state").joinpath("lua/lease.lua").read_text()


class LeaseAsk(NamedTuple):
    """`wanted` of a counter are asked for. `former` count towards the limit too. `until_ms`: the end of its period."""

    counter: int
    former: tuple[int, ...]
    limit: int
    wanted: int
    until_ms: int


class Granted(NamedTuple):
    """How many were granted, and how many are taken in all."""

    more: int
    used: int


class Counters(Protocol):
    async def lease(self, asks: Sequence[LeaseAsk]) -> list[Granted]:
        """One round trip. Raises StoreUnavailable: what was granted meanwhile is lost, never exceeded."""
        ...

    async def give_back(self, unused: Sequence[tuple[int, int]]) -> None:
        """Returns what was leased and not used. Raises StoreUnavailable."""
        ...


class RedisCounters:
    """Counters in Redis or Valkey, for any number of workers."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store

    def _key(self, counter: int) -> bytes:
        return self._store.key(f"v:{counter:016x}")

    async def lease(self, asks: Sequence[LeaseAsk]) -> list[Granted]:
        """See `Counters`."""
        commands: list[Command] = []
        for ask in asks:
            keys = [self._key(c) for c in (ask.counter, *ask.former)]
            last_ms = ask.until_ms + _KEPT_MS
            commands.append(("EVAL", _SCRIPT, len(keys), *keys, ask.limit, ask.wanted, LEASE_MAX, last_ms))
        return [Granted(*map(int, reply)) for reply in await self._store.shared(commands)]

    async def give_back(self, unused: Sequence[tuple[int, int]]) -> None:
        """See `Counters`."""
        await self._store.shared([("DECRBY", self._key(counter), count) for counter, count in unused])


class LocalCounters:
    """Counters in memory, for one process alone (`tact replay`)."""

    def __init__(self) -> None:
        self._used: dict[int, int] = {}

    async def lease(self, asks: Sequence[LeaseAsk]) -> list[Granted]:
        """See `Counters`."""
        found = []
        for ask in asks:
            used = sum(self._used.get(c, 0) for c in (ask.counter, *ask.former))
            count = max(0, min(ask.wanted, ask.limit - used))
            self._used[ask.counter] = self._used.get(ask.counter, 0) + count
            found.append(Granted(count, used + count))
        return found

    async def give_back(self, unused: Sequence[tuple[int, int]]) -> None:
        """See `Counters`."""
        for counter, count in unused:
            self._used[counter] -= count


def counters_of(store: object) -> Counters:
    """Those that belong to a store."""
    return RedisCounters(store) if isinstance(store, RedisStore) else LocalCounters()
