"""Ways in which something can be, as values that terms must have, and what several of them say together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from engine.compiler.analysis.values import ANYTHING, Values

Key = str | int  # a path, `has(path)`, or the number of a term that is computed
Way = dict[Key, Values]  # what each term must be; terms that are not in it may be anything
Ways = list[Way]

WAYS_MAX = 64
ALWAYS: Ways = [{}]
NEVER: Ways = []


class Joining:
    """Joins ways. `clash` is the term of which the last contradiction was found."""

    def __init__(self) -> None:
        self.clash: Key = 0

    def meet(self, a: Way, b: Way) -> Way | None:
        """What must be so for both, None where that cannot be."""
        if not a or not b:
            return a or b
        result = a.copy()
        return result if self._add(result, b) else None

    def _add(self, way: Way, other: Way) -> bool:
        """Adds to `way` what must be so for the other; whether both can be."""
        for key, values in other.items():
            known = way.get(key)
            if known is None:
                way[key] = values
            elif known is not values:
                common = known.meet(values)
                if common.empty:
                    self.clash = key
                    return False
                way[key] = common
        return True

    def both(self, parts: Iterable[Ways]) -> Ways:
        """The ways in which all parts can hold at once."""
        common: Way = {}  # of the parts with one way, gathered first: most have no other
        several: list[Ways] = []
        for part in parts:
            if len(part) > 1:
                several.append(part)
            elif not part or not self._add(common, part[0]):
                return NEVER
        result = [common]
        for part in sorted(several, key=len):
            if len(result) * len(part) > WAYS_MAX:
                continue
            result = [way for a in result for b in part if (way := self.meet(a, b)) is not None]
            if not result:
                return NEVER
        return result

    def either(self, parts: Iterable[Ways]) -> Ways:
        """The ways in which one of the parts can hold."""
        result: Ways = []
        for part in parts:
            result = result + part if result else part
            if len(result) > WAYS_MAX or (part and not part[0]):
                return ALWAYS
        return result


def implied(same: Sequence[Values]) -> tuple[int, ...] | None:
    """What is told of sets that one value is to be in all of: see `Cases.implied`."""
    before = [ANYTHING]  # what the sets up to each say
    for values in same:
        before.append(before[-1].meet(values))
    whole = before[-1]
    if whole.empty:
        return None
    told: list[int] = []
    behind = ANYTHING
    for i in range(len(same) - 1, -1, -1):
        if len(told) < len(same) - 1 and before[i].meet(behind) == whole:
            told.append(i)
        else:
            behind = behind.meet(same[i])
    return tuple(told)
