"""Values of a batch as Python has them: for the twin, which tells why a condition was an error."""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

from engine.columns.rules import RuleColumns
from engine.compiler.nodes import Type
from engine.compiler.reference import Absent, Defaulted, inputs_of
from engine.kernels import fill as k
from engine.step.inputs import MISSING, STALE

_INCOMPLETE = Absent("WINDOW_INCOMPLETE")
_BITS, _DOUBLE = struct.Struct("<q"), struct.Struct("<d")


class Values:
    """Reads the inputs of single events."""

    def __init__(self, rules: RuleColumns, inputs: k.Inputs, data: npt.NDArray[np.uint8]) -> None:
        self._rules = rules
        self._inputs = inputs
        self._data = data

    def of_message(self, m: int, i: int, event: int) -> dict[str, object]:
        """What the conditions of a message read of event i, whose type is at that place in the rule set."""
        step = self._rules.bundle.steps.messages[m]
        nodes = [condition.expression.node for condition in step.eligible]
        nodes += [e.node for e in (step.message.when, step.message.unless) if e is not None]
        return {path: self._value(path, kind, i, event) for path, kind in inputs_of(nodes).items() if path != "now"}

    def _value(self, path: str, kind: Type, i: int, event: int) -> object:
        inputs, paths = self._inputs, self._rules.paths
        source = paths.source(path)
        place = paths.place(path, source, event)
        if source == k.FEATURE:
            state = int(inputs.states[i, place])
            if state < k.DEFAULTED:
                return STALE if state == k.STALE else MISSING
            value = self._of_cells(kind, inputs.features[i, place])
            return Defaulted(value) if state == k.DEFAULTED else value
        if source == k.WINDOW:
            state = int(inputs.kept[i, place])
            if state != k.WRITTEN:
                return _INCOMPLETE if state == k.INCOMPLETE else MISSING
            return self._of_cells(kind, inputs.windows[i, place])
        if source == k.ATTRIBUTE:
            if place < 0 or not inputs.sent[i, place]:
                return MISSING
            return self._of_cells(kind, inputs.attributes[i, place])
        if source == k.OCCURRED:
            return self._of_cells(Type.TIME, inputs.occurred[i])
        return self._rules.events[event]

    def _of_cells(self, kind: Type, cells: npt.NDArray[np.int64]) -> object:
        first, second = cells.tolist()
        if kind is Type.TEXT:
            return self._data[first:second].tobytes().decode()
        if kind is Type.NUMBER:
            return _DOUBLE.unpack(_BITS.pack(first))[0]
        if kind in (Type.TIME, Type.MONEY):
            return first * 1_000_000_000 + second
        return bool(first) if kind is Type.BOOL else first
