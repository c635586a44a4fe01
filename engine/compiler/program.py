"""A lowered rule set, frozen: two plans and the funnel of its messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.compiler.frozen import frozen
from engine.compiler.plan import Batch, Plan, Root
from engine.compiler.stages import I32
from engine.kernels.direct import direct
from engine.kernels.funnel import funnel

__all__ = ["Batch", "Funnel", "FunnelTables", "MessagePlan", "Plan", "Program", "Root"]

_run_funnel = direct(funnel)


@frozen
class MessagePlan:
    """A message's conditions and value, as root numbers of the rules plan. `eligible` must all be true."""

    index: int
    eligible: tuple[int, ...]
    when: int | None
    unless: int | None
    value: int


@dataclass(frozen=True, slots=True)
class FunnelTables:
    """What `kernels.funnel` runs on; shapes are given there. `heard`: messages that listen, by type, any included."""

    heard: tuple[int, ...]
    spans: I32
    listening: npt.NDArray[np.uint32]
    ranked: I32
    messages: I32
    eligible: I32
    constant: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Program:
    """A lowered rule set. Windows come first; what they give is input to the rules.

    `root_of` finds roots, of `windows` by

        ("window.where", window)   ("window.value", window)      of what is stored: a window or its parts

    and of `rules`, where they are declared, by

        ("product.eligible:" + product, place)     place in `eligible`, as text
        ("message.when", message)  ("message.unless", message)  ("message.value", message)
        ("message.about", message)
        ("message.slot:" + message, slot)
        ("message.channel:" + message, channel)    the condition for this message
        ("channel.when", channel)                  the channel's own
        ("kpi", kpi)
        ("policy.by:" + policy, place)             place in `by`, as text
        ("policy.context:" + policy, place)        place in `context`, as text
        ("policy.report_by:" + policy, place)      place in `report_by`, as text
    """

    windows: Plan
    rules: Plan
    messages: tuple[MessagePlan, ...]
    root_of: Mapping[tuple[str, str], int]
    tables: FunnelTables

    def funnel(self, batch: Batch) -> Funnel:
        """Trigger, eligibility and audience of every message, for a batch of the rules plan."""
        return Funnel(self.tables, batch)


class Funnel:
    """Which messages an event's customer could hear, and how far the others got.

    By row, for kernels: `starts`, `found`, `furthest_of`, `stage_of`, as `kernels.funnel` fills them.
    """

    __slots__ = ("_rows", "found", "furthest_of", "stage_of", "starts")

    def __init__(self, tables: FunnelTables, batch: Batch) -> None:
        n = batch.events
        self._rows = batch.rows
        starts = np.zeros(n + 1, np.int64)
        furthest, stage = np.empty(n, np.int32), np.empty(n, np.int8)
        # room for every message that listens: pages that are not written cost nothing
        room = tables.heard[0] * n
        for _, kind, low, high in batch.segments.tolist():
            room += (tables.heard[kind] - tables.heard[0]) * (high - low)
        found = np.empty(room, np.int32)
        hits, masks = np.empty(len(tables.listening), np.int32), np.empty(len(tables.listening), np.uint64)
        if n:
            _run_funnel(
                n, batch.segments, tables.spans, tables.listening, tables.ranked, tables.messages, tables.eligible,
                tables.constant, batch.values.view(np.float64), batch.value_ok, batch.trues,
                hits, masks, starts, found, furthest, stage,
            )  # fmt: skip
        self.starts, self.found = starts, found
        self.furthest_of, self.stage_of = furthest, stage

    def candidates(self, i: int) -> list[int]:
        """Messages that event i triggers, whose eligibility and audience the customer meets; ascending."""
        row = self._rows[i]
        found: list[int] = self.found[self.starts[row] : self.starts[row + 1]].tolist()
        return sorted(found)  # of two ascending runs

    def furthest(self, i: int) -> tuple[int, int] | None:
        """For an event without candidates: the message that got furthest, and where it stopped.

        1 eligibility, 2 when, 3 unless. Ties by tier, larger value (an error or NaN is least), name.
        None where no message listens to the event type, or where there are candidates.
        """
        row = self._rows[i]
        stage = int(self.stage_of[row])
        return (int(self.furthest_of[row]), stage) if stage else None
