"""gRPC as real clients see it: one suite over both transports. The cases are those of gRPC's interop tests."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from engine.transport import MAX_MESSAGE_BYTES, Code
from tests.transport.conftest import LoopThread, Serve, Served, open_channel
from tests.transport.methods import SERVICE

TIMEOUT_S = 30


def call(channel: grpc.Channel, method: str, payload: bytes = b"", **options: Any) -> bytes:
    options = {"timeout": TIMEOUT_S, **options}
    answer: bytes = channel.unary_unary(SERVICE + method)(payload, **options)
    return answer


def failed(channel: grpc.Channel, method: str, payload: bytes = b"", **options: Any) -> Any:
    """The error that the call ends with."""
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, method, payload, **options)
    return caught.value


def stream(channel: grpc.Channel, method: str, requests: Any, **options: Any) -> Any:
    return channel.stream_stream(SERVICE + method)(iter(requests), **{"timeout": TIMEOUT_S, **options})


@pytest.mark.parametrize("method", ["Echo", "EchoFuture", "Direct"])
@pytest.mark.parametrize("size", [0, 1, 16_000, 16_385, 300_000, 4_000_000])
def test_unary_of_any_size(channel: grpc.Channel, method: str, size: int) -> None:
    payload = (bytes(range(251)) * (size // 251 + 1))[:size]
    assert channel.unary_unary(SERVICE + method)(payload, timeout=TIMEOUT_S) == payload


def test_a_large_answer(server: Served) -> None:
    with open_channel(server.address, ("grpc.max_receive_message_length", -1)) as channel:
        assert call(channel, "Large", b"30000000") == bytes(30_000_000)


def test_messages_above_the_limit_are_refused(channel: grpc.Channel) -> None:
    error = failed(channel, "Echo", bytes(MAX_MESSAGE_BYTES + 1))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert call(channel, "Echo", b"after") == b"after"


def test_many_calls_at_once(channel: grpc.Channel) -> None:
    echo = channel.unary_unary(SERVICE + "Echo")
    pending = [echo.future(b"%d" % i, timeout=TIMEOUT_S) for i in range(500)]
    assert [f.result() for f in pending] == [b"%d" % i for i in range(500)]


def test_client_streaming(channel: grpc.Channel) -> None:
    sizes = [27182, 8, 1828, 45904, 0]
    assert list(stream(channel, "Total", (bytes(n) for n in sizes))) == [b"%d" % sum(sizes)]


def test_server_streaming(channel: grpc.Channel) -> None:
    assert list(stream(channel, "CountUp", [b"1000"])) == [b"%d" % i for i in range(1000)]


def test_empty_stream(channel: grpc.Channel) -> None:
    assert list(stream(channel, "Chat", [])) == []


def test_ping_pong(channel: grpc.Channel) -> None:
    turn = threading.Semaphore(1)

    def requests() -> Iterator[bytes]:
        for i in range(20):
            turn.acquire()
            yield b"%d" % i

    seen = []
    for answer in stream(channel, "Chat", requests()):
        seen.append(answer)
        turn.release()
    assert seen == [b"%d" % i for i in range(20)]


def test_large_messages_in_both_directions(channel: grpc.Channel) -> None:
    sent = [bytes([i]) * 1_000_000 for i in range(8)]
    assert list(stream(channel, "Chat", sent)) == sent


def test_a_stream_that_fails_after_an_answer(channel: grpc.Channel) -> None:
    answers = stream(channel, "FailAfterOne", itertools.repeat(b"x"))
    assert next(answers) == b"x"
    with pytest.raises(grpc.RpcError):
        next(answers)
    assert (answers.code(), answers.details()) == (grpc.StatusCode.ABORTED, "one was enough")


def test_cancel_after_begin(server: Served, channel: grpc.Channel) -> None:
    pending = channel.unary_unary(SERVICE + "Sleep").future(b"", timeout=TIMEOUT_S)
    server.methods.reached("sleeping")
    pending.cancel()
    server.methods.reached("sleep ended")
    assert pending.code() == grpc.StatusCode.CANCELLED


def test_cancel_after_the_first_response(server: Served, channel: grpc.Channel) -> None:
    answers = stream(channel, "Hang", [b"x"])
    assert next(answers) == b"first"
    answers.cancel()
    server.methods.reached("hang ended")
    assert answers.code() == grpc.StatusCode.CANCELLED


@pytest.mark.parametrize("method", ["Sleep", "Hang"])
def test_a_timeout_ends_the_work(server: Served, channel: grpc.Channel, method: str) -> None:
    if method == "Sleep":
        assert failed(channel, "Sleep", timeout=0.05).code() == grpc.StatusCode.DEADLINE_EXCEEDED
    else:
        answers = stream(channel, "Hang", itertools.repeat(b"x"), timeout=0.5)
        with pytest.raises(grpc.RpcError):
            list(answers)
        assert answers.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    if server.methods.count(f"{method.lower()}ing"):  # the deadline may have passed before the call was here
        server.methods.reached(f"{method.lower()} ended")


@pytest.mark.parametrize("raises", [False, True])
def test_work_without_a_future_fails(channel: grpc.Channel, raises: bool) -> None:
    error = failed(channel, "FailDirect", json.dumps({"code": 9, "message": "no", "raises": raises}).encode())
    assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "no")
    assert call(channel, "Direct", b"after") == b"after"


def test_work_without_a_future_answers_later(server: Served, channel: grpc.Channel) -> None:
    pending = [channel.unary_unary(SERVICE + "Late").future(b"%d" % i, timeout=TIMEOUT_S) for i in range(20)]
    server.methods.reached("late", 20)
    server.methods.open_gate()
    assert [one.result() for one in pending] == [b"%d" % i for i in range(20)]
    assert server.methods.count("nobody waits") == 0


@pytest.mark.parametrize("how", ["cancel", "timeout"])
def test_work_without_a_future_may_answer_when_nobody_waits(server: Served, channel: grpc.Channel, how: str) -> None:
    late = channel.unary_unary(SERVICE + "Late")
    kept = late.future(b"kept", timeout=TIMEOUT_S)
    server.methods.reached("late")  # it is connected
    left = late.future(b"left", timeout=3 if how == "timeout" else TIMEOUT_S)
    server.methods.reached("late", 2)
    if how == "cancel":
        left.cancel()
        assert left.code() == grpc.StatusCode.CANCELLED
    else:
        assert left.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert call(channel, "Echo", b"the server has heard of it") == b"the server has heard of it"
    server.methods.open_gate()
    assert kept.result() == b"kept"
    server.methods.reached("nobody waits")
    assert server.methods.count("answers") == 1
    assert call(channel, "Direct", b"after") == b"after"


def test_the_deadline_is_known(channel: grpc.Channel) -> None:
    assert 20 < json.loads(call(channel, "Remaining", timeout=25)) <= 25.1
    assert json.loads(channel.unary_unary(SERVICE + "Remaining")(b"")) is None


def test_metadata(channel: grpc.Channel) -> None:
    given = (("x-text", "a, b"), ("x-raw-bin", b"\x00\xff\x10"), ("x-twice", "1"), ("x-twice", "2"))
    found = json.loads(call(channel, "Metadata", metadata=given))
    pairs = [tuple(pair) for pair in found["metadata"]]
    assert [p for p in pairs if p[0].startswith("x-")] == [
        ("x-text", "a, b"),
        ("x-raw-bin", "00ff10"),
        ("x-twice", "1"),
        ("x-twice", "2"),
    ]
    assert any(name == "user-agent" and "grpc-python" in value for name, value in pairs)
    assert not any(
        name.startswith((":", "grpc-")) or name == "te" for name, _ in pairs if name != "grpc-accept-encoding"
    )
    assert found["peer"].startswith("ipv4:127.0.0.1:")


@pytest.mark.parametrize("code", [code for code in Code if code])
def test_every_status(channel: grpc.Channel, code: Code) -> None:
    wanted = {"code": int(code), "message": f"this is {code.name}", "reason": "BECAUSE"}
    error = failed(channel, "Fail", json.dumps(wanted).encode())
    assert error.code().name == code.name
    assert error.details() == wanted["message"]
    status = status_pb2.Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (status.code, status.message, info.reason) == (code, wanted["message"], "BECAUSE")


@pytest.mark.parametrize(
    "text", ["\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n", "100 % %41", "", "ü"]
)
def test_special_status_messages(channel: grpc.Channel, text: str) -> None:
    error = failed(channel, "Fail", json.dumps({"code": 2, "message": text}).encode())
    assert (error.code(), error.details()) == (grpc.StatusCode.UNKNOWN, text)


def test_a_gate_refuses_before_the_handler(server: Served, channel: grpc.Channel) -> None:
    assert call(channel, "Gated", b"x") == b"x"
    server.methods.full = True
    for _ in range(3):
        error = failed(channel, "Gated", bytes(1_000_000))
        assert (error.code(), error.details()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
    assert call(channel, "Echo", b"x") == b"x"
    server.methods.full = False
    assert call(channel, "Gated", b"x") == b"x"


def test_what_breaks_its_promise_is_internal(channel: grpc.Channel) -> None:
    error = failed(channel, "BreakPromise")
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "internal error")


@pytest.mark.parametrize("path", ["/test.Service/Nothing", "/test.Nobody/Echo", "/", "/a/b/c"])
def test_unknown_methods_are_unimplemented(channel: grpc.Channel, path: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(path)(b"", timeout=TIMEOUT_S)
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED  # type: ignore[attr-defined]
    assert path in caught.value.details()  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", [0, 100, 400_000])
def test_gzip(channel: grpc.Channel, size: int) -> None:
    payload = b"x" * size
    assert call(channel, "Echo", payload, compression=grpc.Compression.Gzip) == payload
    sent = [payload, b"", payload]
    assert list(stream(channel, "Chat", sent, compression=grpc.Compression.Gzip)) == sent


def test_a_caller_that_does_not_read_holds_up_its_own_stream_only(server: Served) -> None:
    # without the probe a client's window stays as it was announced; with it, it grows as fast as the machine is idle
    with open_channel(server.address, ("grpc.http2.bdp_probe", 0)) as channel:
        answers = stream(channel, "Pour", [b""])
        assert next(answers) == bytes(16 << 10)
        for i in range(100):
            assert call(channel, "Echo", b"%d" % i) == b"%d" % i
        poured = server.methods.count("poured")
        assert poured < 200  # 3 MiB; sockets and windows hold a few hundred KiB
        answers.cancel()
        server.methods.reached("pour ended")


def test_a_handler_that_does_not_read_holds_up_its_caller(server: Served, channel: grpc.Channel) -> None:
    sent = itertools.count()
    answers = stream(channel, "Hang", (bytes(64 << 10) for _ in sent))
    assert next(answers) == b"first"
    for i in range(50):
        assert call(channel, "Echo", b"%d" % i) == b"%d" % i
    assert next(sent) < 500  # 32 MiB
    answers.cancel()
    server.methods.reached("hang ended")


def test_accepted_calls_finish_when_it_stops(server: Served, channel: grpc.Channel) -> None:
    echo = channel.unary_unary(SERVICE + "Wait")
    pending = [echo.future(b"%d" % i, timeout=TIMEOUT_S) for i in range(20)]
    server.methods.reached("waiting", 20)
    stopping = server.loop.start(server.transport.stop(TIMEOUT_S))
    server.methods.open_gate()
    assert [f.result() for f in pending] == [b"%d" % i for i in range(20)]
    stopping.result(TIMEOUT_S)
    assert failed(channel, "Echo").code() == grpc.StatusCode.UNAVAILABLE


def test_calls_that_do_not_finish_are_cut_off(server: Served, channel: grpc.Channel) -> None:
    pending = channel.unary_unary(SERVICE + "Sleep").future(b"", timeout=TIMEOUT_S)
    answers = stream(channel, "Hang", [b""])
    server.methods.reached("sleeping")
    assert next(answers) == b"first"
    server.stop(grace_s=0.01)
    assert pending.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    server.methods.reached("sleep ended")
    server.methods.reached("hang ended")


def test_an_address_in_use_is_an_error(serve: Serve) -> None:
    first = serve()
    with pytest.raises(OSError, match=f"cannot listen on {first.address}: it is in use"):
        serve_again(first)


def serve_again(first: Served) -> None:
    host, port = first.host_port
    first.loop.run(type(first.transport)([], host, port).start())


def test_a_port_can_be_shared(serve: Serve) -> None:
    first = serve(reuse_port=True)
    host, port = first.host_port
    second = type(first.transport)(first.methods.table(), host, port, reuse_port=True)
    assert first.loop.run(second.start()) == first.address
    first.stop()
    with open_channel(first.address) as channel:
        assert call(channel, "Echo", b"x", wait_for_ready=True) == b"x"
    first.loop.run(second.stop(0))


async def _aio(address: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        echo = channel.unary_unary(SERVICE + "Echo")
        assert [bytes(await echo(b"%d" % i)) for i in range(50)] == [b"%d" % i for i in range(50)]
        chat = channel.stream_stream(SERVICE + "Chat")()
        for i in range(50):
            await chat.write(b"%d" % i)
            assert await chat.read() == b"%d" % i
        await chat.done_writing()
        assert await chat.read() is grpc.aio.EOF
        assert await chat.code() == grpc.StatusCode.OK
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(SERVICE + "Fail")(b'{"code": 9, "message": "no"}')
        assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "no")
        sleeping = channel.unary_unary(SERVICE + "Sleep")(b"")
        sleeping.cancel()
        assert await sleeping.code() == grpc.StatusCode.CANCELLED


def test_the_asyncio_client(server: Served, plain_loop: LoopThread) -> None:
    plain_loop.run(_aio(server.address))


@pytest.mark.parametrize("kind", ["http2-uvloop", "http2-asyncio"], indirect=True)
def test_no_call_fails_where_connections_end_of_age(serve: Serve) -> None:
    now_s = [0.0]
    server = serve(clock=lambda: now_s[0])
    peers = set()
    with open_channel(server.address) as channel:
        for _ in range(10):
            peers.add(json.loads(call(channel, "Metadata"))["peer"])
            now_s[0] += 700
            server.loop.call(server.transport.tick)  # type: ignore[attr-defined]  # the next call crosses with GOAWAY
    assert len(peers) > 1
