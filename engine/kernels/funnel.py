"""The funnel: which messages pass trigger, eligibility and audience, and which got furthest.

Works on the planes that `evaluate` hands back, 64 events of one type to a word.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_U = np.uint64
_ALL = _U(0xFFFFFFFFFFFFFFFF)
ELIGIBILITY, WHEN, UNLESS = 1, 2, 3  # the filter at which a message stopped


@njit(
    "void(int32[:, ::1], int32[:, ::1], int32[::1], int32[:, ::1], int32[:, ::1], int32[::1], float64[::1],"
    "float64[:, ::1], uint64[:, ::1], uint64[:, ::1], uint64[:, ::1], uint64[:, ::1],"
    "int64[::1], float64[::1], int64[::1], int32[::1], int32[::1], int8[::1])",
    cache=True,
    error_model="numpy",
    nogil=True,
)
def funnel(  # type: ignore[no-untyped-def]
    words, spans, listening, ranked, messages, eligible, constant,
    values, value_ok, trues, possibles, stops, counts, best,
    starts, found, furthest, stage,
):  # fmt: skip
    """Fills candidates and the furthest message of every event; `found` must hold all that could be.

    words (W, 3)      event type, first event, events
    spans (types, 2)  a type's messages in `listening` (ascending) and `ranked` (by tier; in a tier those
                      with a constant value ahead, larger first, equal ones by name; each with its tier
                      and the column of its value)
    messages (M, 7)   begin and end in `eligible`, when, unless, column of the value, tier, place by name;
                      conditions are columns of trues and possibles, -1 where there is none
    constant (M,)     the value where its column is -1
    values (events, V), value_ok (W, V), trues, possibles (W, B): results of `evaluate`, values as doubles
    stops (M, 3)      scratch: the events that pass; that stop at when; at unless
    counts, best (64,) scratch: candidates of an event; value of its furthest message
    starts (events + 1,) and found: candidates of event i are found[starts[i]:starts[i + 1]]
    furthest, stage   (events,) of events without candidates, stage 0 where no message listens
    """
    total = 0
    for w in range(words.shape[0]):
        kind, first, count = words[w, 0], words[w, 1], words[w, 2]
        begin, end = spans[kind, 0], spans[kind, 1]
        live = _ALL if count == 64 else (_U(1) << _U(count)) - _U(1)
        passed, at_when, at_unless = _U(0), _U(0), _U(0)
        counts[:] = 0
        for i in range(begin, end):
            m = listening[i]
            alive = live
            for j in range(messages[m, 0], messages[m, 1]):
                alive &= trues[w, eligible[j]]
            heard = alive
            if messages[m, 2] >= 0:
                heard = alive & trues[w, messages[m, 2]]
            free = heard
            if messages[m, 3] >= 0:
                free = heard & ~possibles[w, messages[m, 3]]
            stops[m, 0], stops[m, 1], stops[m, 2] = free, alive & ~heard, heard & ~free
            passed |= free
            at_when |= alive & ~heard
            at_unless |= heard & ~free
            k = 0
            while free:
                counts[k] += np.int64(free & _U(1))
                free >>= _U(1)
                k += 1
        for k in range(count):
            starts[first + k] = total
            total += counts[k]
            counts[k] = starts[first + k]
            furthest[first + k], stage[first + k] = -1, 0
        if passed:
            for i in range(begin, end):
                m = listening[i]
                free, k = stops[m, 0], 0
                while free:
                    if free & _U(1):
                        found[counts[k]] = m
                        counts[k] += 1
                    free >>= _U(1)
                    k += 1
        # The furthest: no event is looked at again once a tier has settled it.
        left = live & ~passed
        at_unless &= left
        at_when &= left & ~at_unless
        at_first = left & ~at_unless & ~at_when
        tier, settled, fixed = 0, _U(0), _U(0)
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
            one, two, three = stops[m, 0] | stops[m, 1] | stops[m, 2], stops[m, 1], stops[m, 2]
            here &= (at_unless & three) | (at_when & two) | (at_first & ~one)
            settled |= here
            if column < 0:
                fixed |= here
            k = 0
            while here:
                if here & _U(1):
                    value = constant[m]
                    if column >= 0:
                        value = values[first + k, column] if (value_ok[w, column] >> _U(k)) & _U(1) else -np.inf
                    if np.isnan(value):
                        value = -np.inf
                    e = first + k
                    ahead = furthest[e] < 0 or value > best[k]
                    if ahead or (value == best[k] and messages[m, 6] < messages[furthest[e], 6]):
                        furthest[e] = m
                        best[k] = value
                        stage[e] = 3 if (at_unless >> _U(k)) & _U(1) else 2 if (at_when >> _U(k)) & _U(1) else 1
                here >>= _U(1)
                k += 1
    starts[words[-1, 1] + words[-1, 2]] = total
