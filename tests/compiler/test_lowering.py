"""Lowered plans against the slow twin: every root of every event, and the funnel."""

from __future__ import annotations

import math
import struct
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.compiler import instructions
from engine.compiler.lowering import lower, lower_roots
from engine.compiler.model import RuleSet
from engine.compiler.nodes import Const, Node, Op, Ref, Type
from engine.compiler.program import Batch, Plan, Program, Root
from engine.compiler.reference import Defaulted, Failure, Inputs, evaluate
from engine.compiler.ruleset import load
from engine.errors import RulesInvalid

sys.path.insert(0, str(Path(__file__).parent))
from expressions import EVENTS, INT_MAX, LISTS, NOW_NS, NS, SCALARS, ZONES, Maker, S

SEEDS = st.integers(0, 2**32)


class Events:
    """A batch's arguments, and what the twin says of them."""

    def __init__(self, make: Maker, size: int) -> None:
        r = make.rng
        self.types = [r.choice((*EVENTS, "unknown_type")) for _ in range(size)]
        self.inputs = [make.inputs() for _ in range(size)]
        self.now_ns = [make.time() if r.random() < 0.3 else NOW_NS for _ in range(size)]
        self.zones = [r.choice(ZONES) for _ in range(size)]

    def batch(self, plan: Plan) -> Batch:
        return plan.batch(self.types, self.inputs, self.now_ns, self.zones)

    def twin(self, node: Node, i: int) -> object:
        """The value, None for an error."""
        value = evaluate(node, Inputs(self.inputs[i], self.now_ns[i], self.zones[i]))
        return None if isinstance(value, Failure) else value


def same(a: object, b: object) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return (math.isnan(a) and math.isnan(b)) or struct.pack("<d", a) == struct.pack("<d", b)
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def assert_agree(events: Events, batch: Batch, roots: list[Root]) -> None:
    for number, root in enumerate(roots):
        read = batch.truth if root.node.type is Type.BOOL else batch.value
        for i, event_type in enumerate(events.types):
            wanted = root.on is None or event_type in root.on
            expected = events.twin(root.node, i) if wanted else None
            assert same(read(number, i), expected), (root.node, events.inputs[i])
    each = [(number, i) for number in range(len(roots)) for i in range(len(events.types))]
    together = batch.values_of(each)
    assert all(same(value, batch.value(*one)) for value, one in zip(together, each, strict=True))


@settings(max_examples=300, deadline=None)
@given(SEEDS, st.integers(0, 4), st.sampled_from((1, 2, 5, 30)))
def test_every_root_agrees_with_the_twin(seed: int, depth: int, size: int) -> None:
    make = Maker(seed, depth)
    roots = [Root(make.node(make.rng.choice((*SCALARS, *LISTS))), make.types_on()) for _ in range(30)]
    plan = lower_roots(roots, EVENTS)
    events = Events(make, size)
    assert_agree(events, events.batch(plan), roots)


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 130, 200])
def test_words_of_every_length(size: int) -> None:
    make = Maker(size, 3)
    roots = [Root(make.node(kind), make.types_on()) for kind in (*SCALARS, *LISTS) * 2]
    events = Events(make, size)
    plan = lower_roots(roots, EVENTS)
    assert_agree(events, events.batch(plan), roots)
    events.types = ["deposit"] * size
    assert_agree(events, events.batch(plan), roots)


def test_conditions_read_beside_numbers() -> None:
    """There are more conditions than values: their columns are none of values."""
    make = Maker(3, 2)
    roots = [Root(make.node(Type.BOOL), None) for _ in range(20)] + [Root(make.node(Type.NUMBER), None)]
    events = Events(make, 12)
    assert_agree(events, events.batch(lower_roots(roots, EVENTS)), roots)


def furthest(ruleset: RuleSet, events: Events, i: int) -> tuple[list[int], tuple[int, int] | None]:
    """The funnel as one would write it first."""
    candidates, best = [], None
    for index, message in enumerate(ruleset.messages.values()):
        if message.on is not None and events.types[i] not in message.on:
            continue
        product = ruleset.products[message.product] if message.product else None
        stage = 0
        if any(events.twin(c.expression.node, i) is not True for c in (product.eligible if product else ())):
            stage = 1
        elif message.when and events.twin(message.when.node, i) is not True:
            stage = 2
        elif message.unless and events.twin(message.unless.node, i) is not False:
            stage = 3
        if not stage:
            candidates.append(index)
            continue
        value = events.twin(message.value.node, i)
        number = float(value) if isinstance(value, int | float) and not math.isnan(value) else -math.inf
        key = (-stage, ruleset.purposes[message.purpose].tier, -number, message.name)
        if best is None or key < best[0]:
            best = (key, (index, stage))
    return candidates, None if best is None or candidates else best[1]


def named_roots(program: Program, ruleset: RuleSet) -> list[tuple[Plan, int, Node, tuple[str, ...] | None]]:
    """Every expression of the rule set, with where `root_of` says it is."""
    root_of, rules = program.root_of, program.rules
    found = []
    for window in ruleset.windows.values():
        for kind, expression in (("where", window.where), ("value", window.value)):
            if expression:
                number = root_of["window." + kind, window.name]
                found.append((program.windows, number, expression.node, (window.event,)))
    for message in ruleset.messages.values():
        parts = [
            ("message.when", message.name, message.when),
            ("message.unless", message.name, message.unless),
            ("message.value", message.name, message.value),
            ("message.about", message.name, message.about),
            *[("message.slot:" + message.name, s.name, s.expression) for s in message.slots.values()],
            *[("message.channel:" + message.name, c.channel, c.when) for c in message.channels],
            *[
                (f"policy.by:{message.policy}", str(place), by)
                for place, by in enumerate(ruleset.policies[message.policy].by if message.policy else ())
            ],
            *[
                (f"product.eligible:{message.product}", str(place), condition.expression)
                for place, condition in enumerate(ruleset.products[message.product].eligible if message.product else ())
            ],
        ]
        found += [(rules, root_of[kind, name], e.node, message.on) for kind, name, e in parts if e]
    for channel in ruleset.channels.values():
        if channel.when:
            found.append((rules, root_of["channel.when", channel.name], channel.when.node, None))
    return found


@settings(max_examples=200, deadline=None)
@given(SEEDS, st.integers(0, 3), st.integers(0, 20), st.sampled_from((1, 40, 90)))
def test_rule_sets_agree_with_the_twin(seed: int, depth: int, messages: int, size: int) -> None:
    make = Maker(seed, depth)
    ruleset = make.ruleset(messages)
    program = lower(ruleset)
    events = Events(make, size)
    batches = {plan: events.batch(plan) for plan in (program.windows, program.rules)}
    for plan, number, node, on in named_roots(program, ruleset):
        read = batches[plan].truth if node.type is Type.BOOL else batches[plan].value
        for i in range(0, size, 7):
            if on is None or events.types[i] in on:
                assert same(read(number, i), events.twin(node, i))
    funnel = program.funnel(batches[program.rules])
    for i in range(size):
        assert (funnel.candidates(i), funnel.furthest(i)) == furthest(ruleset, events, i)


def test_more_candidates_than_room() -> None:
    make = Maker(1, 0)
    ruleset = make.ruleset(100)
    for message in ruleset.messages.values():
        for name in ("product", "when", "unless", "on"):
            object.__setattr__(message, name, None)
    program = lower(ruleset)
    events = Events(make, 70)
    funnel = program.funnel(events.batch(program.rules))
    assert all(funnel.candidates(i) == list(range(100)) for i in range(70))
    assert all(funnel.furthest(i) is None for i in range(70))


def test_paths_are_those_an_event_type_reads() -> None:
    amount, city, now = (
        Ref(Type.NUMBER, "event.amount", S),
        Ref(Type.TEXT, "features.city", S),
        Ref(Type.TIME, "now", S),
    )
    plan = lower_roots([Root(amount, ("deposit",)), Root(city, None), Root(now, ("login",))], EVENTS)
    assert plan.paths["deposit"] == ("event.amount", "features.city")
    assert plan.paths["login"] == ("features.city", "now")
    assert plan.paths["reply"] == plan.common_paths == ("features.city",)


def test_equal_sub_expressions_are_one_instruction() -> None:
    def tree() -> Node:
        a = Ref(Type.INTEGER, "event.a", S)
        return Op(Type.BOOL, "gt", (Op(Type.INTEGER, "add", (a, a), S), Const(Type.INTEGER, 3, S)), S)

    one = lower_roots([Root(tree(), None)], EVENTS)
    three = lower_roots([Root(tree(), None), Root(tree(), ("login",)), Root(tree(), None)], EVENTS)
    assert len(three.machine.tables.ins) == len(one.machine.tables.ins) == 2


def test_values_out_of_range_are_given_but_have_no_value() -> None:
    a, t = Ref(Type.INTEGER, "event.a", S), Ref(Type.TIME, "event.t", S)
    roots = [Root(a, None), Root(t, None), Root(Op(Type.BOOL, "has", (a,), S), None)]
    batch = lower_roots(roots, ()).batch(
        ["x"] * 2,
        [{"event.a": INT_MAX + 1, "event.t": 2**63 * NS}, {"event.a": Defaulted(2**64)}],
        [0, 0],
        [None, None],
    )
    assert [batch.value(0, 0), batch.value(1, 0), batch.truth(2, 0)] == [None, None, True]
    assert [batch.value(0, 1), batch.truth(2, 1)] == [None, False]


def test_values_of_another_type_are_refused() -> None:
    plan = lower_roots([Root(Ref(Type.INTEGER, "event.a", S), None)], ())
    with pytest.raises(TypeError, match="expected int, found str"):
        plan.batch(["x"], [{"event.a": "1"}], [0], [None])


def test_too_many_instructions_are_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions, "INSTRUCTIONS_MAX", 20)
    with pytest.raises(RulesInvalid) as refused:
        lower(Maker(3, 3).ruleset(20))
    (finding,) = refused.value.findings
    assert finding.code == "rules-too-large"
    assert finding.message == "the conditions need more than 20 instructions"


def test_what_was_too_much_is_told_at_its_place() -> None:
    joined = " + ".join(["features.a", "features.b"] * 120)
    messages = "".join(
        f"  m{k}:\n    purpose: service\n    when: {when}\n    channels: [push]\n    variants: {{v: {{en: x}}}}\n"
        for k, when in enumerate(["features.a != ''", f"'{joined} != \"\"'", "features.b != ''"])
    )
    rules = (
        "features: {a: text, b: text}\npurposes: {service: {consent: not_required, if_state_unknown: silent}}\n"
        f"channels: {{push: {{}}}}\nmessages:\n{messages}"
    )
    with pytest.raises(RulesInvalid) as refused:
        lower(load({"a.yaml": rules.encode()}))
    (finding,) = refused.value.findings
    assert finding.code == "rules-too-large"
    assert finding.position.line == rules.split("\n").index(f"    when: '{joined} != \"\"'") + 1
