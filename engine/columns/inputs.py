"""What expressions read, as numbers: where each path's value is in a batch's arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.columns.requests import numbered
from engine.compiler.model import RuleSet
from engine.compiler.nodes import Type
from engine.compiler.plan import Columns, Plan
from engine.kernels import fill as k

TYPES = {
    Type.BOOL: k.BOOL,
    Type.INTEGER: k.INTEGER,
    Type.NUMBER: k.NUMBER,
    Type.TEXT: k.TEXT,
    Type.TIME: k.TIME,
    Type.MONEY: k.MONEY,
    Type.DURATION: k.DURATION,
    Type.DATE: k.DATE,
}


class Path(NamedTuple):
    """An input that rules read, of one type and unit; codes as in `kernels.fill`."""

    path: str
    source: int
    type: int
    unit: str | None
    money: bool


class Paths:
    """Numbers of inputs. `places` (event types, inputs): where each one's value is; -1 where it has none."""

    def __init__(self, ruleset: RuleSet) -> None:
        self.known: list[Path] = []
        self._numbers: dict[tuple[str, Type, str | None], int] = {}
        self._columns: list[list[int]] = []
        self._features = {name: n for n, name in enumerate(ruleset.features)}
        self._windows = {name: n for n, name in enumerate(ruleset.windows)}
        self._attributes = [
            {attribute.name: n for n, attribute in enumerate(numbered(event))} for event in ruleset.events.values()
        ]

    def number(self, path: str, kind: Type, unit: str | None = None) -> int:
        """The number of an input, -1 for a type that kernels do not know."""
        if kind not in TYPES:
            return -1
        key = (path, kind, unit)
        found = self._numbers.get(key)
        if found is None:
            found = self._numbers[key] = len(self.known)
            source = self.source(path)
            self.known.append(Path(path, source, TYPES[kind], unit, kind is Type.MONEY))
            self._columns.append([self.place(path, source, event) for event in range(len(self._attributes))])
        return found

    @property
    def places(self) -> npt.NDArray[np.int64]:
        """See the class."""
        return np.ascontiguousarray(
            np.array(self._columns, np.int64).reshape(len(self._columns), len(self._attributes)).T
        )

    @staticmethod
    def source(path: str) -> int:
        """Where a path's value comes from."""
        root, _, name = path.partition(".")
        if root == "event":
            return k.OCCURRED if name == "occurred_at" else k.KIND if name == "type" else k.ATTRIBUTE
        return {"features": k.FEATURE, "windows": k.WINDOW, "now": k.NOW}[root]

    def place(self, path: str, source: int, event: int) -> int:
        """Its place among the features, windows, or attributes of an event type (its place in the rule set)."""
        name = path.partition(".")[2]
        if source == k.FEATURE:
            return self._features[name]
        if source == k.WINDOW:
            return self._windows[name]
        return self._attributes[event].get(name, -1) if source == k.ATTRIBUTE else 0


def loads(plan: Plan, paths: Paths, events: Sequence[str]) -> k.Loads | None:
    """What a plan reads, by its numbers of event types. None where it reads a list: kernels know none."""
    places = {name: n for n, name in enumerate(events)}
    rows: list[tuple[int, int, int, int]] = []
    spans = np.zeros((len(plan.columns), 2), np.int64)
    for name, kind in plan.kinds.items():
        begin = len(rows)
        for path, column, type_ in _read(plan.columns[kind]):
            if type_ not in TYPES:
                return None
            source = paths.source(path)
            place = paths.place(path, source, places[name])
            if place >= 0:
                rows.append((source, place, column, TYPES[type_]))
        spans[kind] = begin, len(rows)
    return k.Loads(spans, np.array(rows, np.int64).reshape(-1, 4))


def _read(columns: Columns) -> list[tuple[str, int, Type]]:
    """The inputs of an event type: path, first column, type (integer for what takes one cell and is no double)."""
    found = [(path, column, Type.BOOL if kind is bool else Type.INTEGER) for path, column, kind in columns.plain]
    found += [(path, column, Type.NUMBER) for path, column in columns.numbers]
    found += [(path, column, Type.TEXT) for path, column in columns.texts]
    found += list(columns.others)
    if columns.now >= 0:
        found.append(("now", columns.now, Type.TIME))
    return found
