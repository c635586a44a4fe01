"""Answers as they are kept: what comes out is what went in."""

from __future__ import annotations

from dataclasses import fields

from hypothesis import given
from hypothesis import strategies as st

from engine.answer import decode_answer, encode_answer
from engine.decision import Decision, Details, Outcome, Reason

TEXT = st.text(max_size=20)
TIME = st.integers(0, 2**53)
DETAILS = st.builds(
    Details, **{f.name: st.integers(-(2**62), 2**62) if f.type == "int" else TEXT for f in fields(Details)}
)
SENDS = st.builds(
    Decision,
    outcome=st.just(Outcome.SEND),
    reason=st.just(Reason.SELECTED),
    details=DETAILS,
    message=TEXT,
    text=TEXT,
    slots=st.dictionaries(TEXT, TEXT, max_size=3),
    suggested_replies=st.lists(TEXT, max_size=3),
    send_after_ms=TIME,
    confirm_before_sending=st.booleans(),
    slot=st.integers(0, 9),
    score=st.floats(allow_nan=False, allow_infinity=False).map(lambda x: x + 0.0),
    message_share=st.integers(0, 1 << 30),
    policy_version=TIME,
    revision=TEXT,
)
REFUSALS = st.builds(
    Decision,
    outcome=st.just(Outcome.NO_MESSAGE),
    reason=st.sampled_from(Reason),
    details=DETAILS,
    reason_text=TEXT,
    provisional=st.booleans(),
    slot=st.integers(0, 9),
    revision=TEXT,
)


@given(st.lists(SENDS | REFUSALS, max_size=3))
def test_what_is_kept_is_what_was_said(decisions: list[Decision]) -> None:
    assert decode_answer(encode_answer(decisions)) == decisions


def test_a_refusal_is_small() -> None:
    refusal = Decision(Outcome.NO_MESSAGE, Reason.NOT_IN_AUDIENCE, Details(message="offer"), revision="0" * 16)
    assert len(encode_answer([refusal])) < 60
