"""Which inputs the expressions of one rule set read."""

from __future__ import annotations

from engine.compiler.nodes import Fact, Node, Op, Ref


class Reads:
    """Remembers expressions by identity: they must live as long as this. `facts` are those that were used so far."""

    def __init__(self) -> None:
        self.facts: set[str] = set()
        self._known: dict[int, frozenset[str]] = {}

    def of(self, node: Node) -> frozenset[str]:
        """The paths of all inputs, those of facts included."""
        known = self._known.get(id(node))
        if known is None:
            known = self._known[id(node)] = self._walked(node)
        return known

    def _walked(self, node: Node) -> frozenset[str]:
        """One loop over the tree: this runs for every condition of 10,000 messages."""
        paths: set[str] = set()
        seen: set[int] = set()
        waiting = [node]
        while waiting:
            n = waiting.pop()
            kind = type(n)
            if kind is Ref:
                paths.add(n.path)  # type: ignore[union-attr]
            elif kind is Op:
                if id(n) not in seen:
                    seen.add(id(n))
                    waiting += n.args  # type: ignore[union-attr]
            elif kind is Fact:
                self.facts.add(n.path)  # type: ignore[union-attr]
                paths |= self.of(n.node)  # type: ignore[union-attr]
        return frozenset(paths)
