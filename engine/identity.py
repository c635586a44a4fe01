"""Names and ids as hashes: one place, fixed for ever.

Names of messages, topics, channels and so on are stored as 64-bit hashes: nothing to coordinate
between revisions. Customer ids become 128-bit keyed hashes, so that neither keys nor log carry them.
BLAKE2b throughout (RFC 7693), its `person` field keeps the uses apart.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

BUCKETS = 4096  # fixed for ever: a customer's bucket is the keyed hash modulo this


class CustomerKey(NamedTuple):
    """Where a customer's keys live: the 128-bit keyed hash of the id and its bucket."""

    digest: bytes  # 16 bytes
    bucket: int  # 0 .. BUCKETS - 1

    @property
    def hex(self) -> str:
        return self.digest.hex()


@lru_cache(maxsize=65536)
def name_hash(name: str) -> int:
    """64-bit hash of a declared name; 0 is kept for 'none'."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8, person=b"tact-name").digest(), "little") or 1


def customer_key(customer_id: str, secret: bytes = b"") -> CustomerKey:
    """The keyed hash of a customer id. `secret` is the deployment's; up to 64 bytes."""
    digest = hashlib.blake2b(customer_id.encode(), digest_size=16, key=secret, person=b"tact-customer").digest()
    return CustomerKey(digest, int.from_bytes(digest[:8], "little") % BUCKETS)


def event_hash(event_id: str) -> int:
    """64-bit hash of an event id, unique enough within one customer's last day."""
    return int.from_bytes(hashlib.blake2b(event_id.encode(), digest_size=8, person=b"tact-event").digest(), "little")


def _canonical(value: object) -> bytes:
    """Type-tagged bytes of a decoded value; equal values have equal bytes."""
    if isinstance(value, bool):
        return b"b1" if value else b"b0"
    if isinstance(value, int):
        return b"i" + str(value).encode()
    if isinstance(value, float):
        return b"d" + struct.pack("<d", value)
    if isinstance(value, str):
        raw = value.encode()
        return b"t" + str(len(raw)).encode() + b":" + raw
    if isinstance(value, tuple):
        return b"l" + str(len(value)).encode() + b":" + b"".join(_canonical(v) for v in value)
    raise TypeError(f"no canonical form for {type(value).__name__}")


def fingerprint(
    event_type: str, occurred_at_ns: int | None, attributes: Mapping[str, object], max_messages: int
) -> int:
    """64-bit fingerprint of an event's decoded content, attributes sorted.

    Over decoded content and not wire bytes, which differ between honest retries (map order).
    """
    h = hashlib.blake2b(digest_size=8, person=b"tact-content")
    h.update(_canonical(event_type))
    h.update(_canonical(-1 if occurred_at_ns is None else occurred_at_ns))
    h.update(_canonical(max_messages))
    for name in sorted(attributes):
        h.update(_canonical(name))
        h.update(_canonical(attributes[name]))
    return int.from_bytes(h.digest(), "little")


class DecisionRef(NamedTuple):
    """What a decision id says: whose decision, for which event, in which slot."""

    customer: CustomerKey
    event: int
    slot: int


def decision_id(customer: CustomerKey, event: int, slot: int) -> str:
    """`<customer 32 hex>-<event 16 hex>-<slot>`: deterministic, and enough to find the record days later."""
    return f"{customer.digest.hex()}-{event:016x}-{slot}"


def parse_decision_id(text: str) -> DecisionRef | None:
    """The parts of a decision id, or None where it is not one."""
    parts = text.split("-")
    if (
        len(parts) != 3
        or len(parts[0]) != 32
        or len(parts[1]) != 16
        or not parts[2].isascii()
        or not parts[2].isdigit()
    ):
        return None
    try:
        digest = bytes.fromhex(parts[0])
        event = int(parts[1], 16)
        slot = int(parts[2])
    except ValueError:
        return None
    ref = DecisionRef(CustomerKey(digest, int.from_bytes(digest[:8], "little") % BUCKETS), event, slot)
    return ref if decision_id(*ref) == text else None
