"""What the log's keeper does with an entry, beside the same done entry by entry in Python.

Entries of 1,000 messages' decisions, read from the store as the keeper reads them: archived is made ready for Parquet,
learnt is taken into the fold. Processor time, and beside it that of the decision itself, in process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import pyarrow as pa
import uvloop

from bench import generate, pipeline
from bench.processes import SERVER_CORE, pinned, store
from bench.rows import Effort, Row
from engine.bundle import Active, Bundle, compile_bundle
from engine.columns.lane import Lane
from engine.columns.warm import warm
from engine.decider import Decider
from engine.identity import BUCKETS
from engine.learning.fold import BucketFold, Report, Trial, part_of, parts_of
from engine.state.log import LogRow, decode
from engine.state.reading import read_on
from engine.state.redis import RedisStore
from engine.state.tables import SCHEMAS, tables_of, values_of

BATCH = 256
_BATCHES = 40
_ONE_BY_ONE = 2000  # entries


async def _entries(bundle: Bundle, url: str, effort: Effort) -> tuple[list[LogRow], float]:
    """What so many decisions leave in the log, and what one of them took, us."""
    records = RedisStore(url, "bench:", commit_budget_ms=10_000, max_log_length=10_000_000)
    decider = Decider(Active(bundle), records)
    await pipeline.put(decider, generate.customers(effort.customers))
    lane = Lane(decider, records)
    lane.prepare()
    source = pipeline.asks(effort.customers, "log")
    size = min(BATCH, effort.customers)
    batches = [[pipeline.payload(next(source)) for _ in range(size)] for _ in range(_BATCHES)]
    begin = time.process_time()
    for batch in batches:
        await pipeline.through(lane, batch)
    took_us = (time.process_time() - begin) / (_BATCHES * size) * 1e6
    keys = [records.bucket_key(bucket, "log") for bucket in range(BUCKETS)]
    rows = [row async for some in read_on(records.side, keys, ["0-0"] * BUCKETS) for row in some]
    await decider.drain()
    await records.close()
    return rows, took_us


def _take_in(rows: Sequence[LogRow], parts: list[Trial | Report | None]) -> None:
    BucketFold().extend([(row.log_id, part) for row, part in zip(rows, parts, strict=True)])


def _archive(rows: Sequence[LogRow]) -> None:
    assert tables_of(rows)


def _archive_each(rows: Sequence[LogRow]) -> None:
    kinds: dict[str, list[dict[str, object]]] = {}
    for row in rows:
        kind, values = values_of(decode(row.d))
        kinds.setdefault(kind, []).append({"bucket": row.bucket, "log_id": row.log_id, **values})
    assert all(pa.Table.from_pylist(found, schema=SCHEMAS[kind]) for kind, found in kinds.items())


def _learn(rows: Sequence[LogRow]) -> None:
    _take_in(rows, parts_of([row.d for row in rows]))


def _learn_each(rows: Sequence[LogRow]) -> None:
    _take_in(rows, [part_of(decode(row.d)) for row in rows])


def _us(work: Callable[[Sequence[LogRow]], None], rows: Sequence[LogRow]) -> float:
    begin = time.process_time()
    work(rows)
    return (time.process_time() - begin) / len(rows) * 1e6


def run(effort: Effort) -> list[Row]:
    """Makes a log, and reads it both ways by turns."""
    warm()
    bundle = compile_bundle(generate.rules(effort.messages).files)
    with store() as url, pinned(SERVER_CORE), pipeline.collector_as_in_service():
        rows, decided_us = uvloop.run(_entries(bundle, url, effort))
        some = rows[:_ONE_BY_ONE]
        for work in (_archive, _learn):
            work(some)  # loads its kernels
        note = f"log: {len(rows):,} entries of {sum(len(row.d) for row in rows) // len(rows)} bytes."
        note += f" The decision itself takes {decided_us:.1f} us of processor."
        found = []
        for what, ours, each in (("archived", _archive, _archive_each), ("learnt", _learn, _learn_each)):
            mine, theirs = [], []
            for _ in range(effort.repeats):
                mine.append(_us(ours, rows))
                theirs.append(_us(each, some))
            found.append(Row(f"log entry {what}", "us", mine, theirs, better="lower", note=note))
    return found
