"""Our own transport and a decision's two trips to the store, and nothing decided: what is left if deciding were free.

Each batch watches and reads what a decision reads and writes a log entry and a record of usual size, as the lane does
it, of customers that are taken by turns. Run as a process: `python -m bench.echo.stored redis://HOST:PORT`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from itertools import cycle

import uvloop

from bench.echo.answer import PATH, announce, answer
from engine.columns.lane import OVERLAP
from engine.identity import customer_key
from engine.pb.tact.v1 import decision_pb2
from engine.state.connection import pack_all
from engine.state.contents import names_of
from engine.state.redis import RedisStore
from engine.transport import Call, Reply, Unary, awaited
from engine.transport.http2 import Http2Transport

_CUSTOMERS = 8192
_PROFILE, _RECORD, _ENTRY = 450, 900, 450  # bytes
_BATCH, _BUDGET_MS = 256, 2000


class Customer:
    """The pieces of commands that concern one."""

    def __init__(self, store: RedisStore, number: int) -> None:
        key = customer_key(f"c{number}")
        profile, record, spilled = (store.prefix.encode() + name for name in names_of(key))
        log, entry = store.bucket_key(key.bucket, "log"), os.urandom(_ENTRY)
        self.profile = profile
        self.watched = pack_all([(profile, record)])[4:]  # without the head
        self.read = pack_all([(profile, record, spilled + b"0123456789abcdef")])[4:]
        self.written = pack_all([("XADD", log, "*", "d", entry), ("SET", record, os.urandom(_RECORD))])


class Batches:
    """What came while batches were under way is the next one."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        made = [Customer(store, number) for number in range(_CUSTOMERS)]
        self._profiles = [("SET", customer.profile, os.urandom(_PROFILE)) for customer in made]
        self._customers = cycle(made)
        self._waiting: list[tuple[bytes, Reply]] = []
        self._slots = list(range(OVERLAP))
        self._tasks: set[asyncio.Task[None]] = set()

    async def prepare(self) -> None:
        """Writes the profiles."""
        await self._store.check()
        await self._store.side.pipeline(self._profiles)

    def begin(self, body: bytes, _: Call, reply: Reply) -> None:
        """Takes one call."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._start)
        self._waiting.append((body, reply))

    def _start(self) -> None:
        if self._waiting and self._slots:
            taken, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
            self._tasks.add(task := asyncio.ensure_future(self._run(taken, self._slots.pop())))
            task.add_done_callback(self._tasks.discard)

    async def _run(self, taken: list[tuple[bytes, Reply]], slot: int) -> None:
        await self._trips(len(taken), slot)
        for body, reply in taken:
            reply.answer(answer(decision_pb2.DecideRequest.FromString(body)).SerializeToString())
        self._slots.append(slot)
        self._start()

    async def many(self, body: bytes, _: Call) -> bytes:
        """A call of many events."""
        requests = decision_pb2.DecideBatchRequest.FromString(body).requests
        slot = self._slots.pop()
        for first in range(0, len(requests), _BATCH):
            await self._trips(len(requests[first : first + _BATCH]), slot)
        self._slots.append(slot)
        responses = [answer(request) for request in requests]
        return decision_pb2.DecideBatchResponse(responses=responses).SerializeToString()

    async def _trips(self, n: int, slot: int) -> None:
        some = [next(self._customers) for _ in range(n)]
        command = b"*%d\r\n$5\r\nWATCH\r\n%b*%d\r\n$4\r\nMGET\r\n%b" % (
            1 + 2 * n, b"".join([one.watched for one in some]), 1 + 3 * n, b"".join([one.read for one in some]),
        )  # fmt: skip
        look = await self._store.look(slot, command, n, _BUDGET_MS)
        written = b"*1\r\n$5\r\nMULTI\r\n%b*1\r\n$4\r\nEXEC\r\n" % b"".join([one.written for one in some])
        status = await self._store.commit_look(look, written, 2 * n)
        if status != "done":
            raise RuntimeError(f"the store said {status}")


async def main() -> None:
    """Serves until ended."""
    batches = Batches(RedisStore(sys.argv[1], "echo:", commit_budget_ms=_BUDGET_MS))
    await batches.prepare()
    methods = [Unary(PATH, awaited(batches.begin), begin=batches.begin), Unary(f"{PATH}Batch", batches.many)]
    transport = Http2Transport(methods, "127.0.0.1", 0)
    announce(await transport.start())
    await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    uvloop.run(main())
