"""Which slot of a cluster a key is in, and a command.

Our keys carry their bucket as a hash tag, so a bucket is in one slot for ever: CRC-16 (XMODEM) of its number in
decimal, modulo 16,384. The 4,096 buckets lie in 3,962 slots; over 3 to 12 nodes with equal ranges the fullest has
5 % more than its part.
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Sequence

import hiredis

from engine.identity import BUCKETS
from engine.state.connection import Command, Part, Reply

SLOTS = 16_384
_KEY_AT: dict[Part, int] = {"EVAL": 3, "EVALSHA": 3, "XINFO": 2}  # where a command's first key is, if not at 1


def slot_of(key: bytes) -> int:
    """The slot of any key: of its hash tag, where it has one."""
    begin = key.find(b"{") + 1
    end = key.find(b"}", begin) if begin else -1
    return crc_hqx(key[begin:end] if end > begin else key, 0) % SLOTS


SLOT_OF_BUCKET = tuple(slot_of(b"{%d}" % bucket) for bucket in range(BUCKETS))


def split(command: Command) -> list[tuple[int, Command]]:
    """A command with its slot; an XREAD of many streams as one for each slot."""
    name = command[0]
    if name != "XREAD":
        return [(_slot(command[_KEY_AT.get(name, 1)]), command)]
    at = command.index("STREAMS") + 1
    middle = at + (len(command) - at) // 2
    by_slot: dict[int, list[int]] = {}
    for place in range(at, middle):
        by_slot.setdefault(_slot(command[place]), []).append(place)
    parts = []
    for slot, places in by_slot.items():
        ids = [command[place + middle - at] for place in places]
        parts.append((slot, (*command[:at], *(command[place] for place in places), *ids)))
    return parts


def joined(replies: Sequence[Reply]) -> Reply:
    """The reply to a command that was split: the streams of all parts, or the first error."""
    if len(replies) == 1:
        return replies[0]
    found: list[Reply] = []
    for reply in replies:
        if isinstance(reply, hiredis.ReplyError):
            return reply
        found += reply or ()
    return found or None


def _slot(key: Part) -> int:
    return slot_of(key if isinstance(key, bytes) else str(key).encode())
