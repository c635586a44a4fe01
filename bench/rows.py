"""Rows of figures: what was measured, beside what, within which bound; as a table or as JSON."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Effort:
    """How long and how large to measure. `seconds`: length of one timed stretch."""

    seconds: float
    repeats: int
    messages: int = 1000
    sizes: tuple[int, ...] = (100, 1000, 10_000)
    batches: tuple[int, ...] = (1, 256)
    customers: int = 4000
    served: int = 20_000  # customers of a running server: so many that each has a few events, not hundreds
    exams: float = 0.02  # part of the published steps and runs of what learns


FULL = Effort(
    seconds=3.0,
    repeats=5,
    sizes=(10, 100, 1000, 10_000, 100_000),
    batches=(1, 64, 256, 4096),
    customers=10_000,
    served=60_000,
    exams=1.0,
)
QUICK = Effort(seconds=0.6, repeats=3)
TINY = Effort(  # for tests: shape, not figures
    seconds=0.05, repeats=1, messages=60, sizes=(20, 60), customers=100, served=100, exams=0.0
)


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `ours` and `peer` have one number a repeat, taken by turns in the same run.

    The bound is on the ratio ours / peer, or on `ours` where there is no peer; `invert` makes the
    ratio peer / ours (how many times faster, where the numbers are times). `near`: the bound is how far the ratio may
    be from 1, either way. No bound: only recorded.
    """

    name: str
    unit: str
    ours: Sequence[float]
    peer: Sequence[float] | None = None
    bound: float | None = None
    better: Literal["higher", "lower", "near"] = "higher"
    invert: bool = False
    note: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)  # further keys of the JSON object

    def ratios(self) -> list[float] | None:
        """One a repeat, or None without a peer."""
        if self.peer is None:
            return None
        pairs = zip(self.ours, self.peer, strict=True)
        return [p / o if self.invert else o / p for o, p in pairs]

    def holds(self) -> bool:
        """Whether the median is within the bound."""
        if self.bound is None:
            return True
        figure = median(self.ratios() or self.ours)
        if self.better == "near":
            return abs(figure - 1.0) <= self.bound
        return figure >= self.bound if self.better == "higher" else figure <= self.bound

    def as_json(self) -> dict[str, object]:
        """Medians under the plain names; [min, median, max] over the repeats under `spread`."""
        ratios = self.ratios()
        return {
            "name": self.name,
            "unit": self.unit,
            "ours": median(self.ours),
            "peer": median(self.peer) if self.peer is not None else None,
            "ratio": median(ratios) if ratios is not None else None,
            "bound": self.bound,
            "better": self.better,
            "holds": self.holds(),
            "spread": {
                "ours": _spread(self.ours),
                "peer": _spread(self.peer) if self.peer is not None else None,
                "ratio": _spread(ratios) if ratios is not None else None,
            },
            "note": self.note,
            **self.facts,
        }


def _spread(values: Sequence[float]) -> list[float]:
    return [min(values), median(values), max(values)]


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _shown(values: Sequence[float] | None) -> str:
    if values is None:
        return "-"
    low, middle, high = _spread(values)
    return _number(middle) if low == high else f"{_number(middle)}  ({_number(low)} .. {_number(high)})"


_SIGNS = {"higher": ">=", "lower": "<=", "near": "1 +-"}


def show(program: str, rows: Sequence[Row]) -> None:
    """The table for people: median (min .. max)."""
    table = Table(title=program, title_justify="left")
    for heading in ("what", "unit", "ours", "peer", "ratio", "bound", "holds"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        bound = "-" if row.bound is None else f"{_SIGNS[row.better]} {row.bound:g}"
        holds = "" if row.bound is None else "yes" if row.holds() else "NO"
        table.add_row(row.name, row.unit, _shown(row.ours), _shown(row.peer), _shown(row.ratios()), bound, holds)
    console = Console(width=None if sys.stdout.isatty() else 150)
    console.print(table)
    for note in dict.fromkeys(row.note for row in rows if row.note):
        console.print(f"  {note}", highlight=False)
