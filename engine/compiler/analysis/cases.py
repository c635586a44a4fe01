"""When a condition can hold: every way in which it can, as values that its terms must have.

Sound one way: an empty list of ways means that there is none, for any inputs. Work is bounded, and
where the bound is reached a constraint is dropped, which only makes more seem possible.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from engine.compiler.analysis.terms import FLIPPED, computable, divides_by_zero, split
from engine.compiler.analysis.values import ANYTHING, Values, between, compared, everything
from engine.compiler.analysis.ways import ALWAYS, NEVER, WAYS_MAX, Joining, Key, Way, Ways, implied
from engine.compiler.nodes import Const, Fact, Node, Op, Ref, Type

_COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
_ARITHMETIC = ("add", "sub", "mul", "neg")
_LAZY = ("and", "or", "fails")  # they may have a value where a part of them has none
_MACROS = ("all", "exists", "exists_one", "filter", "map")
NOTHING: frozenset[str] = frozenset()
_TRUE, _FALSE = between(1, 1), between(0, 0)


class Atom(NamedTuple):
    """A condition that is true just where one term has one of some values, and an error just where it has none."""

    key: Key
    values: Values


class Simple(NamedTuple):
    """An input compared with a constant, or a flag: most conditions are that, and many are the same.

    `yes` and `no` are the values for which it is true and false, `true` and `false` the ways to that.
    """

    path: str
    type: Type
    yes: Values
    no: Values
    true: Ways
    false: Ways
    open: bool  # it can be true, and it can be false


class Chain(NamedTuple):
    """The parts of && or ||: those on one input alone, by its path, and all others.

    `plain`: every one of the former is open, and no two of them are on the same input.
    """

    alike: dict[str, list[tuple[Node, Simple]]]
    others: list[Node]
    plain: bool


def has_key(path: str) -> str:
    """The term that stands for has() of an input."""
    return f"has({path})"


class Cases(Joining):
    """Works out when conditions of one rule set can hold.

    `domain` says which values an input may have; `guarded` whether it has a value just where has()
    says so. `inputs` and `facts` are those that `reads` has come upon. Expressions are known by
    identity: they must live as long as this.
    """

    def __init__(self, domain: Callable[[Ref], Values], guarded: Callable[[str], bool]) -> None:
        super().__init__()
        self.domain = domain
        self.guarded = guarded
        self.inputs: set[str] = set()
        self.facts: set[str] = set()
        self._reads: dict[int, frozenset[str]] = {}
        self._chains: dict[int, Chain] = {}
        self._numbers: dict[object, int] = {}
        self._of_facts: dict[tuple[int, Values | None], Ways] = {}  # facts of facts: each is walked once
        self._memo: dict[tuple[int, bool], Ways] = {}
        self._simple: dict[tuple[str, ...], Simple] = {}
        self._said: dict[tuple[bool, tuple[int, ...]], tuple[int, ...] | None] = {}
        self._sides: dict[tuple[str, Type, str], bool] = {}
        self._present: dict[tuple[str, Type], Ways] = {}

    # conditions

    def holds(self, node: Node, want: bool) -> Ways:
        """The ways in which a condition can be `want`, and no error."""
        simple = self.simple(node)
        if simple is not None:
            return simple.true if want else simple.false
        memo = (id(node), want)
        known = self._memo.get(memo)
        if known is None:
            known = self._memo[memo] = self._holds(node, want)
        return known

    def possible(self, node: Node, want: bool) -> bool:
        """Whether there are such ways."""
        if isinstance(node, Op) and node.op in ("and", "or") and (node.op == "and") != want:
            return any(self.possible(arg, want) for arg in node.args)
        return bool(self.holds(node, want))

    def simple(self, node: Node) -> Simple | None:
        """All about a condition on one input, where it is as plain as that."""
        if type(node) is Op:
            if len(node.args) != 2:
                return None
            left, right = node.args
            if type(left) is not Ref or type(right) is not Const:
                return None
            key: tuple[str, ...] = (node.op, left.path, right.key)
        elif type(node) is Ref and node.type is Type.BOOL:
            left, key = node, ("", node.path, "")
        else:
            return None
        known = self._simple.get(key)
        if known is not None and known.type is not left.type:  # event types may differ in an attribute's
            key = (*key, str(left.type))
            known = self._simple.get(key)
        if known is None:
            known = self._compared(node, left)
            if known is not None:
                self._simple[key] = known
        return known

    def chain(self, node: Op) -> Chain:
        """A chain of && or ||, sorted out."""
        known = self._chains.get(id(node))
        if known is None:
            known = self._chains[id(node)] = self._sorted(node)
        return known

    def _sorted(self, node: Op) -> Chain:
        alike: dict[str, list[tuple[Node, Simple]]] = {}
        others: list[Node] = []
        plain = True
        for arg in node.args:
            simple = self.simple(arg)
            if simple is None:
                others.append(arg)
            elif (same := alike.get(simple.path)) is None:
                alike[simple.path] = [(arg, simple)]
                if not simple.open:
                    plain = False
            else:
                same.append((arg, simple))
                plain = False
        return Chain(alike, others, plain)

    def reads(self, node: Node) -> frozenset[str]:
        """The paths of all inputs, those of facts included."""
        if isinstance(node, Ref):
            self.inputs.add(node.path)
            return frozenset((node.path,))
        if isinstance(node, Fact):
            self.facts.add(node.path)
            return self.reads(node.node)
        if not isinstance(node, Op):
            return NOTHING
        known = self._reads.get(id(node))
        if known is None:
            paths: set[str] = set()
            args: Iterable[Node] = node.args
            if node.op in ("and", "or"):
                alike, args, _ = self.chain(node)
                paths.update(alike)
            for arg in args:
                if type(arg) is Ref:
                    paths.add(arg.path)
                elif type(arg) is not Const:
                    paths |= self.reads(arg)
            known = self._reads[id(node)] = frozenset(paths)
            self.inputs |= paths
        return known

    def _compared(self, node: Ref | Op, term: Ref) -> Simple | None:
        values = _TRUE
        if isinstance(node, Op):
            compared_with = split(node) if node.op in _COMPARISONS or node.op == "in" else None
            if compared_with is None:
                return None
            values = compared_with[1]
        domain = self.domain(term)
        true, false = self.within(term, values), self.within(term, values.outside())
        yes, no = domain.meet(values), domain.meet(values.outside())
        return Simple(term.path, term.type, yes, no, true, false, bool(true and false))

    def _holds(self, node: Node, want: bool) -> Ways:
        if isinstance(node, Const):
            return ALWAYS if node.value is want else NEVER
        if isinstance(node, Fact):
            return self.holds(node.node, want)
        if not isinstance(node, Op):
            return self.within(node, _TRUE if want else _FALSE)
        op, args = node.op, node.args
        if op in ("and", "or"):
            alike, others, _ = self.chain(node)
            parts = [simple.true if want else simple.false for same in alike.values() for _, simple in same]
            parts += [self.holds(arg, want) for arg in others]
            return self.both(parts) if (op == "and") == want else self.either(parts)
        if op == "not":
            return self.holds(args[0], not want)
        if op in ("cond", "switch"):
            return self._chosen(node, lambda value: self.holds(value, want))
        if op in ("eq", "ne") and args[0].type is Type.BOOL:
            return self._equal(args[0], args[1], (op == "eq") == want)
        if op in _COMPARISONS or op == "in":
            return self._compare(node, want)
        if op == "has" and isinstance(args[0], Ref):
            path = args[0].path
            return NEVER if path == "now" and not want else [{has_key(path): _TRUE if want else _FALSE}]
        if op == "fails":
            return ALWAYS
        return self.within(node, _TRUE if want else _FALSE)

    def _equal(self, a: Node, b: Node, same: bool) -> Ways:
        return self.either(self.both((self.holds(a, v), self.holds(b, v == same))) for v in (True, False))

    def _chosen(self, node: Op, of: Callable[[Node], Ways]) -> Ways:
        """`cond` and `switch`: each value with its condition, the last where no condition holds."""
        if node.op == "cond":
            conditions, values = node.args[:1], node.args[1:]
        else:
            conditions, values = node.args[:-1:2], (*node.args[1:-1:2], node.args[-1])
        if len(conditions) > WAYS_MAX:  # a large decision table, which is looked through by itself
            return ALWAYS if any(of(value) for value in values) else NEVER
        ways = [self.both((self.holds(c, True), of(v))) for c, v in zip(conditions, values, strict=False)]
        last = self.both((*(self.holds(c, False) for c in conditions), of(values[-1])))
        return self.either((*ways, last))

    # the frequent cases, cheaply

    def parts_on(self, node: Node, path: str) -> list[Simple] | None:
        """All that a condition asks of an input, where these are parts of its && on that input alone."""
        simple = self.simple(node)
        if simple is not None:
            return [simple]
        if not isinstance(node, Op) or node.op != "and":
            return None
        chain = self.chain(node)
        if any(path in self.reads(arg) for arg in chain.others):
            return None
        return [simple for _, simple in chain.alike.get(path, ())]

    def implied(self, same: Sequence[Simple], want: bool) -> tuple[int, ...] | None:
        """Conditions on one input that are all to be `want`: the indexes of those that the others imply.

        From the last on, each without those told before; None where not all can be so at once.
        """
        key = (want, tuple(map(id, same)))
        if key not in self._said:
            self._said[key] = implied([simple.yes if want else simple.no for simple in same])
        return self._said[key]

    def free(self, node: Op) -> bool:
        """Whether a sum or product of inputs compared with a constant may lie on either side."""
        if node.op not in _COMPARISONS:
            return False
        left, right = node.args
        if type(right) is not Const or type(left) is not Op or left.type.element is not None:
            return False
        key = (node.op, left.type, right.key)
        sides = self._sides.get(key)
        if sides is None:
            every, values = everything(left.type), compared(left.type, node.op, right.value)
            sides = not every.meet(values).empty and not every.meet(values.outside()).empty
            self._sides[key] = sides
        return sides and self._computable(left)

    def _computable(self, node: Node) -> bool:
        """Whether it is made of inputs that can have values, constants and arithmetic on them."""
        if type(node) is Op:
            return node.op in _ARITHMETIC and all(self._computable(arg) for arg in node.args)
        return type(node) is Const or (type(node) is Ref and bool(self.valued(node)))

    # comparisons

    def _compare(self, node: Op, want: bool) -> Ways:
        found = split(node)
        if found is not None:
            term, values = found
            return self.within(term, values if want else values.outside())
        atom = self._atom(node, want)
        if atom is None:
            return self.within(node, _TRUE if want else _FALSE)
        if atom.values.empty:
            return NEVER
        return self.both(([{atom.key: atom.values}], *map(self.valued, node.args)))

    def atom(self, node: Node, want: bool = True) -> Atom | None:
        """That a condition is `want`, as exactly one term and its values, or None where it is more than that."""
        simple = self.simple(node)
        if simple is None:
            return self._atom(node, want)
        return Atom(simple.path, simple.yes if want else simple.no)

    def _atom(self, node: Node, want: bool) -> Atom | None:
        while isinstance(node, Fact) or (isinstance(node, Op) and node.op == "not"):
            if isinstance(node, Fact):
                node = node.node
            else:
                node, want = node.args[0], not want
        if isinstance(node, Ref):
            return Atom(node.path, self.domain(node).meet(_TRUE if want else _FALSE))
        if not isinstance(node, Op):
            return None
        if node.op in _COMPARISONS and node.args[0].type is not Type.BOOL and split(node) is None:
            return self._signed(node, want)
        if node.op not in _COMPARISONS and node.op != "in":
            return None
        found = split(node)
        if found is None:
            return None
        term, values = found
        while isinstance(term, Fact):
            term = term.node
        if isinstance(term, Const) or (isinstance(term, Op) and term.op in ("cond", "switch", "fail")):
            return None
        allowed = self._allowed(term)
        return Atom(self._key(term), allowed.meet(values if want else values.outside()))

    def _signed(self, node: Op, want: bool) -> Atom:
        """A comparison of two terms, as the sign of the first less the second: -1, 0, 1 or NaN."""
        (a, b), op = node.args, node.op
        if hash(a) > hash(b):
            a, b, op = b, a, FLIPPED[op]
        nan = a.type in (Type.NUMBER, Type.NUMBERS)
        possible = Values(False, (0, 1) if a == b else (-1, 2), nan)
        values = compared(Type.INTEGER, op, 0)
        if op == "ne":
            values = Values(values.first, values.cuts, True)
        return Atom(self._number((a, b)), possible.meet(values if want else values.outside()))

    # terms

    def within(self, term: Node, values: Values) -> Ways:
        """The ways in which a term has one of the values."""
        if isinstance(term, Const):
            return ALWAYS if values.has(term.value) else NEVER
        if isinstance(term, Fact):
            if (known := self._of_facts.get((id(term.node), values))) is None:
                known = self._of_facts[id(term.node), values] = self.within(term.node, values)
            return known
        if isinstance(term, Op) and term.op in ("cond", "switch"):
            return self._chosen(term, lambda value: self.within(value, values))
        if isinstance(term, Op) and term.op == "fail":
            return NEVER
        if isinstance(term, Op) and (term.op in _LAZY or (term.op == "has" and isinstance(term.args[0], Ref))):
            return self.either([self.holds(term, value) for value in (True, False) if values.has(value)])
        allowed = self._allowed(term).meet(values)
        if allowed.empty:
            self.clash = self._key(term)
            return NEVER
        if isinstance(term, Ref):
            way: Way = {term.path: allowed}
            if self.guarded(term.path):
                way[has_key(term.path)] = _TRUE
            return [way]
        return self.both(([{self._key(term): allowed}], self._operands(term)))

    def valued(self, node: Node) -> Ways:
        """The ways in which an expression has a value and is no error."""
        if isinstance(node, Fact):
            if (known := self._of_facts.get((id(node.node), None))) is None:
                known = self._of_facts[id(node.node), None] = self.valued(node.node)
            return known
        if isinstance(node, Ref):
            key = (node.path, node.type)
            ways = self._present.get(key)
            if ways is None:
                ways = self._present[key] = self.within(node, ANYTHING)
            return ways
        if not isinstance(node, Op):
            return ALWAYS
        if node.op == "fail":
            return NEVER
        if node.type is Type.BOOL:
            return self.either((self.holds(node, True), self.holds(node, False)))
        if node.op in ("cond", "switch"):
            return self._chosen(node, self.valued)
        return self._operands(node)

    def _operands(self, node: Node) -> Ways:
        """The ways in which what a strict operation is made from has values."""
        if not isinstance(node, Op) or node.op == "collect":
            return ALWAYS
        if divides_by_zero(node):
            return NEVER
        args: Sequence[Node] = node.args[:1] if node.op in _MACROS else node.args
        return self.both([self.valued(arg) for arg in args])

    def _allowed(self, term: Node) -> Values:
        """All values that a term may have."""
        return self.domain(term) if isinstance(term, Ref) else computable(term)

    def _key(self, term: Node) -> Key:
        return term.path if isinstance(term, Ref) else self._number(term)

    def _number(self, term: object) -> int:
        return self._numbers.setdefault(term, len(self._numbers))
