"""Outcomes that name no decision: what the customer took up, or where a reply came in.

They are credited to the latest message that was delivered, of each policy its own: a customer who reacts to what was
said last has seen what other policies said before, and each of them learns from its own messages alone.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from engine.decision import BY_PRODUCT, OutcomeResult, Outcomes
from engine.identity import decision_id, event_hash, name_hash
from engine.state.model import Answer, Touch, TouchFlag
from engine.step.entries import outcome_entry
from engine.step.operations import ARRIVED_FLAGS, Change, keep_answer, known_answer, message_of, occurred_at
from engine.step.take import Subject, World

_REF = struct.Struct("<QB")  # event, slot


def pack_credit(event: int, slot: int) -> bytes:
    """One decision, as the body of an outcome's answer lists what it was credited to."""
    return _REF.pack(event, slot)


def credits_of(body: bytes) -> list[tuple[int, int]]:
    """The decisions that an answer's body lists: event and slot."""
    return list(_REF.iter_unpack(body))


@dataclass(slots=True)
class CreditOutcome:
    """Takes one report on a customer. Its `outcome_id` and `occurred_at_ms` are given."""

    report: Outcomes

    @property
    def key(self) -> int:
        """Under which it is remembered that the report was credited, and to what."""
        report = self.report
        about = report.product if report.kind in BY_PRODUCT else report.channel
        return event_hash(f"credit:{report.kind.name}:{about}:{report.outcome_id}")

    def apply(self, world: World, subject: Subject, spilled: dict[int, bytes], change: Change) -> OutcomeResult:
        """Sets the outcome on the touches it is credited to, once. Raises InvalidInput.

        A report again names the same decisions, whatever was sent or delivered since. One without credit leaves
        nothing behind: credited later, it is credited for the first time.
        """
        record, now_ms, report, key = subject.record, subject.now_ms, self.report, self.key
        occurred_ms = occurred_at(report, now_ms)
        known = known_answer(record, spilled, change, key)
        if known is not None:
            ids = [decision_id(subject.key, event, slot) for event, slot in credits_of(known[1])]
            return OutcomeResult(True, [], credited_decision_ids=ids)
        places = credited(record.touches, report, occurred_ms)
        for at in places:
            touch = record.touches[at]
            record.touches[at] = touch._replace(flags=touch.flags | TouchFlag.outcome(report.kind))
            change.entries.append(
                outcome_entry(subject, touch, message_of(world.bundle, touch), report, occurred_ms, key)
            )
        touches = [record.touches[at] for at in places]
        if touches:
            body = b"".join(pack_credit(t.event, t.slot) for t in touches)
            keep_answer(record, change, Answer(key, int(report.kind), now_ms, body), now_ms)
        ids = [decision_id(subject.key, t.event, t.slot) for t in touches]
        return OutcomeResult(False, [], credited_decision_ids=ids)


def credited(touches: Sequence[Touch], report: Outcomes, occurred_ms: int) -> list[int]:
    """The places of the touches that a report is credited to, in their order.

    Of those sent by then, about the product or on the channel, and reported to have arrived: the latest of each policy,
    and the latest without one. What a product is about is also credited to the latest that was withheld, so that the
    readout knows of held-out customers what it knows of others; nothing learns from these.
    """
    by_product = report.kind in BY_PRODUCT
    wanted = name_hash(report.product if by_product else report.channel)
    latest: dict[int | None, int] = {}  # policy (0: without, None: withheld) -> place
    for at, touch in enumerate(touches):
        if (touch.product if by_product else touch.channel) != wanted or touch.at_ms > occurred_ms:
            continue
        if touch.flags & TouchFlag.RELEASED:
            continue
        withheld = touch.flags & TouchFlag.WITHHELD
        if not (by_product if withheld else touch.flags & ARRIVED_FLAGS):
            continue
        of = None if withheld else touch.policy
        if of not in latest or touch.at_ms >= touches[latest[of]].at_ms:
            latest[of] = at
    return sorted(latest.values())
