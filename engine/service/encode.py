"""The pipeline's answers as protobuf, deterministic to the byte."""

from __future__ import annotations

from collections.abc import Sequence

from engine.answer import encode_decision, encode_details, timestamp
from engine.compiler.model import Position
from engine.decision import Decision
from engine.pb.tact.v1 import decision_pb2 as pb
from engine.step.explain import CandidateView, Explanation
from engine.step.operations import Confirmation
from engine.step.traces import ConditionTrace


def encode_response(decisions: Sequence[Decision], event_id: str, index: int = 0) -> pb.DecideResponse:
    """The answer for one event."""
    return pb.DecideResponse(decisions=[encode_decision(d) for d in decisions], event_id=event_id, request_index=index)


def encode_confirmation(confirmation: Confirmation) -> pb.ConfirmSendResponse:
    """Whether a deferred message may still be sent."""
    return pb.ConfirmSendResponse(
        outcome=int(confirmation.outcome),  # type: ignore[arg-type]
        reason=int(confirmation.reason),  # type: ignore[arg-type]
        details=encode_details(confirmation.details),
        reason_text=confirmation.reason_text,
    )


def encode_explanation(explanation: Explanation) -> pb.ExplainResponse:
    """A decision (the first of a slate) and every candidate."""
    return pb.ExplainResponse(
        decision=encode_decision(explanation.decisions[0]) if explanation.decisions else None,
        candidates=[_encode_candidate(c) for c in explanation.candidates],
    )


def _encode_candidate(candidate: CandidateView) -> pb.Candidate:
    return pb.Candidate(
        message=candidate.message,
        stopped_by=int(candidate.stopped_by),  # type: ignore[arg-type]
        details=encode_details(candidate.details),
        reason_text=candidate.reason_text,
        position=_place(candidate.position),
        values_read=candidate.values_read,
        rank=candidate.rank,
        message_share=candidate.message_share,
        variants=[pb.VariantShare(variant=v, share=share, unfit=unfit) for v, share, unfit in candidate.variants],
        channel=candidate.channel,
        send_after=timestamp(candidate.send_after_ms),
        expression=candidate.expression,
        conditions=[_encode_condition(c) for c in candidate.conditions],
    )


def _encode_condition(condition: ConditionTrace) -> pb.ConditionTrace:
    return pb.ConditionTrace(
        role=condition.role,
        name=condition.name,
        expression=condition.expression,
        position=_place(condition.position),
        value=condition.value,
        failed=condition.failed,
        steps=[
            pb.TraceStep(
                text=s.text, value=s.value, failed=s.failed, position=_place(s.position), depth=s.depth, fact=s.fact
            )
            for s in condition.steps
        ],
        truncated=condition.truncated,
    )


def _place(at: Position | None) -> pb.SourcePosition | None:
    return None if at is None else pb.SourcePosition(path=at.path, line=at.line, column=at.column)
