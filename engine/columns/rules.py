"""Everything about a rule set that a batch of columns needs, made once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from engine.bundle import Bundle, Pauses
from engine.columns.bodies import Bodies
from engine.columns.inputs import Paths, loads
from engine.columns.limits import hours_table, limit_tables
from engine.columns.measures import Measures
from engine.columns.profiles import ProfileSchemas, feature_table
from engine.columns.requests import request_schema
from engine.columns.shares import most_variants
from engine.columns.tables import rule_tables
from engine.columns.windows import plans_of, shown_windows, text_codes, window_plans
from engine.compiler.nodes import Type
from engine.compiler.plan import Output
from engine.compiler.pool import Constants, number_bits, width
from engine.kernels import blake2b
from engine.kernels import customers as k
from engine.kernels import messages as c
from engine.kernels.arena import Records, records
from engine.kernels.fill import TEXT
from engine.kernels.limits import MAX_TOUCHES
from engine.kernels.linear import room
from engine.kernels.names import Names, names
from engine.state.history import NO_HISTORY, History
from engine.step.render import language_for
from engine.step.take import AHEAD_MS_MAX, ANSWER_LIFE_MS
from engine.zones import ZONES

I64 = npt.NDArray[np.int64]
ROOM_EVENTS = 256  # a batch of the lane
ROOM_VALUES, _VALUES_MAX = 32, 128  # of a window, on average: few customers have something in every bucket
_SPARE_MAX = 4


class RuleColumns:
    """A bundle's tables. `usable`: whether kernels know all that its expressions read (lists they do not).

    `prefix` is what every batch's bytes begin with.
    """

    def __init__(self, bundle: Bundle, secret: bytes) -> None:
        ruleset, steps, program = bundle.ruleset, bundle.steps, bundle.program
        events = list(ruleset.events)
        self.bundle = bundle
        self.events = events
        self.paths = Paths(ruleset)
        rules, windows = loads(program.rules, self.paths, events), loads(program.windows, self.paths, events)
        self.usable = rules is not None and windows is not None
        if rules is None or windows is None:
            return
        self.rule_loads, self.window_loads = rules, windows
        self.schema = request_schema(ruleset, secret)
        self.features, texts = feature_table(ruleset.features)
        self.profile_schemas = ProfileSchemas(ruleset)
        plans = plans_of(steps.windows.values(), steps.stored.values())
        self.windows = window_plans(plans)
        self.shown = shown_windows(steps.windows, plans)
        self.values = sum(min(max(plan.buckets, ROOM_VALUES), _VALUES_MAX) for plan in plans)
        self.counted = _counted(bundle)
        self.counts_by_value = _by_value(self.counted, len(events))
        self.counts_some_by_value = bool(self.counts_by_value.any())
        self.limits = limit_tables(ruleset, steps)
        self.hours = hours_table(ruleset.quiet_hours)
        self.tables = rule_tables(bundle, self.paths)
        self.bodies = Bodies(bundle, self.tables)
        self.ages = k.Ages(ANSWER_LIFE_MS, AHEAD_MS_MAX, steps.touches_kept_ms)
        self.holdout = None
        if ruleset.holdout is not None and self.tables.held_below:
            self.holdout = blake2b.start(8, ruleset.holdout.salt.encode()[:64], b"tact-holdout")
        begins = np.cumsum([len(texts), *(len(name.encode()) for name in events)])
        self.type_names = np.ascontiguousarray(np.stack((begins[:-1], begins[1:]), axis=1).astype(np.int64))
        self.prefix = texts + "".join(events).encode()
        self.rule_texts = TextCodes(program.rules.constants)
        self.window_texts = TextCodes(program.windows.constants)
        texts_told_apart = bool((self.counted.rows[:, k.AMOUNT] == k.TEXT).any())
        self.text_codes = text_codes(program.windows.constants.values) if texts_told_apart else None
        self.language = _feature(bundle, "language")
        self.timezone = _feature(bundle, "timezone")
        self.languages = Languages(self.tables.sets, ruleset.default_language)
        self.zones = Zones()
        self.most_variants = most_variants(steps.messages)
        self.longest_context = 1 + max((len(step.context) for step in steps.messages), default=0)
        texts_read = [int((part.loads[:, 3] == TEXT).sum()) for part in (rules, windows)]
        self.most_texts = max(texts_read) + 1  # that one event reads
        self._spare: list[Records] = []
        self.out = np.empty(1 << 16, np.uint8)  # where transactions are written
        self.marks = np.empty((2, len(self.paths.known) + 1), np.int64)  # scratch of `write_commit`
        self._seen = np.empty((4096, c.SEEN), np.int64)
        self.scratch = c.Scratch(
            waits=np.zeros((2 * len(self.hours.start) + 2, 4), np.int64),
            order=np.zeros((max(1, len(steps.messages)), 4), np.int64),
            values=np.zeros(max(1, len(steps.messages))),
            ranks=np.zeros(max(1, len(steps.messages))),
            live=np.zeros(MAX_TOUCHES, np.int64),
            times=np.zeros(MAX_TOUCHES, np.int64),
            shares=np.zeros(self.most_variants, np.int64),
            linear=room(self.most_variants, self.longest_context),
        )
        self.segmented = any(step.by for step in steps.messages)
        self.reports = any(step.report_by for step in steps.messages)
        self.measures = Measures(program.rules.outputs, steps.kpis_of)
        self._history = NO_HISTORY
        self._paused: tuple[Pauses, npt.NDArray[np.uint8]] | None = None

    def paused(self, pauses: Pauses) -> npt.NDArray[np.uint8]:
        """1 for each message that may not be said at the moment."""
        if self._paused is None or self._paused[0] is not pauses:
            messages = [step.message for step in self.bundle.steps.messages]
            self._paused = pauses, np.array([pauses.holds(m.name, m.purpose) for m in messages], np.uint8)
        return self._paused[1]

    def remember(self, history: History) -> None:
        """Takes over how long messages are kept, and since when."""
        if history != self._history:
            self._history = history
            kept_ms = max(self.bundle.steps.touches_kept_ms, history.kept_ms)
            self.ages = self.ages._replace(touch=kept_ms)
            self.limits = self.limits._replace(history=np.array([history.since_ms], np.int64))

    def seen_by(self, rows: int) -> I64:
        """Room for what a batch looks at, until its commit is written: one batch at a time."""
        if len(self._seen) < rows:
            self._seen = np.empty((rows * 5 // 4, c.SEEN), np.int64)
        return self._seen

    def take_records(self, events: int) -> Records:
        """Room for the records of so many events: one that was given back, where there is one."""
        if events > ROOM_EVENTS or not self._spare:
            return records(max(events, ROOM_EVENTS), len(self.windows.key), self.values)
        room = self._spare.pop()
        room.rec[:events] = 0
        room.used[:] = 0
        return room

    def give_back(self, room: Records) -> None:
        """To be taken again: large arrays that are made anew cost a page fault for every 4 kB that is written."""
        if len(self._spare) < _SPARE_MAX:
            self._spare.append(room)


class TextCodes:
    """The texts among a plan's constants, for kernels."""

    def __init__(self, constants: Constants) -> None:
        texts = [(value, code) for code, value in enumerate(constants.values) if isinstance(value, str)]
        self.names: Names = names([text.encode() for text, _ in texts])
        self.codes: I64 = np.array([code for _, code in texts], np.int64)
        self.first = len(constants.values)


class Zones(dict[bytes | None, int]):
    """Numbers of time zones by their names as profiles have them, -1 where there is no such zone."""

    def __missing__(self, raw: bytes | None) -> int:
        found = ZONES.id(raw.decode()) if raw else -1
        if len(self) < _ZONES_MAX and len(raw or b"") <= _TEXT_MAX:
            self[raw] = found
        return found


class Languages(dict[bytes | None, int]):
    """Numbers of the languages that customers speak, as profiles have them, and what each means for the sets of
    languages of texts. -1 where there are too many to know one more.
    """

    def __init__(self, sets: Sequence[tuple[str, ...]], default: str) -> None:
        super().__init__({None: 0, b"": 0})
        self._sets = sets
        self._default = default
        self.known: list[str | None] = [None]
        self.places = self._row(None)

    def __missing__(self, raw: bytes) -> int:
        if len(self.known) > _LANGUAGES_MAX or len(raw) > _TEXT_MAX:
            return -1
        wanted = raw.decode()
        found = self[raw] = len(self.known)
        self.known.append(wanted)
        self.places = np.concatenate((self.places, self._row(wanted)))
        return found

    def _row(self, wanted: str | None) -> I64:
        row = []
        for one in self._sets:
            found = language_for(wanted, self._default, dict.fromkeys(one))  # type: ignore[arg-type]
            row.append(-1 if found is None else one.index(found))
        return np.array([row], np.int64).reshape(1, -1)


_LANGUAGES_MAX = _ZONES_MAX = 4096
_TEXT_MAX = 64  # bytes: no language or zone is longer, and what is would be remembered


def _feature(bundle: Bundle, name: str) -> int:
    """The number of a text feature with a meaning of its own, -1 where it is not declared."""
    feature = bundle.ruleset.features.get(name)
    return list(bundle.ruleset.features).index(name) if feature is not None and feature.type is Type.TEXT else -1


def _counted(bundle: Bundle) -> k.Counted:
    """What events add to windows."""
    plan, steps = bundle.program.windows, bundle.steps
    numbers = {key: n for n, key in enumerate(steps.stored)}
    spans = np.zeros((len(plan.columns), 2), np.int64)
    rows: list[tuple[int, ...]] = []
    for name, kind in plan.kinds.items():
        begin = len(rows)
        for window, where, value in steps.windows_of.get(name, ()):
            condition = -1 if where is None else plan.outputs[where].column
            amount = (k.NOTHING, 0, 0, 0) if value is None else _amount(plan.outputs[value])
            rows.append((numbers[window.key], condition, *amount))
        spans[kind] = begin, len(rows)
    return k.Counted(spans, np.array(rows, np.int64).reshape(-1, 6))


def _by_value(counted: k.Counted, events: int) -> npt.NDArray[np.bool_]:
    """Of each event type, whether what it adds to windows depends on an expression."""
    rows = counted.rows
    asks = (rows[:, k.WHERE] >= 0) | ((rows[:, k.AMOUNT] != k.NOTHING) & (rows[:, k.AMOUNT] != k.CONSTANT))
    return np.array([asks[begin:end].any() for begin, end in counted.spans[1 : events + 1].tolist()], np.bool_)


def _amount(output: Output) -> tuple[int, int, int, int]:
    """Kind, column and cells of what is added."""
    if output.type is Type.BOOL:
        return k.TRUTH, output.column, 0, 0
    wide = width(output.type) == 2
    value = output.constant
    if output.type is Type.TEXT:
        return k.TEXT, output.column, 0, 0
    if value is None:
        return (k.TWO_CELLS if wide else k.ONE_CELL), output.column, 0, 0
    if isinstance(value, float):
        return k.CONSTANT, 0, number_bits(value), 0
    first, second = divmod(int(value), 1_000_000_000) if wide else (int(value), 0)  # type: ignore[call-overload]
    return k.CONSTANT, 0, first, second
