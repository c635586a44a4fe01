"""The parts of the HTTP/2 transport on their own."""

from __future__ import annotations

import asyncio
import time
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.transport import Call, Code, RpcError, Unary
from engine.transport.http2.credit import Credit
from engine.transport.http2.deadlines import SLOTS_PER_S, Deadlines
from engine.transport.http2.heads import Heads, NotGrpc
from engine.transport.http2.limits import Limits
from engine.transport.http2.messages import Message, Reader, pack, unpack
from engine.transport.http2.wire import Metadata, header_size, status_headers, timeout_s

LIMIT = 1000
DUE = 6


@settings(deadline=None, max_examples=200)
@given(st.lists(st.binary(max_size=50), max_size=8), st.data())
def test_messages_are_the_same_however_they_are_cut(bodies: list[bytes], data: st.DataObject) -> None:
    wire = b"".join(pack(body, gzip=False) for body in bodies)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=6)))
    reader, found = Reader(LIMIT), []
    for begin, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        found += list(reader.feed(wire[begin:end]))
        assert reader.partial == end - sum(5 + len(m.body) for m in found)
    assert found == [Message(False, body) for body in bodies]


@settings(deadline=None)
@given(st.binary(max_size=LIMIT))
def test_gzip_there_and_back(body: bytes) -> None:
    (message,) = Reader(5000).feed(pack(body, gzip=True))
    assert message.compressed
    assert unpack(message, gzip=True, limit=LIMIT) == body


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=60))
def test_any_bytes_are_messages_or_an_error(data: bytes) -> None:
    codes = []
    try:
        for message in Reader(LIMIT).feed(data):
            unpack(message, gzip=True, limit=LIMIT)
    except RpcError as error:
        codes.append(error.code)
    assert set(codes) <= {Code.INTERNAL, Code.RESOURCE_EXHAUSTED}


def test_a_message_of_just_the_limit() -> None:
    assert [m.body for m in Reader(3).feed(b"\0\0\0\0\3abc")] == [b"abc"]
    with pytest.raises(RpcError, match="a message of 4 bytes: at most 3 are taken"):
        list(Reader(3).feed(b"\0\0\0\0\4"))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(b"1H", 3600), (b"2M", 120), (b"3S", 3), (b"4m", 0.004), (b"5u", 5e-6), (b"6n", 6e-9), (b"99999999S", 99999999)],
)
def test_timeouts(text: bytes, seconds: float) -> None:
    assert timeout_s(text) == pytest.approx(seconds)


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_message_of_a_status_is_printable_and_comes_back(text: str) -> None:
    encoded = dict(status_headers(RpcError(Code.UNKNOWN, text)))[b"grpc-message"]
    assert all(0x20 <= byte <= 0x7E for byte in encoded)
    assert unquote(encoded.decode()) == text


def test_metadata_is_a_sequence_of_pairs() -> None:
    headers = ((b":path", b"/x"), (b"te", b"trailers"), (b"grpc-timeout", b"1S"), (b"a", b"1"), (b"b-bin", b"AAE"))
    metadata = Metadata(headers)
    assert list(metadata) == [("a", "1"), ("b-bin", b"\0\1")]
    assert (len(metadata), metadata[-1], metadata[:1]) == (2, ("b-bin", b"\0\1"), [("a", "1")])
    assert header_size(headers) == sum(len(n) + len(v) + 32 for n, v in headers)


def test_headers_are_known_but_not_for_ever() -> None:
    async def handler(payload: bytes, call: Call) -> bytes:
        return payload

    heads = Heads({b"/x": Unary("/x", handler)}, Limits(header_bytes=4000, header_fields=8))
    plain = ((b":method", b"POST"), (b":path", b"/x"), (b"content-type", b"application/grpc"))
    assert heads.read(plain, None) is heads.known[plain]
    large = (*plain, (b"a", b"x" * 2000))
    assert heads.read(large, None).metadata[0] == ("a", "x" * 2000)
    assert large not in heads.known
    for i in range(5000):
        heads.read((*plain, (b"trace", b"%d" % i)), None)
        assert len(heads.known) <= 1024
    with pytest.raises(RpcError, match="at most 4000 bytes and 8 fields"):
        heads.read((*plain, *((b"a", b"%d" % i) for i in range(5))), b"1S")
    with pytest.raises(NotGrpc, match="415"):
        heads.read(plain[:2], None)


def test_credit_comes_with_time_and_with_answers() -> None:
    credit = Credit(burst=10, per_s=2, now_s=100)
    assert credit.spend(10, 100)
    assert not credit.spend(1, 100)
    assert credit.spend(1, 101)
    credit.earn(1000)
    assert credit.spend(10, 101)
    assert not credit.spend(1, 101)


class _Waiter:
    def __init__(self, ended: list[_Waiter], all_ended: asyncio.Event) -> None:
        self.at_s = 0.0
        self._ended = ended
        self._all_ended = all_ended

    def expire(self) -> None:
        self.at_s = time.monotonic()
        self._ended.append(self)
        if len(self._ended) == DUE:
            self._all_ended.set()


def test_deadlines_expire_in_order_and_not_early(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        ended: list[_Waiter] = []
        all_ended = asyncio.Event()
        deadlines = Deadlines(asyncio.get_running_loop())
        now_s = time.monotonic()
        due = {_Waiter(ended, all_ended): now_s + ms / 1000 for ms in (40, 0, 25, 5, 5, -1000)}
        never = [_Waiter(ended, all_ended) for _ in range(3)]
        for waiter, deadline_s in due.items():
            deadlines.add(waiter, deadline_s, now_s)
        kept = [
            deadlines.add(waiter, now_s + seconds, now_s)
            for waiter, seconds in zip(never, (0.001, 30, 3600), strict=True)
        ]
        kept[0].discard(never[0])
        kept[2].discard(never[2])
        async with asyncio.timeout(20):
            await all_ended.wait()
        assert set(ended) == set(due)
        assert all(waiter.at_s >= deadline_s for waiter, deadline_s in due.items())
        slots = [int(due[w] * SLOTS_PER_S) for w in ended]  # within a slot in any order
        assert slots == sorted(slots)

    runner.run(scenario())
