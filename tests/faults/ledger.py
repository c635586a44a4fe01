"""What clients were told, kept apart from the engine, and compared with what the store holds in the end.

The invariants of faults, checked from outside: I1 caps, I2 one answer for an event, I3 every SEND is booked, I4 nobody
gets another's answer, I6 ledger, record and log agree.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq

from engine.decision import Outcome
from engine.identity import customer_key, event_hash
from engine.pb.tact.v1 import decision_pb2 as pb
from engine.state.log import DecisionEntry, decode
from engine.state.model import ReadRequest, Touch, TouchFlag
from engine.state.record import decode as decode_record
from engine.state.redis import RedisStore
from tests.faults.line import OK, Answer

NOT_KEPT = (pb.Decision.STATE_UNKNOWN, pb.Decision.LOG_FULL)  # answers that a retry may find better ones for


_AT_ONCE = 500
_TOLD_MOST = 20  # of what does not hold


class Logged(NamedTuple):
    """What the log says of one decision."""

    event: int
    outcome: int


@dataclass
class Ledger:
    """`cap`: how many SENDs a customer may be told, but for those `released` since by NOT_DELIVERED. `broken`: what did
    not hold of the answers themselves."""

    cap: int = 5
    answers: dict[tuple[str, str], bytes] = field(default_factory=dict)
    sent: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    released: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    statuses: Counter[int] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    late: list[float] = field(default_factory=list)  # seconds past the deadline at which calls ended

    def take(self, customer: str, event: str, answer: Answer, deadline_s: float = 0.0) -> bool:
        """Notes what a call for one event came to; whether it is settled."""
        self.statuses[answer.status] += 1
        if deadline_s and answer.took_s > deadline_s:
            self.late.append(answer.took_s - deadline_s)
        if answer.status != OK:
            return False
        return self.told(customer, event, pb.DecideResponse.FromString(answer.body), answer.body)

    def told(self, customer: str, event: str, response: pb.DecideResponse, body: bytes) -> bool:
        """Notes one answer; whether it is settled."""
        whose = {(d.customer_id, d.event_id) for d in response.decisions}
        if response.event_id != event or whose != {(customer, event)}:
            self.broken.append(f"I4: {customer} {event} was answered by {response.event_id} {sorted(whose)}")
            return True
        [decision] = response.decisions
        self.reasons[pb.Decision.Reason.Name(decision.reason)] += 1
        if decision.reason in NOT_KEPT:
            return False
        if self.answers.setdefault((customer, event), body) != body:
            self.broken.append(f"I2: {customer} {event} has two answers")
        if decision.outcome == pb.Decision.SEND and not decision.provisional:
            self.sent[customer].add(event)
        return True

    async def check(self, store: RedisStore, archive: Path | None = None, lost: int = 0) -> list[str]:
        """What does not hold, in words; nothing else may be under way. `lost`: answers that the store may not know."""
        broken = list(self.broken)
        told: dict[str, set[int]] = defaultdict(set)
        for customer, event in self.answers:
            told[customer].add(event_hash(event))
        log = await logged(store, archive, list(told))
        self.missing = 0
        for customer, touches in (await booked(store, list(told))).items():
            here = Counter(t.event for t in touches if not t.flags & TouchFlag.RELEASED)
            decided = Counter(e.event for e in log[customer])
            freed = {event_hash(event) for event in self.released[customer]}
            sent = {event_hash(event) for event in self.sent[customer]} - freed
            if len(sent) > self.cap and not lost:
                broken.append(f"I1: {customer} was told {len(sent)} SENDs, the cap is {self.cap}")
            if len(here) > self.cap:
                broken.append(f"I1: {customer} has {len(here)} booked, the cap is {self.cap}")
            if max(here.values(), default=0) > 1 or max(decided.values(), default=0) > 1:
                broken.append(f"I2: {customer} has an event that is booked or logged twice")
            sends, known = {e.event for e in log[customer] if e.outcome == Outcome.SEND}, here.keys() | freed
            if sends != known and not (lost and sends > known):  # the archive may know what the store has lost
                broken.append(f"I6: the log and the record of {customer} differ")
            if not lost and sent - here.keys():
                broken.append(f"I3: {customer} was told {len(sent - here.keys())} SENDs that are not booked")
            self.missing += len(told[customer] - decided.keys())
        if self.missing > lost:
            broken.append(f"I6: {self.missing} answers are not in the log, at most {lost} may be")
        return broken[:_TOLD_MOST] + ([f"and {len(broken) - _TOLD_MOST} more"] if len(broken) > _TOLD_MOST else [])

    missing: int = 0

    def overshoot(self) -> int:
        """How many SENDs customers were told above the cap, all together."""
        return sum(max(0, len(events) - self.cap) for events in self.sent.values())


async def booked(store: RedisStore, customers: Sequence[str]) -> dict[str, list[Touch]]:
    """The touches of each."""
    found: dict[str, list[Touch]] = {}
    for at in range(0, len(customers), _AT_ONCE):
        some = customers[at : at + _AT_ONCE]
        batch = await store.read([ReadRequest(customer_key(customer), ()) for customer in some])
        for customer, entry in zip(some, batch.entries, strict=True):
            found[customer] = decode_record(entry.record).touches
    return found


async def logged(store: RedisStore, archive: Path | None, customers: Sequence[str]) -> dict[str, list[Logged]]:
    """The decisions of each as logged: in the streams and in the archive, each once."""
    names = {customer_key(customer).digest: customer for customer in customers}
    rows: dict[tuple[int, str], tuple[bytes, Logged]] = {}
    for bucket in sorted({customer_key(customer).bucket for customer in customers}):
        for log_id, fields in await store.admin.xrange(store.bucket_key(bucket, "log")):
            entry = decode(fields[b"d"])
            if isinstance(entry, DecisionEntry):
                rows[bucket, log_id.decode()] = entry.customer, Logged(entry.event, entry.outcome)
    for path in archived(archive):  # after the streams: what was trimmed since is here
        for row in pq.read_table(path, columns=["bucket", "log_id", "customer", "event", "outcome"]).to_pylist():
            rows[row["bucket"], row["log_id"]] = row["customer"], Logged(row["event"], row["outcome"])
    found: dict[str, list[Logged]] = {customer: [] for customer in customers}
    for digest, entry in rows.values():
        if digest in names:
            found[names[digest]].append(entry)
    return found


def archived(archive: Path | None) -> list[Path]:
    """The archive's files of decisions."""
    return sorted(archive.glob("run-*/decision.parquet")) if archive is not None else []
