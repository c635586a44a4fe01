"""Time as an argument: the pipeline asks a Clock, tests hand in one of their own."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where the engine's own idea of time comes from; the step's time is the store's."""

    def now_ms(self) -> int:
        """Wall clock, milliseconds since 1970."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        """Wall clock, milliseconds since 1970."""
        return time.time_ns() // 1_000_000
