"""What a transport carries: a table of methods, bytes in and bytes out.

`service/` fills the table and knows no transport; a transport serves any table and knows no service.
A server-streaming method is a bidi one whose caller sends one message: the wire is the same.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, NamedTuple, Protocol

from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2


class Code(IntEnum):
    """gRPC status codes, as on the wire."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class RpcError(Exception):
    """How a call ends that does not end well. `details` are the protobuf messages of AIP-193."""

    def __init__(self, code: Code, message: str, details: Sequence[Message] = ()) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message
        self.details = tuple(details)
        self.wire: object = None  # a transport's own form of it, made once: refusals are sent thousands of times

    def status(self) -> status_pb2.Status:
        """The error as google.rpc.Status: an item's error, or `grpc-status-details-bin`."""
        status = status_pb2.Status(code=int(self.code), message=self.message)
        for detail in self.details:
            status.details.add().Pack(detail)
        return status


@dataclass(slots=True, eq=False)
class Call:
    """What is known of a call beside its payload. `deadline_s` is of `time.monotonic`, or None."""

    deadline_s: float | None = None
    metadata: Sequence[tuple[str, str | bytes]] = ()
    peer: str = ""

    def remaining_s(self) -> float | None:
        """Seconds left, negative where the deadline has passed; None without a deadline."""
        return None if self.deadline_s is None else self.deadline_s - time.monotonic()


class Reply(Protocol):
    """Whom a unary call's end is told, once: what is said when it has ended is passed over."""

    @property
    def ended(self) -> bool:
        """It was told, or nobody waits any more: the caller is gone, or its deadline is over."""
        ...

    def answer(self, body: bytes) -> None:
        """The call's answer."""
        ...

    def fail(self, error: RpcError) -> None:
        """The call's error."""
        ...


# A transport cancels what a handler returned when its caller is gone or its deadline is over.
UnaryHandler = Callable[[bytes, Call], Awaitable[bytes]]
# The same without a task or a future, which cost a call some 10 and 3 us. It may raise RpcError, and then says no more.
UnaryBegin = Callable[[bytes, Call, Reply], None]
BidiHandler = Callable[[AsyncIterator[bytes], Call], AsyncIterator[bytes]]
# Asked as soon as a call's header is here: an error refuses the call before its body is read, at a third of the price.
Gate = Callable[[Call], RpcError | None]


class Unary(NamedTuple):
    """One request, one answer. Raises RpcError and nothing else. `begin`: for who needs no future."""

    path: str  # "/tact.v1.DecisionService/Decide"
    handler: UnaryHandler
    kind: Literal["unary"] = "unary"
    gate: Gate | None = None
    begin: UnaryBegin | None = None


class Bidi(NamedTuple):
    """A stream of requests, a stream of answers. Raises RpcError and nothing else."""

    path: str
    handler: BidiHandler
    kind: Literal["bidi"] = "bidi"


Method = Unary | Bidi
MAX_MESSAGE_BYTES = 20 << 20  # 1,000 events with a text of 16 KiB each
DOMAIN = "tact.v1"


def error_info(reason: str, **metadata: str) -> error_details_pb2.ErrorInfo:
    """The one ErrorInfo that every error carries; `reason` is what programs branch on."""
    return error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata)


def going_away() -> RpcError:
    """Refused, not begun: the server is about to stop. Clients retry this elsewhere."""
    return RpcError(Code.UNAVAILABLE, "the server is going away", [error_info("GOING_AWAY")])


def deadline_exceeded(started: bool) -> RpcError:
    """The call's time is over. `started` says whether anything may have been done for it."""
    message = "the deadline passed while the call was served" if started else "the deadline had passed on arrival"
    return RpcError(Code.DEADLINE_EXCEEDED, message, [error_info("DEADLINE_EXCEEDED", started=str(started).lower())])


def cancelled() -> RpcError:
    """The work was cancelled from within."""
    return RpcError(Code.CANCELLED, "the call was cancelled")


def cannot_listen(host: str, port: int) -> OSError:
    """What a transport raises where it cannot bind."""
    shown = f"[{host}]" if ":" in host else host
    return OSError(f"cannot listen on {shown}:{port}: it is in use or not an address of this machine")


class Awaited:
    """A reply to be waited for."""

    __slots__ = ("future",)

    def __init__(self) -> None:
        self.future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    @property
    def ended(self) -> bool:
        return self.future.done()

    def answer(self, body: bytes) -> None:
        if not self.future.done():
            self.future.set_result(body)

    def fail(self, error: RpcError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


def awaited(begin: UnaryBegin) -> UnaryHandler:
    """The handler that `begin` is, for those who wait."""

    def handler(payload: bytes, call: Call) -> asyncio.Future[bytes]:
        reply = Awaited()
        begin(payload, call, reply)
        return reply.future

    return handler


class Transport(Protocol):
    """Serves a table of methods on one address."""

    async def start(self) -> str:
        """Binds and serves; returns HOST:PORT as bound. Raises OSError where it cannot bind."""
        ...

    async def stop(self, grace_s: float) -> None:
        """Accepts nothing new, lets accepted calls finish for up to `grace_s`, then cuts them off."""
        ...
