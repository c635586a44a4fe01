"""Connections from their first byte to their last: strangers, floods, silence, age, the end."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from ngh2.events import PingReceived

from engine.transport import Code
from engine.transport.http2 import Limits
from tests.transport import raw
from tests.transport.conftest import Serve, Served
from tests.transport.floods import FLOODS
from tests.transport.raw import END_HEADERS, END_STREAM, Client, Socket, block, fields, frame, message

pytestmark = pytest.mark.parametrize("kind", ["http2-uvloop", "http2-asyncio"], indirect=True)
Connect = Callable[..., Client]
ECHO = END_HEADERS | END_STREAM


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def connect(opened: ExitStack) -> Connect:
    """A client that has made a call."""

    def make(server: Served, **options: object) -> Client:
        client = opened.enter_context(Client(server.host_port, **options))  # type: ignore[arg-type]
        assert client.call("Echo", message(b"x")).status == Code.OK
        return client

    return make


def after(server: Served, clock: Clock, seconds: float) -> None:
    """So much later."""
    clock.now_s += seconds
    server.loop.call(server.transport.tick)  # type: ignore[attr-defined]


# ---- strangers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_line", [b"GET / HTTP/1.1\r\n\r\n", b"PUT /x HTTP/1.1\r\n", b"PRI * HTTP/1.1\r\n\r\n"])
def test_http_1_is_told_what_is_spoken_here(server: Served, opened: ExitStack, request_line: bytes) -> None:
    stranger = opened.enter_context(Socket(server.host_port))
    stranger.send(request_line)
    answer = stranger.rest()
    assert answer.startswith(b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: h2c\r\n")
    assert answer.endswith(b"\r\n\r\nThis port speaks gRPC, over HTTP/2 only.\n")


@pytest.mark.parametrize("data", [b"\x16\x03\x01\x02\x00\x01", b"\0" * 100, b"\xff"])
def test_what_is_no_http_is_not_answered(server: Served, opened: ExitStack, data: bytes) -> None:
    stranger = opened.enter_context(Socket(server.host_port))
    stranger.send(data)
    assert stranger.rest() == b""


def test_a_preface_in_pieces(server: Served, opened: ExitStack) -> None:
    client = opened.enter_context(Socket(server.host_port))
    for byte in raw.PREFACE + frame(raw.SETTINGS):
        client.send(bytes([byte]))
    assert client.until(raw.SETTINGS, raw.ACK).payload == b""


def test_a_connection_that_says_nothing_is_closed(serve: Serve, clock: Clock, opened: ExitStack) -> None:
    server = serve(clock=clock)
    silent = [opened.enter_context(Socket(server.host_port)) for _ in range(3)]
    silent[1].send(raw.PREFACE[:10])
    silent[2].hello()
    silent[2].until(raw.SETTINGS, raw.ACK)
    after(server, clock, 11)
    assert [s.rest() for s in silent[:2]] == [b"", b""]
    silent[2].send(frame(raw.PING, payload=b"12345678"))
    assert silent[2].until(raw.PING, raw.ACK).payload == b"12345678"


def test_connections_above_the_limit_are_closed(serve: Serve, connect: Connect, opened: ExitStack) -> None:
    server = serve(limits=Limits(connections=1))
    first = connect(server)
    assert opened.enter_context(Socket(server.host_port)).rest() == b""
    assert first.call("Echo", message(b"x")).status == Code.OK


# ---- frames that break the rules ------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        frame(raw.DATA, 0, 0, b"x"),  # not on a stream
        frame(raw.HEADERS, ECHO, 2, block(fields())),  # not a client's number
        frame(raw.PING, 0, 0, b"short"),
        frame(raw.SETTINGS, 0, 0, b"\0"),
        frame(raw.WINDOW_UPDATE, 0, 0, bytes(4)),
        frame(raw.HEADERS, ECHO, 1, b"\xff\xff\xff\xff\xff\xff"),  # not HPACK
        frame(raw.CONTINUATION, END_HEADERS, 1, b""),
        frame(raw.PUSH, END_HEADERS, 1, bytes(4)),
        (1 << 20).to_bytes(3, "big") + bytes(6),  # larger than agreed
    ],
)
def test_a_broken_frame_ends_its_connection_and_no_other(
    server: Served, connect: Connect, opened: ExitStack, data: bytes
) -> None:
    other = connect(server)
    client = opened.enter_context(Socket(server.host_port))
    client.hello()
    client.send(data)
    assert client.goaway() != raw.NO_ERROR
    assert other.call("Echo", message(b"x")).status == Code.OK


@pytest.mark.parametrize(
    "header",
    [
        fields()[1:],  # without :method
        [*fields(), (b"Upper-Case", b"x")],
        [*fields(), (b"connection", b"close")],
        [*fields(), (b":late", b"x")],
        [*fields(), (b"x", b"a\0b")],
        [*fields(), (b"te", b"gzip")],
        [*fields(), (b"content-length", b"7")],
    ],
)
def test_a_broken_header_ends_its_stream(server: Served, opened: ExitStack, header: raw.Fields) -> None:
    client = opened.enter_context(Socket(server.host_port))
    client.hello()
    client.send(frame(raw.HEADERS, END_HEADERS, 1, block(header)))
    client.send(frame(raw.DATA, END_STREAM, 1, message(b"abc")))
    client.send(frame(raw.HEADERS, END_HEADERS, 3, block(fields())) + frame(raw.DATA, END_STREAM, 3, message(b"x")))
    ends = {f.stream: f.kind for f in _until_answered(client, 3)}
    assert ends[1] == raw.RST_STREAM


def _until_answered(client: Socket, stream: int) -> Iterator[raw.Frame]:
    for one in client.frames():
        yield one
        if one.stream == stream and one.flags & END_STREAM:
            return


# ---- floods ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_ends_its_connection_and_no_other(
    serve: Serve, connect: Connect, opened: ExitStack, clock: Clock, flood: str
) -> None:
    server = serve(clock=clock)
    other = connect(server)
    client = opened.enter_context(Socket(server.host_port))
    client.hello()
    client.send(FLOODS[flood])
    assert client.goaway() == raw.ENHANCE_YOUR_CALM
    assert other.call("Echo", message(b"x")).status == Code.OK
    assert server.methods.count("sleeping") < 1000


def test_clients_may_cancel_half_of_their_calls(serve: Serve, connect: Connect, clock: Clock) -> None:
    client = connect(serve(clock=clock, limits=Limits(control_burst=100)))
    for _ in range(20):
        answered = [client.request("Echo", message(b"x")) for _ in range(20)]
        for _ in range(20):
            client.h2.reset_stream(client.request("Wait", message(b"x")), raw.CANCEL)
        assert all(client.result(stream).status == Code.OK for stream in answered)
    assert client.open


def test_a_peer_that_does_not_read_its_acknowledgements(server: Served, opened: ExitStack) -> None:
    client = opened.enter_context(Socket(server.host_port, receive_buffer=4096))
    client.hello()
    while client.send(frame(raw.PING, payload=bytes(8)) * 1000):
        pass  # until the server has had enough
    assert client.send(b"x") is False


# ---- readers that are slow ------------------------------------------------------------------------

HUGE_WINDOWS = struct.pack(">HI", 4, (1 << 31) - 1)


def _pour(server: Served, opened: ExitStack) -> Socket:
    client = opened.enter_context(Socket(server.host_port, receive_buffer=4096))
    client.hello(HUGE_WINDOWS)
    client.send(frame(raw.WINDOW_UPDATE, 0, 0, struct.pack(">I", (1 << 31) - 1 - 65_535)))
    client.send(
        frame(raw.HEADERS, END_HEADERS, 1, block(fields("Pour"))) + frame(raw.DATA, END_STREAM, 1, message(b""))
    )
    return client


def test_who_does_not_read_is_dropped(serve: Serve, clock: Clock, opened: ExitStack) -> None:
    server = serve(clock=clock)
    _pour(server, opened)
    server.methods.reached("poured", 20)
    for _ in range(4):
        after(server, clock, 25)
    server.methods.reached("pour ended")
    assert server.methods.count("poured") < 2000  # 32 MiB


def test_answers_that_nobody_reads_are_bounded(serve: Serve, opened: ExitStack) -> None:
    server = serve(limits=Limits(unsent_bytes=1 << 20))
    client = opened.enter_context(Socket(server.host_port, receive_buffer=4096))
    client.hello(HUGE_WINDOWS)
    client.send(frame(raw.WINDOW_UPDATE, 0, 0, struct.pack(">I", (1 << 31) - 1 - 65_535)))
    number = 1
    while number < 120 and client.send(
        frame(raw.HEADERS, END_HEADERS, number, block(fields("Large")))
        + frame(raw.DATA, END_STREAM, number, message(b"1000000"))
    ):
        number += 2
    client.rest()  # it comes to an end


def test_a_window_that_stays_shut_ends_its_stream(serve: Serve, connect: Connect, clock: Clock) -> None:
    server = serve(clock=clock)
    client = connect(server)
    client.h2.update_settings({4: 0})
    client.flush()
    stream = client.request("Echo", message(b"hello"))
    client.wait(lambda: bool(client.results[stream].headers))
    for _ in range(3):
        after(server, clock, 25)
        assert client.call("Fail", message(b'{"code": 9, "message": "alive"}')).text == "alive"
    assert client.result(stream).reset == raw.CANCEL


def test_a_request_that_does_not_end(serve: Serve, connect: Connect, clock: Clock) -> None:
    server = serve(clock=clock)
    client = connect(server)
    stream = client.request("Echo")
    client.h2.send_data(stream, b"\0\0\0")
    client.flush()
    client.call("Echo")
    for _ in range(3):
        after(server, clock, 25)
        assert client.call("Echo").status == Code.OK
    assert client.result(stream).status == Code.DEADLINE_EXCEEDED


# ---- silence, age, the end ------------------------------------------------------------------------


def test_silence_is_asked_for_a_sign_of_life(serve: Serve, clock: Clock, opened: ExitStack, connect: Connect) -> None:
    server = serve(clock=clock)
    alive = connect(server)
    dead = opened.enter_context(Socket(server.host_port))
    dead.hello()
    dead.until(raw.SETTINGS, raw.ACK)
    for _ in range(3):
        after(server, clock, 31)
        seen = len(alive.saw(PingReceived))
        alive.wait(lambda seen=seen: len(alive.saw(PingReceived)) > seen)  # type: ignore[misc]
        assert alive.call("Echo").status == Code.OK
    assert raw.PING in [f.kind for f in dead.frames()]  # and then the end


def _begun(server: Served, opened: ExitStack, method: str) -> Socket:
    """A client with one call under way."""
    client = opened.enter_context(Socket(server.host_port))
    client.hello()
    client.send(
        frame(raw.HEADERS, END_HEADERS, 1, block(fields(method))) + frame(raw.DATA, END_STREAM, 1, message(b"x"))
    )
    return client


LARGEST = (1 << 31) - 1


def _goodbyes(frames: list[raw.Frame]) -> list[tuple[int, int]]:
    """The last stream and the code of each GOAWAY."""
    return [(int.from_bytes(f.payload[:4], "big"), f.code) for f in frames if f.kind == raw.GOAWAY]


def test_an_idle_connection_is_closed_in_good_order(serve: Serve, clock: Clock, opened: ExitStack) -> None:
    server = serve(clock=clock, limits=Limits(age_s=1e9, ping_every_s=1e9))
    client = _begun(server, opened, "Echo")
    client.until(raw.HEADERS, END_STREAM)
    after(server, clock, 901)
    after(server, clock, 2)  # it does not answer the PING
    assert _goodbyes(list(client.frames())) == [(LARGEST, raw.NO_ERROR), (1, raw.NO_ERROR)]


def test_an_old_connection_finishes_its_calls(serve: Serve, clock: Clock, opened: ExitStack) -> None:
    server = serve(clock=clock, limits=Limits(ping_every_s=1e9))
    client = _begun(server, opened, "Wait")
    server.methods.reached("waiting")
    after(server, clock, 700)
    goodbye = client.until(raw.PING)
    client.send(frame(raw.PING, raw.ACK, 0, goodbye.payload))
    client.until(raw.GOAWAY)
    server.methods.open_gate()
    assert [f.stream for f in client.frames() if f.flags & END_STREAM] == [1]


def test_calls_that_cross_with_the_goodbye_are_served(server: Served, opened: ExitStack) -> None:
    client = _begun(server, opened, "Echo")
    client.until(raw.HEADERS, END_STREAM)
    stopping = server.loop.start(server.transport.stop(20))
    client.send(frame(raw.HEADERS, END_HEADERS, 3, block(fields())) + frame(raw.DATA, END_STREAM, 3, message(b"x")))
    seen = []
    for one in client.frames():
        seen.append(one)
        if one.kind == raw.PING:
            client.send(frame(raw.PING, raw.ACK, 0, one.payload))
    client.close()
    stopping.result(20)
    assert _goodbyes(seen) == [(LARGEST, raw.NO_ERROR), (3, raw.NO_ERROR)]
    assert [f.stream for f in seen if f.flags & END_STREAM and f.kind == raw.HEADERS] == [3]


def test_a_peer_that_does_not_answer_cannot_hold_up_the_end(server: Served, opened: ExitStack) -> None:
    mute = _begun(server, opened, "Sleep")
    server.methods.reached("sleeping")
    server.stop(grace_s=0.01)
    server.methods.reached("sleep ended")
    assert raw.GOAWAY in [f.kind for f in mute.frames()]


def test_a_peer_that_stalls_at_the_end_gets_its_answers(serve: Serve, clock: Clock, opened: ExitStack) -> None:
    server = serve(clock=clock)
    client = opened.enter_context(Socket(server.host_port, receive_buffer=4096))
    client.hello(HUGE_WINDOWS)
    client.send(frame(raw.WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 30)))
    client.send(
        frame(raw.HEADERS, END_HEADERS, 1, block(fields("Large"))) + frame(raw.DATA, END_STREAM, 1, message(b"1000000"))
    )
    server.methods.reached("large")
    stopping = server.loop.start(server.transport.stop(20))
    after(server, clock, 2)  # it does not answer the PING: all is said
    after(server, clock, 4)
    assert client.send(frame(raw.PING, raw.ACK, 0, b"tactstop"))  # to a socket that is closed: a reset
    seen = list(client.frames())
    assert _goodbyes(seen) == [(LARGEST, raw.NO_ERROR), (1, raw.NO_ERROR)]
    assert [f.stream for f in seen if f.flags & END_STREAM and f.kind == raw.HEADERS] == [1]
    client.close()
    stopping.result(20)


def test_a_peer_that_never_reads_cannot_hold_up_the_end(serve: Serve, clock: Clock, opened: ExitStack) -> None:
    server = serve(clock=clock)
    _pour(server, opened)
    server.methods.reached("poured", 20)
    began = time.monotonic()
    server.stop(grace_s=0.01)
    assert time.monotonic() - began < 4  # it had been close_s


def test_a_client_that_leaves_takes_its_calls_along(server: Served, connect: Connect) -> None:
    client = connect(server)
    client.request("Sleep", message(b""))
    client.request("Hang", message(b""))
    server.methods.reached("sleeping")
    server.methods.reached("hanging")
    client.close()
    server.methods.reached("sleep ended")
    server.methods.reached("hang ended")


def test_the_socket_is_free_of_delays(server: Served, connect: Connect) -> None:
    connect(server)
    shared = server.transport._shared  # type: ignore[attr-defined]

    def nodelay() -> list[int]:
        sockets = [c._transport.get_extra_info("socket") for c in shared.connections]
        return [s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for s in sockets]

    assert server.loop.call(nodelay) == [1]
