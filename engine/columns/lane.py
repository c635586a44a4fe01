"""The fast lane: whole batches of plain decisions through kernels, and everything else by the ordinary way.

A request is handed over as bytes with somebody to answer. What has arrived while batches were under way is the
next batch. What kernels do not take (see `kernels.requests`, `kernels.choose`) is handed back unanswered, ahead of
whatever else waits for that customer: nothing was done for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from engine.bundle import Bundle
from engine.columns.batch import ColumnBatch, Draw
from engine.columns.rules import RuleColumns
from engine.columns.shares import ShareTable
from engine.decider import Decider
from engine.errors import CommitUnknown, StoreUnavailable, TactError
from engine.identity import BUCKETS, CustomerKey
from engine.kernels.arena import FINE
from engine.learning.policies import Posteriors
from engine.learning.shares import salt_keys
from engine.state.model import CommitStatus

log = logging.getLogger("tact.lane")

OVERLAP = 2  # batches under way: one computes while another waits for the store


class PackedStore(Protocol):
    """A store that takes requests as the bytes of its protocol."""

    prefix: str

    async def read_packed(self, command: bytes, count: int) -> tuple[int, list[bytes | None]]:
        """See `RedisStore`."""
        ...

    async def commit_words(self, not_after_ms: int) -> tuple[bytes, bytes] | None:
        """See `RedisStore`."""
        ...

    async def commit_packed(self, commands: bytes, ends: Sequence[int], not_after_ms: int) -> list[CommitStatus]:
        """See `RedisStore`."""
        ...


class Ask(Protocol):
    """A request: its bytes, and who is told."""

    payload: bytes

    def answered(self, answer: bytes | TactError) -> None:
        """The answer, a DecideResponse; or the error of what was tried."""
        ...

    def handed_back(self, ahead: bool) -> None:
        """Nothing was done: it is to be decided the ordinary way, `ahead` of what waits for the customer or not."""
        ...


class Lane:
    """One per event loop, beside its decider."""

    def __init__(self, decider: Decider, store: PackedStore, batch_max: int = 256) -> None:
        self._decider = decider
        self._store = store
        self._batch_max = batch_max
        self._prefix = np.frombuffer(store.prefix.encode(), np.uint8)
        self._draw = Draw(*salt_keys(decider.settings.salt))
        self._rules: RuleColumns | None = None
        self._shares: ShareTable | None = None
        self._waiting: deque[Ask] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._scheduled = False

    def submit(self, asks: Sequence[Ask]) -> None:
        """Takes requests, in their order."""
        self._waiting.extend(asks)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._start)

    def _start(self) -> None:
        self._scheduled = False
        while self._waiting and len(self._running) < OVERLAP:
            taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._batch_max))]
            task = asyncio.get_running_loop().create_task(self._run(taken))
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a batch failed", exc_info=task.exception())
        self._start()

    def _rules_of(self, bundle: Bundle) -> RuleColumns:
        if self._rules is None or self._rules.bundle is not bundle:
            self._rules = RuleColumns(bundle, self._decider.settings.secret)
            self._shares = None
        return self._rules

    def _shares_of(self, posteriors: Posteriors, rules: RuleColumns) -> ShareTable:
        if self._shares is None or self._shares.posteriors is not posteriors or self._shares.full:
            self._shares = ShareTable(posteriors, rules.bundle.steps.messages)
        return self._shares

    # ---- one batch --------------------------------------------------------------------------------

    async def _run(self, asks: list[Ask]) -> None:
        world = self._decider.world()
        rules = self._rules_of(world.bundle)
        if not rules.usable or self._decider.draining:
            for ask in asks:
                ask.handed_back(False)
            return
        batch = ColumnBatch(rules, [ask.payload for ask in asks])
        open_asks = dict(enumerate(asks))
        keys = self._claim(batch, open_asks)
        try:
            if keys:
                await self._decide(batch, open_asks, keys)
        except StoreUnavailable as error:
            log.debug("left to the ordinary way: %s", error)
        except Exception:
            log.exception("a batch could not be decided in columns")
        finally:
            for i, ask in open_asks.items():  # whoever has no answer: before the customer is free for others
                if i in keys:
                    ask.handed_back(True)
            self._decider.release(keys.values())

    def _claim(self, batch: ColumnBatch, asks: dict[int, Ask]) -> dict[int, CustomerKey]:
        """The customers that are this batch's now, by event; the others' requests are handed back.

        Of a customer with several events here all are handed back, so that they are taken in order.
        """
        digests = batch.digests()
        fine = (batch.status == FINE).tolist()
        keys: dict[int, CustomerKey] = {}
        first: dict[bytes, int] = {}
        twice: set[bytes] = set()
        for i, is_fine in enumerate(fine):
            if is_fine:
                digest = digests[16 * i : 16 * i + 16]
                if digest in first:
                    twice.add(digest)
                first[digest] = i
        for i, is_fine in enumerate(fine):
            digest = digests[16 * i : 16 * i + 16]
            key = CustomerKey(digest, int.from_bytes(digest[:2], "little") % BUCKETS)
            if is_fine and digest not in twice and self._decider.claim(key):
                keys[i] = key
            else:
                asks.pop(i).handed_back(False)
        return keys

    async def _decide(self, batch: ColumnBatch, asks: dict[int, Ask], keys: dict[int, CustomerKey]) -> None:
        decider, store = self._decider, self._store
        world = decider.world()
        if world.bundle is not batch.rules.bundle:
            return
        events = np.fromiter(keys, np.int64, len(keys))
        decider.metrics.batch(len(keys))
        budget_ms = decider.settings.commit_budget_ms
        try:
            async with asyncio.timeout(budget_ms / 1000):
                now_ms, blobs = await store.read_packed(batch.read_command(events, self._prefix), 3 * len(events))
        except TimeoutError:
            return
        batch.open(events, now_ms, blobs)
        batch.step(world, self._draw, self._shares_of(world.posteriors, batch.rules))
        done = batch.answer()
        not_after_ms = now_ms + budget_ms
        words = await store.commit_words(not_after_ms)
        if words is None or not len(done):
            return
        commands, ends = batch.commits(done, self._prefix, words)
        statuses = await store.commit_packed(commands, ends, not_after_ms)
        answers, ends = batch.answers(done)
        begin, committed = 0, []
        for i, end, (status, _) in zip(done.tolist(), ends, statuses, strict=True):
            if status == "done":
                committed.append(i)
                asks.pop(i).answered(answers[begin:end])
            elif status == "unknown":
                decider.metrics.store_error(status)
                why = "the store did not confirm the commit (unknown); retry with the same ids"
                asks.pop(i).answered(CommitUnknown(why))
            begin = end
        decider.metrics.reasons(batch.reasons[committed].tolist())
