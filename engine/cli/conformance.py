"""`tact eval --cases`: the conformance cases of CEL, each by the reference and by the kernels.

A file is `{"cases": [{"name", "expr", "type_env", "bindings", "value" | "typed_result" | "error"}]}`, the
JSON form of the specification's own suite. A case passes where both evaluators give the value, or the
error, that it expects; it is refused where the checker finds something, and wrong otherwise.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from engine.cli.evaluate import Variables, kernel_value, same
from engine.cli.output import FAILED, OK, USAGE, CommandError, out, print_json, print_table
from engine.compiler.ast import Call, ListTree, Literal, Tree, children
from engine.compiler.checker import check
from engine.compiler.instructions import TooLarge
from engine.compiler.lexer import Refused, tokenize
from engine.compiler.nodes import Type
from engine.compiler.parser import parse
from engine.compiler.reference import Failure, evaluate

PASS, REFUSED, WRONG = "pass", "refused", "wrong"
_NOW_NS = 1_795_000_000_000_000_000
_PRIMITIVE = {"INT64": Type.INTEGER, "DOUBLE": Type.NUMBER, "STRING": Type.TEXT, "BOOL": Type.BOOL}
_KINDS = {"int": Type.INTEGER, "double": Type.NUMBER, "text": Type.TEXT, "bool": Type.BOOL}
_ERROR = object()
_FOREIGN = object()  # a value of a type that is not ours


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one case. `literal`: the case is nothing but a literal."""

    file: str
    name: str
    expression: str
    verdict: str
    literal: bool
    detail: str


def run(paths: list[Path], lifted: bool, as_json: bool) -> int:
    """Counts of all cases, and the wrong ones; 1 where there are any."""
    outcomes = [outcome for path in _files(paths) for outcome in judge(path, lifted)]
    wrong = [o for o in outcomes if o.verdict == WRONG]
    files = {name: [o for o in outcomes if o.file == name] for name in dict.fromkeys(o.file for o in outcomes)}
    rows = {name: counts(found) for name, found in files.items()} | {"all": counts(outcomes)}
    if as_json:
        print_json(
            {
                "mode": "lifted" if lifted else "as written",
                "counts": rows,
                "wrong": [_json(o) for o in wrong],
                "refused": [_json(o) for o in outcomes if o.verdict == REFUSED],
            }
        )
        return FAILED if wrong else OK
    table = Table("file", *(heading.replace("_", " ") for heading in rows["all"]), box=None, pad_edge=False)
    for name, row in rows.items():
        table.add_row(name, *map(str, row.values()))
    print_table(out(), table)
    for outcome in wrong:
        out().print(f"wrong: {outcome.file}/{outcome.name}: {outcome.expression}: {outcome.detail}", soft_wrap=True)
    return FAILED if wrong else OK


def counts(outcomes: Iterable[Outcome]) -> dict[str, int]:
    """How many passed, were refused, were wrong; of those that are no bare literals, which are counted apart."""
    found = list(outcomes)
    verdicts = Counter(o.verdict for o in found)
    literals = [o for o in found if o.literal]
    return {
        "cases": len(found),
        **{verdict: verdicts[verdict] for verdict in (PASS, REFUSED, WRONG)},
        "literals": len(literals),
        "literals_pass": sum(o.verdict == PASS for o in literals),
    }


def judge(path: Path, lifted: bool) -> list[Outcome]:
    """The outcome of every case of a file. With `lifted`, literals become typed variables."""
    try:
        cases = json.loads(path.read_text("utf-8"))["cases"]
        return [_judge(path.stem, case, lifted) for case in cases]
    except (OSError, UnicodeDecodeError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise CommandError(f"{path} has no conformance cases: {error!r}", USAGE) from None


def _judge(file: str, case: Mapping[str, Any], lifted: bool) -> Outcome:
    text, variables = _with_inputs(case)
    literal = False
    try:
        tree, _ = parse(text)
        literal = isinstance(tree, Literal | ListTree)
        if lifted:
            text = _lift(text, tree, variables)
    except Refused:
        pass  # the checker says so too
    verdict, detail = _verdict(text, variables, _expected(case))
    return Outcome(file, case["name"], text, verdict, literal, detail)


def _verdict(text: str, variables: Variables, expected: object) -> tuple[str, str]:
    node, problems = check(text, variables.scope(), None, allow_integer_division=True)
    if node is None:
        return REFUSED, f"{problems[0].code}: {problems[0].message}"
    inputs = variables.inputs()
    twin = evaluate(node, inputs)
    try:
        kernel = kernel_value(node, inputs)
    except TooLarge as error:
        return WRONG, f"too large for a kernel: {error}"
    found = None if isinstance(twin, Failure) else twin
    if not same(kernel, found):
        return WRONG, f"the kernel gives {kernel!r}, the reference {found!r}"
    wanted = None if expected is _ERROR else expected
    if expected is _FOREIGN or not same(found, wanted):
        return WRONG, f"found {found!r}, expected {'another type' if expected is _FOREIGN else repr(wanted)}"
    return PASS, ""


# what a case says


def _expected(case: Mapping[str, Any]) -> object:
    value = case.get("value") or case.get("typed_result", {}).get("result")
    return _ERROR if value is None else _value(value)


def _value(written: Mapping[str, Any]) -> object:
    """A value of a case as ours."""
    ((kind, content),) = written.items()
    if kind == "int64Value":
        return int(content)
    if kind == "doubleValue":
        return float(content)  # also "Infinity" and "NaN"
    if kind in ("boolValue", "stringValue"):
        return content
    if kind == "listValue":
        items = tuple(_value(item) for item in content.get("values", ()))
        return _FOREIGN if _FOREIGN in items else items
    return _FOREIGN


def _with_inputs(case: Mapping[str, Any]) -> tuple[str, Variables]:
    """The expression with its variables as features, and their values."""
    variables = Variables(now_ns=_NOW_NS)
    renamed: dict[tuple[str, ...], str] = {}
    for declared in case.get("type_env", ()):
        kind = _type(declared.get("ident", {}).get("type", {}))
        if kind is None:
            continue
        path = f"features.v{len(renamed)}"
        renamed[tuple(declared["name"].split("."))] = path
        variables.types[path] = kind
        bound = case.get("bindings", {}).get(declared["name"])
        if bound is not None:
            variables.values[path] = _value(bound["value"])
    return _renamed(case["expr"], renamed), variables


def _type(written: Mapping[str, Any]) -> Type | None:
    if "listType" in written:
        element = _type(written["listType"].get("elemType", {}))
        return None if element is None or element.element is not None else element.listed
    return _PRIMITIVE.get(written.get("primitive", ""))


def _renamed(text: str, names: Mapping[tuple[str, ...], str]) -> str:
    """`text` with the names of variables, qualified ones too, replaced; the longest first."""
    if not names:
        return text
    tokens = tokenize(text)
    parts: list[str] = []
    place = done = 0
    while place < len(tokens):
        for name in sorted(names, key=len, reverse=True):
            here = tokens[place : place + 2 * len(name) - 1]
            written = tuple(token.text for token in here[::2])
            if written == name and name[0] not in ("true", "false", "null"):
                parts += [text[done : here[0].start], names[name]]
                place, done = place + len(here) - 1, here[-1].end
                break
        place += 1
    return "".join((*parts, text[done:]))


# literals as variables


def _lift(text: str, tree: Tree, variables: Variables) -> str:
    """The expression with its literals, and its lists of literals of one type, as features."""
    parts: list[str] = []
    done = 0
    for literal in sorted(_liftable(tree), key=lambda t: t.start):
        path = f"features.l{len(variables.types)}"
        if isinstance(literal, ListTree):
            items = [item for item in literal.items if isinstance(item, Literal)]
            variables.types[path] = _KINDS[items[0].kind].listed
            variables.values[path] = tuple(item.value for item in items)
        else:
            variables.types[path], variables.values[path] = _KINDS[literal.kind], literal.value
        parts += [text[done : literal.start], path]
        done = literal.end
    return "".join((*parts, text[done:]))


def _liftable(tree: Tree) -> list[Literal | ListTree]:
    """The literals outside each other; patterns stay, as only a literal can be one."""
    found: list[Literal | ListTree] = []
    waiting: list[Tree] = [tree]
    while waiting:
        one = waiting.pop()
        if (isinstance(one, Literal) and one.kind in _KINDS) or (isinstance(one, ListTree) and _plain_list(one)):
            found.append(one)
        elif isinstance(one, Call) and one.function == "matches":
            waiting += [*([one.target] if one.target else []), *one.args[:-1]]
        else:
            waiting += children(one)
    return found


def _plain_list(tree: ListTree) -> bool:
    kinds = {item.kind if isinstance(item, Literal) else "" for item in tree.items}
    return len(kinds) == 1 and kinds <= set(_KINDS)


def _files(paths: Iterable[Path]) -> list[Path]:
    found = [file for path in paths for file in (sorted(path.glob("*.json")) if path.is_dir() else [path])]
    if not found:
        raise CommandError("there are no .json files with cases", USAGE)
    return found


def _json(outcome: Outcome) -> dict[str, str]:
    return {
        "file": outcome.file, "name": outcome.name, "expression": outcome.expression, "detail": outcome.detail,
    }  # fmt: skip
