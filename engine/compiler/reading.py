"""From raw scalars to names, numbers, spans of time and texts: what every section of a rule file needs.

Nothing here raises: what is wrong goes to `findings` and the value is None, so that one reading tells
everything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from engine.compiler import syntax
from engine.compiler.characters import unseen
from engine.compiler.model import Period, Position
from engine.compiler.source import ERROR, SURE, Finding, closest, did_you_mean
from engine.compiler.tree import ListNode, MapNode, Node, Scalar

T = TypeVar("T")
Fields = Mapping[str, tuple[Scalar, Node]]

KEYWORDS = frozenset(("true", "false", "null", "in"))
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")
_WHOLE = re.compile(r"[-+]?\d{1,18}")
_SHARE = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(\s*%)?")
_PERIOD = re.compile(r"(\d{1,9})\s+(second|minute|hour|day|week|month)s?")
_NEARLY = re.compile(r"(\d{0,9})\s*(|s|secs?|seconds?|min(?:ute)?s?|h|hours?|d|days?|w|weeks?|months?)", re.I)
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[A-Za-z0-9]{2,8})*")
NAME_LENGTH_MAX = 100
_SPAN_S_MAX = 3660 * 86400  # ten years: longer is a slip of the pen


class Reading:
    """The findings of one rule set, and typed reading of nodes."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self._fit: set[tuple[str, bool]] = set()  # for names: most are the same few

    def add(
        self,
        code: str,
        node: Node,
        message: str,
        *,
        found: str = "",
        expected: str = "",
        hint: str = "",
        also: Position | None = None,
        severity: str = ERROR,
    ) -> None:
        """A finding about a whole node; maps and lists are marked by their first line."""
        start, end = node.start, node.end
        finding = node.document.finding(code, start, end, message, found=found, expected=expected, hint=hint, also=also)
        self.findings.append(finding if severity == ERROR else replace(finding, severity=severity))

    def add_at(
        self, code: str, scalar: Scalar, start: int, end: int, message: str,
        *, found: str = "", expected: str = "", hint: str = "", severity: str = ERROR,
    ) -> None:  # fmt: skip
        """A finding about the characters `start` to `end` of a scalar's value."""
        begin = scalar.index(start)
        close = scalar.index(end - 1) + 1 if end > start else begin + 1
        finding = scalar.document.finding(code, begin, close, message, found=found, expected=expected, hint=hint)
        self.findings.append(finding if severity == ERROR else replace(finding, severity=severity))

    def failed_since(self, count: int) -> bool:
        """Whether an error was told behind the first `count` findings; what has warnings alone is kept."""
        return any(f.severity == ERROR for f in self.findings[count:])

    def unknown(self, code: str, scalar: Scalar, message: str, known: Iterable[str]) -> None:
        """A finding about a name that nothing is called."""
        names = sorted(known) if isinstance(known, frozenset) else list(known)
        listed = ", ".join(names[:12]) + (", .." if len(names) > 12 else "")
        hint = unseen(scalar.value) or did_you_mean(scalar.value, names)
        self.add(code, scalar, message, expected=f"one of {listed}" if names else "", hint=hint)

    def map(self, node: Node, what: str) -> MapNode | None:
        """`node` as a map; nothing written is an empty one."""
        if isinstance(node, MapNode):
            return node
        if isinstance(node, Scalar) and node.absent:
            empty = MapNode(node.document, node.start)
            empty.end = node.end
            return empty
        if isinstance(node, Scalar) and node.spoiled:
            return None
        self.add("wrong-shape", node, f"{what} must be a map", found=shape(node), expected="a map `{key: value}`")
        return None

    def list(self, node: Node, what: str) -> Sequence[Node]:
        """The items of `node`; a finding where it is no list."""
        if isinstance(node, ListNode):
            return node.items
        if not (isinstance(node, Scalar) and (node.absent or node.spoiled)):
            hint = f"write [{node.value}]" if isinstance(node, Scalar) and not node.style else ""
            told = f"{what} must be a list"
            self.add("wrong-shape", node, told, found=shape(node), expected="a list `[a, b]`", hint=hint)
        return ()

    def fields(self, node: Node, what: str, known: Sequence[str], required: Sequence[str] = ()) -> Fields | None:
        """The entries of a map with known keys. Keys without a value are told and left out.

        Where some are required and nothing is written, that is told once, and the result is None.
        A misspelt key is told, and read as the one that it was meant to be: one mistake is one finding.
        """
        mapping = None if self.unwritten(node, what, required) else self.map(node, what)
        if mapping is None:
            return None
        result: dict[str, tuple[Scalar, Node]] = {}
        meant: set[str] = set()
        for name, (key, value) in mapping.entries.items():
            if name not in known:
                if ":" in name and not key.style and name.partition(":")[0] in known:
                    start, _, end = name.partition(":")
                    self.add("unknown-key", key, f"no space behind '{start}:'", hint=f"write {start}: {end}")
                    return None
                self.unknown("unknown-key", key, f"{what} has no key '{name}'", known)
                name = closest(name, known, SURE)
                if name not in mapping.entries:
                    meant.add(name)
            if name not in known or (name in mapping.entries and mapping.entries[name][0] is not key):
                continue
            if isinstance(value, Scalar) and value.absent:
                self.add("missing-value", key, f"'{name}' has no value")
            elif not (isinstance(value, Scalar) and value.spoiled):
                result[name] = (key, value)
        for name in required:
            if name not in mapping.entries and name not in meant:
                self.add("missing-key", node, f"{what} needs '{name}'")
        return result

    def unwritten(self, node: Node, what: str, required: Sequence[str]) -> bool:
        """Whether nothing is written where keys are needed, with the one finding for it."""
        if not required or not isinstance(node, Scalar) or not node.absent:
            return False
        self.add("missing-value", node, f"{what} has no value", expected=f"{', '.join(required)} below it")
        return True

    def scalar(self, node: Node, what: str) -> Scalar | None:
        """`node` as a scalar with something in it."""
        if isinstance(node, Scalar):
            if node.spoiled:
                return None
            if not node.value.strip():
                self.add("missing-value", node, f"{what} is empty")
            elif not node.style and syntax.in_curly_quotes(node.value):
                message = "curly quotes are part of the text: only straight ones enclose it"
                self.add("curly-quotes", node, message, hint=f"write {syntax.quote(node.value[1:-1])}")
            else:
                return node
        else:
            hint = "join conditions with `&&`" if what in ("'when'", "'unless'") else ""
            self.add("wrong-shape", node, f"{what} must be a single value", found=shape(node), hint=hint)
        return None

    def _parsed(
        self, node: Node, what: str, pattern: re.Pattern[str], expected: str, hint: Callable[[str], str] | None = None
    ) -> re.Match[str] | None:
        scalar = self.scalar(node, what)
        if scalar is None:
            return None
        match = pattern.fullmatch(scalar.value.strip())
        if match is None:
            told = unseen(scalar.value) or (hint(scalar.value.strip()) if hint else "")
            self.add("bad-value", scalar, f"{what} cannot be read", found=scalar.value, expected=expected, hint=told)
        return match

    def name(self, node: Node, what: str) -> str | None:
        """A name in use: of a message, purpose, channel, topic .. (not of a variable)."""
        scalar = self.scalar(node, what)
        if scalar is not None and self.named(scalar, what):
            return scalar.value
        return None

    def named(self, scalar: Scalar, what: str, identifier: bool = False) -> bool:
        """Whether the scalar is fit as a name; `identifier` where expressions must be able to say it."""
        if (scalar.value, identifier) in self._fit:
            return True
        pattern = _IDENTIFIER if identifier else _NAME
        expected = "letters, digits and _, no digit first" if identifier else "letters, digits, _ - and ."
        bad = not pattern.fullmatch(scalar.value) or len(scalar.value) > NAME_LENGTH_MAX
        if bad or (identifier and scalar.value in KEYWORDS):
            message = f"'{scalar.value[:40]}' cannot name {what}"
            self.add("bad-name", scalar, message, expected=expected, hint=unseen(scalar.value))
            return False
        self._fit.add((scalar.value, identifier))
        return True

    def names(
        self, node: Node, what: str, known: Iterable[str] | None = None, code: str = "unknown-name"
    ) -> tuple[str, ...]:
        """A list of names, each once; with `known`, only these."""
        known = known if known is None or isinstance(known, Mapping) else list(known)
        result: dict[str, None] = {}
        for item in self.list(node, what):
            name = self.name(item, f"an entry of {what}")
            if name is None or not isinstance(item, Scalar):
                continue
            if known is not None and name not in known:
                kind = code.removeprefix("unknown-").replace("-", " ")
                declared = code.startswith("unknown-")
                told = f"no {kind} is called '{name}'" if declared else f"'{name}' cannot stand in {what}"
                self.unknown(code, item, told, known)
            elif name in result:
                self.add("duplicate-name", item, f"'{name}' stands twice in {what}")
            else:
                result[name] = None
        return tuple(result)

    def choice(self, node: Node, what: str, options: Sequence[str]) -> str | None:
        """One word of a closed list."""
        scalar = self.scalar(node, what)
        if scalar is None:
            return None
        if scalar.value not in options:
            self.unknown("bad-value", scalar, f"{what} cannot be '{scalar.value[:40]}'", options)
            return None
        return scalar.value

    def reference(self, node: Node, what: str, known: Iterable[str]) -> str | None:
        """The name of something declared elsewhere. `what` is its kind: `product`."""
        scalar = self.scalar(node, f"a {what}")
        if scalar is None:
            return None
        if scalar.value not in known:
            self.unknown(
                f"unknown-{what.replace(' ', '-')}",
                scalar,
                f"no {what} is called '{scalar.value[:60]}'",
                known,
            )
            return None
        return scalar.value

    def number(self, node: Node, what: str, minimum: float | None = None) -> float | None:
        match = self._parsed(node, what, _NUMBER, "a number such as 12.5")
        if match is None:
            return None
        value = float(match[0])
        if abs(value) == float("inf") or (minimum is not None and value < minimum):
            at_least = f"a number of at least {minimum:g}" if minimum is not None else "a number within range"
            self.add("bad-value", node, f"{what} is out of range", found=match[0], expected=at_least)
            return None
        return value

    def whole(self, node: Node, what: str, minimum: int, maximum: int) -> int | None:
        match = self._parsed(node, what, _WHOLE, f"a whole number from {minimum} to {maximum}")
        if match is None:
            return None
        value = int(match[0])
        if not minimum <= value <= maximum:
            expected = f"a whole number from {minimum} to {maximum}"
            self.add("bad-value", node, f"{what} is out of range", found=match[0], expected=expected)
            return None
        return value

    def flag(self, node: Node, what: str) -> bool | None:
        word = self.choice(node, what, ("true", "false"))
        return None if word is None else word == "true"

    def share(self, node: Node, what: str) -> float | None:
        """`0.05` or `5%`; a bare `5` could mean either and is refused."""
        match = self._parsed(node, what, _SHARE, "a share such as 0.05 or 5%")
        if match is None:
            return None
        value = float(match[1]) / 100 if match[2] else float(match[1])
        if value <= 1.0 and not (value == 1.0 and not match[2]):
            return value
        hint = f"write {match[1]}%" if not match[2] and value <= 100 else ""
        self.add(
            "bad-share",
            node,
            f"a bare {match[1]} is not a share" if hint else "a share is at most 100%",
            found=match[0],
            expected="0.05 or 5%",
            hint=hint,
        )
        return None

    def period(self, node: Node, what: str, at_most: str = "ten years") -> Period | None:
        """A span; `at_most` says in words how long it may be, where the caller allows less than ten years."""
        expected = "a span such as `30 days`, `36 hours` or `12 months`"
        match = self._parsed(node, what, _PERIOD, expected, _period_hint)
        if match is None:
            return None
        period = Period(int(match[1]), match[2])
        if not 0 < period.span_s <= _SPAN_S_MAX:
            expected = f"more than nothing and at most {at_most}"
            self.add("bad-value", node, f"{what} is out of range", found=match[0], expected=expected)
            return None
        return period

    def text(self, node: Node, what: str) -> str | None:
        """What people read: a plain scalar must not be cut off by a comment nor look like another type."""
        scalar = self.scalar(node, what)
        if scalar is None or not self.whole_text(scalar, what):
            return None
        other = "" if scalar.style else syntax.looks_like(scalar.value)
        if other:
            kind = other.split()[-1]
            hint = f"quote it: {syntax.quote(scalar.value)}"
            self.add(f"unquoted-{kind}", scalar, f"an unquoted {other} where a text is expected", hint=hint)
            return None
        return scalar.value

    def whole_text(self, scalar: Scalar, what: str) -> bool:
        """Whether the text is whole, or a finding: ` #` after an unquoted text cuts it off."""
        if not scalar.cut_off or _NUMBER.fullmatch(scalar.value):
            return True
        rest = scalar.document.rest_of_line(scalar.end).rstrip()
        whole, part = syntax.quote(scalar.value + rest), syntax.quote(scalar.value)
        hint = f"quote it: {whole}"
        if scalar.value.count('"') % 2 == 0 and scalar.value.count("'") % 2 == 0:
            hint += f", or {part} if a comment was meant"
        message = f"{what} ends at ' #': what follows on the line is read as a comment"
        self.add("text-cut-off", scalar, message, found=scalar.value, hint=hint)
        return False

    def by_language(self, node: Node, what: str, value: Callable[[Node, str], T | None]) -> dict[str, T]:
        """A map from language tags; `value` reads one entry."""
        if isinstance(node, Scalar) and not node.spoiled:
            hint = f"write {{en: {syntax.quote(node.value)}}}" if node.value else ""
            self.add("wrong-shape", node, f"{what} needs a language", expected="a map `{en: ..}`", hint=hint)
            return {}
        mapping = self.map(node, what)
        result: dict[str, T] = {}
        for name, (key, entry) in (mapping.entries if mapping else {}).items():
            if not _LANGUAGE.fullmatch(name):
                base, dash, rest = name.partition("-")
                hint = f"write {base.lower()}{dash}{rest}" if _LANGUAGE.fullmatch(base.lower() + dash + rest) else ""
                told = f"'{name[:40]}' is not a language"
                self.add("bad-language", key, told, expected="a tag such as en or pt-BR", hint=hint)
                continue
            read = value(entry, f"{what} in '{name}'")
            if read is not None:
                result[name] = read
        return result

    def texts(self, node: Node, what: str) -> dict[str, str]:
        """`{en: "..", de: ".."}`."""
        return self.by_language(node, what, self.text)


def _period_hint(written: str) -> str:
    """How `7`, `24h`, `7days` or `week` is written."""
    found = _NEARLY.fullmatch(written.lower())
    if found is None:
        return ""
    number, word = found[1] or "1", found[2]
    if not word:
        return f"write {number} days, or {number} hours"
    unit = next(
        u for u in ("second", "month", "minute", "hour", "day", "week") if u.startswith(word.rstrip("s") or "s")
    )
    return f"write {number} {unit}{'' if number == '1' else 's'}"


def shape(node: Node) -> str:
    """What a node is, for findings."""
    if isinstance(node, MapNode):
        return "a map"
    return "a list" if isinstance(node, ListNode) else f"'{node.value[:40]}'"
