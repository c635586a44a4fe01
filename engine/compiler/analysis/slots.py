"""Texts whose slots cannot be filled, or not for everybody."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from engine.compiler import templates
from engine.compiler.analysis.cases import has_key
from engine.compiler.analysis.domains import of_feature
from engine.compiler.analysis.personal import inputs
from engine.compiler.analysis.reach import Audiences
from engine.compiler.analysis.report import Report
from engine.compiler.analysis.ways import Ways
from engine.compiler.model import PRESENT, Message, RuleSet, Text, Variant
from engine.compiler.nodes import Node, Span
from engine.compiler.source import ERROR

_DOUBLED = re.compile(r"\{\{\s*(\w+)\s*\}\}")


def report_slots(ruleset: RuleSet, report: Report) -> None:
    """Errors slot-never-filled and feature-never-valid; warnings slot-may-be-missing and doubled-braces."""
    for feature in ruleset.features.values():
        if of_feature(feature).empty:
            report.add(
                "feature-never-valid", feature.position, f"no value of '{feature.name}' is within its bounds",
                severity=ERROR,
            )  # fmt: skip
    audiences = Audiences(ruleset, report)
    known: dict[int, tuple[str, ...] | None] = {}
    for message in ruleset.messages.values():
        open_slots: dict[str, tuple[str, ...]] = {}
        for key, slot in message.slots.items():
            node = slot.expression.node
            if id(node) not in known:
                ways = audiences.cases.valued(node)
                known[id(node)] = tuple(_optional(ruleset, ways, node)) if ways else None
            optional = known[id(node)]
            if optional is None:
                span = Span(0, len(slot.expression.text))
                text = f"the slot '{slot.name}' can never be filled: this is always an error"
                report.add_at("slot-never-filled", slot.expression, span, text, severity=ERROR)
            elif optional:
                open_slots[key] = optional
        if open_slots:
            _may_be_missing(audiences, message, open_slots, report)
        for variant in message.variants.values():
            for written in variant.texts.values():
                if "{{" in written.text or written.channels or written.replies:
                    _braces(ruleset, message, variant, _said(written), report)


def _optional(ruleset: RuleSet, ways: Ways, node: Node) -> Iterator[str]:
    """Inputs that the slot needs and a customer may be without: no default, and nothing that an event brings."""
    for path in dict.fromkeys(path for path, _ in inputs(node)):
        root, _, name = path.partition(".")
        feature = ruleset.features.get(name) if root == "features" else None
        window = ruleset.windows.get(name) if root == "windows" else None
        absent = (feature is not None and feature.default is None) or (
            window is not None and window.kind not in PRESENT
        )
        if absent and _needed(ways, path):
            yield path


def _needed(ways: Ways, path: str) -> bool:
    """Whether the input has a value in every one of the ways."""
    key = has_key(path)
    return all(key in way and not way[key].has(0) for way in ways)


def _may_be_missing(
    audiences: Audiences, message: Message, open_slots: dict[str, tuple[str, ...]], report: Report
) -> None:
    """Told where every variant has such a slot: then some of the audience would hear nothing."""
    needed = [
        [path for key in _keys(variant) for path in open_slots.get(key, ())] for variant in message.variants.values()
    ]
    if not needed or not all(needed):
        return
    ways = audiences.audience(message)

    missing = [[path for path in paths if not _needed(ways, path)] for paths in needed]
    if all(missing):
        path = missing[0][0]
        report.add(
            "slot-may-be-missing", message.position,
            f"customers without {path} can hear nothing of '{message.name}'",
            found="every variant has a slot that may be missing",
            hint=f"add a variant without it, a default, or `has({path})` to `when`",
        )  # fmt: skip


def _keys(variant: Variant) -> set[str]:
    return {use.key for text in _texts(variant) for use in templates.slots(text)[0]}


def _texts(variant: Variant) -> Iterator[str]:
    for text in variant.texts.values():
        yield from _said(text)


def _said(text: Text) -> Iterator[str]:
    yield text.text
    yield from text.channels.values()
    yield from text.replies


def _braces(ruleset: RuleSet, message: Message, variant: Variant, texts: Iterable[str], report: Report) -> None:
    for text in texts:
        for found in _DOUBLED.finditer(text):
            name = found[1]
            if name in message.slots or name in ruleset.features:
                report.add(
                    "doubled-braces", variant.position,
                    f"'{variant.name}' says {{{name}}} with its braces: doubled braces are no slot",
                    found=found[0], hint=f"write {{{name}}}",
                )  # fmt: skip
