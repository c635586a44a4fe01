"""Consent: a withdrawal stands until a later grant, whoever writes what in which order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.compiler.model import Expression, Message, Position, Purpose
from engine.compiler.nodes import Const, Span, Type
from engine.contact.consent import merge_contact, stopped_by_consent
from engine.decision import Reason
from engine.identity import name_hash
from engine.state.model import ConsentEntry, Contact, Record

HERE = Position("x.yaml", 1, 1)
MARKETING = Purpose("marketing", True, None, "silent", False, 2, HERE)
SERVICE = Purpose("service", False, None, "silent", False, 1, HERE)
ONE = Expression("1.0", Const(Type.NUMBER, 1.0, Span(0, 3)), HERE)
MESSAGE = Message(
    "m", None, "marketing", "investing", None, None, None, None, ONE, (), {}, {}, None, None, None, (), HERE
)


def entry(granted: bool, at_ms: int, purpose: str = "marketing") -> ConsentEntry:
    return ConsentEntry(purpose, granted, at_ms, "", "")


def reason(
    contact: Contact | None, purpose: Purpose = MARKETING, opt_outs: dict[int, int] | None = None
) -> Reason | None:
    found = stopped_by_consent(MESSAGE, purpose, contact, Record(opt_outs=opt_outs or {}))
    return found[0] if found else None


def test_without_a_grant_there_is_no_consent() -> None:
    assert reason(None) is Reason.NO_CONSENT
    assert reason(Contact([entry(True, 1, "service")])) is Reason.NO_CONSENT
    assert reason(Contact([entry(True, 1)])) is None


def test_a_purpose_that_needs_none_still_hears_a_stop() -> None:
    assert reason(None, SERVICE) is None
    assert reason(None, SERVICE, {name_hash("service"): 5}) is Reason.OPTED_OUT
    assert reason(None, SERVICE, {0: 5}) is Reason.OPTED_OUT


def test_only_a_later_grant_clears_a_stop() -> None:
    stop = {name_hash("marketing"): 5}
    assert reason(Contact([entry(True, 5)]), opt_outs=stop) is Reason.OPTED_OUT
    assert reason(Contact([entry(True, 6)]), opt_outs=stop) is None


def test_blocked_topic() -> None:
    assert reason(Contact([entry(True, 1)], blocked_topics=["investing"])) is Reason.TOPIC_BLOCKED


@given(
    st.lists(
        st.lists(st.tuples(st.booleans(), st.integers(1, 9)), max_size=2).map(lambda rows: rows[:1]),
        max_size=8,
    )
)
def test_a_bulk_upsert_never_clears_a_withdrawal(writes: list[list[tuple[bool, int]]]) -> None:
    """After any writes: withdrawn, unless a grant was written whose time lies after every withdrawal
    that was written before it."""
    contact: Contact | None = None
    withdrawn_at = 0
    for rows in writes:
        new = Contact([entry(granted, at) for granted, at in rows])
        contact = merge_contact(contact, new, {}, 100)
        for granted, at in rows:
            if not granted:
                withdrawn_at = max(withdrawn_at, at)
            elif at > withdrawn_at:
                withdrawn_at = 0
    if withdrawn_at:
        assert reason(contact) is Reason.OPTED_OUT
    else:
        assert reason(contact) in (None, Reason.NO_CONSENT)


def test_a_grant_without_a_time_says_what_stands_and_clears_nothing() -> None:
    granted = Contact([entry(True, 0)])
    first = merge_contact(None, granted, {}, 100)
    assert first.consents[0].changed_at_ms == 100
    assert merge_contact(first, granted, {}, 200).consents[0].changed_at_ms == 100
    stop = {name_hash("marketing"): 150}
    for known in (None, first):  # every night again
        assert reason(merge_contact(known, granted, stop, 200), opt_outs=stop) is Reason.OPTED_OUT
    withdrawn = Contact([entry(False, 120)])
    assert reason(merge_contact(withdrawn, granted, {}, 200)) is Reason.OPTED_OUT


def test_no_time_lies_ahead() -> None:
    assert merge_contact(None, Contact([entry(True, 900)]), {}, 100).consents[0].changed_at_ms == 100
    assert merge_contact(None, Contact([entry(False, 0)]), {}, 100).consents[0].changed_at_ms == 100
