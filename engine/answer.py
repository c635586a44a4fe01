"""A decision as protobuf: what the caller gets, and what is kept of it to be given again.

What is kept is the caller's own `DecideResponse` less the ids, which follow from the request: so a retry
gets the same bytes, and whoever writes an answer's bytes writes them once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from engine.decision import Decision, Details, Outcome, Reason
from engine.pb.tact.v1 import decision_pb2 as pb

# What is called and typed the same on both sides.
_IDS = ("decision_id", "event_id", "customer_id")
_OWN = {"outcome", "reason", "details", "slots", "suggested_replies", "send_after", "send_before", "report_by"}
_PLAIN = tuple(f.name for f in pb.Decision.DESCRIPTOR.fields if f.name not in _OWN)
_KEPT = tuple(name for name in _PLAIN if name not in (*_IDS, "propensity"))
_PLAIN_DETAILS = tuple(f.name for f in fields(Details) if f.name != "frees_at_ms")
_BLANK_DETAILS = Details()


def to_bytes(message: Message) -> bytes:
    """Equal messages give equal bytes: a retry must get what the first call got."""
    return message.SerializeToString(deterministic=True)


def timestamp(ms: int) -> Timestamp | None:
    """A time in milliseconds since 1970; 0 is none."""
    return Timestamp(seconds=ms // 1000, nanos=ms % 1000 * 1_000_000) if ms else None


def _ms(time: Timestamp) -> int:
    return time.seconds * 1000 + time.nanos // 1_000_000


def encode_decision(decision: Decision) -> pb.Decision:
    """One decision, field by field."""
    return pb.Decision(
        outcome=int(decision.outcome),  # type: ignore[arg-type]
        reason=int(decision.reason),  # type: ignore[arg-type]
        details=encode_details(decision.details),
        slots=decision.slots,
        suggested_replies=decision.suggested_replies,
        send_after=timestamp(decision.send_after_ms),
        send_before=timestamp(decision.send_before_ms),
        report_by=timestamp(decision.report_by_ms),
        **{name: value for name in _PLAIN if (value := getattr(decision, name))},
    )


def decode_decision(d: pb.Decision) -> Decision:
    """The inverse of `encode_decision`, without the ids."""
    return Decision(
        Outcome(d.outcome),
        Reason(d.reason),
        Details(**{name: getattr(d.details, name) for name in _PLAIN_DETAILS}, frees_at_ms=_ms(d.details.frees_at)),
        slots=dict(d.slots),
        suggested_replies=list(d.suggested_replies),
        send_after_ms=_ms(d.send_after),
        send_before_ms=_ms(d.send_before),
        report_by_ms=_ms(d.report_by),
        **{name: getattr(d, name) for name in _KEPT},
    )


def encode_details(details: Details) -> pb.Details | None:
    """What a reason refers to; None where nothing is set."""
    if details == _BLANK_DETAILS:
        return None
    return pb.Details(
        frees_at=timestamp(details.frees_at_ms),
        **{name: value for name in _PLAIN_DETAILS if (value := getattr(details, name))},
    )


def encode_answer(decisions: Sequence[Decision]) -> bytes:
    """What is kept of an answer: its decisions without their ids."""
    kept = pb.DecideResponse(decisions=[encode_decision(d) for d in decisions])
    for d in kept.decisions:
        for name in _IDS:
            d.ClearField(name)
    return to_bytes(kept)


def decode_answer(body: bytes) -> list[Decision]:
    """Inverse of `encode_answer`; ids are left empty for the caller to fill in."""
    return [decode_decision(d) for d in pb.DecideResponse.FromString(body).decisions]
