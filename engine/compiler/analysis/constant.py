"""Conditions that are always true or false, and parts of conditions that say nothing new."""

from __future__ import annotations

from collections.abc import Sequence

from engine.compiler.analysis.cases import NOTHING, Cases, Simple
from engine.compiler.analysis.domains import event_types
from engine.compiler.analysis.report import Report
from engine.compiler.analysis.values import Values
from engine.compiler.analysis.ways import Key, Way, implied
from engine.compiler.model import RuleSet
from engine.compiler.nodes import Const, Node, Op, Span, Type
from engine.compiler.scopes import On
from engine.compiler.source import WARNING, Problem

_COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
Alike = dict[str, list[tuple[Node, Simple]]]
_TYPE = "event.type"
_SAID = "the rest of the condition says this already"


def report_constant(_: RuleSet, report: Report) -> None:
    """Warnings always-true, always-false and redundant-condition, at the smallest part that is so."""
    known: dict[tuple[int, On], list[Problem]] = {}
    for expression, on in report.expressions:
        if expression.scalar is None:
            continue  # written by nobody: a decision table, which is looked through cell by cell
        node = expression.node
        if not isinstance(node, Op):
            continue
        problems = known.get((id(node), on))
        if problems is None:
            problems = known[id(node), on] = constant(report.cases, node, on)
        for p in problems:
            report.add_at(p.code, expression, p.span, p.message, found=p.found, hint=p.hint)


def constant(cases: Cases, node: Node, on: On = None) -> list[Problem]:
    """What is always true, always false or redundant in one expression; facts speak for themselves."""
    given = event_types(on) if _TYPE in cases.reads(node) else {}
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
        simple = self.cases.simple(node)
        if simple is not None and not (self.given and simple.path == _TYPE):
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

    def _chain(self, node: Op) -> bool:
        """&& and ||. Only parts that read the same input can contradict or repeat each other."""
        alike, others, plain = self.cases.chain(node)
        if self.given and _TYPE in alike:
            alike = alike.copy()
            others = [*others, *(arg for arg, _ in alike.pop(_TYPE))]
        found = False
        for arg in others:
            found |= self.visit(arg)
        if not plain:
            for arg in [arg for same in alike.values() for arg, simple in same if not simple.open]:
                found |= self.visit(arg)
        if found:
            return True
        tangled = self._tangled(node, alike, others) if others else []
        return not (plain and not tangled) and self._joint(node, alike, tangled)

    def _tangled(self, node: Op, alike: Alike, others: Sequence[Node]) -> list[Node]:
        """Parts that share an input with one of the others, and constants."""
        reads = [self.cases.reads(arg) for arg in others]
        every = self.cases.reads(node)
        if len(every) == len(alike) + sum(map(len, reads)) and not self.given and NOTHING not in reads:
            return []
        once = set(every)
        shared = {_TYPE} if self.given else set()
        for paths in (*reads, alike):
            shared |= {path for path in paths if path not in once}
            once.difference_update(paths)
        pairs = zip(others, reads, strict=True)
        tangled = [arg for arg, paths in pairs if isinstance(arg, Const) or not shared.isdisjoint(paths)]
        tangled += [arg for path in shared & alike.keys() for arg, _ in alike[path]]
        return sorted(tangled, key=lambda arg: arg.span.start)

    def _joint(self, node: Op, alike: Alike, tangled: list[Node]) -> bool:
        """What the parts say together: that the chain is constant, or that some of them say nothing new."""
        want = node.op == "and"
        never = found = False
        mixed = set(map(id, tangled))
        for same in alike.values():
            if len(same) > 1 and id(same[0][0]) not in mixed:
                told = self.cases.implied([simple for _, simple in same], want)
                never = never or told is None
                for i in told or ():
                    self._add("redundant-condition", same[i][0].span, _SAID)
                    found = True
        if not tangled and not never:
            return found
        never = never or not self.cases.both((*(self.cases.holds(arg, want) for arg in tangled), [self.given]))
        if never or not any(self._possible(arg, not want) for arg in node.args):
            self._tell(node, want != never)
            return True
        return self._repeats(tangled, want) or found

    def _repeats(self, parts: Sequence[Node], want: bool) -> bool:
        """Parts of a chain that are to be `want` whenever the others are."""
        atoms: dict[Key, list[tuple[Node, Values]]] = {}
        seen: set[Node] = set()
        before = len(self.problems)
        for arg in parts:
            atom = self.cases.atom(arg, want)
            if atom is not None:
                atoms.setdefault(atom.key, []).append((arg, atom.values))
            elif isinstance(arg, Const) or arg in seen:
                self._add("redundant-condition", arg.span, "this changes nothing here")
            else:
                seen.add(arg)
        for same in atoms.values():
            for i in implied([values for _, values in same]) or () if len(same) > 1 else ():
                self._add("redundant-condition", same[i][0].span, _SAID)
        return len(self.problems) > before

    def _constant(self, node: Op) -> bool:
        for truth in (False, True):
            if not self._possible(node, not truth):
                self._tell(node, truth)
                return True
        return False

    def _tell(self, node: Op, truth: bool) -> None:
        if truth:
            self._add("always-true", node.span, "this is true whenever nothing that it reads is missing")
        else:
            self._add("always-false", node.span, "this can never be true", self._why(node))

    def _why(self, node: Op) -> str:
        """The input of which no value will do, where it is a single one."""
        cases = self.cases
        cases.clash = 0
        if node.op == "and":
            parts = [cases.holds(arg, True) for arg in node.args]
            cases.both([*parts, [self.given]] if all(len(part) == 1 for part in parts) else [])
        elif (atom := cases.atom(node)) is not None:
            cases.clash = atom.key
        return f"no value of {cases.clash} will do" if isinstance(cases.clash, str) else ""

    def _possible(self, node: Node, want: bool) -> bool:
        if not self.given:
            return self.cases.possible(node, want)
        return bool(self.cases.both((self.cases.holds(node, want), [self.given])))

    def _add(self, code: str, span: Span, message: str, found: str = "") -> None:
        self.problems.append(Problem(code, span, message, found, severity=WARNING))
