"""Both transports, each served in an event loop of a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import grpc
import pytest
import uvloop

from engine.transport import Transport
from engine.transport.grpcio import GrpcioTransport
from engine.transport.http2 import Http2Transport
from tests.transport.methods import Methods

T = TypeVar("T")
WAIT_S = 30


class LoopThread:
    """An event loop that runs in a thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = threading.Thread(target=loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs it there to its end."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WAIT_S)

    def start(self, work: Coroutine[Any, Any, T]) -> Any:
        """Begins it there; returns a future of threads."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(self, function: Callable[[], T]) -> T:
        """Calls it there."""

        async def work() -> T:
            return function()

        return self.run(work())

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT_S)
        self._loop.close()


class Served:
    """A transport that serves the test methods, until the test ends."""

    def __init__(self, loop: LoopThread, transport: Transport, methods: Methods) -> None:
        self.loop = loop
        self.methods = methods
        self.transport = transport
        self.address = loop.run(transport.start())

    @property
    def host_port(self) -> tuple[str, int]:
        host, _, port = self.address.rpartition(":")
        return host, int(port)

    def stop(self, grace_s: float = 0.0) -> None:
        self.loop.run(self.transport.stop(grace_s))


@pytest.fixture(scope="session")
def plain_loop() -> Iterator[LoopThread]:
    """asyncio's own loop. grpc.aio allows one loop per process: its servers and clients live here."""
    one = LoopThread(asyncio.new_event_loop())
    yield one
    one.close()


@pytest.fixture(scope="session")
def uv_loop() -> Iterator[LoopThread]:
    one = LoopThread(uvloop.new_event_loop())
    yield one
    one.close()


Serve = Callable[..., Served]


@pytest.fixture(params=["http2-uvloop", "http2-asyncio", "grpcio"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which transport, in which loop."""
    return str(request.param)


@pytest.fixture
def serve(kind: str, plain_loop: LoopThread, uv_loop: LoopThread) -> Iterator[Serve]:
    """Serves the test methods over the transport; arguments are passed on to it."""
    served: list[Served] = []

    def start(**arguments: Any) -> Served:
        methods = Methods()
        make: Any = GrpcioTransport if kind == "grpcio" else Http2Transport
        transport = make(methods.table(), "127.0.0.1", 0, **arguments)
        served.append(Served(uv_loop if kind == "http2-uvloop" else plain_loop, transport, methods))
        return served[-1]

    yield start
    for one in served:
        one.stop()


@pytest.fixture
def server(serve: Serve) -> Served:
    return serve()


@pytest.fixture
def channel(server: Served) -> Iterator[grpc.Channel]:
    with open_channel(server.address) as one:
        yield one


def open_channel(address: str, *options: tuple[str, Any]) -> grpc.Channel:
    """A channel with a connection of its own."""
    return grpc.insecure_channel(address, (("grpc.use_local_subchannel_pool", 1), *options))
