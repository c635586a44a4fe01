"""A customer's history, added to the windows once: what happened before the engine was told of events.

A window that is kept says from when on everything was counted in it (`WindowState.since_ms`): at first the arrival
of the customer's first event. Which events of the past may still be added, each exactly once, follows from that, from
the answers that are kept for a day, and from a list of the events of the last day that were added from history:

    it is in the list                        counted
    younger than a day and not answered      not counted: it would have an answer
    of since or later                        taken for counted: nothing else is known of it any more
    before since, answered                   counted if the window was there when the answer was given
    before since, not answered               not counted if events as old as that were refused when the window began
                                             (a day), or all answers since then are still kept; else LATE: perhaps

A history that is whole from `since_ms` on and reaches the window's begin moves that begin back: the same history
again adds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.decision import Event
from engine.errors import InvalidInput, Violation
from engine.identity import event_hash
from engine.state.model import Record, WindowState
from engine.step.inputs import gather, text_feature
from engine.step.operations import ANSWER_KEPT_MS, Change
from engine.step.take import AHEAD_MS_MAX, ANSWER_LIFE_MS, Subject, World
from engine.windows import HISTORY, WindowPlan, observe, signed

YOUNG_MAX = 10_000  # events of a customer's last day that are added from history


@dataclass(slots=True)
class Backfilled:
    """What became of the events: `counted` in some window, else `late` (perhaps counted before, in some window),
    else `apart` (the history ends before some window began), else known already.
    """

    counted: int = 0
    known: int = 0
    late: int = 0
    apart: int = 0


@dataclass(frozen=True, slots=True)
class Backfill:
    """Adds events to the windows and decides nothing. The history is whole from `since_ms` to `until_ms`."""

    events: Sequence[Event]
    since_ms: int
    until_ms: int

    def apply(self, world: World, subject: Subject, spilled: dict[int, bytes], change: Change) -> Backfilled:
        """Changes the windows and how far back they are whole. Raises InvalidInput."""
        return _History(self, world, subject).add(change)


class _Past:
    """An event with what is to be known of it."""

    __slots__ = ("arrived_ms", "at_ms", "code", "event", "fates")

    def __init__(self, event: Event, at_ms: int, arrived_ms: int | None) -> None:
        self.event = event
        self.at_ms = at_ms
        self.code = signed(event_hash(event.event_id))
        self.arrived_ms = arrived_ms
        self.fates: set[str] = set()


class _History:
    def __init__(self, operation: Backfill, world: World, subject: Subject) -> None:
        self.since_ms, self.until_ms = operation.since_ms, operation.until_ms
        self.world, self.subject, self.record = world, subject, subject.record
        self.now_ms = subject.now_ms
        self.zone = text_feature(world.bundle.ruleset, subject.profile, "timezone", self.now_ms)
        self.young_ms = self.now_ms - ANSWER_LIFE_MS
        answered = _answered(self.record)
        kept = self.record.windows.get(HISTORY)
        self.listed: set[float] = set(kept.values) if kept is not None else set()
        entries = zip(kept.buckets, kept.values, strict=True) if kept is not None else ()
        self.entries = [entry for entry in entries if entry[0] > self.young_ms]
        self.past: list[_Past] = []
        seen: set[int] = set()
        for event in operation.events:
            if event.type not in world.bundle.ruleset.events:  # the rule set was swapped since the request was read
                told = f"event '{event.event_id}' is of type '{event.type}', which the rule set has not"
                raise InvalidInput([Violation("events", told)])
            assert event.occurred_at_ns is not None
            at_ms, arrived_ms = event.occurred_at_ns // 1_000_000, answered.get(event_hash(event.event_id))
            if arrived_ms is not None and at_ms <= arrived_ms - ANSWER_LIFE_MS:
                arrived_ms = None  # it was too old, so not counted
            past = _Past(event, at_ms, arrived_ms)
            if past.at_ms > self.now_ms + AHEAD_MS_MAX:
                told = f"event '{event.event_id}' lies ahead of the engine's clock; expected the past"
                raise InvalidInput([Violation("events", told)])
            if past.code not in seen:  # a repeat within the history
                seen.add(past.code)
                self.past.append(past)
        self.past.sort(key=lambda p: p.at_ms)
        outside = next((p for p in self.past if not self.since_ms <= p.at_ms <= self.until_ms), None)
        if outside is not None:
            told = f"event '{outside.event.event_id}' lies outside of `since` and `until`"
            raise InvalidInput([Violation("events", told)])
        self.young = [p for p in self.past if self._young(p) and p.code not in self.listed]
        if len(self.young) + len(self.entries) > YOUNG_MAX:
            found = len(self.young) + len(self.entries)
            told = f"found {found} events of the last day: expected at most {YOUNG_MAX}"
            raise InvalidInput([Violation("events", told)])

    def _young(self, past: _Past) -> bool:
        """Whether it would have an answer had it arrived."""
        return past.arrived_ms is None and past.at_ms > self.young_ms

    def add(self, change: Change) -> Backfilled:
        """Adds what was not counted to each window."""
        counting = self._evaluated()
        for key, plan in self.world.bundle.steps.stored.items():
            state = self.record.windows.get(key)
            fresh = state is None
            if state is None:
                state = WindowState(since_ms=self.now_ms, last_used_ms=self.now_ms)
            reaches = fresh or self.until_ms >= state.since_ms - ANSWER_LIFE_MS
            for past, amount in counting[key]:
                fate = "counted" if fresh else self._fate(past, state, reaches)
                past.fates.add(fate)
                if fate == "counted":
                    observe(plan, state, past.at_ms, self.now_ms, self.zone, amount)
                    change.record = True
            if reaches and (fresh or self.since_ms < state.since_ms):
                state.since_ms = min(self.since_ms, state.since_ms)
                self.record.windows[key] = state
                change.record = True
        self._list(change)
        return self._told()

    def _fate(self, past: _Past, state: WindowState, reaches: bool) -> str:
        """counted: to be counted now; known, late or apart: not."""
        since_ms, arrived_ms = state.since_ms, past.arrived_ms
        if past.code in self.listed:
            return "known"
        if self._young(past):
            return "counted"
        if past.at_ms >= since_ms or (arrived_ms is not None and arrived_ms >= since_ms):
            return "known"
        if not reaches:
            return "apart"
        begin_ms = max(since_ms, self.record.since_ms or self.now_ms)  # since, where it was not moved back
        if arrived_ms is not None or past.at_ms <= begin_ms - ANSWER_LIFE_MS:
            return "counted"
        return "counted" if self.now_ms < begin_ms + ANSWER_LIFE_MS else "late"

    def _evaluated(self) -> dict[int, list[tuple[_Past, object]]]:
        """Of each stored window, the events that it counts and what each adds."""
        bundle, zone = self.world.bundle, self.zone
        plan, steps = bundle.program.windows, bundle.steps
        found: dict[int, list[tuple[_Past, object]]] = {key: [] for key in steps.stored}
        counting = [p for p in self.past if steps.windows_of[p.event.type]]
        inputs = [
            gather(
                plan.paths[p.event.type], bundle.ruleset, {}, p.event, p.event.occurred_at_ns or 0,
                self.subject.profile, self.record, self.now_ms, zone,
            )
            for p in counting
        ]  # fmt: skip
        types = [p.event.type for p in counting]
        batch = plan.batch(types, inputs, [self.now_ms * 1_000_000] * len(types), [zone] * len(types))
        for i, past in enumerate(counting):
            window: WindowPlan
            for window, where, value in steps.windows_of[past.event.type]:
                if where is not None and batch.truth(where, i) is not True:
                    continue
                amount = batch.value(value, i) if value is not None else None
                if value is None or amount is not None:
                    found[window.key].append((past, amount))
        return found

    def _list(self, change: Change) -> None:
        """Keeps which events of the last day were added, so that none is counted when it arrives."""
        if not self.young:
            return
        entries = sorted([*self.entries, *((p.at_ms, p.code) for p in self.young)])
        buckets, values = [at_ms for at_ms, _ in entries], [code for _, code in entries]
        self.record.windows[HISTORY] = WindowState(False, buckets, values, self.now_ms, self.now_ms)
        change.record = True

    def _told(self) -> Backfilled:
        told = Backfilled()
        for past in self.past:
            fate = next((f for f in ("counted", "late", "apart") if f in past.fates), "known")
            setattr(told, fate, getattr(told, fate) + 1)
        return told


def _answered(record: Record) -> dict[int, int]:
    """When the events arrived whose answers are kept."""
    own = {event: until_ms - ANSWER_KEPT_MS for event, until_ms in record.spilled.items()}
    return own | {a.event: a.at_ms for a in record.answers}
