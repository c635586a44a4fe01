"""BLAKE2b (RFC 7693), to hash a batch's ids where they lie; equal to hashlib's.

What is the same for all messages of one use - size, key and person - is hashed once, by `start`.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from engine.kernels.compiled import kernel

_U = np.uint64
_BLOCK = 128  # bytes
_KEY_BYTES, _PERSON_BYTES = 64, 16  # at most
_ALL = _U(0xFFFFFFFFFFFFFFFF)
_IV = (
    _U(0x6A09E667F3BCC908), _U(0xBB67AE8584CAA73B), _U(0x3C6EF372FE94F82B), _U(0xA54FF53A5F1D36F1),
    _U(0x510E527FADE682D1), _U(0x9B05688C2B3E6C1F), _U(0x1F83D9ABFB41BD6B), _U(0x5BE0CD19137E2179),
)  # fmt: skip


def start(size: int, key: bytes, person: bytes) -> NDArray[np.uint64]:
    """The state before the first byte of a message, as `digest` takes it.

    size: bytes of the digest, 1 to 64; key: up to 64 bytes, none without; person: up to 16.
    """
    if not (1 <= size <= 64 and len(key) <= _KEY_BYTES and len(person) <= _PERSON_BYTES):
        raise ValueError(f"no BLAKE2b of {size} bytes with {len(key)} bytes of key and {len(person)} of person")
    parameters = bytearray(64)
    parameters[:4] = size, len(key), 1, 1  # fanout and depth: no tree
    parameters[48 : 48 + len(person)] = person
    state = np.zeros(10, np.uint64)
    state[:8] = np.array(_IV) ^ np.frombuffer(bytes(parameters), "<u8")
    if key:
        _compress(state, np.frombuffer(key.ljust(_BLOCK, b"\0"), np.uint8), 0, _BLOCK, _U(_BLOCK), _U(0))
        state[8] = _BLOCK
    return state


@kernel
def digest(start, buffer, begin, end, out):  # type: ignore[no-untyped-def]
    """Hashes buffer[begin:end], of uint8, from a `start` on; it must not be empty where that has a key.

    start: uint64[10], eight words of state and the bytes they have taken in. out: uint64[8], the digest as
    little-endian words; of a digest of n bytes the first n are meant.
    """
    for k in range(8):
        out[k] = start[k]
    taken = start[8]
    while end - begin > _BLOCK:
        taken += _U(_BLOCK)
        _compress(out, buffer, begin, end, taken, _U(0))
        begin += _BLOCK
    _compress(out, buffer, begin, end, taken + _U(end - begin), _ALL)


@njit(cache=True, error_model="numpy", forceinline=True)
def _word(buffer, at, end):  # type: ignore[no-untyped-def]
    """The eight bytes at a place as a word; what is not below `end` counts as zero."""
    if at + 8 <= end:  # written out, and by places without a sign, so that LLVM makes one load of it
        p = _U(at)
        return (
            _U(buffer[p])
            | _U(buffer[p + _U(1)]) << _U(8)
            | _U(buffer[p + _U(2)]) << _U(16)
            | _U(buffer[p + _U(3)]) << _U(24)
            | _U(buffer[p + _U(4)]) << _U(32)
            | _U(buffer[p + _U(5)]) << _U(40)
            | _U(buffer[p + _U(6)]) << _U(48)
            | _U(buffer[p + _U(7)]) << _U(56)
        )
    word = _U(0)
    for k in range(end - at - 1, -1, -1):
        word = word << _U(8) | _U(buffer[at + k])
    return word


@njit(cache=True, error_model="numpy", forceinline=True)
def _mix(a, b, c, d, x, y):  # type: ignore[no-untyped-def]
    """The function G of the RFC, 3.1."""
    a += b + x
    d ^= a
    d = d >> _U(32) | d << _U(32)
    c += d
    b ^= c
    b = b >> _U(24) | b << _U(40)
    a += b + y
    d ^= a
    d = d >> _U(16) | d << _U(48)
    c += d
    b ^= c
    return a, b >> _U(63) | b << _U(1), c, d


@njit(cache=True, error_model="numpy", forceinline=True)
def _round(v, m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14, m15):  # type: ignore[no-untyped-def]
    """One round over the working vector, its message words in the round's order."""
    v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11, v12, v13, v14, v15 = v
    v0, v4, v8, v12 = _mix(v0, v4, v8, v12, m0, m1)
    v1, v5, v9, v13 = _mix(v1, v5, v9, v13, m2, m3)
    v2, v6, v10, v14 = _mix(v2, v6, v10, v14, m4, m5)
    v3, v7, v11, v15 = _mix(v3, v7, v11, v15, m6, m7)
    v0, v5, v10, v15 = _mix(v0, v5, v10, v15, m8, m9)
    v1, v6, v11, v12 = _mix(v1, v6, v11, v12, m10, m11)
    v2, v7, v8, v13 = _mix(v2, v7, v8, v13, m12, m13)
    v3, v4, v9, v14 = _mix(v3, v4, v9, v14, m14, m15)
    return v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11, v12, v13, v14, v15


@kernel
def _compress(state, buffer, at, end, taken, last):  # type: ignore[no-untyped-def]
    """Takes the block at a place into the state. `taken`: bytes so far, this block's too; `last`: all ones, or 0."""
    m0, m1, m2, m3 = (
        _word(buffer, at, end), _word(buffer, at + 8, end), _word(buffer, at + 16, end), _word(buffer, at + 24, end),
    )  # fmt: skip
    m4, m5, m6, m7 = (
        _word(buffer, at + 32, end), _word(buffer, at + 40, end), _word(buffer, at + 48, end),
        _word(buffer, at + 56, end),
    )  # fmt: skip
    m8, m9, m10, m11 = (
        _word(buffer, at + 64, end), _word(buffer, at + 72, end), _word(buffer, at + 80, end),
        _word(buffer, at + 88, end),
    )  # fmt: skip
    m12, m13, m14, m15 = (
        _word(buffer, at + 96, end), _word(buffer, at + 104, end), _word(buffer, at + 112, end),
        _word(buffer, at + 120, end),
    )  # fmt: skip
    v = (
        state[0], state[1], state[2], state[3], state[4], state[5], state[6], state[7],
        _IV[0], _IV[1], _IV[2], _IV[3], _IV[4] ^ taken, _IV[5], _IV[6] ^ last, _IV[7],
    )  # fmt: skip
    v = _round(v, m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14, m15)
    v = _round(v, m14, m10, m4, m8, m9, m15, m13, m6, m1, m12, m0, m2, m11, m7, m5, m3)
    v = _round(v, m11, m8, m12, m0, m5, m2, m15, m13, m10, m14, m3, m6, m7, m1, m9, m4)
    v = _round(v, m7, m9, m3, m1, m13, m12, m11, m14, m2, m6, m5, m10, m4, m0, m15, m8)
    v = _round(v, m9, m0, m5, m7, m2, m4, m10, m15, m14, m1, m11, m12, m6, m8, m3, m13)
    v = _round(v, m2, m12, m6, m10, m0, m11, m8, m3, m4, m13, m7, m5, m15, m14, m1, m9)
    v = _round(v, m12, m5, m1, m15, m14, m13, m4, m10, m0, m7, m6, m3, m9, m2, m8, m11)
    v = _round(v, m13, m11, m7, m14, m12, m1, m3, m9, m5, m0, m15, m4, m8, m6, m2, m10)
    v = _round(v, m6, m15, m14, m9, m11, m3, m0, m8, m12, m2, m13, m7, m1, m4, m10, m5)
    v = _round(v, m10, m2, m8, m4, m7, m6, m1, m5, m15, m11, m9, m14, m3, m12, m13, m0)
    v = _round(v, m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14, m15)
    v = _round(v, m14, m10, m4, m8, m9, m15, m13, m6, m1, m12, m0, m2, m11, m7, m5, m3)
    for k in range(8):
        state[k] ^= v[k] ^ v[k + 8]
