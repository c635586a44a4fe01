"""The tree of a rule file in which nothing is out of the ordinary, read by libyaml: ten times as fast.

Nothing is explained here. Whatever would be a finding, and whatever libyaml might read in another way than
`document` does, gives None, and `document` reads the file in full.
"""

from __future__ import annotations

import re

from yaml.cyaml import CParser
from yaml.error import YAMLError
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
)

from engine.compiler.tree import Document, ListNode, MapNode, Node, Scalar

# Tabs, other line breaks, byte order marks, what YAML forbids: the two readers differ in some of them.
_UNUSUAL = re.compile("[^\n\r -~\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_BLOCK_STYLES = ("|", ">")
_BLOCK = re.compile(r"[|>][-+1-9]{0,2} *(?: #[^\r\n]*)?(?:\r\n|\r|\n)(?! *[\r\n])")  # so written they agree


def quick_read(document: Document, depth_max: int, nodes_max: int) -> MapNode | None:
    """The root of a file that is a map and has no finding; None where `document` has to look."""
    text = document.text
    if _UNUSUAL.search(text) or "\n..." in text or "\r..." in text or text.startswith("..."):
        return None  # what may follow the end of a document (`...`) is another difference
    try:
        return _tree(document, CParser(text), depth_max, nodes_max)
    except YAMLError:
        return None


def _tree(document: Document, parser: CParser, depth_max: int, nodes_max: int) -> MapNode | None:
    """One loop without calls: it runs for every value of a file, 400,000 times for 10,000 messages."""
    first = _first(parser)
    if first is None:
        return None
    root = MapNode(document, first.start_mark.index)
    parent: MapNode | ListNode = root
    entries: dict[str, tuple[Scalar, Node]] | None = root.entries  # None inside a list
    flow = bool(first.flow_style)
    key: Scalar | None = None
    around: list[tuple[MapNode | ListNode, bool]] = []
    nodes = 1
    while True:
        event = parser.get_event()
        kind = type(event)
        if kind is MappingEndEvent or kind is SequenceEndEvent:
            parent.end = event.end_mark.index
            if not around:
                return root if nodes <= nodes_max and _ends(parser) else None
            parent, flow = around.pop()
            entries = parent.entries if isinstance(parent, MapNode) else None
            continue
        if kind is AliasEvent or event.anchor is not None or event.tag is not None:
            return None
        nodes += 1
        node: Node
        if kind is ScalarEvent:
            value, style = event.value, event.style
            node = Scalar(document, value, style, event.start_mark.index, event.end_mark.index, flow)
            if not style and (not value or (flow and value.count("(") != value.count(")"))):
                return None  # nothing written, or a comma may have cut it in two
            if style in _BLOCK_STYLES and not _BLOCK.match(document.text, node.start):
                return None
            if entries is not None and key is None:
                if value in entries or value == "<<":
                    return None
                key = node
                continue
        elif len(around) + 1 >= depth_max or (entries is not None and key is None):
            return None  # too deep, or a key that is no name
        else:
            node = (MapNode if kind is MappingStartEvent else ListNode)(document, event.start_mark.index)
        if entries is None:
            parent.items.append(node)  # type: ignore[union-attr]
        else:
            entries[key.value] = (key, node)  # type: ignore[union-attr, assignment]
            key = None
        if kind is not ScalarEvent:
            around.append((parent, flow))
            parent, flow = node, bool(event.flow_style)  # type: ignore[assignment]
            entries = node.entries if isinstance(node, MapNode) else None


def _first(parser: CParser) -> MappingStartEvent | None:
    """The start of the map that the file is; None where it is anything else."""
    parser.get_event()  # the stream
    document = parser.get_event()
    if type(document) is not DocumentStartEvent or document.version or document.tags:
        return None
    event = parser.get_event()
    return event if type(event) is MappingStartEvent and event.tag is None and event.anchor is None else None


def _ends(parser: CParser) -> bool:
    """Whether the file ends with its first document."""
    parser.get_event()  # the document's end
    return type(parser.get_event()) is StreamEndEvent
