"""The archived decision log as columns: names as codes, lists as offsets, hashes as integers.

A log is a directory with the archive's runs (`run-0000000001/decision.parquet`, `outcome.parquet`), as the
server's archiver or `tact replay --log` write it, or one such file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from engine.errors import TactError
from engine.state.tables import SCHEMAS

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
F64 = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_CANDIDATE, _VARIANT = "candidates.list.element.message", "variants.list.element.variant"
_NAMES: tuple[str, ...] = ("event_type", "revision", "message", "variant", "channel", "policy", "segment", "terms")
_NAMES += ("reported", "category", "arbitration")
_REMOVED = b"tact.removed"  # in a file's metadata: entries that erasures took out
_ODD = np.uint64(0x9E3779B97F4A7C15)
_HIDDEN = {"log_id", "fingerprint", "record_version", "profile_version", "values_read", "ranks"}  # read where asked


class UnreadableLog(TactError):
    """No log, or not one of this version."""


class Names:
    """Texts as codes, the same for all files of a log. Code 0 is the empty text."""

    def __init__(self) -> None:
        self.texts: list[str] = [""]
        self._codes: dict[str, int] = {"": 0}

    def code(self, text: str) -> int:
        """The text's code; a new one where it has none."""
        found = self._codes.get(text)
        if found is None:
            found = self._codes[text] = len(self.texts)
            self.texts.append(text)
        return found

    def codes(self, column: Any) -> I64:
        """Codes of a text column (plain or dictionary encoded); null is the empty text."""
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        codes = np.array([self.code(t or "") for t in column.dictionary.to_pylist()] or [0], np.int64)
        places: I64 = column.indices.fill_null(0).to_numpy(zero_copy_only=False)
        return codes[places]


@dataclass(slots=True)
class Lists:
    """Row i has the elements `at[i]` to `at[i + 1]` of the flat columns."""

    at: I64
    name: I64
    share: I64
    stopped_by: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    rank: F64 = field(default_factory=lambda: np.zeros(0))

    @property
    def row(self) -> I64:
        """The row of each element."""
        return np.repeat(np.arange(len(self.at) - 1), np.diff(self.at))

    def sums(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Sums over each row of a flat column (of integers: modulo 2^64)."""
        before = np.concatenate([np.zeros(1, values.dtype), np.cumsum(values, dtype=values.dtype)])
        sums: npt.NDArray[Any] = before[self.at[1:]] - before[self.at[:-1]]
        return sums


@dataclass(slots=True)
class Decisions:
    """One file's decisions. Names are codes; `customer` is the 16 bytes of the hash as two words (n, 2)."""

    path: Path
    names: Names
    customer: U64
    columns: dict[str, I64]
    event: U64
    candidates: Lists
    variants: Lists
    context: Lists  # what linear policies looked at: the numbers are the names
    measured: Lists  # what events add to KPIs: in `rank`
    table: pa.Table  # the columns that few ask for

    def __len__(self) -> int:
        return len(self.event)

    def __getitem__(self, name: str) -> I64:
        return self.columns[name]

    def decision_id(self, i: int) -> str:
        """As the server gave it."""
        return f"{self.customer[i].tobytes().hex()}-{int(self.event[i]):016x}-{int(self['slot'][i])}"


@dataclass(slots=True)
class Outcomes:
    """One file's outcomes, as `Decisions`."""

    path: Path
    names: Names
    customer: U64
    columns: dict[str, I64]
    event: U64
    value: F64

    def __len__(self) -> int:
        return len(self.event)

    def __getitem__(self, name: str) -> I64:
        return self.columns[name]


@dataclass(slots=True)
class Ranks:
    """What learned ranks were made of, flat: the row of the decision, the place of the candidate in its row, and the
    fields of `state.log.RankEntry`, texts as codes.
    """

    row: I64
    candidate: I64
    version: I64
    segment: I64
    variants: I64
    context: I64
    value: F64
    rate: F64
    deviation: F64
    normal: Flags
    assignment: I64

    def __len__(self) -> int:
        return len(self.row)


class RunCount(NamedTuple):
    """A run of the archive: how many entries were `read` from the store, how many are `found`, counting those that
    were `erased` since.
    """

    path: Path
    read: int
    found: int
    erased: int


def runs_of(log: Path) -> Iterator[RunCount]:
    """The runs that say how many entries they must hold. Raises UnreadableLog."""
    if log.is_file():
        return
    for path in _named(log, "ranges.json"):
        if not path.parent.name.startswith("run-"):
            continue
        try:
            ranges = orjson.loads(path.read_bytes())
            files = [pq.read_metadata(p) for p in path.parent.glob("[!.]*.parquet")]
            erased = sum(int((f.metadata or {}).get(_REMOVED, b"0")) for f in files)
            read, found = sum(r[2] for r in ranges.values()), sum(f.num_rows for f in files)
            yield RunCount(path.parent, read, found + erased, erased)
        except (pa.ArrowException, OSError, ValueError, TypeError, LookupError, AttributeError) as error:
            raise UnreadableLog(f"{path.parent}: its entries cannot be counted: {error}") from None


def files_of(log: Path, kind: str) -> list[Path]:
    """The log's Parquet files of one kind, in the order of their runs. Raises UnreadableLog where there is no log."""
    if log.is_file():
        found = [log] if kind == "decision" else [log.with_name(f"{kind}.parquet")]
        return [f for f in found if f.exists()]
    if not log.exists():
        raise UnreadableLog(f"{log}: no such file or directory; expected an archive of the decision log")
    found = _named(log, f"{kind}.parquet")
    if not found and kind == "decision":
        raise UnreadableLog(f"{log}: no decision.parquet in it; expected an archive of the decision log")
    return found


def _named(log: Path, name: str) -> list[Path]:
    """The files of this name, in order. Hidden directories are not entered: they come and go while a run is written."""

    def refuse(error: OSError) -> None:
        raise UnreadableLog(f"{error.filename}: cannot be listed: {error.strerror}")

    found = []
    for directory, inner, files in os.walk(log, onerror=refuse):
        inner[:] = [each for each in inner if each[0] != "."]
        if name in files:
            found.append(Path(directory, name))
    return sorted(found)


def read_decisions(log: Path, names: Names, more: tuple[str, ...] = ()) -> Iterator[Decisions]:
    """The log's decisions, file by file. `more`: columns kept as they are (`log_id`, `values_read`)."""
    found = files_of(log, "decision")
    if not found:
        raise UnreadableLog(f"{log}: no decision.parquet in it; expected an archive of the decision log")
    for path in found:
        table = _table(path, "decision", set(more), [*_NAMES, _CANDIDATE, _VARIANT])
        yield Decisions(
            path,
            names,
            digests_of(table["customer"]),
            _columns(table, names),
            table["event"].to_numpy(),
            _candidates(table["candidates"], names),
            _variants(table["variants"], names),
            lists_of(table["context"]) if "context" in table.column_names else _none(len(table)),
            _measured(table["measured"], names),
            table.select([c for c in more if c in table.column_names]),
        )


def read_outcomes(log: Path, names: Names) -> Iterator[Outcomes]:
    """The log's outcomes, file by file."""
    for path in files_of(log, "outcome"):
        table = _table(path, "outcome", set(), ["message", "variant", "policy", "segment", "category"])
        columns = _columns(table, names)
        yield Outcomes(
            path,
            names,
            digests_of(table["customer"]),
            columns,
            table["event"].to_numpy(),
            table["value"].to_numpy(),
        )


def given_elsewhere(log: Path) -> frozenset[str]:
    """Policies that were given what was learnt elsewhere."""
    tables = (columns_of(path, "elsewhere", ["policy"], []) for path in files_of(log, "elsewhere"))
    return frozenset(name for table in tables for name in table["policy"].to_pylist())


def _table(path: Path, kind: str, more: set[str], texts: list[str]) -> pa.Table:
    """All columns but the hidden ones that are not asked for."""
    return columns_of(path, kind, [f.name for f in SCHEMAS[kind] if f.name not in _HIDDEN or f.name in more], texts)


def columns_of(path: Path, kind: str, wanted: list[str], texts: list[str]) -> pa.Table:
    """Columns of a file with the schema of this version; those that it lacks are the kind's defaults. `texts` come
    as codes. Raises UnreadableLog.
    """
    schema = SCHEMAS[kind]
    try:
        there = set(pq.read_schema(path).names)
        if missing := {"customer", "event", "at_ms"} & set(schema.names) - there:
            raise UnreadableLog(f"{path}: no column '{min(missing)}'; expected a {kind} log")
        coded = [t for t in texts if t.partition(".")[0] in there]
        with pq.ParquetFile(path, read_dictionary=coded) as file:
            table = file.read(columns=[n for n in wanted if n in there], use_threads=False).combine_chunks()
    except (pa.ArrowException, OSError) as error:
        raise UnreadableLog(f"{path}: {error}") from None
    for name in wanted:
        if name not in there:
            kind_of = schema.field(name).type
            empty: object = [] if pa.types.is_list(kind_of) else "" if kind_of == pa.string() else 0
            table = table.append_column(name, pa.array([empty] * len(table)).cast(kind_of))
    return table


def _columns(table: pa.Table, names: Names) -> dict[str, I64]:
    columns: dict[str, I64] = {}
    for name in table.column_names:
        column = _one(table[name])
        if name in _NAMES:
            columns[name] = names.codes(column)
        elif pa.types.is_boolean(column.type):
            columns[name] = column.to_numpy(zero_copy_only=False).astype(np.int64)
        elif pa.types.is_integer(column.type) and name not in ("event", "outcome_id"):
            columns[name] = column.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    return columns


def _one(column: pa.ChunkedArray) -> Any:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks or [pa.array([], column.type)])


def numbers_of(column: pa.ChunkedArray) -> I64:
    """Whole numbers or flags; null is 0."""
    found = _one(column)
    found = found.fill_null(False if pa.types.is_boolean(found.type) else 0)
    numbers: I64 = found.to_numpy(zero_copy_only=False).astype(np.int64)
    return numbers


def codes_of(column: pa.ChunkedArray, names: Names) -> I64:
    """Texts as codes."""
    return names.codes(_one(column))


def digests_of(column: pa.ChunkedArray) -> U64:
    """Hashes of customers as two words (n, 2)."""
    array = _one(column)
    if len(array) == 0:
        return np.zeros((0, 2), np.uint64)
    raw = np.frombuffer(array.buffers()[1], np.uint64)
    return raw[2 * array.offset : 2 * (array.offset + len(array))].reshape(-1, 2)


def _list(column: pa.ChunkedArray) -> tuple[I64, Any]:
    array = _one(column)
    offsets = array.offsets.to_numpy().astype(np.int64)
    flat = array.values.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))
    return offsets - offsets[0], flat


def ranks_of(d: Decisions) -> Ranks:
    """The column `ranks` of decisions that were read with it."""
    at, flat = _list(d.table["ranks"])
    candidate, version, segment, variants, context, value, rate, deviation, normal, assignment = flat.flatten()
    segments, variants, contexts = (d.names.codes(column) for column in (segment, variants, context))
    values, rates, deviations = (column.to_numpy(zero_copy_only=False) for column in (value, rate, deviation))
    return Ranks(
        np.repeat(np.arange(len(d)), np.diff(at)),
        candidate.to_numpy(zero_copy_only=False).astype(np.int64),
        version.to_numpy(zero_copy_only=False).astype(np.int64),
        segments,
        variants,
        contexts,
        values,
        rates,
        deviations,
        normal.to_numpy(zero_copy_only=False).astype(np.bool_),
        assignment.to_numpy(zero_copy_only=False).astype(np.int64),
    )


def lists_of(column: pa.ChunkedArray) -> Lists:
    """Lists of whole numbers: these are the names."""
    at, flat = _list(column)
    numbers = flat.to_numpy(zero_copy_only=False).astype(np.int64)
    return Lists(at, numbers, np.zeros_like(numbers))


def _none(rows: int) -> Lists:
    nothing = np.zeros(0, np.int64)
    return Lists(np.zeros(rows + 1, np.int64), nothing, nothing)


def _candidates(column: pa.ChunkedArray, names: Names) -> Lists:
    at, flat = _list(column)
    message, stopped_by, rank, share = flat.flatten()
    return Lists(
        at,
        names.codes(message),
        share.to_numpy(zero_copy_only=False),
        stopped_by.to_numpy(zero_copy_only=False).astype(np.int64),
        rank.to_numpy(zero_copy_only=False),
    )


def _variants(column: pa.ChunkedArray, names: Names) -> Lists:
    at, flat = _list(column)
    variant, share = flat.flatten()
    return Lists(at, names.codes(variant), share.to_numpy(zero_copy_only=False))


def _measured(column: pa.ChunkedArray, names: Names) -> Lists:
    at, flat = _list(column)
    kpi, value = flat.flatten()
    codes = names.codes(kpi)
    return Lists(at, codes, np.zeros_like(codes), rank=value.to_numpy(zero_copy_only=False))


def mixed(*words: U64) -> U64:
    """64-bit mixes of several words (Stafford's finaliser between them), to find equal rows."""
    mixed = np.zeros(len(words[0]), np.uint64)
    for word in words:
        mixed = (mixed ^ word) * _ODD
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(27)
    return mixed


def decision_keys(customer: U64, event: U64, slot: I64) -> U64:
    """One number for each decision id."""
    return mixed(customer[:, 0], customer[:, 1], event, slot.astype(np.uint64))
