"""A TCP proxy in front of a store: what a network does to it. Requests and replies can be treated differently.

Everything can be switched while connections are open, and holds for those from then on.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit


@dataclass
class Proxy:
    """Listens on loopback, in front of a store at a redis:// or unix:// address.

    `hole`: nothing passes; it is kept and delivered once there is no hole any more, also where one side has gone
    meanwhile, as packets that were on their way are. `drop_replies`: requests arrive, replies do not, from then on
    on connections that had one to bring: TCP loses no bytes in the middle.
    `delay_s`, `jitter_s`: how much later replies arrive, the second at random up to that. `cut_after`: bytes of
    replies after which a connection ends, drawn up to twice that. `change`: what becomes of a piece of replies.
    """

    target: str
    seed: int = 1
    hole: bool = False
    drop_replies: bool = False
    delay_s: float = 0.0
    jitter_s: float = 0.0
    cut_after: int = 0
    change: Callable[[bytes], bytes] | None = None
    url: str = ""
    cuts: int = 0
    changed: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _server: asyncio.Server | None = None

    async def start(self) -> str:
        """The address to give to whoever is to be troubled."""
        self._chance = random.Random(self.seed)
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        password = urlsplit(self.target).password
        self.url = f"redis://{f':{password}@' if password else ''}127.0.0.1:{port}"
        return self.url

    async def stop(self) -> None:
        """Closes all connections."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def calm(self) -> None:
        """No trouble any more."""
        self.hole = self.drop_replies = False
        self.delay_s = self.jitter_s = 0.0
        self.cut_after, self.change = 0, None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parts = urlsplit(self.target)
        try:
            if parts.scheme == "unix":
                there = await asyncio.open_unix_connection(unquote(parts.path))
            else:
                there = await asyncio.open_connection(parts.hostname, parts.port)
        except OSError:
            writer.transport.abort()
            return
        both = (writer, there[1])
        for pump in (self._requests(reader, there[1]), self._replies(there[0], writer, both)):
            self._tasks.add(task := asyncio.ensure_future(pump))
            task.add_done_callback(self._tasks.discard)

    async def _through(self) -> None:
        while self.hole:  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                await self._through()
                _write(writer, data)
            await self._through()
        writer.close()  # whatever came before the end is delivered first

    async def _replies(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, both: tuple[asyncio.StreamWriter, ...]
    ) -> None:
        left = self._chance.randrange(2 * self.cut_after) if self.cut_after else -1
        loop, due_s, mute = asyncio.get_running_loop(), 0.0, False
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                await self._through()
                mute = mute or self.drop_replies
                if mute:
                    continue
                if self.change is not None:
                    before, data = data, self.change(data)
                    self.changed += before != data
                if self.cut_after and left < 0:
                    left = self._chance.randrange(2 * self.cut_after)
                if self.cut_after:
                    data, left = data[:left], left - len(data)
                    if left <= 0:
                        _write(writer, data)
                        self.cuts += 1
                        break
                if self.delay_s or self.jitter_s:  # a line that is longer, not one that carries less
                    due_s = max(due_s, loop.time() + self.delay_s + self._chance.random() * self.jitter_s)
                    loop.call_at(due_s, _write, writer, data)
                else:
                    _write(writer, data)
        for one in both:
            with suppress(OSError):
                one.close()


def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    if not writer.is_closing():
        writer.write(data)
