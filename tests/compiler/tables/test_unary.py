"""What cells ask, by the type of their column's input; the traps of spreadsheets, with the form that works."""

from __future__ import annotations

import pytest

from engine.compiler.nodes import Node, Ref, Span, Type
from engine.compiler.reference import Absent, Failure, Inputs, evaluate
from engine.compiler.tables import unary
from engine.compiler.tables.literals import Bad

HOUR = 3600 * 10**9
MISSING = object()


def asked(text: str, kind: Type, value: object) -> object:
    """The cell's answer for a value: True, False or "error"."""
    node: Node | None = unary.test_node(unary.parse_test(text, kind), Ref(kind, "features.x", Span(0, 10)))
    if node is None:
        return True
    given = Absent("DATA_MISSING") if value is MISSING else value
    result = evaluate(node, Inputs({"features.x": given}, 0, None))
    return "error" if isinstance(result, Failure) else result


@pytest.mark.parametrize(
    ("text", "kind", "yes", "no"),
    [
        (">= 6", Type.INTEGER, [6, 7], [5]),
        (">6", Type.INTEGER, [7], [6]),
        ("<= 6", Type.INTEGER, [6, -1], [7]),
        ("< 6", Type.INTEGER, [5], [6]),
        ("!= 6", Type.INTEGER, [5], [6]),
        ("6", Type.INTEGER, [6], [5, 7]),
        ("6.0", Type.INTEGER, [6], [5]),
        ("-3", Type.INTEGER, [-3], [3]),
        ("[18..25)", Type.INTEGER, [18, 24], [17, 25]),
        ("(18..25]", Type.INTEGER, [19, 25], [18, 26]),
        ("[ -2 .. 2 ]", Type.INTEGER, [-2, 2], [-3, 3]),
        ("1, 2 | [7..9]", Type.INTEGER, [1, 2, 8], [3, 6]),
        ("not(1, 2)", Type.INTEGER, [3], [1, 2]),
        ("not([1..5]) | 3", Type.INTEGER, [0, 3, 6], [1, 5]),
        (">= 6", Type.NUMBER, [6.0, 6.1], [5.9]),
        ("0.5", Type.NUMBER, [0.5], [0.6]),
        ("[0..1e3)", Type.NUMBER, [0.0, 999.9], [1000.0]),
        ('"a","b"', Type.TEXT, ["a", "b"], ["c", ""]),
        ("a | b", Type.TEXT, ["a", "b"], ["a | b"]),
        ('"a, b"', Type.TEXT, ["a, b"], ["a", "b"]),
        ("Bogotá (centro)", Type.TEXT, ["Bogotá (centro)"], ["Bogotá"]),
        ("don't, won't", Type.TEXT, ["don't", "won't"], ["don't, won't"]),
        ('"missing"', Type.TEXT, ["missing"], ["x"]),
        ('""', Type.TEXT, [""], ["x"]),
        ('not("a", "b)")', Type.TEXT, ["b"], ["a", "b)"]),
        ("TRUE", Type.BOOL, [True], [False]),
        ("false", Type.BOOL, [False], [True]),
        (">= 2026-03-01", Type.DATE, [20513, 20514], [20512]),
        ("< 2026-03-01T00:00:00Z", Type.TIME, [0], [1772323200 * 10**9]),
        ("> 30 days", Type.DURATION, [721 * HOUR], [720 * HOUR]),
        ("[1h30m..2 hours]", Type.DURATION, [2 * HOUR], [HOUR]),
        ("> 12.50", Type.MONEY, [12_500_000_001], [12_500_000_000]),
        ("-", Type.INTEGER, [1], []),
    ],
)
def test_a_cell_asks_what_it_says(text: str, kind: Type, yes: list[object], no: list[object]) -> None:
    assert [asked(text, kind, value) for value in yes] == [True] * len(yes)
    assert [asked(text, kind, value) for value in no] == [False] * len(no)


@pytest.mark.parametrize(
    ("text", "without", "with_7"),
    [
        ("-", True, True),
        ("missing", True, False),
        ("missing | 3", True, False),
        ("not(missing)", False, True),
        ("3", "error", False),
        ("not(3)", "error", True),
        ("[1..9]", "error", True),
    ],
)
def test_a_missing_input(text: str, without: object, with_7: bool) -> None:
    assert (asked(text, Type.INTEGER, MISSING), asked(text, Type.INTEGER, 7)) == (without, with_7)


AS_TEXT = "write the interval as [1..3], in a cell of format Text"


@pytest.mark.parametrize(
    ("text", "kind", "hint"),
    [
        ("=>6", Type.INTEGER, "write >= 6"),
        ("=< 6", Type.INTEGER, "write <= 6"),
        ("= 6", Type.INTEGER, "write 6"),
        ("<> 6", Type.INTEGER, "write not(6)"),
        ("≥ 6", Type.NUMBER, "write >= 6"),
        ("1-3", Type.INTEGER, "write the interval as [1..3]"),
        ("1–3", Type.INTEGER, "write the interval as [1..3]"),
        ("1..3", Type.INTEGER, "write the interval as [1..3]"),
        ("2026-03-01", Type.INTEGER, AS_TEXT),
        ("01-Mar", Type.INTEGER, AS_TEXT),
        ("1/3/2026", Type.NUMBER, AS_TEXT),
        ("5%", Type.NUMBER, "write 0.05, or 5 where the input counts in percent"),
        (">= 5 %", Type.NUMBER, "write 0.05, or 5 where the input counts in percent"),
        ("1,5", Type.NUMBER, "write 1.5 for one number, 1 | 5 for alternatives"),
        ("1,500", Type.INTEGER, "write 1500 for one number, 1 | 500 for alternatives"),
        ("[1,5]", Type.INTEGER, "write [1..5]"),
        ("[1;5]", Type.INTEGER, "write [1..5]"),
        ("[1 - 5)", Type.INTEGER, "write [1..5)"),
        ("[5..1]", Type.INTEGER, "write [1..5]"),
        ("> 1 && < 5", Type.INTEGER, "write an interval such as [6..9)"),
        ("> 1 < 5", Type.INTEGER, "write an interval such as [6..9)"),
        ("“a”", Type.TEXT, 'write "a"'),
        ("–", Type.TEXT, "write -"),
        ("Missing", Type.TEXT, "a text that reads so is quoted"),
        ("!false", Type.BOOL, "write not(false)"),
        ("yes", Type.BOOL, "write true"),
        ("01/03/2026", Type.DATE, "write year-month-day: 2026-03-01"),
        ("12 EUR", Type.MONEY, "write 12"),
        ('"6"', Type.INTEGER, "remove the quotes"),
        ("< a", Type.TEXT, 'a text that begins so is quoted: `"< 5"`'),
        ("(a)", Type.TEXT, 'a text that begins so is quoted: "(a)"'),
        ("1 ||  2", Type.INTEGER, "remove the extra `,` or `|`"),
    ],
)
def test_a_trap_has_its_way_out(text: str, kind: Type, hint: str) -> None:
    with pytest.raises(Bad) as caught:
        unary.parse_test(text, kind)
    assert caught.value.hint == hint


@pytest.mark.parametrize("text", ["6.5", "99999999999999999999", "six", "[1..", "- | 3", "not(" * 6 + "1" + ")" * 6])
def test_what_an_integer_cannot_be(text: str) -> None:
    with pytest.raises(Bad):
        unary.parse_test(text, Type.INTEGER)


def test_a_cell_has_a_bounded_number_of_alternatives() -> None:
    with pytest.raises(Bad, match="200 alternatives"):
        unary.parse_test(" | ".join(["1"] * 201), Type.INTEGER)
