"""Redis or Valkey Cluster: one pipelined connection to each master, and which master has which slot.

A command goes to the master of its key's slot. What a server refuses since the slot is elsewhere, on its way, or
without a master for a moment (MOVED, ASK, TRYAGAIN, CLUSTERDOWN, READONLY, LOADING, MASTERDOWN) was not executed: it is
sent again until the caller's time is up. What was sent and got no reply is sent again only where the caller says that
it may be.

The map comes from CLUSTER NODES, which tells each master's epoch: a view is taken per slot only where its epoch is
not older than the one known, so that a master that was replaced while it stood still cannot take its slots back. It is
read anew when a command was sent to the wrong node, when a node is lost, and every two seconds of use.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import hiredis

from engine.errors import StoreUnavailable
from engine.state.address import Address, Endpoint
from engine.state.connection import Command, Connection, Reply, pack
from engine.state.slots import SLOTS, joined, slot_of, split
from engine.state.topology import Member, members

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 2.0
_LOOK_AGAIN_S = 0.1  # at most so often where something is wrong
_LOOK_S = 0.5  # how long a caller waits for a new map
_NODE_S = 0.25  # and how long a node may take to tell it
_HOPS_MAX = 5  # from node to node without a pause
_PAUSE_FIRST_S, _PAUSE_LAST_S = 0.002, 0.05
_PATIENCE_S = 0.25  # with a server that is not itself
_NOT_ITSELF = ("CLUSTERDOWN", "READONLY", "LOADING", "MASTERDOWN")
_TIME: bytes = pack(("TIME",))
_ASKING: bytes = pack(("ASKING",))


class Node:
    """A server of the cluster. `ahead_ms` is a lower bound of its clock minus the loop's, None until it was asked."""

    __slots__ = ("ahead_ms", "connection", "endpoint", "lost")

    def __init__(self, address: Address, timeout_s: float) -> None:
        self.endpoint = address.endpoints[0]
        self.connection = Connection(address, timeout_s)
        self.ahead_ms: float | None = None
        self.lost = False


Data = bytes | Callable[[Node], bytes]


@dataclass(slots=True, eq=False)
class Call:
    """One command on its way: to the master of its slot, or once to `asked`, as ASK said.

    `data` is its bytes, or makes them for a node (whose clock is known then); `fallback` is used where the node lacks
    the script. `reply` is what came (from `node`), or StoreUnavailable; `sent`: it may have been executed even so.
    `splits`: the caller can ask for one key at a time, so TRYAGAIN is a reply like any other.
    """

    slot: int
    data: Data
    fallback: Data | None = None
    reply: Reply = None
    sent: bool = False
    node: Node | None = None
    asked: Node | None = None
    splits: bool = False


@dataclass(slots=True)
class _Round:
    """What one turn left to do: at once, after a pause, or with the new map."""

    again: list[Call] = field(default_factory=list)
    migrating: list[Call] = field(default_factory=list)
    unwell: list[Call] = field(default_factory=list)
    lost: list[Call] = field(default_factory=list)


class Cluster:
    """Links to all masters. `timeout_s` as of `Connection`. Belongs to one event loop.

    `take_time` makes ms of a node's TIME, and may raise StoreUnavailable.
    """

    def __init__(self, address: Address, timeout_s: float) -> None:
        self.address = address
        self.take_time: Callable[[Reply], int] = _milliseconds
        self._timeout_s = timeout_s
        self._nodes: dict[Endpoint, Node] = {}
        self._owners: list[Node | None] = [None] * SLOTS
        self._ids: list[str] = [""] * SLOTS  # of the owners, and their epochs
        self._epochs = [0] * SLOTS
        self._looking: asyncio.Task[None] | None = None
        self._look_at = 0.0
        self._changes = 0
        self._turn = 0
        self._view: list[Member] = []  # as it was told last
        self._blind = False  # nobody could tell it the last time: nobody waits for the next
        self._why = "not connected yet"
        self._closed = False

    @property
    def connected(self) -> bool:
        return any(node.connection.connected for node in self.masters())

    @property
    def made(self) -> int:
        """See `Link`; it only grows."""
        return self._changes + sum(node.connection.made for node in self._nodes.values())

    def masters(self) -> list[Node]:
        """Who has slots, as far as is known."""
        return list(dict.fromkeys(node for node in self._owners if node is not None))

    def uncovered(self) -> int:
        """How many slots have no owner."""
        return self._owners.count(None)

    def ahead_ms(self) -> float:
        """How far the fastest node's clock is ahead of the loop's, at least. Raises StoreUnavailable."""
        known = [node.ahead_ms for node in self._nodes.values() if node.ahead_ms is not None]
        if not known:
            raise StoreUnavailable(f"no node of the cluster at {self.address} tells the time")
        return max(known)

    async def ask_time(self) -> float:
        """Asks all masters for their time; see `ahead_ms`. Raises StoreUnavailable."""
        await self.ready()
        until_s = asyncio.get_running_loop().time() + self._timeout_s
        await asyncio.gather(*(self._exchange(n, [], _Round(), until_s, (), set()) for n in self.masters()))
        return self.ahead_ms()

    async def ready(self) -> None:
        """Returns when the map is known. Raises StoreUnavailable."""
        if not any(self._owners):
            await self._look()
        if not any(self._owners):
            raise StoreUnavailable(f"the cluster at {self.address} cannot be reached: {self._why}")

    async def pipeline(self, commands: Sequence[Command]) -> list[Reply]:
        """Sends each command to the node of its key, an XREAD of many streams in parts; replies in order.

        Nothing is sent twice where it may have been executed. Raises StoreUnavailable.
        """
        calls = await self._run_all(commands, repeat=False)
        for call in (call for some in calls for call in some):
            if isinstance(call.reply, StoreUnavailable):
                raise call.reply
        return [joined([call.reply for call in some]) for some in calls]

    async def ask(self, commands: Sequence[Command]) -> list[Reply]:
        """See `Link`. Raises StoreUnavailable."""
        replies = []
        for some in await self._run_all(commands, repeat=True):
            failed = next((call for call in some if isinstance(call.reply, StoreUnavailable)), None)
            replies.append(joined([call.reply for call in some]) if failed is None else failed.reply)
            if failed is not None and (owner := self._owners[failed.slot]) is not None:
                owner.connection.drop("it did not answer")
        return replies

    async def _run_all(self, commands: Sequence[Command], *, repeat: bool) -> list[list[Call]]:
        """The calls that each command became, with their replies."""
        calls = [[Call(slot, pack(one)) for slot, one in split(command)] for command in commands]
        until_s = asyncio.get_running_loop().time() + 2 * self._timeout_s
        await self.run([call for some in calls for call in some], until_s, repeat=repeat)
        return calls

    def server_of(self, key: bytes) -> object:
        """See `Link`."""
        return self._owners[slot_of(key)]

    async def run(
        self, calls: Sequence[Call], until_s: float, *, repeat: bool, tail: Sequence[Command] = ()
    ) -> list[Node]:
        """Gives each call its reply, or StoreUnavailable, by the loop's time `until_s`.

        `repeat`: a call may be sent again though it may have been executed. `tail`, a WAIT or nothing, is sent to
        each node behind its calls; the nodes that said 0 are returned. Raises StoreUnavailable where no map
        is to be had.
        """
        await self.ready()
        loop = asyncio.get_running_loop()
        if loop.time() - self._look_at > _LOOK_EVERY_S:
            self._start_look()
        behind: set[Node] = set()
        left, hops, pause_s, patient_until_s = list(calls), 0, _PAUSE_FIRST_S, loop.time() + _PATIENCE_S
        while left:
            turn = _Round()
            by_node: dict[Node, list[Call]] = {}
            for call in left:
                node = call.asked or self._owners[call.slot]
                if node is None:
                    self._fail(call, turn, f"no node has slot {call.slot}", sent=False)
                else:
                    by_node.setdefault(node, []).append(call)
            if len(by_node) == 1:
                [(node, own)] = by_node.items()
                await self._exchange(node, own, turn, until_s, tail, behind)
            elif by_node:
                await asyncio.gather(*(self._exchange(n, c, turn, until_s, tail, behind) for n, c in by_node.items()))
            left = turn.again
            if left:
                hops += 1
            if turn.lost or turn.unwell:
                left += await self._with_new_map(turn, repeat, loop.time() < patient_until_s)
            left += turn.migrating
            if not left:
                break
            if loop.time() + pause_s >= until_s:  # what is left was not executed; it says why
                break
            if len(left) > len(turn.again) or hops > _HOPS_MAX:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _PAUSE_LAST_S)
        for call in left:
            log.debug("not taken in time: %s", call.reply)
            call.reply, call.sent = StoreUnavailable("its slot was moved for longer than there was time"), False
        return list(behind)

    async def close(self) -> None:
        """Closes all connections and stays closed."""
        self._closed = True
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait((self._looking,))
        for node in self._nodes.values():
            await node.connection.close()

    def drop(self, why: str) -> None:
        """Closes what cannot be trusted any more: all of it, since nobody says which node it was."""
        for node in self._nodes.values():
            node.connection.drop(why)

    # One turn

    async def _exchange(
        self, node: Node, calls: list[Call], turn: _Round, until_s: float, tail: Sequence[Command], behind: set[Node]
    ) -> None:
        """Sends calls to a node and sorts what comes back."""
        sent = False
        try:
            async with asyncio.timeout_at(until_s):
                await node.connection.ready()
                if node.ahead_ms is None:
                    self._note_time(node, (await node.connection.send_packed(_TIME, 1))[0])
                parts, wanted = [_TIME], 1
                for call in calls:
                    if call.asked is not None:
                        parts.append(_ASKING)
                    parts.append(call.data if isinstance(call.data, bytes) else call.data(node))
                    wanted += 2 if call.asked is not None else 1
                parts += map(pack, tail)
                future = node.connection.send_packed(b"".join(parts), wanted + len(tail))
                sent = True
                replies = iter(await future)
            self._note_time(node, next(replies))
        except (StoreUnavailable, TimeoutError) as error:
            if not node.lost and not self._closed:
                log.warning("a node of the cluster is lost: %s", str(error) or f"{node.endpoint} did not reply in time")
            node.lost = True
            for call in calls:
                self._fail(
                    call, turn, str(error) or "no reply in time", sent=sent, late=isinstance(error, TimeoutError)
                )
            return
        if node.lost:
            log.warning("the node of the cluster at %s is back", node.endpoint)
            node.lost = False
        for call in calls:
            if call.asked is not None:
                next(replies)
                call.asked = None
                self._sort(call, next(replies), node, turn, asked=node)
            else:
                self._sort(call, next(replies), node, turn)
        if any(not (isinstance(acknowledged, int) and acknowledged) for acknowledged in replies):
            behind.add(node)

    def _sort(self, call: Call, reply: Reply, node: Node, turn: _Round, asked: Node | None = None) -> None:
        call.reply, call.node, call.sent = reply, node, True
        if not isinstance(reply, hiredis.ReplyError):
            return
        word, _, rest = str(reply).partition(" ")
        if word == "MOVED":
            self._owners[call.slot] = self._node(_endpoint_of(rest, node))
            self._changes += 1
            self._view = []
            self._start_look()
            turn.again.append(call)
        elif word == "ASK":
            call.asked = self._node(_endpoint_of(rest, node))
            turn.again.append(call)
        elif word == "NOSCRIPT" and call.fallback is not None:
            call.data, call.fallback, call.asked = call.fallback, None, asked
            turn.again.append(call)
        elif word == "TRYAGAIN" and not call.splits:
            turn.migrating.append(call)
        elif word in _NOT_ITSELF:
            turn.unwell.append(call)

    @staticmethod
    def _fail(call: Call, turn: _Round, why: str, *, sent: bool, late: bool = False) -> None:
        call.reply, call.sent, call.asked = StoreUnavailable(why), sent, None
        if not late:
            turn.lost.append(call)

    async def _with_new_map(self, turn: _Round, repeat: bool, patient: bool) -> list[Call]:
        """Who may be sent again: to another owner, or to one that is not itself for a moment."""
        before = [self._owners[call.slot] for call in (*turn.lost, *turn.unwell)]
        await self._look()
        moved = [self._owners[c.slot] is not o for c, o in zip((*turn.lost, *turn.unwell), before, strict=True)]
        left = [c for c, elsewhere in zip(turn.lost, moved, strict=False) if elsewhere and (repeat or not c.sent)]
        for call, elsewhere in zip(turn.unwell, moved[len(turn.lost) :], strict=True):
            if elsewhere or patient:
                left.append(call)
            else:
                log.debug("not taken: %s", call.reply)
                call.reply, call.sent = StoreUnavailable("the node of its slot does not serve now"), False
        return left

    def _note_time(self, node: Node, reply: Reply) -> None:
        node.ahead_ms = self.take_time(reply) - asyncio.get_running_loop().time() * 1000

    # The map

    def _node(self, endpoint: Endpoint) -> Node:
        node = self._nodes.get(endpoint)
        if node is None:
            node = self._nodes[endpoint] = Node(self.address.at(endpoint), self._timeout_s)
        return node

    def _start_look(self) -> None:
        loop = asyncio.get_running_loop()
        if self._looking is None and not self._closed and loop.time() - self._look_at > _LOOK_AGAIN_S:
            self._look_at = loop.time()
            self._looking = loop.create_task(self._read_map())

    async def _look(self) -> None:
        """Waits for a new map, where none was read just now."""
        self._start_look()
        if self._looking is not None and not self._blind:
            await asyncio.wait((self._looking,), timeout=_LOOK_S)

    async def _read_map(self) -> None:
        """Asks one node after the other, those first that are connected, another one each time."""
        try:
            known = list(self._nodes.values())
            self._turn += 1
            known = known[self._turn % len(known) :] + known[: self._turn % len(known)] if known else []
            known.sort(key=lambda node: not node.connection.connected)
            for node in (*known, *(self._node(e) for e in self.address.endpoints if e not in self._nodes)):
                try:
                    async with asyncio.timeout(_NODE_S):
                        [reply] = await node.connection.pipeline([("CLUSTER", "NODES")])
                    if not isinstance(reply, bytes):
                        raise StoreUnavailable(str(reply))
                    await self._take_map(reply.decode(), node)
                    self._blind = False
                    return
                except (StoreUnavailable, TimeoutError) as error:
                    self._why = str(error) or f"{node.endpoint} does not answer"
            self._blind = True
        finally:
            self._looking = None
            self._look_at = asyncio.get_running_loop().time()

    async def _take_map(self, text: str, told_by: Node) -> None:
        view = members(text, told_by.endpoint, self.address.tls)
        if not view:
            raise StoreUnavailable(f"{told_by.endpoint} is not part of a cluster")
        if view == self._view:
            return
        ids = {member.id for member in view}
        for member in view:
            node = self._node(member.endpoint)  # replicas too: they may be asked for the map
            for first, last in member.spans:
                for slot in range(first, last + 1):
                    if member.epoch >= self._epochs[slot] or self._ids[slot] not in ids:
                        self._owners[slot] = node
                        self._ids[slot], self._epochs[slot] = member.id, member.epoch
        self._view = view
        self._changes += 1
        listed = {member.endpoint for member in view}
        needed = {*listed, *(node.endpoint for node in self.masters()), *self.address.endpoints}
        for endpoint in [e for e in self._nodes if e not in needed]:
            gone = self._nodes.pop(endpoint).connection
            self._changes += gone.made
            await gone.close()


def _endpoint_of(rest: str, node: Node) -> Endpoint:
    """Of `<slot> <host>:<port>`; no host: the same as of the node that said so."""
    host, _, port = rest.partition(" ")[2].rpartition(":")
    return Endpoint(host.strip("[]") or node.endpoint.host, int(port))


def _milliseconds(reply: Reply) -> int:
    if type(reply) is not list or len(reply) != 2:
        raise StoreUnavailable(f"the store answered TIME by {reply!r}")
    return int(reply[0]) * 1000 + int(reply[1]) // 1000
