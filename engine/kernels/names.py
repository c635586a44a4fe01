"""A table of byte strings, such as the names that a rule set declares, which kernels search by hash."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compiled import kernel, part

_U = np.uint64
_BASIS, _PRIME = _U(0xCBF29CE484222325), _U(0x100000001B3)  # FNV-1a, 64 bits


class Names(NamedTuple):
    """Byte strings by number, in the order in which they were given. Not to be changed."""

    bytes: NDArray[np.uint8]  # all, end to end
    spans: NDArray[np.int64]  # (names, 2): begin and end in `bytes`
    slots: NDArray[np.int32]  # a power of two, more than the names: the number at its hash or behind, else -1


def names(given: Sequence[bytes]) -> Names:
    """A table of these; of equal ones the first is found."""
    ends = np.cumsum([0, *map(len, given)], dtype=np.int64)
    spans = np.ascontiguousarray(np.column_stack((ends[:-1], ends[1:])))
    slots = np.full(1 << (2 * len(given)).bit_length(), -1, np.int32)
    table = Names(np.frombuffer(b"".join(given), np.uint8).copy(), spans, slots)
    _fill(table)
    return table


@kernel
def hash_of(buffer, begin, end):  # type: ignore[no-untyped-def]
    """A hash of buffer[begin:end], uint64; for tables in memory only."""
    hashed = _BASIS
    for at in range(begin, end):
        hashed = (hashed ^ _U(buffer[at])) * _PRIME
    return hashed ^ (hashed >> _U(32))


@kernel
def find(names, buffer, begin, end):  # type: ignore[no-untyped-def]
    """The number of the name that is buffer[begin:end], of uint8, or -1 where none is."""
    size = end - begin
    slot = _slot(names, buffer, begin, end)
    while True:
        found = np.int64(names.slots[slot])
        if found < 0:
            return found
        at = names.spans[found, 0]
        if names.spans[found, 1] - at == size:
            k = 0
            while k < size and names.bytes[at + k] == buffer[begin + k]:
                k += 1
            if k == size:
                return found
        slot = (slot + 1) & (len(names.slots) - 1)  # less than half are taken, so there is an end


@part
def _slot(names, buffer, begin, end):  # type: ignore[no-untyped-def]
    """The slot at which a name is searched first."""
    return np.int64(hash_of(buffer, begin, end) & _U(len(names.slots) - 1))


@kernel
def _fill(names):  # type: ignore[no-untyped-def]
    """Puts every name into a slot."""
    for number in range(len(names.spans)):
        begin, end = names.spans[number, 0], names.spans[number, 1]
        if find(names, names.bytes, begin, end) >= 0:
            continue
        slot = _slot(names, names.bytes, begin, end)
        while names.slots[slot] >= 0:
            slot = (slot + 1) & (len(names.slots) - 1)
        names.slots[slot] = number
