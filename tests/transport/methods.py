"""A small method table to serve in tests, modelled on gRPC's interop service."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import suppress

from google.rpc import error_details_pb2

from engine.transport import Bidi, Call, Code, Method, Reply, RpcError, Unary, awaited

SERVICE = "/test.Service/"
_FULL = RpcError(Code.RESOURCE_EXHAUSTED, "full", [error_details_pb2.ErrorInfo(reason="OVERLOADED")])


class Methods:
    """The handlers. `met` counts, per word, what happened on the server; `reached` waits for it from any thread."""

    def __init__(self) -> None:
        self._met: dict[str, int] = {}
        self._changed = threading.Condition()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._gate = asyncio.Event()
        self.full = False  # Gated is refused

    def reached(self, word: str, times: int = 1) -> None:
        """Waits until `word` happened so often. Fails after 20 s."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._met.get(word, 0) >= times, 20), (word, self._met)

    def count(self, word: str) -> int:
        with self._changed:
            return self._met.get(word, 0)

    def open_gate(self) -> None:
        """Lets the calls of Wait answer."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._gate.set)

    def _meet(self, word: str) -> None:
        with self._changed:
            self._met[word] = self._met.get(word, 0) + 1
            self._changed.notify_all()

    def table(self) -> list[Method]:
        unary = [self.echo, self.echo_future, self.wait, self.stubborn, self.sleep, self.fail, self.break_promise]
        unary += [self.metadata, self.remaining, self.large]
        bidi = [self.chat, self.count_up, self.total, self.ponder, self.fail_after_one, self.hang, self.pour]
        return [
            *(Unary(SERVICE + _name(handler.__name__), handler) for handler in unary),
            *(
                Unary(SERVICE + _name(begin.__name__), awaited(begin), begin=begin)
                for begin in (self.direct, self.late, self.fail_direct)
            ),
            Unary(SERVICE + "Gated", self.echo, gate=self._refuse),
            *(Bidi(SERVICE + _name(handler.__name__), handler) for handler in bidi),
        ]

    def _refuse(self, call: Call) -> RpcError | None:
        return _FULL if self.full else None

    # ---- unary ------------------------------------------------------------------------------------

    async def echo(self, payload: bytes, call: Call) -> bytes:
        return payload

    def echo_future(self, payload: bytes, call: Call) -> asyncio.Future[bytes]:
        """Answers without a task."""
        future = asyncio.get_running_loop().create_future()
        future.set_result(payload)
        return future

    def direct(self, payload: bytes, call: Call, reply: Reply) -> None:
        """Answers without a future."""
        reply.answer(payload)
        assert reply.ended
        reply.answer(b"a second answer")
        reply.fail(_FULL)

    def late(self, payload: bytes, call: Call, reply: Reply) -> None:
        """Answers once the gate is open, whoever waits."""
        self._loop = asyncio.get_running_loop()
        self._meet("late")

        def open_(_: asyncio.Task[object]) -> None:
            self._meet("nobody waits" if reply.ended else "answers")
            reply.answer(payload)

        self._waits = asyncio.ensure_future(self._gate.wait())
        self._waits.add_done_callback(open_)

    def fail_direct(self, payload: bytes, call: Call, reply: Reply) -> None:
        """Fails as Fail, by telling so or by raising."""
        wanted = json.loads(payload)
        error = RpcError(Code(wanted["code"]), wanted["message"])
        if wanted.get("raises"):
            raise error
        reply.fail(error)

    async def wait(self, payload: bytes, call: Call) -> bytes:
        """Answers once the gate is open."""
        self._loop = asyncio.get_running_loop()
        self._meet("waiting")
        await self._gate.wait()
        return payload

    async def sleep(self, payload: bytes, call: Call) -> bytes:
        """Never answers."""
        self._meet("sleeping")
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._meet("sleep ended")
        return b""

    async def stubborn(self, payload: bytes, call: Call) -> bytes:
        """As Wait, but is not stopped by being cancelled."""
        self._loop = asyncio.get_running_loop()
        self._meet("stubborn")
        while not self._gate.is_set():
            with suppress(asyncio.CancelledError):
                await self._gate.wait()
        return payload

    async def fail(self, payload: bytes, call: Call) -> bytes:
        """Fails as it is told: {"code", "message", "reason"}."""
        wanted = json.loads(payload)
        details = [error_details_pb2.ErrorInfo(reason=wanted["reason"])] if "reason" in wanted else []
        raise RpcError(Code(wanted["code"]), wanted["message"], details)

    async def break_promise(self, payload: bytes, call: Call) -> bytes:
        raise ValueError("not an RpcError")

    async def metadata(self, payload: bytes, call: Call) -> bytes:
        """The call's metadata, binary values in hexadecimal."""
        pairs = [(k, v.hex() if isinstance(v, bytes) else v) for k, v in call.metadata]
        return json.dumps({"metadata": pairs, "peer": call.peer}).encode()

    async def remaining(self, payload: bytes, call: Call) -> bytes:
        return json.dumps(call.remaining_s()).encode()

    async def large(self, payload: bytes, call: Call) -> bytes:
        """As many bytes as it is told."""
        self._meet("large")
        return bytes(int(payload))

    # ---- streaming --------------------------------------------------------------------------------

    async def chat(self, requests: AsyncIterator[bytes], call: Call) -> AsyncIterator[bytes]:
        async for payload in requests:
            self._meet("chatted")
            yield payload

    async def count_up(self, requests: AsyncIterator[bytes], call: Call) -> AsyncIterator[bytes]:
        async for payload in requests:
            for number in range(int(payload)):
                yield b"%d" % number

    async def total(self, requests: AsyncIterator[bytes], call: Call) -> AsyncIterator[bytes]:
        yield b"%d" % sum([len(payload) async for payload in requests])

    async def ponder(self, requests: AsyncIterator[bytes], call: Call) -> AsyncIterator[bytes]:
        """Has the first message, and waits."""
        async for payload in requests:
            self._loop = asyncio.get_running_loop()
            await self._gate.wait()
            yield payload[:1]

    async def fail_after_one(self, requests: AsyncIterator[bytes], call: Call) -> AsyncIterator[bytes]:
        async for payload in requests:
            yield payload
            raise RpcError(Code.ABORTED, "one was enough")

    async def hang(self, requests: AsyncIterator[bytes], call: Call) -> AsyncIterator[bytes]:
        """Answers once, then reads no more and says nothing."""
        self._meet("hanging")
        try:
            yield b"first"
            await asyncio.get_running_loop().create_future()
        finally:
            self._meet("hang ended")

    async def pour(self, requests: AsyncIterator[bytes], call: Call) -> AsyncIterator[bytes]:
        """Answers of 16 KiB, as many as can be sent, for ever."""
        try:
            while True:
                yield bytes(16 << 10)
                self._meet("poured")
        finally:
            self._meet("pour ended")


def _name(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))
