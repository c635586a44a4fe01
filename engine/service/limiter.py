"""Bounds the work in flight: what is above is refused at once, not queued."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from engine.errors import Overloaded


class Limiter:
    """At most `capacity` items (events, reports, profiles) at once."""

    def __init__(self, capacity: int, retry_delay_ms: int = 100) -> None:
        self.capacity = capacity
        self.in_flight = 0
        self._retry_delay_ms = retry_delay_ms

    def enter(self, items: int) -> None:
        """Takes `items` places. Raises Overloaded; a batch larger than all fits an idle server."""
        if self.in_flight and self.in_flight + items > self.capacity:
            what = f"{self.in_flight} items are in flight, at most {self.capacity} are taken"
            raise Overloaded(what, self._retry_delay_ms)
        self.in_flight += items

    def leave(self, items: int) -> None:
        """Gives places back."""
        self.in_flight -= items

    @contextmanager
    def take(self, items: int = 1) -> Iterator[None]:
        """Holds `items` places meanwhile. Raises Overloaded."""
        self.enter(items)
        try:
            yield
        finally:
            self.leave(items)
