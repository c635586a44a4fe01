"""Erasure in the archive: files that hold an erased customer's entries are written again without them.

What is in the log by then is a keyed hash of the customer's id, with what was decided and which conditions were
read. An ERASED entry says whose, and since when: entries of a later life, after it, stay, and so does the ERASED
entry itself, which a restored backup must hear of. A file is replaced by one rename and carries the number of
entries taken out of it, so that a run's count still agrees with what was read from the store. `rewritten.json`
says up to which run erasures have been carried out; a crash before that is one more look at files already clean.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from engine.errors import Conflict
from engine.identity import BUCKETS
from engine.state.log import order
from engine.state.runs import (
    ArchiveError,
    Run,
    lock,
    read_table,
    reconcile,
    replace_synced,
    rows_and_removed,
    runs,
    sync,
    with_removed,
)

_DONE = "rewritten.json"
_KEPT = "erased"  # the kind of entry that stays
Erased = dict[bytes, str]  # customer's digest -> log id of the last erasure


class Pending(NamedTuple):
    """Erasures that the archive has heard of and not yet carried out. `oldest_ms` is 0 where there is none."""

    customers: int
    oldest_ms: int


@dataclass(slots=True)
class ErasureReport:
    """What one pass did: up to which run, for how many customers, files written again, entries taken out."""

    run: int = 0
    customers: int = 0
    files: int = 0
    removed: int = 0


def pending(directory: Path) -> Pending:
    """What waits for `rewrite`. Raises ArchiveError."""
    done = _done(directory)
    oldest, customers = 0, set()
    for path in _erased_files([r for r in runs(directory) if r.number > done]):
        table = read_table(path, ["customer", "at_ms"])
        customers.update(table["customer"].to_pylist())
        times = table["at_ms"].to_pylist()
        oldest = min([oldest or times[0], *times]) if times else oldest
    return Pending(len(customers), oldest)


def rewrite(directory: Path) -> ErasureReport:
    """Takes out what erased customers left, in every run up to the present last one.

    Beside the archiver, which only ever adds runs. Raises Conflict where another one is at it, ArchiveError where a
    file cannot be read or the counts do not agree (that file stays as it was), OSError.
    """
    with _alone(directory):
        found, done = runs(directory), _done(directory)
        report = ErasureReport(done)
        if not found or found[-1].number <= done:
            return report
        erased = erasures(r for r in found if r.number > done)
        report.run, report.customers = found[-1].number, len(erased)
        if erased:
            for run in found:
                _rewrite_run(run, erased, report)
        replace_synced(directory / _DONE, orjson.dumps({"run": report.run}))
        return report


def erasures(of: Iterator[Run]) -> Erased:
    """Who was erased, as these runs tell. Raises ArchiveError."""
    erased: Erased = {}
    for path in _erased_files(of):
        table = read_table(path, ["customer", "log_id"])
        for customer, log_id in zip(table["customer"].to_pylist(), table["log_id"].to_pylist(), strict=True):
            erased[customer] = max(erased.get(customer, "0-0"), log_id, key=order)
    return erased


def _rewrite_run(run: Run, erased: Mapping[bytes, str], report: ErasureReport) -> None:
    for left in run.path.glob(".*.parquet"):  # a crash before its rename
        left.unlink()
    ranges = run.ranges()
    here = {c: last for c, last in erased.items() if (r := ranges.get(_bucket(c))) and order(r.first) <= order(last)}
    if not here:
        return
    for kind, path in run.tables():
        if kind == _KEPT:
            continue
        going = _going(kind, path, here)
        if going.any():
            _replace(path, going)
            report.files += 1
            report.removed += int(going.sum())
    reconcile(run)


def _going(kind: str, path: Path, erased: Mapping[bytes, str]) -> np.ndarray:
    """Which rows of a file are an erased customer's, from before the erasure."""
    whose = "d" if kind == "unreadable" else "customer"
    table = read_table(path, [whose, "log_id"])
    going = np.zeros(len(table), bool)
    if kind == "unreadable":  # an entry of a later version: a customer's where it has their hash in it
        blobs = table[whose].to_pylist()
        places = [(i, c) for i, d in enumerate(blobs) for c in erased if c in d]
    else:
        known = pc.is_in(table[whose], value_set=pa.array(list(erased), table.schema.field(whose).type))
        at = np.flatnonzero(known.to_numpy())
        places = list(zip(at.tolist(), table[whose].take(at).to_pylist(), strict=True))
    for i, customer in places:
        going[i] = order(table["log_id"][i].as_py()) <= order(erased[customer])
    return going


def _replace(path: Path, going: np.ndarray) -> None:
    table, (rows, removed) = read_table(path), rows_and_removed(path)
    left = table.filter(pa.array(~going))
    hidden = path.with_name(f".{path.name}")
    pq.write_table(with_removed(left, removed + int(going.sum())), hidden, compression="zstd")
    sync(hidden)
    if sum(rows_and_removed(hidden)) != rows + removed:
        raise ArchiveError(f"{path} would not be whole after the erasure; it stays as it was")
    os.replace(hidden, path)
    sync(path.parent)


def _erased_files(of: Iterator[Run] | list[Run]) -> list[Path]:
    return [path for run in of for kind, path in run.tables() if kind == _KEPT]


def _bucket(customer: bytes) -> int:
    return int.from_bytes(customer[:8], "little") % BUCKETS


def _done(directory: Path) -> int:
    path = directory / _DONE
    try:
        return int(orjson.loads(path.read_bytes())["run"]) if path.exists() else 0
    except (ValueError, KeyError, TypeError) as error:
        raise ArchiveError(f"{path} cannot be read: {error}; without it all erasures are carried out again") from None


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    if not directory.is_dir():
        raise ArchiveError(f"there is no archive in {directory}")
    fd = lock(directory / ".rewriting")
    if fd is None:
        raise Conflict(f"erasures are being carried out in {directory} already")
    try:
        yield
    finally:
        os.close(fd)
