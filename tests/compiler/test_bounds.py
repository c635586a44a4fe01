"""What small rule files could make large: facts of facts, tables in many messages, texts that never come again.

Most of these would not end, or not fit into memory, if they were not bounded.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine.compiler import document, ruleset, stages
from engine.compiler.checker import check
from engine.compiler.lowering import lower, lower_roots
from engine.compiler.model import RuleSet
from engine.compiler.names import Scope
from engine.compiler.nodes import Fact, Node, Op, Ref, Span, Type
from engine.compiler.program import Root
from engine.compiler.tables import coverage
from engine.errors import RulesInvalid

BASE = """
events:
  pay: {n: integer, s: text, b: bool, tags: texts}
  dep: {n: integer, s: text}
features: {age: integer, city: text}
purposes: {p: {consent: not_required}}
channels: {push: {}}
"""
S = Span(0, 0)


def message(when: str, name: str = "m") -> str:
    return (
        f"messages: {{{name}: {{purpose: p, on: [pay], channels: [push], when: '{when}', variants: {{v: {{en: x}}}}}}}}"
    )


def load(*texts: str, **tables: str) -> RuleSet:
    files = {f"{i}.yaml": text.encode() for i, text in enumerate((BASE, *texts))}
    return ruleset.load(files | {f"tables/{name}.csv": text.encode() for name, text in tables.items()})


def codes(*texts: str) -> list[str]:
    with pytest.raises(RulesInvalid) as refused:
        load(*texts)
    return [f.code for f in refused.value.findings]


def nested(first: str, step: str) -> str:
    """Sixteen facts, each made of the one before at every `@`."""
    lines = [f"  f0: '{first}'", *(f"  f{i}: '{step}'".replace("@", f"facts.f{i - 1}") for i in range(1, 16))]
    return "\n".join(["facts:", *lines])


@pytest.mark.parametrize(
    ("first", "step", "when"),
    [
        ('event.s + "a"', "@ + @ + @ + @ + @ + @ + @ + @", 'facts.f15 == "x"'),
        ("event.s + features.city", "@ + @ + @ + @ + @ + @ + @ + @", 'facts.f15 == "x"'),
        ("event.n", "@ + @ + @ > 1 ? @ + 1 : @ * @", "facts.f15 > 3"),
        ("event.b", "(@ && !@) || (@ == @) || (@ ? @ : !@)", "facts.f15"),
        ("event.tags", '(@ + @).filter(x, x != "a")', "size(facts.f15) > 3"),
    ],
)
def test_facts_of_facts_cost_what_they_are_long(first: str, step: str, when: str) -> None:
    rules = load(nested(first, step), message(when))
    assert len(lower(rules).rules.machine.tables.imm) < 200


def test_nodes_hash_without_walking_through_facts() -> None:
    node: Node = Ref(Type.BOOL, "event.b", S)
    for i in range(100):
        node = Fact(Type.BOOL, f"facts.f{i}", Op(Type.BOOL, "and", (node, node), S), S)
    assert node in {node}


def test_one_tree_serves_all_event_types_to_which_a_fact_means_the_same() -> None:
    both = message("facts.x > 1", "a") + "\n"
    other = message("facts.x > 1", "b").replace("[pay]", "[pay, dep]").removeprefix("messages: {").removesuffix("}")
    rules = load("facts: {x: event.n * 2}", both.replace("}}}}", "}}}, " + other + "}"))
    a, b = (rules.messages[name].when for name in "ab")
    assert a is not None
    assert b is not None
    assert isinstance(a.node, Op)
    assert isinstance(b.node, Op)
    assert isinstance(a.node.args[0], Fact)
    assert isinstance(b.node.args[0], Fact)
    assert a.node.args[0].node is b.node.args[0].node


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("event.b || facts.`b`", "event.b || facts.`a`"),
        ("event.b || .facts.b", "event.b || .facts.a"),
        ("event.b || facts //\n\n   .b", "event.b || facts //\n\n   .a"),
        ('event.s == r"\\" || facts.b', 'event.s == r"\\" || facts.a'),
        ('event.s == """a"b""" || facts.b', 'event.s == """a"b""" || facts.a'),
    ],
)
def test_no_way_of_writing_hides_a_circle(a: str, b: str) -> None:
    assert codes(f"facts:\n  a: '{a}'\n  b: '{b}'\n") == ["fact-cycle"]


def test_a_comment_mentions_nothing() -> None:
    load("facts:\n  a: 'event.b // facts.b'\n  b: 'event.b // \" facts.a'\n")


def test_headers_of_a_table_are_read_one_by_one() -> None:
    facts = "facts: {t: {table: tables/t.csv, hit: first, default: {a: 1}}}"
    with pytest.raises(RulesInvalid) as refused:
        load(facts, t="features.age // why,facts.`t`.a,out: a\n1,-,1\n")
    assert [f.code for f in refused.value.findings] == ["fact-cycle"]


def test_a_table_in_many_messages_is_not_walked_through_for_each() -> None:
    rows = "".join(f"[{i}..{i + 1}),{i % 7}x,v{i}\n" for i in range(1, 1500))
    names = ", ".join(
        message(f'facts.t.a == "v{i}"', f"m{i}").removeprefix("messages: {").removesuffix("}") for i in range(1, 300)
    )
    facts = "facts: {t: {table: tables/t.csv, hit: first, default: {a: z}}}"
    rules = load(facts, f"messages: {{{names}}}", t="features.age,event.s,out: a\n" + rows)
    assert "always-false" not in {w.code for w in rules.warnings}
    wrong = load(facts, message('facts.t.a == "none of them"'), t="features.age,event.s,out: a\n" + rows)
    assert "always-false" in {w.code for w in wrong.warnings}


def test_only_rows_that_are_told_are_looked_for_in_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    shadowed = coverage._shadowed
    monkeypatch.setattr(coverage, "_shadowed", lambda *args: looked.append(args[2]) or shadowed(*args))
    rules = load(
        "facts: {t: {table: tables/t.csv, hit: first, default: {a: z}}}", message('facts.t.a == "x"'),
        t="features.age,event.s,out: a\n-,-,x\n" + "".join(f"{i},-,y\n" for i in range(100)),
    )  # fmt: skip
    told = [w.message for w in rules.warnings if w.code == "table-row-never"]
    assert looked == list(range(1, 11))
    assert told[0] == "cell A3: row 3 can never match: row 2 matches first wherever it would"
    assert len(told) == 10


@pytest.mark.parametrize(
    "when",
    [
        "event.tags + [] == []",
        '(event.b ? [] : event.tags) == ["a"]',
        'event.tags.filter(x, x > "a") != []',
        "event.b && !(event.n > 3)",
    ],
)
def test_analysis_takes_whatever_is_checked(when: str) -> None:
    assert load(message(when.replace("'", '"'))).messages["m"].when


SCOPE = Scope({}, {}, {"n": Type.INTEGER}, {}, None, frozenset(("windows",)), False)
MANY = ", ".join(map(str, range(257)))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"windows.n in [{MANY}]", []),
        (f"[{MANY}].exists(x, x == windows.n)", ["the list is too long"]),
        (f"windows.n in [windows.n, {MANY}]", ["the list is too long"]),
        (f"windows.n in [{MANY}].map(x, x + 1)", ["the list is too long"]),
    ],
)
def test_lists_that_are_written_are_no_longer_than_others(text: str, told: list[str]) -> None:
    assert [p.message for p in check(text, SCOPE, Type.BOOL)[1]] == told


@pytest.mark.parametrize("text", ['a: "x \\ud83d y"\n', 'a: "\\ud83d\\ude00"\n', '"\\udc00": 1\n', 'a: ["\\uDFFF"]\n'])
def test_half_a_character_is_refused(text: str) -> None:
    (finding,) = document.read("f.yaml", text.encode()).findings
    assert finding.code == "yaml-syntax"
    assert finding.message.endswith("is half a character")


def groups(machine: stages.Machine) -> Iterator[stages.Group]:
    for stage in machine.stages:
        yield from (call for call in stage.calls if isinstance(call, stages.Group))


def test_memory_of_texts_is_bounded_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "REMEMBERED_MAX", 50_000)
    text = Ref(Type.TEXT, "event.s", S)
    plan = lower_roots([Root(Op(Type.TEXT, "concat", (text, text), S), None)], ("pay",))
    (group,) = groups(plan.machine)
    largest = 0
    for i in range(300):
        long = f"{i}" * 400
        batch = plan.batch(["pay"] * 2, [{"event.s": long}, {"event.s": "often"}], [0, 0], [None, None])
        assert [batch.value(0, 0), batch.value(0, 1)] == [long * 2, "oftenoften"]
        largest = max(largest, sum(len(str(key)) for key in group._known))
    assert 5_000 < largest < 50_000
