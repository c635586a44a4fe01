"""rule-engine (Python): compiled rules, those of the event's type only.

Names are flat (`features_n1`): nested maps would cost it thirty times as much.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

from bench.generate import Rule, as_zen, by_type
from bench.peers.timing import timed

Context = Mapping[str, object]


def available() -> bool:
    """Whether the package is there."""
    return importlib.util.find_spec("rule_engine") is not None


def measure(
    rules: Sequence[Rule], contexts: Sequence[Context], seconds: float, repeats: int
) -> tuple[list[float], list[list[str]]]:
    """Every condition compiled once."""
    engine: Any = importlib.import_module("rule_engine")
    settings = engine.Context(resolver=engine.resolve_item)
    made = {rule.name: engine.Rule(_flat(rule.condition), context=settings) for rule in rules}
    compiled = {kind: [(r.name, made[r.name]) for r in group] for kind, group in by_type(rules).items()}

    def evaluate(context: Any) -> list[str]:
        return [name for name, rule in compiled[context["event_type"]] if rule.matches(context)]

    return timed(evaluate, [_flattened(context) for context in contexts], seconds, repeats)


def _flat(condition: str) -> str:
    return (
        as_zen(condition).replace("features.", "features_").replace("windows.", "windows_").replace("event.", "event_")
    )


def _flattened(context: Context) -> dict[str, object]:
    return {f"{root}_{name}": value for root, part in context.items() for name, value in part.items()}  # type: ignore[attr-defined]
