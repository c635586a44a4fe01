"""The store on a cluster: every customer's commit is a script on the node that has the customer's slot.

A transaction cannot span slots, so a look's is taken apart into one commit for each customer.

Each node has a clock of its own. Here `now` is the fastest one's, and a commit's `not_after` is what the clock of the
node that executes it will show at that moment, so that clocks that differ neither cut nor stretch the budget.
"""

from __future__ import annotations

import asyncio
from binascii import a2b_base64
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import hiredis

from engine.errors import StoreUnavailable
from engine.identity import BUCKETS, CustomerKey
from engine.state.address import Address
from engine.state.checks import QUESTIONS, clustered, findings
from engine.state.cluster import Call, Cluster, Node
from engine.state.connection import Command, Part, Reply, pack
from engine.state.generation import EMPTY
from engine.state.model import Commit, CommitStatus, ReadBatch, ReadEntry, ReadRequest
from engine.state.redis import SCRIPT, SCRIPT_SHA, Look, RedisStore
from engine.state.slots import SLOT_OF_BUCKET, SLOTS, slot_of

_VERSION = 8  # bytes at the head of a blob
_NOBODY = CustomerKey(b"", 0)


class ClusterStore(RedisStore):
    """Implements `model.Store` on Redis or Valkey Cluster. Settings as of RedisStore.

    A node that is lost costs its own customers alone: they are named in what `read` and `look` return.
    """

    def __init__(self, url: str, prefix: str = "tact:", **settings: Any) -> None:
        super().__init__(url, prefix, **settings)
        self._cluster = cast(Cluster, self._link)
        self._cluster.take_time = self._checked_time
        self._asks: list[Call] = []  # for the length of each log

    async def read(self, requests: Sequence[ReadRequest]) -> ReadBatch:
        """See `model.Store`; customers whose node cannot be reached are `lost`. Raises where all are."""
        slots, keys = [], []
        for customer, events in requests:
            profile, record, answer = self._customer_keys(customer)
            slots.append(SLOT_OF_BUCKET[customer.bucket])
            keys.append((profile, record, *[f"{answer}{e:016x}" for e in events]))
        now_ms, rows = await self._fetch(slots, keys)
        entries, lost = [], []
        for i, (request, row) in enumerate(zip(requests, rows, strict=True)):
            if row is None:
                lost.append(i)
                entries.append(ReadEntry(b"", b"", {}))
                continue
            profile_blob, record_blob, *found = row
            spilled = {e: b for e, b in zip(request.events, found, strict=True) if b is not None}
            entries.append(ReadEntry(profile_blob or b"", record_blob or b"", spilled))
        return ReadBatch(now_ms, entries, tuple(lost), self.closed)

    async def commit(self, commits: Sequence[Commit], not_after_ms: int) -> list[CommitStatus]:
        """See `model.Store`. Besides its statuses there is `unreachable`: nothing was executed."""
        if not commits:
            return []
        if self._behind_ms is None:
            self._behind_ms = await self._cluster.ask_time()
        if not await self._generation.join():
            return [CommitStatus("generation")] * len(commits)
        left_s = self._seconds_until(not_after_ms)
        ends_s = asyncio.get_running_loop().time() + left_s
        calls = [
            Call(
                SLOT_OF_BUCKET[c.customer.bucket],
                partial(self._script, ("EVALSHA", SCRIPT_SHA), c, ends_s),
                partial(self._script, ("EVAL", SCRIPT), c, ends_s),
            )
            for c in commits
        ]
        behind = await self._cluster.run(calls, ends_s, repeat=False, tail=self._wait(left_s))
        after_s = self._seconds_until(not_after_ms)
        return [self._came_to(c, call, behind, after_s) for c, call in zip(commits, calls, strict=True)]

    async def look(self, slot: int, command: bytes, customers: int, budget_ms: int, each: int = 3) -> Look:
        """See `RedisStore.look`; nothing is watched, since the scripts compare versions."""
        keys = _commands_of(command)[1][1:]
        theirs = [keys[i : i + each] for i in range(0, len(keys), each)]
        async with asyncio.timeout(budget_ms / 1000):
            if not await self._generation.join():
                raise StoreUnavailable("the store lost its data")
            now_ms, rows = await self._fetch([slot_of(own[0]) for own in theirs], theirs)
        lost = [i for i, row in enumerate(rows) if row is None]
        blobs = [blob for row in rows for blob in row or (None,) * each]
        return Look(now_ms, now_ms + budget_ms, blobs, None, lost, keys)

    async def commit_look(self, look: Look, command: bytes, commands: int) -> str | list[CommitStatus]:
        """Commits each customer's part of the transaction by itself; their statuses, in their order."""
        blob_of = dict(zip(look.keys, look.blobs, strict=True))
        commits: list[Commit] = []
        for name, key, *rest in _commands_of(command)[1:-1]:
            if name == b"XADD":  # begins a customer's part: the log, then profile or record, and answers that move out
                commits.append(Commit(_NOBODY, b"", b"", None, entries=[rest[-1]]))
                continue
            tag, _, owner = key.rpartition(b"}")
            if owner[:2] == b"a:":
                commits[-1].spills.append((int(key[-16:], 16), rest[0], int(rest[2])))
                continue
            commits[-1].customer = _customer_of(key)
            record, profile = (blob_of[b"%b}%b%b" % (tag, kind, owner[2:])] or b"" for kind in (b"r:", b"p:"))
            commits[-1].record_version, commits[-1].profile_version = record[:_VERSION], profile[:_VERSION]
            if owner[:2] == b"r:":
                commits[-1].record = rest[0]
            else:
                commits[-1].profile = rest[0]
        return await self.commit(commits, look.not_after_ms)

    async def _lengths_of(self, buckets: Sequence[int]) -> list[Reply]:
        if not self._asks:
            keys = [self.bucket_key(b, "log") for b in range(BUCKETS)]
            self._asks = [Call(slot, pack(("XLEN", k))) for slot, k in zip(SLOT_OF_BUCKET, keys, strict=True)]
        calls = [self._asks[b] for b in buckets]
        await self._cluster.run(calls, self._soon(), repeat=True)
        return [call.reply for call in calls]

    async def lacks(self) -> str:
        """See `RedisStore.lacks`; also where one node alone lost its data."""
        keys = [self.bucket_key(b, "g") for b in range(BUCKETS)]
        *found, lost = await self._cluster.pipeline([("GET", key) for key in (*keys, self.bucket_key(0, "g-lost"))])
        for reply in (*found, lost):
            if reply is not None and not isinstance(reply, bytes):
                self._misread(reply)
        if lost:
            return str(lost.decode(errors="replace"))
        if len(set(found)) > 1:
            return "a node of the cluster lost its data (the generation of its buckets is gone)"
        return EMPTY if found[0] is None else ""

    async def check(self) -> list[str]:
        """See `RedisStore.check`; of all masters."""
        await self._cluster.ready()
        found: list[str] = []
        for node in self._cluster.masters():
            now, *answers = await node.connection.pipeline([("TIME",), *QUESTIONS])
            self._checked_time(now)
            if not clustered(answers):
                return [f"refused: {node.endpoint} is not a node of a cluster; its address begins with redis://"]
            for sentence in findings(answers, self._replicated):
                kind, _, said = sentence.partition(": ")
                found.append(f"{kind}: {node.endpoint}: {said}")
        if without := self._cluster.uncovered():
            found.append(f"warning: {without} of {SLOTS} slots have no master")
        found = [*await self._check_generation(), *found]
        if not any(sentence.startswith("refused") for sentence in found) and (lacks := await self.lacks()):
            found.append(f"refused: {lacks}")
        return found

    async def _fetch(
        self, slots: Sequence[int], asked: Sequence[Sequence[Part]]
    ) -> tuple[int, list[list[bytes | None] | None]]:
        """The time, and the values of each row of keys: None where their node cannot be reached.

        Keys of a slot that is on its way may be on both nodes: then they are asked for one at a time. That they are
        not of one moment does not matter, since a commit compares versions.
        """
        until_s = self._soon()
        if not asked:
            await self._cluster.ask_time()
        calls = [Call(slot, pack(("MGET", *keys)), splits=True) for slot, keys in zip(slots, asked, strict=True)]
        await self._cluster.run(calls, until_s, repeat=True)
        rows = [self._row(call.reply, len(keys)) for call, keys in zip(calls, asked, strict=True)]
        torn = [i for i, call in enumerate(calls) if _torn(call.reply)]
        if torn:
            single = [[Call(slots[i], pack(("GET", key))) for key in asked[i]] for i in torn]
            await self._cluster.run([call for some in single for call in some], until_s, repeat=True)
            for i, some in zip(torn, single, strict=True):
                rows[i] = self._row([call.reply for call in some], len(some))
        if calls and not any(rows):
            raise StoreUnavailable(str(calls[0].reply))
        self._behind_ms = self._cluster.ahead_ms()
        return int(self._behind_ms + asyncio.get_running_loop().time() * 1000), rows

    def _row(self, reply: Reply, wanted: int) -> list[bytes | None] | None:
        """The values; None where they could not be read."""
        if isinstance(reply, StoreUnavailable) or _torn(reply):
            return None
        if type(reply) is not list or len(reply) != wanted:
            self._misread(reply)
        if any(isinstance(value, StoreUnavailable) for value in reply):
            return None
        for value in reply:
            if isinstance(value, hiredis.ReplyError):
                self._misread(value)
        return reply

    def _script(self, head: Command, commit: Commit, ends_s: float, node: Node) -> bytes:
        assert node.ahead_ms is not None
        data: bytes = pack((*head, *self._pack(commit, int(node.ahead_ms + ends_s * 1000) - 1)))
        return data

    def _came_to(self, commit: Commit, call: Call, behind: Sequence[Node], after_s: float) -> CommitStatus:
        if isinstance(call.reply, StoreUnavailable):
            return CommitStatus("unknown", after_s=after_s) if call.sent else CommitStatus("unreachable")
        [status] = self._noted([commit], [self._status(len(commit.entries), call.reply)])
        return CommitStatus("unknown") if status.done and call.node in behind else status

    def _soon(self) -> float:
        """When a read has to be there, by the loop's time: what is not by then is lost, and the rest is of use."""
        return asyncio.get_running_loop().time() + self.commit_budget_ms / 2000


def kind_of_store(url: str) -> type[RedisStore]:
    """The class that serves this address. Raises ValueError."""
    return ClusterStore if Address.parse(url).kind == "cluster" else RedisStore


def _torn(reply: Reply) -> bool:
    return isinstance(reply, hiredis.ReplyError) and str(reply).startswith("TRYAGAIN")


def _commands_of(data: bytes) -> list[list[bytes]]:
    """Commands in RESP, taken apart."""
    reader = hiredis.Reader()
    reader.feed(data)
    commands: list[list[bytes]] = []
    while (command := reader.gets()) is not False:
        commands.append(cast(list[bytes], command))
    return commands


def _customer_of(key: bytes) -> CustomerKey:
    tag, _, name = key.rpartition(b":")
    return CustomerKey(a2b_base64(name + b"=="), int(tag[tag.rindex(b"{") + 1 : tag.rindex(b"}")]))
