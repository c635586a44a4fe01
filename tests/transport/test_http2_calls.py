"""gRPC over HTTP/2 to the letter: what no well-behaved client library sends."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from engine.transport import Code
from engine.transport.http2 import Limits
from tests.transport.conftest import Serve, Served
from tests.transport.raw import CANCEL, NO_ERROR, REFUSED_STREAM, Client, message

pytestmark = pytest.mark.parametrize("kind", ["http2-uvloop", "http2-asyncio"], indirect=True)


Connect = Callable[..., Client]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Connects to a server; closed with the test."""
    with ExitStack() as stack:
        yield lambda server, **options: stack.enter_context(Client(server.host_port, **options))


@pytest.fixture
def client(server: Served, connect: Connect) -> Client:
    return connect(server)


def test_a_call_as_it_is_on_the_wire(client: Client) -> None:
    result = client.call("Echo", message(b"hello"))
    assert result.headers == {
        b":status": b"200",
        b"content-type": b"application/grpc",
        b"grpc-accept-encoding": b"identity,gzip",
    }
    assert result.body == message(b"hello")
    assert result.trailers == {b"grpc-status": b"0"}
    assert result.reset is None


def test_a_failed_call_is_trailers_only(client: Client) -> None:
    result = client.call("Fail", message(b'{"code": 5, "message": "50 % \\u00fc\\n", "reason": "R"}'))
    assert result.headers[b":status"] == b"200"
    assert result.headers[b"grpc-status"] == b"5"
    assert result.headers[b"grpc-message"] == b"50 %25 %C3%BC%0A"
    assert b"=" not in result.headers[b"grpc-status-details-bin"]
    assert (result.body, result.trailers) == (b"", {})


def test_a_status_that_clients_would_not_take_is_shortened(client: Client) -> None:
    result = client.call("Fail", message(b'{"code": 5, "message": "%b"}' % (b"x" * 9000)))
    assert result.status == Code.NOT_FOUND
    assert result.text == "x" * 600
    assert b"grpc-status-details-bin" not in result.headers


@pytest.mark.parametrize("kind_of_content", [b"application/json", b"application/grpc-web", b"application/grpcx", b""])
def test_other_content_is_refused(client: Client, kind_of_content: bytes) -> None:
    result = client.call("Echo", message(b"x"), content_type=kind_of_content)
    assert (result.headers, result.status) == ({b":status": b"415"}, None)


@pytest.mark.parametrize("kind_of_content", [b"application/grpc+proto", b"application/grpc;charset=utf-8"])
def test_kinds_of_grpc_are_taken(client: Client, kind_of_content: bytes) -> None:
    assert client.call("Echo", message(b"x"), content_type=kind_of_content).body == message(b"x")


def test_other_verbs_are_refused(client: Client) -> None:
    assert client.call("Echo", message(b"x"), verb=b"PUT").headers == {b":status": b"405"}


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        (b"", Code.UNIMPLEMENTED, "a unary call with no messages: expected one"),
        (message(b"a") + message(b"b"), Code.UNIMPLEMENTED, "a unary call with 2 messages: expected one"),
        (message(b"abc")[:-1], Code.INTERNAL, "the request ends inside a message"),
        (b"\0\0", Code.INTERNAL, "the request ends inside a message"),
        (b"\2\0\0\0\0", Code.INTERNAL, "a message begins with 2: expected 0"),
        (message(b"x", compressed=True), Code.INTERNAL, "a compressed message in a call without grpc-encoding"),
        (struct.pack(">BI", 0, 21 << 20), Code.RESOURCE_EXHAUSTED, "a message of 22020096 bytes: at most 20971520"),
    ],
)
@pytest.mark.parametrize("method", ["Echo", "Chat"])
def test_bodies_that_are_not_one_message(client: Client, method: str, body: bytes, code: Code, said: str) -> None:
    result = client.call(method, body)
    if method == "Chat" and code == Code.UNIMPLEMENTED:
        assert (result.status, result.body) == (Code.OK, body)  # a stream may have as many as it likes
        return
    assert result.status == code
    assert said in result.text
    assert client.call("Echo", message(b"next")).body == message(b"next")


def test_what_is_too_large_is_refused_before_it_is_sent(client: Client) -> None:
    stream = client.request("Echo")
    client.h2.send_data(stream, struct.pack(">BI", 0, 1 << 30))
    client.flush()
    result = client.result(stream)
    assert (result.status, result.reset) == (Code.RESOURCE_EXHAUSTED, NO_ERROR)


def test_a_request_in_many_pieces(client: Client) -> None:
    stream = client.request("Echo")
    for byte in message(b"hello"):
        client.h2.send_data(stream, bytes([byte]))
        client.flush()
    client.h2.send_trailers(stream, [(b"x-after", b"1")])
    client.flush()
    assert client.result(stream).body == message(b"hello")


@pytest.mark.parametrize("timeout", [b"", b"1", b"S", b"123456789S", b"1s", b"-1S", b"1.5S", b"\xb2S"])
def test_timeouts_that_are_none(client: Client, timeout: bytes) -> None:
    result = client.call("Echo", message(b""), (b"grpc-timeout", timeout))
    assert (result.status, result.text[:14]) == (Code.INVALID_ARGUMENT, "grpc-timeout: ")


@pytest.mark.parametrize(("timeout", "seconds"), [(b"2H", 7200), (b"3M", 180), (b"99S", 99), (b"90000m", 90)])
def test_timeouts(client: Client, timeout: bytes, seconds: float) -> None:
    result = client.call("Remaining", message(b""), (b"grpc-timeout", timeout))
    assert seconds - 20 < float(result.body[5:]) <= seconds


@pytest.mark.parametrize("timeout", [b"0n", b"1u", b"5m"])
@pytest.mark.parametrize("method", ["Sleep", "Hang"])
def test_the_server_itself_ends_what_is_over(client: Client, method: str, timeout: bytes) -> None:
    result = client.call(method, message(b""), (b"grpc-timeout", timeout))
    assert result.status == Code.DEADLINE_EXCEEDED


def test_binary_metadata_that_is_none(client: Client) -> None:
    result = client.call("Metadata", message(b""), (b"x-bin", b"!"))
    assert (result.status, result.text) == (Code.INVALID_ARGUMENT, "metadata x-bin: expected base64")
    several = client.call("Metadata", message(b""), (b"x-bin", b"AA,/w=="))
    assert b'[["x-bin", "00"], ["x-bin", "ff"]]' in several.body


def test_calls_with_the_same_header_are_calls_of_their_own(client: Client) -> None:
    a, b, timeout = (b"a", b"1"), (b"a", b"2"), (b"grpc-timeout", b"20S")
    for more in ([a], [b], [a, timeout], [timeout, a], [b, timeout, a], [timeout], [a, timeout], [], [b], [a]):
        told = json.loads(client.call("Metadata", message(b""), *more).body[5:])
        assert told["metadata"] == [["a", value.decode()] for name, value in more if name == b"a"]
        remaining = client.call("Remaining", message(b""), *more).body[5:]
        assert (remaining == b"null") == (timeout not in more), (more, remaining)
    bad = client.call("Remaining", message(b""), a, (b"grpc-timeout", b"soon"))
    assert (bad.status, bad.text[:26]) == (Code.INVALID_ARGUMENT, "grpc-timeout: found 'soon'")


def test_unknown_encodings(client: Client) -> None:
    result = client.call("Echo", message(b"x", compressed=True), (b"grpc-encoding", b"br"))
    assert (result.status, result.text) == (Code.UNIMPLEMENTED, "grpc-encoding: found 'br', expected identity or gzip")
    assert result.headers[b"grpc-accept-encoding"] == b"identity,gzip"


GZIP = ((b"grpc-encoding", b"gzip"), (b"grpc-accept-encoding", b"identity,gzip"))


@pytest.mark.parametrize("method", ["Echo", "Chat"])
def test_answers_are_compressed_as_requests_are(client: Client, method: str) -> None:
    body = b"x" * 10_000
    result = client.call(method, message(gzip.compress(body), compressed=True), *GZIP)
    assert result.headers[b"grpc-encoding"] == b"gzip"
    assert result.body[0] == 1
    assert gzip.decompress(result.body[5:]) == body
    short = client.call(method, message(gzip.compress(b"x"), compressed=True), *GZIP)
    assert short.body == message(b"x")
    not_accepted = client.call(method, message(gzip.compress(body), compressed=True), GZIP[0])
    assert not_accepted.body == message(body)


@pytest.mark.parametrize("method", ["Echo", "Chat"])
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"not gzip", Code.INTERNAL),
        (gzip.compress(b"x" * 100)[:-4], Code.INTERNAL),
        (gzip.compress(bytes(30 << 20)), Code.RESOURCE_EXHAUSTED),
    ],
    ids=["other", "cut", "bomb"],
)
def test_gzip_that_cannot_be_read(client: Client, method: str, body: bytes, code: Code) -> None:
    assert client.call(method, message(body, compressed=True), *GZIP).status == code


def test_metadata_above_the_limit_is_refused_and_the_connection_lives(client: Client) -> None:
    for more in [(b"x-long", b"v" * 17_000)], [(b"x-%d" % i, b"") for i in range(130)]:
        result = client.call("Echo", message(b""), *more)
        assert result.status == Code.RESOURCE_EXHAUSTED
        assert "metadata: at most 16384 bytes and 128 fields" in result.text
    assert client.call("Echo", message(b"x")).body == message(b"x")


def test_work_that_goes_on_after_a_reset_counts(serve: Serve, connect: Connect) -> None:
    server = serve(limits=Limits(streams=1))
    client = connect(server)
    for began in (1, 2):
        stream = client.request("Stubborn", message(b"x"))
        server.methods.reached("stubborn", began)
        client.h2.reset_stream(stream, CANCEL)
        client.flush()
    assert client.call("Echo", message(b"x")).reset == REFUSED_STREAM
    server.methods.open_gate()
    assert any(client.call("Echo", message(b"x")).status == Code.OK for _ in range(1000))


def test_requests_that_would_fill_the_memory(serve: Serve, connect: Connect) -> None:
    server = serve(limits=Limits(buffered_bytes=100_000))
    client = connect(server)
    held = client.request("Echo")
    client.h2.send_data(held, message(bytes(200_000))[:90_000])
    client.flush()
    over = client.request("Echo", message(bytes(30_000)))
    assert client.result(over).status == Code.RESOURCE_EXHAUSTED
    client.h2.reset_stream(held, CANCEL)
    client.flush()
    assert client.call("Echo", message(bytes(60_000))).status == Code.OK


def test_what_was_unpacked_for_a_stream_counts_until_the_next_is_read(serve: Serve, connect: Connect) -> None:
    server = serve(limits=Limits(buffered_bytes=100_000))
    client = connect(server)
    packed = message(gzip.compress(bytes(80_000)), compressed=True)
    open_ones = [client.request("Ponder", packed, *GZIP) for _ in range(2)]
    assert client.result(open_ones[1]).status == Code.RESOURCE_EXHAUSTED
    server.methods.open_gate()
    assert client.result(open_ones[0]).status == Code.OK
    assert client.call("Total", packed * 5, *GZIP).body == message(b"400000")


def test_a_window_of_0(server: Served, connect: Connect) -> None:
    client = connect(server, settings={4: 0})
    stream = client.request("Echo", message(b"hello"))
    client.wait(lambda: bool(client.results[stream].headers))
    assert client.call("Fail", message(b'{"code": 9, "message": "no"}')).status == Code.FAILED_PRECONDITION
    assert client.results[stream].body == b""
    client.h2.set_local_window_size(6, stream_id=stream)
    client.flush()
    client.wait(lambda: len(client.results[stream].body) >= 6)
    assert client.results[stream].body == message(b"hello")[:6]
    client.h2.set_local_window_size(100, stream_id=stream)
    client.flush()
    assert client.result(stream).body == message(b"hello")


def test_calls_above_the_limit_are_refused(serve: Serve, connect: Connect) -> None:
    server = serve(limits=Limits(streams=1))
    client = connect(server)
    first, second = [client.request("Wait", message(b"x")) for _ in range(2)]  # the limit is not known yet
    assert client.result(second).reset == REFUSED_STREAM
    server.methods.reached("waiting")
    server.methods.open_gate()
    assert client.result(first).body == message(b"x")
    assert server.methods.count("waiting") == 1
