"""grpc.health.v1: SERVING from start to drain. A store that is down degrades answers, not health:
otherwise all replicas would leave at once. Whether the store is closed, because it lost data and nobody has
acknowledged that, is a service of its own for monitors to ask: `tact.state`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from grpc_health.v1 import health_pb2

from engine.errors import NotFound
from engine.service.codec import parse
from engine.service.guard import Guard
from engine.transport import Call, Method

SERVICE = "grpc.health.v1.Health"
STATE = "tact.state"


class Health:
    """Answers for the whole server ("") and for each service by name; `closed` says whether the store is."""

    def __init__(self, services: Sequence[str], closed: Callable[[], bool]) -> None:
        self._services = frozenset(("", *services))
        self._closed = closed
        self._draining = asyncio.Event()

    def methods(self, guard: Guard) -> list[Method]:
        """The service's part of the method table."""
        return [guard.unary(f"/{SERVICE}/Check", self.check), guard.bidi(f"/{SERVICE}/Watch", self.watch)]

    def drain(self) -> None:
        """NOT_SERVING from now on; watchers are told, then their streams end."""
        self._draining.set()

    @property
    def draining(self) -> bool:
        """Whether it is NOT_SERVING."""
        return self._draining.is_set()

    async def check(self, payload: bytes, call: Call) -> bytes:
        """The present status. NOT_FOUND for a service that is not served here."""
        name = parse(health_pb2.HealthCheckRequest, payload).service
        if name == STATE:
            return self._status(self._closed())
        if name not in self._services:
            raise NotFound("no such service is served here")
        return self._status()

    async def watch(self, requests: AsyncIterator[bytes], call: Call) -> AsyncIterator[bytes]:
        """The present status, then the last one."""
        async for payload in requests:
            if parse(health_pb2.HealthCheckRequest, payload).service not in self._services:
                yield _encoded(health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
            else:
                yield self._status()
            break
        if not self._draining.is_set():
            await self._draining.wait()
            yield self._status()

    def _status(self, closed: bool = False) -> bytes:
        response = health_pb2.HealthCheckResponse
        return _encoded(response.NOT_SERVING if closed or self._draining.is_set() else response.SERVING)


def _encoded(status: int) -> bytes:
    encoded: bytes = health_pb2.HealthCheckResponse(status=status).SerializeToString()
    return encoded
