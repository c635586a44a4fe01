"""The fast lane: whole batches of plain decisions through kernels, and everything else by the ordinary way.

A request is handed over as bytes with somebody to answer. What has arrived while batches were under way is the
next batch. What kernels do not take (see `kernels.requests`, `kernels.choose`) is handed back unanswered, ahead of
whatever else waits for that customer: nothing was done for it.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter, deque
from collections.abc import Sequence
from functools import partial
from typing import Protocol

import numpy as np
import numpy.typing as npt

from engine.bundle import Bundle
from engine.columns.batch import ColumnBatch, Draw
from engine.columns.rules import RuleColumns
from engine.columns.shares import ShareTable
from engine.decider import Decider
from engine.errors import StoreUnavailable, TactError
from engine.identity import CustomerKey
from engine.kernels.arena import FINE
from engine.learning.posteriors import Posteriors
from engine.learning.shares import salt_keys
from engine.state.lengths import EVERY_S
from engine.state.model import CommitStatus
from engine.state.redis import RedisStore

log = logging.getLogger("tact.lane")

OVERLAP = 2  # batches under way: one computes while another waits for the store
_AT_ONCE = 200  # messages of a rule set whose tables are made without more ado: some 20 ms
LOG_MIN = 20_000  # shorter logs than this may fill between two measurements: those are left to the ordinary way


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

    def __init__(self, decider: Decider, store: RedisStore, batch_max: int = 256) -> None:
        self._decider = decider
        self._store = store
        self._batch_max = batch_max
        self._prefix = np.frombuffer(store.prefix.encode(), np.uint8)
        self._draw = Draw(*salt_keys(decider.settings.salt))
        self._rules: RuleColumns | None = None
        self._without: Bundle | None = None  # a rule set of which no tables could be made
        self._making: asyncio.Future[RuleColumns] | None = None
        self._shares: tuple[RuleColumns, ShareTable] | None = None
        self._waiting: deque[Ask] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._scheduled = False
        self._slots = list(range(OVERLAP))  # of the store's connections, those that are free
        self._measured_at = -math.inf
        self._measuring = asyncio.Lock()
        decider.before_drain.append(self._hand_over)

    def submit(self, asks: Sequence[Ask]) -> None:
        """Takes requests, in their order."""
        if self._decider.draining:
            for ask in asks:
                ask.handed_back(False)
            return
        self._waiting.extend(asks)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._start)

    def _start(self) -> None:
        self._scheduled = False
        wanted = min(OVERLAP - len(self._running), -(-len(self._waiting) // self._batch_max))
        for _ in range(wanted):
            task = asyncio.get_running_loop().create_task(self._run())
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _hand_over(self) -> None:
        """The decider is about to take nothing more: what waits here goes to it."""
        waiting, self._waiting = self._waiting, deque()
        for ask in waiting:
            ask.handed_back(False)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a batch failed", exc_info=task.exception())
        self._start()

    def prepare(self) -> None:
        """Makes the tables of the active rule set now: before a server says that it is ready."""
        bundle = self._decider.active.bundle
        try:
            self._rules = RuleColumns(bundle, self._decider.settings.secret)
        except Exception:
            self._not_made(bundle)

    def _not_made(self, bundle: Bundle) -> None:
        log.exception("rule set %s is decided the ordinary way: its tables could not be made", bundle.revision)
        self._without = bundle

    def _rules_of(self, bundle: Bundle) -> RuleColumns | None:
        """The tables of a rule set; None while those of a large one are made, in a thread (1 s for 10,000 messages)."""
        if self._rules is not None and self._rules.bundle is bundle:
            return self._rules
        if self._without is bundle:
            return None
        if len(bundle.steps.messages) <= _AT_ONCE:
            self.prepare()
            return self._rules if self._without is not bundle else None
        if self._making is None:
            loop = asyncio.get_running_loop()
            self._making = loop.run_in_executor(None, RuleColumns, bundle, self._decider.settings.secret)
            self._making.add_done_callback(partial(self._made, bundle))
        return None

    def _made(self, bundle: Bundle, made: asyncio.Future[RuleColumns]) -> None:
        self._making = None
        if made.cancelled():
            return
        try:
            self._rules = made.result()
        except Exception:
            self._not_made(bundle)

    def _shares_of(self, posteriors: Posteriors, rules: RuleColumns) -> ShareTable:
        """Of these rules: a batch of those before may still be under way after a deploy."""
        if self._shares is not None:
            of, table = self._shares
            if of is rules and table.posteriors is posteriors and not table.full:
                return table
        table = ShareTable(posteriors, rules.bundle.steps.messages)
        self._shares = rules, table
        return table

    # ---- one batch --------------------------------------------------------------------------------

    async def _run(self) -> None:
        slot = self._slots.pop()
        asks: dict[int, Ask] = {}
        keys: dict[int, CustomerKey] = {}
        try:
            fit = await self.logs_fit()  # nobody's requests are in hand meanwhile: their order and `drain` rely on it
            taken = min(len(self._waiting), self._batch_max)
            asks.update(enumerate([self._waiting.popleft() for _ in range(taken)]))
            if asks and fit and not self._decider.draining:
                rules = self._rules_of(self._decider.active.bundle)
                if rules is not None and rules.usable:
                    batch = ColumnBatch(rules, [ask.payload for ask in asks.values()])
                    self._claim(batch, asks, keys)
                    if keys:
                        await self._decide(batch, asks, keys, slot)
        except StoreUnavailable as error:
            log.debug("left to the ordinary way: %s", error)
        except Exception:
            log.exception("a batch could not be decided in columns")
        finally:
            try:
                for i, ask in asks.items():  # whoever has no answer: before the customer is free for others
                    ask.handed_back(i in keys)
            finally:
                self._slots.append(slot)
                self._decider.release(keys.values())

    async def logs_fit(self) -> bool:
        """Whether the lane may log; every so often it looks which logs are nearly full.

        Customers whose log is are left to the ordinary way, which counts exactly.
        """
        if self._store.max_log_length < LOG_MIN:
            return False
        time_s = asyncio.get_running_loop().time
        if time_s() - self._measured_at > EVERY_S:
            async with self._measuring:  # nobody goes on without what it finds
                if time_s() - self._measured_at > EVERY_S:
                    try:
                        await self._store.measure_logs()
                    except StoreUnavailable as error:
                        log.debug("left to the ordinary way: %s", error)
                        return False
                    self._measured_at = time_s()
        return True

    def _claim(self, batch: ColumnBatch, asks: dict[int, Ask], keys: dict[int, CustomerKey]) -> None:
        """Puts the customers that are this batch's now into `keys`, by event; the others' requests are handed back.

        Of a customer with several events here all are handed back, so that they are taken in order.
        """
        found = batch.keys()
        full, decider = self._store.lengths.full, self._decider
        fine = (batch.status == FINE).tolist()
        if not full and all(fine) and decider.claim_all(found):
            keys.update(enumerate(found))
            return
        here = [key for key, is_fine in zip(found, fine, strict=True) if is_fine]
        twice = {key for key, times in Counter(here).items() if times > 1}
        for i, (key, is_fine) in enumerate(zip(found, fine, strict=True)):
            if is_fine and key not in twice and key.bucket not in full and decider.claim(key):
                keys[i] = key
            else:
                asks.pop(i).handed_back(False)

    async def _decide(self, batch: ColumnBatch, asks: dict[int, Ask], keys: dict[int, CustomerKey], slot: int) -> None:
        """Answers what it can of the claimed events, which are in `keys`; answers leave `asks`."""
        decider, store = self._decider, self._store
        await decider.note_history()
        world = decider.world()
        if world.bundle is not batch.rules.bundle:
            return
        batch.rules.remember(world.history)
        events = np.fromiter(keys, np.int64, len(keys))
        decider.metrics.batch(len(keys))
        budget_ms = decider.settings.commit_budget_ms
        try:
            look = await store.look(slot, batch.read_command(events, self._prefix), len(events), budget_ms)
        except TimeoutError:
            return
        blobs = look.blobs
        if look.lost:  # their part of a cluster cannot be reached: the ordinary way says what is allowed then
            lost = set(look.lost)
            here = [place for place in range(len(events)) if place not in lost]
            events, blobs = events[here], [blob for place in here for blob in blobs[3 * place : 3 * place + 3]]
        batch.open(events, look.now_ms, blobs)
        batch.step(world, self._draw, self._shares_of(world.posteriors, batch.rules))
        done = batch.answer()
        if not len(done):
            return
        transaction = batch.commit(done, self._prefix)
        batch.rules.give_back(batch.records)
        status = await store.commit_look(look, *transaction)
        if isinstance(status, list):
            self._answer_each(batch, done, status, asks)
        elif status == "done":
            self._answer(batch, done, asks)
        elif status == "moved" and len(done) > 1:
            decider.metrics.store_error("collision")
            await self._by_halves(batch.rules, done.tolist(), asks, slot)
        elif status == "unknown":
            decider.metrics.store_error("unknown")
            decider.tell_unknown(CommitStatus("unknown"), [asks.pop(i).answered for i in done.tolist()])

    def _answer(self, batch: ColumnBatch, done: npt.NDArray[np.int64], asks: dict[int, Ask]) -> None:
        answers, ends = batch.answers(done)
        begin = 0
        for i, end in zip(done.tolist(), ends, strict=True):
            asks.pop(i).answered(answers[begin:end])
            begin = end
        self._decider.metrics.reasons(batch.reasons[done].tolist())

    def _answer_each(
        self,
        batch: ColumnBatch,
        events: npt.NDArray[np.int64],
        statuses: Sequence[CommitStatus],
        asks: dict[int, Ask],
    ) -> None:
        """In a cluster each customer was committed for itself: whoever was not, and knows it, is handed back."""
        done = np.array([status.done for status in statuses], np.bool_)
        if done.any():
            self._answer(batch, events[done], asks)
        for i, status in zip(events.tolist(), statuses, strict=True):
            if status.status == "unknown":
                self._decider.tell_unknown(status, [asks.pop(i).answered])
        for word in {status.status for status in statuses} - {"done"}:
            self._decider.metrics.store_error("collision" if word == "moved" else word)

    async def _by_halves(self, rules: RuleColumns, events: list[int], asks: dict[int, Ask], slot: int) -> None:
        """Somebody wrote to one of these customers: the other half goes through; what is left alone is handed back."""
        for part in (events[: len(events) // 2], events[len(events) // 2 :]):
            batch = ColumnBatch(rules, [asks[i].payload for i in part])
            own = dict(enumerate(asks[i] for i in part))
            try:
                await self._decide(batch, own, dict(enumerate(batch.keys())), slot)
            finally:
                for k, i in enumerate(part):
                    if k not in own:
                        del asks[i]
