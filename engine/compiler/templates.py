"""Texts with slots: `Hi {first_name}, {event.amount:money} arrived`. `{{` and `}}` are braces."""

from __future__ import annotations

import re
from typing import NamedTuple

SHAPES = ("text", "integer", "number", "money", "date", "days")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BRACE = re.compile(r"[{}]")
_SHAPE = re.compile(r":\s*([A-Za-z_]+)\s*$")


class SlotUse(NamedTuple):
    """A slot in a text: `key` is all between the braces, from `start` on; `body` the part before the shape.

    `bare` says whether the body is a single name (a declared slot or a feature) and not an expression.
    """

    key: str
    start: int
    body: str
    shape: str | None

    @property
    def bare(self) -> bool:
        return _IDENTIFIER.fullmatch(self.body) is not None


class TemplateProblem(NamedTuple):
    """A brace that has no partner, at `start` of the text."""

    start: int
    end: int
    message: str
    hint: str


def slots(text: str) -> tuple[list[SlotUse], list[TemplateProblem]]:
    """The slots a text uses, in order, and what is wrong with its braces."""
    uses: list[SlotUse] = []
    problems: list[TemplateProblem] = []
    at = 0
    while (brace := _BRACE.search(text, at)) is not None:
        at = brace.start()
        if text.startswith(("{{", "}}"), at):
            at += 2
        elif brace[0] == "}":
            problems.append(
                TemplateProblem(at, at + 1, "a closing brace without an opening one", "write '}}' for a brace")
            )
            at += 1
        else:
            end = text.find("}", at)
            if end < 0 or "{" in text[at + 1 : end]:
                problems.append(TemplateProblem(at, at + 1, "this brace is not closed", "write '{{' for a brace"))
                at += 1
                continue
            key = text[at + 1 : end]
            if not key.strip():
                problems.append(
                    TemplateProblem(at, end + 1, "nothing between the braces", "write '{{}}' for two braces")
                )
            else:
                uses.append(_use(key, at + 1))
            at = end + 1
    return uses, problems


def _use(key: str, start: int) -> SlotUse:
    shape = _SHAPE.search(key)
    if shape is None or ("?" in key and shape[1] not in SHAPES):  # `a ? b : c` has a colon of its own
        return SlotUse(key, start, key.strip(), None)
    return SlotUse(key, start, key[: shape.start()].strip(), shape[1])
