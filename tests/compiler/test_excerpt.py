"""Source lines for people: marks stand under what they mark, whatever is written there."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.compiler.excerpt import cells, excerpt, printable
from engine.compiler.model import Position
from engine.compiler.source import WARNING, Finding, drawn, render


@pytest.mark.parametrize(
    ("line", "column", "length", "shown"),
    [
        ("when: a > b", 7, 1, ("when: a > b", 6, 1)),
        ("\twhen:\ta", 8, 1, ("    when:   a", 12, 1)),
        ("a:\tb", 3, 1, ("a:  b", 2, 2)),
        ('"東京" == x', 9, 1, ('"東京" == x', 10, 1)),
        ('"東京" == x', 1, 4, ('"東京" == x', 0, 6)),
        ("e\u0301e\u0301 x", 6, 1, ("e\u0301e\u0301 x", 3, 1)),
        ("a\u202eb\x1b[2J x", 3, 1, ("a\ufffdb\ufffd[2J x", 2, 1)),
        ("abc", 4, 1, ("abc", 3, 1)),
        ("abc", 9, 5, ("abc", 3, 1)),
        ("abc", 2, 99, ("abc", 1, 2)),
        ("", 1, 1, ("", 0, 1)),
    ],
)
def test_marks_stand_under_what_they_mark(line: str, column: int, length: int, shown: tuple[str, int, int]) -> None:
    assert excerpt(line, column, length) == shown


@pytest.mark.parametrize(
    ("column", "length", "shown"),
    [
        (1, 2, ("0123456789abcdefgh…", 0, 2)),
        (15, 2, ("…6789abcdefghijklmn…", 9, 2)),
        (35, 2, ("…ijklmnopqrstuvwxyz", 17, 2)),
        (11, 99, ("…789abcdefghijklmno…", 4, 15)),
    ],
)
def test_long_lines_are_cut_around_the_mark(column: int, length: int, shown: tuple[str, int, int]) -> None:
    assert excerpt("0123456789abcdefghijklmnopqrstuvwxyz", column, length, 20) == shown


@settings(deadline=None)
@given(st.text(st.sampled_from("ab \t東é\u0301😀\x07"), max_size=90), st.integers(1, 95), st.integers(1, 95))
def test_no_excerpt_is_wider_than_it_may_be(line: str, column: int, length: int) -> None:
    shown, lead, marked = excerpt(line, column, length, 30)
    assert cells(shown) <= 30
    assert lead + marked <= max(cells(shown), lead + 1)
    assert shown.replace("\ufffd", "x").isprintable()


def test_what_a_terminal_would_obey_is_escaped() -> None:
    assert printable("plain é 東 😀") == "plain é 東 😀"
    assert printable("a\nb\x1b[2J\u202e\udc80") == "a\\nb\\x1b[2J\\u202e\\udc80"


def test_a_finding_with_another_place() -> None:
    finding = Finding(
        "duplicate-name", Position("b.yaml", 3, 3), 6, "twice", "a\nb", "once", "rename it", "  region: text",
        Position("a.yaml", 113, 3), WARNING, "  region: text",
    )  # fmt: skip
    assert render(finding).splitlines() == [
        "b.yaml:3:3: warning[duplicate-name]: twice",
        "    3 |   region: text",
        "      |   ^^^^^^",
        "      = found: a\\nb",
        "      = expected: once",
        "      = hint: rename it",
        "      = also at: a.yaml:113:3",
        "  113 |   region: text",
        "      |   ------",
    ]
    roles = {piece.role for line in drawn(finding) for piece in line}
    assert roles == {"place", "warning", "message", "gutter", "label", "other", ""}
