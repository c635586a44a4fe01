"""One batch of decisions in columns: from requests to what is to be committed and answered. Pure, but for time.

    requests -> (the store is read) -> records, profiles -> windows -> rules -> choice -> (commit) -> answers

Whoever is LEFT on the way is decided by the step in Python instead, as if nothing had been tried.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, islice

import msgpack
import numpy as np
import numpy.typing as npt

from engine.columns.requests import requests
from engine.columns.rules import RuleColumns
from engine.columns.shares import ShareTable
from engine.columns.texts import ColumnPool, codes
from engine.columns.values import Values
from engine.compiler.model import Policy
from engine.compiler.plan import Batch, Plan
from engine.compiler.program import Funnel
from engine.compiler.reference import Inputs
from engine.compiler.stages import Grid, padded
from engine.decision import Reason
from engine.identity import BUCKETS, CustomerKey
from engine.kernels import customers as k
from engine.kernels import messages as c
from engine.kernels import write as w
from engine.kernels.arena import FINE, LEFT
from engine.kernels.bodies import bodies_room, write_bodies
from engine.kernels.choose import choose
from engine.kernels.direct import direct
from engine.kernels.fill import Inputs as Columns
from engine.kernels.fill import fill
from engine.kernels.profiles import UNKNOWN_SCHEMA, profiles
from engine.kernels.requests import read_requests
from engine.learning.enrolment import Assignment, assignment
from engine.step.measured import reported
from engine.step.operations import ANSWER_KEPT_MS, ANSWERS_KEPT
from engine.step.reasons import stopped_by_rules
from engine.step.take import World
from engine.zones import ZONES

# each of these is always called with the same types
_read_requests, _read_command = direct(read_requests), direct(w.read_command)
_open_records, _open_profiles, _ensure_windows = (
    direct(k.open_records),
    direct(k.open_profiles),
    direct(k.ensure_windows),
)
_text_hashes, _count_events, _read_windows = direct(k.text_hashes), direct(k.count_events), direct(k.read_windows)
_fill, _held_out, _choose = direct(fill), direct(k.held_out), direct(choose)
_bodies_room, _write_bodies = direct(bodies_room), direct(write_bodies)
_write_commit, _write_answers = direct(w.write_commit), direct(w.write_answers)

I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Draw:
    """The keys of the draw, see learning.shares."""

    key0: int
    key1: int


class ColumnBatch:
    """A batch of requests under one rule set. Methods are called in their order."""

    def __init__(self, rules: RuleColumns, payloads: Sequence[bytes]) -> None:
        self.rules = rules
        self.events = n = len(payloads)
        self._head = b"".join((rules.prefix, *payloads))
        ends = _ends(payloads, len(rules.prefix))
        self.requests = requests(n, rules.schema)
        _read_requests(np.frombuffer(self._head, np.uint8), ends, rules.schema, self.requests)
        self.status = self.requests.status
        self.now_ms = np.zeros(n, np.int64)

    def keys(self) -> list[CustomerKey]:
        """The customers, by event."""
        customers = self.requests.customer
        digests, buckets = customers.view(_DIGEST).ravel().tolist(), (customers[:, 0] & _BUCKET).tolist()
        return list(map(CustomerKey._make, zip(digests, buckets, strict=True)))

    def read_command(self, events: I64, prefix: U8) -> bytes:
        """The WATCH and the MGET that read these events' customers."""
        out = np.empty(64 + len(events) * 5 * (w.KEY_ROOM + len(prefix)), np.uint8)
        size = _read_command(events, _store(prefix), self._customers(), out)
        return out[:size].tobytes()

    def _customers(self) -> c.Customers:
        r = self.requests
        return c.Customers(r.customer, r.event, _NO_SPANS, self.now_ms, _NO_BYTES, self.now_ms)

    # ---- what the store holds -----------------------------------------------------------------------

    def open(self, events: I64, store_ms: int, blobs: Sequence[bytes | None]) -> None:
        """Takes apart what was read: profile, record and spilled answer of each of these events, by turns."""
        rules, r, n = self.rules, self.requests, self.events
        parts = [blob or b"" for blob in blobs]
        self._bytes = data = b"".join((self._head, *parts))
        self.data = np.frombuffer(data, np.uint8)
        ends = _ends(parts, len(self._head))
        spans = np.empty((len(parts), 2), np.int64)
        spans[:, 0], spans[:, 1] = ends[:-1], ends[1:]
        spans = spans.reshape(-1, 6)
        if len(events) < n:
            own, spans = spans, np.zeros((n, 6), np.int64)
            spans[events] = own
            others = np.ones(n, np.bool_)
            others[events] = False
            self.status[others] = LEFT  # whose customers are not this batch's: they are decided elsewhere
        answered = (spans[:, 5] > spans[:, 4]).view(np.uint8)
        self.records = rules.take_records(n)
        self.profiles = profiles(n, len(rules.features.types))
        _open_records(
            events, self.data, spans, answered, store_ms, r.occurred, r.event, rules.ages, len(rules.windows.key),
            self.records, self.now_ms, self.status,
        )  # fmt: skip
        again = events
        while _open_profiles(
            again, self.data, spans, rules.profile_schemas.tables, rules.features, self.now_ms, self.profiles,
            self.status,
        ):  # fmt: skip
            again = np.flatnonzero(self.status == UNKNOWN_SCHEMA)
            i = int(again[0])
            if not rules.profile_schemas.learn(data[int(spans[i, 0]) : int(spans[i, 1])]):
                self.status[i] = LEFT
        _ensure_windows(events, self.records, rules.windows, rules.ages, self.now_ms, self.status)

    # ---- the step -----------------------------------------------------------------------------------

    def step(self, world: World, draw: Draw, shares: ShareTable) -> None:
        """Windows, rules, filters, choice, booking."""
        rules, n = self.rules, self.events
        self._world, self._shares = world, shares
        self._languages_and_zones()
        r = self.requests
        self._inputs = Columns(
            attributes=r.cells, sent=r.given, features=self.profiles.cells, states=self.profiles.state,
            windows=np.zeros((n, len(rules.shown.rows), 2), np.int64),
            kept=np.zeros((n, len(rules.shown.rows)), np.uint8),
            occurred=np.ascontiguousarray(r.occurred[:, 1:]), now_ms=self.now_ms, types=rules.type_names,
        )  # fmt: skip
        if n == 1 and self.status[0] == FINE:
            order, types = _FIRST, r.kind.astype(np.int64)
        else:
            live = np.flatnonzero(self.status == FINE)
            order = live[np.argsort(r.kind[live], kind="stable")]
            types = r.kind[order].astype(np.int64)
        self._kinds = (types + 1).astype(np.int32)
        self._runs = _segments(self._kinds)
        self._count_windows(order, types)
        batch = self._evaluated(rules.bundle.program.rules, rules.rule_loads, rules.rule_texts, order, types)
        funnel = rules.bundle.program.funnel(batch)
        self._choose(order, batch, funnel, draw)

    def _languages_and_zones(self) -> None:
        rules, n, status = self.rules, self.events, self.status.tolist()
        if rules.language >= 0:
            numbers = list(map(rules.languages.__getitem__, self._texts(rules.language, status)))
            self._language = np.array(numbers, np.int64)
            if min(numbers, default=0) < 0:
                self.status[self._language < 0] = LEFT
        else:
            self._language = np.zeros(n, np.int64)
        self._zone_texts: list[bytes | None] | None = None
        if rules.timezone >= 0:
            self._zone_texts = texts = self._texts(rules.timezone, status)
            self._zone = np.array(list(map(rules.zones.__getitem__, texts)), np.int64)
        else:
            self._zone = np.full(n, -1, np.int64)
        table = ZONES.table
        self._zones = c.Zones(self._zone, table.starts, table.at_s, table.offset_s)

    def _zone_name(self, i: int) -> str | None:
        """Of an event's customer, None where there is none."""
        raw = None if self._zone_texts is None else self._zone_texts[i]
        return None if raw is None else raw.decode()

    def _texts(self, feature: int, status: Sequence[int]) -> list[bytes | None]:
        """A text feature of every event, None where it has none."""
        cells, states = self.profiles.cells[:, feature].tolist(), self.profiles.state[:, feature].tolist()
        data = self._bytes
        return [
            data[begin:end] if state >= 2 and left == FINE else None
            for (begin, end), state, left in zip(cells, states, status, strict=True)
        ]

    def _grid(self, plan: Plan, order: I64, filled: tuple[I64, U8], pool: ColumnPool) -> Grid:
        cells, given = filled
        zone = self._zone[order] if plan.machine.uses_zone else np.full(1, -1, np.int64)
        return Grid(len(order), self._kinds, self._runs, cells, given, zone, pool)

    def _evaluated(self, plan, loads, texts, order: I64, types: I64) -> Batch:  # type: ignore[no-untyped-def]
        rows = len(order)
        self._found = found = codes(texts, rows * self.rules.most_texts + 1)
        cells = np.zeros((plan.machine.width, padded(rows)), np.int64)
        given = np.zeros((plan.machine.width, padded(rows)), np.uint8)
        _fill(order, types + 1, types, loads, self._inputs, self.data, found, cells, given)
        pool = ColumnPool(plan.constants, found, self.data)
        grid = self._grid(plan, order, (cells, given), pool)
        names = self.rules.events
        kind_of = self.requests.kind.tolist()
        called = [names[kind] if kind >= 0 else "" for kind in kind_of]
        if rows == self.events == 1:
            return Batch.of_grid(plan, called, [0], grid)
        places = np.zeros(self.events, np.int64)
        places[order] = np.arange(rows)
        return Batch.of_grid(plan, called, places.tolist(), grid)

    def _count_windows(self, order: I64, types: I64) -> None:
        rules = self.rules
        if not len(rules.windows.key):
            return
        program = rules.bundle.program
        if len(rules.counted.rows):
            facts, hashes = _NO_FACTS, _NO_HASHES
            if rules.counts_some_by_value and rules.counts_by_value[types].any():
                batch = self._evaluated(program.windows, rules.window_loads, rules.window_texts, order, types)
                facts = batch.values, batch.value_ok, batch.trues, batch.possibles
                if rules.text_codes is not None:
                    hashes = np.empty(self._found.first + int(self._found.used[0]) + 8, np.int64)
                    _text_hashes(*rules.text_codes, self._found, self.data, hashes)
            _count_events(
                order, types + 1, rules.counted, *facts, hashes, self.requests.occurred, self.now_ms, rules.windows,
                self._zones, self.records, self.status,
            )  # fmt: skip
        _read_windows(
            order, self.now_ms, rules.windows, rules.shown, self._zones, self.records, self._inputs.windows,
            self._inputs.kept, self.status,
        )  # fmt: skip

    def _choose(self, order: I64, batch: Batch, funnel: Funnel, draw: Draw) -> None:
        rules, n, world = self.rules, self.events, self._world
        r, steps = self.requests, rules.bundle.steps.messages
        held = np.zeros(n, np.uint8)
        if rules.holdout is not None:
            if rules.tables.held_below >= 1 << 64:
                held[:] = 1
            else:
                _held_out(rules.holdout, r.customer.view(np.uint8).ravel(), np.uint64(rules.tables.held_below), held)
        self.customers = c.Customers(r.customer, r.event, self.profiles.contact, self._language, held, self.now_ms)
        facts = c.Facts(
            batch.values.view(np.float64), batch.value_ok, batch.trues, batch.possibles,
            funnel.starts, funnel.found, funnel.furthest_of, funnel.stage_of,
        )  # fmt: skip
        self._facts, self._batch = facts, batch
        seen = rules.seen_by(len(facts.found) * 2 + n + 16)
        drawn = np.zeros((n, rules.most_variants), np.int64), np.zeros((n, rules.longest_context), np.int64)
        self.chosen = c.Chosen(np.zeros((n, c.ROW), np.int64), np.zeros(n), seen, np.zeros(1, np.int64), *drawn)
        paused = rules.paused(world.pauses)
        own: list[tuple[int, int]] = []
        while True:
            mine = np.array(sorted(own), np.int64) if own else _NO_SPANS
            self.given = c.Given(
                paused, rules.languages.places, self._shares.slots, self._shares.rows, self._shares.models,
                self._shares.rates.rates, self._shares.rates.spans, self._shares.rates.texts, mine,
                np.uint64(draw.key0), np.uint64(draw.key1),
            )  # fmt: skip
            _choose(
                order, self.status, self.data, rules.tables.messages, self.given, rules.hours, rules.limits, facts,
                self.records, self.customers, self._zones, rules.scratch, self.chosen,
            )  # fmt: skip
            wanted = np.flatnonzero(self.chosen.rows[:, c.STATUS] == c.SHARES_WANTED).tolist()
            if not wanted:
                break
            for i in wanted:
                m, fit = int(self.chosen.rows[i, c.MESSAGE]), int(self.chosen.rows[i, c.FITTING])
                policy = steps[m].policy
                own_shares = policy is not None and (bool(policy.by) or policy.enrols)
                row = self._shares.row(m, fit, self._segment(m, i), own_shares, self._assignment(policy, i))
                if own_shares:
                    own.append((i, row))
        left = self.chosen.rows[:, c.STATUS] == c.TO_PYTHON
        self.status[left] = LEFT

    def _assignment(self, policy: Policy | None, i: int) -> Assignment:
        """As step.filters has it."""
        if policy is None or not policy.enrols:
            return Assignment.POLICY
        return assignment(policy, self.requests.customer[i].tobytes(), int(self.now_ms[i]))

    def _segment(self, m: int, i: int) -> str:
        """As step.filters has it."""
        parts = []
        for root in self.rules.bundle.steps.messages[m].by:
            value = self._batch.value(root, i)
            written = "?" if value is None else str(value)
            parts.append(written.lower() if isinstance(value, bool) else written)
        return "|".join(parts)

    # ---- what is said -------------------------------------------------------------------------------

    def answer(self) -> I64:
        """Makes the bodies of the answers; returns the events that have one."""
        rules, n = self.rules, self.events
        bodies = rules.bodies
        bodies.begin()
        events = np.flatnonzero(self.status == FINE)
        rows = self.chosen.rows
        status = rows[:, c.STATUS]
        piece = np.full(n, bodies.no_rule, np.int64)
        self.reasons = np.full(n, int(Reason.NO_RULE_FOR_EVENT), np.int64)
        held = status == c.HELD_OUT
        piece[held], self.reasons[held] = bodies.held_out, int(Reason.HOLDOUT)
        for i in events[(status[events] == c.REFUSED) | (status[events] == c.BY_RULES)].tolist():
            piece[i], self.reasons[i] = self._refused(i, rows[i].tolist())
        texts, text = self._texts_said(events[status[events] == c.SENDS], piece)
        self.segments, self.reports = self._segments_of(events), self._reports_of(events)
        self.measures = rules.measures.of(self._batch, events, self.requests.kind, n)
        self.body = np.zeros((n, 2), np.int64)
        pieces = bodies.pieces()
        out = np.empty(int(_bodies_room(events, piece, text, pieces)), np.uint8)
        end = _write_bodies(events, piece, text, texts, self.chosen, self.given, pieces, out, self.body)
        self.bodies = out[: int(end)]
        self.bodies.flags.writeable = False
        return events

    def _texts_said(self, sends: I64, piece: I64) -> tuple[U8, I64]:
        """Fills in the pieces of messages that are sent; what changes of their texts, and where it is."""
        bodies, rows = self.rules.bodies, self.chosen.rows
        said = rows[sends, c.TEXT_ROW]
        for i in sends[bodies.of_text[said] < 0].tolist():
            if bodies.of_text[rows[i, c.TEXT_ROW]] < 0:
                bodies.add_message(rows[i].tolist())
        piece[sends], self.reasons[sends] = bodies.of_text[said], int(Reason.SELECTED)
        text = np.zeros((self.events, 2), np.int64)
        parts: list[bytes] = []
        spans: list[tuple[int, int, int]] = []
        end = 0
        slotted = [
            (i, message)
            for i, row in zip(sends.tolist(), said.tolist(), strict=True)
            if (message := bodies.messages.get(row)) is not None
        ]
        values = iter(self._batch.values_of([(slot.root, i) for i, message in slotted for slot in message.slots]))
        for i, message in slotted:
            part = bodies.text(message, list(islice(values, len(message.slots))), self._zone_name(i))
            parts.append(part)
            spans.append((i, end, end + len(part)))
            end += len(part)
        if spans:
            where = np.array(spans, np.int64)
            text[where[:, 0]] = where[:, 1:]
        return np.frombuffer(b"".join(parts) or b"\0", np.uint8), text

    def _segments_of(self, events: I64) -> tuple[U8, I64]:
        """The segments of customers whose policy goes by them, and where each is."""
        steps, spans = self.rules.bundle.steps.messages, np.zeros((self.events, 2), np.int64)
        parts: list[bytes] = []
        end = 0
        if self.rules.segmented:
            rows = self.chosen.rows
            for i in events.tolist():
                m = int(rows[i, c.MESSAGE])
                if rows[i, c.STATUS] in (c.SENDS, c.HELD_OUT) and steps[m].by:
                    parts.append(self._segment(m, i).encode())
                    spans[i] = end, end + len(parts[-1])
                    end += len(parts[-1])
        return np.frombuffer(b"".join(parts) or b"\0", np.uint8), spans

    def _reports_of(self, events: I64) -> tuple[U8, I64]:
        """What policies report by, for the log, and where each customer's is."""
        steps, spans = self.rules.bundle.steps.messages, np.zeros((self.events, 2), np.int64)
        parts: list[bytes] = []
        end = 0
        for i in events.tolist() if self.rules.reports else ():
            row = self.chosen.rows[i]
            step = steps[int(row[c.MESSAGE])]
            if row[c.STATUS] in (c.SENDS, c.HELD_OUT) and step.report_by:
                parts.append(msgpack.packb(reported(self._batch, i, step)))
                spans[i] = end, end + len(parts[-1])
                end += len(parts[-1])
        return np.frombuffer(b"".join(parts) or b"\0", np.uint8), spans

    def _refused(self, i: int, row: list[int]) -> tuple[int, Reason]:
        language = int(self._language[i])
        if row[c.STATUS] == c.BY_RULES:
            return self._by_rules(i, row, language)
        if row[c.STOP_STAGE] == c.RESERVE:
            return self.rules.bodies.below_reserve(row[c.MESSAGE], float(self.chosen.ranks[i]))
        return self.rules.bodies.refused(row, language, self.rules.languages.known[language])

    def _by_rules(self, i: int, row: Sequence[int], language: int) -> tuple[int, Reason]:
        rules = self.rules
        m, stage = row[c.MESSAGE], row[c.STOP_STAGE]
        spoken = rules.languages.known[language] or rules.bundle.ruleset.default_language
        if not row[c.STOP_CODE]:
            return rules.bodies.by_rules(m, stage, row[c.STOP_X], spoken if stage == c.ELIGIBILITY else "")
        step = rules.bundle.steps.messages[m]
        values = self._values().of_message(m, i, int(self.requests.kind[i]))
        twin = Inputs(values, int(self.now_ms[i]) * 1_000_000, self._zone_name(i))
        stop = stopped_by_rules(step, twin, spoken, stage)
        if stop is None or stop.stage != stage:
            raise AssertionError(f"kernel and twin disagree on '{step.message.name}': {stage} and {stop}")
        d = stop.details
        key = (m, stage, stop.reason, d.feature, d.window, d.attribute, d.cause)
        return rules.bodies.remembered(key, lambda: stop)

    def _values(self) -> Values:
        return Values(self.rules, self._inputs, self.data)

    # ---- bytes --------------------------------------------------------------------------------------

    def commit(self, events: I64, prefix: U8) -> tuple[bytes, int]:
        """The transaction that commits these events, and how many commands lie within it."""
        n, rules, r, labels = self.events, self.rules, self.requests, self.rules.tables.labels
        versions = np.frombuffer(os.urandom(8 * n), np.uint64) | np.uint64(1)
        batch = w.Batch(
            r.ids, r.kind, r.content, self.profiles.version, self.reasons, self.bodies, self.body, *self.segments,
            *self.reports, *self.measures, versions,
        )  # fmt: skip
        store = _store(prefix)
        total = np.zeros(1, np.int64)
        rules.marks.fill(-1)
        size = -1
        while size < 0:
            out = rules.out
            size = _write_commit(
                events, store, batch, labels, self.chosen, rules.tables.messages, self.given, self._inputs,
                self.customers, self.records, w.Kept(ANSWER_KEPT_MS, ANSWERS_KEPT), self.data, rules.marks, out, total,
            )  # fmt: skip
            if size < 0:
                rules.out = np.empty(-size * 5 // 4, np.uint8)
        self._written = batch
        return out[:size].tobytes(), int(total[0])

    def answers(self, events: I64) -> tuple[bytes, list[int]]:
        """The callers' answers for these events, and where each one ends."""
        room = len(self.bodies) + 3 * len(self._head) + 96 * len(events)  # the ids of a request are shorter than it is
        out, ends = np.empty(room, np.uint8), np.empty(len(events), np.int64)
        size = _write_answers(events, self._written, self.customers, self.data, out, ends)
        return out[:size].tobytes(), ends.tolist()


_DIGEST, _BUCKET = np.dtype("V16"), np.uint64(BUCKETS - 1)
_NO_HASHES, _FIRST = np.zeros(1, np.int64), np.zeros(1, np.int64)
_NO_SPANS, _NO_BYTES = np.zeros((0, 2), np.int64), np.zeros(0, np.uint8)
_NO_FACTS = (np.zeros((1, 1), np.int64), *np.zeros((3, 1, 1), np.uint64))


@lru_cache
def _run_of(kind: int) -> npt.NDArray[np.int32]:
    return np.array([(0, kind, 0, 1)], np.int32)


def _segments(kinds: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Runs of one type in a word, as `evaluate` wants them."""
    rows = len(kinds)
    if rows == 1:
        return _run_of(int(kinds[0]))
    if not rows:
        return np.zeros((0, 4), np.int32)
    places = np.arange(rows)
    begins = np.flatnonzero((places % 64 == 0) | np.concatenate(([True], kinds[1:] != kinds[:-1])))
    ends = np.append(begins[1:], rows)
    return np.stack((begins >> 6, kinds[begins], begins & 63, (ends - 1 & 63) + 1), axis=1).astype(np.int32)


def _ends(parts: Sequence[bytes], begin: int) -> I64:
    """Where each of the parts ends that stand one behind another from `begin` on, which comes first."""
    return np.fromiter(accumulate(map(len, parts), initial=begin), np.int64, len(parts) + 1)


def _words(*words: bytes, of: int = 0) -> U8:
    """Strings of a command in RESP; `of`: ahead of them the head of a command of so many."""
    head = b"*%d\r\n" % of if of else b""
    return np.frombuffer(head + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words), np.uint8)


_PIECES = (
    _words(b"XADD", of=5), _words(b"*", b"d"), _words(b"SET", of=3), _words(b"SET", of=5), _words(b"PX"),
    _words(b"MULTI", of=1), _words(b"EXEC", of=1),
)  # fmt: skip


def _store(prefix: U8) -> w.Store:
    return w.Store(prefix, *_PIECES)
