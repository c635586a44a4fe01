"""`tact eval`: one CEL expression on given values, by the reference and by the kernels, which must agree."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from engine.cli.output import FAILED, OK, USAGE, CommandError, out, print_findings, print_json
from engine.compiler.checker import Scope, check
from engine.compiler.instructions import TooLarge
from engine.compiler.lowering import lower_roots
from engine.compiler.model import Attribute, EventType, Feature, Position
from engine.compiler.nodes import Node, Type
from engine.compiler.plan import Root
from engine.compiler.reference import Failure, Inputs, evaluate
from engine.compiler.source import Finding, Problem
from engine.compiler.units import unit_of
from engine.compiler.values import EXPECTED
from engine.compiler.values import parse as parse_text
from engine.compiler.written import is_currency, plain

_EVENT = "event"
_ROOTS = ("features", "event", "windows")
_HERE = Position("EXPR", 1, 1)
_WRITTEN = (
    "true, 5, 5.0, a text, a list of these, {time: ..}, {duration: ..}, {date: ..}, {money: 12.50 EUR} "
    "or {missing: type}"
)
_LISTS = [kind for kind in Type if kind.element is not None]
_TAGGED = (Type.TIME, Type.DURATION, Type.DATE, Type.MONEY, *_LISTS)


@dataclass(slots=True)
class Variables:
    """The values an expression may read, by path, and their types."""

    types: dict[str, Type] = field(default_factory=dict)
    values: dict[str, object] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    now_ns: int | None = None

    def add(self, path: str, written: object, where: str) -> None:
        """Takes in one value, or a map of them under `features`, `event` or `windows`."""
        if path in _ROOTS and isinstance(written, Mapping):
            for name, value in written.items():
                self.add(f"{path}.{name}", value, where)
            return
        if path == "now":
            text = written["time"] if isinstance(written, Mapping) and list(written) == ["time"] else written
            self.now_ns = _parsed(Type.TIME, text, path, where)  # type: ignore[assignment]
            return
        root, dot, name = path.partition(".")
        if not dot:
            root, name = "features", path
        if root not in _ROOTS or not name.isidentifier():
            expected = "features.name, event.name, windows.name, now, or a bare name for a feature"
            raise CommandError(f"{where}: found '{path}', expected {expected}", USAGE)
        kind, value, unit = _typed(written, path, where)
        self.types[f"{root}.{name}"] = kind
        if unit is not None:
            self.units[f"{root}.{name}"] = unit
        if value is not None:
            self.values[f"{root}.{name}"] = value

    def scope(self) -> Scope:
        """What the checker may see: one event type, and everything given."""
        features, attributes, windows = {}, {}, {}
        for path, kind in self.types.items():
            root, _, name = path.partition(".")
            unit = self.units.get(path)
            if root == "features":
                features[name] = Feature(name, kind, unit, False, None, None, None, None, None, _HERE)
            elif root == "event":
                attributes[name] = Attribute(name, kind, unit, False, _HERE)
            else:
                windows[name] = kind
        for implicit in ("type", "occurred_at"):
            attributes.pop(implicit, None)
        events = {_EVENT: EventType(_EVENT, attributes, _HERE)}
        return Scope(events, features, windows, {}, (_EVENT,), frozenset((*_ROOTS, "now")), True, self.units)

    def inputs(self) -> Inputs:
        """The values for both evaluators. The zone is the text feature `timezone`, else unknown."""
        now_ns = time.time_ns() if self.now_ns is None else self.now_ns
        zone = self.values.get("features.timezone")
        values = {"event.type": _EVENT, "event.occurred_at": now_ns, **self.values}
        return Inputs(values, now_ns, zone if isinstance(zone, str) else None)


def run(text: str, file: Path | None, given: list[str], as_json: bool) -> int:
    """Evaluates; 1 where the expression is wrong or its value is an error."""
    variables = _variables(file, given)
    scope = variables.scope()
    node, problems = check(text, scope, None, allow_integer_division=True)
    if problems and not as_json:
        print_findings([_finding(text, p) for p in problems])
    told = {"problems": [_problem_json(p) for p in problems]} if problems else {}
    if node is None:
        if as_json:
            print_json(told)
        return FAILED
    inputs = variables.inputs()
    value = evaluate(node, inputs)
    _compare(node, inputs, value)
    if isinstance(value, Failure):
        if as_json:
            error = {"reason": value.reason, "path": value.path, "cause": value.cause}
            print_json({"type": str(node.type), "error": error, **told})
        else:
            out().print(f"error: {value.cause} ({value.reason})", style="yellow", soft_wrap=True)
        return FAILED
    shown = _plain(node.type, value, unit_of(node, scope))
    if as_json:
        print_json({"type": str(node.type), "value": shown, **told})
    else:
        shown = shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False)
        out().print(f"{shown}  ({node.type})", soft_wrap=True)
    return OK


def kernel_value(node: Node, inputs: Inputs) -> object | None:
    """What the kernels make of it, None for an error. Raises TooLarge."""
    plan = lower_roots([Root(node, None)], [_EVENT])
    batch = plan.batch([_EVENT], [inputs.values], [inputs.now_ns], [inputs.zone])
    return batch.truth(0, 0) if node.type is Type.BOOL else batch.value(0, 0)


def same(a: object, b: object) -> bool:
    """Whether two values are one value of one type; NaN is NaN here, and zeros have signs."""
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and repr(a) == repr(b)


def _compare(node: Node, inputs: Inputs, value: object) -> None:
    """The kernel's answer must be the reference's. Raises CommandError where it is not."""
    try:
        kernel = kernel_value(node, inputs)
    except TooLarge as error:
        raise CommandError(f"the expression is too large for a kernel: {error}") from None
    expected = None if isinstance(value, Failure) else value
    if not same(kernel, expected):
        found = f"the kernel gives {kernel!r}, the reference {expected!r}"
        raise CommandError(f"internal error, please report it: {found} for this expression")


def _variables(file: Path | None, given: list[str]) -> Variables:
    variables = Variables()
    if file is not None:
        for path, written in _from_file(file).items():
            variables.add(str(path), written, str(file))
    for text in given:
        name, equals, written = text.partition("=")
        if not equals or not name:
            raise CommandError(f"--var: found '{text}', expected name=value", USAGE)
        try:
            value = _yaml(written)
        except (YAMLError, ValueError):  # an impossible date is a ValueError
            if written.lstrip()[:1] in ("{", "["):
                raise CommandError(f"--var {name}: '{written}' is no YAML; expected {_WRITTEN}", USAGE) from None
            value = written
        variables.add(name.strip(), value, f"--var {name}")
    return variables


def _yaml(text: str) -> Any:
    reader = YAML(typ="safe", pure=True)
    return reader.load(text)


def _from_file(file: Path) -> Mapping[Any, Any]:
    try:
        loaded = _yaml(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}", USAGE) from None
    except (YAMLError, ValueError) as error:
        told = " ".join(str(error).split())
        raise CommandError(f"{file} is neither JSON nor YAML: {told}", USAGE) from None
    if not isinstance(loaded, Mapping):
        raise CommandError(f"{file}: found {_named(loaded)}, expected a map from paths to values", USAGE)
    return loaded


def _typed(written: object, path: str, where: str) -> tuple[Type, object | None, str | None]:
    """Type, value (None: missing) and currency of one written value."""
    if isinstance(written, Mapping) and len(written) == 1:
        ((tag, value),) = written.items()
        if tag == "missing":
            name, _, unit = str(value).partition(" ")
            if name in Type._value2member_map_ and (is_currency(unit) if name == "money" else not unit):
                return Type(name), None, unit or None
        elif tag in _TAGGED:
            return _tagged(Type(tag), value, path, where)
    elif isinstance(written, list) and written:
        kinds = {_typed(item, path, where)[0] for item in written}
        kind = Type.NUMBER if kinds == {Type.INTEGER, Type.NUMBER} else next(iter(kinds))
        if kind.element is None and kind is not Type.MONEY and kinds <= {kind, Type.INTEGER}:
            return _tagged(kind.listed, written, path, where)
    else:
        for kind, plain_type in ((Type.BOOL, bool), (Type.INTEGER, int), (Type.NUMBER, float), (Type.TEXT, str)):
            if type(written) is plain_type and (kind is not Type.INTEGER or -(2**63) <= written < 2**63):  # type: ignore[operator]
                return kind, written, None
    raise CommandError(f"{where}: '{path}' is {_named(written)}, expected {_WRITTEN}", USAGE)


def _tagged(kind: Type, written: object, path: str, where: str) -> tuple[Type, object, str | None]:
    """A value whose type is said: `{date: 2026-01-31}`, `{texts: []}`."""
    if kind.element is None:
        amount, _, unit = str(written).strip().partition(" ") if kind is Type.MONEY else (written, "", "")
        if kind is Type.MONEY and not is_currency(unit):
            expected = "an amount and its currency, such as 12.50 EUR"
            raise CommandError(f"{where}: '{path}' is '{written}', expected {expected}", USAGE)
        return kind, _parsed(kind, amount, path, where), unit or None
    if not isinstance(written, list):
        raise CommandError(f"{where}: '{path}' is {_named(written)}, expected a list", USAGE)
    values = []
    for item in written:
        found, value, _ = _typed(item, path, where)
        if kind is Type.NUMBERS and found is Type.INTEGER and isinstance(value, int):
            found, value = Type.NUMBER, float(value)
        if found is not kind.element:
            raise CommandError(f"{where}: '{path}' has {_named(item)} in it, expected a list of {kind.element}", USAGE)
        values.append(value)
    return kind, tuple(values), None


def _parsed(kind: Type, written: object, path: str, where: str) -> object:
    try:
        # YAML makes datetime objects of unquoted times
        return parse_text(written if isinstance(written, str) else str(written).replace(" ", "T"), kind)
    except ValueError as error:
        raise CommandError(f"{where}: '{path}' is '{written}': {error}; expected {EXPECTED[kind]}", USAGE) from None


def _named(value: object) -> str:
    if isinstance(value, Mapping):
        return "a map"
    return "a list" if isinstance(value, list) else "nothing" if value is None else f"'{value}'"


def _plain(kind: Type, value: object, unit: str | None) -> object:
    """A value as people and JSON write it."""
    if kind.element is not None and isinstance(value, tuple):
        return [_plain(kind.element, item, None) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return plain(value, kind, unit)


def _finding(text: str, problem: Problem) -> Finding:
    before = text[: problem.span.start]
    line = before.count("\n")
    column = problem.span.start - (before.rfind("\n") + 1) + 1
    return Finding(
        problem.code,
        Position("EXPR", line + 1, column),
        max(1, problem.span.end - problem.span.start),
        problem.message,
        problem.found,
        problem.expected,
        problem.hint,
        text.split("\n")[line] if text else "",
        severity=problem.severity,
    )


def _problem_json(problem: Problem) -> dict[str, object]:
    return {
        "code": problem.code,
        "severity": problem.severity,
        "start": problem.span.start,
        "end": problem.span.end,
        "message": problem.message,
        "found": problem.found,
        "expected": problem.expected,
        "hint": problem.hint,
    }
