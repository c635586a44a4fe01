"""YAML's text level: quoting, what a syntax error means to people, where a value's characters stand."""

from __future__ import annotations

import re

_SPACE = " \t\r\n"
_COMMENT = re.compile(r"[ \t]+#.*$")
_LEAD = re.compile(r"""^\s*(?:-\s+)*(?:(?:[\w.<-]+|"[^"]*"|'[^']*')\s*:\s+)?""")
_UNCLOSED = re.compile(r"""\s*(?:-\s+)*(?:[\w.-]+:\s+)(?:(")(?:[^"\\]|\\.)*|(')(?:[^']|'')*)$""")
_QUOTE_LINES_MAX = 50
_OPERATOR = re.compile(r"\s*(?:[=!<>&|+?:]|in\b)")
_PARTNER = {"{": "}", "[": "]"}
_QUOTED_START = re.compile(r"""("(?:[^"\\]|\\.)*"|'(?:[^']|'')*')\s*\S""")

_WORDS = {
    "true": "yes/no word", "false": "yes/no word", "yes": "yes/no word", "no": "yes/no word",
    "on": "yes/no word", "off": "yes/no word", "y": "yes/no word", "n": "yes/no word",
    "null": "empty word", "~": "empty word",
}  # fmt: skip
_NUMBER = re.compile(
    r"[-+]?(?:\.\d+|\d[\d_]*(?:\.\d*)?)(?:[eE][-+]?\d+)?|0x[0-9a-fA-F]+|0o[0-7]+|[-+]?\.(?:inf|nan)", re.I
)
_DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}(?:[Tt ].*)?")
_CLOCK = re.compile(r"\d+(?::[0-5]?\d)+(?:\.\d*)?")


def quote(text: str) -> str:
    """`text` as a quoted YAML scalar, double quotes where nothing must be escaped."""
    text = " ".join(text.split())
    if '"' not in text and "\\" not in text:
        return f'"{text}"'
    return "'" + text.replace("'", "''") + "'"


def in_curly_quotes(text: str) -> bool:
    """Whether all of it stands in quotes as word processors make them."""
    return len(text) > 2 and text[0] in "“„‟‘‚«" and text[-1] in "”“‟’‘»"


def looks_like(text: str) -> str:
    """What other YAML readers take the plain text for: number, date, time, yes/no word; "" for a text."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _NUMBER.fullmatch(text):
        return "number"
    if _DATE.fullmatch(text):
        return "date"
    return "time" if _CLOCK.fullmatch(text) else ""


def without_comment(line: str) -> str:
    """A line's value without a trailing comment and white space."""
    return _COMMENT.sub("", line).rstrip()


def balanced(text: str) -> str:
    """The beginning of `text` up to a comma or bracket outside its own parentheses."""
    depth = 0
    for i, char in enumerate(text):
        if char in "([{":
            depth += 1
        elif char in ")]}":
            if depth == 0:
                return text[:i].rstrip()
            depth -= 1
        elif char == "," and depth == 0:
            return text[:i].rstrip()
    return without_comment(text)


def marked(written: str) -> tuple[str, str]:
    """A sentence and a hint for a text that begins like a tag, an anchor or an alias."""
    kind = {"!": "a YAML tag", "&": "a YAML anchor", "*": "a YAML alias"}.get(written[:1], "a YAML mark")
    return f"an unquoted '{written[:1]}' starts {kind}, not a text", f"quote it: {quote(written)}"


def unclosed_quote(text: str, place: int) -> int | None:
    """Where the value begins whose opening quote has no partner in its line, and none in the lines up to `place`."""
    lines = text[:place].split("\n")
    start = place
    for back, line in enumerate(reversed(lines)):
        start -= len(line) + (1 if back else 0)
        found = _UNCLOSED.match(line) if back else None
        if found and found.lastindex:
            quote = found[found.lastindex]
            if not any(quote in between for between in lines[len(lines) - back : -1]):
                return start + found.start(found.lastindex)
        if back > _QUOTE_LINES_MAX:
            break
    return None


def explain(problem: str, line: str, column: int) -> tuple[str, str]:
    """A sentence and a hint for a YAML reader's error at `column` of `line`."""
    lead = _LEAD.match(line)
    begin = lead.end() if lead else 0
    value = without_comment(line[begin:])
    hint = f"quote it: {quote(value)}" if value and value[0] not in "[{" else ""
    if "end of stream" in problem or "stream end" in problem:
        return (
            "the file ends inside a quoted text, a list or a map",
            "close it with the quote or bracket that opened it",
        )
    if "mapping values are not allowed" in problem:
        if ": " in value:
            return "an unquoted text cannot contain ': '", hint
        where = "indent the line like its neighbours, and put a space behind the ':' of the line above"
        return "a key is not expected here", where
    if _QUOTED_START.match(value) and begin < column:
        return "nothing may follow a quoted text", f"quote it: {_requoted(value)}"
    if value[:1] in ("{", "[") and begin < column and "<block end>" in problem:
        if line[column : column + 1] in ("}", "]"):
            return f"one '{line[column]}' too many", "remove it"
        return f"nothing may follow the '{_PARTNER[value[0]]}'", f"quote it: {quote(value)}"
    if "cannot start any token" in problem:
        return f"an unquoted text cannot begin with '{line[column : column + 1]}'", hint
    if "could not find expected ':'" in problem:
        return "a key without ':' behind it", "write 'key: value' with a space, and quote texts of several lines"
    if "but got ':'" in problem or "unexpected ':'" in problem:
        separate = "put a comma between two entries" if ";" in value else "quote the text"
        return "inside brackets an unquoted text cannot contain ':'", separate
    if "flow" in problem or "expected ','" in problem:
        return "a list or map in brackets is not closed, or a text in it needs quotes", "quote the text"
    if "<block end>" in problem:
        return "this line does not fit the lines above: is it indented like its neighbours?", ""
    return f"not valid YAML: {problem or 'unreadable'}", hint


def _requoted(value: str) -> str:
    """A value that a quote within ends too early: `"Your "loan" ends"`, but not `"gold" == facts.tier`."""
    within = value[1:-1]
    if value[-1] != value[0] or _OPERATOR.match(within.partition(value[0])[2]):
        within = value
    return quote(within.replace("''", "'") if value[0] == "'" and within != value else within)


def _escape_length(text: str, at: int) -> int:
    return {"x": 4, "u": 6, "U": 10}.get(text[at + 1 : at + 2], 2)


def align(text: str, start: int, end: int, value: str, style: str) -> list[int]:
    """For each character of a scalar's value the index in `text` where it is written.

    Folding turns runs of white space into others, so white space is matched run by run and everything
    else character by character; escapes of double quotes and doubled single quotes count as one.
    """
    at = start
    if style in ('"', "'"):
        at, end = start + 1, end - 1
    elif style in ("|", ">"):
        at = text.find("\n", start, end) + 1 or end  # the header line may hold a comment
    indexes: list[int] = []
    for i, char in enumerate(value):
        if style == '"':
            at = _skip_joined_lines(text, at, end)
        escaped = style == '"' and text[at : at + 1] == "\\"
        if not escaped and char not in _SPACE:
            while at < end and text[at] in _SPACE:
                at += 1
            escaped = style == '"' and text[at : at + 1] == "\\"
            if not escaped and text[at : at + 1] != char:
                found = text.find(char, at, end)
                at = found if found >= 0 else at
        at = min(at, max(start, end - 1))
        indexes.append(at)
        if escaped:
            at += _escape_length(text, at)
        elif char not in _SPACE:
            at += 2 if style == "'" and char == "'" else 1
        elif value[i + 1 : i + 2] not in ("", *_SPACE):
            while at < end and text[at] in _SPACE:
                at += 1
        elif at < end and text[at] in _SPACE:
            at += 1
    return indexes


def _skip_joined_lines(text: str, at: int, end: int) -> int:
    """Past a backslash at the end of a line in double quotes, which joins it to the next."""
    while text[at : at + 1] == "\\" and text[at + 1 : at + 2] in ("\n", "\r"):
        at += 1
        while at < end and text[at] in _SPACE:
            at += 1
    return at
