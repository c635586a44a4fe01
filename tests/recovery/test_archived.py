"""Entries that went through the archive come back as they were."""

from __future__ import annotations

from pathlib import Path

import orjson
import pyarrow.parquet as pq

from engine.recovery.archived import entries_after
from engine.state.log import DecisionEntry, Entry, LogRow, OutcomeEntry, RankEntry, decode, encode
from engine.state.runs import Run
from engine.state.tables import tables_of
from tests.readout.written import decision, outcome


def test_every_field_comes_back(tmp_path: Path) -> None:
    one = decision(
        "ana", 1, 1_000, {"a": 5, "b": 7}, "b", assignment=1, reported={"facts.area": "rural", "features.age": 30.5},
        measured=[("spent", 12.5), ("units", 3.0)], context=[1024, -5], values_read={"event.x": True},
        ranks=[RankEntry(0, 3, "north", "a,b", "1024,-5", 2.0, 0.5, 0.1, True, 1)],
    )  # fmt: skip
    entries: list[Entry] = [one, outcome(one, 5, category="fees")]
    run = tmp_path / "run-0000000001"
    run.mkdir()
    for kind, table in tables_of([LogRow(0, f"{n}-0", encode(e)) for n, e in enumerate(entries, 1)]).items():
        pq.write_table(table, run / f"{kind}.parquet")
    (run / "ranges.json").write_bytes(orjson.dumps({"0": ["1-0", "2-0", 2]}))
    [found] = entries_after(Run(1, run), {}).values()
    assert [a.entry for a in found] == entries
    assert [decode(encode(a.entry)) for a in found] == entries  # as they are put back
    assert isinstance(found[0].entry, DecisionEntry)
    assert isinstance(found[1].entry, OutcomeEntry)
