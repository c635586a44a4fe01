"""The fact `{table: tables/x.csv, hit: first, ..}` of a rule file, and the table that it names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from engine.compiler.nodes import Type
from engine.compiler.reading import Reading
from engine.compiler.source import ERROR, SURE, closest, did_you_mean
from engine.compiler.tables.csv_file import read_csv
from engine.compiler.tables.grid import Read
from engine.compiler.tables.literals import Bad, literal
from engine.compiler.tables.table import COLLECTS, HITS, Output, Table, read_header, read_outputs
from engine.compiler.tables.xlsx_file import read_xlsx
from engine.compiler.tree import MapNode, Node, Scalar

SUFFIXES = (".csv", ".xlsx")
TABLES = "tables"  # the directories in which a rule set's tables stand
_KEYS = ("table", "hit", "default", "sheet", "priority", "collect")
_NO_DEFAULT = ("list", "sum", "count")  # without a matching row these are empty or 0


def is_table(path: str) -> bool:
    """Whether a rule file is a decision table, by its name."""
    return PurePosixPath(path).suffix.lower() in SUFFIXES


def read_table(reading: Reading, name: str, node: MapNode, files: Mapping[str, bytes]) -> Table | None:
    """The table of the fact `name`; None with findings."""
    before = len(reading.findings)
    if not any(closest(key, ("table",), SURE) for key in node.entries):
        what = f"the fact '{name}' is neither an expression nor a table"
        reading.add("wrong-shape", node, what, found="a map", hint=f"write `{name}: features.x > 3`, without braces")
        return None
    fields = reading.fields(node, f"the fact '{name}'", _KEYS, required=("table", "hit"))
    if fields is None or "table" not in fields or "hit" not in fields:
        return None
    path = reading.scalar(fields["table"][1], "'table'")
    sheet = reading.scalar(fields["sheet"][1], "'sheet'") if "sheet" in fields else None
    hit = reading.choice(fields["hit"][1], "'hit'", HITS)
    collect = _collect(reading, hit, fields["collect"][1] if "collect" in fields else None)
    if path is None or hit is None or collect is None:
        return None
    read = _file(reading, path, sheet, files)
    if read.grid is None:
        return None
    findings = read.findings
    header = read_header(read.grid, findings)
    outputs = read_outputs(read.grid, header, findings) if header else ()
    reading.findings += findings
    if header is None:
        return None
    if collect in ("sum", "minimum", "maximum"):
        _summable(reading, fields["hit"][1], collect, outputs)
    default, priority = {}, {}
    if len(outputs) == len(header.outputs):
        default = _default(reading, fields["default"][1], outputs, collect) if "default" in fields else {}
        priority = _priority(reading, hit, fields.get("priority"), fields["hit"][1], outputs)
    sound = not any(f.severity == ERROR for f in reading.findings[before:])
    return Table(read.grid, hit, collect, header.inputs, outputs, header.rows, default, priority, sound)


def _file(reading: Reading, path: Scalar, sheet: Scalar | None, files: Mapping[str, bytes]) -> Read:
    """What came of the table's file; its own findings are in it, those of the rule file are told."""
    if path.value in files and is_table(path.value):
        if path.value.lower().endswith(".xlsx"):
            read = read_xlsx(path.value, files[path.value], sheet.value if sheet else "")
        else:
            read = read_csv(path.value, files[path.value])
            if sheet is not None:
                reading.add("bad-value", sheet, "'sheet' is for XLSX: a CSV file has no sheets")
        if read.grid is None:
            reading.findings += read.findings
        return read
    tables = [p for p in files if is_table(p)]
    suffix = PurePosixPath(path.value).suffix.lower()
    hint = did_you_mean(path.value, tables) or "its path begins at the rule set's directory: `tables/x.csv`"
    if suffix in (".xlsm", ".xls", ".ods"):
        hint = "save it as .xlsx or .csv: files with macros and other formats are not read"
    reading.add("unknown-table", path, f"there is no table '{path.value[:80]}'", hint=hint)
    return Read(None, [])


def _collect(reading: Reading, hit: str | None, node: Node | None) -> str | None:
    if node is None:
        return "list" if hit == "collect" else ""
    if hit != "collect":
        reading.add("bad-value", node, "'collect' is for the hit policy collect", hint="write `hit: collect`")
        return None
    return reading.choice(node, "'collect'", COLLECTS)


def _summable(reading: Reading, node: Node, collect: str, outputs: tuple[Output, ...]) -> None:
    kinds = (Type.INTEGER, Type.NUMBER) if collect == "sum" else (Type.INTEGER, Type.NUMBER, Type.DATE)
    for output in outputs:
        if output.type not in kinds:
            message = f"there is no {collect} of '{output.name}': its results are {output.type}"
            reading.add("bad-value", node, message, expected="numbers")
        elif collect == "sum" and sum(abs(v) for v in output.values if isinstance(v, int)) >= 2**63:
            reading.add("bad-value", node, f"the sum of '{output.name}' may not fit 64 bits")


def _default(reading: Reading, node: Node, outputs: tuple[Output, ...], collect: str) -> dict[str, object]:
    if collect in _NO_DEFAULT:
        nothing = "an empty list" if collect == "list" else "0"
        reading.add(
            "bad-value", node, f"no row that matches gives {nothing}: there is no default for 'collect: {collect}'"
        )
        return {}
    by_name = {output.name: output for output in outputs}
    if isinstance(node, Scalar) and not node.spoiled:
        hint = f"write {{{outputs[0].name}: {node.value}}}"
        reading.add("wrong-shape", node, "'default' is a map by output", found=f"'{node.value[:40]}'", hint=hint)
        return {}
    result: dict[str, object] = {}
    for name, (_, value) in (reading.fields(node, "'default'", tuple(by_name)) or {}).items():
        constant = _constant(reading, value, by_name[name])
        if constant is not None:
            result[name] = constant
    return result


def _constant(reading: Reading, node: Node, output: Output) -> object | None:
    """A result written in a rule file; quotes around it are YAML's."""
    if isinstance(node, Scalar) and node.style and output.type is Type.TEXT:
        return node.value
    scalar = reading.scalar(node, f"a result of '{output.name}'")
    if scalar is None:
        return None
    try:
        return literal(scalar.value, output.type)
    except Bad as bad:
        reading.add("bad-value", scalar, str(bad), found=scalar.value, expected=bad.expected, hint=bad.hint)
        return None


def _priority(
    reading: Reading, hit: str, field: tuple[Scalar, Node] | None, at: Node, outputs: tuple[Output, ...]
) -> dict[str, tuple[object, ...]]:
    """The declared orders of results, best first; every result of such an output must be in it."""
    if hit != "priority":
        if field is not None:
            reading.add(
                "bad-value", field[0], "'priority' is for the hit policy priority", hint="write `hit: priority`"
            )
        return {}
    if field is None:
        hint = f"write `priority: {{{outputs[0].name}: [best, .., worst]}}`"
        reading.add("missing-key", at, "the hit policy priority needs 'priority'", hint=hint)
        return {}
    by_name = {output.name: output for output in outputs}
    result: dict[str, tuple[object, ...]] = {}
    for name, (key, node) in (reading.fields(field[1], "'priority'", tuple(by_name)) or {}).items():
        values = tuple(_constant(reading, item, by_name[name]) for item in reading.list(node, f"'{name}'"))
        left_out = [str(v) for v in dict.fromkeys(by_name[name].values) if v not in values]
        if None not in values and left_out:
            found = ", ".join(left_out[:5])
            message = f"the priority of '{name}' leaves results out"
            reading.add("bad-value", key, message, found=found, expected="every result of the column, best first")
        result[name] = values
    return result
