"""What every code of a finding means: findings.md beside this, which is docs/findings.md (`make docs` copies it)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from engine.compiler.source import ERROR

PAGE = Path(__file__).with_name("findings.md")
_SECTION = re.compile(r"^### (\S+)\n(.*?)(?=^##|\Z)", re.M | re.S)
_LEAD = re.compile(r"\*\*(Error|Warning): (.+?)\.\*\*\s*")
_EXAMPLE = re.compile(r"^```yaml( bad| good)\n(.*?)^```\n*", re.M | re.S)


@dataclass(frozen=True, slots=True)
class Code:
    """One code. `text` is Markdown without the examples, `bad` a rule file that triggers it, `good` the same mended.

    Examples stand beside the rule set in `base()`; "" where there is none.
    """

    name: str
    severity: str
    title: str
    text: str
    bad: str
    good: str


@cache
def codes() -> Mapping[str, Code]:
    """Every code by name, in the order of the page."""
    return parse(PAGE.read_text(encoding="utf-8"))


def parse(page: str) -> dict[str, Code]:
    """The sections of the page."""
    return {name: _code(name, body) for name, body in _SECTION.findall(page)}


def base(page: str) -> str:
    """The rule file that the page's examples stand beside."""
    found = re.search(r"^```yaml base\n(.*?)^```", page, re.M | re.S)
    return found[1] if found else ""


def _code(name: str, body: str) -> Code:
    lead = _LEAD.match(body)
    text = body[lead.end() :] if lead else body
    examples = {kind.strip(): example for kind, example in _EXAMPLE.findall(text)}
    text = _EXAMPLE.sub("", text).strip()
    severity, title = (lead[1].lower(), lead[2]) if lead else (ERROR, text.partition(". ")[0])
    return Code(name, severity, title, text, examples.get("bad", ""), examples.get("good", ""))
