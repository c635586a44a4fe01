"""Other rule engines on the same rules and the same events, each in its best documented way.

None is a dependency of Tact's: `make bench-peers` installs them, and what is not there is left out of a
run and named. All are asked for the names of the rules that hold, in the order of the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.generate import Rule
from bench.peers import cel, node, rules, zen

Context = Mapping[str, object]  # features, windows and event as nested maps


@dataclass(frozen=True, slots=True)
class Measured:
    """`us`: time per event of every repeat; `answers`: the names for each event."""

    us: list[float]
    answers: list[list[str]]


@dataclass(frozen=True, slots=True)
class Peer:
    """`largest`: rules beyond which one event takes too long to be worth the wait.

    `measure(rules, contexts, seconds, repeats)` builds the engine, asks once for the answers, then measures.
    """

    name: str
    how: str
    largest: int
    available: Callable[[], bool]
    measure: Callable[[Sequence[Rule], Sequence[Context], float, int], tuple[list[float], list[list[str]]]]


PEERS = (
    Peer("zen-engine", "create_decision, one table that collects", 10_000, zen.available, zen.measure_plain),
    Peer("zen-engine, compiled content", "expressions compiled once", 10_000, zen.available, zen.measure_compiled),
    Peer("common-expression-language", "programs compiled once, by event type", 10_000, cel.available, cel.measure),
    Peer("rule-engine", "rules compiled once, by event type", 10_000, rules.available, rules.measure),
    Peer("@gorules/zen-engine", "Node, decision with compiled content", 10_000, *node.peer("gorules")),
    Peer("json-rules-engine", "Node, one engine with all rules", 1_000, *node.peer("json-rules")),
)
MISSING = "not installed: `make bench-peers` installs the peers"


def measure(peer: Peer, of: Sequence[Rule], contexts: Sequence[Context], seconds: float, repeats: int) -> Measured:
    """Time per event over `repeats` stretches of about `seconds`, and the answers."""
    return Measured(*peer.measure(of, contexts, seconds, repeats))
