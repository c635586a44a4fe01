"""When conditions can hold: never wrong against the twin, and exact where the work is not bounded."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator
from functools import reduce

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench import generate
from engine.compiler import ruleset
from engine.compiler.analysis import analyse
from engine.compiler.analysis.cases import Cases
from engine.compiler.analysis.constant import constant
from engine.compiler.analysis.reach import Audiences
from engine.compiler.analysis.values import Values, everything
from engine.compiler.analysis.ways import implied
from engine.compiler.nodes import SCALARS, Const, Fact, Node, Op, Ref, Span, Type
from engine.compiler.reference import Absent, Defaulted, Failure, Inputs, evaluate
from engine.compiler.scopes import walk
from tests.compiler.expressions import NOW_NS, ZONES, Maker

MISSING = Absent("DATA_MISSING")
CONSTANTS: dict[Type, tuple[object, ...]] = {
    Type.INTEGER: (-1, 0, 2, 3),
    Type.NUMBER: (-0.0, 0.0, 2.0, math.nextafter(2.0, 3.0), math.inf, math.nan),
    Type.TEXT: ("", "a", "a\0", "b"),
    Type.BOOL: (False, True),
}
EDGES: dict[Type, tuple[object, ...]] = {
    Type.INTEGER: (-(2**63), -2, -1, 0, 1, 2, 3, 4, 2**63 - 1),
    Type.NUMBER: (-math.inf, -1.0, -5e-324, 0.0, 5e-324, 1.0, 2.0, math.nextafter(2.0, 3.0), 3.0, math.inf, math.nan),
    Type.TEXT: ("", "\0", "a", "a\0", "aa", "b", "b\0", "c"),
    Type.BOOL: (False, True),
}


class Small:
    """Conditions over one or two inputs of each type, close to the same constants: often constant ones.

    `plain` ones compare one input with constants.
    """

    def __init__(
        self, seed: int, kinds: tuple[Type, ...] = (Type.INTEGER, Type.NUMBER, Type.TEXT), plain: bool = False
    ) -> None:
        self.rng = random.Random(seed)
        self.plain = plain
        self.kinds = kinds
        self.spans = itertools.count()

    def span(self) -> Span:
        at = next(self.spans)
        return Span(at, at + 1)

    def op(self, op: str, *args: Node, kind: Type = Type.BOOL) -> Op:
        return Op(kind, op, args, self.span())

    def ref(self, kind: Type) -> Ref:
        return Ref(kind, f"features.{kind}{'' if self.plain else self.rng.choice('xxy')}", self.span())

    def const(self, kind: Type) -> Const:
        return Const(kind, self.rng.choice(CONSTANTS[kind]), self.span())

    def term(self, kind: Type, depth: int) -> Node:
        chance = 1.0 if self.plain else self.rng.random()
        if depth and chance < 0.15:
            condition, a, b = self.condition(depth - 1), self.term(kind, depth - 1), self.term(kind, depth - 1)
            if chance < 0.05:
                return self.op("switch", condition, a, self.condition(depth - 1), b, self.const(kind), kind=kind)
            return self.op("cond", condition, a, b, kind=kind)
        return self.const(kind) if chance < 0.2 else self.ref(kind)

    def atom(self, depth: int) -> Node:
        kind = self.rng.choice(self.kinds)
        chance = self.rng.random()
        if chance < 0.1:
            return self.op("has", self.ref(kind))
        if chance < 0.2:
            items = tuple(self.rng.choice(CONSTANTS[kind]) for _ in range(self.rng.randrange(4)))
            return self.op("in", self.term(kind, depth), Const(kind.listed, items, self.span()))
        op = self.rng.choice(("eq", "ne", "lt", "le", "gt", "ge"))
        right = self.const(kind) if self.plain or chance < 0.9 else self.ref(kind)
        return self.op(op, self.term(kind, depth), right)

    def condition(self, depth: int) -> Node:
        chance = self.rng.random()
        if depth == 0 or chance < 0.2:
            return self.atom(depth)
        if chance < 0.7:
            args = [self.condition(depth - 1) for _ in range(self.rng.choice((2, 2, 3, 4)))]
            return self.op(self.rng.choice(("and", "or")), *args)
        if chance < 0.8:
            return Fact(Type.BOOL, "facts.f", self.condition(depth - 1), self.span())
        if chance < 0.9:
            return self.op("not", self.condition(depth - 1))
        return self.op("cond", *(self.condition(depth - 1) for _ in range(3)))


def cases(guarded: bool = False) -> Cases:
    return Cases(lambda ref: everything(ref.type), lambda _: guarded)


def refs(node: Node) -> dict[str, Type]:
    if isinstance(node, Ref):
        return {node.path: node.type}
    args = (node.node,) if isinstance(node, Fact) else node.args if isinstance(node, Op) else ()
    return {path: kind for arg in args for path, kind in refs(arg).items()}


def worlds(node: Node, extra: tuple[object, ...] = (MISSING,)) -> Iterator[Inputs]:
    """Every combination of edge values of the inputs, missing ones included."""
    read = refs(node)
    for values in itertools.product(*((*EDGES[kind], *extra) for kind in read.values())):
        yield Inputs(dict(zip(read, values, strict=True)), NOW_NS, "UTC")


def results(node: Node, extra: tuple[object, ...] = (MISSING,)) -> set[object]:
    found = (evaluate(node, inputs) for inputs in worlds(node, extra))
    return {"error" if isinstance(value, Failure) else value for value in found}


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32))
def test_what_is_called_impossible_never_happens(seed: int) -> None:
    """Inputs as they come: whether has() is true goes with the value, or not (`guarded` off)."""
    node = Small(seed, (Type.INTEGER, Type.TEXT)).condition(3)
    for guarded, extra in ((True, (MISSING,)), (False, (MISSING, Absent("DATA_STALE", has=True), Defaulted(2)))):
        if len(refs(node)) > 2:
            return
        kept = [e for e in extra if not isinstance(e, Defaulted) or set(refs(node).values()) == {Type.INTEGER}]
        happens = results(node, tuple(kept))
        for want in (True, False):
            assert want not in happens or cases(guarded).holds(node, want)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32))
@example(1934)  # (fails(..) || has(..) || error) in []
def test_what_is_called_impossible_never_happens_in_any_expression(seed: int) -> None:
    maker = Maker(seed, 4)
    node = maker.node(Type.BOOL)
    able = {want: cases().possible(node, want) for want in (True, False)}
    for _ in range(20):
        value = evaluate(node, Inputs(maker.inputs(), NOW_NS, maker.rng.choice(ZONES)))
        assert isinstance(value, Failure) or able[bool(value)]


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from((Type.INTEGER, Type.NUMBER, Type.TEXT)))
def test_exact_for_conditions_on_one_input(seed: int, kind: Type) -> None:
    """What never happens for the edges of all constants is called impossible."""
    node = Small(seed, (kind,), plain=True).condition(2)
    happens = results(node)
    for want in (True, False):
        assert bool(cases(guarded=True).holds(node, want)) == (want in happens)


def without(node: Node, spans: set[Span]) -> Node | None:
    """The expression without the parts at these places, which stand in chains."""
    if node.span in spans:
        return None
    if not isinstance(node, Op):
        return node
    args = [arg for a in node.args if (arg := without(a, spans)) is not None]
    return args[0] if len(args) < len(node.args) and len(args) == 1 else Op(node.type, node.op, tuple(args), node.span)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32))
def test_a_redundant_part_can_be_left_out(seed: int) -> None:
    small = Small(seed, (Type.INTEGER,))
    node = small.op(small.rng.choice(("and", "or")), *(small.condition(small.rng.choice((0, 0, 1))) for _ in range(4)))
    if len(refs(node)) > 2:
        return
    told = [p for p in constant(cases(True), node) if p.code == "redundant-condition"]
    spans = {p.span for p in told if "itself" not in p.message}
    less = without(node, spans)
    assert less is not None
    for inputs in worlds(node):
        before, after = evaluate(node, inputs), evaluate(less, inputs)
        assert before == after or (isinstance(before, Failure) and isinstance(after, Failure))


def slowly_implied(sets: list[Values]) -> tuple[int, ...] | None:
    """What `implied` says, set by set."""
    if reduce(Values.meet, sets).empty:
        return None
    told: list[int] = []
    for i in reversed(range(len(sets))):
        rest = [s for k, s in enumerate(sets) if k != i and k not in told]
        if rest and reduce(Values.meet, rest).within(sets[i]):
            told.append(i)
    return tuple(told)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from((Type.INTEGER, Type.NUMBER, Type.TEXT)), st.booleans())
def test_what_is_implied_set_by_set(seed: int, kind: Type, want: bool) -> None:
    small, known = Small(seed, (kind,), plain=True), cases()
    simples = [known.simple(small.atom(0)) for _ in range(small.rng.randrange(2, 6))]
    same = [s for s in simples if s is not None and s.true and s.false]
    sets = [s.yes if want else s.no for s in same]
    if sets:
        assert known.implied(same, want) == implied(sets) == slowly_implied(sets)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32))
def test_chains_are_judged_as_the_whole_would_be(seed: int) -> None:
    """The shortcuts against the ways of the whole chain: what is told of it is so, and silence means neither."""
    small, known = Small(seed, plain=seed % 2 == 0), cases(guarded=True)
    op = small.rng.choice(("and", "or"))
    node = small.op(op, *(small.atom(small.rng.choice((0, 0, 0, 1))) for _ in range(small.rng.randrange(2, 7))))
    if small.rng.random() < 0.3:
        node = small.op(small.rng.choice(("and", "or")), node, small.atom(0), small.atom(0))
    told = constant(known, node)
    for problem in told:
        if problem.span == node.span and problem.code != "redundant-condition":
            assert not known.holds(node, problem.code == "always-false")
    if not told:
        assert known.holds(node, True)
        assert known.holds(node, False)
    assert known.reads(node) == {n.path for n in walk(node) if isinstance(n, Ref)}


@pytest.mark.parametrize("seed", range(3))
def test_messages_that_agree_at_a_glance_agree_in_full(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = ruleset.load(generate.rules(150, seed).files)
    quick = analyse(rules)
    monkeypatch.setattr(Audiences, "_agree", lambda *_: False)
    assert analyse(rules) == quick


def test_deep_and_wide_conditions_are_worked_out_in_bounds() -> None:
    small = Small(1, (Type.INTEGER,))
    alternatives = [
        small.op("or", *(small.op("eq", Ref(Type.INTEGER, f"features.x{i}", small.span()), small.const(Type.INTEGER))
                         for _ in range(6)))
        for i in range(12)
    ]  # fmt: skip
    wide = small.op("and", *alternatives)
    assert cases().holds(wide, True)
    before_all = small.op("lt", Ref(Type.TEXT, "features.t", small.span()), Const(Type.TEXT, "", small.span()))
    assert not cases().holds(small.op("and", wide, before_all), True)
    deep: Node = wide
    for i in range(64):
        deep = small.op(("not", "and", "cond")[i % 3], *([deep] * (1, 2, 3)[i % 3]))
    assert isinstance(cases().possible(deep, True), bool)


@pytest.mark.parametrize("kind", [k for k in SCALARS if k is not Type.BOOL], ids=str)
def test_two_inputs_have_one_order(kind: Type) -> None:
    small = Small(1)
    a, b = Ref(kind, "features.a", Span(0, 0)), Ref(kind, "features.b", Span(0, 0))
    less, more = small.op("lt", a, b), small.op("gt", a, b)
    assert not cases().holds(small.op("and", less, small.op("le", b, a)), True)
    assert not cases().holds(small.op("and", less, more), True)
    either = small.op("or", less, small.op("ge", a, b))
    assert bool(cases().holds(either, False)) == (kind is Type.NUMBER)  # NaN is neither
