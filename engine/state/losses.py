"""Lost writes: a store that came back with less than it had acknowledged.

A restart from an older append-only file or snapshot, or a failover to a replica that lagged, loses the last
writes and keeps the generation. Each worker remembers the newest log id that it saw written to each bucket; on
every new connection it asks whether these are there still. An id is lost where its stream ends before it, or goes
on after it without it, entries being taken away from the front alone.

What one server lost says nothing about the others of a cluster, and what these still have nothing about it: each is
looked at, and its loss measured, by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import hiredis

from engine.errors import StoreUnavailable
from engine.state.connection import Command, Reply
from engine.state.link import Link
from engine.state.log import order

_LOOKED_AT = 512  # of each server's newest: 1,024 commands, two milliseconds, whenever one is connected anew


class Loss(NamedTuple):
    """What is gone: of how many logs, out of so many looked at; up to when, and over how long at most."""

    logs: int
    looked_at: int
    until_ms: int
    span_ms: int

    def __str__(self) -> str:
        until = datetime.fromtimestamp(self.until_ms / 1000, UTC).isoformat(timespec="milliseconds")
        many = "all writes" if self.span_ms == self.until_ms else f"writes of at most {self.span_ms / 1000:.1f} s"
        return f"{many} before {until} are gone (in {self.logs} of {self.looked_at} logs looked at)"


class Kept(NamedTuple):
    """One log: when the newest entry known was written, whether it is gone, and when the last was that is there."""

    known_ms: int
    gone: bool
    left_ms: int


def loss_of(servers: Iterable[Sequence[Kept]]) -> Loss | None:
    """What is gone from logs, given by the server that has them; the longest span that one of these lost."""
    logs = looked_at = until_ms = 0
    span_ms = -1
    for kept in servers:
        looked_at += len(kept)
        gone_ms = [one.known_ms for one in kept if one.gone]
        if not gone_ms:
            continue
        logs += len(gone_ms)
        last_ms = max(gone_ms)
        lost_ms = last_ms - max((one.left_ms for one in kept if one.left_ms <= last_ms), default=0)
        if lost_ms > span_ms:
            until_ms, span_ms = last_ms, lost_ms
    return Loss(logs, looked_at, until_ms, span_ms) if logs else None


class Seen:
    """The newest log id of each bucket that is known to have been written."""

    def __init__(self, key: Callable[[int, str], bytes]) -> None:
        self._key = key
        self._newest: dict[int, str] = {}
        self._passed_over: dict[int, str] = {}  # at the last comparison: of servers that were away

    def note(self, bucket: int, log_id: str) -> None:
        """This entry was written, the newest so far of its bucket."""
        self._newest[bucket] = log_id

    def forget(self) -> None:
        """What was seen is of no concern any more: the store is another one now."""
        self._newest.clear()
        self._passed_over.clear()

    def told(self) -> None:
        """What was compared last is of no concern any more: its loss was told."""
        self._newest, self._passed_over = self._passed_over, {}

    async def compare(self, link: Link) -> Loss | None:
        """Asks each server for the newest of its logs; what is gone.

        A server that is away is passed over: it comes back by a new connection. Raises StoreUnavailable where all are.
        """
        by_server: dict[object, list[tuple[int, str]]] = {}
        for item in self._newest.items():
            by_server.setdefault(link.server_of(self._key(item[0], "log")), []).append(item)
        asked = [sorted(own, key=lambda item: order(item[1]), reverse=True)[:_LOOKED_AT] for own in by_server.values()]
        commands: list[Command] = []
        for bucket, log_id in (item for own in asked for item in own):
            key = self._key(bucket, "log")
            commands += [("XINFO", "STREAM", key), ("XREVRANGE", key, log_id, log_id, "COUNT", 1)]
        if not commands:
            return None
        replies = iter(await link.ask(commands))
        self._passed_over = {}
        present: list[list[Kept]] = []
        for own, all_of_it in zip(asked, by_server.values(), strict=True):
            found = [_kept(log_id, next(replies), next(replies)) for _, log_id in own]
            if None in found:
                self._passed_over.update(all_of_it)
            else:
                present.append([one for one in found if one is not None])
        if not present:
            raise StoreUnavailable("no server tells what it has of what was written")
        return loss_of(present)


def _kept(log_id: str, about: Reply, found: Reply) -> Kept | None:
    """What a server has of a log; None where it did not say. Raises StoreUnavailable."""
    if isinstance(about, StoreUnavailable) or isinstance(found, StoreUnavailable):
        return None
    first, last = ends(about)
    at_ms = order(log_id)[0]
    gone = order(last) < order(log_id) or bool(first and order(first) < order(log_id) and not found)
    return Kept(at_ms, gone, order(last)[0] if gone else at_ms)


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
