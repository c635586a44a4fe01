"""`tact check --explain CODE`: what a finding's code means, and how it is mended."""

from __future__ import annotations

import re

from rich.console import Console
from rich.text import Text

from engine.cli.output import OK, USAGE, CommandError, out, print_json, say
from engine.compiler.codes import Code, codes
from engine.compiler.source import did_you_mean

_SPOKEN = re.compile(r"(`[^`]+`|\*\*[^*]+\*\*|\bFix:)")


def explain(name: str, as_json: bool, color: str) -> int:
    """Shows one code. Raises CommandError where there is none of this name."""
    code = codes().get(name.strip("[]"))
    if code is None:
        hint = did_you_mean(name, codes())
        raise CommandError(f"no finding has the code '{name}'" + (f": {hint}" if hint else ""), USAGE)
    if as_json:
        shown = {"code": code.name, "severity": code.severity, "title": code.title, "text": code.text}
        print_json(shown | {"bad": code.bad or None, "good": code.good or None})
    else:
        _print(out(color), code)
    return OK


def _print(console: Console, code: Code) -> None:
    style = "bold red" if code.severity == "error" else "bold yellow"
    head = Text.assemble((f"{code.severity}[{code.name}]", style), (f": {code.title}", "bold"))
    say(console, head, hang=4)
    for paragraph in code.text.split("\n\n"):
        console.print()
        if paragraph.startswith("```"):
            for line in paragraph.strip("`").splitlines()[1:]:
                console.print(Text(f"    {line}"), soft_wrap=True)
        else:
            say(console, _spoken(" ".join(paragraph.split())))
    for label, example, other, mark in (
        ("found in", code.bad, code.good, "red"),
        ("mended", code.good, code.bad, "green"),
    ):
        if example:
            console.print()
            console.print(Text(f"{label}:", f"bold {mark}"))
            alike = set(other.splitlines())
            for line in example.splitlines():
                console.print(Text(f"    {line}".rstrip(), "" if line in alike else mark), soft_wrap=True)


def _spoken(text: str) -> Text:
    """Markdown's code and bold as styles; in a pipe the back quotes stay."""
    result = Text()
    for part in _SPOKEN.split(text):
        if part.startswith("`"):
            result.append(part, "cyan")
        else:
            result.append(
                part.removeprefix("**").removesuffix("**"), "bold" if part == "Fix:" or part.startswith("**") else ""
            )
    return result
