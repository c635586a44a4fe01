"""A rule file as a tree of raw scalars that know where they are written.

The YAML reader gives structure only: nothing is ever typed by it, what counts is the raw text of a
scalar. Everything that would silently change a text (tags, aliases, anchors) becomes a finding, and
every limit is checked while the events come in, so that a hostile file costs no more than an honest one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from engine.compiler import syntax
from engine.compiler.characters import BLANKS, described, not_utf8
from engine.compiler.model import Position
from engine.compiler.quick import quick_read
from engine.compiler.source import Finding
from engine.compiler.tree import Document, ListNode, MapNode, Node, Scalar

FILE_BYTES_MAX = 1 << 20
DEPTH_MAX = 32
NODES_MAX = 100_000
LINE_MAX = 1 << 16
REPEATS_MAX = 20  # aliases, anchors, tags and duplicate keys told one by one; then the file is refused as a whole

_MERGE_MARK = re.compile(r"^(?:<{7}|={7}|>{7})(?: .*)?$", re.M)
_DECIMAL_COMMA = re.compile(r"\d+,\d+")
_HALF = re.compile("[\ud800-\udfff]")  # of a character, as JSON escapes those beyond U+FFFF
_BLANK = re.compile(rf"^[ ]*(?:- +)*(?:[\w.-]+:[ ]*)?([{BLANKS}][ {BLANKS}]*)", re.M)
_DASH = re.compile(rf"[ {BLANKS}]*- ")
_TAB_INDENT = re.compile(r"^ *(\t)[ \t]*[^ \t\r\n]", re.M)


class Read(NamedTuple):
    """What came of a file. `root` is None where the file could not be read to its end."""

    root: MapNode | None
    findings: list[Finding]


class _Refused(Exception):
    """Reading stops here; the finding is in the list."""


class _Builder:
    """Turns events into the tree. `stack` holds the open collections, `keys` the key that waits in each."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.findings: list[Finding] = []
        self.roots: list[Node] = []
        self.stack: list[MapNode | ListNode] = []
        self.keys: list[Scalar | None] = []
        self.flows: list[bool] = []
        self.count = 0

    def add(self, code: str, start: int, end: int, message: str, hint: str = "", also: Position | None = None) -> None:
        self.findings.append(self.document.finding(code, start, end, message, hint=hint, also=also))
        if len(self.findings) > REPEATS_MAX:
            self.refuse("too-many-findings", start, "too many findings in this file: reading stops here")

    def refuse(self, code: str, start: int, message: str) -> None:
        self.findings.append(self.document.finding(code, start, start + 1, message))
        raise _Refused

    def consume(self, events: Iterator[Any]) -> None:
        for event in events:
            if isinstance(event, ScalarEvent):
                start, end = event.start_mark.index, event.end_mark.index
                flow = bool(self.flows) and self.flows[-1]
                node = Scalar(self.document, event.value, event.style or "", start, end, flow)
                node.spoiled = self._properties(event, start)
                if half := _HALF.search(event.value):
                    message = f"the escape \\u{ord(half[0]):x} is half a character"
                    self.add("yaml-syntax", start, end, message, hint="write the character itself, or \\U0001F600")
                    raise _Refused
                self._place(node)
            elif isinstance(event, (MappingEndEvent, SequenceEndEvent)):
                self._close(event)
            elif isinstance(event, (MappingStartEvent, SequenceStartEvent)):
                self._open(event)
            elif isinstance(event, AliasEvent):
                self._alias(event)
            elif isinstance(event, DocumentStartEvent):
                self._start_document(event)

    def _properties(self, event: Any, start: int) -> bool:
        """Whether there are tags or anchors, which would swallow the beginning of a text."""
        key = self.keys[-1] if self.keys else None
        tag = event.tag
        if tag is None and event.anchor is None:
            return False
        if key is not None:  # the reader's marks begin behind the tag, so look from the key on
            begin = self.document.text.find("!" if tag is not None else "&", key.end)
            start = begin if begin >= 0 else start
        rest = self.document.rest_of_line(start)
        written = syntax.balanced(rest) if self.flows and self.flows[-1] else syntax.without_comment(rest)
        message, hint = syntax.marked(written)
        self.add("yaml-tag" if tag is not None else "yaml-anchor", start, start + len(written), message, hint)
        return True

    def _alias(self, event: Any) -> None:
        start, end = event.start_mark.index, event.end_mark.index
        written = syntax.without_comment(self.document.rest_of_line(start))
        if len(written) > end - start and not (self.flows and self.flows[-1]):  # a text that begins with a star
            self.add("yaml-alias", start, start + len(written), *syntax.marked(written))
            raise _Refused
        self.add(
            "yaml-alias",
            start,
            end,
            "YAML aliases are not read",
            "write the value out, or use 'like' in a message",
        )
        node = Scalar(self.document, event.anchor, "", start, end, False)
        node.spoiled = True
        self._place(node)

    def _start_document(self, event: Any) -> None:
        start = event.start_mark.index
        if self.roots:
            self.refuse("yaml-documents", start, "a rule file holds one YAML document, and a second one begins here")
        if event.version or event.tags:
            self.refuse("yaml-syntax", 0, "YAML directives (lines that begin with '%') are not read")

    def _open(self, event: Any) -> None:
        start = event.start_mark.index
        if len(self.stack) >= DEPTH_MAX:
            self.refuse("too-deep", start, f"nested deeper than {DEPTH_MAX} levels")
        node = (MapNode if isinstance(event, MappingStartEvent) else ListNode)(self.document, start)
        self._properties(event, start)
        if self.stack and isinstance(self.stack[-1], MapNode) and self.keys[-1] is None:
            self.refuse("yaml-key", start, "a key must be a name, not a list or a map")
        self._place(node)
        self.stack.append(node)
        self.keys.append(None)
        self.flows.append(bool(event.flow_style))

    def _close(self, event: Any) -> None:
        node = self.stack.pop()
        node.end = event.end_mark.index
        self.keys.pop()
        self.flows.pop()

    def _place(self, node: Node) -> None:
        self.count += 1
        if self.count > NODES_MAX:
            self.refuse("too-large", node.start, f"more than {NODES_MAX} values in one file: split it")
        if not self.stack:
            self.roots.append(node)
            return
        parent = self.stack[-1]
        if isinstance(parent, ListNode):
            parent.items.append(node)
            self._split(node)
            return
        key = self.keys[-1]
        if key is None:
            if not isinstance(node, Scalar):
                self.refuse("yaml-key", node.start, "a key must be a name, not a list or a map")
            else:
                self.keys[-1] = node
            return
        self.keys[-1] = None
        if self._swallowed(parent, key, node):
            return
        self._split(node)
        if isinstance(node, Scalar) and node.absent:
            node.start, node.end = key.start, key.end  # the reader has it where the next value begins
        if key.value == "<<" and not key.style:
            self.add("yaml-merge", key.start, key.end, "YAML merge keys are not read", "use 'like' in a message")
        elif key.value in parent.entries:
            first = parent.entries[key.value][0]
            message = f"'{key.value}' is written twice in one map"
            self.add("duplicate-key", key.start, key.end, message, also=first.position)
        else:
            parent.entries[key.value] = (key, node)

    def _swallowed(self, parent: MapNode, key: Scalar, node: Node) -> bool:
        """The rest of a text that a comma cut in two: `{a: max(x, y) > 3}`; told at the text."""
        if not (isinstance(node, Scalar) and node.absent and key.flow and not key.style and parent.entries):
            return False
        before_key, before = list(parent.entries.values())[-1]
        if not isinstance(before, Scalar) or before.style or before.absent:
            return False
        before.spoiled = True
        whole = self.document.text[before.start : key.end]
        if not any(f.code == "flow-split" and f.position == before.position for f in self.findings):
            self.add(
                "flow-split",
                before.start,
                key.end,
                "inside braces a comma ends an unquoted text",
                f"write {whole.replace(',', '.')}: decimals take a point"
                if _DECIMAL_COMMA.fullmatch(whole)
                else f"quote it: {before_key.value}: {syntax.quote(whole)}",
            )
        return True

    def _split(self, node: Node) -> None:
        """An unquoted text in a list or map in brackets that lost its end to a comma."""
        if (
            not isinstance(node, Scalar)
            or node.style
            or not node.flow
            or node.value.count("(") <= node.value.count(")")
        ):
            return
        if self.document.text[node.end : node.end + 1] != ",":
            return
        node.spoiled = True
        whole = syntax.balanced(self.document.rest_of_line(node.start))
        message = "inside brackets a comma ends an unquoted text"
        self.add("flow-split", node.start, node.start + len(whole), message, f"quote it: {syntax.quote(whole)}")


def _failed(document: Document, error: YAMLError) -> Finding:
    if isinstance(error, ReaderError):
        start = int(error.position)
        message = f"the character U+{ord(document.text[start]):04X} is not allowed in a rule file"
        return document.finding("yaml-syntax", start, start + 1, message)
    if not isinstance(error, MarkedYAMLError):
        return document.finding("yaml-syntax", 0, 1, f"not valid YAML: {error}")
    context, mark, problem = error.context_mark, error.problem_mark or error.context_mark, str(error.problem or "")
    if context is not None and any(w in str(error.context) for w in ("a tag", "an anchor", "an alias")):
        return _mark_failed(document, context.index)
    if context is not None and ("could not find" in problem or "expected ','" in problem):
        mark, context = context, mark  # what is not closed says more than where it was noticed
        if "got ':'" in problem and context is not None and mark.line != context.line:
            problem = "expected ',' or a closing bracket"
    start = min(mark.index if mark is not None else 0, len(document.text))
    if "\\t" in problem and document.text[start : start + 1] == "\t":
        return document.finding("yaml-tab", start, start + 1, "tabs are not allowed here", hint="use spaces")
    if merged := _MERGE_MARK.search(document.text):
        message = "two versions of the file stand here together, after a merge"
        hint = "keep one, and delete the marks"
        return document.finding("yaml-syntax", merged.start(), merged.end(), message, hint=hint)
    opened = syntax.unclosed_quote(document.text, start)
    if opened is not None:
        quote = document.text[opened]
        message = "this quote is not closed in its line"
        return document.finding("yaml-syntax", opened, opened + 1, message, hint=f"close it with {quote}")
    line = document.line_text(start)
    message, hint = syntax.explain(problem, line, document.position(start).column - 1)
    if "not closed" in message and " #" in line:
        hint = "quote the text: what follows ' #' is read as a comment"
    also = document.position(context.index) if context and mark and context.line != mark.line else None
    if "indented" not in message and "closed" not in message:
        also = None  # where the reader was, which tells people nothing
    return document.finding("yaml-syntax", start, start + 1, message, hint=hint, also=also)


def _mark_failed(document: Document, start: int) -> Finding:
    """A tag, anchor or alias that YAML itself cannot read."""
    rest = document.rest_of_line(start)
    before = document.line_text(start)[: document.position(start).column - 1]
    written = syntax.balanced(rest) if "[" in before or "{" in before else syntax.without_comment(rest)
    message, hint = syntax.marked(written)
    code = {"!": "yaml-tag", "&": "yaml-anchor"}.get(rest[:1], "yaml-alias")
    return document.finding(code, start, start + len(written), message, hint=hint)


def _refusal(path: str, message: str, code: str) -> Read:
    return Read(None, [Finding(code, Position(path, 1, 1), 1, message)])


def _limit_lines(builder: _Builder, text: str) -> None:
    """Refuses what the scanner would work on for long before its first event: it looks far ahead of them."""
    lines = text.split("\n")
    opening = (line for line in lines if len(line) > DEPTH_MAX and line.count("[") + line.count("{") > DEPTH_MAX)
    if max(map(len, lines)) <= LINE_MAX and next(opening, None) is None:
        return  # as nearly always
    start = 0
    for line in lines:
        if len(line) > LINE_MAX:
            builder.refuse("too-large", start, f"a line of more than {LINE_MAX} characters")
        if len(line) > DEPTH_MAX and _opened(line) > DEPTH_MAX:
            builder.refuse("too-deep", start, f"nested deeper than {DEPTH_MAX} levels")
        start += len(line) + 1


def _opened(line: str) -> int:
    return line.count("[") + line.count("{") - line.count("]") - line.count("}")


def read(path: str, content: bytes) -> Read:
    """The tree of one file, with what is wrong in its YAML. Raises nothing."""
    if len(content) > FILE_BYTES_MAX:
        return _refusal(path, f"the file has {len(content)} bytes; at most {FILE_BYTES_MAX} are read", "too-large")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8-sig", "replace")
        position = Document(path, before).position(len(before))
        message = not_utf8(content, error.start)
        return Read(None, [Finding("not-utf8", position, 1, message, hint="save the file as UTF-8")])
    document = Document(path, text)
    tabs = [
        document.finding("yaml-tab", m.start(1), m.end(1), "a tab in the indentation", hint="use spaces")
        for m in (_TAB_INDENT.finditer(text) if "\t" in text else ())
    ]
    if tabs:
        return Read(None, tabs[:REPEATS_MAX])
    builder = _Builder(document)
    try:
        _limit_lines(builder, text)
    except _Refused:
        return Read(None, builder.findings)
    result = _tree(document)
    return result if text.isascii() else _with_blanks(document, result)


def _tree(document: Document) -> Read:
    root = quick_read(document, DEPTH_MAX, NODES_MAX)
    return Read(root, []) if root is not None else read_in_full(document)


def _with_blanks(document: Document, result: Read) -> Read:
    """What was read; or, where blanks that are no spaces made another file of it, findings about these.

    Texts may begin with one that is meant, so a file that cannot be read is read again with spaces in their place.
    """
    blanks = [m.span(1) for m in _BLANK.finditer(document.text)]
    others: list[Finding] = []
    if blanks and result.root is not None:
        begun = set(_starts(result.root))
        blanks = [(start, end) for start, end in blanks if start in begun]
    elif blanks:
        text = _BLANK.sub(lambda m: m[0][: -len(m[1])] + " " * len(m[1]), document.text)
        others = _tree(Document(document.path, text)).findings
        if _places(others) == _places(result.findings):
            return result
    if not blanks:
        return result
    told = [
        document.finding(
            "yaml-blank", start, end, f"{described(document.text[start])} where YAML wants spaces", hint="type spaces"
        )
        for start, end in blanks[:REPEATS_MAX]
    ]
    return Read(None, [*told, *others])


def _places(findings: Iterable[Finding]) -> list[tuple[str, Position]]:
    return [(f.code, f.position) for f in findings]


def _starts(node: Node) -> Iterator[int]:
    """Where the keys below a node begin, and texts that would be lists."""
    if isinstance(node, MapNode):
        for key, value in node.entries.values():
            yield key.start
            yield from _starts(value)
    elif isinstance(node, ListNode):
        for item in node.items:
            yield from _starts(item)
    elif not node.style and _DASH.match(node.value):
        yield node.start


def read_in_full(document: Document) -> Read:
    """The tree of a file in which something is out of the ordinary, with what is wrong in it."""
    builder = _Builder(document)
    try:
        builder.consume(YAML(typ="safe", pure=True).parse(document.text))
    except _Refused:
        return Read(None, builder.findings)
    except YAMLError as error:
        return Read(None, [*builder.findings, _failed(document, error)])
    if not builder.roots or (isinstance(builder.roots[0], Scalar) and builder.roots[0].absent):
        return Read(MapNode(document, 0), builder.findings)
    root = builder.roots[0]
    if not isinstance(root, MapNode):
        message = "a rule file is a map of sections such as 'messages:'"
        return Read(None, [*builder.findings, document.finding("wrong-shape", root.start, root.end, message)])
    return Read(root, builder.findings)
