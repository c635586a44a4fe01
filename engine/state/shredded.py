"""Many entries of the log at once, in columns: what `log.decode` says of each, for those who read all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from sys import intern

import numpy as np
import numpy.typing as npt

from engine.kernels import shred as k
from engine.kernels.shred import shred
from engine.state.log import FORMATS, Format

I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]

_WHOLE = {"b": 8, "h": 16, "i": 32, "q": 64}
_OTHERS = {"Q": k.UNSIGNED, "d": k.DOUBLE, "?": k.BOOLEAN, "t": k.TEXT, "*": k.ANYTHING}
# By kind of entry: what each field is, as `struct` has it; t: text, *: anything. A list of texts is "[t", one of
# arrays "[" and what each of these has.
_TAILS: dict[str, str] = {
    "DecisionEntry": "t t b h h * [thdq t t t t Q t [tq q q q q ? ? [i Q t b * [td t [hQtttddd?b",
    "OutcomeEntry": "h t t t Q t t",
    "ProfileEntry": "[t [t ? *",
}
_ROOM = 8  # items of a list and entry, to begin with


@dataclass(frozen=True, slots=True)
class Layout:
    """Of one kind of entry. `heads`: the head as numpy has it; the others as `kernels.shred` wants them."""

    form: Format
    heads: np.dtype[np.void]
    fields: I64
    parts: I64
    lists: int


def _field(code: str) -> tuple[int, ...]:
    if code in _WHOLE:
        half = 1 << (_WHOLE[code] - 1)
        return k.INTEGER, -half, half - 1, 0, 0, 0
    return _OTHERS[code], 0, 0, 0, 0, 0


def _layout(form: Format, tail: str) -> Layout:
    fields: list[tuple[int, ...]] = []
    parts: list[tuple[int, ...]] = []
    lists = 0
    for code in tail.split():
        if code[0] == "[":
            alone = len(code) == 2
            fields.append((k.LIST, 0, 0, lists, len(parts), 0 if alone else len(code) - 1))
            parts += [_field(one) for one in code[1:]]
            lists += 1
        else:
            fields.append(_field(code))
    assert len(fields) == len(form.tail_names)
    return Layout(form, _heads(form), np.array(fields, np.int64), np.array(parts or [(0,) * 6], np.int64), lists)


def _heads(form: Format) -> np.dtype[np.void]:
    codes = form.head.format[1:].replace("16s", "s").replace("8s", "v")
    types = {"q": "<i8", "Q": "<u8", "d": "<f8", "B": "u1", "s": "V16", "v": "V8"}
    return np.dtype([("_", "u1"), *((n, types[c]) for n, c in zip(form.head_names, codes, strict=True))])


LAYOUTS = {
    form.kind: _layout(form, _TAILS[form.entry.__name__]) for form in FORMATS.values() if form.entry.__name__ in _TAILS
}


class Shredded:
    """Entries of one kind. `rows`: which of the entries given these are, in their order; ODD ones are not among them.

    Of a list `list_ends` says how many items all rows up to one have, and `items` has their parts.
    """

    def __init__(self, layout: Layout, data: bytes, begins: I64, ends: I64, rows: I64) -> None:
        self.layout, self.data = layout, data
        raw = np.frombuffer(data, np.uint8)
        size = layout.heads.itemsize
        whole = ends[rows] - begins[rows] > size
        status = np.where(whole, k.FINE, k.ODD).astype(np.uint8)
        spans = np.stack((begins[rows] + size, ends[rows]), axis=1)
        spans[~whole] = 0
        n = len(rows)
        cells = np.zeros((len(layout.fields), n, 2), np.int64)
        list_ends, used = np.zeros((layout.lists, n), np.int64), np.zeros(layout.lists, np.int64)
        room = n * _ROOM + 64
        full = 0
        while full >= 0:
            items = np.zeros((len(layout.parts), room, 2), np.int64)
            used[:] = 0
            full = shred(
                raw, spans, layout.fields, layout.parts, layout.form.required, cells, list_ends, items, used, status
            )
            if full >= 0:
                cells[:], room = 0, room * 4
        fine = status == k.FINE
        self.rows: I64 = rows[fine]
        self.odd: list[int] = rows[~fine].tolist()
        self._cells = cells if fine.all() else cells[:, fine]
        self._list_ends = list_ends if fine.all() else list_ends[:, fine]
        self._items, self._used = items, used
        places = begins[self.rows][:, None] + np.arange(size)
        self.heads = raw[places].view(layout.heads)[:, 0] if len(places) else np.zeros(0, layout.heads)

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> I64:
        """(rows, 2): see `kernels.shred`."""
        found: I64 = self._cells[self.layout.form.tail_names.index(name)]
        return found

    def list_ends(self, name: str) -> I64:
        """How many items of a list all rows up to each have."""
        found: I64 = self._list_ends[self._field(name)[k.LIST_AT]]
        return found

    def items(self, name: str) -> list[I64]:
        """The parts of a list's items, (items, 2) each."""
        _, _, _, at, first, parts = self._field(name).tolist()
        return [self._items[part, : self._used[at]] for part in range(first, first + max(1, parts))]

    def texts(self, name: str, rows: npt.NDArray[np.bool_]) -> list[str]:
        """A text of some of these rows; equal ones are one object."""
        data = self.data
        return [intern(data[begin:end].decode()) for begin, end in self.column(name)[rows].tolist()]

    def _field(self, name: str) -> I64:
        field: I64 = self.layout.fields[self.layout.form.tail_names.index(name)]
        return field


def shredded(blobs: Sequence[bytes]) -> tuple[dict[int, Shredded], list[int]]:
    """The entries by kind, and those that are in none of them: of other kinds, cut off, or otherwise than usual."""
    data = b"".join(blobs)
    ends = np.fromiter(accumulate(map(len, blobs)), np.int64, len(blobs))
    begins = np.concatenate((np.zeros(1, np.int64), ends[:-1])) if len(blobs) else ends
    kinds = np.zeros(len(blobs), np.uint8)
    there = ends > begins
    kinds[there] = np.frombuffer(data, np.uint8)[begins[there]]
    found = {}
    others = np.flatnonzero(~np.isin(kinds, tuple(LAYOUTS))).tolist()
    for kind, layout in LAYOUTS.items():
        rows = np.flatnonzero(kinds == kind)
        if len(rows):
            found[kind] = Shredded(layout, data, begins, ends, rows)
            others += found[kind].odd
    return found, sorted(others)
