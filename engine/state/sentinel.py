"""A connection to the master that sentinels name, wherever that moves.

Each attempt to connect asks the sentinels first, in turn, and then the server itself whether it is a master. While
connected they are asked again every second: where they name another, this connection is given up, so that a master
that was cut off from its sentinels is not written to for longer than that.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import replace

import hiredis

from engine.errors import StoreUnavailable
from engine.state.address import Address, Endpoint
from engine.state.connection import Connection, Wire, greeting, pack

log = logging.getLogger(__name__)

_ASK_EVERY_S = 1.0
_ANSWER_S = 0.25  # for one sentinel; another is asked then


class SentinelConnection(Connection):
    """Like `Connection`, by a service's name."""

    kinds = ("sentinel",)

    def __init__(self, address: Address, timeout_s: float = 1.0) -> None:
        super().__init__(address, timeout_s)
        sentinel = replace(
            address, username=address.sentinel_username, password=address.sentinel_password, db=0, service=""
        )
        self._sentinels = [sentinel.at(endpoint) for endpoint in address.endpoints]
        self._following: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """See `Connection.close`."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait((self._following,))
        await super().close()

    async def _open(self) -> Wire:
        master = await self._master()
        at = self.address.at(master)
        wire = await self._dial(at, greeting(at))
        [role] = await wire.send(pack(("ROLE",)), 1)
        if type(role) is not list or role[0] != b"master":
            wire.fail("it is no master")
            raise StoreUnavailable(f"the sentinels name {master}, which is no master (yet)")
        if self._following is not None:
            self._following.cancel()
        self._following = asyncio.get_running_loop().create_task(self._follow(wire, master))
        return wire

    async def _master(self) -> Endpoint:
        """What the first sentinel says that answers. Raises StoreUnavailable."""
        why = ""
        for sentinel in tuple(self._sentinels):
            try:
                async with asyncio.timeout(_ANSWER_S):
                    return await self._ask(sentinel)
            except (OSError, StoreUnavailable, TimeoutError) as error:
                why = f"{sentinel}: {error or 'no answer'}"
                self._sentinels.remove(sentinel)  # the last to be asked next time
                self._sentinels.append(sentinel)
        raise StoreUnavailable(f"no sentinel names a master of {self.address.service!r}; {why}")

    async def _ask(self, sentinel: Address) -> Endpoint:
        wire = await self._dial(sentinel, greeting(sentinel))
        try:
            command = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.address.service)
            [found] = await wire.send(pack(command), 1)
        finally:
            wire.fail("it was asked")
        if isinstance(found, hiredis.ReplyError):
            raise StoreUnavailable(str(found))
        if type(found) is not list or len(found) != 2:
            raise StoreUnavailable("it knows no such service")
        return Endpoint(found[0].decode(), int(found[1]))

    async def _follow(self, wire: Wire, master: Endpoint) -> None:
        while wire.lost is None:
            await asyncio.sleep(_ASK_EVERY_S)
            with suppress(StoreUnavailable):
                if (now := await self._master()) != master:
                    log.warning("the master of %s is %s now", self.address.service, now)
                    wire.fail(f"the master is {now} now")
