"""Tables that `kernels.profiles` reads: declared features, and the schema sections of the profiles seen.

One of each belongs to one rule set.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from engine.compiler.model import Feature, RuleSet
from engine.compiler.nodes import Type
from engine.compiler.pool import NS, WIDE, number_bits
from engine.kernels.profiles import DEFAULTED, MISSING, Features, Schemas, section_hash
from engine.state.packing import CorruptBlob
from engine.state.profile import TYPES, ProfileSchema, schema_section, unpack_schema

SECTIONS_MAX = 256  # a deployment has a few: one more for each time that features were added
_CELLS_MAX = 4096  # of one section; a rule set has a few hundred features
_SLOTS = 4 * SECTIONS_MAX
_INT64 = 1 << 63
_NO_TYPE = 255
Cells = tuple[int, int]

_COUNTED = (Type.INTEGER, Type.TIME, Type.DURATION, Type.DATE, Type.MONEY)  # of integers in Python


def feature_table(features: Mapping[str, Feature]) -> tuple[Features, bytes]:
    """The declared features, and the bytes with which `data` begins: the texts of defaults."""
    count = len(features)
    table = Features(
        types=np.full(count, _NO_TYPE, np.uint8),
        bounded=np.zeros(count, np.uint8),
        low=np.zeros((count, 2), np.int64),
        high=np.zeros((count, 2), np.int64),
        max_age_s=np.full(count, -1, np.int64),
        absent=np.full(count, MISSING, np.uint8),
        default=np.zeros((count, 2), np.int64),
    )
    texts = bytearray()
    for f, feature in enumerate(features.values()):
        if feature.type in TYPES:
            table.types[f] = TYPES.index(feature.type)
        if feature.max_age_s is not None:
            table.max_age_s[f] = min(feature.max_age_s, 1 << 53)
        if feature.default is not None:
            table.absent[f] = DEFAULTED
            table.default[f] = _default(feature, texts)
        bounds = _bounds(feature)
        if bounds is not None:
            table.bounded[f] = 1
            table.low[f], table.high[f] = bounds
    return table, bytes(texts)


def _cells(kind: Type, value: object) -> Cells:
    """Two cells of a value that is no text and no list; see `Pool.cells`."""
    if kind is Type.NUMBER:
        return number_bits(float(value)), 0  # type: ignore[arg-type]
    whole = int(value)  # type: ignore[call-overload]
    return divmod(whole, NS) if kind in WIDE else (whole, 0)


def _default(feature: Feature, texts: bytearray) -> Cells:
    if feature.type.element:
        return 0, 0
    if feature.type is not Type.TEXT:
        return _cells(feature.type, feature.default)
    begin = len(texts)
    texts += str(feature.default).encode()
    return begin, len(texts)


def _bounds(feature: Feature) -> tuple[Cells, Cells] | None:
    """The least and the greatest value in range; None where all are. Nothing lies in an empty range."""
    above, at_least, at_most = feature.above, feature.at_least, feature.at_most
    if above is None and at_least is None and at_most is None:
        return None
    if feature.type is Type.NUMBER:
        low, least_above = -math.inf if at_least is None else at_least, _next_double(above)
        low = low if low > least_above else least_above  # not max(): NaN wins
        high = math.inf if at_most is None else at_most
        return (number_bits(low), 0), (number_bits(high), 0)
    if feature.type not in _COUNTED:
        return None
    limit = _INT64 * NS if feature.type in WIDE else _INT64
    least = max(
        -limit if at_least is None else _whole(at_least, limit, up=True),
        -limit if above is None else _whole(above, limit, up=False) + 1,
    )
    greatest = limit - 1 if at_most is None else min(_whole(at_most, limit, up=False), limit - 1)
    if least > greatest:
        least, greatest = 1, 0
    return _cells(feature.type, least), _cells(feature.type, greatest)


def _next_double(value: float | None) -> float:
    """The least double above; NaN, which nothing is compared with, where there is none."""
    if value is None:
        return -math.inf
    return math.nextafter(value, math.inf) if value < math.inf else math.nan


def _whole(value: float, limit: int, up: bool) -> int:
    """A bound as an integer, rounded up or down, and held within the limits."""
    if not -limit <= value <= limit:
        return limit if value > 0 else -limit - 1
    return math.ceil(value) if up else math.floor(value)


class ProfileSchemas:
    """The schema sections of the profiles seen under one rule set; `tables` is what kernels take.

    A section is learnt when `read_profile` answers UNKNOWN_SCHEMA, up to SECTIONS_MAX of them: what comes
    after stays with the step in Python. For one thread; tables handed out before stay as they are.
    """

    __slots__ = ("_features", "tables")

    def __init__(self, ruleset: RuleSet) -> None:
        self._features = {f.name: (n, f) for n, f in enumerate(ruleset.features.values())}
        none = np.zeros(0, np.uint8)
        self.tables = Schemas(
            slots=np.full(_SLOTS, -1, np.int64),
            hashes=np.zeros(0, np.uint64),
            spans=np.zeros((0, 4), np.int64),
            sections=none,
            types=none,
            features=np.zeros(0, np.int64),
        )

    def learn(self, blob: bytes) -> bool:
        """Adds the section of a profile's bytes. False where it is known, is none, or there is no room."""
        section = schema_section(blob)
        if not section or len(self.tables.hashes) == SECTIONS_MAX or self._known(section):
            return False
        try:
            schema = unpack_schema(section)
        except CorruptBlob:
            return False
        if len(schema.names) > _CELLS_MAX:
            return False
        self._add(section, schema)
        return True

    def _known(self, section: bytes) -> bool:
        held = self.tables.sections.tobytes()
        return any(held[begin:end] == section for begin, end, *_ in self.tables.spans.tolist())

    def _add(self, section: bytes, schema: ProfileSchema) -> None:
        old = self.tables
        raw = np.frombuffer(section, np.uint8)
        mixed = int(section_hash(raw, 0, len(raw)))
        slots = old.slots.copy()
        slot = mixed % _SLOTS
        while slots[slot] >= 0:
            slot = (slot + 1) % _SLOTS
        slots[slot] = len(old.hashes)
        span = (len(old.sections), len(old.sections) + len(raw), len(old.types), len(schema.names))
        cells = [self._feature(n, t, u) for n, t, u in zip(schema.names, schema.types, schema.units, strict=True)]
        self.tables = Schemas(
            slots=slots,
            hashes=np.append(old.hashes, np.uint64(mixed)),
            spans=np.concatenate((old.spans, np.array([span], np.int64))),
            sections=np.concatenate((old.sections, raw)),
            types=np.concatenate((old.types, np.array([TYPES.index(t) for t in schema.types], np.uint8))),
            features=np.concatenate((old.features, np.array(cells, np.int64))),
        )

    def _feature(self, name: str, kind: Type, unit: str) -> int:
        """The declared feature that reads a cell, or -1: see `feature_value`."""
        number, feature = self._features.get(name, (-1, None))
        if feature is None or feature.type is not kind or (unit and unit != feature.unit):
            return -1
        return number
