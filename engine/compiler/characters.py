"""Characters that people do not see, or take for a space, and bytes that are none. A leaf module."""

from __future__ import annotations

import codecs
import unicodedata

BLANKS = "\xa0\u1680\u2000-\u200a\u202f\u205f\u3000"  # of a regular expression's class: all blanks but the space
_UNSEEN = frozenset(("Cf", "Zs", "Zl", "Zp"))
_MARKS = (  # what a file begins with that says its encoding; UTF-32's begins like UTF-16's
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def described(char: str) -> str:
    """`U+200B (zero width space)`."""
    name = unicodedata.name(char, "").lower()
    return f"U+{ord(char):04X}" + (f" ({name})" if name else "")


def is_unseen(char: str) -> bool:
    """Whether nobody sees the character, or everybody takes it for a space."""
    return char != " " and unicodedata.category(char) in _UNSEEN


def unseen(text: str) -> str:
    """A hint about the first such character of a name or a value, "" where there is none."""
    place = next((i for i, char in enumerate(text) if is_unseen(char)), None)
    if place is None:
        return ""
    return f"its character {place + 1} is {described(text[place])}, which nobody sees: remove it"


def not_utf8(content: bytes, start: int) -> str:
    """What is wrong with bytes that cannot be decoded at `start`: the encoding they say, or the byte."""
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "")
    if encoding:
        return f"not UTF-8: the file says that it is {encoding}"
    return f"not UTF-8: the byte 0x{content[start]:02X}"
