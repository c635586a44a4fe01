"""What events add to KPIs, for the log: a batch at once, as MessagePack. The twin is `engine.step.measured`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgpack
import numpy as np
import numpy.typing as npt

from engine.compiler.nodes import Type
from engine.compiler.plan import Output
from engine.compiler.program import Batch
from engine.compiler.written import BILLION
from engine.plan import KpiPlan
from engine.step.measured import measured

I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
F64 = npt.NDArray[np.float64]
_NOTHING = np.zeros(1, np.uint8)
_DOUBLE = 9  # bytes: 0xCB and the number


class Measures:
    """The KPIs of a rule set by event type, and the bytes of an event that has all of them."""

    def __init__(self, outputs: Sequence[Output], kpis_of: Mapping[str, tuple[KpiPlan, ...]]) -> None:
        self._outputs = outputs
        self._kpis = list(kpis_of.values())  # by number of the event type
        self._whole = [np.frombuffer(msgpack.packb([(k.name, 0.0) for k in kpis]), np.uint8) for kpis in self._kpis]
        self._places = [_places(kpis) for kpis in self._kpis]
        self._counted = np.array([bool(kpis) for kpis in self._kpis], np.bool_)
        self._any = bool(self._counted.any())

    def of(self, batch: Batch, events: I64, kinds: npt.NDArray[np.int32], n: int) -> tuple[U8, I64]:
        """Bytes, and the span in them of each of the batch's `n` events. `events`: those that have an answer."""
        spans = np.zeros((n, 2), np.int64)
        parts: list[U8] = []
        end = 0
        counted = events[self._counted[kinds[events]]] if self._any else ()
        if not len(counted):
            return _NOTHING, spans
        for kind in np.unique(kinds[counted]).tolist():
            for rows, content in self._of_kind(batch, counted[kinds[counted] == kind], kind):
                size = content.shape[1]
                spans[rows, 0] = end + size * np.arange(len(rows))
                spans[rows, 1] = spans[rows, 0] + size
                parts.append(content.ravel())
                end += content.size
        return np.concatenate(parts), spans

    def _of_kind(self, batch: Batch, events: I64, kind: int) -> list[tuple[I64, U8]]:
        """Events of one type and their bytes, a row each: those that have all values together, the others by one."""
        kpis = self._kpis[kind]
        row = np.array(batch.rows, np.int64)[events]
        columns = [_column(self._outputs[kpi.root], kpi.type, batch, row) for kpi in kpis]
        whole = np.ones(len(events), np.bool_)
        for value, fine in columns:
            whole &= fine & np.isfinite(value)
        rows = np.tile(self._whole[kind], (int(whole.sum()), 1))
        for (value, _), at in zip(columns, self._places[kind], strict=True):
            rows[:, at : at + 8] = value[whole].astype(">f8").view(np.uint8).reshape(-1, 8)
        found = [(events[whole], rows)]
        for i in events[~whole].tolist():
            some = measured(batch, i, kpis)
            if some:
                found.append((np.array([i]), np.frombuffer(msgpack.packb(some), np.uint8).reshape(1, -1)))
        return found


def _places(kpis: Sequence[KpiPlan]) -> list[int]:
    """Where the numbers lie in the bytes of an event that has all of them."""
    ends = [len(msgpack.packb([(k.name, 0.0) for k in kpis[: n + 1]])) for n in range(len(kpis))]
    head = len(msgpack.packb([0] * len(kpis))) - len(kpis)  # more elements may take a longer head
    short = [len(msgpack.packb([0] * (n + 1))) - (n + 1) for n in range(len(kpis))]
    return [end + head - own - _DOUBLE + 1 for end, own in zip(ends, short, strict=True)]


def _column(output: Output, kind: Type, batch: Batch, row: I64) -> tuple[F64, npt.NDArray[np.bool_]]:
    """A value by row, and whether it is there; as `measured` has it."""
    cells = batch.values[output.column, row]
    if kind is Type.NUMBER:
        value = cells.view(np.float64)
    elif kind is Type.MONEY:
        value = cells.astype(np.float64) + batch.values[output.column + 1, row] / BILLION
    else:
        value = cells.astype(np.float64)
    lanes = batch.value_ok[row >> 6, output.column] >> (row & 63).astype(np.uint64)
    return value, (lanes & np.uint64(1)) != 0
