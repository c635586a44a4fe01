"""The method table through grpc.aio: the plain transport, and the reference for any other.

Generic handlers carry bytes; nothing is generated per method. Limits on work in flight are the
service's: grpc's own `maximum_concurrent_rpcs` stops limiting after its first refusals (grpc#41531).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc

from engine.transport import (
    MAX_MESSAGE_BYTES,
    Bidi,
    Call,
    Code,
    Method,
    RpcError,
    Unary,
    cancelled,
    cannot_listen,
    error_info,
    going_away,
)
from engine.transport.tls import Tls, ssl_context

logger = logging.getLogger(__name__)

_STATUS = {code.value[0]: code for code in grpc.StatusCode}
_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", -1),
    # Above 1,000 calls waiting to be taken grpc would begin to cancel at random, without a status that
    # clients retry; the service's own limiter refuses first, with a delay.
    ("grpc.server.max_pending_requests", 50_000),
    ("grpc.server.max_pending_requests_hard_limit", 100_000),
    # Dead peers are found, idle connections closed after 15 min; the default is never.
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_connection_idle_ms", 900_000),
)


_QUIET_S = 0.05
_QUIET_TRIES = 10


@dataclass(slots=True)
class _Gate:
    """Lets calls in, or refuses them; counts who came."""

    arrived: int = 0
    closed: bool = False

    def enter(self) -> None:
        self.arrived += 1
        if self.closed:
            raise going_away()


class GrpcioTransport:
    """Serves `methods` at `host:port`; port 0 takes a free one. `options` are grpc's own."""

    def __init__(
        self,
        methods: Sequence[Method],
        host: str,
        port: int,
        *,
        reuse_port: bool = False,
        tls: Tls | None = None,
        options: Sequence[tuple[str, int]] = (),
    ) -> None:
        self._methods = methods
        self._host = f"[{host}]" if ":" in host else host
        self._port = port
        self._reuse_port = reuse_port
        self._tls = tls
        self._options = options
        self._server: grpc.aio.Server | None = None
        self._gate = _Gate()

    async def start(self) -> str:
        """Binds and serves; returns HOST:PORT as bound. Raises OSError where it cannot bind."""
        credentials = _credentials(self._tls) if self._tls is not None else None
        options = (*_OPTIONS, *self._options, ("grpc.so_reuseport", int(self._reuse_port)))
        server = grpc.aio.server(handlers=[_Table(self._methods, self._gate)], options=options)
        address = f"{self._host}:{self._port}"
        try:
            if credentials is None:
                port = server.add_insecure_port(address)
            else:
                port = server.add_secure_port(address, credentials)
        except RuntimeError as error:  # what grpc says of any address it cannot bind
            await server.stop(None)
            raise cannot_listen(self._host.strip("[]"), self._port) from error
        await server.start()
        self._server = server
        return f"{self._host}:{port}"

    async def stop(self, grace_s: float) -> None:
        """Accepts nothing new, lets accepted calls finish for up to `grace_s`, then cuts them off."""
        if self._server is None:
            return
        # What grpc has received but not yet handed over when it stops ends as CANCELLED, which clients do
        # not retry. So new calls are refused as UNAVAILABLE first, until none come (or half a second).
        self._gate.closed = True
        for _ in range(_QUIET_TRIES):
            before = self._gate.arrived
            await asyncio.sleep(_QUIET_S)
            if self._gate.arrived == before:
                break
        await self._server.stop(grace_s)
        self._server = None


def _credentials(tls: Tls) -> Any:
    ssl_context(tls)  # says what is wrong with the files; grpc would only fail its handshakes
    authority = tls.client_ca.read_bytes() if tls.client_ca is not None else None
    pair = (tls.key.read_bytes(), tls.cert.read_bytes())
    return grpc.ssl_server_credentials([pair], authority, require_client_auth=authority is not None)


class _Table(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, methods: Sequence[Method], gate: _Gate) -> None:
        self._handlers = {method.path: _handler(method, gate) for method in methods}

    def service(self, handler_call_details: Any) -> Any:
        known = self._handlers.get(handler_call_details.method)
        return known if known is not None else _unknown(handler_call_details.method)


def _unknown(path: str) -> Any:
    async def handle(payload: bytes, context: Any) -> bytes | None:
        error = RpcError(Code.UNIMPLEMENTED, f"no method {path} is served", [error_info("UNIMPLEMENTED")])
        await _abort(context, error)
        return None

    return grpc.unary_unary_rpc_method_handler(handle)


def _handler(method: Method, gate: _Gate) -> Any:
    if isinstance(method, Unary):
        return grpc.unary_unary_rpc_method_handler(_unary(method, gate))
    return grpc.stream_stream_rpc_method_handler(_bidi(method, gate))


def _call(context: Any) -> Call:
    remaining = context.time_remaining()
    deadline = None if remaining is None else time.monotonic() + remaining
    return Call(deadline, context.invocation_metadata() or (), context.peer())


async def _abort(context: Any, error: RpcError) -> None:
    """Ends the call with this error; raises what grpc wants raised."""
    trailer = (("grpc-status-details-bin", error.status().SerializeToString()),)
    await context.abort(_STATUS[error.code], error.message, trailer)


async def _broken(context: Any, path: str) -> None:
    logger.exception("the handler of %s broke its promise to raise RpcError only", path)
    await _abort(context, RpcError(Code.INTERNAL, "internal error"))


def _unary(method: Unary, gate: _Gate) -> Any:
    async def handle(payload: bytes, context: Any) -> bytes | None:
        try:
            gate.enter()
            call = _call(context)
            if method.gate is not None and (refusal := method.gate(call)) is not None:
                await _abort(context, refusal)
            return await method.handler(payload, call)
        except RpcError as error:
            await _abort(context, error)
        except asyncio.CancelledError:  # escaping, it would leave the caller waiting (grpc#29248)
            await _abort(context, cancelled())
        except Exception:
            await _broken(context, method.path)
        return None

    return handle


def _bidi(method: Bidi, gate: _Gate) -> Any:
    async def handle(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        answers = method.handler(requests, _call(context))
        try:
            gate.enter()
            async for answer in answers:
                yield answer
        except RpcError as error:
            await _abort(context, error)
        except asyncio.CancelledError:
            await _abort(context, cancelled())
        except Exception:
            await _broken(context, method.path)
        finally:
            await answers.aclose()  # type: ignore[attr-defined]

    return handle
