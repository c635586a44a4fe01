"""Customers through several rounds of decisions: each round by both ways, what they left behind fed into the next."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from engine.bundle import Bundle, Pauses
from engine.columns.rules import RuleColumns
from engine.decision import Outcome, OutcomeKind, Outcomes, Reason
from engine.identity import customer_key, parse_decision_id
from engine.learning.posteriors import Posteriors
from engine.pb.tact.v1 import decision_pb2 as pb
from engine.state.history import NO_HISTORY
from engine.state.log import DecisionEntry
from engine.state.model import ReadBatch, ReadEntry
from engine.step.group import Group, Pending, apply_groups
from engine.step.operations import ConfirmSend, Operation, RecordOutcome
from engine.step.take import World
from tests.columns.customers import Customers
from tests.columns.twin import SALT, Left, by_columns, by_step, compare

# A Monday in September 2026, and days ahead of clocks that change, of a leap day and of a new year.
STARTS_S = (1_790_000_000, 1_774_700_000, 1_792_850_000, 1_835_350_000, 1_798_700_000)
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
STEPS = (
    -3 * MINUTE_MS,
    MINUTE_MS,
    7 * MINUTE_MS,
    HOUR_MS,
    5 * HOUR_MS + 1,
    DAY_MS,
    3 * DAY_MS,
    20 * DAY_MS,
    47 * DAY_MS,
)


@dataclass
class Tally:
    """What was seen: events, those that kernels took, reasons, and the most spilled answers of a commit."""

    events: int = 0
    taken: int = 0
    reasons: Counter[Reason] = field(default_factory=Counter)
    spills: int = 0

    @property
    def plain(self) -> int:
        """Events that kernels should take: who is outside of a trial, and its variant cannot be said, is left."""
        return self.events - self.reasons[Reason.VARIANT_UNAVAILABLE]

    def add(self, other: Tally) -> None:
        self.events += other.events
        self.taken += other.taken
        self.reasons += other.reasons
        self.spills += other.spills


class Town:
    """Customers and what the store holds of them."""

    def __init__(
        self,
        seed: int,
        bundle: Bundle,
        size: int,
        words: Sequence[str],
        odd: bool = False,
        usual: Mapping[str, Sequence[object]] | None = None,
    ) -> None:
        self.chance = random.Random(f"town {seed}")
        self.seed = seed
        self.words, self.odd, self.usual = words, odd, usual
        self.names = [f"c{k}" if k % 7 else f"c{k}-{'x' * self.chance.randrange(250)}" for k in range(size)]
        self.now_ms = 1000 * self.chance.choice(STARTS_S) + self.chance.randrange(DAY_MS)
        self.state: dict[str, tuple[bytes, bytes]] = {}
        self.spilled: dict[str, dict[int, tuple[bytes, int]]] = {}  # and until when
        self.asked: dict[str, list[pb.DecideRequest]] = {}
        self.tally = Tally()
        self.history = NO_HISTORY
        self.rounds = 0
        self.use(bundle)
        for name in self.names:
            self.state[name] = self.customers.profile(self.now_ms), self.customers.record(self.now_ms)

    def use(self, bundle: Bundle) -> None:
        """From now on it is this rule set."""
        self.bundle = bundle
        self.rules = RuleColumns(bundle, b"")
        self.customers = Customers(self.seed, bundle, self.words, self.odd, self.usual)

    def round(
        self,
        step_ms: int | None = None,
        pauses: Pauses | None = None,
        posteriors: Posteriors | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        """One event of everybody, by both ways; then some of what happens to messages."""
        r = self.chance
        self.now_ms += r.choice(STEPS) if step_ms is None else step_ms
        self.rounds += 1
        names = self.names if names is None else names
        for name in names:
            if r.random() < 0.05:
                self.state[name] = self.customers.profile(self.now_ms), self.state[name][1]
        requests = [self._request(name) for name in names]
        world = World(self.bundle, pauses or Pauses(), posteriors or Posteriors(), SALT, self.history)
        spilled = {name: self.kept(name) for name in names}
        step = by_step(world, requests, self.state, self.now_ms, spilled)
        columns: Sequence[Left | None] = [None] * len(requests)
        if self.rules.usable:
            columns = by_columns(self.rules, world, requests, self.state, self.now_ms, spilled)
        self.tally.taken += compare(columns, step)
        self.tally.events += len(requests)
        for name, one, other in zip(names, columns, step, strict=True):
            if other is None:
                continue
            assert isinstance(other.entry, DecisionEntry)
            self.tally.reasons[Reason(other.entry.reason)] += 1
            wrote = one if one is not None and r.random() < 0.7 else other
            self.state[name] = self.state[name][0], wrote.blob
            self._spill(name, [(int(key[-16:], 16), body, life_ms) for key, body, life_ms in other.spills])
            self.tally.spills += len(other.spills)
            self._happens(world, name, other)

    def kept(self, name: str) -> dict[int, bytes]:
        """The answers of a customer that are in keys of their own at the moment."""
        return {event: body for event, (body, until_ms) in self.spilled.get(name, {}).items() if until_ms > self.now_ms}

    def _spill(self, name: str, spills: Sequence[tuple[int, bytes, int]]) -> None:
        own = self.spilled.setdefault(name, {})
        own.update({event: (body, self.now_ms + life_ms) for event, body, life_ms in spills})

    def _request(self, name: str) -> pb.DecideRequest:
        r = self.chance
        if name in self.asked and r.random() < 0.02:
            return r.choice(self.asked[name])
        request = self.customers.request(f"e{self.rounds}-{name}"[:256], name, self.now_ms)
        self.asked.setdefault(name, []).append(request)
        return request

    def _happens(self, world: World, name: str, left: Left) -> None:
        """Reports on what was said, now and then."""
        r = self.chance
        said = pb.DecideResponse.FromString(left.answer).decisions[0]
        if int(said.outcome) != Outcome.SEND or r.random() < 0.6:
            return
        ref = parse_decision_id(said.decision_id)
        assert ref is not None
        operations: list[Operation] = []
        for k in range(r.choice((1, 1, 3))):
            kind = r.choice((*OutcomeKind, OutcomeKind.NOT_DELIVERED)) if r.random() < 0.9 else OutcomeKind.OPTED_OUT
            outcome_id = f"o{k}" if r.random() < 0.5 else ""
            operations.append(RecordOutcome(Outcomes(said.decision_id, kind, None, 1.0, outcome_id, ""), ref))
        if r.random() < 0.3:
            operations.append(ConfirmSend(ref))
        profile, record = self.state[name]
        loop = asyncio.new_event_loop()
        group = Group(customer_key(name), [Pending(o, loop.create_future()) for o in operations])
        entry = ReadEntry(profile, record, self.kept(name))
        commit = apply_groups(world, [group], ReadBatch(self.now_ms + 1, [entry]), False)[0]
        loop.close()
        if commit is not None and commit.record is not None:
            self.state[name] = profile, commit.record
            self._spill(name, commit.spills)
