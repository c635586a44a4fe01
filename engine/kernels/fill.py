"""The inputs of a batch's expressions: from requests, profiles and windows to the columns that `evaluate` reads.

A text becomes its code: the one it has among the constants of the rules, or the next free one of the batch,
the same for equal texts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.kernels.compiled import kernel
from engine.kernels.names import Names, find, hash_of
from engine.kernels.operations import DAY_MAX, DAY_MIN, TIME_MAX_S, TIME_MIN_S

I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]

FEATURE, ATTRIBUTE, WINDOW, OCCURRED, KIND, NOW = range(6)  # sources
BOOL, INTEGER, NUMBER, TEXT, TIME, MONEY, DURATION, DATE = range(8)  # types
OK, GIVEN = 1, 2
MISSING, STALE, DEFAULTED, WRITTEN = range(4)  # states of features
INCOMPLETE = 2  # the third of windows, which have no defaults


class Loads(NamedTuple):
    """What the expressions of a plan read, by the plan's number of an event type."""

    spans: I64  # (types, 2): begin and end in `loads`
    loads: I64  # (.., 4): source, its place there, first column, type


class Codes(NamedTuple):
    """Codes of texts: of the constants, and of what a batch brings."""

    constants: Names
    codes: I64  # (constants,)
    first: int  # the first code that is free
    slots: NDArray[np.int32]  # a power of two, twice the texts of a batch at least; -1
    fresh: I64  # (room, 2): spans of the texts with codes from `first` on
    used: I64  # (1,)


class Inputs(NamedTuple):
    """Where the values of a batch are: rows are events as they came."""

    attributes: I64  # (events, A, 2)
    sent: U8  # (events, A)
    features: I64  # (events, F, 2)
    states: U8  # (events, F): MISSING ..
    windows: I64  # (events, W, 2)
    kept: U8  # (events, W): MISSING, INCOMPLETE or WRITTEN
    occurred: I64  # (events, 2): seconds and nanoseconds
    now_ms: I64  # (events,)
    types: I64  # (kinds, 2): spans of the event types' names in `data`


@kernel
def code_of(data, begin, end, codes):  # type: ignore[no-untyped-def]
    """The code of the text data[begin:end]."""
    known = find(codes.constants, data, begin, end)
    if known >= 0:
        return codes.codes[known]
    size, mask = end - begin, len(codes.slots) - 1
    slot = np.int64(hash_of(data, begin, end)) & mask
    while True:
        found = np.int64(codes.slots[slot])
        if found < 0:
            found = codes.used[0]
            codes.used[0] = found + 1
            codes.slots[slot] = found
            codes.fresh[found, 0], codes.fresh[found, 1] = begin, end
            return codes.first + found
        at = codes.fresh[found, 0]
        if codes.fresh[found, 1] - at == size:
            k = 0
            while k < size and data[at + k] == data[begin + k]:
                k += 1
            if k == size:
                return codes.first + found
        slot = (slot + 1) & mask


@kernel
def fill(order, kinds, types, loads, inputs, data, codes, cells, given):  # type: ignore[no-untyped-def]
    """Writes the inputs of every event into its row.

    order (rows,)    the event of each row; kinds (rows,) the plan's number of its type, types (rows,) the rule set's
    cells, given     as in `evaluate`, columns by rows; zero before
    """
    for row in range(len(order)):
        i = order[row]
        for at in range(loads.spans[kinds[row], 0], loads.spans[kinds[row], 1]):
            source, place = loads.loads[at, 0], loads.loads[at, 1]
            column, kind = loads.loads[at, 2], loads.loads[at, 3]
            first, second, state = np.int64(0), np.int64(0), GIVEN | OK
            if source == FEATURE:
                first, second = inputs.features[i, place, 0], inputs.features[i, place, 1]
                found = inputs.states[i, place]
                state = GIVEN | OK if found == WRITTEN else OK if found == DEFAULTED else 0
            elif source == ATTRIBUTE:
                first, second = inputs.attributes[i, place, 0], inputs.attributes[i, place, 1]
                if not inputs.sent[i, place]:
                    state = 0
            elif source == WINDOW:
                first, second = inputs.windows[i, place, 0], inputs.windows[i, place, 1]
                if inputs.kept[i, place] != WRITTEN:
                    state = 0
            elif source == OCCURRED:
                first, second = inputs.occurred[i, 0], inputs.occurred[i, 1]
            elif source == NOW:
                first, second = inputs.now_ms[i] // 1000, inputs.now_ms[i] % 1000 * 1_000_000
            else:
                first, second = inputs.types[types[row], 0], inputs.types[types[row], 1]
            if not state:
                continue
            if kind == TEXT:
                first = code_of(data, first, second, codes)
            elif (kind == TIME and not TIME_MIN_S <= first <= TIME_MAX_S) or (
                kind == DATE and not DAY_MIN <= first <= DAY_MAX
            ):
                given[column, row] = state & GIVEN
                if kind == TIME:
                    given[column + 1, row] = state & GIVEN
                continue
            cells[column, row] = first
            given[column, row] = state
            if kind in (TIME, MONEY):
                cells[column + 1, row] = second
                given[column + 1, row] = state
