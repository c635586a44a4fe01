"""Which slot of a cluster a key is in.

Our keys carry their bucket as a hash tag, so a bucket is in one slot for ever: CRC-16 (XMODEM) of its number in
decimal, modulo 16,384. The 4,096 buckets lie in 3,962 slots; over 3 to 12 nodes with equal ranges the fullest has
5 % more than its part.
"""

from __future__ import annotations

from binascii import crc_hqx

from engine.identity import BUCKETS

SLOTS = 16_384


def slot_of(key: bytes) -> int:
    """The slot of any key: of its hash tag, where it has one."""
    begin = key.find(b"{") + 1
    end = key.find(b"}", begin) if begin else -1
    return crc_hqx(key[begin:end] if end > begin else key, 0) % SLOTS


SLOT_OF_BUCKET = tuple(slot_of(b"{%d}" % bucket) for bucket in range(BUCKETS))
