"""Expressions as instructions for `kernels.evaluate`.

Equal sub-expressions are one instruction over the whole rule set (value numbering: an instruction is
known by its operation and its arguments' numbers, so a lookup costs the same at any depth).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.compiler.nodes import Const, Node, Op, Ref, Type
from engine.compiler.plan import I32
from engine.kernels import evaluate as k

INSTRUCTIONS_MAX = 1_000_000
COLUMNS_MAX = 100_000
_NS = 1_000_000_000

_ARITHMETIC = {
    Type.NUMBER: {"add": k.DBL_ADD, "sub": k.DBL_SUB, "mul": k.DBL_MUL, "div": k.DBL_DIV, "neg": k.DBL_NEG},
    Type.INTEGER: {
        "add": k.INT_ADD,
        "sub": k.INT_SUB,
        "mul": k.INT_MUL,
        "div": k.INT_DIV,
        "mod": k.INT_MOD,
        "neg": k.INT_NEG,
    },
    Type.DURATION: {"add": k.INT_ADD, "sub": k.INT_SUB, "neg": k.INT_NEG},
    Type.TIME: {"add": k.TIME_ADD, "sub": k.TIME_SUB},
}
_UNARY = {"ratio": k.DBL_RATIO, "to_number": k.TO_NUMBER, "to_integer": k.TO_INTEGER}
_INT = {"eq": k.INT_EQ, "ne": k.INT_NE, "lt": k.INT_LT, "le": k.INT_LE}
_DBL = {"eq": k.DBL_EQ, "ne": k.DBL_NE, "lt": k.DBL_LT, "le": k.DBL_LE}
_TIME = {"eq": k.TIME_EQ, "ne": k.TIME_NE, "lt": k.TIME_LT, "le": k.TIME_LE}
_BOOL = {"eq": k.EQUAL, "ne": k.DIFFER, "lt": k.LESS, "le": k.LESS_EQ}
_COMPARE = {Type.NUMBER: _DBL, Type.TIME: _TIME, Type.BOOL: _BOOL}
_CONSTANT = ("eq", "ne", "lt", "le", "gt", "ge")
_INT_C = dict(zip(_CONSTANT, range(k.INT_EQ_C, k.INT_GE_C + 1), strict=True))
_DBL_C = dict(zip(_CONSTANT, range(k.DBL_EQ_C, k.DBL_GE_C + 1), strict=True))
_MIRRORED = {"eq": "eq", "ne": "ne", "lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}
INPUT = -1  # in place of an operation
FORMULAS = 1 << 30


class TooLarge(ValueError):
    """More instructions or columns than the limits above."""


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """An instruction's result, or an input. `slot` is a row, or for conditions a plane.

    Planes of conditions on conditions count from `FORMULAS` on, until `Builder.settled` moves them behind
    those of plain tests: these are read again and again and must lie close together.
    """

    number: int
    op: int
    slot: int
    level: int
    needs: tuple[int, ...]


class Builder:
    """Collects instructions while roots are lowered."""

    def __init__(self) -> None:
        self.values: list[Value] = []
        self.ins: list[tuple[int, ...]] = []
        self.imm: list[int] = []
        self.lits: list[int] = []
        self.pool: list[int] = []
        self.rows = self.tests = self.formulas = 0
        self.inputs: dict[str, tuple[Type, int, Value]] = {}  # path -> type, column, value
        self.width = 0
        self.codes: dict[str, int] = {}
        self.ordered = self.uses_zone = False
        self._known: dict[tuple[object, ...], Value] = {}
        self._lowered: dict[int, tuple[Node, Value]] = {}  # by id, so shared sub-trees are walked once

    def lower(self, node: Node) -> Value:
        """The value of an expression."""
        found = self._lowered.get(id(node))
        if found is not None:
            return found[1]
        if isinstance(node, Const):
            value = self._const(node)
        elif isinstance(node, Ref):
            value = self._input(node)
            if node.type is Type.BOOL:
                value = self._emit(k.FLAG, [value])
        else:
            value = self._operation(node)
        self._lowered[id(node)] = (node, value)
        return value

    def settled(self, slots: Sequence[Any]) -> I32:
        """An array of slots, with those of formulas where they are in the end."""
        array = np.array(slots, np.int32)
        array[array >= FORMULAS] += self.tests - FORMULAS
        return array

    def cell(self, node: Const) -> int:
        """The int64 of a constant that fits one."""
        return self._cell(node.type, node.value)

    def _cell(self, kind: Type, value: object) -> int:
        if kind is Type.TEXT:
            assert isinstance(value, str)
            return self.codes.setdefault(value, len(self.codes) + 1)
        if kind is Type.NUMBER:
            assert isinstance(value, int | float)
            return int(struct.unpack("<q", struct.pack("<d", value))[0])
        assert isinstance(value, int)
        return int(value)

    def _new(self, op: int, slot: int, args: Sequence[Value], operands: tuple[int, ...], imm: int = 0) -> Value:
        if len(self.values) >= INSTRUCTIONS_MAX:
            raise TooLarge(f"the conditions need more than {INSTRUCTIONS_MAX} instructions")
        level = 1 + max((a.level for a in args), default=-1)
        value = Value(len(self.values), op, slot, level, tuple(a.number for a in args))
        self.values.append(value)
        self.ins.append((slot, *operands))
        self.imm.append(imm)
        return value

    def _slot(self, op: int, width: int) -> int:
        if op >= k.AND:
            self.formulas += 1
            return FORMULAS + self.formulas - 1
        if op >= k.INT_EQ:
            self.tests += 1
            return self.tests - 1
        self.rows += width
        if self.rows > COLUMNS_MAX:
            raise TooLarge(f"the conditions need more than {COLUMNS_MAX} columns")
        return self.rows - width

    def _emit(self, op: int, args: Sequence[Value], imm: int = 0, width: int = 1) -> Value:
        """An instruction on one to three arguments; the one there is, if it is known."""
        key = (op, imm, *(a.number for a in args))
        value = self._known.get(key)
        if value is None:
            slots = [a.slot for a in args] or [0]
            slots += [slots[0]] * (3 - len(slots))  # operands that an operation ignores must still be valid
            value = self._new(op, self._slot(op, width), args, tuple(slots), imm)
            self._known[key] = value
        return value

    def _emit_list(self, op: int, args: Sequence[Value], items: Sequence[int]) -> Value:
        """An instruction on any number of planes (AND, OR) or one row and a list of cells (IN)."""
        key = (op, tuple(a.number for a in args), tuple(items))
        value = self._known.get(key)
        if value is None:
            store = self.lits if op in (k.AND, k.OR) else self.pool
            value = self._new(op, self._slot(op, 1), args, (args[0].slot, len(store), len(items)))
            store.extend(items)
            self._known[key] = value
        return value

    def _const(self, node: Const) -> Value:
        if node.type is Type.BOOL:
            return self._emit(k.CONST_PLANE, [], int(bool(node.value)))
        if node.type is not Type.TIME:
            return self._emit(k.CONST, [], self.cell(node))
        assert isinstance(node.value, int)
        second, nanos = divmod(node.value, _NS)
        key = ("time", node.value)
        value = self._known.get(key)
        if value is None:
            slot = self._slot(k.CONST, 2)
            low = self._new(k.CONST, slot + 1, [], (0, 0, 0), nanos)
            value = self._known[key] = self._new(k.CONST, slot, [low], (0, 0, 0), second)
        return value

    def _input(self, node: Ref) -> Value:
        if node.path not in self.inputs:
            width = 2 if node.type is Type.TIME else 1
            value = self._new(INPUT, self._slot(INPUT, width), [], (0, 0, 0))
            self.inputs[node.path] = (node.type, self.width, value)
            self.width += width
        return self.inputs[node.path][2]

    def _operation(self, node: Op) -> Value:
        op, args = node.op, node.args
        if op in _MIRRORED:
            return self._compare(op, args[0], args[1])
        if op in ("and", "or"):
            many, two = (k.AND, k.AND_2) if op == "and" else (k.OR, k.OR_2)
            planes = list(dict.fromkeys(self.lower(a) for a in args))
            if len(planes) <= 2:
                return self._emit(two, planes) if len(planes) == 2 else planes[0]
            return self._emit_list(many, planes, [p.slot for p in planes])
        if op == "not":
            return self._emit(k.NOT, [self.lower(args[0])])
        if op == "has":
            assert isinstance(args[0], Ref)
            return self._emit(k.HAS, [self._input(args[0])])
        if op == "in":
            return self._among(args[0], args[1])
        if op == "cond":
            parts = [self.lower(a) for a in args]
            if node.type is Type.BOOL:
                return self._emit(k.COND, parts)
            time = node.type is Type.TIME
            return self._emit(k.SELECT_TIME if time else k.SELECT, parts, width=2 if time else 1)
        if op in ("days_since", "days_until"):
            self.uses_zone = True
            now = self._input(Ref(Type.TIME, "now", node.span))
            return self._emit(k.DAYS_SINCE if op == "days_since" else k.DAYS_UNTIL, [self.lower(args[0]), now])
        parts = [self.lower(a) for a in args]
        if op == "add" and node.type is Type.TIME and args[0].type is Type.DURATION:
            parts.reverse()
        if op in _UNARY:
            return self._emit(_UNARY[op], parts)
        if op == "sub" and node.type is Type.DURATION and args[0].type is Type.TIME:
            return self._emit(k.TIME_DIFF, parts)
        return self._emit(_ARITHMETIC[node.type][op], parts, width=2 if node.type is Type.TIME else 1)

    def _compare(self, op: str, left: Node, right: Node) -> Value:
        kind = left.type
        if kind is Type.TEXT and op not in ("eq", "ne"):
            self.ordered = True
            ranks = [self._emit(k.RANK, [self.lower(side)]) for side in (left, right)]
            return self._by_columns(op, _INT, ranks[0], ranks[1])
        if kind not in (Type.TIME, Type.BOOL):
            if isinstance(left, Const) and not isinstance(right, Const):
                op, left, right = _MIRRORED[op], right, left
            if isinstance(right, Const):
                table = _DBL_C if kind is Type.NUMBER else _INT_C
                return self._emit(table[op], [self.lower(left)], self.cell(right))
        return self._by_columns(op, _COMPARE.get(kind, _INT), self.lower(left), self.lower(right))

    def _by_columns(self, op: str, table: Mapping[str, int], left: Value, right: Value) -> Value:
        if op in ("gt", "ge"):
            op, left, right = _MIRRORED[op], right, left
        return self._emit(table[op], [left, right])

    def _among(self, left: Node, right: Node) -> Value:
        """Membership of a list of constants; an error on the left is one whatever the list."""
        assert isinstance(right, Const)
        assert isinstance(right.value, tuple)
        items, kind, value = right.value, left.type, self.lower(left)
        if kind is Type.BOOL:
            if len(set(items)) == 1:
                return value if items[0] else self._emit(k.NOT, [value])
            always = self._emit(k.NO_ERROR, [value])
            return always if items else self._emit(k.NOT, [always])
        if kind is Type.NUMBER:
            numbers = sorted({float(item) for item in items if not math.isnan(item)})
            return self._emit_list(k.DBL_IN, [value], [self._cell(kind, item) for item in numbers])
        if kind is Type.TIME and items:
            each = dict.fromkeys(
                self._emit(k.TIME_EQ, [value, self._const(Const(kind, item, right.span))]) for item in items
            )
            planes = list(each)
            return planes[0] if len(planes) == 1 else self._emit_list(k.OR, planes, [p.slot for p in planes])
        return self._emit_list(k.INT_IN, [value], sorted({self._cell(kind, item) for item in items}))
