"""UTF-8, as strictly as Python decodes it: no overlong forms, no surrogates, nothing beyond U+10FFFF."""

from __future__ import annotations

import numpy as np

from engine.kernels.compiled import kernel


@kernel
def is_ascii(data, begin, end):  # type: ignore[no-untyped-def]
    """Whether data[begin:end] holds ASCII alone.

    No early exit and places without a sign, so that it is done 16 bytes at a time.
    """
    seen, place = np.uint8(0), np.uint64(begin)
    for k in range(np.uint64(max(end - begin, 0))):
        seen = np.uint8(seen | data[place + k])
    return seen < 0x80


@kernel
def valid_utf8(data, begin, end):  # type: ignore[no-untyped-def]
    """Whether data[begin:end] is UTF-8 (the table of well-formed sequences, Unicode 3.9, table 3-7).

    data is an array of uint8; reads nothing outside the range. An empty range is valid.
    """
    if is_ascii(data, begin, end):
        return True
    at = begin
    while at < end:
        first = np.int64(data[at])
        at += 1
        if first < 0x80:
            continue
        if first < 0xC2 or first > 0xF4:  # a byte that continues, an overlong form of two, beyond U+10FFFF
            return False
        more = 1 if first < 0xE0 else 2 if first < 0xF0 else 3
        if at + more > end:
            return False
        low, high = np.int64(0x80), np.int64(0xBF)  # of the second byte
        if first == 0xE0:
            low = np.int64(0xA0)  # overlong below
        elif first == 0xED:
            high = np.int64(0x9F)  # surrogates above
        elif first == 0xF0:
            low = np.int64(0x90)
        elif first == 0xF4:
            high = np.int64(0x8F)
        if data[at] < low or data[at] > high:
            return False
        for k in range(at + 1, at + more):
            if data[k] & 0xC0 != 0x80:
                return False
        at += more
    return True
