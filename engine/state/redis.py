"""The store: a customer's state in Redis or Valkey, read by MGET and committed by compare-and-set.

    <prefix>{<bucket>}p:<customer>           profile
    <prefix>{<bucket>}r:<customer>           record
    <prefix>{<bucket>}a:<customer>:<event>   an answer spilled out of the record
    <prefix>{<bucket>}log                    stream; one field `d` per entry (see log.py)
    <prefix>{<bucket>}g                      generation (see generation.py)
    <prefix>{0}<name>                        what the whole deployment shares (`key`)

<customer> is the digest in base 64 without padding: 10 bytes less than in hex, 48 less in memory for
both keys. All of a customer's keys and the bucket's stream share a hash tag, so a commit is one script in one
cluster slot. This is one node (or the master that sentinels name); see cluster_store.py for many. Times are the
store's.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import time
from binascii import b2a_base64
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, NoReturn, cast

import hiredis

from engine.errors import StoreUnavailable
from engine.identity import CustomerKey
from engine.state.address import Address
from engine.state.checks import QUESTIONS, clustered, findings
from engine.state.connection import Command, Connection, Reply, Wire, pack, pack_all, within
from engine.state.generation import EMPTY, Generation
from engine.state.lengths import LogLengths
from engine.state.link import Link, connection_to, link_to
from engine.state.log import DecisionEntry, decode
from engine.state.losses import Loss
from engine.state.model import Commit, CommitStatus, ReadBatch, ReadEntry, ReadRequest

if TYPE_CHECKING:
    import redis.asyncio

log = logging.getLogger(__name__)

CLOCKS_APART_MS_MAX = 300_000  # beyond this, state counts as unknown
_STATUSES = frozenset((b"moved", b"late", b"generation", b"log_full"))
SCRIPT = resources.files("engine.state").joinpath("lua/commit.lua").read_bytes()
SCRIPT_SHA = hashlib.sha1(SCRIPT, usedforsecurity=False).hexdigest()
_TIME: bytes = pack(("TIME",))


class Look(NamedTuple):
    """Many customers as they were at `now_ms`: by turns profile, record and spilled answer, None for none.

    Of a cluster: `lost` says which of the customers could not be read, and there is no wire but the keys of all.
    """

    now_ms: int
    not_after_ms: int
    blobs: list[bytes | None]
    wire: Wire | None
    lost: Sequence[int] = ()
    keys: Sequence[bytes] = ()


class RedisStore:
    """Implements `model.Store` on one Redis (7 or later) or Valkey node.

    Besides the statuses of `model.CommitStatus` a commit may end as `refused`: the server answered
    with an error before the first write (out of memory, read-only, loading, disk full), so nothing
    was or will be written; the text is logged and in `last_refusal`.

    `commit_budget_ms` is what callers add to a read's `now_ms` to get `not_after_ms`. `timeout_ms`
    bounds connecting, and the store's silence after which it counts as lost. `audit` says what a
    commit does where its bucket's stream already holds `max_log_length` entries: `require` refuses it
    (log_full), `best-effort` drops its entries and counts them in `log_dropped`. `durability`: done once the store
    has it, or once a replica has it too (one WAIT for each batch); where none says so in time, the commit is
    `unknown`, though it was executed. `generation_file` remembers the store's generation over restarts.
    `max_loss_ms`: where the store turns out to have lost more than its last writes of that time, it is closed until
    acknowledged. Belongs to one event loop, from first use.
    """

    def __init__(
        self,
        url: str,
        prefix: str = "tact:",
        *,
        commit_budget_ms: int = 250,
        timeout_ms: int = 1000,
        audit: Literal["require", "best-effort"] = "require",
        max_log_length: int = 100_000,
        durability: Literal["store", "replica"] = "store",
        generation_file: Path | None = None,
        max_loss_ms: int = 2000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.url = url
        self.prefix = prefix
        self._tag = f"{prefix}{{".encode()
        self.commit_budget_ms = commit_budget_ms
        self.timeout_ms = timeout_ms
        self.max_log_length = max_log_length
        self.log_dropped = 0
        self.last_refusal = ""
        self._audit = audit
        self._replicated = durability == "replica"
        self._clock = clock
        self._address = Address.parse(url)
        self._link = self.new_link()
        self._connection = cast(Connection, self._link)  # of the hot path; a cluster's store has its own
        self._side: Link | None = None
        self._generation = Generation(self._link, self.bucket_key, generation_file, max_loss_ms)
        self._behind_ms: float | None = None  # a lower bound of the store's clock minus the loop's
        self._admin: redis.asyncio.Redis | None = None
        self.lengths = LogLengths()  # of logs; see `measure_logs`
        self._slots: list[Connection] = []  # of transactions
        self._heads: tuple[int, dict[int, bytes]] = (0, {})
        self._name = os.urandom(8).hex()

    # Keys

    def bucket_key(self, bucket: int, name: str) -> bytes:
        """The key of something a bucket has one of, such as `log`."""
        return f"{self.prefix}{{{bucket}}}{name}".encode()

    def key(self, name: str) -> bytes:
        """The key of something the deployment has one of; all of these share a slot."""
        return self.bucket_key(0, name)

    def _customer_keys(self, customer: CustomerKey) -> tuple[str, str, str]:
        tag = f"{self.prefix}{{{customer.bucket}}}"
        name = b2a_base64(customer.digest, newline=False)[:22].decode()
        return f"{tag}p:{name}", f"{tag}r:{name}", f"{tag}a:{name}:"

    # The hot path

    async def read(self, requests: Sequence[ReadRequest]) -> ReadBatch:
        """See `model.Store`. Also raises StoreUnavailable where the clocks differ by over 5 minutes."""
        commands: list[Command] = [("TIME",)]
        for customer, events in requests:
            profile, record, answer = self._customer_keys(customer)
            commands.append(("MGET", profile, record, *[f"{answer}{e:016x}" for e in events]))
        replies = await self._connection.pipeline(commands)
        now_ms = self._take_time(replies[0])
        entries = []
        for request, reply in zip(requests, replies[1:], strict=True):
            if type(reply) is not list or len(reply) != 2 + len(request.events):
                self._misread(reply)
            profile, record, *found = reply
            spilled = {e: b for e, b in zip(request.events, found, strict=True) if b is not None}
            entries.append(ReadEntry(profile or b"", record or b"", spilled))
        return ReadBatch(now_ms, entries, closed=self.closed)

    async def commit(self, commits: Sequence[Commit], not_after_ms: int) -> list[CommitStatus]:
        """See `model.Store`."""
        if not commits:
            return []
        if self._behind_ms is None:
            self._take_time((await self._connection.pipeline([("TIME",)]))[0])
        if not await self._generation.join():
            return [CommitStatus("generation")] * len(commits)
        packed = [self._pack(c, not_after_ms) for c in commits]
        await self._connection.ready()
        commands: list[Command] = [("EVALSHA", SCRIPT_SHA, *p) for p in packed]
        sent = self._connection.send(commands + self._wait(self._seconds_until(not_after_ms)))
        try:
            async with asyncio.timeout(self._seconds_until(not_after_ms)):
                replies = await sent
                behind = self._replicated and not _acknowledged(replies.pop())
                lacking = [i for i, r in enumerate(replies) if self._lacks_script(r)]
                if lacking:  # none of these was executed: the server forgot its scripts
                    commands = [("EVAL", SCRIPT, *packed[i]) for i in lacking]
                    again = await self._connection.send(commands + self._wait(self._seconds_until(not_after_ms)))
                    behind |= self._replicated and not _acknowledged(again.pop())
                    for i, reply in zip(lacking, again, strict=True):
                        replies[i] = reply
        except TimeoutError:
            return [CommitStatus("unknown")] * len(commits)
        except StoreUnavailable:
            await asyncio.sleep(self._seconds_until(not_after_ms))
            return [CommitStatus("unknown")] * len(commits)
        statuses = self._noted(
            commits, [self._status(len(c.entries), r) for c, r in zip(commits, replies, strict=True)]
        )
        return [CommitStatus("unknown") if behind and s.done else s for s in statuses]

    async def look(self, slot: int, command: bytes, customers: int, budget_ms: int, each: int = 3) -> Look:
        """Reads many customers for one transaction: `command` is a WATCH and an MGET of theirs, as RESP.

        What is watched besides: the store's generation, and a key that lives for `budget_ms` and no longer. So nothing
        is executed where the store lost its data, or later than that. A slot is a connection of its own: one look at a
        time. The MGET is of `each` keys a customer. Raises StoreUnavailable; TimeoutError beyond `budget_ms`.
        """
        while len(self._slots) <= slot:
            self._slots.append(connection_to(self._address, self.timeout_ms / 1000))
        connection = self._slots[slot]
        if not (connection.connected and self._generation.holds):
            async with asyncio.timeout(budget_ms / 1000):
                await self._make_ready(connection)
        wire = connection.wire
        sent = wire.send(self._head(slot, budget_ms) + command, 7)
        *_, watched, time_, _, blobs = replies = await within(sent, budget_ms / 1000)
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError):
                if str(reply).startswith("READONLY"):
                    wire.fail("it became a replica")
                raise StoreUnavailable(f"the store refused: {reply}")
        if watched[0] is None:  # it had expired before it was watched
            raise StoreUnavailable("the store took too long")
        if watched[1] != self._generation.known:
            self._generation.doubt()
            raise StoreUnavailable("the store lost its data")
        now_ms = self._take_time(time_)
        if type(blobs) is not list or len(blobs) != each * customers:
            wire.fail("a read was answered by something else")
            raise StoreUnavailable("the store answered a read by something else")
        return Look(now_ms, now_ms + budget_ms, blobs, wire)

    async def _make_ready(self, connection: Connection) -> None:
        if not await self._generation.join():
            raise StoreUnavailable("the store lost its data")
        made = connection.made
        await connection.ready()
        if made != connection.made:
            self._generation.doubt()
            if not await self._generation.join():
                raise StoreUnavailable("the store lost its data")

    def _head(self, slot: int, budget_ms: int) -> bytes:
        """The five commands that a look begins with; those of the last budget are remembered."""
        if self._heads[0] != budget_ms:
            self._heads = budget_ms, {}
        found = self._heads[1].get(slot)
        if found is None:
            guard, generation = self.key(f"guard:{self._name}:{slot}"), self.key("g")
            head: list[Command] = [("UNWATCH",), ("SET", guard, 1, "PX", budget_ms), ("WATCH", guard, generation)]
            head.append(("MGET", guard, generation))
            found = self._heads[1][slot] = pack_all(head) + _TIME
        return found

    async def commit_look(self, look: Look, command: bytes, commands: int) -> str | list[CommitStatus]:
        """Executes the transaction that belongs to a look, all of it or nothing; its status as of a commit.

        In a cluster each customer's part is for itself, and has a status of its own.

        `commands` lie within its MULTI and EXEC. `moved`: somebody wrote to one of the customers meanwhile, or it came
        too late. Raises StoreUnavailable where nothing was sent.
        """
        wire = look.wire
        assert wire is not None
        left_s = self._seconds_until(look.not_after_ms)
        sent = wire.send(command + pack_all(self._wait(left_s)), commands + 2 + self._replicated)
        try:
            replies = await within(sent, left_s)
        except TimeoutError:
            return "unknown"
        except StoreUnavailable:
            await asyncio.sleep(self._seconds_until(look.not_after_ms))
            return "unknown"
        behind = self._replicated and not _acknowledged(replies.pop())
        reply = replies[-1]
        if type(reply) is list and len(reply) == commands:
            for one in reply:
                if isinstance(one, hiredis.ReplyError):  # a key of another type: the rest was executed
                    log.error("a part of a transaction failed: %s", one)
                    return "unknown"
            self._saw(command, reply[0])
            return "unknown" if behind else "done"
        if reply is None:
            return "moved"
        if isinstance(reply, hiredis.ReplyError):  # a command was refused, so nothing was executed
            self.last_refusal = str(reply)
            return "refused"
        wire.fail("a transaction was answered by something else")
        return "unknown"

    def _noted(self, commits: Sequence[Commit], statuses: list[CommitStatus]) -> list[CommitStatus]:
        """The statuses; what was written is remembered, so that it is missed where the store loses it."""
        for commit, status in zip(commits, statuses, strict=True):
            if status.log_id:
                self._generation.seen.note(commit.customer.bucket, status.log_id)
        return statuses

    def _saw(self, command: bytes, log_id: bytes) -> None:
        """Notes the first entry of a transaction, which stands and falls with all of it."""
        begin = command.index(self._tag) + len(self._tag)
        self._generation.seen.note(int(command[begin : command.index(b"}", begin)]), log_id.decode())

    async def measure_logs(self) -> None:
        """Brings `lengths` up to date, see there. Raises StoreUnavailable, and then all are due the next time."""
        due = self.lengths.due(asyncio.get_running_loop().time())
        try:
            self.lengths.note(due, await self._lengths_of(due), self.max_log_length)
        except BaseException:
            self.lengths.forget()
            raise

    async def _lengths_of(self, buckets: Sequence[int]) -> list[Reply]:
        return await self._link.pipeline([("XLEN", self.bucket_key(b, "log")) for b in buckets])

    async def shared(self, commands: Sequence[Command]) -> list[Reply]:
        """Commands on keys of `key`, in one round trip. Raises StoreUnavailable, also where one of them is refused."""
        replies = await self._connection.pipeline(commands)
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError):
                raise StoreUnavailable(f"the store refused: {reply}")
        return replies

    async def find_decision(self, customer: CustomerKey, event: int, slot: int) -> DecisionEntry | None:
        """See `model.Store`. Looks through the bucket's stream from its end, at most 10,000 entries back."""
        key, last = self.bucket_key(customer.bucket, "log"), "+"
        for _ in range(10):
            [reply] = await self._link.pipeline([("XREVRANGE", key, last, "-", "COUNT", 1000)])
            if type(reply) is not list:
                self._misread(reply)
            for log_id, pairs in reply:
                last = "(" + log_id.decode()
                if pairs[1][:1] != b"\x01":
                    continue
                entry = decode(pairs[1])
                if (
                    isinstance(entry, DecisionEntry)
                    and entry.customer == customer.digest
                    and (entry.event, entry.slot) == (event, slot)
                ):
                    return entry
            if len(reply) < 1000:
                return None
        return None

    def _pack(self, commit: Commit, not_after_ms: int) -> Command:
        c = commit
        profile, record, answer = self._customer_keys(c.customer)
        keys: list[str | bytes] = [
            record,
            profile,
            self.bucket_key(c.customer.bucket, "log"),
            self.bucket_key(c.customer.bucket, "g"),
        ]
        keys += [f"{answer}{event:016x}" for event, _, _ in c.spills]
        spills = [part for _, body, life_ms in c.spills for part in (body, life_ms)]
        return (
            len(keys),
            *keys,
            c.record_version,
            c.profile_version,
            self._generation.known,
            not_after_ms,
            self.max_log_length,
            self._audit,
            c.record or b"",
            c.expire_record_ms,
            c.profile or b"",
            1 if c.delete_profile else 0,
            len(c.entries),
            *c.entries,
            *spills,
        )

    def _status(self, entries: int, reply: Reply) -> CommitStatus:
        """What a commit of so many log entries came to."""
        if isinstance(reply, bytes):
            word, _, log_id = reply.partition(b" ")
            if word == b"done":
                return CommitStatus("done", log_id.decode())
            if word == b"dropped":
                self.log_dropped += entries
                return CommitStatus("done")
            if word in _STATUSES:
                if word == b"generation":
                    self._generation.doubt()
                return CommitStatus(word.decode())
        if isinstance(reply, hiredis.ReplyError):
            if str(reply).startswith("READONLY"):  # it was made a replica: its master is somewhere else
                self._link.drop("it became a replica")
                if self._address.kind == "sentinel":
                    return CommitStatus("moved")
            if str(reply) != self.last_refusal:
                log.warning("the store refused a commit: %s", reply)
            self.last_refusal = str(reply)
            return CommitStatus("refused")
        self._link.drop("a commit was answered by something else")
        return CommitStatus("unknown")

    def _wait(self, left_s: float) -> list[Command]:
        """What asks for a replica's word on what was written before, for a part of the time that is left.

        And for less than a silence that counts as a loss: who waits behind it on this connection would be lost too.
        """
        if not self._replicated:
            return []
        return [("WAIT", 1, max(1, min(int(left_s * 900), self.timeout_ms // 2)))]

    @staticmethod
    def _lacks_script(reply: Reply) -> bool:
        return isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT")

    def _take_time(self, reply: Reply) -> int:
        now_ms = self._checked_time(reply)
        # The TIME was taken before now, so the store's clock is at least this far ahead of the loop's.
        self._behind_ms = now_ms - asyncio.get_running_loop().time() * 1000
        return now_ms

    def _checked_time(self, reply: Reply) -> int:
        try:
            seconds, micros = map(int, reply)
        except (TypeError, ValueError):
            self._misread(reply)
        now_ms = seconds * 1000 + micros // 1000
        apart_ms = now_ms - int(self._clock() * 1000)
        if abs(apart_ms) > CLOCKS_APART_MS_MAX:
            raise StoreUnavailable(f"the store's clock is {apart_ms / 1000:+.0f} s off this engine's")
        return now_ms

    def _misread(self, reply: Reply) -> NoReturn:
        """Raises StoreUnavailable for an error reply; anything else was not meant for this command."""
        if isinstance(reply, hiredis.ReplyError):
            raise StoreUnavailable(f"the store refused a read: {reply}")
        self._link.drop("a read was answered by something else")
        raise StoreUnavailable("the store answered a read by something else")

    def _seconds_until(self, not_after_ms: int) -> float:
        """How long until the store's clock is surely past `not_after_ms`, so that nothing executes."""
        assert self._behind_ms is not None
        now_ms = self._behind_ms + asyncio.get_running_loop().time() * 1000
        return max(0.0, (not_after_ms + 1 - now_ms) / 1000)

    # Everything else

    def new_link(self) -> Link:
        """A connection (in a cluster one to each master) of the caller's own, who closes it."""
        return link_to(self._address, self.timeout_ms / 1000)

    @property
    def side(self) -> Link:
        """For what is not hot: revisions, what was learnt."""
        if self._side is None:
            self._side = self.new_link()
        return self._side

    @property
    def admin(self) -> redis.asyncio.Redis:
        """redis-py's client, for tests and tools on one node: RESP2, bytes, no retries (it would repeat writes)."""
        if self._admin is None:
            import redis.asyncio  # not at a server's start: it takes 50 ms
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff

            self._admin = redis.asyncio.Redis.from_url(
                self.url,
                decode_responses=False,
                protocol=2,
                retry=Retry(NoBackoff(), 0),
                socket_timeout=self.timeout_ms / 1000,
                socket_connect_timeout=self.timeout_ms / 1000,
            )
        return self._admin

    @property
    def connected(self) -> bool:
        return self._link.connected

    @property
    def closed(self) -> str:
        """Why nothing may be committed until somebody acknowledges, as far as is known; "" where it may."""
        return self._generation.closed

    async def look_again(self) -> None:
        """Whether a store that was closed has been acknowledged, where nobody decides. Raises StoreUnavailable."""
        if self._generation.closed:
            await self._generation.join()

    @property
    def losses(self) -> int:
        """How often lost writes were noticed."""
        return self._generation.losses

    async def close_for_all(self, why: str) -> None:
        """Nobody commits until somebody acknowledges. Raises StoreUnavailable."""
        await self._generation.close(why)

    async def notice(self, loss: Loss) -> bool:
        """Somebody saw that writes are gone; whether it may go on. Raises StoreUnavailable."""
        return await self._generation.notice(loss)

    async def lacks(self) -> str:
        """What this store lost that nobody acknowledged, "" for nothing. Raises StoreUnavailable."""
        found, lost = await self._link.pipeline([("EXISTS", self.key("g")), ("GET", self.key("g-lost"))])
        if not isinstance(found, int):
            self._misread(found)
        return lost.decode(errors="replace") if isinstance(lost, bytes) else "" if found else EMPTY

    async def acknowledge_generation(self) -> None:
        """Accepts the store as it is now, after it lost data: a new generation begins, caps from there.

        Other engines that remember the old generation take it over with their next commit.
        """
        await self._generation.acknowledge()

    async def check(self) -> list[str]:
        """What is wrong with this store, as sentences: `refused: ..` must stop a server, `warning: ..` not.

        Raises StoreUnavailable where it cannot be reached or its clock is more than 5 minutes off.
        """
        now, *answers = await self._connection.pipeline([("TIME",), *QUESTIONS])
        self._take_time(now)
        if clustered(answers):
            return ["refused: the store is a node of a cluster; its address must begin with redis+cluster://"]
        return [*await self._check_generation(), *findings(answers, self._replicated)]

    async def _check_generation(self) -> list[str]:
        return [] if await self._generation.join() else [f"refused: {self._generation.closed}"]

    async def close(self) -> None:
        """Closes all connections; calls under way fail."""
        for link in (self._link, *self._slots, *filter(None, (self._side,))):
            await link.close()
        if self._admin is not None:
            await self._admin.aclose()


def _acknowledged(reply: Reply) -> bool:
    """Whether a WAIT says that a replica has it."""
    return isinstance(reply, int) and reply > 0
