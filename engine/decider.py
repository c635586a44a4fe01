"""The pipeline: batch -> read -> step -> commit, with one group per customer in flight at a time.

Whatever arrives while batches are in flight is the next batch; nothing waits for a timer. A group that
collides (another worker moved the record) is read and stepped again.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar, cast

from engine.bundle import Active, Bundle
from engine.clock import Clock, SystemClock
from engine.compiler.model import LEARNING
from engine.contact.caps import KEPT_MS_MIN
from engine.contact.consent import with_stops
from engine.decision import DecideRequest, Decision, Event, OutcomeResult, Outcomes
from engine.errors import (
    InvalidInput,
    StoreUnavailable,
    TactError,
    Unavailable,
    Violation,
)
from engine.identity import CustomerKey, customer_key, event_hash, parse_decision_id
from engine.learning.snapshot import Learnt
from engine.leases import Leases
from engine.metrics import Metrics
from engine.state.history import NO_HISTORY, note_history
from engine.state.model import Commit, CommitStatus, Profile, ReadBatch, ReadRequest, Store
from engine.state.profile import decode as decode_profile
from engine.state.record import decode as decode_record
from engine.state.volume import Counters, counters_of
from engine.step.backfill import Backfill, Backfilled
from engine.step.credit import CreditOutcome
from engine.step.explain import Explanation, explain_decision, explain_what_if
from engine.step.group import Decide, Group, Pending, apply_groups, not_trusted, without_state
from engine.step.operations import (
    Change,
    Confirmation,
    ConfirmSend,
    Erase,
    ProfileChange,
    PutProfile,
    RecordOutcome,
    known_answer,
    repeat_answer,
)
from engine.step.take import World

log = logging.getLogger("tact.decider")

T = TypeVar("T")


@dataclass(slots=True)
class DeciderSettings:
    """Limits of the pipeline. `virtual_time`: a request's own time stands for the store's (`tact replay`)."""

    salt: bytes = b"tact"
    secret: bytes = b""
    batch_max: int = 256
    group_max: int = 64
    overlap: int = 2
    turns_max: int = 16
    commit_budget_ms: int = 2000
    virtual_time: bool = False


class Decider:
    """Decides, records outcomes, writes profiles: everything that touches a customer's state.

    One per event loop. `journal` is called with each provisional decision made without state.
    """

    def __init__(
        self,
        active: Active,
        store: Store,
        settings: DeciderSettings | None = None,
        learnt: Learnt | None = None,
        metrics: Metrics | None = None,
        journal: Callable[[DecideRequest, list[Decision]], None] | None = None,
        clock: Clock | None = None,
        counters: Counters | None = None,
    ) -> None:
        self.active = active
        self.store = store
        self.settings = settings or DeciderSettings()
        self.learnt = learnt or Learnt()
        self.metrics = metrics or Metrics()
        self.journal = journal
        self.clock = clock or SystemClock()
        self.leases = Leases(counters or counters_of(store))
        self._history = NO_HISTORY
        self._noted: Bundle | None = None  # the rules whose spans the history knows
        self._waiting: dict[CustomerKey, deque[Pending]] = {}
        self._ready: deque[CustomerKey] = deque()
        self._busy: set[CustomerKey] = set()
        self._batches: set[asyncio.Task[None]] = set()
        self._scheduled = False
        self._draining = False
        self._late = 0  # groups that are told later what came of them
        self.before_drain: list[Callable[[], None]] = []  # who still holds requests hands them over
        self._stateless = False  # said once, not with every batch
        self._idle = asyncio.Event()
        self._idle.set()

    # ---- the calls --------------------------------------------------------------------------------

    async def decide(self, requests: Sequence[DecideRequest]) -> list[list[Decision] | TactError]:
        """Decides for each request; one customer's are taken in order. An error concerns its request alone."""
        futures = [self.submit(r) for r in requests]
        return [cast("list[Decision] | TactError", await _settled(f)) for f in futures]

    def submit(self, request: DecideRequest, ahead: bool = False) -> asyncio.Future[object]:
        """Begins to decide; a list of decisions or a TactError. `ahead`: before what waits for the customer."""
        pending = Pending(Decide.of(request), self._future())
        self._submit(customer_key(request.event.customer_id, self.settings.secret), pending, ahead)
        return pending.future

    async def repeat(self, customer_id: str, event_id: str, content: int) -> list[Decision] | None:
        """The answer given before to an event of this content (its fingerprint), or None.

        Raises StoreUnavailable.
        """
        key, event = customer_key(customer_id, self.settings.secret), event_hash(event_id)
        entry = (await self.store.read([ReadRequest(key, (event,))])).entries[0]
        known = known_answer(decode_record(entry.record), entry.spilled, Change(), event)
        if known is None or known[0] != content:
            return None
        return repeat_answer(known[1], key, event, DecideRequest(Event(event_id, customer_id, "", None, {})))

    async def record_outcomes(self, reports: Sequence[Outcomes]) -> list[OutcomeResult | TactError]:
        """Takes each report once. An error concerns its report alone."""
        pending: list[Pending | TactError] = []
        for report in reports:
            if report.customer_id and not report.decision_id:
                p = Pending(CreditOutcome(report), self._future())
                self._submit(customer_key(report.customer_id, self.settings.secret), p)
                pending.append(p)
                continue
            ref = parse_decision_id(report.decision_id)
            if ref is None:
                pending.append(_not_a_decision_id(report.decision_id))
                continue
            p = Pending(RecordOutcome(report, ref), self._future())
            self._submit(ref.customer, p)
            pending.append(p)
        return [
            p if isinstance(p, TactError) else cast("OutcomeResult | TactError", await _settled(p.future))
            for p in pending
        ]

    async def confirm_send(self, decision_id: str) -> Confirmation:
        """SEND, or why not any more. Raises InvalidInput, NotFound, Unavailable."""
        ref = parse_decision_id(decision_id)
        if ref is None:
            raise _not_a_decision_id(decision_id)
        return await self._one(ref.customer, ConfirmSend(ref), Confirmation)

    async def put_profiles(self, changes: Sequence[ProfileChange]) -> list[TactError | None]:
        """Merges each change into its profile. An error concerns its profile alone."""
        pending = [Pending(PutProfile(c), self._future()) for c in changes]
        for c, p in zip(changes, pending, strict=True):
            self._submit(customer_key(c.customer_id, self.settings.secret), p)
        return [cast("TactError | None", await _settled(p.future)) for p in pending]

    async def backfill(self, histories: Sequence[tuple[str, Backfill]]) -> list[Backfilled | TactError]:
        """Adds each customer's history to the windows, once. An error concerns its customer alone."""
        pending = [Pending(operation, self._future()) for _, operation in histories]
        for (customer_id, _), p in zip(histories, pending, strict=True):
            self._submit(customer_key(customer_id, self.settings.secret), p)
        return [cast("Backfilled | TactError", await _settled(p.future)) for p in pending]

    async def get_profile(self, customer_id: str) -> Profile | None:
        """The profile as stored, with what the customer withdrew since, or None. Raises StoreUnavailable."""
        key = customer_key(customer_id, self.settings.secret)
        entry = (await self.store.read([ReadRequest(key, ())])).entries[0]
        profile = decode_profile(entry.profile)
        if not profile.version:
            return None
        purposes = (*self.active.bundle.ruleset.purposes, LEARNING)
        profile.contact = with_stops(profile.contact, decode_record(entry.record).opt_outs, purposes)
        return profile

    async def erase(self, customer_id: str) -> bool:
        """Deletes what is kept of the customer; whether there was anything. Raises Unavailable."""
        return await self._one(customer_key(customer_id, self.settings.secret), Erase(), bool)

    async def explain(
        self, subject: str | DecideRequest, bundle: Bundle, locale: str, traced: Collection[str] = ()
    ) -> Explanation:
        """Every message's way through the filters, for a past decision or a what-if.

        Of a what-if with the conditions of the messages `traced` (empty: of all), part by part.
        Raises InvalidInput, NotFound, StoreUnavailable.
        """
        if isinstance(subject, str):
            ref = parse_decision_id(subject)
            if ref is None:
                raise _not_a_decision_id(subject)
            batch = await self.store.read([ReadRequest(ref.customer, (ref.event,))])
            record = decode_record(batch.entries[0].record)
            return await explain_decision(self.store, bundle, ref, record, batch.entries[0])
        key = customer_key(subject.event.customer_id, self.settings.secret)
        batch = await self.store.read([ReadRequest(key, ())])
        self.leases.doubt()
        while True:  # what volumes have left is asked once for each message that they hold
            found = explain_what_if(self.world(bundle), key, subject, batch, locale, traced)
            if batch.closed:
                found.decisions = not_trusted(self.world(bundle), key, subject)
            if batch.closed or not found.wanted:
                return found
            await self.leases.ask(found.wanted, batch.now_ms)

    async def drain(self) -> None:
        """Waits until everything accepted is answered; what comes now is refused with Unavailable."""
        for hand_over in self.before_drain:
            hand_over()
        self._draining = True
        await self._idle.wait()
        await self.leases.give_back()

    # ---- batching ---------------------------------------------------------------------------------

    def _future(self) -> asyncio.Future[object]:
        return asyncio.get_running_loop().create_future()

    async def _one(self, key: CustomerKey, op: ConfirmSend | Erase, kind: type[T]) -> T:
        pending = Pending(op, self._future())
        self._submit(key, pending)
        result = await _settled(pending.future)
        if isinstance(result, TactError):
            raise result
        assert isinstance(result, kind)
        return result

    # ---- customers that another way takes ------------------------------------------------------------

    @property
    def draining(self) -> bool:
        """Nothing more is taken."""
        return self._draining

    def claim(self, key: CustomerKey) -> bool:
        """Keeps a customer's operations waiting until `release`; whether nothing of theirs is under way or waits."""
        if key in self._busy or key in self._waiting:
            return False
        self._busy.add(key)
        self._idle.clear()
        return True

    def claim_all(self, keys: Sequence[CustomerKey]) -> bool:
        """The same for many, all of them or none; they must differ."""
        if len(set(keys)) < len(keys) or not self._busy.isdisjoint(keys) or not self._waiting.keys().isdisjoint(keys):
            return False
        self._busy.update(keys)
        self._idle.clear()
        return True

    def release(self, keys: Collection[CustomerKey]) -> None:
        """What waits for these customers may go on."""
        self._busy.difference_update(keys)
        if self._waiting:
            self._ready.extend([key for key in keys if key in self._waiting])
        self._start_batches()
        self._settle()

    def _submit(self, key: CustomerKey, pending: Pending, ahead: bool = False) -> None:
        if self._draining and not ahead:  # `ahead` was accepted before, and its customer is claimed
            pending.finish(Unavailable("the server is stopping"))
            return
        self._idle.clear()
        queue = self._waiting.get(key)
        if queue is None:
            self._waiting[key] = queue = deque()
            if key not in self._busy:
                self._ready.append(key)
        if ahead:
            queue.appendleft(pending)
        else:
            queue.append(pending)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._start_batches)

    def _start_batches(self) -> None:
        self._scheduled = False
        while self._ready and len(self._batches) < self.settings.overlap:
            groups: list[Group] = []
            while self._ready and len(groups) < self.settings.batch_max:
                key = self._ready.popleft()
                queue = self._waiting[key]
                taken = [queue.popleft() for _ in range(min(len(queue), self.settings.group_max))]
                if not queue:
                    del self._waiting[key]
                self._busy.add(key)
                groups.append(Group(key, taken))
            task = asyncio.get_running_loop().create_task(self._run(groups))
            self._batches.add(task)
            task.add_done_callback(partial(self._ended, groups=groups))

    def _ended(self, task: asyncio.Task[None], groups: list[Group]) -> None:
        self._batches.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a batch failed", exc_info=task.exception())
        for group in groups:
            group.fail(Unavailable("the batch was given up"))  # only those that have no answer yet
            self._busy.discard(group.key)
            if group.key in self._waiting:
                self._ready.append(group.key)
        self._start_batches()
        self._settle()

    def _settle(self) -> None:
        if not self._busy and not self._waiting and not self._late:
            self._idle.set()

    # ---- one batch --------------------------------------------------------------------------------

    def world(self, bundle: Bundle | None = None) -> World:
        """What decisions depend on at this moment, under the active rule set or another."""
        bundle = bundle or self.active.bundle
        return World(
            bundle, self.active.pauses, self.learnt.posteriors, self.settings.salt, self._history, self.leases.volumes
        )

    async def note_history(self) -> None:
        """To be called before deciding by rules that are new here. Raises StoreUnavailable.

        What `world` says afterwards, before anything is awaited, is of the same rules.
        """
        while (bundle := self.active.bundle) is not self._noted:
            history = await note_history(self.store, bundle.steps.touches_kept_ms, KEPT_MS_MIN)
            if bundle is self.active.bundle:  # else they were swapped meanwhile
                self._history, self._noted = history, bundle

    async def _run(self, groups: list[Group]) -> None:
        try:
            async with asyncio.timeout(self.settings.commit_budget_ms / 1000):
                await self.note_history()
        except (StoreUnavailable, TimeoutError) as error:
            self.metrics.store_error("read")
            self._decide_without_state(self.world(), groups, str(error) or "the store did not answer in time")
            return
        self.leases.doubt()
        world = self.world()
        self.metrics.batch(sum(len(g.pending) for g in groups))
        left = groups
        for turn in range(self.settings.turns_max):
            try:
                async with asyncio.timeout(self.settings.commit_budget_ms / 1000):
                    read = await self.store.read([ReadRequest(g.key, g.events()) for g in left])
            except (StoreUnavailable, TimeoutError) as error:
                self.metrics.store_error("read")
                why = str(error) or "the store did not answer in time"
                if not self._stateless:
                    log.warning("deciding without state: %s", why)
                self._stateless = True
                self._decide_without_state(world, left, why)
                return
            if read.lost:
                self.metrics.store_error("read")
                left, read = self._without_lost(world, left, read)
            elif self._stateless:
                log.warning("the store is back: deciding with state")
                self._stateless = False
            left = await self._step_and_commit(world, left, read)
            if not left:
                return
            await asyncio.sleep(random.uniform(0.0, 0.002) * (turn + 1))
        for group in left:
            group.fail(Unavailable("the customer's record kept moving; nothing was booked"))

    def _without_lost(self, world: World, groups: list[Group], read: ReadBatch) -> tuple[list[Group], ReadBatch]:
        """Decides without state for those whose part of the store is lost; the others and what was read of them."""
        lost = set(read.lost)
        self._decide_without_state(world, [groups[i] for i in read.lost], "a part of the store cannot be reached")
        kept = [i for i in range(len(groups)) if i not in lost]
        return [groups[i] for i in kept], ReadBatch(read.now_ms, [read.entries[i] for i in kept], closed=read.closed)

    async def _step_and_commit(self, world: World, groups: list[Group], read: ReadBatch) -> list[Group]:
        """Returns the groups whose customers moved meanwhile."""
        try:
            commits = apply_groups(world, groups, read, self.settings.virtual_time)
        except Exception:
            self.leases.not_said(groups)
            await self._isolate(groups)
            return []
        again = await self._commit([(g, c) for g, c in zip(groups, commits, strict=True) if c is not None], world, read)
        for group, commit in zip(groups, commits, strict=True):
            if commit is None and not group.wanted:
                if read.closed:
                    group.refuse(world.bundle.revision, "generation")
                self._finish(group)
        wanting = [g for g in groups if g.wanted]
        if not wanting:
            return again
        try:
            await self.leases.ask_for(wanting, read.now_ms)
        except StoreUnavailable as error:
            self.metrics.store_error("lease")
            for group in wanting:
                group.fail(error)
            return again
        return again + wanting

    async def _commit(self, writing: Sequence[tuple[Group, Commit]], world: World, read: ReadBatch) -> list[Group]:
        """Answers the groups that were committed or never will be; returns the others."""
        if not writing:
            return []
        not_after_ms = read.now_ms + self.settings.commit_budget_ms
        try:
            statuses = await self.store.commit([c for _, c in writing], not_after_ms)
        except StoreUnavailable as unreachable:
            self.metrics.store_error("commit")
            self.leases.not_said([g for g, _ in writing])
            for group, _ in writing:
                group.fail(unreachable)
            return []
        self.leases.not_said(
            [g for (g, _), s in zip(writing, statuses, strict=True) if not s.done and s.status != "unknown"]
        )
        again = []
        for (group, _), status in zip(writing, statuses, strict=True):
            if status.done:
                self._finish(group)
            elif status.status in ("moved", "late"):
                again.append(group)
            elif status.status in ("generation", "log_full", "refused"):
                group.refuse(world.bundle.revision, status.status)
                self._finish(group)
            else:
                self.metrics.store_error(status.status)
                pending, group.pending = group.pending, []
                self.tell_unknown(status, [p.finish for p in pending])
        return again

    def tell_unknown(self, status: CommitStatus, callers: Sequence[Callable[[Unavailable], None]]) -> None:
        """Tells callers what became of their commit once it can be executed no more; nobody else is held up by it."""
        self._late += 1
        self._idle.clear()

        def tell() -> None:
            self._late -= 1
            try:
                for caller in callers:
                    caller(status.error())
            finally:
                self._settle()

        if status.after_s:
            asyncio.get_running_loop().call_later(status.after_s, tell)
        else:
            tell()

    async def _isolate(self, groups: list[Group]) -> None:
        """Something unforeseen happened in the step: by halves, until whoever fails alone is found and pays alone."""
        if len(groups) > 1:
            half = len(groups) // 2
            await self._run(groups[:half])
            await self._run(groups[half:])
        elif len(groups[0].pending) > 1:
            for p in groups[0].pending:
                await self._run([Group(groups[0].key, [p])])
        else:
            log.exception("an operation of customer %s failed", groups[0].key.hex)
            groups[0].fail(Unavailable("the operation failed; the server's log says why"))

    def _finish(self, group: Group) -> None:
        for p in group.pending:
            if isinstance(p.result, list):
                self.metrics.decisions(p.result)
            p.finish(p.result)

    def _decide_without_state(self, world: World, groups: list[Group], why: str) -> None:
        """The store cannot be read: what `if_state_unknown` allows, booked nowhere but in the journal."""
        for group in groups:
            for p in group.pending:
                if not isinstance(p.operation, Decide):
                    p.finish(StoreUnavailable(why))
                    continue
                try:
                    p.result = without_state(world, group.key, p.operation, self.clock.now_ms())
                except TactError as error:
                    p.result = error
                except Exception:
                    log.exception("an event could not be decided without state")
                    p.result = Unavailable("the event could not be decided")
                if self.journal is not None and isinstance(p.result, list) and not p.operation.request.dry_run:
                    self.journal(p.operation.request, cast("list[Decision]", p.result))
            self._finish(group)


async def _settled(future: asyncio.Future[object]) -> object:
    """The result, errors as values; a caller that goes away does not disturb the group."""
    return await asyncio.shield(future)


def _not_a_decision_id(text: str) -> InvalidInput:
    shown = text if len(text) <= 80 else text[:77] + "..."
    return InvalidInput([Violation("decision_id", f"found '{shown}', expected a decision_id from a Decision")])


def create_decider(
    active: Active,
    store: Store,
    settings: DeciderSettings | None = None,
    learnt: Learnt | None = None,
    metrics: Metrics | None = None,
    journal: Callable[[DecideRequest, list[Decision]], None] | None = None,
) -> Decider:
    """A decider for the running event loop."""
    return Decider(active, store, settings, learnt, metrics, journal)
