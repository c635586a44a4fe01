"""Learning as a fold of the decision log: each closed trial enters once, together with its reward.

A trial closes when its attribution window has passed since it was to be sent. Per bucket the fold
stops at the first trial that is still open, so the offset says exactly what has been learnt, and
everything before it may be trimmed. Not learnt from: what was withheld, sticky draws, fixed weights,
decisions outside of the trial, and those that nobody reported as having arrived.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, cast

import numpy as np

from engine.compiler.model import Policy
from engine.decision import ARRIVED, Outcome, OutcomeKind
from engine.learning.enrolment import Assignment
from engine.learning.linear import REWARD_UNIT, moments_of
from engine.learning.policies import learnt_message, scaled_reward
from engine.learning.posteriors import ArmKey, ArmState
from engine.learning.terms import Terms, read, terms_of
from engine.state.log import DecisionEntry, Entry, OutcomeEntry, decode
from engine.state.packing import CorruptBlob
from engine.state.shredded import Shredded, shredded

log = logging.getLogger("tact.learner")

Key = bytes  # of a decision's slot
_TEXTS = ("policy", "message", "variant", "segment", "terms")
_BITS = {"outcome": 8, "assignment": 8, "slot": 16, "send_at_ms": 64, "attribution_s": 64}  # as in the archive
_KINDS = frozenset(map(int, OutcomeKind))  # a later version may know others


@dataclass(slots=True)
class Increments:
    """What a turn of the fold adds, by arm."""

    arms: dict[ArmKey, ArmState] = field(default_factory=dict)

    def add(self, arm: ArmKey, reward: int, context_key: int = 0, context: Sequence[int] = ()) -> None:
        """One closed trial; `reward` in REWARD_UNIT."""
        trials, rewards, squares, moments = self.arms.get(arm, ArmState(0, 0))
        if context:
            more = moments_of(context, reward)
            known = moments.get(context_key, (0,) * len(more))
            moments = {**moments, context_key: tuple(a + b for a, b in zip(known, more, strict=True))}
        squares += reward * reward // REWARD_UNIT
        self.arms[arm] = ArmState(trials + 1, rewards + reward, squares, moments)


@dataclass(slots=True)
class Trial:
    """What the fold needs of a decision by a policy.

    `before`: the log id ahead of it; `kinds`: reports that count; `older`: another one of the same decision.
    """

    key: Key
    closes_ms: int
    policy: str
    message: str
    variant: str
    segment: str
    terms: str
    context: tuple[int, ...]
    before: str = ""
    kinds: frozenset[OutcomeKind] = frozenset()
    older: Trial | None = None


class Report(NamedTuple):
    """What it needs of an outcome."""

    key: Key
    kind: int
    occurred_ms: int
    at_ms: int


def part_of(entry: Entry) -> Trial | Report | None:
    """What concerns learning in an entry; None where nothing does. Raises CorruptBlob where it is of a wrong type."""
    if not isinstance(entry, DecisionEntry | OutcomeEntry):
        return None
    if not _is_sound(entry):
        raise CorruptBlob(f"{type(entry).__name__}: a field is of a wrong type, or too large")
    if isinstance(entry, OutcomeEntry):
        return Report(key_of(entry.customer, entry.event, entry.slot), entry.kind, entry.occurred_ms, entry.at_ms)
    if entry.outcome != Outcome.SEND or not entry.policy or entry.withheld or entry.sticky:
        return None
    if entry.assignment >= Assignment.OUTSIDE or (entry.terms and read(entry.terms) is None):
        return None
    return Trial(
        key_of(entry.customer, entry.event, entry.slot),
        max(entry.at_ms, entry.send_at_ms) + entry.attribution_s * 1000,
        entry.policy, entry.message, entry.variant, entry.segment, entry.terms, tuple(entry.context),
    )  # fmt: skip


def _is_sound(entry: DecisionEntry | OutcomeEntry) -> bool:
    """Whether all that learning looks at is of the type that it is declared as."""
    if isinstance(entry, OutcomeEntry):
        return _is_whole(entry.slot, _BITS["slot"])
    numbers = all(_is_whole(getattr(entry, name), bits) for name, bits in _BITS.items())
    texts = all(type(getattr(entry, name)) is str for name in _TEXTS)
    flags = type(entry.withheld) is type(entry.sticky) is bool
    return numbers and texts and flags and type(entry.context) is list and all(_is_whole(x, 32) for x in entry.context)


def _is_whole(value: object, bits: int) -> bool:
    return type(value) is int and -1 << bits - 1 <= value < 1 << bits - 1


def parts_of(blobs: Sequence[bytes]) -> list[Trial | Report | None]:
    """The same of many entries as they lie in the log; None also for what this version cannot read."""
    found: list[Trial | Report | None] = [None] * len(blobs)
    kinds, odd = shredded(blobs)
    for entries in kinds.values():
        if entries.layout.form.entry is DecisionEntry:
            _trials(entries, found)
        elif entries.layout.form.entry is OutcomeEntry:
            _reports(entries, found)
    for place in odd:
        try:
            found[place] = part_of(decode(blobs[place]))
        except CorruptBlob as error:  # a later version's kind, or damaged
            log.warning("a log entry is not learnt from: %s", error)
    return found


def _trials(entries: Shredded, found: list[Trial | Report | None]) -> None:
    of = entries.column
    learnt = (of("outcome")[:, 0] == Outcome.SEND) & (of("policy")[:, 1] > of("policy")[:, 0])
    learnt &= (of("withheld")[:, 0] == 0) & (of("sticky")[:, 0] == 0) & (of("assignment")[:, 0] < Assignment.OUTSIDE)
    heads, ends = entries.heads, entries.list_ends("context").tolist()
    [context] = entries.items("context")
    closes_ms = np.maximum(heads["at_ms"], of("send_at_ms")[:, 0]) + of("attribution_s")[:, 0] * 1000
    places, slots = entries.rows[learnt].tolist(), of("slot")[learnt, 0].tolist()
    texts = zip(*(entries.texts(name, learnt) for name in _TEXTS), strict=True)
    at = zip(np.flatnonzero(learnt).tolist(), closes_ms[learnt].tolist(), heads[learnt].tolist(), strict=True)
    for place, slot, (policy, message, variant, segment, terms), (row, closes, head) in zip(
        places, slots, texts, at, strict=True
    ):
        if terms and read(terms) is None:
            continue
        looked_at = tuple(context[ends[row - 1] if row else 0 : ends[row], 0].tolist()) if ends[-1] else ()
        key = key_of(bytes(head[2]), head[3], slot)
        found[place] = Trial(key, closes, policy, message, variant, segment, terms, looked_at)


def _reports(entries: Shredded, found: list[Trial | Report | None]) -> None:
    slots = entries.column("slot")[:, 0].tolist()
    for place, head, slot in zip(entries.rows.tolist(), entries.heads.tolist(), slots, strict=True):
        _, at_ms, occurred_ms, customer, event, _, _, kind = head
        found[place] = Report(key_of(bytes(customer), event, slot), kind, occurred_ms, at_ms)


def key_of(customer: bytes, event: int, slot: int) -> Key:
    """One text for a decision's slot: a tuple of three would weigh a multiple."""
    return customer + event.to_bytes(8, "little") + (slot.to_bytes(8, "little", signed=True) if slot else b"")


def learnt_by(trial: Trial, policies: Mapping[str, Policy]) -> Terms | None:
    """The terms of a trial; None where it is none to learn from.

    `policies` are asked where the log does not say: of these entries it is not known what their context meant, and
    one of another length is left out.
    """
    if trial.terms:
        return read(trial.terms)
    policy = policies.get(trial.policy)
    terms = terms_of(policy) if policy is not None else None
    if policy is not None and terms is not None and len(trial.context) != 1 + len(policy.context):
        terms = terms._replace(context_key=0)
    return terms


class BucketFold:
    """One bucket's log from the last folded id on. `offset` is the id up to which all is folded, `read` up to which
    entries were taken in. Of these only open trials are kept, with what was reported on them: a log is long.
    """

    __slots__ = ("_open", "_passed", "_trials", "offset", "read")

    def __init__(self, offset: str = "") -> None:
        self.offset = self.read = offset
        self._trials: deque[Trial] = deque()
        self._open: dict[Key, Trial] = {}  # the newest of each
        self._passed = 0  # trials that the last `settle` went past

    @property
    def behind(self) -> bool:
        """Whether there is anything that is not folded."""
        return self.read != self.offset

    def extend(self, entries: Iterable[tuple[str, Trial | Report | None]]) -> None:
        """Takes in what was read, in log order: ids, and what concerns learning."""
        before = self.read
        for log_id, part in entries:
            if type(part) is Trial:
                part.before = before
                self._trials.append(part)
                part.older = self._open.get(part.key)
                self._open[part.key] = part
            elif part is not None:
                self._report(cast(Report, part))
            before = log_id
        self.read = before

    def _report(self, report: Report) -> None:
        trial = self._open.get(report.key)
        while trial is not None:
            # by when it is in the log, too, else the sums would depend on when that is folded
            if max(report.occurred_ms, report.at_ms) <= trial.closes_ms and report.kind in _KINDS:
                trial.kinds |= {OutcomeKind(report.kind)}
            trial = trial.older

    def settle(self, now_ms: int, policies: Mapping[str, Policy], increments: Increments) -> str:
        """Folds every entry before the first open trial; returns the id folded up to ("" for nothing new).

        All is kept until `settled` is called with that id, so a failed commit costs nothing.
        """
        upto = self.read
        self._passed = 0
        for trial in self._trials:
            terms = learnt_by(trial, policies)
            if terms is not None:
                if now_ms < trial.closes_ms:
                    upto = trial.before
                    break
                _close(trial, terms, increments)
            self._passed += 1
        return upto if upto != self.offset else ""

    def settled(self, upto: str) -> None:
        """What was folded up to `upto` is committed."""
        for _ in range(self._passed):
            trial = self._trials.popleft()
            newer = self._open[trial.key]
            if newer is trial:
                del self._open[trial.key]
                continue
            while newer.older is not None and newer.older is not trial:
                newer = newer.older
            newer.older = None  # it was the oldest
        self._passed = 0
        self.offset = upto


def _close(trial: Trial, terms: Terms, increments: Increments) -> None:
    if trial.kinds & ARRIVED:
        hour = trial.closes_ms // 3_600_000 // terms.hours * terms.hours if terms.hours else 0
        arm = ArmKey(trial.policy, learnt_message(terms, trial.message), trial.segment, trial.variant, hour)
        context = trial.context if terms.context_key else ()
        increments.add(arm, scaled_reward(terms, trial.kinds), terms.context_key, context)
