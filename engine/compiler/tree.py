"""The nodes of a rule file: raw scalars, maps and lists that know where they are written."""

from __future__ import annotations

import re
from bisect import bisect_right
from functools import cached_property
from itertools import accumulate

from engine.compiler import syntax
from engine.compiler.model import Position
from engine.compiler.source import Finding

_LINE_BREAK = re.compile(r"\r\n|\r|\n")
_COMMENT_AFTER = re.compile(r"[ \t]+#")
_QUOTES = ("'", '"')


class Document:
    """The text of one file; places in it are character indexes."""

    __slots__ = ("__dict__", "path", "text")

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.text = text

    @cached_property
    def _starts(self) -> list[int]:
        if "\r" in self.text:
            return [0, *(m.end() for m in _LINE_BREAK.finditer(self.text))]
        lengths = [len(line) + 1 for line in self.text.split("\n")]  # 0.8 ms a file of 1,000 messages, instead of 3.1
        return list(accumulate(lengths[:-1], initial=0))

    def position(self, index: int) -> Position:
        starts = self._starts
        line = bisect_right(starts, index)
        return Position(self.path, line, index - starts[line - 1] + 1)

    def line_text(self, index: int) -> str:
        """The whole source line that holds `index`, without its line break."""
        line = bisect_right(self._starts, index) - 1
        end = self._starts[line + 1] if line + 1 < len(self._starts) else len(self.text)
        return self.text[self._starts[line] : end].rstrip("\r\n")

    def rest_of_line(self, index: int) -> str:
        """What is written on the line from `index` on."""
        return self.line_text(index)[self.position(index).column - 1 :]

    def finding(
        self,
        code: str,
        start: int,
        end: int,
        message: str,
        *,
        found: str = "",
        expected: str = "",
        hint: str = "",
        also: Position | None = None,
    ) -> Finding:
        """A finding about the characters `start` to `end`, marked to the end of the line at most."""
        position, line = self.position(start), self.line_text(start)
        length = max(1, min(end - start, len(line) - position.column + 1))
        return Finding(code, position, length, message, found, expected, hint, line, also)


class Scalar:
    """Raw text with its style: "" plain, `'`, `"`, `|` or `>`. `start` and `end` enclose it in the file.

    A `spoiled` one has its finding already (a tag swallowed its beginning, a comma cut it): nothing
    that follows from its text is worth telling.
    """

    __slots__ = ("document", "end", "flow", "spoiled", "start", "style", "value")

    def __init__(self, document: Document, value: str, style: str, start: int, end: int, flow: bool) -> None:
        self.document = document
        self.value = value
        self.style = style
        self.start = start
        self.end = end
        self.flow = flow
        self.spoiled = False

    @property
    def position(self) -> Position:
        return self.document.position(self.start)

    @property
    def absent(self) -> bool:
        """Whether nothing is written, as in `key:`; it stands where its key does."""
        return not self.style and not self.value and not self.spoiled

    @property
    def cut_off(self) -> bool:
        """Whether a comment follows a plain scalar on its line: the trap of ` #` in a text."""
        return not self.style and _COMMENT_AFTER.match(self.document.text, self.end) is not None

    def index(self, offset: int) -> int:
        """Where in the file the character `offset` of the value is written (its end: behind the last)."""
        if not self.style and self.end - self.start == len(self.value):
            return self.start + offset
        if self.style in _QUOTES and 0 < len(self.value) == self.end - self.start - 2:  # nothing escaped or folded
            return self.start + 1 + min(offset, len(self.value))
        indexes = syntax.align(self.document.text, self.start, self.end, self.value[: offset + 1], self.style)
        if offset < len(indexes):
            return indexes[offset]
        return indexes[-1] + 1 if indexes else self.start

    def place(self, offset: int) -> Position:
        """The position of the character `offset` of the value."""
        return self.document.position(self.index(offset))


class MapNode:
    """Keys and values in the order written; keys are unique."""

    __slots__ = ("document", "end", "entries", "start")

    def __init__(self, document: Document, start: int) -> None:
        self.document = document
        self.start = start
        self.end = start + 1
        self.entries: dict[str, tuple[Scalar, Node]] = {}

    @property
    def position(self) -> Position:
        return self.document.position(self.start)

    def get(self, key: str) -> Node | None:
        entry = self.entries.get(key)
        return entry[1] if entry else None


class ListNode:
    """Items in the order written."""

    __slots__ = ("document", "end", "items", "start")

    def __init__(self, document: Document, start: int) -> None:
        self.document = document
        self.start = start
        self.end = start + 1
        self.items: list[Node] = []

    @property
    def position(self) -> Position:
        return self.document.position(self.start)


Node = Scalar | MapNode | ListNode
