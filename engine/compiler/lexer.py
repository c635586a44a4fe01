"""Tokens of CEL, and the values of its literals (CEL language definition, "Syntax").

One master regular expression: 10,000 rules must compile in 3 s, and this takes well under a
microsecond per token. It reads `features.x` in one go, as every input is written. Everything wrong
is raised as `Refused`, one problem per text.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from engine.compiler.characters import described, is_unseen
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
    """`kind` is the text itself for operators and `in`, else name, quoted, int, uint, float, text or end.

    Also path, for a whole `features.x`, where it says so.
    """

    kind: str
    text: str
    start: int
    end: int


_TOKEN = re.compile(
    r"""[ \t\n\f\r]*(?:
      (?P<path>(?:features|event|windows|facts)\.
               (?!(?:in|true|false|null)(?![_a-zA-Z0-9]))[_a-zA-Z][_a-zA-Z0-9]*)
    | (?P<op>&&|\|\||[=!<>]=|[-+*%<>!?:,()\[\]{}]|/(?!/)|\.(?![0-9]))
    | (?P<float>(?:[0-9]*\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+)(?![_a-zA-Z]))
    | (?P<int>(?:0x[0-9a-fA-F]+|[0-9]+)(?![_a-zA-Z0-9]|\.(?![_a-zA-Z`])))
    | (?P<text>"[^"\\\r\n]+"|'[^'\\\r\n]+')
    | (?P<quote>[bB]?[rR]?["'])
    | (?P<name>[_a-zA-Z][_a-zA-Z0-9]*)
    | (?P<uint>(?:0x[0-9a-fA-F]+|[0-9]+)[uU](?![_a-zA-Z0-9]))
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

AMOUNT = "write the number alone: an amount takes its currency from what it is compared with"
_BAD_CHARACTER = {
    "=": "to compare, write `==`",
    "&": "for 'and', write `&&`",
    "|": "for 'or', write `||`",
    "“": 'use straight quotes: "..."',
    "”": 'use straight quotes: "..."',
    "„": 'use straight quotes: "..."',
    "‘": "use straight quotes: '...'",
    "’": "use straight quotes: '...'",
    "–": "write `-`",
    "—": "write `-`",
    "€": AMOUNT,
    "$": AMOUNT,
    "£": AMOUNT,
    "≥": "write `>=`",
    "≤": "write `<=`",
    "≠": "write `!=`",
    "#": "a comment begins with `//`",
}


def tokenize(text: str) -> list[Token]:
    """Every token of `text`, the last of kind end; no paths. Raises `Refused`."""
    return [part for token in tokens_of(text) for part in (split(token) if token.kind == "path" else (token,))]


def split(path: Token) -> tuple[Token, Token, Token]:
    """The three tokens that a path is made of."""
    dot = path.start + path.text.index(".")
    root, name = path.text.split(".")
    return (
        Token("name", root, path.start, dot),
        Token(".", ".", dot, dot + 1),
        Token("name", name, dot + 1, path.end),
    )


def tokens_of(text: str) -> list[Token]:
    """Every token of `text`, the last of kind end, with paths in one. Raises `Refused`."""
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
    place = 0
    while not tokens or tokens[-1].kind != "end":
        place = _read(text, place, tokens)
    return tokens


def _read(text: str, place: int, tokens: list[Token]) -> int:
    """Tokens from `place` on, up to the end or behind the next text that is not plain; where to go on."""
    add, new = tokens.append, tuple.__new__  # a third of what Token(..) takes
    for found in _TOKEN.finditer(text, place):
        kind = found.lastgroup
        assert kind is not None
        place, word = found.end(), found[kind]
        start = place - len(word)
        if kind == "op":
            kind = word
        elif kind == "name":
            kind = "in" if word == "in" else kind
        elif kind == "quote":
            place = _end_of_text(text, start, word)
            add(Token("text", text[start:place], start, place))
            return place
        elif kind == "bad" or kind == "number":
            raise Refused(_unreadable(kind, word, Span(start, place), text[place : place + 1]))
        elif kind == "comment":
            continue
        add(new(Token, (kind, word, start, place)))
        if kind == "end":
            break
    return place


def _unreadable(kind: str, word: str, span: Span, following: str) -> Problem:
    if kind == "number":
        hint = "write `1.0`, not `1.`" if word.endswith(".") else "names do not begin with a digit"
        return Problem("bad-number", span, f"'{word}' is not a number", word, "a number such as 12 or 0.5", hint)
    expected = "an operator, a name or a value"
    if word.isspace():
        name = f"the blank U+{ord(word):04X}"
        return Problem("unexpected-character", span, f"{name} is not a space", name, expected, "type a space instead")
    if is_unseen(word):
        name = described(word)
        message = f"{name} does not belong in an expression"
        return Problem("unexpected-character", span, message, name, expected, "remove it: nobody sees it")
    hint = f"write `{following}=`" if word == "=" and following in ("<", ">") else _BAD_CHARACTER.get(word, "")
    return Problem("unexpected-character", span, f"'{word}' does not belong in an expression", word, expected, hint)


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
    quote = token.text[0]
    if quote in "\"'" and "\\" not in token.text and not token.text.startswith(quote * 3):
        return token.text[1:-1]
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
    if len(token.text) < 19 and token.text.isdecimal():
        return -int(token.text) if negative else int(token.text)
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
