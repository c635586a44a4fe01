"""Engines for Node, in a child process: `js/measure.mjs` reads rules and events as JSON and times itself."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.generate import Rule
from bench.peers import zen
from engine.compiler.ast import Binary, Chain, Ident, Literal, Select, Tree, Unary
from engine.compiler.parser import parse

Context = Mapping[str, object]
Measure = Callable[[Sequence[Rule], Sequence[Context], float, int], tuple[list[float], list[list[str]]]]

_HOME = Path(__file__).parent / "js"
_PACKAGES = {"gorules": "@gorules/zen-engine", "json-rules": "json-rules-engine"}
_SECONDS_MAX = 300
_OPERATORS = {
    "==": "equal",
    "!=": "notEqual",
    ">=": "greaterThanInclusive",
    ">": "greaterThan",
    "<": "lessThan",
    "<=": "lessThanInclusive",
}


def peer(kind: str) -> tuple[Callable[[], bool], Measure]:
    """Whether the package is installed, and how it is measured."""

    def available() -> bool:
        return shutil.which("node") is not None and (_HOME / "node_modules" / _PACKAGES[kind]).is_dir()

    def measure(
        rules: Sequence[Rule], contexts: Sequence[Context], seconds: float, repeats: int
    ) -> tuple[list[float], list[list[str]]]:
        work = {"kind": kind, "contexts": list(contexts), "seconds": seconds, "repeats": repeats}
        work["rules"] = zen.table(rules) if kind == "gorules" else [_json_rule(rule) for rule in rules]
        done = subprocess.run(
            ["node", str(_HOME / "measure.mjs")],
            input=json.dumps(work),
            capture_output=True,
            text=True,
            timeout=_SECONDS_MAX,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{_PACKAGES[kind]}: {done.stderr.strip()[-400:]}")
        answer = json.loads(done.stdout)
        order = {rule.name: place for place, rule in enumerate(rules)}
        return answer["us"], [sorted(names, key=order.__getitem__) for names in answer["answers"]]

    return available, measure


def _json_rule(rule: Rule) -> dict[str, Any]:
    """A rule for json-rules-engine; the event type is its first condition, with a higher priority."""
    conditions = [_condition(parse(rule.condition)[0])]
    if rule.on is not None:
        kind = {"fact": "event", "path": "$.type", "operator": "equal", "value": rule.on, "priority": 10}
        conditions.insert(0, kind)
    return {"name": rule.name, "conditions": {"all": conditions}, "event": {"type": rule.name}}


def _condition(tree: Tree) -> dict[str, Any]:
    if isinstance(tree, Chain):
        return {"all" if tree.op == "&&" else "any": [_condition(part) for part in tree.operands]}
    if isinstance(tree, Select):
        return {**_fact(tree), "operator": "equal", "value": True}
    assert isinstance(tree, Binary)
    assert isinstance(tree.right, Literal)
    if isinstance(tree.left, Binary):  # a + factor * b: a fact computed when asked for
        product = tree.left.right
        assert isinstance(product, Binary)
        assert isinstance(product.left, Literal)
        params = {"a": _path(tree.left.left), "factor": product.left.value, "b": _path(product.right)}
        left: dict[str, Any] = {"fact": "weighted-sum", "params": params}
    else:
        left = _fact(tree.left)
    return {**left, "operator": _OPERATORS[tree.op], "value": tree.right.value}


def _path(tree: Tree) -> list[str]:
    assert isinstance(tree, Select)
    assert isinstance(tree.operand, Ident)
    return [tree.operand.name, tree.field]


def _fact(tree: Tree) -> dict[str, Any]:
    assert not isinstance(tree, Unary)
    root, name = _path(tree)
    return {"fact": root, "path": f"$.{name}"}
