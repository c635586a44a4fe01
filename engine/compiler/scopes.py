"""Expressions in their place: which names they may use, for which events, and where a problem stands.

Facts are inlined, and a fact that reads `event.x` means something else for every set of event types;
so facts are checked per set of event types, once each, and only where they are used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from engine.compiler.checker import Scope, check
from engine.compiler.model import EventType, Expression, Feature
from engine.compiler.nodes import Const, Node, Op, Ref, Type
from engine.compiler.reading import Reading
from engine.compiler.source import Problem
from engine.compiler.tree import Scalar

On = tuple[str, ...] | None

ALL_ROOTS = frozenset(("event", "features", "windows", "facts", "now"))
FACT_DEPTH_MAX = 16

_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'')
_PATH = re.compile(r"(?<![\w.])(event|features|windows|facts)\s*\.\s*([A-Za-z_]\w*)")
_IMPLICIT = ("type", "occurred_at")


class _Checked(NamedTuple):
    node: Node | None
    problems: list[Problem]


def paths(text: str) -> list[tuple[str, str, int, int]]:
    """(root, name, start, end) of what an expression mentions, strings left out."""
    bare = _STRING.sub(lambda m: '"' + " " * (len(m[0]) - 2) + '"', text)
    return [(m[1], m[2], m.start(), m.end()) for m in _PATH.finditer(bare)]


class _Facts(Mapping[str, Node]):
    """The facts as they are for one set of event types, each checked when asked for."""

    def __init__(self, owner: Expressions, on: On) -> None:
        self._owner = owner
        self._on = on

    def __getitem__(self, name: str) -> Node:
        if name in self._owner.facts:
            node = self._owner.fact(name, self._on).node
            if node is not None:
                return node
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._owner.facts)

    def __len__(self) -> int:
        return len(self._owner.facts)


class Expressions:
    """Checks the expressions of one rule set.

    `broken` holds paths (`features.x`) whose declarations have findings already: expressions that
    mention them are not checked, as what would be found there follows from the first.
    """

    def __init__(self, reading: Reading, events: Mapping[str, EventType], features: Mapping[str, Feature]) -> None:
        self.reading = reading
        self.events = events
        self.features = features
        self.windows: dict[str, Type] = {}
        self.facts: dict[str, Scalar] = {}
        self.broken: set[str] = set()
        self._uses: dict[str, frozenset[str]] = {}
        self._attributes: dict[str, frozenset[str]] = {}  # event.* a fact reads, through other facts too
        self._facts: dict[tuple[str, On], _Checked] = {}
        self._memo: dict[tuple[str, On, Type | None, frozenset[str], bool], _Checked] = {}

    def expression(
        self,
        scalar: Scalar,
        on: On,
        expected: Type | None,
        *,
        personal: bool = False,
        roots: frozenset[str] = ALL_ROOTS,
        part: tuple[int, int] | None = None,
    ) -> Expression | None:
        """The checked expression that stands in `scalar`, or in `part` of its value; None with findings."""
        start, end = part or (0, len(scalar.value))
        text = scalar.value[start:end]
        if part is None and not self.reading.whole_text(scalar, "an expression"):
            return None
        if not self._sound(scalar, text, start, on):
            return None
        node, problems = self._check(text, on, expected, roots, personal)
        self._report(scalar, problems, start)
        if node is None or problems:
            return None
        return Expression(text, node, scalar.place(start))

    def _sound(self, scalar: Scalar, text: str, start: int, on: On) -> bool:
        """False where something mentioned is known to be wrong already, or a fact cannot serve `on`."""
        sound = True
        for root, name, begin, end in paths(text):
            if f"{root}.{name}" in self.broken or (on == () and (root == "event" or self._attributes.get(name))):
                sound = False  # no event types at all: `on` has its finding
            elif root == "facts" and name in self.facts and self.fact(name, on).node is None:
                sound = False
                problem = self.fact(name, on).problems[0]
                types = "every event type" if on is None else "event type " + ", ".join(f"'{o}'" for o in on)
                self.reading.add_at(
                    "fact-not-for-event", scalar, start + begin, start + end,
                    f"the fact '{name}' cannot serve {types}: {problem.message}",
                    hint="name the event types it is meant for in 'on:'" if on is None else "",
                )  # fmt: skip
        return sound

    def _check(self, text: str, on: On, expected: Type | None, roots: frozenset[str], personal: bool) -> _Checked:
        key = (text, on, expected, roots, personal)
        known = self._memo.get(key)
        if known is None:
            scope = Scope(self.events, self.features, self.windows, _Facts(self, on), on, roots, personal)
            known = self._memo[key] = _Checked(*check(text, scope, expected))
        return known

    def _report(self, scalar: Scalar, problems: list[Problem], start: int = 0) -> None:
        for p in problems:
            self.reading.add_at(
                p.code, scalar, start + p.span.start, start + p.span.end, p.message,
                found=p.found, expected=p.expected, hint=p.hint,
            )  # fmt: skip

    def fact(self, name: str, on: On) -> _Checked:
        """A fact's tree for a set of event types."""
        if not self._attributes.get(name):
            on = None
        key = (name, on)
        known = self._facts.get(key)
        if known is None:
            for used in self._uses[name]:  # bottom up, so that the checker's recursion stays one fact deep
                self.fact(used, on)
            known = self._check(self.facts[name].value, on, None, ALL_ROOTS, False)
            if known.problems:
                known = _Checked(None, known.problems)
            self._facts[key] = known
        return known

    def declare_facts(self, facts: Mapping[str, Scalar]) -> dict[str, Expression]:
        """Takes the facts in and checks each once; the result keeps the order written."""
        for name, scalar in facts.items():
            if self.reading.whole_text(scalar, f"the fact '{name}'"):
                self.facts[name] = scalar
            else:
                self.broken.add(f"facts.{name}")
        for name, scalar in self.facts.items():
            used = {n for root, n, _, _ in paths(scalar.value) if root == "facts"}
            self._uses[name] = frozenset(n for n in used if n in self.facts)
        checked = {name: self._first(name) for name in self._order()}
        return {name: e for name in self.facts if (e := checked.get(name)) is not None}

    def _order(self) -> list[str]:
        """Facts after those they use. Circles and chains that are too long are found and left out."""
        users: dict[str, list[str]] = {name: [] for name in self._uses}
        open_uses = {name: len(uses) for name, uses in self._uses.items()}
        for name, uses in self._uses.items():
            for used in uses:
                users[used].append(name)
        depth: dict[str, int] = {}
        ready = [name for name, count in open_uses.items() if count == 0]
        while open_uses:
            batch = ready or self._circle(open_uses)
            for name in batch:
                del open_uses[name]
                depth[name] = 1 + max((depth.get(u, 0) for u in self._uses[name]), default=0)
                self._limit_depth(name, depth[name])
            ready = []
            for user in (u for name in batch for u in users[name] if u in open_uses):
                open_uses[user] -= 1
                if open_uses[user] == 0:
                    ready.append(user)
        return list(depth)

    def _limit_depth(self, name: str, depth: int) -> None:
        if depth == FACT_DEPTH_MAX + 1:
            self.reading.add("too-deep", self.facts[name], f"facts that use facts more than {FACT_DEPTH_MAX} deep")
        if depth > FACT_DEPTH_MAX:
            self.broken.add(f"facts.{name}")

    def _circle(self, waiting: Mapping[str, int]) -> list[str]:
        """One circle among facts that all wait for others of them; it is told at its first fact."""
        trail: dict[str, None] = {}
        name = next(iter(waiting))
        while name not in trail:
            trail[name] = None
            name = next(u for u in sorted(self._uses[name]) if u in waiting)
        names = list(trail)
        circle = names[names.index(name) :]
        rank = {n: i for i, n in enumerate(self.facts)}
        first = min(circle, key=rank.__getitem__)
        turn = circle.index(first)
        told = [*circle[turn:], *circle[:turn], first]
        self.reading.add("fact-cycle", self.facts[first], "facts use each other in a circle", found=" -> ".join(told))
        self.broken.update(f"facts.{n}" for n in circle)
        return circle

    def _first(self, name: str) -> Expression | None:
        """A fact for the first set of event types that it can serve; findings where there is none."""
        scalar = self.facts[name]
        mentioned = paths(scalar.value)
        attributes = {n for root, n, _, _ in mentioned if root == "event" and n not in _IMPLICIT}
        self._attributes[name] = frozenset(attributes).union(*(self._attributes.get(u, ()) for u in self._uses[name]))
        if any(f"{root}.{n}" in self.broken for root, n, _, _ in mentioned) or f"facts.{name}" in self.broken:
            self.broken.add(f"facts.{name}")
            return None
        checked = _Checked(None, [])
        for on in self._groups(self._attributes[name]):
            checked = self.fact(name, on)
            if checked.node is not None:
                break
        if checked.node is None:
            self.broken.add(f"facts.{name}")
            self._report(scalar, checked.problems)
            return None
        return Expression(scalar.value, checked.node, scalar.position)

    def _groups(self, attributes: frozenset[str]) -> list[On]:
        """Event types that have all the attributes, grouped by these attributes' types."""
        if not attributes:
            return [None]
        groups: dict[tuple[Type, ...], list[str]] = {}
        wanted = sorted(attributes)
        for event in self.events.values():
            if all(a in event.attributes for a in wanted):
                groups.setdefault(tuple(event.attributes[a].type for a in wanted), []).append(event.name)
        return [tuple(names) for names in groups.values()] or [None]


def canonical(node: Node) -> str:
    """The meaning of an expression as text: the same however it is written and wherever it stands."""
    if isinstance(node, Const):
        return f"{node.type} {node.key}"
    if isinstance(node, Ref):
        return node.path
    return f"{node.op}({', '.join(canonical(a) for a in node.args)})"


def walk(node: Node) -> Iterator[Node]:
    """The nodes of an expression, each object once."""
    seen: set[int] = set()
    waiting = [node]
    while waiting:
        n = waiting.pop()
        if id(n) not in seen:
            seen.add(id(n))
            yield n
            if isinstance(n, Op):
                waiting.extend(n.args)
