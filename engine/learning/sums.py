"""The names under which the store sums what was learnt: a hash of integers, one field per sum.

    n<arm>, r<arm>, s<arm>     closed trials, rewards, squares of rewards (as in ArmState)
    m<context>,<place><arm>    moments of a linear policy: the meaning of its context in hexadecimal, the place

<arm> is a JSON list: policy, message, segment, variant, and the hour where trials are kept by time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from engine.learning.posteriors import ArmKey, ArmState

_KINDS = (b"n", b"r", b"s")  # in the order of ArmState


def _name(arm: ArmKey) -> bytes:
    return orjson.dumps(list(arm) if arm.hour else list(arm)[:-1])


def fields_of(arm: ArmKey, state: ArmState) -> list[tuple[bytes, int]]:
    """The sums of an arm by name; moments that are zero are left out."""
    name = _name(arm)
    found = [(kind + name, value) for kind, value in zip(_KINDS, state[:3], strict=True)]
    for context, moments in state.moments.items():
        found += [(b"m%x,%d" % (context, place) + name, value) for place, value in enumerate(moments) if value]
    return found


def arms_of(fields: Mapping[Any, Any]) -> dict[ArmKey, ArmState]:
    """Arms from the fields of the sums."""
    sums: dict[bytes, list[int]] = {}
    moments: dict[bytes, dict[int, dict[int, int]]] = {}
    for name, value in fields.items():
        kind, bracket, rest = name.partition(b"[")
        arm = bracket + rest
        if kind in _KINDS:
            sums.setdefault(arm, [0, 0, 0])[_KINDS.index(kind)] = int(value)
        else:
            context, _, place = kind[1:].partition(b",")
            moments.setdefault(arm, {}).setdefault(int(context, 16), {})[int(place)] = int(value)
    return {
        ArmKey(*orjson.loads(arm)): ArmState(
            trials, reward, squares, {c: _row(m) for c, m in moments.get(arm, {}).items()}
        )
        for arm, (trials, reward, squares) in sums.items()
    }


def _row(places: Mapping[int, int]) -> tuple[int, ...]:
    """By place; zeros at the end are not there."""
    return tuple(places.get(place, 0) for place in range(max(places) + 1))
