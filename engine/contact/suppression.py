"""Suppression after outcomes: who has taken it, refused it or passed over it again and again is left alone.

It is computed from the touches' outcome bits, at the moment of deciding; spans count from when a message was sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.compiler.model import Message, Position, Purpose, Suppression
from engine.contact.caps import Proposal, applies, counted, same
from engine.decision import Details, OutcomeKind, Reason
from engine.identity import name_hash
from engine.state.model import Touch, TouchFlag

OUTCOME_BITS = {
    "converted": TouchFlag.outcome(OutcomeKind.CONVERTED),
    "declined": TouchFlag.outcome(OutcomeKind.DECLINED),
}
_REASON = {
    "converted": Reason.ALREADY_CONVERTED,
    "declined": Reason.ALREADY_DECLINED,
    "ignored": Reason.REPEATEDLY_IGNORED,
}
_REACTIONS = sum(
    TouchFlag.outcome(kind) for kind in OutcomeKind if kind not in (OutcomeKind.DELIVERED, OutcomeKind.NOT_DELIVERED)
)


@dataclass(frozen=True, slots=True)
class Suppressions:
    """The rules that hold one message, and the purposes each of them counts.

    `outcomes`: a touch with one of these bits, or `ignored` touches in all (0: none asked for), may suppress it.
    """

    rules: tuple[tuple[Suppression, frozenset[int]], ...]
    outcomes: int
    ignored: int


def suppressions_of(message: Message, purposes: dict[str, Purpose], declared: Sequence[Suppression]) -> Suppressions:
    """Those of the declared ones that hold `message`: absent purposes mean all but tier 1."""
    own = name_hash(message.purpose)
    rules = tuple((rule, c) for rule in declared if own in (c := counted(purposes, rule.purposes)))
    outcomes = {OUTCOME_BITS[rule.after] for rule, _ in rules if rule.after in OUTCOME_BITS}
    times = [rule.times for rule, _ in rules if rule.after == "ignored"]
    return Suppressions(rules, sum(outcomes), min(times, default=0))


def stopped_by_outcomes(
    held: Suppressions, touches: Sequence[Touch], new: Proposal, now_ms: int
) -> tuple[Reason, Details, Position] | None:
    """Why earlier outcomes forbid the message and where that is written, or None. In the order written.

    `touches` are all that are remembered; those withheld in the holdout were never told, so nothing came of them.
    """
    for rule, purposes in held.rules:
        if not applies(rule.per, new):
            continue
        told = [
            t for t in touches if not t.flags & TouchFlag.WITHHELD and t.purpose in purposes and same(rule.per, t, new)
        ]
        if rule.after == "ignored":
            times = _ignored_in_a_row(told, now_ms)
        else:
            times = [t.at_ms for t in told if t.flags & OUTCOME_BITS[rule.after]]
        last_ms = max(times, default=0)
        if rule.within is not None:
            times = [at_ms for at_ms in times if at_ms > last_ms - rule.within.span_s * 1000]
        frees_at_ms = last_ms + rule.lasts.span_s * 1000
        if len(times) >= rule.times and frees_at_ms > now_ms:
            details = Details(
                condition=rule.title,
                count=len(times),
                limit=rule.times,
                frees_at_ms=frees_at_ms,
                cause=SAID[rule.after],
            )
            return _REASON[rule.after], details, rule.position
    return None


SAID = {
    "converted": "the customer has taken it up",
    "declined": "the customer has declined it",
    "ignored": "the customer has not reacted to it again and again",
}


def _ignored_in_a_row(touches: Sequence[Touch], now_ms: int) -> list[int]:
    """When those were sent to which no reaction came, back to the last one that had any.

    It counts as ignored once reports about it are due no more; one that was not delivered was not seen.
    """
    times: list[int] = []
    for t in sorted(touches, key=lambda t: (t.at_ms, t.event, t.slot), reverse=True):
        if t.flags & _REACTIONS:
            break
        if t.report_by_ms <= now_ms and not t.flags & TouchFlag.RELEASED:
            times.append(t.at_ms)
    return times
