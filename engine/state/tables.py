"""The archive's Parquet tables: one per kind of log entry, columns as the entry's fields."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import orjson
import pyarrow as pa

from engine.state.log import DecisionEntry, ErasedEntry, OutcomeEntry, ProfileEntry, decode
from engine.state.packing import CorruptBlob

log = logging.getLogger(__name__)

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
    "unreadable": pa.schema([*_PLACE, ("d", pa.binary())]),  # kept as it is, for a version that can
}
_KIND_OF = {
    DecisionEntry: "decision",
    OutcomeEntry: "outcome",
    ProfileEntry: "profile",
    ErasedEntry: "erased",
}


class LogRow(NamedTuple):
    """An entry as read from a bucket's stream."""

    bucket: int
    log_id: str
    d: bytes


def tables_of(rows: Sequence[LogRow]) -> dict[str, pa.Table]:
    """The rows by kind. What cannot be decoded, or does not fit its columns, becomes `unreadable`."""
    kinds: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        kind, values = _values(row)
        kinds.setdefault(kind, []).append({"bucket": row.bucket, "log_id": row.log_id, **values})
    return {kind: pa.Table.from_pylist(found, schema=SCHEMAS[kind]) for kind, found in kinds.items()}


def _values(row: LogRow) -> tuple[str, dict[str, Any]]:
    try:
        entry = decode(row.d)
        kind = _KIND_OF[type(entry)]
        values = asdict(entry)
        for name in ("values_read", "consents"):
            if name in values:
                values[name] = orjson.dumps(values[name]).decode()
        if isinstance(entry, DecisionEntry):
            values["candidates"] = [c._asdict() for c in entry.candidates]
            values["variants"] = [v._asdict() for v in entry.variants]
    except CorruptBlob as e:
        log.warning("log entry %s of bucket %d is archived as it is: %s", row.log_id, row.bucket, e)
        return "unreadable", {"d": row.d}
    return kind, values
