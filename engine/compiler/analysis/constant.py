"""Conditions that are always true or false, and parts of conditions that say nothing new."""

from __future__ import annotations

from functools import reduce

from engine.compiler.analysis.cases import Cases, Key
from engine.compiler.analysis.domains import event_types
from engine.compiler.analysis.report import Report, expressions
from engine.compiler.analysis.values import Values
from engine.compiler.model import RuleSet
from engine.compiler.nodes import Const, Node, Op, Span, Type
from engine.compiler.scopes import On
from engine.compiler.source import WARNING, Problem

_COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")


def report_constant(ruleset: RuleSet, report: Report) -> None:
    """Warnings always-true, always-false and redundant-condition, at the smallest part that is so."""
    cases = report.cases
    known: dict[tuple[int, On], list[Problem]] = {}
    for _, expression, on in expressions(ruleset):
        if expression.scalar is None:
            continue  # written by nobody: a decision table, which is looked through cell by cell
        node = expression.node
        on = on if report.by_type else None
        problems = known.get((id(node), on))
        if problems is None:
            problems = known[id(node), on] = constant(cases, node, on)
        for p in problems:
            report.add_at(p.code, expression, p.span, p.message, found=p.found, hint=p.hint)


def constant(cases: Cases, node: Node, on: On = None) -> list[Problem]:
    """What is always true, always false or redundant in one expression; facts speak for themselves."""
    finder = _Finder(cases, on)
    finder.visit(node)
    return finder.problems


class _Finder:
    def __init__(self, cases: Cases, on: On) -> None:
        self.cases = cases
        self.given = [event_types(on)]
        self.problems: list[Problem] = []

    def visit(self, node: Node) -> bool:
        """Whether something was found in the node; then nothing is told of what it stands in."""
        if not isinstance(node, Op) or node.op == "has":
            return False
        found = False
        simple = self.cases.simple(node)
        if simple is not None:
            if simple.true and simple.false and not self.given[0]:
                return False
        else:
            for arg in node.args:
                if isinstance(arg, Op):
                    found |= self.visit(arg)
        if found or node.type is not Type.BOOL or node.op == "fails":
            return found
        if node.op in ("and", "or"):
            told = self._ranges(node)
            return self._constant(node) or self._redundant(node) if told is None else told
        if node.op in _COMPARISONS and node.args[0] == node.args[1] and not isinstance(node.args[0], Const):
            self._add("redundant-condition", node.span, "this compares something with itself")
            return True
        return not self.cases.free(node) and self._constant(node)

    def _ranges(self, node: Op) -> bool | None:
        """The frequent chains, cheaply: parts about different inputs, and ranges of one (&&); None: another."""
        ranges: dict[Key, list[tuple[Node, Values]]] = {}
        others: list[Node] = []
        for arg in node.args:
            simple = self.cases.simple(arg)
            if simple is None or simple.atom is None:
                others.append(arg)
            else:
                ranges.setdefault(simple.atom.key, []).append((arg, simple.atom.values))
        if others or any(isinstance(key, int) for key in ranges):
            firsts = [same[0][0] for same in ranges.values()]
            if any(isinstance(arg, Const) for arg in others) or not self.cases.apart([*others, *firsts]):
                return None
        found = False
        for same in ranges.values():
            if len(same) > 1:
                if node.op == "or" or reduce(Values.meet, (values for _, values in same)).empty:
                    return None
                found |= self._implied(True, same)
        return found

    def _constant(self, node: Op) -> bool:
        if not self._possible(node, True):
            self._add("always-false", node.span, "this can never be true", self._why(node))
        elif not self._possible(node, False):
            self._add("always-true", node.span, "this is true whenever nothing that it reads is missing")
        else:
            return False
        return True

    def _why(self, node: Op) -> str:
        """The input of which no value will do, where it is a single one."""
        cases = self.cases
        cases.clash = 0
        if node.op == "and":
            parts = [cases.holds(arg, True) for arg in node.args]
            cases.both([*parts, self.given] if all(len(part) == 1 for part in parts) else [])
        elif (atom := cases.atom(node)) is not None:
            cases.clash = atom.key
        return f"no value of {cases.clash} will do" if isinstance(cases.clash, str) else ""

    def _possible(self, node: Op, want: bool) -> bool:
        if not self.given[0]:
            return self.cases.possible(node, want)
        return bool(self.cases.both((self.cases.holds(node, want), self.given)))

    def _redundant(self, node: Op) -> bool:
        """Parts of a chain that the others imply (&&), or that imply another (||)."""
        atoms: dict[Key, list[tuple[Node, Values]]] = {}
        seen: set[Node] = set()
        found = False
        for arg in node.args:
            atom = self.cases.atom(arg)
            if atom is not None:
                atoms.setdefault(atom.key, []).append((arg, atom.values))
            elif isinstance(arg, Const) or arg in seen:
                self._add("redundant-condition", arg.span, "this changes nothing here")
                found = True
            else:
                seen.add(arg)
        for same in atoms.values():
            if len(same) > 1:
                found |= self._implied(node.op == "and", same)
        return found

    def _implied(self, all_of: bool, same: list[tuple[Node, Values]]) -> bool:
        """Conditions on one term: tells those that change nothing, each time without those told before."""
        count = len(same)
        for arg, values in reversed(same[:]):
            others = [v for a, v in same if a is not arg]
            if not others:
                break
            rest = reduce(Values.meet if all_of else Values.join, others)
            if rest.within(values) if all_of else values.within(rest):
                self._add("redundant-condition", arg.span, "the rest of the condition says this already")
                same = [(a, v) for a, v in same if a is not arg]
        return len(same) < count

    def _add(self, code: str, span: Span, message: str, found: str = "") -> None:
        self.problems.append(Problem(code, span, message, found, severity=WARNING))
