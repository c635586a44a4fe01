"""Consent: a withdrawal stands until a later grant, whoever writes what in which order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.compiler.model import Expression, Message, Position, Purpose
from engine.compiler.nodes import Const, Span, Type
from engine.contact.consent import merge_contact, stopped_by_consent, with_stops
from engine.decision import Reason
from engine.identity import name_hash
from engine.state.model import ConsentEntry, Contact, Profile, Record
from engine.state.profile import decode, encode

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


SMS = Message(
    "m",
    None,
    "marketing",
    "investing",
    None,
    None,
    None,
    None,
    ONE,
    (),
    {},
    {},
    None,
    None,
    None,
    (),
    HERE,
    ("stocks",),
)
CHANNELS = ("sms", "push")


def scoped(granted: bool, at_ms: int, topic: str = "", channel: str = "") -> ConsentEntry:
    return ConsentEntry("marketing", granted, at_ms, "", "", topic, channel)


def on(*entries: ConsentEntry, stop: int = -1) -> dict[str, Reason | None]:
    """What comes of it on each channel, and on all of them together."""
    record = Record(opt_outs={name_hash("marketing"): stop} if stop >= 0 else {})
    contact = Contact(list(entries))

    def found(channels: tuple[str, ...]) -> Reason | None:
        refused = stopped_by_consent(SMS, MARKETING, contact, record, channels)
        return refused[0] if refused else None

    return {"all": found(CHANNELS), **{channel: found((channel,)) for channel in CHANNELS}}


OK, NO, OUT = None, Reason.NO_CONSENT, Reason.OPTED_OUT


@pytest.mark.parametrize(
    ("entries", "stop", "expected"),
    [
        # consent for one channel alone
        ([scoped(True, 1, channel="sms")], -1, {"all": OK, "sms": OK, "push": NO}),
        # a withdrawal from one channel
        ([scoped(True, 1), scoped(False, 2, channel="sms")], -1, {"all": OK, "sms": OUT, "push": OK}),
        (
            [scoped(True, 1), *(scoped(False, 2, channel=c) for c in CHANNELS)],
            -1,
            {"all": OUT, "sms": OUT, "push": OUT},
        ),
        # which a later word on everything does not bring back, but one on the channel does
        ([scoped(True, 3), scoped(False, 2, channel="sms")], -1, {"all": OK, "sms": OUT, "push": OK}),
        ([scoped(True, 1), scoped(True, 3, channel="sms")], 2, {"all": OK, "sms": OK, "push": OUT}),
        ([scoped(False, 2), scoped(True, 3, channel="sms")], -1, {"all": OK, "sms": OK, "push": OUT}),
        ([scoped(False, 2), scoped(True, 2, channel="sms")], -1, {"all": OUT, "sms": OUT, "push": OUT}),
        # topics, by their former names too
        ([scoped(True, 1), scoped(False, 2, "investing")], -1, {"all": OUT, "sms": OUT, "push": OUT}),
        ([scoped(True, 1), scoped(False, 2, "stocks")], -1, {"all": OUT, "sms": OUT, "push": OUT}),
        ([scoped(True, 1), scoped(False, 2, "cards")], -1, {"all": OK, "sms": OK, "push": OK}),
        ([scoped(True, 1, "investing")], -1, {"all": OK, "sms": OK, "push": OK}),
        ([scoped(True, 1, "cards")], -1, {"all": NO, "sms": NO, "push": NO}),
        # both: a grant must name as much as the withdrawal that it clears
        ([scoped(True, 1), scoped(False, 2, "investing", "sms")], -1, {"all": OK, "sms": OUT, "push": OK}),
        (
            [scoped(False, 2, "investing", "sms"), scoped(True, 3, channel="sms"), scoped(True, 3, "investing")],
            -1,
            {"all": OK, "sms": OUT, "push": OK},
        ),
    ],
)
def test_consent_for_a_topic_or_channel(
    entries: list[ConsentEntry], stop: int, expected: dict[str, Reason | None]
) -> None:
    assert on(*entries, stop=stop) == expected


def test_a_narrow_grant_without_a_time_clears_no_wider_withdrawal() -> None:
    withdrawn = Contact([entry(False, 50)])
    merged = merge_contact(withdrawn, Contact([scoped(True, 0, channel="sms")]), {}, 100)
    assert on(*merged.consents)["sms"] is Reason.OPTED_OUT
    explicit = merge_contact(withdrawn, Contact([scoped(True, 60, channel="sms")]), {}, 100)
    assert on(*explicit.consents) == {"all": None, "sms": None, "push": Reason.OPTED_OUT}


def test_an_upsert_keeps_a_narrow_withdrawal() -> None:
    merged = merge_contact(Contact([scoped(False, 50, channel="sms")]), Contact([entry(True, 60)]), {}, 100)
    assert on(*merged.consents) == {"all": None, "sms": Reason.OPTED_OUT, "push": None}


def test_a_stop_shows_in_every_word_that_it_outlasts() -> None:
    shown = with_stops(Contact([scoped(True, 5, channel="sms"), scoped(True, 9, "investing")]), {0: 7}, ["marketing"])
    assert shown is not None
    assert {c.scope[1:]: c.granted for c in shown.consents} == {
        ("", ""): False, ("", "sms"): False, ("investing", ""): True,
    }  # fmt: skip


@given(
    st.lists(
        st.builds(
            scoped, st.booleans(), st.integers(0, 9), st.sampled_from(("", "a", "é")), st.sampled_from(("", "sms"))
        )
    )
)
def test_narrow_words_survive_being_stored(entries: list[ConsentEntry]) -> None:
    profile = Profile(b"12345678", {}, Contact(entries))
    assert decode(encode(profile)) == profile
