"""Conditions that are always true or false, and parts of conditions that say nothing new."""

from __future__ import annotations

from collections.abc import Sequence

from engine.compiler.analysis.cases import Cases, Key, Simple, Way, implied
from engine.compiler.analysis.domains import event_types
from engine.compiler.analysis.report import Report
from engine.compiler.analysis.values import Values
from engine.compiler.nodes import Const, Node, Op, Span, Type
from engine.compiler.scopes import On
from engine.compiler.source import WARNING, Problem

_COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
_TYPE = "event.type"


def report_constant(report: Report) -> None:
    """Warnings always-true, always-false and redundant-condition, at the smallest part that is so."""
    known: dict[tuple[int, On], list[Problem]] = {}
    for expression, on in report.expressions:
        if expression.scalar is None:
            continue  # written by nobody: a decision table, which is looked through cell by cell
        node = expression.node
        problems = known.get((id(node), on))
        if problems is None:
            problems = known[id(node), on] = constant(report.cases, node, on)
        for p in problems:
            report.add_at(p.code, expression, p.span, p.message, found=p.found, hint=p.hint)


def constant(cases: Cases, node: Node, on: On = None) -> list[Problem]:
    """What is always true, always false or redundant in one expression; facts speak for themselves."""
    given = event_types(on) if _TYPE in cases.reads.of(node) else {}
    finder = _Finder(cases, given)
    finder.visit(node)
    return finder.problems


class _Finder:
    def __init__(self, cases: Cases, given: Way) -> None:
        self.cases = cases
        self.given = given
        self.problems: list[Problem] = []

    def visit(self, node: Node) -> bool:
        """Whether something was found in the node; then nothing is told of what it stands in."""
        if not isinstance(node, Op) or node.op == "has":
            return False
        if node.op in ("and", "or"):
            return self._chain(node)
        simple = self._simple(node)
        if simple is not None:
            return not simple.open and self._constant(node)
        if node.type is Type.BOOL and self.cases.free(node):
            return False
        found = False
        for arg in node.args:
            if isinstance(arg, Op):
                found |= self.visit(arg)
        if found or node.type is not Type.BOOL or node.op == "fails":
            return found
        if node.op in _COMPARISONS and node.args[0] == node.args[1] and not isinstance(node.args[0], Const):
            self._add("redundant-condition", node.span, "this compares something with itself")
            return True
        return self._constant(node)

    def _simple(self, node: Node) -> Simple | None:
        """None also where the event types of the rule have a say."""
        simple = self.cases.simple(node)
        return None if simple is not None and self.given and simple.term.path == _TYPE else simple

    def _chain(self, node: Op) -> bool:
        """&& and ||. Only parts that read the same input can contradict or repeat each other."""
        alike: dict[str, list[tuple[Node, Simple]]] = {}  # by the input that they compare with constants
        others: list[Node] = []
        found = False
        for arg in node.args:
            simple = self._simple(arg)
            if simple is None:
                others.append(arg)
                found |= self.visit(arg)
            elif not simple.open:
                found |= self.visit(arg)
            elif (same := alike.get(simple.term.path)) is None:
                alike[simple.term.path] = [(arg, simple)]
            else:
                same.append((arg, simple))
        if found:
            return True
        tangled = self._tangled(alike, others) if others else []
        if len(alike) + len(others) == len(node.args) and not tangled:
            return False
        return self._joint(node, alike, tangled)

    def _tangled(self, alike: dict[str, list[tuple[Node, Simple]]], others: Sequence[Node]) -> list[Node]:
        """Parts that share an input with a part that is no simple one, which `alike` then loses; and constants."""
        reads = [self.cases.reads.of(arg) for arg in others]
        every = set(alike).union(*reads)
        if self.given:
            every.discard(_TYPE)
        if len(every) == len(alike) + sum(map(len, reads)) and not any(isinstance(arg, Const) for arg in others):
            return []
        counts: dict[str, int] = dict.fromkeys(alike, 1)
        for paths in reads:
            for path in paths:
                counts[path] = counts.get(path, 0) + 1
        shared = {path for path, count in counts.items() if count > 1}
        if self.given:
            shared.add(_TYPE)
        tangled = [arg for arg, paths in zip(others, reads, strict=True) if not shared.isdisjoint(paths) or isinstance(arg, Const)]
        for path in shared & alike.keys():
            tangled += [arg for arg, _ in alike.pop(path)]
        return sorted(tangled, key=lambda arg: arg.span.start)

    def _joint(self, node: Op, alike: dict[str, list[tuple[Node, Simple]]], tangled: list[Node]) -> bool:
        """What the parts say together: that the chain is constant, or that some of them say nothing new."""
        want = node.op == "and"
        ranges = [same for same in alike.values() if len(same) > 1]
        told = [self.cases.implied([simple for _, simple in same], want) for same in ranges]
        never = None in told or (
            bool(tangled) and not self.cases.both((*(self.cases.holds(arg, want) for arg in tangled), [self.given]))
        )
        if never or (tangled and not self._possible(node, not want)):
            self._tell_constant(node, want != never)
            return True
        repeated = [same[i][0] for same, indexes in zip(ranges, told, strict=True) for i in indexes or ()]
        for arg in repeated:
            self._redundant(arg)
        return self._repeats(tangled, want) or bool(repeated)
