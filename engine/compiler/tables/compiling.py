"""A decision table and its typed inputs to one expression tree per output.

A row's condition is the `and` of its tests, shared by all outputs, so errors mean what they mean in CEL: a
test of a missing input is an error unless another cell of the row is false. The policy first stops at such a
row. In the other policies the order of rows means nothing; so where a column asks for `missing` somewhere,
its other tests are false, not errors, for an input without a value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from engine.compiler.nodes import Const, Fact, Node, Op, Ref, Span, Type, Var
from engine.compiler.source import Finding
from engine.compiler.tables.literals import ORDERED, Bad
from engine.compiler.tables.regions import asks_missing
from engine.compiler.tables.table import Output, Table, told
from engine.compiler.tables.unary import Test, at_missing, parse_test, test_node

_SCALARS = (Type.BOOL, Type.TEXT, *ORDERED)


class Column(NamedTuple):
    """An input with its tests, row by row. `asked`: some row says what to do without a value."""

    node: Node
    tests: tuple[Test, ...]
    asked: bool


def read_columns(table: Table, inputs: Sequence[Node], findings: list[Finding]) -> tuple[Column, ...] | None:
    """The tests of all cells by the types of `inputs`, or None with findings."""
    grid = table.grid
    before = len(findings)
    columns: list[Column] = []
    for column, node in zip(table.inputs, inputs, strict=True):
        if node.type not in _SCALARS:
            message = f"a list cannot be tested: this is {node.type}"
            hint = f'write a question with one answer, such as `"x" in {column.text}`'
            findings.append(grid.finding("table-input", column.cell, message, hint=hint))
            continue
        tests: list[Test] = []
        for row in table.rows:
            cell = row.cell(column.cell.column)
            if not cell.text.strip():
                hint = "write `-` where the input does not matter, `missing` where it must have no value"
                findings.append(grid.finding("table-empty-cell", cell, f"no test of `{column.text}`", hint=hint))
                continue
            try:
                tests.append(parse_test(cell.text, node.type))
            except Bad as bad:
                findings.append(told(grid, cell, bad, bad.code))
        columns.append(Column(node, tuple(tests), asks_missing(tests)))
    return None if len(findings) > before else tuple(columns)


def compile_outputs(table: Table, columns: Sequence[Column]) -> dict[str, Node]:
    """The tree of each output."""
    strict = table.hit == "first"
    conditions = [_condition(columns, row, strict) for row in range(len(table.rows))]
    result: dict[str, Node] = {}
    for output in table.outputs:
        if table.collect in ("list", "sum", "count"):
            result[output.name] = _collected(table.collect, output, conditions)
            continue
        last = _last(table, output)
        pairs = [arg for i in asked(table, output) for arg in (conditions[i], _constant(output, i))]
        result[output.name] = Op(output.type, "switch", (*pairs, last), last.span)
    return result


def ranked(table: Table) -> list[int]:
    """The rows in the order in which they are asked: as written, or by the declared priorities."""
    rows = list(range(len(table.rows)))
    outputs = {output.name: output for output in table.outputs}
    for name in reversed(list(table.priority)):
        values, ranks = outputs[name].values, table.priority[name]
        rows.sort(key=lambda i: ranks.index(values[i]))
    return rows


def asked(table: Table, output: Output) -> list[int]:
    """The rows in the order in which the output's tree asks them."""
    if table.collect in ("minimum", "maximum"):
        return by_value(output, table.collect)
    return ranked(table)


def rows_of(tree: Node) -> list[tuple[Node, Node]]:
    """Condition and result of each row of an output's tree, in the order in which they are asked."""
    assert isinstance(tree, Op)
    if tree.op == "add":
        return [row for arg in tree.args for row in rows_of(arg)]
    args = tree.args if tree.op == "collect" else tree.args[:-1]
    return list(zip(args[::2], args[1::2], strict=True))


def by_value(output: Output, collect: str) -> list[int]:
    """The rows with the smallest (or largest) result first: the first that matches has it."""
    values: Any = output.values
    return sorted(range(len(values)), key=lambda i: values[i], reverse=collect == "maximum")


def _condition(columns: Sequence[Column], row: int, strict: bool) -> Node:
    tests: list[Node] = []
    for column in columns:
        test = column.tests[row]
        node = test_node(test, column.node)
        if node is None:
            continue
        if column.asked and not strict and at_missing(test) is None:
            present = Op(Type.BOOL, "not", (Op(Type.BOOL, "fails", (column.node,), node.span),), node.span)
            tests += (present, node)
        elif isinstance(node, Op) and node.op == "and":
            tests += node.args
        else:
            tests.append(node)
    if len(tests) > 1:
        return Op(Type.BOOL, "and", tuple(tests), tests[0].span)
    return tests[0] if tests else Const(Type.BOOL, True, columns[0].node.span)


def _constant(output: Output, row: int) -> Const:
    return Const(output.type, output.values[row], Span(0, 0))


def _last(table: Table, output: Output) -> Node:
    """What holds where no row matches."""
    if output.name in table.default:
        return Const(output.type, table.default[output.name], Span(0, 0))
    cause = Const(Type.TEXT, f"no row of {table.grid.path} matches", Span(0, 0))
    return Op(output.type, "fail", (cause,), Span(0, 0))


def _collected(collect: str, output: Output, conditions: Sequence[Node]) -> Node:
    span = Span(0, 0)
    if collect == "list":
        pairs = [arg for i, condition in enumerate(conditions) for arg in (condition, _constant(output, i))]
        return Op(output.type.listed, "collect", tuple(pairs), span)
    kind = Type.INTEGER if collect == "count" else output.type
    nothing = Const(kind, 0.0 if kind is Type.NUMBER else 0, span)
    one = Const(kind, 1, span)
    terms: list[Node] = [
        Op(kind, "cond", (condition, one if collect == "count" else _constant(output, i), nothing), span)
        for i, condition in enumerate(conditions)
    ]
    while len(terms) > 1:  # in pairs, so that the tree stays flat
        pairs = [Op(kind, "add", (a, b), span) for a, b in zip(terms[::2], terms[1::2], strict=False)]
        terms = [*pairs, *terms[len(terms) & ~1 :]]
    return terms[0]


def shifted(node: Node, by: int) -> Node:
    """The same tree with its places moved: headers stand behind one another in a table's text."""
    span = Span(node.span.start + by, node.span.end + by)
    if isinstance(node, Const):
        return Const(node.type, node.value, span)
    if isinstance(node, Fact):
        return Fact(node.type, node.path, node.node, span)
    if isinstance(node, Op):
        return Op(node.type, node.op, tuple(shifted(arg, by) for arg in node.args), span)
    return Ref(node.type, node.path, span) if isinstance(node, Ref) else Var(node.type, node.level, node.name, span)
