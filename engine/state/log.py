"""The decision log's entries and their bytes: the audit trail, and what learning folds.

    byte 0   kind: 1 decision, 2 outcome, 3 profile, 4 erased, 5 elsewhere
    then     a fixed head of that kind's hashes, versions and times (little endian)
    then     a MessagePack array of the kind's other fields, in order, cut after the last that is not default

MessagePack and not JSON, because kernels write it: a double is its eight bytes. Values of a type that JSON
has no word for may come as an extension (see `_extension`), so that nobody writes texts of times in a kernel.
Fields are only ever added at the end: a reader gives missing ones their default and ignores what it
does not know. Personal values never get here: the writer leaves them out of `values_read`.
Times are ms since 1970; shares and draws are integers of 2^30; ids are hashes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, NamedTuple

import msgpack

from engine.compiler.nodes import Type
from engine.compiler.written import BILLION, plain
from engine.state.packing import CorruptBlob


class CandidateEntry(NamedTuple):
    """A message that was looked at: the reason number that stopped it (1: selected, 0: none),
    its rank, and its share of the draw among messages."""

    message: str
    stopped_by: int
    rank: float
    share: int


class VariantEntry(NamedTuple):
    """A variant of the chosen message and its share of the draw."""

    variant: str
    share: int


class RankEntry(NamedTuple):
    """Of a candidate that ranks by what it has learnt (`candidate`: its place): what its rank was made of.

    `version`, `segment`, `variants` (names of those left, with commas) and `context` (numbers, with commas) say which
    posterior; the rank is `value` x `rate`, as in `learning.ranks.Worth`. `assignment`: by what
    a variant would be drawn.
    """

    candidate: int
    version: int
    segment: str
    variants: str
    context: str
    value: float
    rate: float
    deviation: float
    normal: bool
    assignment: int = 0


@dataclass(slots=True)
class DecisionEntry:
    """One slot of one decision. `outcome` and `reason` are numbers as in decision.proto.

    `record_version` and `profile_version` are what was read, b"" where there was none.
    `values_read` maps paths (`event.x`, `features.x`, `windows.x`) to bool, int, float, str, a list of str or
    None; times, dates, durations and money as text (see compiler.written). `context`: what a linear policy looked
    at, in parts of 1,024 (learning.linear). `reported`: values for the readout, by the text of `report_by`.
    `measured`: what the event adds to KPIs, by name. `arbitration`: how the message was drawn from the candidates, ""
    for the best (learning.arbitration).
    """

    at_ms: int
    customer: bytes  # digest, 16 bytes
    event: int
    fingerprint: int
    record_version: bytes
    profile_version: bytes
    event_type: str
    revision: str
    outcome: int
    reason: int
    slot: int = 0
    values_read: dict[str, object] = field(default_factory=dict)
    candidates: list[CandidateEntry] = field(default_factory=list)
    message: str = ""
    variant: str = ""
    channel: str = ""
    policy: str = ""
    policy_version: int = 0
    segment: str = ""
    variants: list[VariantEntry] = field(default_factory=list)
    u_message: int = 0
    u_variant: int = 0
    send_at_ms: int = 0
    attribution_s: int = 0
    withheld: bool = False
    sticky: bool = False
    context: list[int] = field(default_factory=list)
    about: int = 0  # hash of what the message is about, as in the touch
    terms: str = ""  # on which it is learnt from, of decisions by a policy (learning.terms)
    assignment: int = 0  # by what the variant was drawn: learning.enrolment
    reported: dict[str, object] = field(default_factory=dict)
    measured: list[tuple[str, float]] = field(default_factory=list)
    arbitration: str = ""
    ranks: list[RankEntry] = field(default_factory=list)


@dataclass(slots=True)
class OutcomeEntry:
    """A report on a decision. `kind` is a number as in decision.proto; `outcome` the hash of its id."""

    at_ms: int
    occurred_ms: int
    customer: bytes
    event: int
    outcome: int
    value: float
    kind: int
    slot: int = 0
    message: str = ""
    variant: str = ""
    policy: str = ""
    policy_version: int = 0
    segment: str = ""
    category: str = ""  # what a reply was about, as the bank says


@dataclass(slots=True)
class ProfileEntry:
    """The bank changed a profile: names alone, and consent in full, for it must be provable.

    `profile_version` is the new one. `consents` are model.ConsentEntry
    rows as lists, without topic and channel where there is neither; `contact` says
    whether the contact section was replaced.
    """

    at_ms: int
    customer: bytes
    profile_version: bytes
    written: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    contact: bool = False
    consents: list[list[object]] = field(default_factory=list)


@dataclass(slots=True)
class ErasedEntry:
    """A customer was erased."""

    at_ms: int
    customer: bytes


@dataclass(slots=True)
class ElsewhereEntry:
    """A policy was given what was learnt elsewhere, under a name: from here on the log does not hold all it knows."""

    at_ms: int
    customer: bytes  # nobody's: zeros
    name: str
    policy: str


Entry = DecisionEntry | OutcomeEntry | ProfileEntry | ErasedEntry | ElsewhereEntry


class LogRow(NamedTuple):
    """An entry as read from a bucket's stream."""

    bucket: int
    log_id: str
    d: bytes


class Format:
    """One kind: how many leading fields are in the head, and the defaults of the others."""

    def __init__(self, kind: int, entry: type[Entry], head: str) -> None:
        self.kind = kind
        self.entry: Callable[..., Entry] = entry
        self.head = struct.Struct("<" + head)
        names = [f.name for f in fields(entry)]
        self.head_size = len(head.replace("16s", "s").replace("8s", "s"))
        self.head_names = names[: self.head_size]
        self.versions = [i for i, n in enumerate(self.head_names) if n.endswith("_version")]
        self.tail_names = names[self.head_size :]
        self.required = sum(f.default is MISSING and f.default_factory is MISSING for f in fields(entry)) - len(
            self.head_names
        )


_DECISION = Format(1, DecisionEntry, "q16sQQ8s8s")
_OUTCOME = Format(2, OutcomeEntry, "qq16sQQdB")
_PROFILE = Format(3, ProfileEntry, "q16s8s")
_ERASED = Format(4, ErasedEntry, "q16s")
_ELSEWHERE = Format(5, ElsewhereEntry, "q16s")
FORMATS = {f.kind: f for f in (_DECISION, _OUTCOME, _PROFILE, _ERASED, _ELSEWHERE)}
_FORMAT_OF: dict[type, Format] = {
    DecisionEntry: _DECISION,
    OutcomeEntry: _OUTCOME,
    ProfileEntry: _PROFILE,
    ErasedEntry: _ERASED,
    ElsewhereEntry: _ELSEWHERE,
}
_EMPTY = (0, "", False)
_CELLS = struct.Struct("<qq")
_KINDS = {1: Type.TIME, 2: Type.DURATION, 3: Type.DATE, 4: Type.MONEY}


def order(log_id: str) -> tuple[int, int]:
    """A log id as numbers that compare: ms since 1970, and a serial number."""
    time_ms, _, serial = log_id.partition("-")
    return int(time_ms), int(serial or 0)


def encode(entry: Entry) -> bytes:
    """The entry's bytes. Raises ValueError where a value does not fit."""
    form = _FORMAT_OF[type(entry)]
    tail = [getattr(entry, n) for n in form.tail_names]
    if isinstance(entry, DecisionEntry):
        at = form.tail_names.index
        tail[at("candidates")] = [list(c) for c in entry.candidates]
        tail[at("variants")] = [list(v) for v in entry.variants]
        tail[at("ranks")] = [list(r) for r in entry.ranks]
    while len(tail) > form.required and (tail[-1] in _EMPTY or not tail[-1]):
        tail.pop()
    try:
        head = form.head.pack(*[getattr(entry, n) for n in form.head_names])
        packed: bytes = msgpack.packb(tail)
        return bytes((form.kind,)) + head + packed
    except (struct.error, TypeError, ValueError, OverflowError) as e:
        raise ValueError(f"a log entry does not fit its format: {e}") from None


def decode(blob: bytes) -> Entry:
    """The entry of these bytes. Raises CorruptBlob, also for a kind this version does not know."""
    form = FORMATS.get(blob[0]) if blob else None
    if form is None:
        raise CorruptBlob(f"a log entry of kind {blob[0] if blob else 'none'}")
    try:
        head: list[Any] = list(form.head.unpack_from(blob, 1))
        tail = unpacked(blob[1 + form.head.size :])
        for i in form.versions:
            head[i] = head[i] if any(head[i]) else b""
        entry = form.entry(*head, *tail[: len(form.tail_names)])
        if isinstance(entry, DecisionEntry):
            entry.candidates = [CandidateEntry(*c) for c in entry.candidates]
            entry.variants = [VariantEntry(*v) for v in entry.variants]
            entry.measured = [(name, value) for name, value in entry.measured]
            entry.ranks = [RankEntry(*r) for r in entry.ranks]
    except (struct.error, ValueError, TypeError, AttributeError, IndexError, KeyError) as e:
        raise CorruptBlob(f"a log entry of kind {form.kind}: {e}") from None
    return entry


def unpacked(packed: bytes) -> Any:
    """A value of an entry. Raises ValueError, TypeError, KeyError, struct.error where it is none."""
    return msgpack.unpackb(packed, ext_hook=_extension)


def _extension(code: int, payload: bytes) -> object:
    """A value as its cells: a type's code, two cells (int64 each), and the currency of money; in words."""
    first, second = _CELLS.unpack_from(payload)
    kind = _KINDS[code]
    value = first * BILLION + second if kind in (Type.TIME, Type.MONEY) else first
    return plain(value, kind, payload[_CELLS.size :].decode() or None)
