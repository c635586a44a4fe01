"""Expressions in their place: which names they may use, for which events, and where a problem stands.

Facts are inlined, and a fact that reads `event.x` means something else for every set of event types;
so facts are checked per set of event types, once each, and only where they are used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from engine.compiler.checker import Scope, check
from engine.compiler.conjuncts import Joiner, alternatives, conjuncts
from engine.compiler.lexer import Refused, tokenize
from engine.compiler.model import EventType, Expression, Feature
from engine.compiler.nodes import Const, Fact, Node, Op, Ref, Span, Type, Var
from engine.compiler.reading import Reading
from engine.compiler.source import ERROR, Problem
from engine.compiler.summary import Known
from engine.compiler.tables.fact import Built, build, header_text, look_through, source_of
from engine.compiler.tables.table import Table
from engine.compiler.tree import Scalar
from engine.compiler.units import unit_of

On = tuple[str, ...] | None
_Place = tuple[On, Type | None, frozenset[str], bool]  # event types, the type wanted, roots, personal

ALL_ROOTS = frozenset(("event", "features", "windows", "facts", "now"))
FACT_DEPTH_MAX = 16

_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'')
_PATH = re.compile(r"(?<![\w.])(event|features|windows|facts)\s*\.\s*([A-Za-z_]\w*)")
_ODD = re.compile(r"""`|//|[rR]["']|\"""|'''|\.\s*(?:event|features|windows|facts)\b""")  # the two above misread it
_IMPLICIT = ("type", "occurred_at")
_ROOTS = ("event", "features", "windows", "facts")


class _Checked(NamedTuple):
    node: Node | None
    problems: list[Problem]


def paths(text: str) -> list[tuple[str, str, int, int]]:
    """(root, name, start, end) of what an expression mentions, strings left out."""
    if _ODD.search(text):
        return _paths_of_tokens(text)
    bare = _STRING.sub(lambda m: '"' + " " * (len(m[0]) - 2) + '"', text)
    return [(m[1], m[2], m.start(), m.end()) for m in _PATH.finditer(bare)]


def _paths_of_tokens(text: str) -> list[tuple[str, str, int, int]]:
    try:
        tokens = tokenize(text)
    except Refused:
        return []
    return [
        (root.text, name.text.strip("`"), root.start, name.end)
        for root, dot, name in zip(tokens, tokens[1:], tokens[2:], strict=False)
        if root.text in _ROOTS and dot.kind == "." and name.kind in ("name", "quoted")
    ]


class _Facts(Mapping[str, Node]):
    """The facts as they are for one set of event types, each checked when asked for."""

    def __init__(self, owner: Expressions, on: On) -> None:
        self._owner = owner
        self._on = on

    def __getitem__(self, name: str) -> Node:
        table, _, output = name.partition(".")
        node = None
        if name in self._owner.facts:
            node = self._owner.fact(name, self._on).node
        elif table in self._owner.tables:
            node = self._owner.table(table, self._on).nodes.get(output)
        if node is None:
            raise KeyError(name)
        return node

    def __iter__(self) -> Iterator[str]:
        yield from self._owner.facts
        for name, (_, table) in self._owner.tables.items():
            yield from (f"{name}.{output.name}" for output in table.outputs)

    def __len__(self) -> int:
        return sum(1 for _ in self)


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
        self.units = {f"features.{f.name}": f.unit for f in features.values() if f.unit is not None}  # and windows
        self.facts: dict[str, Scalar] = {}
        self.tables: dict[str, tuple[Scalar, Table]] = {}  # with the fact's name where it is written
        self.broken: set[str] = set()
        self._uses: dict[str, frozenset[str]] = {}
        self._attributes: dict[str, frozenset[str]] = {}  # event.* a fact reads, through other facts too
        self._kinds: dict[str, dict[str, tuple[tuple[str, str | None], ...]]] = {}  # of these, by fact and event type
        self._facts: dict[tuple[str, On], _Checked] = {}
        self._tables: dict[tuple[str, On], Built] = {}
        self._known_facts = Known()
        self._scopes: dict[tuple[On, frozenset[str], bool], Scope] = {}
        self._joiner = Joiner()
        self._memo: dict[_Place, dict[str, _Checked]] = {}

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
        return None if node is None else Expression(text, node, scalar.place(start), scalar, start)

    def unit(self, node: Node, on: On) -> str | None:
        """The unit of a checked expression's value; None where it has none."""
        return unit_of(node, self._scope(on, ALL_ROOTS, personal=True))

    def _sound(self, scalar: Scalar, text: str, start: int, on: On) -> bool:
        """False where something mentioned is known to be wrong already, or a fact cannot serve `on`."""
        if on != () and not self.broken and "facts" not in text:
            return True
        sound = True
        for root, name, begin, end in paths(text):
            if f"{root}.{name}" in self.broken or (on == () and (root == "event" or self._attributes.get(name))):
                sound = False  # no event types at all: `on` has its finding
            elif root == "facts" and (reason := self._unfit(name, on)):
                sound = False
                types = "every event type" if on is None else "event type " + ", ".join(f"'{o}'" for o in on)
                self.reading.add_at(
                    "fact-not-for-event", scalar, start + begin, start + end,
                    f"the fact '{name}' cannot serve {types}: {reason}",
                    hint="name the event types it is meant for in 'on:'" if on is None else "",
                )  # fmt: skip
        return sound

    def _unfit(self, name: str, on: On) -> str:
        """Why a fact cannot serve these event types; "" where it can, or is not known."""
        if name in self.tables:
            return self.table(name, on).reason
        checked = self.fact(name, on) if name in self.facts else None
        return checked.problems[0].message if checked is not None and checked.node is None else ""

    def _check(self, text: str, on: On, expected: Type | None, roots: frozenset[str], personal: bool) -> _Checked:
        place = (on, expected, roots, personal)
        return self._checked(text, place, self._known(place), self._known((None, *place[1:])))

    def _known(self, place: _Place) -> dict[str, _Checked]:
        known = self._memo.get(place)
        if known is None:
            known = self._memo[place] = {}
        return known

    def _checked(self, text: str, place: _Place, here: dict[str, _Checked], anywhere: dict[str, _Checked]) -> _Checked:
        """`here` and `anywhere` are what is known of texts at `place` and for all event types."""
        if here is not anywhere and "event" not in text and "facts" not in text:
            found = anywhere.get(text) or self._first_check(text, (None, *place[1:]), anywhere)
            if not found.problems:  # whose hints may speak of the event types
                return found
        return here.get(text) or self._first_check(text, place, here)

    def _first_check(self, text: str, place: _Place, known: dict[str, _Checked]) -> _Checked:
        on, expected, roots, personal = place
        found = self._chain(text, place) if expected is None or expected is Type.BOOL else None
        found = found or _Checked(*check(text, self._scope(on, roots, personal), expected))
        known[text] = found
        return found

    def _chain(self, text: str, place: _Place) -> _Checked | None:
        """`a && b` and `(a || b)` of parts with nothing wrong, each checked once for all expressions."""
        op, parts = "and", conjuncts(text)
        if not parts:
            op, parts = "or", alternatives(text)
        if not parts:
            return None
        on, _, roots, personal = place
        place = (on, Type.BOOL, roots, personal)
        here = self._known(place)
        anywhere = here if on is None else self._known((None, Type.BOOL, roots, personal))
        nodes: list[Node] = []
        for _, part in parts:
            node, problems = self._checked(part, place, here, anywhere)
            if node is None or problems:
                return None
            nodes.append(node)
        last, end = parts[-1]
        span = Span(parts[0][0], last + len(end)) if op == "and" else Span(0, len(text))
        return _Checked(self._joiner.joined(op, span, [start for start, _ in parts], nodes), [])

    def _scope(self, on: On, roots: frozenset[str], personal: bool) -> Scope:
        key = (on, roots, personal)
        if key not in self._scopes:
            facts = _Facts(self, on)
            self._scopes[key] = Scope(
                self.events, self.features, self.windows, facts, on, roots, personal, self.units, self._known_facts
            )
        return self._scopes[key]

    def _report(self, scalar: Scalar, problems: list[Problem], start: int = 0) -> None:
        for p in problems:
            self.reading.add_at(
                p.code, scalar, start + p.span.start, start + p.span.end, p.message,
                found=p.found, expected=p.expected, hint=p.hint, severity=p.severity,
            )  # fmt: skip

    def fact(self, name: str, on: On) -> _Checked:
        """A fact's tree for a set of event types."""
        on = self._alike(name, on)
        key = (name, on)
        known = self._facts.get(key)
        if known is None:
            self._prepare(name, on)
            known = self._facts[key] = self._check(self.facts[name].value, on, None, ALL_ROOTS, False)
        return known

    def table(self, name: str, on: On) -> Built:
        """A decision table for a set of event types."""
        on = self._alike(name, on)
        key = (name, on)
        known = self._tables.get(key)
        if known is None:
            self._prepare(name, on)
            known = build(self.tables[name][1], lambda text: self._check(text, on, None, ALL_ROOTS, False))
            self._tables[key] = known
        return known

    def _alike(self, name: str, on: On) -> On:
        """All event types to which a fact means what it means to those of `on`: one tree serves them all.

        None where it reads no attribute; `on` itself where its event types differ.
        """
        if not self._attributes.get(name):
            return None
        if name not in self._kinds:
            wanted = sorted(self._attributes[name])
            have = {e.name: e.attributes for e in self.events.values() if e.attributes.keys() >= set(wanted)}
            self._kinds[name] = {
                event: tuple((own[a].kind, own[a].unit) for a in wanted) for event, own in have.items()
            }
        kinds = self._kinds[name]
        found = {kinds.get(event) for event in (self.events if on is None else on)}
        if len(found) != 1 or None in found:
            return on
        return tuple(event for event, own in kinds.items() if own in found)

    def _prepare(self, name: str, on: On) -> None:
        """The facts that a fact uses: bottom up, so that the checker's recursion stays one fact deep."""
        for used in self._uses[name]:
            self.table(used, on) if used in self.tables else self.fact(used, on)

    def declare_facts(
        self, facts: Mapping[str, Scalar], tables: Mapping[str, tuple[Scalar, Table]], counts: frozenset[str]
    ) -> dict[str, Expression]:
        """Takes the facts in and checks each once; the result keeps the order written, tables behind.

        A table gives a fact for each output, `name.output`. `counts` are the windows that are never negative.
        """
        for name, scalar in facts.items():
            if self.reading.whole_text(scalar, f"the fact '{name}'"):
                self.facts[name] = scalar
            else:
                self.broken.add(f"facts.{name}")
        self.tables = dict(tables)
        for name in (*self.facts, *self.tables):
            used = {n for root, n in self._mentions(name) if root == "facts"}
            self._uses[name] = frozenset(n for n in used if n in self.facts or n in self.tables)
        checked: dict[str, Expression] = {}
        for name in self._order():
            if self._begin(name):
                checked |= self._first_table(name, counts) if name in self.tables else self._first(name)
        rank = {name: i for i, name in enumerate((*self.facts, *self.tables))}
        return dict(sorted(checked.items(), key=lambda item: rank[item[0].partition(".")[0]]))

    def _mentions(self, name: str) -> list[tuple[str, str]]:
        """(root, name) of what a fact, or the header of a table, mentions."""
        table = self.tables.get(name)
        texts = [self.facts[name].value] if table is None else [column.text for column in table[1].inputs]
        return [(root, n) for text in texts for root, n, _, _ in paths(text)]

    def _at(self, name: str) -> Scalar:
        """Where a fact is written."""
        return self.tables[name][0] if name in self.tables else self.facts[name]

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
            self.reading.add("too-deep", self._at(name), f"facts that use facts more than {FACT_DEPTH_MAX} deep")
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
        rank = {n: i for i, n in enumerate((*self.facts, *self.tables))}
        first = min(circle, key=rank.__getitem__)
        turn = circle.index(first)
        told = [*circle[turn:], *circle[:turn], first]
        self.reading.add("fact-cycle", self._at(first), "facts use each other in a circle", found=" -> ".join(told))
        self.broken.update(f"facts.{n}" for n in circle)
        return circle

    def _begin(self, name: str) -> bool:
        """Notes what a fact reads; False where it uses what is known to be wrong."""
        mentioned = self._mentions(name)
        attributes = {n for root, n in mentioned if root == "event" and n not in _IMPLICIT}
        self._attributes[name] = frozenset(attributes).union(*(self._attributes.get(u, ()) for u in self._uses[name]))
        if any(f"{root}.{n}" in self.broken for root, n in mentioned) or f"facts.{name}" in self.broken:
            self.broken.add(f"facts.{name}")
            return False
        return True

    def _first(self, name: str) -> dict[str, Expression]:
        """A fact for the first set of event types that it can serve; findings where there is none."""
        scalar = self.facts[name]
        checked = _Checked(None, [])
        for on in self._groups(self._attributes[name]):
            checked = self.fact(name, on)
            if checked.node is not None:
                break
        self._report(scalar, checked.problems)
        if checked.node is None:
            self.broken.add(f"facts.{name}")
            return {}
        return {name: Expression(scalar.value, checked.node, scalar.position, scalar)}

    def _first_table(self, name: str, counts: frozenset[str]) -> dict[str, Expression]:
        """The outputs of a table, as `_first`; what is wrong with its rows is told too."""
        key, table = self.tables[name]
        tried = [self.table(name, on) for on in self._groups(self._attributes[name])]
        built = next((one for one in tried if not one.reason), tried[-1])
        findings = list(built.findings)
        for one in tried if table.sound else ():  # an input may be an integer here and a number there
            if not one.reason:
                findings += look_through(table, one, self.features, counts)
        self.reading.findings += findings
        if not table.sound or any(f.severity == ERROR for f in findings):
            self.broken.add(f"facts.{name}")
            return {}
        text = header_text(table)
        sources = {output.name: source_of(table, output) for output in table.outputs}
        return {
            f"{name}.{output}": Expression(text, node, key.position, table=sources[output])
            for output, node in built.nodes.items()
        }

    def _groups(self, attributes: frozenset[str]) -> list[On]:
        """Event types that have all the attributes, grouped by these attributes' types."""
        if not attributes:
            return [None]
        groups: dict[tuple[str, ...], list[str]] = {}
        wanted = sorted(attributes)
        for event in self.events.values():
            if all(a in event.attributes for a in wanted):
                groups.setdefault(tuple(event.attributes[a].kind for a in wanted), []).append(event.name)
        return [tuple(names) for names in groups.values()] or [None]


def canonical(node: Node) -> str:
    """The meaning of an expression as text: the same however it is written and wherever it stands."""
    if isinstance(node, Const):
        return f"{node.type} {node.key}"
    if isinstance(node, Ref):
        return node.path
    if isinstance(node, Fact):
        return canonical(node.node)
    if isinstance(node, Var):
        return f"element {node.level}"
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
            elif isinstance(n, Fact):
                waiting.append(n.node)
