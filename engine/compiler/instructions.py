"""Expressions as instructions for `kernels.evaluate`.

Equal sub-expressions are one instruction over the whole rule set (value numbering: an instruction is
known by its operation and its arguments' numbers, so a lookup costs the same at any depth). What no
kernel does is a `Call`, whose result is an input of a later stage: see `stages`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.compiler import macros, opcodes
from engine.compiler.composed import composition, constantly, python_of, same
from engine.compiler.functions import TABLE
from engine.compiler.nodes import Const, Fact, Node, Op, Ref, Type, Var
from engine.compiler.pool import NS, WIDE, Constants, number_bits, width
from engine.kernels import operations as k
from engine.zones import ZONES

INSTRUCTIONS_MAX = 1_000_000
COLUMNS_MAX = 100_000
UNROLLED_MAX = 100_000
STAGES_MAX = 100

_UNUSED = {Type.BOOL: False, Type.NUMBER: 0.0, Type.TEXT: ""}
INPUT = -1  # in place of an operation
FORMULAS = 1 << 30


class TooLarge(ValueError):
    """More instructions, columns, unrolled elements or stages than the limits above.

    `root` is the number of the expression that was too much.
    """

    root = -1


@dataclass(slots=True, eq=False)  # never set: frozen, each takes 1.4 us to make instead of 0.5
class Value:
    """An instruction's result, or an input. `slot` is a row, or for conditions a plane.

    Planes of conditions on conditions count from `FORMULAS` on, until `Builder.settled` moves them behind
    those of plain tests: these are read again and again and must lie close together.
    `stage`: 0 where it depends on no call, else one more than the stage of the arguments of the last one.
    """

    number: int
    op: int
    slot: int
    level: int
    needs: tuple[int, ...]
    stage: int


@dataclass(frozen=True, slots=True)
class Function:
    """Evaluated in Python, once per distinct arguments. Raises ValueError where the result is an error."""

    apply: Callable[..., object]
    pattern: str | None = None  # of `matches`, on the argument itself


@dataclass(frozen=True, slots=True)
class Lane:
    """A bound macro over the first argument; `bodies` read the element and the other arguments, by `paths`."""

    op: str
    bodies: tuple[Node, ...]
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """What is computed between two stages: rows and their types, and the input that is the result."""

    work: Function | Lane
    args: tuple[Value, ...]
    kinds: tuple[Type, ...]
    result: Value
    kind: Type


class Builder:
    """Collects instructions while roots are lowered."""

    def __init__(self, constants: Constants) -> None:
        self.constants = constants
        self.values: list[Value] = []
        self.ins: list[tuple[int, ...]] = []
        self.imm: list[int] = []
        self.lits: list[int] = []
        self.pool: list[int] = []
        self.rows = self.tests = self.formulas = 0
        self.inputs: dict[tuple[str, Type], Value] = {}  # event types may differ in what an attribute is
        self.calls: list[Call] = []
        self.uses_zone = False
        self.unrolled = 0
        self._known: dict[tuple[object, ...], Value] = {}
        self._lowered: dict[int, tuple[Node, Value]] = {}  # by id, so shared sub-trees are walked once
        self._plain: dict[tuple[object, ...], Value] = {}  # an input beside a constant, as most conditions are

    def lower(self, node: Node) -> Value:
        """The value of an expression."""
        if type(node) is Op and len(node.args) == 2:
            left, right = node.args
            if type(left) is Ref and type(right) is Const:  # the same stand in many messages, each a node of its own
                key = (node.op, node.type, left.path, left.type, right.key, right.type)
                plain = self._plain.get(key)
                if plain is None:
                    plain = self._plain[key] = self._operation(node)
                return plain
        found = self._lowered.get(id(node))
        if found is not None:
            return found[1]
        if isinstance(node, Const):
            value = self._const(node)
        elif isinstance(node, Ref):
            value = self._flag(self.input(node), node.type)
        elif isinstance(node, Fact):
            value = self.lower(node.node)
        else:
            assert not isinstance(node, Var)
            value = self._operation(node)
        self._lowered[id(node)] = (node, value)
        return value

    def settled(self, slots: Sequence[Any]) -> npt.NDArray[np.uint32]:
        """An array of slots, with those of formulas where they are in the end."""
        array = np.array(slots, np.uint32)
        array[array >= FORMULAS] -= FORMULAS - self.tests
        return array

    def _cell(self, kind: Type, value: object) -> int:
        """The int64 of a constant that fits one."""
        if kind is Type.NUMBER:
            assert isinstance(value, int | float)
            return number_bits(value)
        if isinstance(value, str | tuple):
            return self.constants.code(kind, value)
        assert isinstance(value, int)
        return int(value)

    def _new(self, op: int, slot: int, args: Sequence[Value], operands: tuple[int, ...], imm: int = 0) -> Value:
        if len(self.values) >= INSTRUCTIONS_MAX:
            raise TooLarge(f"the conditions need more than {INSTRUCTIONS_MAX} instructions")
        level = 1 + max((a.level for a in args), default=-1)
        stage = max((a.stage for a in args), default=0)
        value = Value(len(self.values), op, slot, level, tuple(a.number for a in args), stage)
        self.values.append(value)
        self.ins.append((slot, *operands))
        self.imm.append(imm)
        return value

    def _slot(self, op: int, cells: int) -> int:
        if k.AND <= op <= k.CONST_PLANE or k.AND_2 <= op <= k.SWITCH_PLANE:
            self.formulas += 1
            return FORMULAS + self.formulas - 1
        if k.INT_EQ <= op <= k.FAILS:
            self.tests += 1
            return self.tests - 1
        self.rows += cells
        if self.rows > COLUMNS_MAX:
            raise TooLarge(f"the conditions need more than {COLUMNS_MAX} columns")
        return self.rows - cells

    def _emit(self, op: int, args: Sequence[Value], imm: int = 0, cells: int = 1) -> Value:
        """An instruction on up to three arguments; the one there is, if it is known."""
        key = (op, imm, *(a.number for a in args))
        value = self._known.get(key)
        if value is None:
            slots = [a.slot for a in args] or [0]
            slots += [slots[0]] * (3 - len(slots))  # operands that an operation ignores must still be valid
            value = self._new(op, self._slot(op, cells), args, tuple(slots), imm)
            self._known[key] = value
        return value

    def _emit_list(self, op: int, args: Sequence[Value], items: Sequence[int], count: int, cells: int = 1) -> Value:
        """An instruction on any number of planes and rows (AND, OR, SWITCH) or one row and a list of cells (IN)."""
        key = (op, tuple(a.number for a in args), tuple(items))
        value = self._known.get(key)
        if value is None:
            store = self.pool if op in (k.INT_IN, k.DBL_IN) else self.lits
            value = self._new(op, self._slot(op, cells), args, (args[0].slot, len(store), count))
            store.extend(items)
            self._known[key] = value
        return value

    def _const(self, node: Const) -> Value:
        if node.type is Type.BOOL:
            return self._emit(k.CONST_PLANE, [], int(bool(node.value)))
        if node.type not in WIDE:
            return self._emit(k.CONST, [], self._cell(node.type, node.value))
        assert isinstance(node.value, int)
        first, second = divmod(node.value, NS)
        key = ("wide", node.value)
        value = self._known.get(key)
        if value is None:
            slot = self._slot(k.CONST, 2)
            low = self._new(k.CONST, slot + 1, [], (0, 0, 0), second)
            value = self._known[key] = self._new(k.CONST, slot, [low], (0, 0, 0), first)
        return value

    def input(self, node: Ref) -> Value:
        """The input at a path."""
        key = (node.path, node.type)
        value = self.inputs.get(key)
        if value is None:
            value = self.inputs[key] = self._new(INPUT, self._slot(INPUT, width(node.type)), [], (0, 0, 0))
        return value

    def _now(self) -> Value:
        self.uses_zone = True
        return self.input(Ref(Type.TIME, "now", macros.NOWHERE))

    def _flag(self, value: Value, kind: Type) -> Value:
        return self._emit(k.FLAG, [value]) if kind is Type.BOOL else value

    def _operation(self, node: Op) -> Value:
        op, args = node.op, node.args
        if op == "and" or op == "or":
            return self._chain(op, args)
        if op in opcodes.MIRRORED:
            return self._compare(node)
        if op in macros.MACROS:
            return self.lower(macros.bound(node))
        if op.startswith("#"):
            return self._macro(node)
        first, cells = args[0].type, width(node.type)
        match op:
            case "not":
                return self._emit(k.NOT, [self.lower(args[0])])
            case "has":
                assert isinstance(args[0], Ref)
                return self._emit(k.HAS, [self.input(args[0])])
            case "in":
                return self._among(args[0], args[1])
            case "cond" if node.type is Type.BOOL:
                return self._emit(k.COND, [self.lower(a) for a in args])
            case "cond":
                return self._emit(k.SELECT if cells == 1 else k.SELECT_WIDE, [self.lower(a) for a in args], cells=cells)
            case "switch":
                return self._switch(node)
            case "fail":
                return self._emit(k.FAIL_PLANE if node.type is Type.BOOL else k.FAIL, [], cells, cells)
            case "fails":
                return self._emit(k.FAILS_PLANE if first is Type.BOOL else k.FAILS, [self.lower(args[0])])
            case "collect" | "collected":
                return self._call(_collected(node))
        if op in opcodes.PART:
            return self._part(node)
        if op == "to_integer" and first is Type.DURATION:
            return self._divided(args[0], NS)
        if op in ("add", "sub", "mul", "div", "mod", "neg"):
            return self._arithmetic(node)
        key = (op, first)
        if key in opcodes.FROM_NOW:
            return self._emit(opcodes.FROM_NOW[key], [self.lower(args[0]), self._now()])
        if key in opcodes.ON_CALENDAR:
            self.uses_zone = True
            return self._emit(opcodes.ON_CALENDAR[key], [self.lower(a) for a in args], cells=cells)
        if key in opcodes.SIMPLE:
            return self._emit(opcodes.SIMPLE[key], [self.lower(a) for a in args], cells=cells)
        return self._call(node)

    def _arithmetic(self, node: Op) -> Value:
        op, first = node.op, node.args[0].type
        parts = [self.lower(a) for a in node.args]
        if op == "add" and node.type is Type.TIME and first is Type.DURATION:
            parts.reverse()
        if op == "mul" and node.type is Type.MONEY and first is Type.INTEGER:
            parts.reverse()
        if op == "sub" and node.type is Type.DURATION and first is Type.TIME:
            return self._emit(k.TIME_DIFF, parts)
        return self._emit(opcodes.ARITHMETIC[node.type][op], parts, cells=width(node.type))

    def _chain(self, op: str, args: Sequence[Node]) -> Value:
        many, two = (k.AND, k.AND_2) if op == "and" else (k.OR, k.OR_2)
        planes = list(dict.fromkeys(self.lower(a) for a in args))
        if len(planes) <= 2:
            return self._emit(two, planes) if len(planes) == 2 else planes[0]
        return self._emit_list(many, planes, [p.slot for p in planes], len(planes))

    def _switch(self, node: Op) -> Value:
        parts = [self.lower(a) for a in node.args]
        if len(parts) == 1:
            return parts[0]
        op = k.SWITCH_PLANE if node.type is Type.BOOL else k.SWITCH_WIDE if node.type in WIDE else k.SWITCH
        return self._emit_list(op, parts, [p.slot for p in parts], len(parts) // 2, width(node.type))

    def _divided(self, node: Node, by_ns: int) -> Value:
        return self._emit(k.INT_DIV, [self.lower(node), self._emit(k.CONST, [], by_ns)])

    def _part(self, node: Op) -> Value:
        """A part of a time in a zone, or the whole of a duration."""
        if node.args[0].type is Type.DURATION:
            return self._divided(node.args[0], opcodes.NS_OF[node.op])
        if len(node.args) == 1:
            zone = self._emit(k.CONST, [], ZONES.offset_id(0))
        else:
            zone = self._call(Op(Type.INTEGER, "zone", (node.args[1],), node.span))
        return self._emit(opcodes.PART[node.op], [self.lower(node.args[0]), zone])

    def _compare(self, node: Op) -> Value:
        """By the cells: equal texts and lists have equal codes, but a NaN in a list is not equal to itself."""
        op, (left, right) = node.op, node.args
        kind = left.type
        table, with_constant = opcodes.INT, opcodes.INT_C
        if kind is Type.NUMBER:
            table, with_constant = opcodes.DBL, opcodes.DBL_C
        elif kind is Type.BOOL:
            return self._by_columns(op, opcodes.BOOL, self.lower(left), self.lower(right))
        elif kind in WIDE:
            return self._by_columns(op, opcodes.WIDE, self.lower(left), self.lower(right))
        elif kind is Type.NUMBERS:
            return self._call(node)
        elif kind is Type.TEXT and op not in ("eq", "ne"):
            self.constants.ordered = True
            ranks = [self._emit(k.RANK, [self.lower(side)]) for side in (left, right)]
            return self._by_columns(op, opcodes.INT, ranks[0], ranks[1])
        if isinstance(left, Const) and not isinstance(right, Const):
            op, left, right = opcodes.MIRRORED[op], right, left
        if isinstance(right, Const):
            return self._emit(with_constant[op], [self.lower(left)], self._cell(kind, right.value))
        return self._by_columns(op, table, self.lower(left), self.lower(right))

    def _by_columns(self, op: str, table: Mapping[str, int], left: Value, right: Value) -> Value:
        if op in ("gt", "ge"):
            op, left, right = opcodes.MIRRORED[op], right, left
        return self._emit(table[op], [left, right])

    def _among(self, left: Node, right: Node) -> Value:
        """Membership of a list; an error on the left is one whatever the list."""
        right = macros.stripped(right)
        if not isinstance(right, Const):
            items_of = macros.items_of(right)
            if items_of is None:
                return self._call(Op(Type.BOOL, "in", (left, right), right.span))
            return self.lower(macros.among(left, items_of))
        assert isinstance(right.value, tuple)
        items, kind, value = right.value, left.type, self.lower(left)
        if kind is Type.BOOL:
            if len(set(items)) == 1:
                return value if items[0] else self._emit(k.NOT, [value])
            always = self._emit(k.NO_ERROR, [value])
            return always if items else self._emit(k.NOT, [always])
        if kind is Type.NUMBER:
            numbers = sorted({float(item) for item in items if not math.isnan(item)})
            return self._emit_list(k.DBL_IN, [value], [self._cell(kind, item) for item in numbers], len(numbers))
        if kind in WIDE and items:
            each = dict.fromkeys(
                self._emit(k.WIDE_EQ, [value, self._const(Const(kind, item, right.span))]) for item in items
            )
            planes = list(each)
            return (
                planes[0] if len(planes) == 1 else self._emit_list(k.OR, planes, [p.slot for p in planes], len(planes))
            )
        cells = sorted({self._cell(kind, item) for item in items})
        return self._emit_list(k.INT_IN, [value], cells, len(cells))

    def _macro(self, node: Op) -> Value:
        """A bound macro: unrolled, or a call that runs its bodies on lanes of elements."""
        source, variable, *bodies = node.args
        assert isinstance(variable, Ref)
        items = macros.items_of(source)
        if items is not None:
            self.unrolled += len(items)
            if self.unrolled > UNROLLED_MAX:
                raise TooLarge(f"macros over lists of constants run over more than {UNROLLED_MAX} elements")
            return self.lower(macros.unrolled(node, items))
        captured: dict[str, tuple[Value, Type]] = {}

        def capture(part: Node) -> Ref:
            value = self._row(part)
            path = f"{macros.ELEMENT}{value.number}"
            captured[path] = (value, part.type)
            return Ref(part.type, path, macros.NOWHERE)

        made = tuple(macros.for_lanes(body, variable.path, capture) for body in bodies)
        if any(map(macros.reads_now, made)):
            captured["now"] = (self._now(), Type.TIME)
        lane = Lane(node.op[1:], made, tuple(captured))
        args = [(self._row(source), source.type), *captured.values()]
        return self._called(("lane", lane.op, made, args[0][0].number), lane, args, node.type)

    def _row(self, node: Node) -> Value:
        """The value as a row, also of a condition."""
        value = self.lower(node)
        if node.type is not Type.BOOL:
            return value
        return self.values[value.needs[0]] if value.op == k.FLAG else self._emit(k.CELL, [value])

    def _call(self, node: Op) -> Value:
        """What Python evaluates; functions of one and the same argument are one function of it."""
        part = self._applied(node)
        if not part.leaves:
            try:
                value = part.apply()
            except ValueError:
                value = None
            return self.lower(_failed(node) if value is None else Const(node.type, value, node.span))
        pattern = None
        if node.op == "matches" and part.key[2] == part.leaves[0][0].number:
            constant = macros.stripped(node.args[1])
            assert isinstance(constant, Const)
            pattern = str(constant.value)
        return self._called(part.key, Function(part.apply, pattern), part.leaves, node.type)

    def _part_of(self, node: Node) -> _Applied:
        """A part of a function. A fact is a leaf, else facts of facts would be one function of endless size."""
        constant = macros.stripped(node)
        if isinstance(constant, Const):
            return _Applied((constant.type, constant.key), [], constantly(constant.value))
        if isinstance(node, Op) and node.op != "collect" and (node.op, node.args[0].type) in TABLE:
            return self._applied(node)
        return self._leaf(node)

    def _leaf(self, node: Node) -> _Applied:
        row = self._row(node)
        return _Applied(row.number, [(row, node.type)], same)

    def _applied(self, node: Op) -> _Applied:
        """A tree of functions as one of its leaves; each argument is a leaf where there are several."""
        parts = [self._part_of(arg) for arg in node.args]
        leaves = list(dict.fromkeys(leaf for part in parts for leaf in part.leaves))
        if len(leaves) > 1:
            pairs = zip(node.args, parts, strict=True)
            parts = [self._leaf(arg) if part.leaves else part for arg, part in pairs]
            leaves = list(dict.fromkeys(leaf for part in parts for leaf in part.leaves))
        places = [tuple(leaves.index(leaf) for leaf in part.leaves) for part in parts]
        apply = composition(python_of(node), [part.apply for part in parts], places)
        return _Applied((node.op, node.type, *(part.key for part in parts)), leaves, apply)

    def _called(
        self, known: tuple[object, ...], work: Function | Lane, args: Sequence[tuple[Value, Type]], kind: Type
    ) -> Value:
        value = self._known.get(known)
        if value is None:
            rows = tuple(row for row, _ in args)
            stage = 1 + max(row.stage for row in rows)
            if stage >= STAGES_MAX:
                raise TooLarge(f"functions of functions need more than {STAGES_MAX} stages")
            slot = self._slot(INPUT, width(kind))
            value = Value(len(self.values), INPUT, slot, 0, tuple(row.number for row in rows), stage)
            self.values.append(value)
            self.ins.append((slot, 0, 0, 0))
            self.imm.append(0)
            self.calls.append(Call(work, rows, tuple(t for _, t in args), value, kind))
            self._known[known] = value
        return self._flag(value, kind)


@dataclass(frozen=True, slots=True)
class _Applied:
    """A function of rows, and what tells it from others."""

    key: Any
    leaves: list[tuple[Value, Type]]
    apply: Callable[..., object]


def _failed(node: Op) -> Node:
    return Op(node.type, "fail", (Const(Type.TEXT, "", node.span),), node.span)


def _collected(node: Op) -> Op:
    """`collect` with values that are no error where they are left out."""
    args: list[Node] = []
    for condition, value in zip(node.args[::2], node.args[1::2], strict=True):
        if not isinstance(value, Const):
            unused = Const(value.type, _UNUSED.get(value.type, 0), node.span)
            value = Op(value.type, "cond", (condition, value, unused), node.span)
        args += (condition, value)
    return Op(node.type, node.op, tuple(args), node.span)
