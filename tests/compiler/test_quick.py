"""The quick reader against the full one: where it gives a tree at all, it is the same, and there is no finding."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.compiler import document, syntax
from engine.compiler.quick import quick_read
from engine.compiler.tree import Document, MapNode, Node, Scalar

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(p for folder in ("rules", "tests") for p in (ROOT / folder).rglob("*.yaml"))
PIECES = st.sampled_from(
    [
        " ", "  ", "\n", "\n  ", "\n    ", "\n\n", "\r\n", "\r", "\t", "\x85", "\u2028", "\ufeff", "\xa0", "é",
        "\U0001f600", "a", "1", "x > y", "~", "==", "http://x", "a:b", ": ", ":", "::", " :", "- ", "-",
        "\n- ", "\na: ",
        "\n  b: ", "b: ", ", ", ",", "{", "}", "[", "]", "{a: b}", "[a, b]", "(", ")", '"', "'", '"a"',
        "'b'", "''", "\\", "\\n", "\\x41",
        "\\\n", "|", ">", "|-\n", ">+\n", "|2-\n", ">-\n   ", "|-  # c\n  ", "# c", "#", " # c", "\n# c\n", "?",
        "? ", "!", "&", "*", "%", "@", "`", "<<", "---", "...", "\n...\n", "\n--- ",
    ]
)  # fmt: skip


def drawn(node: Node) -> object:
    """A tree as plain data, with every place in it."""
    if isinstance(node, Scalar):
        return node.value, node.style, node.start, node.end, node.flow, node.spoiled
    if isinstance(node, MapNode):
        return node.start, node.end, [(drawn(key), drawn(value)) for key, value in node.entries.values()]
    return node.start, node.end, [drawn(item) for item in node.items]


def agree(text: str) -> bool:
    """Whether the quick reader read it; fails where it differs from the full one."""
    at = Document("f.yaml", text)
    quick = quick_read(at, document.DEPTH_MAX, document.NODES_MAX)
    if quick is None:
        return False
    full = document.read_in_full(at)
    assert full.root is not None
    assert full.findings == []
    assert drawn(quick) == drawn(full.root)
    return True


@pytest.mark.parametrize("path", FILES, ids=[str(p.relative_to(ROOT)) for p in FILES])
def test_files_are_read_alike(path: Path) -> None:
    agree(path.read_text())


def test_the_shipped_rules_are_read_quickly() -> None:
    shipped = [p for p in FILES if p.is_relative_to(ROOT / "rules")]
    assert shipped
    assert [p.name for p in shipped if not agree(p.read_text())] == []


@given(st.lists(PIECES, max_size=16).map("".join), st.sampled_from(["", "a: ", "a:\n  b: ", "a: [", "a: {b: "]))
@settings(max_examples=400, deadline=None)
def test_random_texts_are_read_alike(text: str, before: str) -> None:
    agree(before + text)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_changed_rule_files_are_read_alike(data: st.DataObject) -> None:
    lines = data.draw(st.sampled_from(FILES)).read_text().splitlines(keepends=True)
    first = data.draw(st.integers(0, len(lines) - 1))
    text = "".join(lines[first : first + data.draw(st.integers(1, 8))])
    for _ in range(data.draw(st.integers(0, 2))):
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + data.draw(PIECES) + text[at + data.draw(st.integers(0, 2)) :]
    agree(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "# c\n", "- a\n", "words\n", "a:\n", "a: {b: }\n", "a: !x\n", "a: &x 1\n", "a: &x 1\nb: *x\n",
        "a: 1\na: 2\n", "<<: {a: 1}\n", "[a]: 1\n", "a: {b: max(x, y) > 3}\n", "a: [max(x, y)]\n",
        "a: b\t\n", "a: x\u2028y\n",
        "%YAML 1.1\n---\na: 1\n",
        "a: 1\n---\nb: 1\n", "a: 1\n---", "a: 1\n...\n...\n", "a: |#\n  x\n", "a: >-\n   \n  x\n", "a: [b\n",
        "a: x\x00y\n",
        "a: " + "[" * document.DEPTH_MAX + "]" * document.DEPTH_MAX, "a: [" + "x, " * document.NODES_MAX + "x]",
    ],
)  # fmt: skip
def test_whatever_is_unusual_is_left_to_the_full_reader(text: str) -> None:
    assert quick_read(Document("f.yaml", text), document.DEPTH_MAX, document.NODES_MAX) is None


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\n", "a:\n  b: [x, 'y, z', \"w\"]\n", "a: {b: c, d: [e]}\n", "---\na: 1\n", "a: |\n  x\n\n  y\n",
        "a: >-  # why\n  x &&\n  y\n", "a: 'it''s\n  x'\r\nb: é\U0001f600\n", "a:\n- b: 1\n  c: 2\n- d\n",
        "a: http://x\n",
    ],
)  # fmt: skip
def test_what_is_usual_is_read_quickly(text: str) -> None:
    assert agree(text)


@given(
    st.text(st.sampled_from("ab'\"\\ é\n#:"), max_size=12),
    st.sampled_from(["a: '{}'\n", 'a: "{}"\n', "a: {}\n", "a: [{}, x]\n"]),
)
@settings(deadline=None)
def test_a_place_in_a_value_is_the_one_found_by_aligning_all_of_it(text: str, form: str) -> None:
    root = document.read("f.yaml", form.format(text).encode()).root
    node = root.get("a") if root is not None else None
    if not isinstance(node, Scalar) or not node.style:
        return
    indexes = syntax.align(node.document.text, node.start, node.end, node.value, node.style)
    assert [node.index(i) for i in range(len(indexes))] == indexes
