"""The contact section in kernels against `contact.consent` and the profile's own reading of it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.contact.consent import stopped_by_consent
from engine.identity import name_hash
from engine.kernels import consent as kernels
from engine.kernels.arena import OPT_AT, OPT_N, records
from engine.kernels.consent import blocks_channel, consent, contact_fits, opted_out_ms, preferred
from engine.state import profile as state
from engine.state.model import ConsentEntry, Contact, Record

WORDS = ["a", "b", "né", "marketing", "x" * 200]
WORD = st.sampled_from(WORDS)
TIME_MS = st.integers(-2, 6) | st.integers(-(2**63), 2**63 - 1) | st.just(1_700_000_000_000)
MINUTE = st.integers(-1, 1439)
CONTACT = st.builds(
    Contact,
    st.lists(
        st.builds(lambda *words: ConsentEntry(*words), WORD, st.booleans(), TIME_MS, st.text(max_size=5), WORD),
        max_size=4,
    ),
    st.lists(WORD, max_size=3),
    st.lists(WORD, max_size=3),
    MINUTE,
    MINUTE,
)
OPT_OUTS = st.dictionaries(st.sampled_from([0, *map(name_hash, WORDS)]), st.integers(0, 6), max_size=3)

NAMES = np.frombuffer("".join(WORDS).encode(), np.uint8)
_ends = np.cumsum([0, *(len(w.encode()) for w in WORDS)]).tolist()
SPANS = {word: (_ends[n], _ends[n + 1]) for n, word in enumerate(WORDS)}

CODES = {
    None: kernels.ALLOWED,
    ("OPTED_OUT", "the customer said stop"): kernels.SAID_STOP,
    ("OPTED_OUT", "consent was withdrawn"): kernels.WITHDRAWN,
    ("NO_CONSENT", "no consent"): kernels.NOT_GIVEN,
    ("TOPIC_BLOCKED", "the customer blocked the topic"): kernels.TOPIC_BLOCKED,
}


def laid_out(contact: Contact | None) -> tuple[np.ndarray, int, int]:
    """The section behind other bytes, and its span: nothing lies beyond, so that numba's check of bounds sees it."""
    section = b"" if contact is None else state._pack_contact(contact)
    return np.frombuffer(b"\x7f\xff" + section, np.uint8), 2, 2 + len(section)


def twin(purpose: str, required: bool, topic: str | None, contact: Contact | None, record: Record) -> int:
    message = SimpleNamespace(topic=topic, topics=() if topic is None else (topic,))
    declared = SimpleNamespace(name=purpose, consent_required=required)
    stopped = stopped_by_consent(message, declared, contact, record)  # type: ignore[arg-type]
    if stopped is None:
        return CODES[None]
    reason, details = stopped
    cause = str(details.cause)
    return CODES[reason.name, "no consent" if cause.startswith("no consent") else cause]


@settings(max_examples=200, deadline=None)
@given(st.none() | CONTACT, OPT_OUTS, WORD, st.booleans(), st.none() | WORD)
def test_consent_is_that_of_python(
    contact: Contact | None, opt_outs: dict[int, int], purpose: str, required: bool, topic: str | None
) -> None:
    held = records(2, 0)
    rows = [[np.uint64(key).astype(np.int64), at_ms] for key, at_ms in opt_outs.items()]
    held.opts[3 : 3 + len(rows)] = np.array(rows, np.int64).reshape(-1, 2)
    held.rec[1, OPT_AT], held.rec[1, OPT_N] = 3, len(rows)
    stopped_ms = opted_out_ms(held, 1, np.uint64(name_hash(purpose)).astype(np.int64))
    assert stopped_ms == max(opt_outs.get(name_hash(purpose), -1), opt_outs.get(0, -1))

    data, begin, end = laid_out(contact)
    assert contact is None or contact_fits(data, begin, end)
    span = (0, 0) if topic is None else SPANS[topic]
    code = consent(data, begin, end, NAMES, *SPANS[purpose], required, stopped_ms, *span)
    assert code == twin(purpose, required, topic, contact, Record(opt_outs=opt_outs))


@settings(max_examples=100, deadline=None)
@given(st.none() | CONTACT, WORD)
def test_channels_and_hours(contact: Contact | None, channel: str) -> None:
    data, begin, end = laid_out(contact)
    held = contact or Contact()
    assert blocks_channel(data, begin, end, NAMES, *SPANS[channel]) == (channel in held.blocked_channels)
    assert preferred(data, begin, end) == (held.preferred_from_minute, held.preferred_to_minute)


def test_a_narrow_word_is_left_to_python() -> None:
    for scope in (("a", ""), ("", "sms")):
        section = state._pack_contact(Contact([ConsentEntry("marketing", True, 5, "", "", *scope)]))
        assert state._unpack_contact(section).consents[0].scope == ("marketing", *scope)
        assert not contact_fits(np.frombuffer(section, np.uint8), 0, len(section))


def fits(section: bytes) -> bool:
    """Whether a section fits; it means the same in Python then, and here."""
    data = np.frombuffer(b"\x01\x01" + section, np.uint8)
    begin, end = 2, 2 + len(section)
    if not contact_fits(data, begin, end):
        return False
    contact = state._unpack_contact(section)
    for word in WORDS[:3]:
        assert blocks_channel(data, begin, end, NAMES, *SPANS[word]) == (word in contact.blocked_channels)
        code = consent(data, begin, end, NAMES, *SPANS[word], True, 3, *SPANS["a"])
        assert code == twin(word, True, "a", contact, Record(opt_outs={0: 3}))
    assert preferred(data, begin, end) == (contact.preferred_from_minute, contact.preferred_to_minute)
    return True


@settings(max_examples=60, deadline=None)
@given(CONTACT, st.integers(0, 2**32))
def test_damaged_sections_do_not_fit_or_mean_the_same(contact: Contact, seed: int) -> None:
    section = state._pack_contact(contact)
    generator = np.random.default_rng(seed)
    for cut in range(len(section)):
        assert not fits(section[:cut])
    assert not fits(section + b"\0")
    for _ in range(60):
        damaged = bytearray(section)
        for _ in range(generator.integers(1, 3)):
            damaged[generator.integers(len(section))] = generator.choice([0, 1, 127, 128, 255, generator.integers(256)])
        fits(bytes(damaged))


def test_varints_at_their_limits() -> None:
    for raw, value in (("00", 0), ("7f", -64), ("ffffffffffffffffff01", -(2**63)), ("feffffffffffffffff01", 2**63 - 1)):
        blob = bytes.fromhex(raw)
        assert kernels.read_signed(np.frombuffer(blob, np.uint8), 0, len(blob)) == (value, len(blob))
        assert state._read_signed(blob, 0) == (value, len(blob))
    for raw in ("", "80", "ffffffffffffffffff", "ffffffffffffffffff02", "8080808080808080808000"):
        blob = bytes.fromhex(raw)
        assert kernels.read_varint(np.frombuffer(blob, np.uint8), 0, len(blob))[1] == -1
