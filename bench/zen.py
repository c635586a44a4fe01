"""The peer of `kernels`: zen-engine (GoRules) on the same rules, as one decision table that collects.

Its first column is the event type, so that most rows end there; its second the rest of the condition.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bench.generate import Rule, as_zen

Evaluate = Callable[[Mapping[str, object]], list[str]]
MISSING = "zen-engine is not installed (pip install zen-engine): no peer"


def available() -> bool:
    """Whether the package is there: it is no dependency of Tact's."""
    return importlib.util.find_spec("zen") is not None


def _table(rules: Sequence[Rule]) -> str:
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


def evaluators(rules: Sequence[Rule]) -> tuple[Evaluate, Evaluate]:
    """(as `create_decision` gives it, with expressions compiled beforehand): each gives names that hold."""
    zen: Any = importlib.import_module("zen")
    table = _table(rules)
    decision = zen.ZenEngine().create_decision(table)
    content = zen.ZenDecisionContent(table)
    engine = zen.ZenEngine({"loader": lambda _: content})

    def plain(context: Mapping[str, object]) -> list[str]:
        return [row["message"] for row in decision.evaluate(context)["result"]]

    def compiled(context: Mapping[str, object]) -> list[str]:
        return [row["message"] for row in engine.evaluate("rules", context)["result"]]

    return plain, compiled
