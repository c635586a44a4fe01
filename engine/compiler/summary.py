"""How large a checked tree is, and what a fact reads: found once per fact, for all expressions that use it."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.compiler.nodes import Const, Fact, Node, Op, Ref

MACROS = frozenset(("all", "exists", "exists_one", "filter", "map"))


@dataclass(frozen=True, slots=True)
class Size:
    """`parts` are nodes outside facts; `levels` include those of facts; `facts` are all it uses, by tree identity.

    The body of a macro over a literal list counts for each element.
    """

    parts: int
    levels: int
    facts: frozenset[int]


@dataclass(frozen=True, slots=True)
class Summary:
    """What a fact's tree reads, each input once with whether only has() reads it.

    `lists`: it runs a macro over a list whose length is not written in the expression.
    """

    reads: tuple[tuple[Ref, bool], ...]
    size: Size
    lists: bool


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of facts, by the identity of their trees."""

    summaries: dict[int, Summary] = field(default_factory=dict)
    units: dict[int, str | None] = field(default_factory=dict)


def summarise(path: str, tree: Node, known: Known) -> Summary:
    """What the fact `path` with this tree reads, remembered in `known`. A decision table counts as one part."""
    found = known.summaries.get(id(tree))
    if found is None:
        reads: dict[Ref, bool] = {}
        lists = False
        seen: set[int] = set()
        waiting: list[tuple[Node, bool]] = [(tree, False)]
        while waiting:
            node, in_has = waiting.pop()
            if isinstance(node, Ref):
                reads[node] = reads.get(node, True) and in_has
            elif id(node) in seen:
                continue
            elif isinstance(node, Fact):
                inner = summarise(node.path, node.node, known)
                lists |= inner.lists
                for ref, only_has in inner.reads:
                    reads[ref] = reads.get(ref, True) and only_has
            elif isinstance(node, Op):
                lists |= node.op in MACROS and not is_literal(node.args[0])
                waiting += [(arg, node.op == "has") for arg in reversed(node.args)]
            seen.add(id(node))
        size = measure(tree, known)
        if "." in path.removeprefix("facts."):
            size = Size(1, size.levels, size.facts)
        found = known.summaries[id(tree)] = Summary(tuple(reads.items()), size, lists)
    return found


def is_literal(node: Node) -> bool:
    """Whether the length of a list is written in the expression."""
    return isinstance(node, Const) or (isinstance(node, Op) and node.op == "list")


def measure(tree: Node, known: Known) -> Size:
    """The size of a tree whose own part is bounded already."""
    parts = levels = deepest = 0
    facts: set[int] = set()
    level: list[tuple[Node, int]] = [(tree, 1)]
    while level:
        levels += 1
        below: list[tuple[Node, int]] = []
        for node, times in level:
            parts += times
            if isinstance(node, Fact):
                inner = summarise(node.path, node.node, known).size
                deepest = max(deepest, levels + inner.levels)
                facts |= {id(node.node), *inner.facts}
            elif isinstance(node, Op):
                below += [(arg, times * _repeats(node) if place else times) for place, arg in enumerate(node.args)]
        level = below
    return Size(parts, max(levels, deepest), frozenset(facts))


def _repeats(node: Op) -> int:
    """How often the arguments after the first are evaluated."""
    items = node.args[0]
    if node.op not in MACROS or not is_literal(items):
        return 1
    return len(items.args) if isinstance(items, Op) else len(items.value)  # type: ignore[union-attr, arg-type]
