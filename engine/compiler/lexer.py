"""Tokens of CEL, and the values of its literals (CEL language definition, "Syntax").

One master regular expression: 10,000 rules must compile in 3 s, and this takes well under a
microsecond per token. Everything wrong is raised as `Refused`, one problem per text.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from engine.compiler.nodes import Span
from engine.compiler.source import Problem

TEXT_MAX = 10_000  # characters
INT_MIN = -(2**63)
INT_MAX = 2**63 - 1
UINT_MAX = 2**64 - 1


class Refused(Exception):
    """The text is not an expression within the limits; carries the one problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class Token(NamedTuple):
    """`kind` is the text itself for operators and `in`, else name, quoted, int, uint, float, text or end."""

    kind: str
    text: str
    start: int
    end: int


_TOKEN = re.compile(
    r"""[ \t\n\f\r]*(?:
      (?P<text>[bB]?[rR]?["'])
    | (?P<name>[_a-zA-Z][_a-zA-Z0-9]*)
    | (?P<op>&&|\|\||[=!<>]=|[-+*%<>!?:,()\[\]{}]|/(?!/)|\.(?![0-9]))
    | (?P<float>(?:[0-9]*\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+)(?![_a-zA-Z]))
    | (?P<uint>(?:0x[0-9a-fA-F]+|[0-9]+)[uU](?![_a-zA-Z0-9]))
    | (?P<int>(?:0x[0-9a-fA-F]+|[0-9]+)(?![_a-zA-Z0-9]|\.(?![_a-zA-Z`])))
    | (?P<comment>//[^\n]*)
    | (?P<quoted>`[a-zA-Z0-9_\-./ ]+`)
    | (?P<end>\Z)
    | (?P<number>\.?[0-9][_a-zA-Z0-9.]*)
    | (?P<bad>.)
    )""",
    re.VERBOSE | re.DOTALL,
)

_BODY = {  # what follows the opening quote, closing quote included; [quote][raw]
    '"': (re.compile(r'((?:[^"\\\r\n]|\\.)*)"'), re.compile(r'([^"\r\n]*)"')),
    "'": (re.compile(r"((?:[^'\\\r\n]|\\.)*)'"), re.compile(r"([^'\r\n]*)'")),
    '"""': (re.compile(r'((?:[^"\\]|\\.|"(?!""))*)"""', re.DOTALL), re.compile(r'(.*?)"""', re.DOTALL)),
    "'''": (re.compile(r"((?:[^'\\]|\\.|'(?!''))*)'''", re.DOTALL), re.compile(r"(.*?)'''", re.DOTALL)),
}

_BAD_CHARACTER = {
    "=": "to compare, write `==`",
    "&": "for 'and', write `&&`",
    "|": "for 'or', write `||`",
    "“": 'use straight quotes: "..."',
    "”": 'use straight quotes: "..."',
    "‘": "use straight quotes: '...'",
    "’": "use straight quotes: '...'",
    "≥": "write `>=`",
    "≤": "write `<=`",
    "≠": "write `!=`",
    "#": "a comment begins with `//`",
}


def tokenize(text: str) -> list[Token]:
    """Every token of `text`, the last of kind end. Raises `Refused`."""
    if len(text) > TEXT_MAX:
        raise Refused(
            Problem(
                "text-too-long",
                Span(TEXT_MAX, len(text)),
                "the expression is too long",
                f"{len(text)} characters",
                f"at most {TEXT_MAX} characters",
                "give parts of it a name under `facts`",
            )
        )
    tokens: list[Token] = []
    match = _TOKEN.match
    place = 0
    while True:
        found = match(text, place)
        assert found is not None  # `bad` and `end` match whatever is left
        kind = found.lastgroup
        assert kind is not None
        start, place = found.span(kind)
        word = text[start:place]
        if kind == "op":
            tokens.append(Token(word, word, start, place))
        elif kind == "name":
            tokens.append(Token("in" if word == "in" else "name", word, start, place))
        elif kind == "text":
            place = _end_of_text(text, start, word)
            tokens.append(Token("text", text[start:place], start, place))
        elif kind == "bad" or kind == "number":
            raise Refused(_unreadable(kind, word, Span(start, place)))
        elif kind != "comment":
            tokens.append(Token(kind, word, start, place))
            if kind == "end":
                return tokens


def _unreadable(kind: str, word: str, span: Span) -> Problem:
    if kind == "number":
        hint = "write `1.0`, not `1.`" if word.endswith(".") else "names do not begin with a digit"
        return Problem("bad-number", span, f"'{word}' is not a number", word, "a number such as 12 or 0.5", hint)
    return Problem(
        "unexpected-character",
        span,
        f"'{word}' does not belong in an expression",
        word,
        "an operator, a name or a value",
        _BAD_CHARACTER.get(word, ""),
    )


def _opening(word: str, text: str, start: int) -> tuple[str, bool, int]:
    """Quote, rawness and start of the body of the text literal whose prefix and first quote are `word`."""
    quote = word[-1]
    body = start + len(word)
    if text.startswith(quote * 2, body):
        return quote * 3, word[-2:-1] in ("r", "R"), body + 2
    return quote, word[-2:-1] in ("r", "R"), body


def _end_of_text(text: str, start: int, word: str) -> int:
    quote, raw, body = _opening(word, text, start)
    found = _BODY[quote][raw].match(text, body)
    if found is None:
        span = Span(start, len(text))
        message = "the text has no closing quote"
        raise Refused(Problem("unterminated-text", span, message, text[start : start + 20], f"a closing {quote}"))
    return found.end()


_SIMPLE = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
    "?": "?",
    '"': '"',
    "'": "'",
    "`": "`",
}
_ESCAPE = re.compile(
    r"\\(?:[xX]([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|([abfnrtv\\?\"'`])|)",
    re.DOTALL,
)


def text_value(token: Token) -> str | bytes:
    """The value of a text or bytes literal, escapes resolved. Raises `Refused` for a bad escape."""
    prefix_end = min(i for i in (token.text.find('"'), token.text.find("'")) if i >= 0)
    quote, raw, body_start = _opening(token.text[: prefix_end + 1], token.text, 0)
    body = token.text[body_start : len(token.text) - len(quote)]
    is_bytes = token.text[0] in "bB"
    offset = token.start + body_start
    if not raw and "\\" in body:
        if is_bytes:
            return _unescaped(body, offset, True).encode("latin-1")
        return _unescaped(body, offset, False)
    return body.encode() if is_bytes else body


def _unescaped(body: str, offset: int, is_bytes: bool) -> str:
    """Escapes resolved; for bytes each character of the result is one byte."""
    parts: list[str] = []
    done = 0
    for found in _ESCAPE.finditer(body):
        plain = body[done : found.start()]
        parts.append(plain.encode().decode("latin-1") if is_bytes else plain)
        done = found.end()
        byte, short, long, octal, simple = found.groups()
        code = int(byte or short or long, 16) if byte or short or long else int(octal, 8) if octal else -1
        if simple:
            parts.append(_SIMPLE[simple])
        elif code < 0 or code > 0x10FFFF or 0xD800 <= code <= 0xDFFF or (is_bytes and not (byte or octal)):
            end = max(found.end(), min(found.start() + 2, len(body)))
            raise Refused(
                Problem(
                    "bad-escape",
                    Span(offset + found.start(), offset + end),
                    "this escape means nothing here",
                    body[found.start() : end],
                    r"one of \n \t \r \\ \" \' \` \? \a \b \f \v, \x12, \u1234, \U00012345 or \123",
                    r"a backslash itself is `\\`; in r'...' nothing is escaped",
                )
            )
        else:
            parts.append(chr(code))
    rest = body[done:]
    parts.append(rest.encode().decode("latin-1") if is_bytes else rest)
    return "".join(parts)


def integer_value(token: Token, negative: bool) -> int:
    """The value of an int or uint literal, negated where a minus stands before it. Raises `Refused`."""
    digits = token.text.rstrip("uU")
    # int() of thousands of digits is refused by Python itself; 20 digits are too many already
    short = digits if digits.startswith("0x") else digits.lstrip("0") or "0"
    value = int(short, 16) if short.startswith("0x") else int(short) if len(short) <= 20 else UINT_MAX + 1
    value = -value if negative else value
    low, high = (0, UINT_MAX) if token.kind == "uint" else (INT_MIN, INT_MAX)
    if not low <= value <= high:
        wanted = f"an integer from {low} to {high}"
        hint = "with a decimal point (.0) it is a number" if token.kind == "int" else ""
        raise Refused(_overflow(token, "the integer is too large", wanted, hint))
    return value


def number_value(token: Token) -> float:
    """The value of a double literal. Raises `Refused` where it would be infinite."""
    value = float(token.text)
    if math.isinf(value):
        raise Refused(_overflow(token, "the number is too large", "a number below 1.8e308", ""))
    return value


def _overflow(token: Token, message: str, expected: str, hint: str) -> Problem:
    return Problem("literal-overflow", Span(token.start, token.end), message, token.text, expected, hint)
