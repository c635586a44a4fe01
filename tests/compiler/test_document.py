from __future__ import annotations

import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from engine.compiler import document, syntax
from engine.compiler.source import render
from engine.compiler.tree import ListNode, MapNode, Node, Scalar


def scalar(text: str, key: str = "a") -> Scalar:
    root = document.read("f.yaml", text.encode()).root
    assert root is not None
    node = root.get(key)
    assert isinstance(node, Scalar)
    return node


def test_raw_texts_are_never_typed() -> None:
    read = document.read("f.yaml", b"a: {no: yes, 12: 0x1F, b: [2026-01-01, ~, 20:00, 1_000, '']}\n")
    assert read.findings == []
    inner = read.root.get("a") if read.root else None
    assert isinstance(inner, MapNode)
    assert list(inner.entries) == ["no", "12", "b"]
    items = inner.get("b")
    assert isinstance(items, ListNode)
    assert [i.value for i in items.items if isinstance(i, Scalar)] == ["2026-01-01", "~", "20:00", "1_000", ""]


@pytest.mark.parametrize("content", [b"", b"# only a comment\n", b"\xef\xbb\xbf", b"---\n", b"\r\n\r\n"])
def test_nothing_written_is_an_empty_map(content: bytes) -> None:
    read = document.read("f.yaml", content)
    assert read.findings == []
    assert read.root is not None
    assert read.root.entries == {}


@pytest.mark.parametrize(
    ("text", "value", "needle", "place"),
    [
        ("a: x > yy\n", "x > yy", "yy", "1:8"),
        ("k: 1\r\na: x > yy\r\n", "x > yy", "yy", "2:8"),
        ("\ufeffa: x > yy\n", "x > yy", "yy", "1:8"),
        ("a: x >\n   yy\n", "x > yy", "yy", "2:4"),
        ("a: x >\n\n     yy &&   z\n", "x >\nyy &&   z", "z", "3:14"),
        ("a: 'it''s yy'\n", "it's yy", "yy", "1:11"),
        ("a: 'it''s\n  yy'\n", "it's yy", "yy", "2:3"),
        ('a: "\\"q\\" yy"\n', '"q" yy', "yy", "1:11"),
        ('a: "\\u00e9\\t\\x41 yy"\n', "é\tA yy", "yy", "1:18"),
        ('a: "one \\\n     yy"\n', "one yy", "yy", "2:6"),
        ("a: |\n  x\n    y y\n  yy\n", "x\n  y y\nyy\n", "yy", "4:3"),
        ("a: >-  # why\n  x &&\n  yy\n", "x && yy", "yy", "3:3"),
        ("a: |-\n  é x\n  yy", "é x\nyy", "yy", "3:3"),
    ],
)
def test_an_offset_in_a_value_has_its_place_in_the_file(text: str, value: str, needle: str, place: str) -> None:
    node = scalar(text)
    assert node.value == value
    assert str(node.place(value.index(needle))) == f"f.yaml:{place}"


@given(st.lists(st.text(st.sampled_from("ab'\"\\{ é\t"), min_size=1), min_size=1), st.sampled_from("'\"|"))
def test_every_visible_character_is_found_where_it_is_written(words: list[str], style: str) -> None:
    value = " ".join(words).strip()
    assume(value.count("{") <= document.DEPTH_MAX)  # more on one line are refused before anything is read
    if style == "'":
        written = "'" + value.replace("'", "''") + "'"
    elif style == '"':
        written = '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t") + '"'
    else:
        written = "|-\n  x\n  " + value
    text = f"k: 1\na: {written}\n"
    node = scalar(text)
    for offset, char in enumerate(node.value):
        if not char.isspace():
            at = node.index(offset)
            assert text[at] == char or (text[at] == "\\" and text[at + 1] == char)


TRAPS = [
    ("a: !has(x)\n", "yaml-tag", "1:4", 'quote it: "!has(x)"'),
    ("a: {b: 1, c: !has(x)}\n", "yaml-tag", "1:14", 'quote it: "!has(x)"'),
    ("a: [x, !y]\n", "yaml-tag", "1:8", 'quote it: "!y"'),
    ('a: !(x == "1") && y  # why\n', "yaml-tag", "1:4", "quote it: '!(x == \"1\") && y'"),
    ("a: &x 1\n", "yaml-anchor", "1:4", 'quote it: "&x 1"'),
    ("a: *x\n", "yaml-alias", "1:4", "write the value out, or use 'like' in a message"),
    ("<<: {a: 1}\n", "yaml-merge", "1:1", "use 'like' in a message"),
    ("a: 1\nb: 2\na: 3\n", "duplicate-key", "3:1", ""),
    ("a:\n\tb: 1\n", "yaml-tab", "2:1", "use spaces"),
    ("a: b\t# c\n", "yaml-tab", "1:5", "use spaces"),
    ("a:\n\xa0\xa0b: 1\n  c: 2\n", "yaml-blank", "2:1", "type spaces"),
    ("a:\n  b: 1\n \xa0c: 2\n", "yaml-blank", "3:2", "type spaces"),
    ("a:\n\xa0\xa0b: 1\n", "yaml-blank", "2:1", "type spaces"),
    ("a:\n \xa0 - b\n", "yaml-blank", "2:2", "type spaces"),
    ("a: 1\nb:\u2003[x]\nc: 2\n", "yaml-blank", "2:3", "type spaces"),
    ("a: 1\n---\nb: 1\n", "yaml-documents", "2:1", ""),
    ("%YAML 1.1\n---\na: 1\n", "yaml-syntax", "1:1", ""),
    ("- a\n", "wrong-shape", "1:1", ""),
    ("words\n", "wrong-shape", "1:1", ""),
    ("[a]: 1\n", "yaml-key", "1:1", ""),
    ("a: x ? y : z\n", "yaml-syntax", "1:10", 'quote it: "x ? y : z"'),
    ('a: "x" == y\n', "yaml-syntax", "1:8", "quote it: '\"x\" == y'"),
    ("a: @x\n", "yaml-syntax", "1:4", 'quote it: "@x"'),
    ("a: [b, c\nd: 1\n", "yaml-syntax", "1:4", "quote the text"),
    ('a: "b\n', "yaml-syntax", "1:4", 'close it with "'),
    ('a: "b\nc: d\ne: "f"\n', "yaml-syntax", "1:4", 'close it with "'),
    ("a: ['b\nc: d\n", "yaml-syntax", "3:1", "close it with the quote or bracket that opened it"),
    ('a: "one "word" of it"\n', "yaml-syntax", "1:10", "quote it: 'one \"word\" of it'"),
    ("a: 'the loan's end'\n", "yaml-syntax", "1:14", 'quote it: "the loan\'s end"'),
    ("a: {b}, c\n", "yaml-syntax", "1:7", 'quote it: "{b}, c"'),
    ("a: [b] c\n", "yaml-syntax", "1:8", 'quote it: "[b] c"'),
    ("a: {b: c}}\n", "yaml-syntax", "1:10", "remove it"),
    ("a: {b: c; d: e}\n", "yaml-syntax", "1:4", "put a comma between two entries"),
    ("a: *Good news*\n", "yaml-alias", "1:4", 'quote it: "*Good news*"'),
    ("<<<<<<< mine\na: 1\n=======\na: 2\n", "yaml-syntax", "1:1", "keep one, and delete the marks"),
    ("a: {b: we are #1}\nc: d\n", "yaml-syntax", "1:4", "quote the text: what follows ' #' is read as a comment"),
    ("a: {b: 0,05, c: d}\n", "flow-split", "1:8", "write 0.05: decimals take a point"),
    (
        "a:1\nb: 2\n",
        "yaml-syntax",
        "2:2",
        "indent the line like its neighbours, and put a space behind the ':' of the line above",
    ),
    ("a: 1\nb:2\nc: 3\n", "yaml-syntax", "2:1", "write 'key: value' with a space, and quote texts of several lines"),
    ("a: x\0y\n", "yaml-syntax", "1:5", ""),
    ("a: {b: max(x, y) > 3}\n", "flow-split", "1:8", 'quote it: "max(x, y) > 3"'),
    ("a: [max(x, y) > 3, z]\n", "flow-split", "1:5", 'quote it: "max(x, y) > 3"'),
    ("a: {b: {is: ratio(x, y), as: money}}\n", "flow-split", "1:13", 'quote it: "ratio(x, y)"'),
]


@pytest.mark.parametrize(("text", "code", "place", "hint"), TRAPS, ids=[f"{t[1]}-{i}" for i, t in enumerate(TRAPS)])
def test_traps(text: str, code: str, place: str, hint: str) -> None:
    findings = document.read("f.yaml", text.encode()).findings
    assert findings, text
    first = findings[0]
    assert (first.code, str(first.position), first.hint) == (code, f"f.yaml:{place}", hint), render(first)


def test_a_finding_shows_the_line_and_the_place() -> None:
    read = document.read("messages/a.yaml", b'm:\n  when: !has(features.phone) && features.region == "a"\n')
    assert [render(f) for f in read.findings] == [
        "messages/a.yaml:2:9: error[yaml-tag]: an unquoted '!' starts a YAML tag, not a text\n"
        '  2 |   when: !has(features.phone) && features.region == "a"\n'
        "    |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n"
        "    = hint: quote it: '!has(features.phone) && features.region == \"a\"'"
    ]


def test_blanks_that_are_no_spaces_are_told_all_at_once_and_named() -> None:
    text = "a:\n\xa0 b: 1\n\u3000 c: 2\n  d: 3\ne: @f\n"
    told = document.read("f.yaml", text.encode()).findings
    assert [(f.code, str(f.position), f.message) for f in told] == [
        ("yaml-blank", "f.yaml:2:1", "U+00A0 (no-break space) where YAML wants spaces"),
        ("yaml-blank", "f.yaml:3:1", "U+3000 (ideographic space) where YAML wants spaces"),
        ("yaml-syntax", "f.yaml:5:4", "an unquoted text cannot begin with '@'"),
    ]


def test_blanks_of_texts_are_left_alone() -> None:
    text = "a: |\n  x\n  \xa0y\nb: 'x\n  \xa0y'\nc:\n  \xa0x: y\n"
    assert [f.code for f in document.read("f.yaml", text.encode()).findings] == ["yaml-blank"], "of the key alone"
    text = text.replace("c:\n  \xa0x: y\n", "")
    assert document.read("f.yaml", text.encode()).findings == []
    (told,) = document.read("f.yaml", f"{text}d: @e\n".encode()).findings
    assert (told.code, str(told.position)) == ("yaml-syntax", "f.yaml:6:4")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_a_file_of_another_encoding_is_told_which(encoding: str) -> None:
    (finding,) = document.read("f.yaml", "a: 1\n".encode(encoding)).findings
    assert (finding.code, str(finding.position)) == ("not-utf8", "f.yaml:1:1")
    assert finding.message == f"not UTF-8: the file says that it is {encoding.upper()}"


def test_not_utf8_names_the_byte() -> None:
    (finding,) = document.read("f.yaml", "a: 1\nb: caf\u00e9\n".encode("latin-1")).findings
    assert (finding.code, str(finding.position), finding.message) == (
        "not-utf8",
        "f.yaml:2:7",
        "not UTF-8: the byte 0xE9",
    )


HOSTILE = {
    "aliases": "a: &a [x, x]\n" + "".join(f"b{i}: &b{i} [*a, *a, *a, *a]\n" for i in range(20_000)),
    "brackets on one line": "a: " + "[" * 100_000,
    "brackets within the line limit": "a: " + "[a," * 10_000,
    "brackets on many lines": "a: " + "[\n" * 100_000,
    "braces on many lines": "a: " + "{a:\n" * 100_000,
    "dashes": "- " * 10_000,
    "indentation": "".join(" " * i + "a:\n" for i in range(1000)),
    "question marks": "? " * 10_000,
    "one long line": "a: " + "!" * 1_000_000,
    "too many bytes": "#" * (document.FILE_BYTES_MAX + 1),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_at_once(name: str) -> None:
    content = HOSTILE[name].encode()
    began = time.process_time()
    read = document.read("f.yaml", content)
    took = time.process_time() - began
    assert read.root is None
    assert read.findings[-1].code in ("too-large", "too-deep", "too-many-findings", "yaml-key")
    assert took < 0.5  # a tenth of that on a quiet machine: what matters is that it does not grow with the file


def test_depth_is_limited_exactly() -> None:
    def nested(levels: int) -> bytes:
        return b"a: " + b"[" * levels + b"]" * levels

    assert document.read("f.yaml", nested(document.DEPTH_MAX - 1)).findings == []
    assert [f.code for f in document.read("f.yaml", nested(document.DEPTH_MAX)).findings] == ["too-deep"]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        *[(w, "yes/no word") for w in ("yes", "No", "on", "OFF", "true", "False")],
        *[(w, "empty word") for w in ("null", "~")],
        *[(w, "number") for w in ("12", "-1.5", "1e3", "0x1F", ".5", "1_000")],
        *[(w, "date") for w in ("2026-01-01", "2026-11-21T10:00:00+01:00")],
        ("20:00", "time"),
        *[(w, "") for w in ("Hello", "12 months", "2026-H2", "no way", "1.2.3")],
    ],
)
def test_what_other_readers_take_a_text_for(text: str, kind: str) -> None:
    assert syntax.looks_like(text) == kind


@given(
    st.binary(max_size=200) | st.text(st.sampled_from("ab:-{}[],'\"|>#&*!%@` \n\t?~<\\0"), max_size=80).map(str.encode)
)
def test_reading_raises_nothing_and_knows_its_places(content: bytes) -> None:
    read = document.read("f.yaml", content)
    assert read.root is not None or read.findings
    for finding in read.findings:
        render(finding)
    if read.root is not None:
        waiting: list[Node] = [read.root]
        while waiting:
            node = waiting.pop()
            if isinstance(node, Scalar):
                for offset in range(len(node.value) + 1):
                    node.place(offset)
            elif isinstance(node, ListNode):
                waiting.extend(node.items)
            else:
                waiting.extend(n for pair in node.entries.values() for n in pair)
