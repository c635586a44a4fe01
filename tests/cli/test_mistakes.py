"""docs/mistakes.md tells the truth: each wrong excerpt gives the screen shown, each mended one stands in the rules."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "mistakes.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", PAGE, re.S))
MISTAKES = re.findall(
    r"^## ([^\n]+)\n(?:(?!^## ).)*?"
    r"(?:<!-- ([^\n:]+) -->\n)?```(?:yaml|csv)\n([^`]*)```\n```text\n(.*?)```\n```(?:yaml|csv)\n([^`]*)```",
    PAGE,
    re.S | re.M,
)
Tact = Callable[..., Any]


def written(root: Path, changed: str = "", mended: str = "", wrong: str = "") -> Path:
    """The rule set of the page in the directory `loans`, with one excerpt of the file `changed` written wrongly."""
    for name, content in FILES.items():
        if name == changed:
            assert content.count(mended) == 1, mended
            content = content.replace(mended, wrong)
        path = root / "loans" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return Path("loans")


def test_the_rule_set_of_the_page_is_sound(tact: Tact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rules = written(tmp_path)
    checked = tact("check", rules, "--strict")
    assert checked.status == 0, checked.out
    assert tact("test", rules).out.splitlines()[-1] == "1 test passed, 0 failed"


@pytest.mark.parametrize(("title", "where", "wrong", "screen", "mended"), MISTAKES, ids=[m[0] for m in MISTAKES])
def test_a_mistake_gives_the_screen_of_the_page(
    title: str, where: str, wrong: str, screen: str, mended: str, tact: Tact, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    command = "test" if where == "tact test" else "check"
    rules = written(tmp_path, where if where in FILES else "loans.yaml", mended, wrong)
    ran = tact(command, rules)
    lines = ran.out.splitlines()
    ends = [i for i, line in enumerate(lines) if line.startswith("loans: ")]
    told = lines[: ends[0] - 1] if ends else lines
    assert "\n".join(told) + "\n" == screen


def test_every_mistake_is_listed_and_tried() -> None:
    headings = re.findall(r"^## (.+)$", PAGE, re.M)
    assert [title for title, *_ in MISTAKES] == headings[:-1]
    anchors = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    assert re.findall(r"\]\(#([^)]+)\)", PAGE) == anchors
