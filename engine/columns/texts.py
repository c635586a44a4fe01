"""Codes of the texts of a batch, read from its bytes only where somebody asks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.columns.rules import TextCodes
from engine.compiler.nodes import Type
from engine.compiler.pool import I64, Constants, Pool
from engine.kernels.fill import Codes


def codes(texts: TextCodes, room: int) -> Codes:
    """Room for so many texts that a batch may bring."""
    slots = np.empty(1 << (2 * room).bit_length(), np.int32)
    slots.fill(-1)
    return Codes(
        constants=texts.names,
        codes=texts.codes,
        first=texts.first,
        slots=slots,
        fresh=np.empty((room, 2), np.int64),
        used=np.zeros(1, np.int64),
    )


class ColumnPool(Pool):
    """The pool of a batch whose texts were coded by a kernel: they are strings from the first question on."""

    __slots__ = ("_codes", "_data")

    def __init__(self, constants: Constants, given: Codes, data: npt.NDArray[np.uint8]) -> None:
        super().__init__(constants)
        self._codes: Codes | None = given
        self._data = data

    def _settle(self) -> None:
        """Takes over what the kernel found, in the order of its codes."""
        if self._codes is None:
            return
        spans = self._codes.fresh[: int(self._codes.used[0])].tolist()
        self._codes = None
        raw = self._data
        for begin, end in spans:
            text = raw[begin:end].tobytes().decode()
            self._fresh[text] = len(self._known) + len(self._values) + 1
            self._values.append(text)

    def text(self, value: str) -> int:
        self._settle()
        return super().text(value)

    def cells(self, kind: Type, value: object) -> tuple[int, ...]:
        self._settle()
        return super().cells(kind, value)

    def value(self, kind: Type, cells: tuple[int, ...]) -> object:
        self._settle()
        return super().value(kind, cells)

    def ranks(self) -> I64:
        if self._constants.ordered:
            self._settle()
        return super().ranks()
