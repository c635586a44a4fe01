"""Lost writes: a store that came back with less than it had acknowledged.

A restart from an older append-only file or snapshot, or a failover to a replica that lagged, loses the last
writes and keeps the generation. Each worker remembers the newest log id that it saw written to each bucket; on
every new connection it asks whether these are there still. An id is lost where its stream ends before it, or goes
on after it without it, entries being taken away from the front alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import hiredis

from engine.errors import StoreUnavailable
from engine.state.connection import Command, Reply
from engine.state.log import order

_LOOKED_AT = 512  # of the newest: 1,024 commands, two milliseconds of the store, whenever it is connected anew


class Loss(NamedTuple):
    """What is gone: of how many logs, out of so many looked at; up to when, and over how long at most."""

    logs: int
    looked_at: int
    until_ms: int
    span_ms: int

    def __str__(self) -> str:
        until = datetime.fromtimestamp(self.until_ms / 1000, UTC).isoformat(timespec="milliseconds")
        return (
            f"writes of at most {self.span_ms / 1000:.1f} s before {until} are gone "
            f"(in {self.logs} of {self.looked_at} logs looked at)"
        )


class Seen:
    """The newest log id of each bucket that is known to have been written."""

    def __init__(self, key: Callable[[int, str], bytes]) -> None:
        self._key = key
        self._newest: dict[int, str] = {}

    def note(self, bucket: int, log_id: str) -> None:
        """This entry was written, the newest so far of its bucket."""
        self._newest[bucket] = log_id

    def forget(self) -> None:
        """What was seen is of no concern any more: the store is another one now, or the loss was told."""
        self._newest.clear()

    async def compare(self, pipeline: Callable[[list[Command]], Awaitable[Sequence[Reply]]]) -> Loss | None:
        """Asks the store for the newest of them; what is gone. Raises StoreUnavailable."""
        newest = sorted(self._newest.items(), key=lambda item: order(item[1]), reverse=True)[:_LOOKED_AT]
        commands: list[Command] = []
        for bucket, log_id in newest:
            key = self._key(bucket, "log")
            commands += [("XINFO", "STREAM", key), ("XREVRANGE", key, log_id, log_id, "COUNT", 1)]
        if not commands:
            return None
        replies = await pipeline(commands)
        lost: list[int] = []
        left_ms = [0]
        for (_, log_id), about, found in zip(newest, replies[::2], replies[1::2], strict=True):
            first, last = ends(about)
            at_ms = order(log_id)[0]
            if order(last) < order(log_id) or (first and order(first) < order(log_id) and not found):
                lost.append(at_ms)
                left_ms.append(order(last)[0])
            else:
                left_ms.append(at_ms)
        if not lost:
            return None
        until_ms = max(lost)
        return Loss(len(lost), len(newest), until_ms, until_ms - max(at for at in left_ms if at <= until_ms))


def ends(about: Reply) -> tuple[str, str]:
    """(first id held, "" for none; last id ever given) of a stream, from the reply to XINFO STREAM.

    Raises StoreUnavailable where the store refused to say.
    """
    if isinstance(about, hiredis.ReplyError):
        if "no such key" in str(about):
            return "", "0-0"
        raise StoreUnavailable(f"the store refused: {about}")
    told = dict(zip(about[::2], about[1::2], strict=True))
    entry = told[b"first-entry"]
    return entry[0].decode() if entry else "", told[b"last-generated-id"].decode()
