"""What is booked again of a customer, entry by entry."""

from __future__ import annotations

from engine.answer import decode_answer
from engine.decision import Outcome, OutcomeKind, Reason
from engine.identity import customer_key
from engine.recovery.archived import Archived
from engine.recovery.rebook import ANSWERED_LATER, Rebooked, Rebooking, RuleBook
from engine.state.log import Entry
from engine.state.model import Profile, Record, TouchFlag
from tests.readout.written import decision, outcome


def booked(entries: list[Entry]) -> Rebooking:
    one = Rebooking(customer_key("ana"), Profile(), Record(), 10_000, RuleBook(), Rebooked())
    one.book([Archived(f"{n}-0", entry) for n, entry in enumerate(entries, 1)])
    return one


def test_what_only_a_later_version_knows_is_passed_over_and_told() -> None:
    sent = decision("ana", 1, 1_000, {"a": 1 << 30}, "a")
    silent = decision("ana", 2, 2_000, {}, "", outcome=int(Outcome.NO_MESSAGE), reason=199)
    found = booked([sent, outcome(sent, 99, 500), outcome(sent, OutcomeKind.DELIVERED, 500), silent])
    assert (found.told.entries, found.told.outcomes, found.told.unreadable) == (4, 1, 1)
    [touch] = found.record.touches
    assert touch.flags == TouchFlag.outcome(OutcomeKind.DELIVERED)
    [answer] = [a for a in found.record.answers if a.event == 2]
    [told] = decode_answer(answer.body)
    assert (told.reason, told.details.cause) == (Reason.STATE_UNKNOWN, ANSWERED_LATER)
