"""Functions and macros that run between kernels: what is evaluated how often, and limits."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from engine.compiler import instructions, stages
from engine.compiler.functions import TABLE
from engine.compiler.instructions import TooLarge
from engine.compiler.lowering import lower_roots
from engine.compiler.nodes import Const, Node, Op, Ref, Type, Var
from engine.compiler.plan import Batch
from engine.compiler.program import Root

sys.path.insert(0, str(Path(__file__).parent))
from expressions import EVENTS, S

CITY, TAGS = Ref(Type.TEXT, "event.city", S), Ref(Type.TEXTS, "event.tags", S)
TAG = Var(Type.TEXT, 0, "t", S)


def text(value: str) -> Const:
    return Const(Type.TEXT, value, S)


def lowered(node: Node) -> Node:
    return Op(Type.TEXT, "lower_ascii", (node,), S)


def exists(body: Node) -> Node:
    return Op(Type.BOOL, "exists", (TAGS, body), S)


def batch(roots: list[Root], types: list[str], inputs: list[dict[str, object]]) -> Batch:
    return lower_roots(roots, EVENTS).batch(types, inputs, [0] * len(types), [None] * len(types))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What `lower_ascii` was called with."""
    seen: list[str] = []
    original = TABLE["lower_ascii", Type.TEXT]

    def counting(value: str) -> str:
        seen.append(value)
        return str(original(value))

    monkeypatch.setitem(TABLE, ("lower_ascii", Type.TEXT), counting)
    return seen


def test_a_function_runs_once_for_distinct_texts_of_all_batches(calls: list[str]) -> None:
    plan = lower_roots([Root(lowered(CITY), None), Root(lowered(CITY), ("login",))], EVENTS)
    for _ in range(2):
        inputs = [{"event.city": city} for city in ("Oslo", "Rome", "Oslo")]
        found = plan.batch(["login"] * 3, inputs, [0] * 3, [None] * 3)
        assert [found.value(0, i) for i in range(3)] == ["oslo", "rome", "oslo"]
    assert calls == ["Oslo", "Rome"]


def test_what_an_event_type_does_not_need_is_not_computed(calls: list[str]) -> None:
    found = batch(
        [Root(lowered(CITY), ("login",))], ["deposit", "login"], [{"event.city": "Oslo"}, {"event.city": "Rome"}]
    )
    assert calls == ["Rome"]
    assert (found.value(0, 0), found.value(0, 1)) == (None, "rome")


def test_functions_of_one_text_are_one_stage_and_of_several_a_stage_each() -> None:
    same = Op(Type.BOOL, "contains", (lowered(CITY), text("o")), S)
    joined = Op(Type.TEXT, "concat", (lowered(CITY), Ref(Type.TEXT, "event.b", S)), S)
    assert len(lower_roots([Root(same, None)], EVENTS).machine.stages) == 1
    assert len(lower_roots([Root(joined, None)], EVENTS).machine.stages) == 2


def test_arguments_that_are_inputs_need_no_kernel() -> None:
    (stage,) = lower_roots([Root(lowered(CITY), None)], EVENTS).machine.stages
    assert stage.tables is None


def test_remembered_results_are_bounded(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "REMEMBERED_MAX", 1_100)  # bytes: two results
    plan = lower_roots([Root(lowered(CITY), None)], EVENTS)
    for city in ("A", "B", "A", "C", "A"):
        assert plan.batch(["login"], [{"event.city": city}], [0], [None]).value(0, 0) == city.lower()
    assert calls == ["A", "B", "C", "A"]  # C found no room, so all was forgotten


def test_many_patterns_over_one_text_are_those_one_by_one() -> None:
    patterns = ["^a", "b$", "", "[0-9]{2}", "(?i)OSLO", "x|y", "ü"]
    roots = [Root(Op(Type.BOOL, "matches", (CITY, text(pattern)), S), None) for pattern in patterns]
    cities = ["a", "ab", "", "77", "Oslo", "xü", "a" * 1000 + "b"]
    found = batch(roots, ["login"] * len(cities), [{"event.city": city} for city in cities])
    for number, pattern in enumerate(patterns):
        matches = TABLE["matches", Type.TEXT]
        assert [found.truth(number, i) for i in range(len(cities))] == [matches(city, pattern) for city in cities]


def test_macros_over_one_list_share_their_lanes() -> None:
    bodies = [Op(Type.BOOL, "starts_with", (TAG, text(letter)), S) for letter in "abc"]
    plan = lower_roots([Root(exists(body), None) for body in bodies], EVENTS)
    (stage,) = plan.machine.stages
    assert len(stage.calls) == 1
    found = plan.batch(["login"] * 2, [{"event.tags": ("xa", "bx")}, {}], [0] * 2, [None] * 2)
    assert [found.truth(number, 0) for number in range(3)] == [False, True, False]
    assert [found.truth(number, 1) for number in range(3)] == [None] * 3


def test_lists_of_every_length_up_to_the_limit_next_to_each_other() -> None:
    body = Op(Type.BOOL, "eq", (TAG, CITY), S)
    chance = random.Random(1)
    inputs: list[dict[str, object]] = []
    for size in [0, 1, 63, 64, 65, 256, 257, 2]:
        tags = tuple(chance.choice("abcdefgh") for _ in range(size))
        inputs.append({"event.tags": tags, "event.city": chance.choice("abcdefghi")})
    found = batch([Root(exists(body), None)], ["login"] * len(inputs), inputs)
    for i, event in enumerate(inputs):
        tags = event["event.tags"]
        assert isinstance(tags, tuple)
        assert found.truth(0, i) == (None if len(tags) > 256 else event["event.city"] in tags)


def test_a_constant_list_is_unrolled() -> None:
    three = Const(Type.TEXTS, ("a", "b", "c"), S)
    some = Op(Type.BOOL, "exists", (three, Op(Type.BOOL, "eq", (TAG, CITY), S)), S)
    plan = lower_roots([Root(some, None)], EVENTS)
    assert plan.machine.stages == ()
    assert plan.batch(["login"], [{"event.city": "b"}], [0], [None]).truth(0, 0) is True


def test_too_much_to_unroll_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions, "UNROLLED_MAX", 5)
    six = Const(Type.TEXTS, tuple("abcdef"), S)
    with pytest.raises(TooLarge, match="run over more than 5 elements"):
        lower_roots([Root(Op(Type.BOOL, "all", (six, Op(Type.BOOL, "eq", (TAG, CITY), S)), S), None)], EVENTS)


def test_too_many_stages_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions, "STAGES_MAX", 4)
    node: Node = CITY
    for name in "abcd":
        node = Op(Type.TEXT, "concat", (node, Ref(Type.TEXT, f"event.{name}", S)), S)
    with pytest.raises(TooLarge, match="more than 4 stages"):
        lower_roots([Root(node, None)], EVENTS)


def test_a_table_of_a_thousand_rows() -> None:
    number = Ref(Type.INTEGER, "event.n", S)
    args: list[Node] = []
    for row in range(1000):
        args += (Op(Type.BOOL, "eq", (number, Const(Type.INTEGER, row, S)), S), Const(Type.INTEGER, row * 7, S))
    table = Op(Type.INTEGER, "switch", (*args, Const(Type.INTEGER, -1, S)), S)
    found = batch([Root(table, None)], ["login"] * 4, [{"event.n": n} for n in (0, 500, 999)] + [{"event.n": 1000}])
    assert [found.value(0, i) for i in range(4)] == [0, 3500, 6993, -1]
