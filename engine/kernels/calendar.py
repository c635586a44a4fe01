"""Calendar days in a zone, by binary search in the tables of `engine.zones`.

`evaluate.py` compiles this into itself, and numba's cache does not see changes of other files:
touch `evaluate.py` when changing this one.
"""

from __future__ import annotations

from numba import njit

_DAY_S = 86_400


@njit("int64(int64, int64, int64[::1], int64[::1], int64[::1])", cache=True, error_model="numpy", nogil=True)
def local_day(second, zone, starts, at_s, offset_s):  # type: ignore[no-untyped-def]
    """Days since 1970-01-01 on the calendar of a zone.

    `second` is UTC, far from the ends of int64; `zone` a valid id of the `ZoneTable` whose arrays follow.
    """
    low, high = starts[zone], starts[zone + 1]
    while high - low > 1:
        middle = (low + high) >> 1
        if at_s[middle] <= second:
            low = middle
        else:
            high = middle
    return (second + offset_s[low]) // _DAY_S
