"""`tact eval`: one CEL expression on given values, by the reference and by the kernels, which must agree."""

from __future__ import annotations

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
from engine.compiler.values import EXPECTED
from engine.compiler.values import parse as parse_text
from engine.service.values import duration_text

_EVENT = "event"
_ROOTS = ("features", "event", "windows")
_HERE = Position("EXPR", 1, 1)
_WRITTEN = "true, 5, 5.0, a text, {time: ..}, {duration: ..} or {missing: type}"


@dataclass(slots=True)
class Variables:
    """The values an expression may read, by path, and their types."""

    types: dict[str, Type] = field(default_factory=dict)
    values: dict[str, object] = field(default_factory=dict)
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
        kind, value = _typed(written, path, where)
        self.types[f"{root}.{name}"] = kind
        if value is not None:
            self.values[f"{root}.{name}"] = value

    def scope(self) -> Scope:
        """What the checker may see: one event type, and everything given."""
        features, attributes, windows = {}, {}, {}
        for path, kind in self.types.items():
            root, _, name = path.partition(".")
            if root == "features":
                features[name] = Feature(name, kind, None, False, None, None, None, None, None, _HERE)
            elif root == "event":
                attributes[name] = Attribute(name, kind, None, False, _HERE)
            else:
                windows[name] = kind
        for implicit in ("type", "occurred_at"):
            attributes.pop(implicit, None)
        events = {_EVENT: EventType(_EVENT, attributes, _HERE)}
        return Scope(events, features, windows, {}, (_EVENT,), frozenset((*_ROOTS, "now")), True)

    def inputs(self) -> Inputs:
        """The values for both evaluators. The zone is the text feature `timezone`, else unknown."""
        now_ns = time.time_ns() if self.now_ns is None else self.now_ns
        zone = self.values.get("features.timezone")
        values = {"event.type": _EVENT, "event.occurred_at": now_ns, **self.values}
        return Inputs(values, now_ns, zone if isinstance(zone, str) else None)


def run(text: str, file: Path | None, given: list[str], as_json: bool) -> int:
    """Evaluates; 1 where the expression is wrong or its value is an error."""
    variables = _variables(file, given)
    node, problems = check(text, variables.scope(), None)
    if node is None:
        findings = [_finding(text, p) for p in problems]
        if as_json:
            print_json({"problems": [_problem_json(p) for p in problems]})
        else:
            print_findings(findings)
        return FAILED
    inputs = variables.inputs()
    value = evaluate(node, inputs)
    _compare(node, inputs, value)
    if isinstance(value, Failure):
        if as_json:
            error = {"reason": value.reason, "path": value.path, "cause": value.cause}
            print_json({"type": str(node.type), "error": error})
        else:
            out().print(f"error: {value.cause} ({value.reason})", style="yellow", soft_wrap=True)
        return FAILED
    if as_json:
        print_json({"type": str(node.type), "value": _plain(node.type, value)})
    else:
        shown = _plain(node.type, value)
        shown = str(shown).lower() if isinstance(shown, bool) else shown
        out().print(f"{shown}  ({node.type})", soft_wrap=True)
    return OK


def _compare(node: Node, inputs: Inputs, value: object) -> None:
    """The kernel's answer must be the reference's. Raises CommandError where it is not."""
    try:
        plan = lower_roots([Root(node, None)], [_EVENT])
    except TooLarge as error:
        raise CommandError(f"the expression is too large for a kernel: {error}") from None
    batch = plan.batch([_EVENT], [inputs.values], [inputs.now_ns], [inputs.zone])
    kernel = batch.truth(0, 0) if node.type is Type.BOOL else batch.value(0, 0)
    expected = None if isinstance(value, Failure) else value
    same = kernel == expected and type(kernel) is type(expected)
    if isinstance(kernel, float) and isinstance(expected, float) and math.isnan(kernel):
        same = math.isnan(expected)
    if not same:
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
        except YAMLError:
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
    except YAMLError as error:
        told = " ".join(str(error).split())
        raise CommandError(f"{file} is neither JSON nor YAML: {told}", USAGE) from None
    if not isinstance(loaded, Mapping):
        raise CommandError(f"{file}: found {_named(loaded)}, expected a map from paths to values", USAGE)
    return loaded


def _typed(written: object, path: str, where: str) -> tuple[Type, object | None]:
    if isinstance(written, bool):
        return Type.BOOL, written
    if isinstance(written, int) and -(2**63) <= written < 2**63:
        return Type.INTEGER, written
    if isinstance(written, float):
        return Type.NUMBER, written
    if isinstance(written, str):
        return Type.TEXT, written
    if isinstance(written, Mapping) and len(written) == 1:
        ((kind, value),) = written.items()
        if kind in ("time", "duration"):
            return Type(kind), _parsed(Type(kind), value, path, where)
        if kind == "missing" and value in [t.value for t in EXPECTED]:
            return Type(value), None
    raise CommandError(f"{where}: '{path}' is {_named(written)}, expected {_WRITTEN}", USAGE)


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


def _plain(kind: Type, value: object) -> object:
    """A value as people and JSON write it."""
    if kind is Type.TIME and isinstance(value, int):
        from google.protobuf.timestamp_pb2 import Timestamp

        return Timestamp(seconds=value // 10**9, nanos=value % 10**9).ToJsonString()
    if kind is Type.DURATION and isinstance(value, int):
        return duration_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


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
    )


def _problem_json(problem: Problem) -> dict[str, object]:
    return {
        "code": problem.code,
        "start": problem.span.start,
        "end": problem.span.end,
        "message": problem.message,
        "found": problem.found,
        "expected": problem.expected,
        "hint": problem.hint,
    }
