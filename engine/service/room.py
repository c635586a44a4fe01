"""Bytes that may be under way at once. Who finds no room waits, in the order of coming."""

from __future__ import annotations

import asyncio
from collections import deque


class Room:
    """`size` bytes, for all who share it."""

    def __init__(self, size: int) -> None:
        self._size = self._left = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, size: int) -> int:
        """Waits for so much room; what is larger than all of it takes all of it. Returns what is to be given back."""
        size = min(size, self._size)
        if not self._waiting and size <= self._left:
            self._left -= size
            return size
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, waiting))
        try:
            await waiting
        except asyncio.CancelledError:
            if not waiting.cancelled():  # it had its turn a moment ago
                self.give(size)
            raise
        return size

    def give(self, size: int) -> None:
        """Gives back what was taken."""
        self._left += size
        while self._waiting:
            wanted, waiting = self._waiting[0]
            if not waiting.done():
                if wanted > self._left:
                    return
                self._left -= wanted
                waiting.set_result(None)
            self._waiting.popleft()
