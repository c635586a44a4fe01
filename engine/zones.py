"""Time zones as tables: where the offset from UTC changes, as arrays that kernels search.

A leaf module. `zoneinfo` does not tell its transitions, so they are found by sampling: one look every
seven days from 1840 to 2100, and a bisection where the offset moved. That takes about 20 ms a zone, once
per process. After 2100 the last offset holds (no daylight saving in 2101).
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from threading import Lock
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)  # noqa: UP017
_FIRST_S = -4_102_444_800  # 1840-01-01, before there was any standard time
_LAST_S = 4_102_444_800  # 2100-01-01
_STEP_S = 7 * 86_400
_NAME_MAX = 255

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ZoneTable:
    """Transitions of several zones, end to end.

    Zone k has `starts[k]:starts[k + 1]` in `at_s` (UTC seconds, ascending) and `offset_s`: offset j holds
    from `at_s[j]` on. The first `at_s` of a zone is the smallest int64.
    """

    starts: Ints
    at_s: Ints
    offset_s: Ints


@lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo | None:
    """The zone of an IANA name, None where there is none; never an exception, whatever the name."""
    if not name or len(name) > _NAME_MAX or not name.isprintable():
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None


def _offset(info: tzinfo, second: int) -> int:
    found = (_EPOCH + timedelta(seconds=second)).astimezone(info).utcoffset()
    return 0 if found is None else int(found.total_seconds())


@lru_cache(maxsize=1024)
def transitions(name: str) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """UTC seconds at which the zone's offset changes, and the offset from there on, in seconds.

    None where the zone is unknown. The first second is the smallest int64.
    """
    info = zone(name)
    if info is None:
        return None
    at, offsets = [-(2**63)], [_offset(info, _FIRST_S)]
    for sample in range(_FIRST_S + _STEP_S, _LAST_S + 1, _STEP_S):
        seen = _offset(info, sample)
        low = sample - _STEP_S
        while offsets[-1] != seen:
            high = sample
            while high - low > 1:
                middle = (low + high) // 2
                if _offset(info, middle) == offsets[-1]:
                    low = middle
                else:
                    high = middle
            at.append(high)
            offsets.append(_offset(info, high))
            low = high
    return tuple(at), tuple(offsets)


class Zones:
    """Numbers of zones, given at first sight and kept for the life of the process.

    A batch takes its numbers first and `table` then: a table has all zones numbered before it was taken.
    There are some 600 names and 2,879 offsets, so nothing here grows without bound.
    """

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._lock = Lock()
        self.table = ZoneTable(np.zeros(1, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64))

    def id(self, name: str) -> int:
        """The number of an IANA name, -1 where there is no such zone."""
        known = self._ids.get(name)
        if known is not None:
            return known
        found = transitions(name)
        return -1 if found is None else self._add(name, *found)

    def offset_id(self, offset_s: int) -> int:
        """The number of the zone that is always that far ahead of UTC."""
        name = f"{offset_s:+}"
        known = self._ids.get(name)
        return self._add(name, (-(2**63),), (offset_s,)) if known is None else known

    def _add(self, name: str, at_s: tuple[int, ...], offset_s: tuple[int, ...]) -> int:
        with self._lock:
            if name not in self._ids:
                t = self.table
                self.table = ZoneTable(
                    np.append(t.starts, len(t.at_s) + len(at_s)),
                    np.concatenate((t.at_s, np.array(at_s, np.int64))),
                    np.concatenate((t.offset_s, np.array(offset_s, np.int64))),
                )
                self._ids[name] = len(self._ids)  # last: who finds the number finds the table
            return self._ids[name]


ZONES = Zones()


def local_day(t_ms: int, zone: str | None) -> int:
    """Days since 1970-01-01 on the zone's calendar at a moment; on that of UTC where the zone is unknown."""
    second = t_ms // 1000
    found = transitions(zone) if zone else None
    if found is not None:
        second += found[1][bisect_right(found[0], second) - 1]
    return second // 86_400


def local_month(t_ms: int, zone: str | None) -> int:
    """Months since January 1970 on the same calendar. Raises ValueError outside the years 1 to 9999."""
    day = local_date(t_ms, zone)
    return (day.year - 1970) * 12 + day.month - 1


def local_date(t_ms: int, zone: str | None) -> date:
    """The date on the same calendar. Raises ValueError outside the years 1 to 9999."""
    return date.fromordinal(local_day(t_ms, zone) + _EPOCH.toordinal())
