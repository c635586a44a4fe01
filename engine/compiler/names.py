"""What the names of an expression mean: `event.x`, `features.x`, `windows.x`, `facts.x` and `now`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from sys import intern

from engine.compiler import slips
from engine.compiler.model import EventType, Feature
from engine.compiler.nodes import Fact, Node, Ref, Span, Type
from engine.compiler.source import Problem, did_you_mean
from engine.compiler.summary import Known, summarise

HEIGHT_MAX = 300  # levels of operations, those of facts included: the deepest recursion over a checked tree
ROOTS = ("event", "features", "windows", "facts", "now")
_KINDS = {"features": "a feature of the schema", "windows": "a declared window", "facts": "a declared fact"}
_KIND = {"features": "feature", "windows": "window", "facts": "fact"}
_IMPLICIT = {"occurred_at": Type.TIME, "type": Type.TEXT}


@dataclass(frozen=True, slots=True)
class Scope:
    """What an expression may name.

    `facts` are checked trees. `on` are the event types the expression must hold for (None: all of
    `events`). `roots` says which of event, features, windows, facts and now may be used here. Without
    `personal`, personal features and attributes are only for has(). `units` are those of windows, by
    path (`windows.x`). `known` remembers what facts read, by the identity of their trees: share it between scopes whose
    facts live as long as it does.
    """

    events: Mapping[str, EventType]
    features: Mapping[str, Feature]
    windows: Mapping[str, Type]
    facts: Mapping[str, Node]
    on: tuple[str, ...] | None
    roots: frozenset[str]
    personal: bool
    units: Mapping[str, str] = field(default_factory=dict)
    known: Known = field(default_factory=Known)


class Names:
    """Resolves names in one scope; what is wrong goes to `problems`."""

    __slots__ = ("problems", "scope", "uses_facts")

    def __init__(self, scope: Scope, problems: list[Problem]) -> None:
        self.scope = scope
        self.problems = problems
        self.uses_facts = False

    def _problem(self, code: str, span: Span, message: str, found: str, expected: str, hint: str) -> None:
        self.problems.append(Problem(code, span, message, found, expected, hint))

    def bare(self, name: str, span: Span) -> Node | None:
        """A name that stands alone: `now`, or a mistake."""
        if name == "now" and "now" in self.scope.roots:
            return Ref(Type.TIME, "now", span)
        if name not in ROOTS:
            self.unknown_root(name, "", span)
        elif name not in self.scope.roots:
            self._not_here(name, span)
        else:
            message = f"'{name}' alone is not a value"
            self._problem("incomplete-name", span, message, name, f"a name in it, such as `{name}.x`", "")
        return None

    def member(self, root: str, name: str, span: Span, in_has: bool) -> Node | None:
        """`root.name`; None after a problem."""
        scope = self.scope
        if root not in ROOTS:
            self.unknown_root(root, name, span)
        elif root not in scope.roots:
            self._not_here(root, span)
        elif root == "features" and name in scope.features:
            feature = scope.features[name]
            if feature.personal and not scope.personal and not in_has:
                self._personal(f"`features.{name}` is personal", span)
                return None
            return Ref(feature.type, intern(f"features.{name}"), span)
        elif root == "event":
            return self._event(name, span, in_has)
        elif root == "windows" and name in scope.windows:
            return Ref(scope.windows[name], intern(f"windows.{name}"), span)
        elif root == "facts" and name in scope.facts:
            return self._fact(name, span)
        elif root == "now":
            self._problem("unknown-name", span, "`now` has no fields", "", "`now`", "")
        else:
            self._unknown_member(root, name, span)
        return None

    # events

    def _event(self, name: str, span: Span, in_has: bool) -> Node | None:
        implicit = _IMPLICIT.get(name)
        if implicit is not None:
            return Ref(implicit, f"event.{name}", span)
        kind = self.event_type(name, span, "")
        if kind is not None and not in_has and not self.scope.personal and self._personal_attribute(name):
            self._personal(f"`event.{name}` is personal", span)
            return None
        return None if kind is None else Ref(kind, intern(f"event.{name}"), span)

    def event_type(self, name: str, span: Span, by: str) -> Type | None:
        """The type of `event.name` in every event type of the scope; `by` names the fact that reads it."""
        events = self.scope.events
        types = tuple(events) if self.scope.on is None else self.scope.on
        having: dict[str, list[str]] = {}
        found_type: Type | None = None
        lacking: list[str] = []
        for event in types:
            declared = events.get(event)
            attribute = None if declared is None else declared.attributes.get(name)
            if attribute is None:
                lacking.append(event)
            else:
                found_type = attribute.type
                having.setdefault(attribute.kind, []).append(event)
        if len(having) == 1 and not lacking:
            return found_type
        reads = f"`{by}` reads `event.{name}`: " if by else ""
        if not having:
            self._unknown_attribute(name, types, reads, span)
        elif lacking:
            owners = [event for group in having.values() for event in group]
            message = f"{reads}not every event type has '{name}'"
            found = f"no '{name}' in {_listed(lacking)}"
            hint = f"say `on: [{', '.join(owners[:5])}]`"
            self._problem("not-in-every-event", span, message, found, "an attribute of every event type in `on`", hint)
        else:
            message = f"{reads}'{name}' is not of one type"
            found = "; ".join(f"{words} in {_listed(group)}" for words, group in having.items())
            hint = "name event types that agree in `on`"
            self._problem("event-types-differ", span, message, found, "one type in every event type of `on`", hint)
        return None

    def _personal_attribute(self, name: str) -> bool:
        """Whether it is personal in an event type of the scope."""
        events = self.scope.events
        types = tuple(events) if self.scope.on is None else self.scope.on
        return any(name in events[e].attributes and events[e].attributes[name].personal for e in types if e in events)

    def _unknown_attribute(self, name: str, types: tuple[str, ...], reads: str, span: Span) -> None:
        declared = [self.scope.events[event] for event in types if event in self.scope.events]
        known = dict.fromkeys([*_IMPLICIT, *(name for event in declared for name in event.attributes)])
        where = f"event type {_listed(types)}" if 0 < len(types) <= 3 else "these event types"
        message = f"{reads}no attribute '{name}' in {where}"
        hint = did_you_mean(name, known) or self._elsewhere(name, "event")
        self._problem("unknown-name", span, message, "", "an attribute of the event, occurred_at or type", hint)

    # facts

    def _fact(self, name: str, span: Span) -> Node | None:
        """The shared tree of a fact, where all it reads can be read here too."""
        tree = self.scope.facts[name]
        summary = summarise(f"facts.{name}", tree, self.scope.known)
        self.uses_facts = True
        before = len(self.problems)
        for ref, in_has in summary.reads:
            self._fact_reads(ref, span, f"facts.{name}", in_has)
            if len(self.problems) > before:
                return None  # one problem per use of a fact
        return Fact(tree.type, f"facts.{name}", tree, span)

    def _fact_reads(self, ref: Ref, span: Span, by: str, in_has: bool) -> None:
        """What a fact reads must be there for this expression too."""
        root, _, name = ref.path.partition(".")
        if root not in self.scope.roots:
            message = f"`{by}` reads `{ref.path}`, which cannot be used here"
            self._problem("not-available-here", span, message, ref.path, self._allowed(), "")
        elif root == "features":
            feature = self.scope.features.get(name)
            if feature is not None and feature.personal and not self.scope.personal and not in_has:
                self._personal(f"`{by}` reads `{ref.path}`, which is personal", span)
        elif root == "event" and name not in _IMPLICIT:
            kind = self.event_type(name, span, by)
            if kind is not None and not in_has and not self.scope.personal and self._personal_attribute(name):
                self._personal(f"`{by}` reads `{ref.path}`, which is personal", span)
            elif kind is not None and kind is not ref.type:
                message = f"`{by}` reads `{ref.path}` as {ref.type}, and here it is {kind}"
                hint = "name event types that agree in `on`"
                self._problem("event-types-differ", span, message, str(kind), str(ref.type), hint)

    # what is wrong

    def _allowed(self) -> str:
        allowed = [f"`{root}`" if root == "now" else f"`{root}.`" for root in ROOTS if root in self.scope.roots]
        return "one of " + ", ".join(allowed) if allowed else "only constants"

    def _not_here(self, root: str, span: Span) -> None:
        message = f"`{root}` cannot be used here"
        self._problem("not-available-here", span, message, root, self._allowed(), "")

    def _personal(self, message: str, span: Span) -> None:
        expected = "personal values only in slots and in has()"
        self._problem("personal-in-condition", span, message, "", expected, "`has(..)` tells whether it is there")

    def _elsewhere(self, name: str, root: str) -> str:
        """A hint where `name` is known under another root."""
        scope = self.scope
        places: dict[str, tuple[str, ...]] = {  # names alone: asking whether a fact is there would check it again
            "features": tuple(scope.features),
            "windows": tuple(scope.windows),
            "facts": tuple(scope.facts),
        }
        names = [
            f"`{other}.{name}`"
            for other, known in places.items()
            if other != root and other in scope.roots and name in known
        ]
        if root != "event" and "event" in scope.roots and self._is_attribute(name):
            names.append(f"`event.{name}`")
        return "write " + " or ".join(names) if names else ""

    def _is_attribute(self, name: str) -> bool:
        events = self.scope.events
        types = tuple(events) if self.scope.on is None else self.scope.on
        return any(event in events and name in events[event].attributes for event in types)

    def unknown_root(self, root: str, name: str, span: Span) -> None:
        """A name that begins with none of the roots."""
        close = "event" if name and root in self.scope.events else ""
        known = [kind for kind in ROOTS if kind in self.scope.roots]
        if close and "event" in self.scope.roots:
            hint = f"write `event.{name}`"
        elif not (hint := self._elsewhere(root, "")):
            hint = did_you_mean(root, known) or self._close_anywhere(root) or ("" if name else slips.value(root))
        message = f"nothing is called '{root}'"
        self._problem("unknown-name", span, message, "", self._allowed(), hint)

    def _close_anywhere(self, name: str) -> str:
        scope = self.scope
        known = [f"features.{x}" for x in scope.features] if "features" in scope.roots else []
        known += [f"windows.{x}" for x in scope.windows] if "windows" in scope.roots else []
        known += [f"facts.{x}" for x in scope.facts] if "facts" in scope.roots else []
        by_end = {full.partition(".")[2]: full for full in known}
        hint = did_you_mean(name, by_end)
        for end, full in by_end.items():
            if hint == f"did you mean '{end}'?":
                return f"did you mean '{full}'?"
        return hint

    def _unknown_member(self, root: str, name: str, span: Span) -> None:
        known = {"features": self.scope.features, "windows": self.scope.windows, "facts": self.scope.facts}[root]
        assert isinstance(known, Mapping)
        first = name.partition(".")[0]
        if first != name and first in known:
            message = f"`{root}.{first}` has no fields"
            self._problem("unknown-name", span, message, "", _KINDS[root], f"write `{root}.{first}`")
            return
        hint = self._elsewhere(name, root) or did_you_mean(name, known)
        self._problem("unknown-name", span, f"no {_KIND[root]} is called '{name}'", "", _KINDS[root], hint)


def _listed(names: list[str] | tuple[str, ...]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
