"""What all connections of one server share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.transport.http2.deadlines import Deadlines
from engine.transport.http2.heads import Heads
from engine.transport.http2.limits import Limits

if TYPE_CHECKING:
    from engine.transport.http2.connection import Connection


@dataclass(slots=True, eq=False)
class Shared:
    """`now_s` is a clock that moves with the ticks, once a second: enough for everything but deadlines."""

    heads: Heads
    limits: Limits
    loop: asyncio.AbstractEventLoop
    deadlines: Deadlines
    now_s: float
    held: int = 0  # bytes of requests that wait in any connection
    connections: set[Connection] = field(default_factory=set)
    idle: asyncio.Event = field(default_factory=asyncio.Event)  # set while there are no connections
