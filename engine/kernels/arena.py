"""What kernels know of a batch's customers: records and profiles taken apart into rows, end to end.

Row `i` of `rec` belongs to event `i`; the other arrays hold the rows of all records behind one another, and
`rec` says where each one's begin and how many they are. Behind what was read there is room for what a step
adds. A record that does not fit is left to the step in Python: a reader answers that with a status, and
nothing here ever grows.

Names and ids are unsigned 64-bit hashes, kept here in int64 with the same bits. Doubles are kept by their
bits as well. Times are ms. A span is a pair of places, begin and end, in a buffer of bytes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]

# Columns of `rec`. *_AT: first row, *_N: how many rows.
VERSION, LAST_MS, SINCE_MS = 0, 1, 2
TOUCH_AT, TOUCH_N, OPT_AT, OPT_N, ASSIGN_AT, ASSIGN_N = 3, 4, 5, 6, 7, 8
ANSWER_AT, ANSWER_N, SPILL_AT, SPILL_N, WIN_AT, WIN_N = 9, 10, 11, 12, 13, 14
REC = 16

# Columns of `touches`: the fields of state.model.Touch, in their order.
AT_MS, EVENT, SLOT, MESSAGE, VARIANT, CHANNEL, PURPOSE, TOPIC, PRODUCT, STAGE, ABOUT = range(11)
POLICY, POLICY_VERSION, SEND_BEFORE_MS, REPORT_BY_MS, FLAGS = range(11, 16)
TOUCH = 16

# Columns of `answers`: event, fingerprint, at, and the body: a span of `data`, or of the bodies that the step
# made where FRESH is 1.
A_EVENT, A_PRINT, A_AT, A_BEGIN, A_END, A_FRESH = range(6)
ANSWER = 6

# Columns of `wins`: see state.model.WindowState; its buckets and values are W_N places of `buckets` and
# `values` from W_AT on, with room for one more.
W_KEY, W_SINCE, W_USED, W_FLOAT, W_AT, W_N = range(6)
WIN = 6

# Places of `used`: how many rows of each are taken.
U_TOUCH, U_OPT, U_ASSIGN, U_ANSWER, U_SPILL, U_WIN, U_VALUE = range(7)

FINE, LEFT = 0, 1  # a record or profile was read; it is left to the step in Python


class Records(NamedTuple):
    """The records of a batch."""

    rec: I64  # (events, REC)
    touches: I64  # (room, TOUCH)
    opts: I64  # (room, 2): purpose, when
    assigned: I64  # (room, 4): policy, message, variant, share
    answers: I64  # (room, ANSWER)
    spilled: I64  # (room, 2): event, until when
    wins: I64  # (room, WIN)
    buckets: I64  # (room,)
    values: I64  # (room,): integers, or doubles by their bits
    used: I64  # (7,)


def records(events: int, windows: int, values: int = 0) -> Records:
    """Room for the records of so many events, under a rule set of so many windows with so many values in all.

    Memory that is not written costs nothing.
    """
    kept = 4096 + (16 + max(values, 32 * windows)) * events

    def rows(count: int, width: int) -> I64:
        return np.empty((count, width), np.int64)

    room = 1024 + 64 * events
    return Records(
        rec=np.zeros((events, REC), np.int64),
        touches=rows(room, TOUCH),
        opts=rows(256 + 8 * events, 2),
        assigned=rows(256 + 16 * events, 4),
        answers=rows(room, ANSWER),
        spilled=rows(room, 2),
        wins=rows(256 + (2 * windows + 4) * events, WIN),
        buckets=np.empty(kept, np.int64),
        values=np.empty(kept, np.int64),
        used=np.zeros(7, np.int64),
    )
