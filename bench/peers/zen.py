"""zen-engine (GoRules, Rust) from Python: one decision table that collects.

Its first column is the event type, so that most rows end there; its second the rest of the condition.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Mapping, Sequence
from typing import Any

from bench.generate import Rule, as_zen
from bench.peers.timing import timed

Context = Mapping[str, object]


def available() -> bool:
    """Whether the package is there."""
    return importlib.util.find_spec("zen") is not None


def table(rules: Sequence[Rule]) -> str:
    """The rules as a decision in zen's JSON."""
    rows = [
        {"_id": r.name, "type": f'"{r.on}"' if r.on else "", "when": as_zen(r.condition), "out": f'"{r.name}"'}
        for r in rules
    ]
    content = {
        "hitPolicy": "collect",
        "inputs": [{"id": "type", "name": "type", "field": "event.type"}, {"id": "when", "name": "when"}],
        "outputs": [{"id": "out", "name": "message", "field": "message"}],
        "rules": rows,
    }
    here = {"position": {"x": 0, "y": 0}}
    nodes = [
        {"id": "in", "type": "inputNode", "name": "in", **here},
        {"id": "table", "type": "decisionTableNode", "name": "table", "content": content, **here},
        {"id": "out", "type": "outputNode", "name": "out", **here},
    ]
    edges = [
        {"id": "1", "type": "edge", "sourceId": "in", "targetId": "table"},
        {"id": "2", "type": "edge", "sourceId": "table", "targetId": "out"},
    ]
    return json.dumps({"contentType": "application/vnd.gorules.decision", "nodes": nodes, "edges": edges})


def measure_plain(
    rules: Sequence[Rule], contexts: Sequence[Context], seconds: float, repeats: int
) -> tuple[list[float], list[list[str]]]:
    """As `create_decision` gives it."""
    zen: Any = importlib.import_module("zen")
    decision = zen.ZenEngine().create_decision(table(rules))

    def evaluate(context: Context) -> list[str]:
        return [row["message"] for row in decision.evaluate(context)["result"]]

    return timed(evaluate, contexts, seconds, repeats)


def measure_compiled(
    rules: Sequence[Rule], contexts: Sequence[Context], seconds: float, repeats: int
) -> tuple[list[float], list[list[str]]]:
    """With the expressions compiled beforehand."""
    zen: Any = importlib.import_module("zen")
    content = zen.ZenDecisionContent(table(rules))
    engine = zen.ZenEngine({"loader": lambda _: content})

    def evaluate(context: Context) -> list[str]:
        return [row["message"] for row in engine.evaluate("rules", context)["result"]]

    return timed(evaluate, contexts, seconds, repeats)
