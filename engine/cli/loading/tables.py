"""An Arrow table to the bytes of profiles, a column at a time. What needs a closer look raises Unusual: rows then."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from engine.cli.loading.columns import Column, Columns, Part
from engine.cli.loading.files import ARROW, JSON
from engine.cli.loading.rows import BadCell, contact_of, converted
from engine.compiler.nodes import Type
from engine.kernels.canonical import BOOL, INTEGER, MONEY, NUMBER, OTHER, TEXT, TIME
from engine.kernels.encode_puts import CELL_ROOM, ROW_ROOM, Heads, Rows, encode_puts
from engine.service.values import encode_value

I64 = npt.NDArray[np.int64]
_KINDS = {
    Type.BOOL: BOOL, Type.INTEGER: INTEGER, Type.NUMBER: NUMBER, Type.TEXT: TEXT, Type.DATE: TEXT, Type.TIME: TIME,
    Type.MONEY: MONEY,
}  # fmt: skip
_DECIMAL = pa.decimal128(38, 9)
READ_AS = {**ARROW, Type.MONEY: _DECIMAL}
_IN_JSON = {
    Type.BOOL: pa.bool_(), Type.INTEGER: pa.int64(), Type.NUMBER: pa.float64(), Type.TEXTS: pa.list_(pa.string()),
}  # fmt: skip
_FROM_TEXT = {Type.TIME: pa.timestamp("ns", "UTC"), Type.DATE: pa.date32(), Type.MONEY: _DECIMAL}
_BILLION = 1_000_000_000
_DAYS = (-719_162, 2_932_896)


class Unusual(Exception):
    """The table is not as it mostly is: its rows are taken one by one."""


class Builder:
    """Rows for `encode_puts`: columns are filled in one after the other."""

    def __init__(self, rows: int, features: int) -> None:
        self.rows = rows
        self.given = np.zeros((rows, features), np.uint8)
        self.cells = np.zeros((rows, features, 2), np.int64)
        self.contact = np.full((rows, 2), -1, np.int64)
        self.ids = np.zeros((rows, 2), np.int64)
        self._texts: list[Any] = []
        self._end = 0

    def add(self, data: Any) -> int:
        """Keeps bytes; where they begin."""
        begin = self._end
        self._texts.append(data)
        self._end += len(data)
        return begin

    def spans(self, array: pa.Array) -> I64:
        """Keeps texts; their spans, (rows, 2)."""
        array = array if array.type == pa.string() else _cast(array, pa.string())
        _, offsets, data = array.buffers()
        ends = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1].astype(np.int64)
        begin = self.add(memoryview(data)) if data is not None else 0
        return np.column_stack((ends[:-1], ends[1:])) + begin

    def coded(self, codes: npt.NDArray[Any], parts: list[bytes | None]) -> I64:
        """Keeps what rows share; the span of each row's part, -1 where that is None."""
        spans = np.full((len(parts) + 1, 2), -1, np.int64)
        for code, part in enumerate(parts):
            if part is not None:
                begin = self.add(part)
                spans[code] = begin, begin + len(part)
        found: I64 = spans[codes]
        return found

    def encoded(self, heads: Heads) -> tuple[bytes, list[int]]:
        """Fields of a PutProfilesRequest, and where each one ends."""
        texts = np.frombuffer(b"".join(self._texts) or b"\0", np.uint8)
        rows = Rows(texts, self.ids, self.given, self.cells, self.contact, np.zeros(self.rows, np.uint8))
        names = heads.names[:, 1] - heads.names[:, 0] + CELL_ROOM
        spans = self.cells[:, heads.kinds >= TEXT] if len(heads.kinds) else self.cells
        long = int((spans[:, :, 1] - spans[:, :, 0]).clip(0).sum()) if spans.size else 0
        long += int((self.ids[:, 1] - self.ids[:, 0]).sum()) + int((self.contact[:, 1] - self.contact[:, 0]).sum())
        room = long + int((self.given * names).sum()) + ROW_ROOM * self.rows + 64
        out, ends = np.empty(room, np.uint8), np.zeros(self.rows, np.int64)
        size = encode_puts(rows, heads, out, ends)
        return out[:size].tobytes(), ends.tolist()


def heads_of(columns: list[Column]) -> Heads:
    """What is written of each feature's column whatever its values."""
    raw = bytearray()
    names, units = np.zeros((len(columns), 2), np.int64), np.zeros((len(columns), 2), np.int64)
    for f, column in enumerate(columns):
        name = column.target.encode()
        begin = len(raw)
        raw += b"\x0a" + _varint(len(name)) + name
        names[f] = begin, len(raw)
        units[f] = len(raw), len(raw) + len(column.unit)
        raw += column.unit.encode()
    kinds = np.array([_KINDS.get(c.type, OTHER) for c in columns], np.int8)
    return Heads(kinds, np.frombuffer(bytes(raw) or b"\0", np.uint8), names, units)


def _varint(value: int) -> bytes:
    return bytes((value,)) if value < 128 else bytes((value & 127 | 128, value >> 7))


def _cast(array: pa.Array, to: pa.DataType) -> pa.Array:
    try:
        return pc.cast(array, to)
    except pa.ArrowException:
        raise Unusual from None


def _values(array: pa.Array, to: pa.DataType) -> npt.NDArray[Any]:
    """Fixed-size values without regard to what is missing."""
    array = array if array.type == to else _cast(array, to)
    return pc.fill_null(array, 0).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def fill(to: Builder, f: int, kind: Type, array: pa.Array) -> None:
    """A feature's column. Raises Unusual."""
    given = np.ones(len(array), np.bool_)
    if array.null_count:
        given = array.is_valid().to_numpy(zero_copy_only=False)
    one, two = to.cells[:, f, 0], to.cells[:, f, 1]
    if pa.types.is_string(array.type) and kind in _FROM_TEXT:
        array = _cast(array, _FROM_TEXT[kind])
    there = array.type
    if kind is Type.NUMBER and (pa.types.is_floating(there) or pa.types.is_integer(there)):
        one[:] = np.ascontiguousarray(_values(array, pa.float64())).view(np.int64)
    elif kind is Type.INTEGER and (pa.types.is_integer(there) or pa.types.is_floating(there)):
        one[:] = _values(array, pa.int64())
    elif kind is Type.BOOL and pa.types.is_boolean(there):
        one[:] = pc.fill_null(array, False).to_numpy(zero_copy_only=False)
    elif kind is Type.TEXT and (pa.types.is_string(there) or pa.types.is_large_string(there) or _coded(there)):
        to.cells[:, f] = to.spans(array)
        given &= two > one
    elif kind is Type.TIME and pa.types.is_timestamp(there) and there.tz is not None:
        ns = _cast(array, pa.timestamp("ns", "UTC")).cast(pa.int64())
        whole = _values(ns, pa.int64())
        one[:], two[:] = whole // _BILLION, whole % _BILLION
    elif kind is Type.DATE and pa.types.is_date(there):
        _fill_dates(to, f, _values(_cast(array, pa.date32()).cast(pa.int32()), pa.int32()).astype(np.int64))
    elif kind is Type.MONEY:
        one[:], two[:] = _money(array)
    else:
        raise Unusual
    to.given[:, f] = given


def _coded(kind: pa.DataType) -> bool:
    return bool(pa.types.is_dictionary(kind) and pa.types.is_string(kind.value_type))


def _fill_dates(to: Builder, f: int, days: I64) -> None:
    if len(days) and not _DAYS[0] <= days.min() <= days.max() <= _DAYS[1]:
        raise Unusual
    begin = to.add(np.datetime_as_string(days.astype("datetime64[D]")).astype("S10").tobytes())
    to.cells[:, f, 0] = begin + 10 * np.arange(len(days))
    to.cells[:, f, 1] = to.cells[:, f, 0] + 10


def _money(array: pa.Array) -> tuple[I64, I64]:
    """Units, rounded down, and billionths."""
    if pa.types.is_integer(array.type):
        units = _values(array, pa.int64())
        return units, np.zeros(len(units), np.int64)
    if pa.types.is_floating(array.type):
        value = _values(array, pa.float64())
        hundredths = np.rint(value * 100)
        if not (np.abs(hundredths) < 1 << 53).all() or (hundredths / 100 != value).any():
            raise Unusual  # finer than hundredths: by its digits
        billionths = hundredths.astype(np.int64)
        return billionths // 100, billionths % 100 * 10_000_000
    if not pa.types.is_decimal(array.type):
        raise Unusual
    array = _cast(array, _DECIMAL)
    words = np.frombuffer(array.buffers()[1], np.int64).reshape(-1, 2)[array.offset : array.offset + len(array)]
    low = np.where(array.is_valid().to_numpy(zero_copy_only=False), words[:, 0], 0)
    if (np.where(low < 0, -1, 0) != np.where(low == 0, 0, words[:, 1])).any():
        raise Unusual
    return low // _BILLION, low % _BILLION


class FlatTables:
    """Tables whose columns are features."""

    def __init__(self, columns: Columns, kind: str) -> None:
        """`kind`: of the file."""
        self._columns = columns
        self._features = [c for c in columns.used if c.part is Part.FEATURE]
        self._contact = [c for c in columns.used if c.part is Part.CONTACT]
        self._heads = heads_of(self._features)
        self.types = {c.name: READ_AS.get(c.type, pa.string()) for c in columns.used if c.part is not Part.CONTACT}
        if kind == JSON:
            self.types = {c.name: _IN_JSON.get(c.type, pa.string()) for c in columns.used}

    def encode(self, table: pa.Table) -> tuple[bytes, list[int]]:
        """Fields of a PutProfilesRequest, and where each row's ends. Raises Unusual."""
        if any(name not in self._columns.names for name in table.column_names):
            raise Unusual
        to = Builder(table.num_rows, len(self._features))
        ids = self._array(table, self._columns.customer)
        if ids is None or ids.null_count:
            raise Unusual
        to.ids[:] = to.spans(ids)
        if (to.ids[:, 0] == to.ids[:, 1]).any():
            raise Unusual
        for f, column in enumerate(self._features):
            array = self._array(table, column)
            if array is None:
                continue
            if _KINDS.get(column.type) is None:
                self._fill_others(to, f, column, array)
            else:
                fill(to, f, column.type, array)
        if self._contact:
            self._fill_contact(to, table)
        return to.encoded(self._heads)

    @staticmethod
    def _array(table: pa.Table, column: Column) -> pa.Array | None:
        if column.name not in table.column_names:  # none of these JSON rows has it
            return None
        chunked = table.column(column.name)
        return chunked.chunk(0) if chunked.num_chunks == 1 else pa.concat_arrays(chunked.chunks)

    def _fill_others(self, to: Builder, f: int, column: Column, array: pa.Array) -> None:
        codes, values = _distinct([array])
        parts = [
            None if value in (None, "") else encode_value(column.type.value, _convert(column, value), column.unit)
            for (value,) in values
        ]
        raw = [None if part is None else part.SerializeToString() for part in parts]
        to.cells[:, f] = to.coded(codes, raw)
        to.given[:, f] = to.cells[:, f, 0] >= 0

    def _fill_contact(self, to: Builder, table: pa.Table) -> None:
        arrays = [self._array(table, column) for column in self._contact]
        codes, values = _distinct([pa.nulls(table.num_rows) if a is None else a for a in arrays])
        to.contact[:] = to.coded(codes, [self._made(row) for row in values])

    def _made(self, row: tuple[object, ...]) -> bytes | None:
        given = {
            c.target: _convert(c, value)
            for c, value in zip(self._contact, row, strict=True)
            if value is not None and value != ""
        }
        try:
            return contact_of(given).SerializeToString() if given else None
        except BadCell:
            raise Unusual from None


def _convert(column: Column, value: object) -> Any:
    try:
        return converted(column, value)
    except BadCell:
        raise Unusual from None


def _distinct(arrays: list[pa.Array]) -> tuple[npt.NDArray[np.int64], list[tuple[Any, ...]]]:
    """Rows of several columns as codes of the distinct ones, and these."""
    mixed = np.zeros(len(arrays[0]), np.int64)
    for array in arrays:
        if pa.types.is_nested(array.type):
            known: dict[Any, int] = {}
            lists = [None if v is None else tuple(v) for v in array.to_pylist()]
            codes = np.array([known.setdefault(v, len(known)) for v in lists], np.int64)
            count = len(known)
        elif pa.types.is_null(array.type):
            continue
        else:
            coded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
            codes = pc.fill_null(coded.indices, len(coded.dictionary)).to_numpy(zero_copy_only=False).astype(np.int64)
            count = len(coded.dictionary) + 1
        if count > 1 << 31 or (len(mixed) and int(mixed.max()) > (1 << 62) // count):
            raise Unusual
        mixed = mixed * count + codes
    _, first, codes = np.unique(mixed, return_index=True, return_inverse=True)
    columns = [array.take(pa.array(first)).to_pylist() for array in arrays]
    return codes, list(zip(*columns, strict=True))
