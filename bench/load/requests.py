"""Ready-made requests: serialized once, an event id of its own for each call, so that the client costs little."""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from engine.pb.tact.v1 import decision_pb2

_DIGITS = 11


class Requests:
    """An endless supply of serialized requests, those given by turns.

    Of a copy only the id's bytes change: an id that was answered before costs a server next to nothing. The time is
    left out, so that an event happens when it arrives. With `as_written` both stay.
    """

    def __init__(self, requests: Iterable[decision_pb2.DecideRequest], as_written: bool = False) -> None:
        self._next = 0
        self._run = secrets.token_hex(4).encode()
        self._as_written = as_written
        self._parts: list[tuple[bytes, bytes]] = []
        placeholder = secrets.token_hex(16)[: len(self._run) + 1 + _DIGITS]
        for request in requests:
            if as_written:
                self._parts.append((request.SerializeToString(), b""))
                continue
            request.event.event_id = placeholder
            request.event.ClearField("occurred_at")
            head, _, tail = request.SerializeToString().partition(placeholder.encode())
            self._parts.append((head, tail))

    def __len__(self) -> int:
        """How many differ by more than their id."""
        return len(self._parts)

    def one(self) -> bytes:
        """The bytes of a DecideRequest."""
        number = self._next
        self._next = number + 1
        head, tail = self._parts[number % len(self._parts)]
        return head if self._as_written else b"%b%b-%011d%b" % (head, self._run, number, tail)

    def batch(self, size: int) -> bytes:
        """The bytes of a DecideBatchRequest: repeated field 1, each a length (a varint) and a request."""
        bodies = [self.one() for _ in range(size)]
        return b"".join([b"\x0a%b%b" % (_varint(len(body)), body) for body in bodies])


def _varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + _varint(value >> 7)
