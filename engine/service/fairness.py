"""Turns among connections: whoever sends much waits for its own, not others for it.

Deficit round robin (Shreedhar and Varghese, SIGCOMM 1995): each connection gets `quantum` items a round, whether they
are single calls or parts of a batch; a batch that is larger saves its rounds up. O(1) per entry.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")

QUANTUM = 64


class Turns(Generic[T]):
    """Entries of a size each, kept per connection (`peer`), taken out in turns; one peer's stay in order."""

    def __init__(self, quantum: int = QUANTUM) -> None:
        self._quantum = quantum
        self._queues: dict[str, deque[tuple[int, T]]] = {}
        self._saved: dict[str, int] = {}
        self._round: deque[str] = deque()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def put(self, peer: str, size: int, entry: T) -> None:
        """Puts an entry behind its peer's others."""
        queue = self._queues.get(peer)
        if queue is None:
            self._queues[peer] = queue = deque()
            self._saved[peer] = self._quantum
            self._round.append(peer)
        queue.append((size, entry))
        self._length += 1

    def next(self) -> tuple[str, int, T]:
        """Peer, size and entry of whose turn it is; stays until `pop`. Raises IndexError where nothing waits."""
        while True:
            peer = self._round[0]
            size, entry = self._queues[peer][0]
            if self._saved[peer] >= size:
                return peer, size, entry
            self._saved[peer] += self._quantum
            self._round.rotate(-1)

    def pop(self) -> None:
        """Takes out what `next` has shown."""
        peer, size, _ = self.next()
        queue = self._queues[peer]
        queue.popleft()
        self._length -= 1
        self._saved[peer] -= size
        if not queue:  # who comes again begins anew, behind the others
            del self._queues[peer], self._saved[peer]
            self._round.popleft()


class Pace:
    """How many items a second come out of the pipeline while it has work. Times in seconds, given by the caller."""

    def __init__(self, every_s: float = 0.1, weight: float = 0.3) -> None:
        self.per_s = 0.0  # 0: not known yet
        self._every_s = every_s
        self._weight = weight
        self._items = 0
        self._busy_s = 0.0  # of this measurement, before `_since_s`
        self._since_s = 0.0

    def start(self, now_s: float) -> None:
        """There is work again."""
        self._since_s = now_s

    def done(self, items: int, now_s: float, idle: bool) -> None:
        """So many are out; `idle`: and nothing is left."""
        self._items += items
        busy_s = self._busy_s + now_s - self._since_s
        if busy_s >= self._every_s:
            latest = self._items / busy_s
            self.per_s += (latest - self.per_s) * (self._weight if self.per_s else 1.0)
            self._items, self._busy_s, self._since_s = 0, 0.0, now_s
        elif idle:
            self._busy_s = busy_s
