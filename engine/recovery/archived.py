"""Log entries as the archive holds them: rows of Parquet, back as entries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow.parquet as pq

from engine.identity import CustomerKey
from engine.state.log import (
    CandidateEntry,
    DecisionEntry,
    Entry,
    ErasedEntry,
    OutcomeEntry,
    ProfileEntry,
    RankEntry,
    VariantEntry,
    order,
)
from engine.state.runs import Run

_KINDS: dict[str, type[Entry]] = {
    "decision": DecisionEntry,
    "outcome": OutcomeEntry,
    "profile": ProfileEntry,
    "erased": ErasedEntry,
}
_NAMES = {kind: [f.name for f in fields(entry)] for kind, entry in _KINDS.items()}
_ROWS = 20_000  # at once


class Archived(NamedTuple):
    """An entry and its place in the log."""

    log_id: str
    entry: Entry


class Erasure(NamedTuple):
    """A customer was erased."""

    log_id: str
    at_ms: int


def erasures_after(found: Sequence[Run], positions: Mapping[int, str]) -> dict[CustomerKey, list[Erasure]]:
    """Every erasure behind these log ids. Raises ArchiveError."""
    erasures: dict[CustomerKey, list[Erasure]] = {}
    for run in found:
        for path in (path for kind, path in run.tables() if kind == "erased"):
            for row in _rows(path):
                if order(row["log_id"]) > order(positions.get(row["bucket"], "0-0")):
                    customer = CustomerKey(row["customer"], row["bucket"])
                    erasures.setdefault(customer, []).append(Erasure(row["log_id"], row["at_ms"]))
    return erasures


def entries_after(run: Run, positions: Mapping[int, str]) -> dict[CustomerKey, list[Archived]]:
    """What a run holds behind these log ids (by bucket; none: all), by customer, in log order. Raises ArchiveError."""
    found: dict[CustomerKey, list[Archived]] = {}
    after = {bucket: order(positions.get(bucket, "0-0")) for bucket in run.ranges()}
    if all(order(r.last) <= after[bucket] for bucket, r in run.ranges().items()):
        return found
    for kind, path in run.tables():
        if kind in _KINDS:
            for row in _rows(path):
                bucket, log_id = row["bucket"], row["log_id"]
                if order(log_id) > after[bucket]:
                    customer = CustomerKey(row["customer"], bucket)
                    found.setdefault(customer, []).append(Archived(log_id, _entry(kind, row)))
    for entries in found.values():
        entries.sort(key=lambda archived: order(archived.log_id))
    return found


def unreadable_after(found: Sequence[Run], positions: Mapping[int, str]) -> int:
    """How many entries behind these log ids only a later version can read. Raises ArchiveError."""
    paths = [path for run in found for kind, path in run.tables() if kind == "unreadable"]
    rows = (row for path in paths for row in _rows(path))
    return sum(order(row["log_id"]) > order(positions.get(row["bucket"], "0-0")) for row in rows)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_ROWS):
            yield from batch.to_pylist()


def _entry(kind: str, row: dict[str, Any]) -> Entry:
    """Columns that an older file does not have keep their defaults."""
    values = {name: value for name in _NAMES[kind] if (value := row.get(name)) is not None}
    for name in ("values_read", "reported", "consents"):
        if name in values:
            values[name] = orjson.loads(values[name])
    if kind == "decision":
        values["candidates"] = [CandidateEntry(**c) for c in values.get("candidates", ())]
        values["variants"] = [VariantEntry(**v) for v in values.get("variants", ())]
        values["measured"] = [(m["kpi"], m["value"]) for m in values.get("measured", ())]
        values["ranks"] = [RankEntry(**r) for r in values.get("ranks", ())]
    return _KINDS[kind](**values)
