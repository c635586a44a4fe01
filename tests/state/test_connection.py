"""Replies stay with their commands, whatever callers and servers do."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import hiredis
import pytest
import uvloop

from engine.errors import StoreUnavailable
from engine.state.address import Address
from engine.state.connection import Connection, connect, greeting


def test_cancelled_callers_leave_the_connection_in_step(store_url: str) -> None:
    chance = random.Random(7)

    async def one(connection: Connection, n: int) -> None:
        wanted = [f"{n}-{i}".encode() for i in range(chance.randrange(1, 6))]
        assert await connection.pipeline([("ECHO", w) for w in wanted]) == wanted

    async def scenario() -> None:
        connection = await connect(store_url)
        wire = connection._wire
        cancelled = 0
        for n in range(0, 2000, 20):
            tasks = [asyncio.create_task(one(connection, n + k)) for k in range(20)]
            for _ in range(chance.randrange(3)):
                await asyncio.sleep(0)
            for task in chance.sample(tasks, 10):
                cancelled += task.cancel()
            for task, result in zip(tasks, await asyncio.gather(*tasks, return_exceptions=True), strict=True):
                assert result is None or task.cancelled(), result
        assert cancelled >= 500
        assert connection._wire is wire
        await connection.close()

    for factory in (asyncio.new_event_loop, uvloop.new_event_loop):
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(scenario())


def test_error_replies_are_values(store_url: str, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        connection = await connect(store_url)
        error, pong = await connection.pipeline([("NONSENSE",), ("PING",)])
        assert isinstance(error, hiredis.ReplyError)
        assert pong == b"PONG"
        assert await connection.pipeline([]) == []
        await connection.close()
        with pytest.raises(StoreUnavailable, match="closed"):
            await connection.pipeline([("PING",)])

    runner.run(scenario())


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def with_server(handler: Handler, scenario: Callable[[str], Awaitable[None]]) -> None:
    writers: list[asyncio.StreamWriter] = []

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await reader.read(100)
        writer.write(b"+PONG\r\n")
        await handler(reader, writer)

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    await scenario(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    for writer in writers:
        writer.close()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (b"what is this\r\n", "no reply"),
        (b"+one\r\n+two\r\n+three\r\n", "nobody asked for"),
        (b"+one\r\n$100\r\ncut", "closed the connection"),
        (b"+one\r\n", "no reply within 0.2 s"),
    ],
)
def test_broken_servers_are_dropped(reply: bytes, why: str, runner: asyncio.Runner) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(reply)
        if b"cut" in reply:
            writer.close()

    async def scenario(url: str) -> None:
        connection = await connect(url, 0.2)
        first = connection.send([("A",), ("B",)])
        if b"three" in reply:
            assert await first == [b"one", b"two"]
            await asyncio.sleep(0)
            with pytest.raises(StoreUnavailable, match=why):
                connection.send([("C",)])
        else:
            second = connection.send([("C",)])
            for future in (first, second):
                with pytest.raises(StoreUnavailable, match=why):
                    await future
        assert not connection.connected
        assert await connection.pipeline([("D",)]) == [b"one"] if reply == b"+one\r\n" else True
        await connection.close()

    runner.run(with_server(handler, scenario))


def test_a_reply_that_swallows_all_others_is_silence(runner: asyncio.Runner) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"*100000\r\n")
        while await reader.read(100):
            writer.write(b":1\r\n")

    async def scenario(url: str) -> None:
        connection = await connect(url, 0.2)
        futures = []
        async with asyncio.timeout(5):
            while connection.connected:  # something is heard all the time
                futures.append(connection.send([("A",)]))
                await asyncio.sleep(0.02)
        for future in futures:
            with pytest.raises(StoreUnavailable, match="no reply within"):
                await future
        await connection.close()

    runner.run(with_server(handler, scenario))


def test_calls_fail_at_once_while_the_pause_lasts(runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.state.connection._BACKOFF_FIRST_S", 20.0)
    monkeypatch.setattr("engine.state.connection._BACKOFF_LAST_S", 100.0)

    async def scenario() -> None:
        connection = Connection("redis://127.0.0.1:1")
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match="cannot be reached"):
                await connection.ready()
        assert connection._pause_s == 20.0  # one attempt; the others failed in its pause
        connection._retry_at = 0.0
        with pytest.raises(StoreUnavailable):
            await connection.ready()
        assert connection._pause_s == 40.0
        await connection.close()

    runner.run(scenario())


def test_addresses() -> None:
    a = Address.parse("rediss://user:p%40ss@store.example:7000/3")
    assert (a.host, a.port, a.username, a.password, a.db, a.tls) == (
        "store.example", 7000, "user", "p@ss", 3, True,
    )  # fmt: skip
    assert greeting(a) == [("AUTH", "user", "p@ss"), ("SELECT", 3), ("PING",)]
    assert str(a) == "store.example:7000"
    b = Address.parse("unix:///var/run/my%20store.sock?db=2")
    assert (b.path, b.db, b.tls) == ("/var/run/my store.sock", 2, False)
    assert greeting(Address.parse("redis://localhost")) == [("PING",)]
    for wrong in ("http://x", "redis://x/one"):
        with pytest.raises(ValueError):
            Address.parse(wrong)
