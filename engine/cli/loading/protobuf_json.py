"""JSON lines that are tact.v1.Profile messages (protobuf JSON), a table of them at once."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.json_format import ParseDict, ParseError

from engine.cli.lines import from_object
from engine.cli.loading.columns import Column, Part, Schema
from engine.cli.loading.rows import BadCell
from engine.cli.loading.tables import Builder, Unusual, fill, heads_of
from engine.compiler.nodes import Type
from engine.pb.tact.v1 import profile_pb2 as pb

_FIELDS = frozenset(name for f in pb.Profile.DESCRIPTOR.fields for name in (f.name, f.json_name))
_TEXTS = pa.list_(pa.string())
_KNOWN_MAX = 50_000


def is_profile(row: dict[str, object], schema: Schema) -> bool:
    """Whether an object is a Profile, and not a row whose keys are features."""
    if not set(row) <= _FIELDS or "features" in schema.features:
        return False
    return isinstance(row.get("features", row.get("contact")), dict)


def profile_of(row: dict[str, object]) -> pb.Profile:
    """The profile of one object. Raises BadCell."""
    try:
        return from_object(row, pb.Profile)
    except ValueError as error:
        raise BadCell("", str(error)) from None


class ProfileTables:
    """Tables as `types` has Arrow read them, made after the way in which the first line is written."""

    def __init__(self, schema: Schema, first: bytes) -> None:
        def named(one: str, other: str) -> str:
            return other if f'"{other}"'.encode() in first else one

        whole = pa.string() if b'"integer": "' in first or b'"integer":"' in first else pa.int64()
        kinds = {
            Type.NUMBER: ("number", pa.float64()),
            Type.INTEGER: ("integer", whole),
            Type.TEXT: ("text", pa.string()),
            Type.DATE: ("text", pa.string()),
            Type.DURATION: ("text", pa.string()),
            Type.BOOL: ("flag", pa.bool_()),
            Type.TIME: ("time", pa.string()),
        }
        self._columns = [
            Column(name, Part.FEATURE, name, Type.TEXT if kinds[kind][0] == "text" else kind, unit)
            for name, (kind, unit) in schema.features.items()
            if kind in kinds
        ]
        self._heads = heads_of(self._columns)
        self._customer = named("customerId", "customer_id")
        self._consent = (
            "purpose",
            "state",
            named("changedAt", "changed_at"),
            "source",
            named("wordingVersion", "wording_version"),
        )
        self._lists = (named("blockedTopics", "blocked_topics"), named("blockedChannels", "blocked_channels"))
        self._known: dict[str, bytes] = {}
        features = pa.struct([(c.name, pa.struct([kinds[c.type]])) for c in self._columns])
        consents = pa.list_(pa.struct([(name, pa.string()) for name in self._consent]))
        contact = pa.struct([("consents", consents), *((name, _TEXTS) for name in self._lists)])
        self.types = {self._customer: pa.string(), "features": features, "contact": contact}

    def encode(self, table: pa.Table) -> tuple[bytes, list[int]]:
        """Fields of a PutProfilesRequest, and where each row's ends. Raises Unusual."""
        to = Builder(table.num_rows, len(self._columns))
        ids, features, contact = (table.column(name).combine_chunks() for name in self.types)
        ids, features, contact = (a.chunk(0) if isinstance(a, pa.ChunkedArray) else a for a in (ids, features, contact))
        if ids.null_count:
            raise Unusual
        to.ids[:] = to.spans(ids)
        for f, (column, each) in enumerate(zip(self._columns, features.flatten(), strict=True)):
            [values] = each.flatten()
            if values.null_count != each.null_count:  # a Value without a kind
                raise Unusual
            if values.null_count < len(values):
                self._fill(to, f, column, values)
        if contact.null_count < len(contact):
            written = self._written(contact).dictionary_encode()
            codes = pc.fill_null(written.indices, len(written.dictionary)).to_numpy(zero_copy_only=False)
            parts = [self._contact(text) for text in written.dictionary.to_pylist()]
            to.contact[:] = to.coded(codes, [*parts, None])
        return to.encoded(self._heads)

    def _fill(self, to: Builder, f: int, column: Column, values: pa.Array) -> None:
        if column.type is Type.TEXT:
            to.cells[:, f] = to.spans(values)
            to.given[:, f] = 1 if not values.null_count else values.is_valid().to_numpy(zero_copy_only=False)
            return
        try:
            if column.type is Type.TIME:
                values = pc.cast(values, pa.timestamp("ns", "UTC"))
            elif column.type is Type.INTEGER:
                values = pc.cast(values, pa.int64())
        except pa.ArrowException:
            raise Unusual from None
        fill(to, f, column.type, values)

    def _written(self, contact: pa.StructArray) -> pa.Array:
        """Each row's preferences as one text, JSON in effect: equal ones are taken apart once."""
        consents, *lists = contact.flatten()
        parts = pc.fill_null(pc.binary_join_element_wise(*(_quoted(p) for p in consents.flatten().flatten()), ","), "")
        ends = consents.offsets.to_numpy()
        texts = [_joined(ends, parts)]
        texts += [_joined(one.offsets.to_numpy(), _quoted(one.flatten())) for one in lists]
        whole = pc.binary_join_element_wise(*texts, "|")
        return pc.if_else(contact.is_valid(), whole, None)

    def _contact(self, written: str) -> bytes:
        made = self._known.get(written)
        if made is None:
            if len(self._known) > _KNOWN_MAX:
                self._known.clear()
            consents, topics, channels = written.split("|")
            rows: list[dict[str, Any]] = []
            for text in consents.split(";") if consents else ():
                values = [_unquoted(v) for v in text.split(",")]
                rows.append({k: v for k, v in zip(self._consent, values, strict=True) if v is not None})
            value = {"consents": rows}
            for name, text in zip(self._lists, (topics, channels), strict=True):
                value[name] = [_unquoted(v) for v in text.split(";")] if text else []  # type: ignore[misc]
            try:
                made = ParseDict(value, pb.ContactPreferences()).SerializeToString()
            except (ParseError, json.JSONDecodeError):
                raise Unusual from None
            self._known[written] = made
        return made


def _quoted(array: pa.Array) -> pa.Array:
    """Texts with a mark ahead, `-` where there is none. Raises Unusual where one holds what parts are told by."""
    if pc.any(pc.match_substring_regex(array, "[|;,]")).as_py():
        raise Unusual
    return pc.fill_null(pc.binary_join_element_wise("+", array, ""), "-")


def _unquoted(text: str) -> str | None:
    return text[1:] if text[0] == "+" else None


def _joined(offsets: Any, parts: pa.Array) -> pa.Array:
    offsets = offsets - offsets[0]
    joined = pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), parts), ";")
    return pc.fill_null(joined, "")
