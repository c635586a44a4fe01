"""What the log keeps for the readout alone: values to split trials by, and amounts of events to sum."""

from __future__ import annotations

import math

from engine.compiler.nodes import Type
from engine.compiler.program import Batch
from engine.compiler.written import BILLION
from engine.plan import KpiPlan, MessageStep


def reported(batch: Batch, i: int, step: MessageStep) -> dict[str, object]:
    """What the readout splits the message's trials by; `?` where it has no value."""
    values = ((path, batch.value(root, i)) for path, root in step.report_by)
    return {path: "?" if value is None or value != value else value for path, value in values}


def _units(billionths: int) -> float:
    units, rest = divmod(billionths, BILLION)
    return units + rest / BILLION


def measured(batch: Batch, i: int, kpis: tuple[KpiPlan, ...]) -> list[tuple[str, float]]:
    """The event's part in each KPI of its type; money in units of its currency. What is missing is left out."""
    found = []
    for kpi in kpis:
        value = batch.value(kpi.root, i)
        if isinstance(value, int | float) and math.isfinite(value):
            found.append((kpi.name, _units(int(value)) if kpi.type is Type.MONEY else float(value)))
    return found
