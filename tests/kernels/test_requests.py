"""Requests as kernels read them against the decoder: what is accepted is equal, the rest is left to it."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.columns.requests import numbered, request_schema, requests
from engine.compiler.model import Attribute, EventType, Position, RuleSet
from engine.compiler.nodes import Type
from engine.decision import DecideRequest
from engine.errors import InvalidInput
from engine.identity import customer_key, event_hash
from engine.kernels.names import find, names
from engine.kernels.requests import Requests, read_requests
from engine.pb.tact.v1 import decision_pb2 as pb
from engine.service.codec import decode_request, parse

NS = 1_000_000_000
HERE = Position("rules.yaml", 1, 1)


def event_type(name: str, **attributes: str) -> EventType:
    """An event type of attributes by type, of money by currency."""
    kinds = {a: (Type.MONEY, t) if t.isupper() else (Type(t), None) for a, t in attributes.items()}
    return EventType(name, {a: Attribute(a, t, u, False, HERE) for a, (t, u) in kinds.items()}, HERE)


TYPES = (
    event_type("payment", vip="bool", items="integer", rate="number", note="text", due="time", amount="EUR", fee="USD"),
    event_type("ping"),
    event_type("überweisung", note="number", größe="text", amount="USD", für="duration", on="date", tags="texts"),
    event_type("pay", a="number", b="number", c="integer", d="integer", e="text", f="text"),
)
RULES = cast(RuleSet, SimpleNamespace(events={kind.name: kind for kind in TYPES}))
SECRET = b"a deployment's own"
SCHEMA = request_schema(RULES, SECRET)


def read(payloads: Iterable[bytes], before: bytes = b"before") -> tuple[Requests, bytes]:
    """What the kernel makes of these, and the bytes that they lie in."""
    payloads = list(payloads)
    data = before + b"".join(payloads) + b"\xff"
    starts = np.cumsum([len(before), *map(len, payloads)], dtype=np.int64)
    out = requests(len(payloads), SCHEMA)
    out.cells[:], out.given[:], out.occurred[:], out.status[:] = -7, 1, 7, 9  # as a batch before left it
    assert read_requests(np.frombuffer(data, np.uint8), starts, SCHEMA, out) == np.count_nonzero(out.status)
    return out, data


def value(kind: Type, cells: list[int], data: bytes) -> object:
    """The value of cells."""
    first, second = cells
    if kind is Type.TEXT:
        return data[first:second].decode()
    if kind in (Type.TIME, Type.MONEY):
        assert 0 <= second < NS
        return first * NS + second
    if kind is Type.NUMBER:
        return struct.unpack("<d", struct.pack("<q", first))[0]
    return bool(first) if kind is Type.BOOL else first


def exactly(values: dict[str, object]) -> dict[str, tuple[str, str]]:
    """Values so that 1, 1.0 and true differ, and 0.0 and -0.0."""
    return {name: (type(value).__name__, repr(value)) for name, value in values.items()}


def check_row(out: Requests, i: int, data: bytes, request: DecideRequest) -> None:
    """Row i is the request."""
    event, kind = request.event, TYPES[out.kind[i]]
    a, b, c, d = out.ids[i].tolist()
    assert (data[a:b].decode(), data[c:d].decode(), kind.name) == (event.event_id, event.customer_id, event.type)
    seen, seconds, nanos = out.occurred[i].tolist()
    assert (seconds * NS + nanos if seen else None) == event.occurred_at_ns
    assert seen or seconds == nanos == 0
    key = customer_key(event.customer_id, SECRET)
    assert out.customer[i].tobytes() == key.digest
    assert int(out.event[i]) == event_hash(event.event_id)
    assert int(out.content[i]) == request.fingerprint
    assert (request.max_messages, request.dry_run) == (1, False)
    known = numbered(kind)
    assert not out.given[i, len(known) :].any()
    found = {
        attribute.name: value(attribute.type, out.cells[i, number].tolist(), data)
        for number, attribute in enumerate(known)
        if out.given[i, number]
    }
    assert exactly(found) == exactly(dict(event.attributes))


def twin(payload: bytes) -> DecideRequest | None:
    """The decoder's reading, None where it refuses."""
    try:
        return decode_request(parse(pb.DecideRequest, payload), RULES)
    except InvalidInput:
        return None


def check(payloads: list[bytes]) -> list[bool]:
    """Every accepted request is the decoder's; which ones are accepted."""
    out, data = read(payloads)
    accepted = [status == 0 for status in out.status.tolist()]
    for i, payload in enumerate(payloads):
        if accepted[i]:
            request = twin(payload)
            assert request is not None, payload
            check_row(out, i, data, request)
        else:
            assert out.kind[i] == -1
    return accepted


# Requests that are as they should be, and as clients write them: all of these are accepted.

EDGES = [0, 1, -1, 127, 128, 2**53, 2**53 + 1, -(2**53), -(2**53) - 1, 2**63 - 1, -(2**63)]
INTEGERS = st.one_of(st.sampled_from(EDGES), st.integers(-(2**63), 2**63 - 1), st.integers(-300, 300))
FLOATS = [0.0, -0.0, 1.0, 0.1, 1e15, 2.0**53, 2.0**53 + 2, -(2.0**53), -(2.0**53) - 2, 1e300, 5e-324, 1.5, -2.5]
NUMBERS = st.one_of(
    st.sampled_from(FLOATS),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(2**54), 2**54).map(float),
    st.integers(-(2**53), 2**53),
)
IDS = st.text("".join(map(chr, range(0x21, 0x7F))), min_size=1, max_size=256)
SHORT_IDS = st.one_of(st.text("abc-", min_size=1, max_size=9), IDS)
TEXTS = st.one_of(st.text(max_size=20), st.sampled_from(["", "x" * (16 << 10), "\0\U0010ffff￿", "é" * (8 << 10)]))
SECONDS = st.one_of(
    st.sampled_from([0, -1, 1, -62_135_596_800, 253_402_300_799]), st.integers(-62_135_596_800, 253_402_300_799)
)
NANOS = st.one_of(st.sampled_from([0, 1, NS - 1]), st.integers(0, NS - 1))
TIMES = st.builds(Timestamp, seconds=SECONDS, nanos=NANOS)


def money(currency: str) -> st.SearchStrategy[Money]:
    units = st.one_of(st.sampled_from([0, 1, 2**63 - 1]), st.integers(0, 2**63 - 1), st.integers(0, 1000))
    return st.builds(
        lambda sign, units, nanos: Money(currency_code=currency, units=sign * units, nanos=sign * nanos),
        st.sampled_from([1, -1]),
        units,
        NANOS,
    )


def a_value(attribute: Attribute) -> st.SearchStrategy[pb.Value]:
    """A value of an attribute, as it should be."""
    if attribute.type is Type.BOOL:
        return st.builds(lambda x: pb.Value(flag=x), st.booleans())
    if attribute.type is Type.INTEGER:
        return st.builds(lambda x: pb.Value(integer=x), INTEGERS)
    if attribute.type is Type.NUMBER:
        return st.builds(lambda x: pb.Value(integer=x) if isinstance(x, int) else pb.Value(number=x), NUMBERS)
    if attribute.type is Type.TEXT:
        return st.builds(lambda x: pb.Value(text=x), TEXTS)
    if attribute.type is Type.TIME:
        return st.builds(lambda x: pb.Value(time=x), TIMES)
    assert attribute.type is Type.MONEY
    assert attribute.unit
    return st.builds(lambda x: pb.Value(money=x), money(attribute.unit))


READ = (Type.BOOL, Type.INTEGER, Type.NUMBER, Type.TEXT, Type.TIME, Type.MONEY)


@st.composite
def good(draw: st.DrawFn) -> pb.DecideRequest:
    kind = draw(st.sampled_from(TYPES))
    attributes = {
        name: draw(a_value(attribute))
        for name, attribute in kind.attributes.items()
        if attribute.type in READ and draw(st.booleans())
    }
    event = pb.Event(event_id=draw(SHORT_IDS), customer_id=draw(SHORT_IDS), type=kind.name, attributes=attributes)
    if draw(st.booleans()):
        event.occurred_at.CopyFrom(draw(TIMES))
    return pb.DecideRequest(event=event, max_messages=draw(st.sampled_from([0, 1])))


# The wire format by hand, so that fields come in any order.


def varint(number: int) -> bytes:
    number &= 2**64 - 1
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes((*out, number))


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def shuffled(request: pb.DecideRequest, rng: random.Random) -> bytes:
    """The request with the fields of every message in some order; defaults are left out or written."""

    def mixed(parts: list[bytes]) -> bytes:
        rng.shuffle(parts)
        return b"".join(parts)

    def scalars(*pairs: tuple[int, int]) -> list[bytes]:
        return [varint(n << 3) + varint(v) for n, v in pairs if v or rng.random() < 0.5]

    def moment(at: Timestamp) -> bytes:
        return mixed(scalars((1, at.seconds), (2, at.nanos)))

    def entry(name: str, value: pb.Value) -> bytes:
        content = value.SerializeToString()
        if value.HasField("time"):
            content = field(5, moment(value.time))
        elif value.HasField("money"):
            amount = value.money
            parts = [field(1, amount.currency_code.encode()), *scalars((2, amount.units), (3, amount.nanos))]
            content = field(6, mixed(parts))
        return field(5, mixed([field(1, name.encode()), field(2, content)]))

    event = request.event
    parts = [field(1, event.event_id.encode()), field(2, event.customer_id.encode()), field(3, event.type.encode())]
    parts += [entry(name, value) for name, value in event.attributes.items()]
    if event.HasField("occurred_at"):
        parts.append(field(4, moment(event.occurred_at)))
    return mixed([field(1, mixed(parts)), *scalars((2, request.max_messages))])


@settings(max_examples=250, deadline=None)
@given(st.lists(good(), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_what_is_as_it_should_be_is_accepted(batch: list[pb.DecideRequest], rng: random.Random) -> None:
    plain = [request.SerializeToString() for request in batch]
    mixed = [shuffled(request, rng) for request in batch]
    assert [parse(pb.DecideRequest, payload) for payload in mixed] == batch
    fits = [sum(len(v.text.encode()) + 99 for v in r.event.attributes.values()) < 60_000 for r in batch]
    assert all(taken or not fit for taken, fit in zip(check(plain + mixed), fits * 2, strict=True))


# One request with one thing about it.


def base(**attributes: pb.Value) -> pb.DecideRequest:
    event = pb.Event(event_id="e-1", customer_id="c-1", type="payment", attributes=attributes)
    return pb.DecideRequest(event=event)


def raw(*more: bytes, head: bytes = b"", tail: bytes = b"") -> bytes:
    """The base request with more fields in its event, and around it."""
    return head + field(1, base().event.SerializeToString() + b"".join(more)) + tail


def attribute(name: str, content: bytes) -> bytes:
    return field(5, field(1, name.encode()) + field(2, content))


def number(value: float) -> bytes:
    return b"\x19" + struct.pack("<d", value)


FINE = [
    raw(),
    raw(tail=b"\x10\x01"),
    raw(head=b"\x10\x00"),
    raw(field(4, b"")),  # 1970
    raw(attribute("due", field(5, b""))),
    raw(attribute("amount", field(6, field(1, b"EUR")))),
    raw(attribute("rate", b"\x10" + varint(-(2**53)))),
    raw(attribute("vip", b"\x08\x00")),
    raw(attribute("note", field(4, b""))),
    raw(attribute("note", field(4, "é".encode() * (8 << 10)))),
    base(amount=pb.Value(money=Money(currency_code="EUR", nanos=-1))).SerializeToString(),
    base(amount=pb.Value(money=Money(currency_code="EUR", units=1 - 2**63, nanos=1 - NS))).SerializeToString(),
]
LEFT = {
    "nothing": b"",
    "an empty event": field(1, b""),
    "two events": raw() + raw(),
    "two messages": raw(tail=b"\x10\x02"),
    "negative messages": raw(tail=b"\x10" + varint(-1)),
    "messages twice": raw(head=b"\x10\x00", tail=b"\x10\x01"),
    "a dry run": raw(tail=b"\x18\x01"),
    "an unknown field": raw(tail=b"\x20\x01"),
    "an unknown field of the event": raw(b"\x30\x01"),
    "a field of two bytes": raw(field(16, b"x")),
    "a group": raw(tail=b"\x23\x24"),
    "field 0": raw(tail=b"\x02\x00"),
    "an id twice": raw(field(1, b"e-2")),
    "a type twice": raw(field(3, b"payment")),
    "a moment twice": raw(field(4, b""), field(4, b"")),
    "no event id": field(1, field(2, b"c") + field(3, b"ping")),
    "no customer": field(1, field(1, b"e") + field(3, b"ping")),
    "no type": field(1, field(1, b"e") + field(2, b"c")),
    "an empty id": field(1, field(1, b"") + field(2, b"c") + field(3, b"ping")),
    "an id with a space": field(1, field(1, b"e 1") + field(2, b"c") + field(3, b"ping")),
    "an id that is not ASCII": field(1, field(1, b"e") + field(2, "ç".encode()) + field(3, b"ping")),
    "an id of 257": field(1, field(1, b"e" * 257) + field(2, b"c") + field(3, b"ping")),
    "another type": field(1, field(1, b"e") + field(2, b"c") + field(3, b"pin")),
    "a number of bytes too large": field(1, b"\x0a\x7f" + b"e"),
    "a length beyond 64 bits": field(1, b"\x0a" + b"\xff" * 9 + b"\x7f" + b"e"),
    "a length of 2^63": field(1, b"\x0a" + varint(2**63) + b"e"),
    "a length longer than it need be": b"\x0a\x9a\x80\x00" + base().event.SerializeToString().ljust(26, b"?"),
    "a moment too early": raw(field(4, b"\x08" + varint(-62_135_596_801))),
    "a moment too late": raw(field(4, b"\x08" + varint(253_402_300_800))),
    "nanoseconds below zero": raw(field(4, b"\x10" + varint(-1))),
    "nanoseconds of 64 bits": raw(field(4, b"\x10" + varint(2**32 + 5))),
    "nanoseconds twice": raw(field(4, b"\x10\x01\x10\x02")),
    "an unknown attribute": raw(attribute("nothing", number(1))),
    "another type's attribute": raw(attribute("größe", field(4, b""))),
    "an attribute twice": raw(attribute("rate", number(1)), attribute("rate", number(2))),
    "an attribute without a value": raw(field(5, field(1, b"rate"))),
    "an attribute without a name": raw(field(5, field(2, number(1)))),
    "a name twice": raw(field(5, field(1, b"rate") + field(1, b"rate") + field(2, number(1)))),
    "a value of no kind": raw(attribute("rate", b"")),
    "two kinds": raw(attribute("rate", number(1) + number(2))),
    "two kinds, one of them another": raw(attribute("rate", b"\x10\x01" + number(1))),
    "a number cut off": raw(attribute("rate", number(1)[:-1])),
    "no number": raw(attribute("rate", number(math.nan))),
    "infinity": raw(attribute("rate", number(-math.inf))),
    "an integer beyond a number": raw(attribute("rate", b"\x10" + varint(2**53 + 1))),
    "the smallest integer for a number": raw(attribute("rate", b"\x10" + varint(-(2**63)))),
    "a number for an integer": raw(attribute("items", number(1))),
    "a flag for a number": raw(attribute("rate", b"\x08\x01")),
    "a flag of 2": raw(attribute("vip", b"\x08\x02")),
    "a text for a number": raw(attribute("rate", field(4, b"1"))),
    "a text too long": raw(attribute("note", field(4, b"x" * (16 << 10) + b"x"))),
    "a surrogate": raw(attribute("note", field(4, b"\xed\xa0\x80"))),
    "an overlong form": raw(attribute("note", field(4, b"\xc0\x80"))),
    "another currency": base(amount=pb.Value(money=Money(currency_code="USD", units=1))).SerializeToString(),
    "an unknown currency": base(amount=pb.Value(money=Money(currency_code="EURO", units=1))).SerializeToString(),
    "no currency": base(amount=pb.Value(money=Money(units=1))).SerializeToString(),
    "units and nanos of two signs": base(
        amount=pb.Value(money=Money(currency_code="EUR", units=1, nanos=-1))
    ).SerializeToString(),
    "too many nanos": base(amount=pb.Value(money=Money(currency_code="EUR", nanos=NS))).SerializeToString(),
    "the smallest units": base(amount=pb.Value(money=Money(currency_code="EUR", units=-(2**63)))).SerializeToString(),
    "texts": raw(attribute("note", field(7, field(1, b"x")))),
    "a duration": field(
        1, field(1, b"e") + field(2, b"c") + field(3, "überweisung".encode()) + attribute("für", field(4, b"1h"))
    ),
}


@pytest.mark.parametrize("payload", FINE, ids=range(len(FINE)))
def test_edges_that_are_accepted(payload: bytes) -> None:
    assert check([payload]) == [True]


@pytest.mark.parametrize("what", LEFT)
def test_what_is_unusual_or_wrong_is_left(what: str) -> None:
    assert check([raw(), LEFT[what], raw()]) == [True, False, True]


def test_as_many_attributes_as_there_is_room_for() -> None:
    """More than 64 attributes are left, and so are texts that are too many bytes together."""
    many = event_type("many", **{f"a{n:02}": "integer" for n in range(65)}, **{f"t{n}": "text" for n in range(9)})
    rules = cast(RuleSet, SimpleNamespace(events={"many": many}))
    schema = request_schema(rules, b"")
    for count, length, left in ((64, 0, 0), (65, 0, 1), (0, 12_000, 0), (0, 16_000, 1)):
        attributes = {f"a{n:02}": pb.Value(integer=n) for n in range(count)}
        if length:
            attributes = {f"t{n}": pb.Value(text="x" * length) for n in range(5)}
        event = pb.Event(event_id="e", customer_id="c", type="many", attributes=attributes)
        payload = pb.DecideRequest(event=event).SerializeToString()
        out = requests(1, schema)
        data, starts = np.frombuffer(payload, np.uint8), np.array([0, len(payload)])
        assert read_requests(data, starts, schema, out) == left
        if not left:
            assert int(out.content[0]) == decode_request(parse(pb.DecideRequest, payload), rules).fingerprint


def test_spans_beyond_the_bytes_are_left() -> None:
    payload = raw()
    out = requests(3, SCHEMA)
    starts = np.array([0, len(payload), -1, len(payload) + 1])
    assert read_requests(np.frombuffer(payload, np.uint8), starts, SCHEMA, out) == 3 - 1
    assert out.status.tolist() == [0, 1, 1]


def test_no_requests_and_no_event_types() -> None:
    nothing = request_schema(cast(RuleSet, SimpleNamespace(events={})), b"")
    payload = raw()
    out = requests(1, nothing)
    assert read_requests(np.frombuffer(payload, np.uint8), np.array([0, len(payload)]), nothing, out) == 1
    assert read_requests(np.frombuffer(payload, np.uint8), np.array([0]), SCHEMA, requests(0, SCHEMA)) == 0


# Bytes that came to harm.


def samples(rng: random.Random) -> list[bytes]:
    """Requests of all types with all their attributes, in the usual order and in others."""
    full = base(
        vip=pb.Value(flag=True),
        items=pb.Value(integer=-3),
        rate=pb.Value(number=2.5),
        note=pb.Value(text="añb€𝄞"),
        due=pb.Value(time=Timestamp(seconds=-5, nanos=7)),
        amount=pb.Value(money=Money(currency_code="EUR", units=-1, nanos=-5)),
        fee=pb.Value(money=Money(currency_code="USD", units=300)),
    )
    full.event.occurred_at.CopyFrom(Timestamp(seconds=1_700_000_000, nanos=5))
    full.max_messages = 1
    few = pb.DecideRequest(event=pb.Event(event_id="e", customer_id="c", type="pay"))
    few.event.attributes["a"].number = 1.0
    few.event.attributes["c"].integer = 128
    few.event.attributes["e"].text = "é"
    ping = pb.DecideRequest(event=pb.Event(event_id="e", customer_id="c", type="ping"))
    kinds = (full, few, ping)
    return [r.SerializeToString() for r in kinds] + [shuffled(r, rng) for r in kinds for _ in range(3)]


def harmed(payload: bytes, rng: random.Random) -> bytes:
    """The payload with one to three bytes changed, added, taken, moved or cut off."""
    out = bytearray(payload)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at, how = rng.randrange(len(out) + 1), rng.randrange(8)
        if how < 3 and at < len(out):
            out[at] = rng.choice((rng.randrange(256), out[at] ^ 1 << rng.randrange(8), rng.choice(out)))
        elif how == 3 and at < len(out):
            out[at] = (out[at] + rng.choice((-1, 1))) % 256
        elif how == 4:
            out.insert(at, rng.randrange(256))
        elif how == 5:
            del out[at : at + 1]
        elif how == 6:
            piece = out[at : at + rng.randrange(1, 12)]
            where = rng.randrange(len(out) + 1)
            out[where:where] = piece
        elif rng.random() < 0.2:
            del out[at:]
    return bytes(out)


@pytest.mark.parametrize("seed", range(4))
def test_bytes_that_came_to_harm_are_left_or_equal(seed: int) -> None:
    rng = random.Random(seed)
    whole = samples(rng)
    assert all(check(whole))
    payloads = [harmed(rng.choice(whole), rng) for _ in range(45_000)]
    accepted = sum(check(payloads))
    assert 100 < accepted < len(payloads) * 3 // 4
    check([payload[:cut] for payload in whole for cut in range(len(payload))])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=12), max_size=30, unique=True), st.binary(max_size=12))
@example([], b"")
@example([b""], b"")
def test_names_are_found(given_names: list[bytes], other: bytes) -> None:
    table = names(given_names)
    for number, name in enumerate([*given_names, other]):
        buffer = np.frombuffer(b"<" + name + b">", np.uint8)
        expected = given_names.index(name) if name in given_names else -1
        assert find(table, buffer, 1, 1 + len(name)) == expected, number


def test_of_equal_names_the_first_is_found() -> None:
    table = names([b"a", b"b", b"a"])
    buffer: Any = np.frombuffer(b"a", np.uint8)
    assert find(table, buffer, 0, 1) == 0
