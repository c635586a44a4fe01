"""A source line for people: tabs and wide characters keep their marks under them, long lines are cut.

A leaf module. Widths are cells of a terminal, as Unicode's East Asian Width counts them (UAX 11).
"""

from __future__ import annotations

import unicodedata

WIDTH = 110  # cells of a source line where nothing is known of the reader's screen
_TAB = 4
_CUT = "…"
_UNSAFE = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))  # they move the cursor, or turn the writing around
_JOINER = "\u200d"


def cells(text: str) -> int:
    """The width of a printable text."""
    return len(text) if text.isascii() else sum(map(_width, text))


def _width(char: str) -> int:
    if char == _JOINER or unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


def printable(text: str) -> str:
    r"""`text` on one line: what a terminal would obey is escaped (`\n`, `\x1b`, `\u202e`)."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(c) if unicodedata.category(c) in _UNSAFE and c != _JOINER else c for c in text)


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def excerpt(line: str, column: int, length: int, width: int = WIDTH) -> tuple[str, int, int]:
    """What is shown of a source line, and where its mark stands: (text, cells before the mark, cells marked).

    `column` counts characters from 1. A line wider than `width` is cut around the mark, `…` at the cuts.
    """
    shown = _cells_of(line)
    start = min(column - 1, len(shown))
    end = min(start + max(1, length), len(shown))
    before, after = 0, len(shown)
    if sum(w for _, w in shown) > width:
        before, after = _window(shown, start, end, width - 2 * len(_CUT))
    text = "".join(c for c, _ in shown[before:after])
    lead = sum(w for _, w in shown[before:start])
    marked = sum(w for _, w in shown[start : min(end, after)])
    if before:
        text, lead = _CUT + text, lead + len(_CUT)
    return text + (_CUT if after < len(shown) else ""), lead, max(1, marked)


def _cells_of(line: str) -> list[tuple[str, int]]:
    """Each character as it is shown, with its width."""
    shown: list[tuple[str, int]] = []
    at = 0
    for char in line:
        if char == "\t":
            piece, width = " " * (_TAB - at % _TAB), _TAB - at % _TAB
        elif char.isascii() and char.isprintable():
            piece, width = char, 1
        elif unicodedata.category(char) in _UNSAFE and char != _JOINER:
            piece, width = "\ufffd", 1
        else:
            piece, width = char, _width(char)
        shown.append((piece, width))
        at += width
    return shown


def _window(shown: list[tuple[str, int]], start: int, end: int, width: int) -> tuple[int, int]:
    """The characters to show: the mark from its beginning, with what stands around it, `width` cells in all."""
    marked = sum(w for _, w in shown[start:end])
    lead = max(width // 6, (width - marked) // 2)
    before, used = start, 0
    while before > 0 and used + shown[before - 1][1] <= lead:
        before -= 1
        used += shown[before][1]
    after = start
    while after < len(shown) and used + shown[after][1] <= width:
        used += shown[after][1]
        after += 1
    while before > 0 and used + shown[before - 1][1] <= width:  # room that the end of the line left
        before -= 1
        used += shown[before][1]
    return before, after
