"""What this worker holds of volumes: asked of the store before it is booked, given back where it was not used."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from engine.contact.volume import Counter, Volumes
from engine.errors import StoreUnavailable
from engine.state.volume import Counters
from engine.step.group import Group

log = logging.getLogger("tact.leases")


class Leases:
    """Belongs to one event loop. `volumes` is what steps book from."""

    def __init__(self, counters: Counters) -> None:
        self.counters = counters
        self.volumes = Volumes()

    def doubt(self) -> None:
        """Believes no longer what was heard a while ago. To be called before steps, not between their turns."""
        self.volumes.doubt(asyncio.get_running_loop().time())

    def not_said(self, groups: Sequence[Group]) -> None:
        """What was booked for these groups was not committed."""
        for group in groups:
            self.volumes.give_back(group.taken)
            group.taken = []

    async def ask(self, wanted: Sequence[Counter], now_ms: int) -> None:
        """Asks for more of these counters. Raises StoreUnavailable."""
        self.volumes.forget(now_ms)
        asks = self.volumes.asks(wanted)
        if not asks:  # somebody else asked meanwhile
            return
        grants = await self.counters.lease([ask for _, ask in asks])
        for (counter, _), grant in zip(asks, grants, strict=True):
            self.volumes.granted(counter, grant, asyncio.get_running_loop().time())

    async def ask_for(self, groups: Sequence[Group], now_ms: int) -> None:
        """Asks for what these groups want, to be stepped again. Raises StoreUnavailable."""
        needed = [counter for g in groups for counter in (*g.taken, *g.wanted)]  # what was booked is given back first
        self.not_said(groups)
        await self.ask(needed, now_ms)

    async def give_back(self) -> None:
        """What is held and not used is for others again."""
        unused = self.volumes.unused()
        if unused:
            try:
                await self.counters.give_back(unused)
            except StoreUnavailable as error:
                log.warning("%s", error)
