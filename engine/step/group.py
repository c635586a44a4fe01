"""A customer's operations of one batch: stepped in order, committed together.

Events are taken in waves: the first of every customer in one kernel call, then the second, and so on.
"""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from engine.answer import encode_answer
from engine.contact.volume import Counter
from engine.decision import DecideRequest, Decision, Details, Outcome, Reason
from engine.errors import InvalidInput, TactError, TooMany, Unavailable, Violation
from engine.identity import CustomerKey, event_hash, fingerprint
from engine.state import log as entries
from engine.state.model import Answer, Commit, Profile, ReadBatch, ReadEntry, Record
from engine.state.profile import decode as decode_profile
from engine.state.profile import encode as encode_profile
from engine.state.profile import new_version
from engine.state.record import decode as decode_record
from engine.state.record import encode as encode_record
from engine.step.backfill import Backfill
from engine.step.credit import CreditOutcome
from engine.step.entries import decision_entries
from engine.step.operations import (
    TOMBSTONE_MS,
    Change,
    Erase,
    Operation,
    RecordOutcome,
    keep_answer,
    known_answer,
    repeat_answer,
)
from engine.step.reasons import sentence
from engine.step.take import AHEAD_MS_MAX, ANSWER_LIFE_MS, NOTHING_DRAWN, Step, Subject, World, identify, take

log = logging.getLogger("tact.group")

EVENTS_MAX = 4096  # of a customer in 24 hours: what it costs to take one more grows with them
LATE = "LATE: it is not counted in windows either"
_REFUSED = {
    "generation": (
        "the store lost its data or was restored; caps cannot be trusted until somebody runs `tact acknowledge`"
    ),
    "log_full": "the store refuses to be written: the decision log is full",
    "refused": "the store refuses to be written",
}


@dataclass(frozen=True, slots=True)
class Decide:
    """The operation of deciding for an event."""

    request: DecideRequest
    event: int
    fingerprint: int

    @staticmethod
    def of(request: DecideRequest) -> Decide:
        """With the event's identity worked out once."""
        e, content = request.event, request.fingerprint
        if content is None:
            content = fingerprint(e.type, e.occurred_at_ns, e.attributes, request.max_messages)
        return Decide(request, event_hash(e.event_id), content)


@dataclass(slots=True)
class Pending:
    """An operation whose caller waits. `result` is what the last turn gave; `writes` whether that stands or falls with
    the commit: an answer of before that is given again does not, nor does a dry run.
    """

    operation: Decide | Operation | Backfill | CreditOutcome
    future: asyncio.Future[object]
    result: object = None
    writes: bool = False

    def finish(self, result: object) -> None:
        """Answers the caller, unless it went away or has an answer."""
        if not self.future.done():
            self.future.set_result(result)


@dataclass(slots=True)
class Group:
    """One customer's operations, in the order they came.

    After a turn: `wanted` are the counters that must be asked before it can be stepped, `taken` what it books of them.
    """

    key: CustomerKey
    pending: list[Pending] = field(default_factory=list)
    wanted: list[Counter] = field(default_factory=list)
    taken: list[Counter] = field(default_factory=list)

    def events(self) -> tuple[int, ...]:
        """The event hashes whose spilled answers are to be read."""
        hashes = []
        for p in self.pending:
            if isinstance(p.operation, Decide):
                hashes.append(p.operation.event)
            elif isinstance(p.operation, CreditOutcome):
                hashes.append(p.operation.key)
            elif isinstance(p.operation, RecordOutcome) and p.operation.report.outcome_id:
                report = p.operation.report
                hashes.append(event_hash(f"outcome:{report.decision_id}:{report.outcome_id}"))
        return tuple(dict.fromkeys(hashes))

    def fail(self, error: TactError) -> None:
        """The whole group failed: nothing of it was done, or it is not known."""
        for p in self.pending:
            p.finish(error)

    def refuse(self, revision: str, status: str) -> None:
        """The store may not be written: decisions say so, everything else is an error.

        Where its caps cannot be trusted, dry runs say so too.
        """
        reason = Reason.LOG_FULL if status == "log_full" else Reason.STATE_UNKNOWN
        why = _REFUSED[status]
        cause = "" if status == "log_full" else why  # the reason says it
        for p in self.pending:
            asks = isinstance(p.operation, Decide) and p.operation.request.dry_run and status == "generation"
            if not (p.writes or (asks and isinstance(p.result, list))):
                continue
            if isinstance(p.operation, Decide):
                p.result = [_plain(p.operation, self.key, reason, revision, cause)]
            elif not isinstance(p.result, TactError):
                p.result = Unavailable(why)


@dataclass(slots=True)
class _Open:
    """A group while it is stepped."""

    group: Group
    subject: Subject
    read: ReadEntry
    change: Change
    record_version: bytes
    profile_version: bytes
    answered: set[int] = field(default_factory=set)  # events that this commit answers


def apply_groups(world: World, groups: Sequence[Group], read: ReadBatch, virtual_time: bool) -> list[Commit | None]:
    """Steps every group on what was read. Returns what to commit, None where nothing changed.

    Results are left in `Pending.result`. A group with counters `wanted` is not committed but to be stepped again. A
    blob that cannot be read fails its own group only.
    """
    opened: list[_Open | None] = []
    for group, entry in zip(groups, read.entries, strict=True):
        group.wanted, group.taken = [], []
        try:
            profile, record = decode_profile(entry.profile), decode_record(entry.record)
        except TactError as error:
            if all(isinstance(p.operation, Erase) for p in group.pending):  # what cannot be read can be erased
                profile, record = Profile(entry.profile[:8]), Record(entry.record[:8])
                subject = Subject(group.key, profile, record, read.now_ms)
                opened.append(_Open(group, subject, entry, Change(), record.version, profile.version))
                continue
            log.error("customer %s: %s", group.key.hex, error)
            for p in group.pending:
                p.result = error
            opened.append(None)
            continue
        now_ms = max(read.now_ms, record.last_ms)
        if virtual_time:
            now_ms = record.last_ms
        kept_ms = max(world.bundle.steps.touches_kept_ms, world.history.kept_ms)
        record.touches = [t for t in record.touches if t.at_ms > now_ms - kept_ms]
        subject = Subject(group.key, profile, record, now_ms)
        opened.append(_Open(group, subject, entry, Change(), record.version, profile.version))
    waves = max((len(g.pending) for g in groups), default=0)
    for k in range(waves):
        _wave(
            world,
            [
                (o, o.group.pending[k])
                for o in opened
                if o is not None and k < len(o.group.pending) and not o.group.wanted
            ],
            virtual_time,
        )
    return [None if o is None or o.group.wanted else _commit(world, o) for o in opened]


def _wave(world: World, items: list[tuple[_Open, Pending]], virtual_time: bool) -> None:
    steps: list[tuple[_Open, Pending, Step]] = []
    for o, p in items:
        operation = p.operation
        p.writes = not isinstance(operation, Decide) or (
            operation.event in o.answered and not operation.request.dry_run
        )
        try:
            if isinstance(operation, Decide):
                prepared = _prepare(world, o, operation, virtual_time)
                if not isinstance(prepared, Step):
                    p.result = prepared
                elif prepared.decisions:
                    _keep(world, o, p, operation, prepared)
                else:
                    steps.append((o, p, prepared))
            else:
                p.result = operation.apply(world, o.subject, o.read.spilled, o.change)
        except TactError as error:
            p.result = error
    if not steps:
        return
    try:
        take(world, [s for _, _, s in steps])
    finally:
        for o, _, s in steps:  # of all of them, also where it broke off: whoever gives back looks there
            o.group.wanted += s.wanted
            o.group.taken += s.taken
    for o, p, s in steps:
        assert isinstance(p.operation, Decide)
        _keep(world, o, p, p.operation, s)


def _keep(world: World, o: _Open, p: Pending, operation: Decide, s: Step) -> None:
    """The result of a step, its log entries and its answer; a dry run leaves nothing behind."""
    p.result = s.decisions
    if s.request.dry_run:
        return
    p.writes = True
    o.answered.add(operation.event)
    o.change.entries += decision_entries(world, s, operation.fingerprint, o.record_version, o.profile_version)
    now_ms = s.subject.now_ms
    answer = Answer(s.event, operation.fingerprint, now_ms, encode_answer(s.decisions))
    keep_answer(o.subject.record, o.change, answer, now_ms)


def _prepare(world: World, o: _Open, operation: Decide, virtual_time: bool) -> Step | list[Decision]:
    """The step to take (taken already where no rule has a say), or the answer given before.

    Raises InvalidInput, TooMany.
    """
    request, subject = operation.request, o.subject
    given_ns = request.event.occurred_at_ns
    if virtual_time and given_ns is not None:
        subject.now_ms = max(subject.now_ms, given_ns // 1_000_000)
    occurred_ms = _occurred_ms(world, request, subject.now_ms)
    if not request.dry_run:
        known_one = known_answer(subject.record, o.read.spilled, o.change, operation.event)
        if known_one is not None:
            if known_one[0] != operation.fingerprint:
                raise InvalidInput(
                    [
                        Violation(
                            "event.event_id",
                            f"'{request.event.event_id}' was used for this customer with other content; "
                            "expected a new id, or the same event again",
                        )
                    ],
                    "EVENT_ID_REUSED",
                )
            return repeat_answer(known_one[1], subject.key, operation.event, request)
        if len(subject.record.spilled) >= EVENTS_MAX:
            raise TooMany(
                f"more than {EVENTS_MAX:,} events of this customer were answered within 24 hours; "
                "expected the id of one customer, not one for many"
            )
    if occurred_ms <= subject.now_ms - ANSWER_LIFE_MS:
        late = LATE if world.bundle.steps.windows_of[request.event.type] else ""
        old = _plain(operation, subject.key, Reason.EVENT_TOO_OLD, world.bundle.revision, late)
        return Step(subject, request, operation.event, occurred_ms, decisions=[old], logged=[(old, NOTHING_DRAWN)])
    if request.dry_run:
        subject = Subject(subject.key, subject.profile, copy.deepcopy(subject.record), subject.now_ms)
    return Step(subject, request, operation.event, occurred_ms)


def _occurred_ms(world: World, request: DecideRequest, now_ms: int) -> int:
    """When the event happened. Raises InvalidInput where it lies ahead, or is of no declared type."""
    event = request.event
    if event.type not in world.bundle.ruleset.events:
        known = ", ".join(world.bundle.ruleset.events)
        raise InvalidInput([Violation("event.type", f"found '{event.type}', expected one of {known}")])
    occurred_ms = now_ms if event.occurred_at_ns is None else event.occurred_at_ns // 1_000_000
    if occurred_ms > now_ms + AHEAD_MS_MAX:
        ahead = f"found a time {(occurred_ms - now_ms) // 1000} s ahead of the engine's clock"
        told = f"{ahead}: expected the past, or at most 5 minutes ahead"
        raise InvalidInput([Violation("event.occurred_at", told)])
    return occurred_ms


def _plain(operation: Decide, key: CustomerKey, reason: Reason, revision: str, cause: str = "") -> Decision:
    """A NO_MESSAGE that no rule had a part in."""
    details = Details(cause=cause)
    d = Decision(Outcome.NO_MESSAGE, reason, details, sentence(reason, details))
    identify(d, key, operation.event, operation.request, 0, revision)
    return d


def _commit(world: World, o: _Open) -> Commit | None:
    change, record = o.change, o.subject.record
    if not (change.record or change.profile or change.erased or change.entries):
        return None
    record_blob = None
    if change.record:
        record.version = new_version()
        record.last_ms = o.subject.now_ms
        record.since_ms = record.since_ms or o.subject.now_ms
        record_blob = encode_record(record)
    profile_blob = None
    if change.profile:
        o.subject.profile.version = new_version()
        for entry in change.entries:
            if isinstance(entry, entries.ProfileEntry):
                entry.profile_version = o.subject.profile.version
        profile_blob = encode_profile(o.subject.profile, world.bundle.steps.features)
    return Commit(
        o.group.key,
        o.record_version,
        o.profile_version,
        record_blob,
        profile_blob,
        change.spills,
        [entries.encode(e) for e in change.entries],
        TOMBSTONE_MS if change.erased and _empty(record) else 0,
        change.erased and not change.profile,
    )


def _empty(record: Record) -> bool:
    """Nothing is kept but that the customer was erased."""
    return not (record.touches or record.answers or record.windows or record.assignments or record.opt_outs)


def without_state(world: World, key: CustomerKey, operation: Decide, now_ms: int) -> list[Decision]:
    """What may be decided while the customer's state cannot be read: messages whose purpose says
    `if_state_unknown: send`, provisional and booked nowhere. Everything else is STATE_UNKNOWN.
    """
    occurred_ms = _occurred_ms(world, operation.request, now_ms)
    if occurred_ms <= now_ms - ANSWER_LIFE_MS:
        return [_plain(operation, key, Reason.EVENT_TOO_OLD, world.bundle.revision)]
    subject = Subject(key, Profile(), Record(), now_ms)
    step = Step(subject, operation.request, operation.event, occurred_ms, stateless=True)
    take(world, [step])
    if any(d.outcome is Outcome.SEND or d.reason is Reason.NO_RULE_FOR_EVENT for d in step.decisions):
        return step.decisions
    cause = "the customer's state could not be read"
    return [_plain(operation, key, Reason.STATE_UNKNOWN, world.bundle.revision, cause)]


def not_trusted(world: World, key: CustomerKey, request: DecideRequest) -> list[Decision]:
    """What is decided while the store's caps cannot be trusted."""
    return [_plain(Decide.of(request), key, Reason.STATE_UNKNOWN, world.bundle.revision, _REFUSED["generation"])]
