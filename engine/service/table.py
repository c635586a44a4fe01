"""The whole method table: what a transport serves."""

from __future__ import annotations

from collections.abc import Callable

from engine.columns.lane import Lane
from engine.columns.put_lane import PutLane
from engine.decider import Decider
from engine.metrics import Metrics
from engine.pb.tact.v1 import profile_pb2  # noqa: F401  (reflection describes what is loaded)
from engine.revisions import Revisions
from engine.service import health, reflection
from engine.service.decision import DecisionService
from engine.service.guard import Guard
from engine.service.health import Health
from engine.service.limiter import Limiter
from engine.service.profiles import ProfileService
from engine.service.reflection import Reflection
from engine.service.rules import RuleService
from engine.transport import Method, Unary

SERVICES = ("tact.v1.DecisionService", "tact.v1.ProfileService", "tact.v1.RuleService")
MAX_ITEMS_IN_FLIGHT = 8192


class Table:
    """The methods of all services, and the order in which they let go."""

    def __init__(
        self,
        decider: Decider,
        revisions: Revisions,
        metrics: Metrics | None = None,
        max_items_in_flight: int = MAX_ITEMS_IN_FLIGHT,
        lane: Lane | None = None,
        puts: PutLane | None = None,
        closed: Callable[[], bool] = lambda: False,
    ) -> None:
        active = revisions.active
        limiter = Limiter(max_items_in_flight)
        guard = Guard(metrics.called if metrics else None)
        plain = Guard()
        self._guard = guard
        self._health = Health(SERVICES, closed)
        self._decisions = DecisionService(decider, active, revisions, limiter, lane)
        described = (*SERVICES, health.SERVICE, reflection.SERVICES[1])
        self.methods: list[Method] = [
            *_gated(limiter, self._decisions.methods(guard)),
            *_gated(limiter, ProfileService(decider, active, limiter, puts).methods(guard)),
            *RuleService(revisions).methods(guard),
            *self._health.methods(plain),
            *Reflection(described).methods(plain),
        ]

    def lame_duck(self) -> None:
        """Health goes NOT_SERVING, so that balancers look elsewhere; everything still works."""
        self._health.drain()

    @property
    def draining(self) -> bool:
        """Whether balancers were told to look elsewhere."""
        return self._health.draining

    def close_streams(self) -> None:
        """Streams answer what they took, and end."""
        self._decisions.drain()

    async def settle(self) -> None:
        """Waits for work that outlived its call."""
        await self._guard.settle()


def _gated(limiter: Limiter, methods: list[Method]) -> list[Method]:
    return [method._replace(gate=limiter.gate) if isinstance(method, Unary) else method for method in methods]
