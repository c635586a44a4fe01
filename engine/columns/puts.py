"""Profiles put by the batch, in kernels: from a PutProfilesRequest's bytes to a transaction and the answer's bytes.

Who is LEFT on the way is put by `decider.put_profiles` instead, as if nothing had been tried.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress

import msgpack
import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from engine.bundle import Bundle
from engine.columns.batch import _store
from engine.columns.requests import CODES
from engine.compiler.model import LEARNING, RuleSet
from engine.compiler.nodes import Type
from engine.contact.topics import Topics
from engine.kernels import blake2b
from engine.kernels import puts as p
from engine.kernels import write_puts as w
from engine.kernels.arena import FINE, LEFT
from engine.kernels.canonical import OTHER
from engine.kernels.names import names
from engine.kernels.profiles import UNKNOWN_SCHEMA, section_hash
from engine.kernels.rewrite import SCRATCH, Layouts, find_layouts
from engine.kernels.write import BUCKETS, KEY_ROOM
from engine.pb.tact.v1 import profile_pb2 as pb
from engine.state.packing import CorruptBlob
from engine.state.profile import ProfileSchema, pack_schema, schema_section, unpack_schema
from engine.zones import zone

I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]

SECTIONS_MAX = 256  # as columns.profiles
_SLOTS = 4 * SECTIONS_MAX
_CELLS_MAX = 4096
_BLOCKED_TOPIC = b"\x12"  # the tag of one, in ContactPreferences
_CODES = {**CODES, Type.DATE: p.DATE}


class PutColumns:
    """A rule set's tables for puts. For one thread."""

    def __init__(self, bundle: Bundle, secret: bytes) -> None:
        rules: RuleSet = bundle.ruleset
        self.bundle = bundle
        features = [rules.features[name] for name in sorted(rules.features)]
        money = sorted({f.unit for f in features if f.type is Type.MONEY and f.unit is not None})
        channels = {*rules.channels, *(c.channel for m in rules.messages.values() for c in m.channels)}
        self.declared = p.Declared(
            names=names([f.name.encode() for f in features]),
            types=np.array([_CODES.get(f.type, OTHER) for f in features], np.int8),
            units=np.array([money.index(f.unit) if f.unit in money else -1 for f in features], np.int32),
            currencies=names([unit.encode() for unit in money]),
            purposes=names([name.encode() for name in (*rules.purposes, LEARNING)]),
            channels=names([name.encode() for name in sorted(channels)]),
            customer=blake2b.start(16, secret, b"tact-customer"),
        )
        self.count = len(features)
        self.timezone = next((n for n, f in enumerate(features) if f.name == "timezone" and f.type is Type.TEXT), -1)
        packed = [msgpack.packb(f.name) for f in features]
        ends = np.cumsum([0, *map(len, packed)], dtype=np.int64)
        spans = np.ascontiguousarray(np.column_stack((ends[:-1], ends[1:])))
        self.words = w.Words(np.frombuffer(b"".join(packed) or b"\0", np.uint8), spans)
        self.topics = Topics(rules)
        self.sections = Sections(bundle.steps.features)
        self.hashed = np.zeros(8, np.uint64)
        self.said = np.zeros((p.MAX_CONSENTS, p.SAID), np.int64)


class Sections:
    """The schema sections seen under one rule set, and how a profile of each is rewritten: `layouts`."""

    def __init__(self, declared: Mapping[str, tuple[str, str]]) -> None:
        self._declared = {name: (n, *declared[name]) for n, name in enumerate(sorted(declared))}
        self._known: set[bytes] = set()
        none = np.zeros(0, np.int64)
        self.layouts = Layouts(
            slots=np.full(_SLOTS, -1, np.int64),
            hashes=np.zeros(0, np.uint64),
            spans=np.zeros((0, 8), np.int64),
            sections=np.zeros(0, np.uint8),
            old=none,
            new=np.zeros((0, 2), np.int64),
        )
        self.cells = 1  # the most of any section
        self._add(b"", ProfileSchema((), (), (), (), ()))

    def learn(self, blob: bytes) -> bool:
        """Adds the section of a profile's bytes. False where it is known, is none, or there is no room."""
        section = schema_section(blob)
        if not section or section in self._known or len(self._known) == SECTIONS_MAX:
            return False
        try:
            schema = unpack_schema(section)
            if len(schema.names) > _CELLS_MAX:
                return False
            self._add(section, schema)
        except (CorruptBlob, ValueError):
            return False
        return True

    def _add(self, section: bytes, schema: ProfileSchema) -> None:
        was = self.layouts
        old, kept = [], {}
        written = {name: (kind, unit) for name, (_, kind, unit) in self._declared.items()}
        for c, (name, kind, unit) in enumerate(zip(schema.names, schema.types, schema.units, strict=True)):
            number, *now = self._declared.get(name, (-1,))
            if number < 0:
                written[name] = kind.value, unit
            fits = number < 0 or now == [kind.value, unit]
            old.append(number if fits else -2 - number)
            if fits:
                kept[name] = c
        order = sorted(written)
        units = tuple(written[n][1] for n in order if written[n][0] == Type.MONEY)
        to = pack_schema(tuple(order), tuple(written[n][0] for n in order), units)
        new = [(self._declared.get(n, (-1,))[0], kept.get(n, -1)) for n in order]
        end = len(was.sections)
        span = (end, end + len(section), end + len(section), end + len(section) + len(to))
        mixed = int(section_hash(np.frombuffer(section or b"\0", np.uint8), 0, len(section)))
        slots: I64 = was.slots.copy()
        if section:  # no profile is never looked up
            slot = mixed % _SLOTS
            while slots[slot] >= 0:
                slot = (slot + 1) % _SLOTS
            slots[slot] = len(was.hashes)
            self._known.add(section)
        self.cells = max(self.cells, len(old), len(new))
        self.layouts = Layouts(
            slots=slots,
            hashes=np.append(was.hashes, np.uint64(mixed)),
            spans=np.concatenate((was.spans, np.array([(*span, len(was.old), len(old), len(was.new), len(new))]))),
            sections=np.concatenate((was.sections, np.frombuffer(section + to, np.uint8))),
            old=np.concatenate((was.old, np.array(old, np.int64))),
            new=np.concatenate((was.new, np.array(new, np.int64).reshape(-1, 2))),
        )


class PutBatch:
    """The profiles of one request under one rule set; `spans`: of each in `payload`. Methods are called in order."""

    def __init__(self, columns: PutColumns, payload: bytes, spans: I64) -> None:
        n = len(spans)
        self.columns = columns
        self.data = np.frombuffer(payload, np.uint8)
        self.puts = p.Puts(
            status=np.zeros(n, np.int8),
            customer=np.zeros((n, 2), np.uint64),
            ids=np.zeros((n, 2), np.int64),
            given=np.zeros((n, columns.count), np.uint8),
            cells=np.zeros((n, columns.count, 2), np.int64),
            contact=np.zeros((n, 2), np.int64),
        )
        self.status = self.puts.status
        p.read_puts(self.data, spans, columns.declared, columns.hashed, self.puts)
        self._leave_wrong_zones(payload)
        self._leave_misspelt_topics(payload)
        self._leave_repeated(payload, spans)

    def _leave_wrong_zones(self, payload: bytes) -> None:
        f = self.columns.timezone
        if f < 0:
            return
        rows = np.flatnonzero(self.puts.given[:, f])
        for i, (begin, end) in zip(rows.tolist(), self.puts.cells[rows, f].tolist(), strict=True):
            if self.status[i] == FINE and zone(payload[begin:end].decode()) is None:
                self.status[i] = LEFT

    def _leave_misspelt_topics(self, payload: bytes) -> None:
        """Whoever blocks one; a Consent for a topic is no matter of kernels."""
        rows = np.flatnonzero(self.puts.contact[:, 0] >= 0)
        for i, (begin, end) in zip(rows.tolist(), self.puts.contact[rows].tolist(), strict=True):
            contact = payload[begin:end]
            if _BLOCKED_TOPIC not in contact:  # nearly always: nothing is taken apart
                continue
            with suppress(DecodeError):
                if any(map(self.columns.topics.meant, pb.ContactPreferences.FromString(contact).blocked_topics)):
                    self.status[i] = LEFT

    def _leave_repeated(self, payload: bytes, spans: I64) -> None:
        """Of a customer with several profiles here all go the ordinary way, which keeps their order."""
        fine = np.flatnonzero(self.status == FINE)
        words = self.puts.customer[fine, 0]
        _, place, counts = np.unique(words, return_inverse=True, return_counts=True)
        if len(counts) < len(fine):
            self.status[fine[counts[place] > 1]] = LEFT
        if len(fine) == len(self.status):
            return
        left = set()
        for begin, end in spans[self.status == LEFT].tolist():
            with suppress(DecodeError):
                left.add(pb.Profile.FromString(payload[begin:end]).customer_id.encode())
        for i in np.flatnonzero(self.status == FINE).tolist():
            begin, end = self.puts.ids[i].tolist()
            if payload[begin:end] in left:
                self.status[i] = LEFT

    def leave_buckets(self, buckets: frozenset[int]) -> None:
        """Those of these buckets: their logs are full, or nearly so."""
        if buckets:
            found = np.isin(self.puts.customer[:, 0] & np.uint64(BUCKETS - 1), np.array(sorted(buckets), np.uint64))
            self.status[found] = LEFT

    def rows(self) -> I64:
        """Those that are not left."""
        return np.flatnonzero(self.status == FINE)

    def rows_of(self, rows: I64) -> I64:
        """Those of these rows."""
        fine: I64 = rows[self.status[rows] == FINE]
        return fine

    def read_command(self, rows: I64, prefix: U8) -> bytes:
        """The WATCH and the MGET that read these rows' profiles and records."""
        out = np.empty(64 + len(rows) * 4 * (KEY_ROOM + len(prefix)), np.uint8)
        size = w.read_command(rows, _store(prefix), self.puts, out)
        return out[:size].tobytes()

    def commit(self, rows: I64, blobs: Sequence[bytes | None], store_ms: int, prefix: U8) -> tuple[bytes, int]:
        """The transaction that puts these rows, and how many commands lie within. `blobs`: of each row what the store
        holds, profile and record by turns. Rows that are left after all are not in it."""
        columns, puts, store = self.columns, self.puts, _store(prefix)
        parts = [blob or b"" for blob in blobs]
        raw = b"".join(parts)
        held = np.frombuffer(raw or b"\0", np.uint8)
        ends = np.cumsum([0, *map(len, parts)], dtype=np.int64)
        spans = np.zeros((len(self.status), 4), np.int64)
        spans[rows, 0], spans[rows, 1], spans[rows, 2], spans[rows, 3] = ends[:-1:2], ends[1::2], ends[1::2], ends[2::2]
        layout = np.zeros(len(self.status), np.int64)
        again = rows
        while find_layouts(again, held, spans, columns.sections.layouts, puts, layout):
            again = np.flatnonzero(self.status == UNKNOWN_SCHEMA)
            i = int(again[0])
            if not columns.sections.learn(raw[int(spans[i, 0]) : int(spans[i, 1])]):
                self.status[i] = LEFT
        layouts, words, declared = columns.sections.layouts, columns.words, columns.declared
        out = np.empty(w.puts_room(rows, spans, layouts, layout, declared, puts, store, words), np.uint8)
        versions = np.frombuffer(os.urandom(8 * len(self.status)), np.uint64) | np.uint64(1)
        old, new = np.zeros((2, columns.sections.cells + 1, SCRATCH), np.int64)
        total = np.zeros(1, np.int64)
        size = w.write_puts(
            rows, self.data, held, spans, store_ms, layouts, layout, declared, words, store, versions, old, new,
            columns.said, puts, out, total,
        )  # fmt: skip
        return out[:size].tobytes(), int(total[0])

    def results(self, rows: I64) -> tuple[bytes, list[int]]:
        """The answer to these rows, all stored, and where each one's part ends."""
        ids = self.puts.ids[rows]
        out = np.empty(int((ids[:, 1] - ids[:, 0]).sum()) + 16 * len(rows) + 16, np.uint8)
        ends = np.zeros(len(rows), np.int64)
        size = w.write_results(rows, self.data, self.puts, out, ends)
        return out[:size].tobytes(), ends.tolist()
