"""What people write who know spreadsheets or other languages, and how it is written here."""

from __future__ import annotations

import re
from collections.abc import Sequence

from engine.compiler.lexer import AMOUNT, Token

_WORDS = {
    "and": "for 'and', write `&&`",
    "or": "for 'or', write `||`",
    "not": "for 'not', write `!`",
    "is": "to compare, write `==`",
    "equals": "to compare, write `==`",
    "between": "write `x >= 1 && x <= 3`",
    "contains": 'write `x.contains("..")`',
    "like": 'write `x.contains("..")`',
}
_UNITS = {"day": "days({})", "week": "days(7 * {})", "month": "months({})", "hour": 'duration("{}h")'}
_NUMBERS = ("int", "float")
_NUMBER = re.compile(r"\d{1,9}(?:\.\d{1,9})?")
_CURRENCY = re.compile(r"[A-Z]{3}")
_VALUES = {
    "yes": "write `true`",
    "true": "write `true`",
    "no": "write `false`",
    "false": "write `false`",
    "today": "write `date(now)`",
    "missing": "`!has(..)` tells that a value is missing",
    "empty": "`!has(..)` tells that a value is missing",
    "none": "`!has(..)` tells that a value is missing",
}


def unexpected(tokens: Sequence[Token], place: int) -> tuple[Token, str]:
    """The token at fault where `tokens[place]` is not expected, and a hint, "" where none is known."""
    token = tokens[place]
    before = tokens[place - 1] if place else None
    if token.text.lower() in _WORDS:
        return token, _WORDS[token.text.lower()]
    if before is None:
        return token, ""
    if before.kind == "name" and before.text.lower() == "not":
        return before, _WORDS["not"]
    if before.kind == "<" and token.kind == ">" and before.end == token.start:
        return before, "write `!=`"
    if token.kind == "name" and before.kind in _NUMBERS:
        return token, _with_unit(before.text, token.text)
    if before.kind == "%" and place > 1 and _NUMBER.fullmatch(tokens[place - 2].text):
        percent = tokens[place - 2].text
        return before, f"`%` is the remainder of a division: {percent} percent are `{float(percent) / 100:g}`"
    if token.kind == ",":
        return token, _with_comma(tokens, place)
    return token, ""


def _with_unit(number: str, word: str) -> str:
    if _CURRENCY.fullmatch(word):
        return AMOUNT
    pattern = _UNITS.get(word.lower().removesuffix("s"), "")
    return f"write `{pattern.format(number)}`" if pattern else ""


def _with_comma(tokens: Sequence[Token], place: int) -> str:
    """A comma within a number, or between what should stand in `[ ]`."""
    before, after = tokens[place - 1], tokens[place + 1]
    joined = before.end + 1 == after.start
    if joined and before.kind == "int" and after.kind in _NUMBERS:
        thousands = after.kind == "int" and len(after.text) == 3
        whole = before.text + ("" if thousands else ".") + after.text
        return f"write `{whole}`: a number has no comma"
    depth = 0
    for at in range(place - 1, 0, -1):
        depth += tokens[at].kind in (")", "]")
        depth -= tokens[at].kind in ("(", "[")
        if depth < 0:
            return "a list stands in brackets: `x in [1, 2]`" if tokens[at - 1].kind == "in" else ""
    return ""


def value(name: str) -> str:
    """A hint for a word that stands where a value is expected, and that nothing is called."""
    return _VALUES.get(name.lower(), f'if a text was meant, write `"{name}"`')
