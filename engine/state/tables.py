"""The archive's Parquet tables: one per kind of log entry, columns as the entry's fields."""

from __future__ import annotations

import logging
import struct
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from engine.kernels.shred import gather
from engine.state.log import (
    FORMATS,
    DecisionEntry,
    ElsewhereEntry,
    Entry,
    ErasedEntry,
    LogRow,
    OutcomeEntry,
    ProfileEntry,
    decode,
    unpacked,
)
from engine.state.packing import CorruptBlob
from engine.state.shredded import Shredded, shredded

log = logging.getLogger(__name__)

_AT_ONCE = 4096  # entries: what lies in columns meanwhile stays small
_DIGEST = pa.binary(16)
_TEXT = pa.string()
_PLACE = [("bucket", pa.int16()), ("log_id", _TEXT)]

SCHEMAS = {
    "decision": pa.schema(
        [
            *_PLACE,
            ("at_ms", pa.int64()),
            ("customer", _DIGEST),
            ("event", pa.uint64()),
            ("fingerprint", pa.uint64()),
            ("record_version", pa.binary()),
            ("profile_version", pa.binary()),
            ("event_type", _TEXT),
            ("revision", _TEXT),
            ("outcome", pa.int8()),
            ("reason", pa.int16()),
            ("slot", pa.int16()),
            ("values_read", _TEXT),  # a JSON object: values of different types
            (
                "candidates",
                pa.list_(
                    pa.struct(
                        [
                            ("message", _TEXT),
                            ("stopped_by", pa.int16()),
                            ("rank", pa.float64()),
                            ("share", pa.int64()),
                        ]
                    )
                ),
            ),
            ("message", _TEXT),
            ("variant", _TEXT),
            ("channel", _TEXT),
            ("policy", _TEXT),
            ("policy_version", pa.uint64()),
            ("segment", _TEXT),
            ("variants", pa.list_(pa.struct([("variant", _TEXT), ("share", pa.int64())]))),
            ("u_message", pa.int64()),
            ("u_variant", pa.int64()),
            ("send_at_ms", pa.int64()),
            ("attribution_s", pa.int64()),
            ("withheld", pa.bool_()),
            ("sticky", pa.bool_()),
            ("context", pa.list_(pa.int32())),
            ("about", pa.uint64()),
            ("terms", _TEXT),
            ("assignment", pa.int8()),
            ("reported", _TEXT),  # a JSON object
            ("measured", pa.list_(pa.struct([("kpi", _TEXT), ("value", pa.float64())]))),
            ("arbitration", _TEXT),
            (
                "ranks",
                pa.list_(
                    pa.struct(
                        [
                            ("candidate", pa.int16()),
                            ("version", pa.uint64()),
                            ("segment", _TEXT),
                            ("variants", _TEXT),
                            ("context", _TEXT),
                            ("value", pa.float64()),
                            ("rate", pa.float64()),
                            ("deviation", pa.float64()),
                            ("normal", pa.bool_()),
                            ("assignment", pa.int8()),
                        ]
                    )
                ),
            ),
        ]
    ),
    "outcome": pa.schema(
        [
            *_PLACE,
            ("at_ms", pa.int64()),
            ("occurred_ms", pa.int64()),
            ("customer", _DIGEST),
            ("event", pa.uint64()),
            ("outcome", pa.uint64()),
            ("value", pa.float64()),
            ("kind", pa.int8()),
            ("slot", pa.int16()),
            ("message", _TEXT),
            ("variant", _TEXT),
            ("policy", _TEXT),
            ("policy_version", pa.uint64()),
            ("segment", _TEXT),
            ("category", _TEXT),
        ]
    ),
    "profile": pa.schema(
        [
            *_PLACE,
            ("at_ms", pa.int64()),
            ("customer", _DIGEST),
            ("profile_version", pa.binary()),
            ("written", pa.list_(_TEXT)),
            ("removed", pa.list_(_TEXT)),
            ("contact", pa.bool_()),
            ("consents", _TEXT),  # a JSON array of rows
        ]
    ),
    "erased": pa.schema([*_PLACE, ("at_ms", pa.int64()), ("customer", _DIGEST)]),
    "elsewhere": pa.schema([*_PLACE, ("at_ms", pa.int64()), ("customer", _DIGEST), ("name", _TEXT), ("policy", _TEXT)]),
    "unreadable": pa.schema([*_PLACE, ("d", pa.binary())]),  # kept as it is, for a version that can
}
JSON = ("values_read", "reported", "consents")  # columns of JSON texts
NAMES: dict[Any, str] = {
    DecisionEntry: "decision",
    OutcomeEntry: "outcome",
    ProfileEntry: "profile",
    ErasedEntry: "erased",
    ElsewhereEntry: "elsewhere",
}


def tables_of(rows: Sequence[LogRow]) -> dict[str, pa.Table]:
    """The rows by kind, in their order. What cannot be decoded, or does not fit its columns, becomes `unreadable`."""
    parts: dict[str, list[pa.Table]] = {}
    for first in range(0, len(rows), _AT_ONCE):
        for kind, table in _tables_of(rows[first : first + _AT_ONCE]).items():
            parts.setdefault(kind, []).append(table)
    return {kind: pa.concat_tables(tables) for kind, tables in parts.items()}


def _tables_of(rows: Sequence[LogRow]) -> dict[str, pa.Table]:
    found, odd = shredded([d for _, _, d in rows])
    tables: dict[str, pa.Table] = {}
    for kind, entries in found.items():
        name = NAMES[FORMATS[kind].entry]
        try:
            if len(entries):
                tables[name] = _table(SCHEMAS[name], entries, rows)
        except (ValueError, TypeError, KeyError, struct.error):  # values in a form that nobody knows
            odd = sorted([*odd, *entries.rows.tolist()])
    places = {NAMES[FORMATS[kind].entry]: entries.rows.tolist() for kind, entries in found.items()}
    others: dict[str, list[tuple[int, pa.Table]]] = {}
    for place in odd:
        name, table = table_of_one(rows[place])
        others.setdefault(name, []).append((place, table))
    for name, added in others.items():
        before = places[name] if name in tables else []
        order = np.argsort([*before, *(place for place, _ in added)], kind="stable")
        whole = [tables[name]] if name in tables else []
        tables[name] = pa.concat_tables([*whole, *(table for _, table in added)]).take(order)
    return tables


def _table(schema: pa.Schema, entries: Shredded, rows: Sequence[LogRow]) -> pa.Table:
    """Entries of one kind, of which none is odd. Raises what values in a form that nobody knows raise."""
    own = [rows[place] for place in entries.rows.tolist()]
    raw = np.frombuffer(entries.data, np.uint8)
    columns: list[pa.Array] = [
        pa.array([bucket for bucket, _, _ in own], pa.int16()),
        pa.array([log_id for _, log_id, _ in own], _TEXT),
    ]
    for field in schema:
        if field.name in entries.layout.form.head_names:
            columns.append(_head(field, entries.heads[field.name]))
        elif field.name in entries.layout.form.tail_names:
            cells = entries.column(field.name)
            if field.name in JSON:
                columns.append(_json(entries.data, cells, "[]" if field.name == "consents" else "{}"))
            elif pa.types.is_list(field.type):
                ends = np.concatenate(([0], entries.list_ends(field.name))).astype(np.int32)
                columns.append(pa.ListArray.from_arrays(ends, _items(field.type.value_type, entries, field.name, raw)))
            else:
                columns.append(_column(field.type, cells, raw))
    return pa.Table.from_arrays(columns, schema=schema)


def _head(field: pa.Field, column: npt.NDArray[Any]) -> pa.Array:
    if field.type == pa.binary():  # a version, zeros where there was none
        words = np.ascontiguousarray(column).view(np.uint64)
        ends = np.concatenate(([0], np.cumsum(np.where(words != 0, 8, 0)))).astype(np.int32)
        return pa.Array.from_buffers(
            field.type, len(words), [None, pa.py_buffer(ends), pa.py_buffer(words[words != 0])]
        )
    if field.type == _DIGEST:
        data = np.ascontiguousarray(column)
        return pa.Array.from_buffers(field.type, len(data), [None, pa.py_buffer(data)])
    return pa.array(np.ascontiguousarray(column)).cast(field.type)  # raises where one does not fit


def _items(of: pa.DataType, entries: Shredded, name: str, raw: npt.NDArray[np.uint8]) -> pa.Array:
    parts = entries.items(name)
    if not pa.types.is_struct(of):
        return _column(of, parts[0], raw)
    fields = [of.field(place) for place in range(of.num_fields)]
    columns = [_column(field.type, part, raw) for field, part in zip(fields, parts, strict=True)]
    return pa.StructArray.from_arrays(columns, fields=fields)


def _column(of: pa.DataType, cells: npt.NDArray[np.int64], raw: npt.NDArray[np.uint8]) -> pa.Array:
    if of == _TEXT:
        begins, ends = np.ascontiguousarray(cells[:, 0]), np.ascontiguousarray(cells[:, 1])
        offsets, out = np.empty(len(cells) + 1, np.int32), np.empty(int((ends - begins).sum()), np.uint8)
        gather(raw, begins, ends, offsets, out)
        return pa.StringArray.from_buffers(len(cells), pa.py_buffer(offsets), pa.py_buffer(out))
    numbers = np.ascontiguousarray(cells[:, 0])
    if of == pa.float64():
        return pa.array(numbers.view(np.float64))
    if of == pa.uint64():
        return pa.array(numbers.view(np.uint64))
    if of == pa.bool_():
        return pa.array(numbers != 0)
    return pa.array(numbers.astype(of.to_pandas_dtype()), of)


def _json(data: bytes, cells: npt.NDArray[np.int64], nothing: str) -> pa.Array:
    written = [orjson.dumps(unpacked(data[begin:end])).decode() if end else nothing for begin, end in cells.tolist()]
    return pa.array(written, _TEXT)


def table_of_one(row: LogRow) -> tuple[str, pa.Table]:
    """An entry's kind, and a table of it alone: as Python decodes it."""
    place = {"bucket": row.bucket, "log_id": row.log_id}
    try:
        kind, values = values_of(decode(row.d))
        return kind, pa.Table.from_pylist([{**place, **values}], schema=SCHEMAS[kind])
    except (CorruptBlob, pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        log.warning("log entry %s of bucket %d is archived as it is: %s", row.log_id, row.bucket, error)
    return "unreadable", pa.Table.from_pylist([{**place, "d": row.d}], schema=SCHEMAS["unreadable"])


def values_of(entry: Entry) -> tuple[str, dict[str, Any]]:
    """An entry's kind, and its row of that table but for its place."""
    kind = NAMES[type(entry)]
    values = asdict(entry)
    for name in JSON:
        if name in values:
            values[name] = orjson.dumps(values[name]).decode()
    if isinstance(entry, DecisionEntry):
        values["candidates"] = [c._asdict() for c in entry.candidates]
        values["variants"] = [v._asdict() for v in entry.variants]
        values["measured"] = [{"kpi": name, "value": value} for name, value in entry.measured]
        values["ranks"] = [r._asdict() for r in entry.ranks]
    return kind, values
