"""The names under which the store sums what was learnt: a hash of integers, one field per sum.

    n<arm>, r<arm>, s<arm>     closed trials, rewards, squares of rewards (as in ArmState)
    m<context>,<place><arm>    moments of a linear policy: the meaning of its context in hexadecimal, the place

<arm> is a JSON list: policy, message, segment, variant, and the hour where trials are kept by time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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


class Gathered:
    """Sums on their way to arms, some fields at a time. `fields`: how many there are, each counted once."""

    def __init__(self) -> None:
        self.fields = 0
        self._places: dict[bytes, int] = {}  # of arms in `_sums`: lists of their own would keep the collector busy
        self._sums: list[int | None] = []
        self._moments: dict[bytes, dict[int, dict[int, int]]] = {}

    def add(self, fields: Iterable[tuple[Any, Any]]) -> None:
        """More fields of the sums."""
        for name, value in fields:
            kind, bracket, rest = name.partition(b"[")
            arm = bracket + rest
            if kind in _KINDS:
                self._sum(arm, _KINDS.index(kind), int(value))
            else:
                context, _, place = kind[1:].partition(b",")
                moments = self._moments.setdefault(arm, {}).setdefault(int(context, 16), {})
                self.fields += int(place) not in moments
                moments[int(place)] = int(value)

    def _sum(self, arm: bytes, kind: int, value: int) -> None:
        place = self._places.setdefault(arm, len(self._sums))
        if place == len(self._sums):
            self._sums += (None, None, None)
        self.fields += self._sums[place + kind] is None
        self._sums[place + kind] = value

    def arms(self) -> Iterator[tuple[ArmKey, ArmState]]:
        """The arms, once: what was gathered goes meanwhile, so that little is left to be freed at once."""
        names, texts = list(reversed(self._places)), dict[Any, Any]()
        while names:
            name = names.pop()
            place, moments = self._places.pop(name), self._moments.pop(name, None)
            arm = ArmKey(*[texts.setdefault(part, part) for part in orjson.loads(name)])  # one object for a text
            trials, reward, squares = (value or 0 for value in self._sums[place : place + 3])
            if moments:
                yield arm, ArmState(trials, reward, squares, {c: _row(m) for c, m in moments.items()})
            else:
                yield arm, ArmState(trials, reward, squares)


def arms_of(fields: Mapping[Any, Any]) -> dict[ArmKey, ArmState]:
    """Arms from the fields of the sums."""
    gathered = Gathered()
    gathered.add(fields.items())
    return dict(gathered.arms())


def _row(places: Mapping[int, int]) -> tuple[int, ...]:
    """By place; zeros at the end are not there."""
    return tuple(places.get(place, 0) for place in range(max(places) + 1))
