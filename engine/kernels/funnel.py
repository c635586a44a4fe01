"""The funnel: which messages pass trigger, eligibility and audience, and which got furthest.

Works on the planes that `evaluate` hands back, 64 events to a word.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from engine.kernels.blocks import LOWEST

_U = np.uint64
_ALL = _U(0xFFFFFFFFFFFFFFFF)
_BITS = "uint64[:, ::1]"
ELIGIBILITY, WHEN, UNLESS = 1, 2, 3  # the filter at which a message stopped


@njit(f"uint64(int32[:, ::1], int32[::1], int64, {_BITS}, int64, uint64)", cache=True, error_model="numpy")
def _eligible(messages, eligible, m, trues, w, live):  # type: ignore[no-untyped-def]
    """Events that meet the eligibility of a message."""
    for j in range(messages[m, 0], messages[m, 1]):
        live &= trues[w, eligible[j]]
    return live


@njit(f"uint64(int32[:, ::1], int64, {_BITS}, int64, uint64)", cache=True, error_model="numpy")
def _heard(messages, m, trues, w, alive):  # type: ignore[no-untyped-def]
    """Those of `alive` in the audience of a message."""
    return alive & trues[w, messages[m, 2]] if messages[m, 2] >= 0 else alive


@njit(
    f"uint64(uint32[:, ::1], int64, int64, {_BITS}, int64, uint64, int32[::1], uint64[::1], int64[::1], uint64[::1])",
    cache=True,
    error_model="numpy",
)
def _pass(listening, begin, end, trues, w, live, hits, masks, total, sums):  # type: ignore[no-untyped-def]
    """Notes the messages of a range that some events pass, and who; returns the events that pass any.

    `sums` counts per event, bit j of its count in word j: adding a word takes about two turns.
    """
    passed, n = _U(0), total[0]
    for i in range(begin, end):
        free = trues[w, listening[i, 1]] & live
        if free:
            passed |= free
            hits[n], masks[n] = listening[i, 0], free
            n += 1
            j = 0
            while free:
                sums[j], free = sums[j] ^ free, sums[j] & free
                j += 1
    total[0] = n
    return passed


@njit(
    "void(int32[:, ::1], int64, int64, int32[:, ::1], int32[::1], float64[::1], float64[:, ::1],"
    f"{_BITS}, {_BITS}, int64, uint64, float64[::1], int32[::1], int8[::1])",
    cache=True,
    error_model="numpy",
)
def _furthest(  # type: ignore[no-untyped-def]
    ranked, begin, end, messages, eligible, constant, values, value_ok, trues, w, left,
    best, furthest, stage,
):  # fmt: skip
    """The furthest message of events that pass none: no event is looked at again once a tier has settled it."""
    at_when, at_unless = _U(0), _U(0)
    for i in range(begin, end):
        m = ranked[i, 0]
        alive = _eligible(messages, eligible, m, trues, w, left)
        heard = _heard(messages, m, trues, w, alive)
        at_when |= alive
        at_unless |= heard
    at_when &= ~at_unless
    at_first = left & ~at_unless & ~at_when
    first, tier, settled, fixed = w << 6, 0, _U(0), _U(0)
    for i in range(begin, end):
        m, column = ranked[i, 0], ranked[i, 2]
        if ranked[i, 1] != tier:
            tier, left = ranked[i, 1], left & ~settled
            fixed = _U(0)
            if not left:
                break
        here = left if column >= 0 else left & ~fixed
        if not here:
            continue
        alive = _eligible(messages, eligible, m, trues, w, here)
        heard = _heard(messages, m, trues, w, alive)
        here &= (at_unless & heard) | (at_when & alive) | (at_first & ~alive)
        settled |= here
        if column < 0:
            fixed |= here
        while here:
            k = LOWEST(here)
            here &= here - _U(1)
            value = constant[m]
            if column >= 0:
                value = values[column, first + k] if (value_ok[w, column] >> _U(k)) & _U(1) else -np.inf
            if np.isnan(value):
                value = -np.inf
            e = first + k
            ahead = furthest[e] < 0 or value > best[k]
            if ahead or (value == best[k] and messages[m, 5] < messages[furthest[e], 5]):
                furthest[e] = m
                best[k] = value
                stage[e] = 3 if (at_unless >> _U(k)) & _U(1) else 2 if (at_when >> _U(k)) & _U(1) else 1


@njit(
    "void(int64, int32[:, ::1], int32[:, ::1], uint32[:, ::1], int32[:, ::1], int32[:, ::1], int32[::1], float64[::1],"
    f"float64[:, ::1], {_BITS}, {_BITS}, int32[::1], uint64[::1],"
    "int64[::1], int32[::1], int32[::1], int8[::1])",
    cache=True,
    error_model="numpy",
    nogil=True,
)
def funnel(  # type: ignore[no-untyped-def]
    events, segments, spans, listening, ranked, messages, eligible, constant,
    values, value_ok, trues, hits, masks,
    starts, found, furthest, stage,
):  # fmt: skip
    """Fills candidates and the furthest message of every event; `found` must hold all that could be.

    events, segments  as in `evaluate`: every event whose type is known is in a segment
    spans (types, 4)  a type's own messages in `listening` (ascending; type 0: those for any), each with the
                      condition that it passes; and in `ranked` those of the type and for any, by tier; in a
                      tier those with a constant value ahead, larger first, equal ones by name; each with its
                      tier and the column of its value
    messages (M, 6)   begin and end in `eligible`, when, column of the value, tier, place by name; conditions
                      are columns of trues, -1 where there is none
    constant (M,)     the value where its column is -1
    values (V, events), value_ok (W, V), trues (W, B): results of `evaluate`, values as doubles
    hits, masks       scratch: a word's messages with candidates, and whose; as long as `listening`
    starts (events + 1,) and found: candidates of event i are found[starts[i]:starts[i + 1]]: those for any type,
                      then those of its own, both ascending
    furthest, stage   (events,) of events without candidates, stage 0 where no message listens
    """
    sums, best = np.zeros(32, np.uint64), np.zeros(64, np.float64)
    next_of, total = np.zeros(64, np.int64), np.zeros(1, np.int64)
    done, s = np.int64(0), 0
    for w in range((events + 63) >> 6):
        first = w << 6
        count = min(64, events - first)
        live = _ALL >> _U(64 - count)
        total[0] = 0
        sums[:] = _U(0)
        passed = _pass(listening, spans[0, 0], spans[0, 1], trues, w, live, hits, masks, total, sums)
        last = s
        while last < len(segments) and segments[last, 0] == w:
            kind, lo, hi = segments[last, 1], segments[last, 2], segments[last, 3]
            own = (_ALL >> _U(64 - (hi - lo))) << _U(lo)
            passed |= _pass(listening, spans[kind, 0], spans[kind, 1], trues, w, own, hits, masks, total, sums)
            last += 1
        for k in range(count):
            starts[first + k] = next_of[k] = done
            for j in range(32):
                done += np.int64((sums[j] >> _U(k)) & _U(1)) << j
            furthest[first + k], stage[first + k] = -1, 0
        for i in range(total[0]):
            free = masks[i]
            while free:
                k = LOWEST(free)
                free &= free - _U(1)
                found[next_of[k]] = hits[i]
                next_of[k] += 1
        left = live & ~passed
        while s < last:
            kind, lo, hi = segments[s, 1], segments[s, 2], segments[s, 3]
            own = (_ALL >> _U(64 - (hi - lo))) << _U(lo)
            if left & own:
                _furthest(
                    ranked, spans[kind, 2], spans[kind, 3], messages, eligible, constant, values, value_ok,
                    trues, w, left & own, best, furthest, stage,
                )  # fmt: skip
            left &= ~own
            s += 1
        if left:
            _furthest(
                ranked, spans[0, 2], spans[0, 3], messages, eligible, constant, values, value_ok,
                trues, w, left, best, furthest, stage,
            )  # fmt: skip
    starts[events] = done
