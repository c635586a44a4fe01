"""common-expression-language (CEL in Rust) from Python: compiled programs, those of the event's type only."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

from bench.generate import Rule, by_type
from bench.peers.timing import timed

Context = Mapping[str, object]


def available() -> bool:
    """Whether the package is there."""
    return importlib.util.find_spec("cel") is not None


def measure(
    rules: Sequence[Rule], contexts: Sequence[Context], seconds: float, repeats: int
) -> tuple[list[float], list[list[str]]]:
    """Every condition compiled once."""
    cel: Any = importlib.import_module("cel")
    programs = {rule.name: cel.compile(rule.condition) for rule in rules}
    compiled = {kind: [(r.name, programs[r.name]) for r in group] for kind, group in by_type(rules).items()}

    def evaluate(context: Any) -> list[str]:
        given = cel.Context(variables=context)
        return [name for name, program in compiled[context["event"]["type"]] if program.execute(given)]

    return timed(evaluate, contexts, seconds, repeats)
