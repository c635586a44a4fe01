"""A decision table as facts: its headers checked, its rows compiled, the whole looked through."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from engine.compiler import slips
from engine.compiler.model import Feature, Position, TableRow, TableSource
from engine.compiler.nodes import Fact, Node, Op, Ref, Span, Type
from engine.compiler.source import ERROR, Finding, Problem
from engine.compiler.tables.compiling import Column, asked, compile_outputs, read_columns, shifted
from engine.compiler.tables.coverage import analyse
from engine.compiler.tables.regions import Bounds
from engine.compiler.tables.table import Output, Table

Check = Callable[[str], tuple[Node | None, list[Problem]]]
_GAP = ", "
_NO_INPUT = "a column with results is headed `out: name`, one for people `note`"


class Built(NamedTuple):
    """A table for one set of event types: a tree per output, or what is wrong. `reason` is the first of it."""

    nodes: Mapping[str, Node]
    columns: tuple[Column, ...]
    findings: list[Finding]
    reason: str


def header_text(table: Table) -> str:
    """The inputs of the header behind one another: the text in which the trees have their places."""
    return _GAP.join(column.text for column in table.inputs)


def source_of(table: Table, output: Output) -> TableSource:
    """Where the inputs and the rows of an output are written."""
    inputs: list[tuple[Span, Position]] = []
    start = 0
    for column in table.inputs:
        at, end = table.grid.position(column.cell), start + len(column.text)
        lead = max(0, table.grid.written(column.cell).find(column.text))
        inputs.append((Span(start, end), Position(at.path, at.line, at.column + lead)))
        start = end + len(_GAP)
    rows = [table.rows[i] for i in asked(table, output)]
    path = table.grid.path
    return TableSource(
        tuple(inputs), tuple(TableRow(row.number, Position(path, row.line, 1), row.line_text) for row in rows)
    )


def build(table: Table, check: Check) -> Built:
    """The outputs' trees; `check` gives the typed tree of an expression, or its problems."""
    findings: list[Finding] = []
    reason = ""
    inputs: list[Node] = []
    at = 0
    for column in table.inputs:
        node, problems = check(column.text)
        lead = len(column.cell.text) - len(column.cell.text.lstrip())
        for p in problems:
            reason = reason or (p.message if p.severity == ERROR else "")
            findings.append(
                table.grid.finding(
                    p.code, column.cell, p.message, found=p.found, expected=p.expected,
                    hint=_NO_INPUT if p.hint == slips.value(column.text) else p.hint,
                    span=(lead + p.span.start, lead + p.span.end), severity=p.severity,
                )
            )  # fmt: skip
        if node is not None:
            inputs.append(shifted(node, at))
        at += len(column.text) + len(_GAP)
    columns = None if reason else read_columns(table, inputs, findings)
    if columns is None:
        return Built({}, (), findings, reason or next(f.message for f in findings if f.severity == ERROR))
    return Built(compile_outputs(table, columns) if table.sound else {}, columns, findings, "")


def look_through(table: Table, built: Built, features: Mapping[str, Feature], counts: frozenset[str]) -> list[Finding]:
    """Findings about gaps, overlaps and rows that never match. `counts` are windows that are never negative."""

    def bounds(node: Node) -> Bounds:
        if isinstance(node, Fact):
            return bounds(node.node)
        if isinstance(node, Op) and node.op == "cond":
            return _either(bounds(node.args[1]), bounds(node.args[2]))
        if isinstance(node, Op) and node.op == "size":
            return Bounds(low=(0, True))
        if not isinstance(node, Ref):
            return Bounds()
        root, _, name = node.path.partition(".")
        if root == "windows" and name in counts:
            return Bounds(low=(0, True))
        feature = features.get(name) if root == "features" else None
        return _of_feature(feature) if feature is not None else Bounds()

    return analyse(table, built.columns, bounds)


def _of_feature(feature: Feature) -> Bounds:
    """The declared range; a default outside it is a value too."""
    if feature.type not in (Type.INTEGER, Type.NUMBER):
        return Bounds()
    low = None if feature.at_least is None else (feature.at_least, True)
    if feature.above is not None and (low is None or feature.above >= low[0]):
        low = (feature.above, False)
    high = None if feature.at_most is None else (feature.at_most, True)
    default = feature.default
    if isinstance(default, (int, float)):
        low = None if low is not None and (default < low[0] or (default == low[0] and not low[1])) else low
        high = None if high is not None and default > high[0] else high
    return Bounds(low, high)


def _either(a: Bounds, b: Bounds) -> Bounds:
    low = min((a.low, b.low), key=lambda x: (x[0], not x[1])) if a.low and b.low else None
    high = max((a.high, b.high), key=lambda x: (x[0], x[1])) if a.high and b.high else None
    return Bounds(low, high)
