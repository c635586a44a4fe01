"""Findings for code review: SARIF logs and GitHub's annotations."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.cli import sarif
from engine.compiler.codes import codes
from engine.compiler.model import Position
from engine.compiler.source import WARNING, Finding

Tact = Callable[..., Any]
ROOT = Path(__file__).parents[2]
LINE = '  when: "😀" == features.regio'
FINDING = Finding(
    "unknown-name",
    Position("a b.yaml", 7, 16),
    14,
    "no feature is called 'regio'",
    expected="a feature",
    hint="did you mean 'region'?",
    line_text=LINE,
)


def test_a_log_describes_its_rules_and_places() -> None:
    other = replace(FINDING, code="duplicate-name", severity=WARNING, also=Position("c.yaml", 3, 1), also_text="x: 1")
    log: Any = sarif.log(Path("rules"), [FINDING, other, FINDING])
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    assert run["columnKind"] == "utf16CodeUnits"
    described = run["tool"]["driver"]["rules"]
    assert [r["id"] for r in described] == ["unknown-name", "duplicate-name"]
    assert described[0]["shortDescription"]["text"] == codes()["unknown-name"].title + "."
    assert described[0]["defaultConfiguration"] == {"level": "error"}
    first, second, third = run["results"]
    assert [(r["ruleId"], r["ruleIndex"], r["level"]) for r in run["results"]] == [
        ("unknown-name", 0, "error"), ("duplicate-name", 1, "warning"), ("unknown-name", 0, "error"),
    ]  # fmt: skip
    place = first["locations"][0]["physicalLocation"]
    assert place["artifactLocation"] == {"uri": "rules/a%20b.yaml", "uriBaseId": "%SRCROOT%"}
    assert place["region"] == {"startLine": 7, "startColumn": 17, "endColumn": 31}, "the face counts twice"
    assert second["relatedLocations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "rules/c.yaml"
    assert first["message"]["text"] == (
        "no feature is called 'regio'; expected: a feature; hint: did you mean 'region'?"
    )
    assert first["partialFingerprints"] != third["partialFingerprints"], "the second of two that are alike"


def test_fingerprints_stay_when_lines_move() -> None:
    moved = replace(FINDING, position=Position("a b.yaml", 99, 16))
    assert sarif.fingerprints([FINDING]) == sarif.fingerprints([moved])
    renamed = replace(FINDING, position=Position("c.yaml", 7, 16))
    reworded = replace(FINDING, line_text=LINE.replace("regio", "regin"))
    assert len({sarif.fingerprints([f])[0] for f in (FINDING, renamed, reworded)}) == 3


def test_an_annotation_is_one_escaped_line() -> None:
    finding = replace(FINDING, message="50%: a,\nb", expected="", hint="")
    assert sarif.annotation(Path("rules"), finding) == (
        "::error file=rules/a b.yaml,line=7,col=16,endColumn=30,title=unknown-name::50%25: a,%0Ab"
    )
    warning = replace(FINDING, severity=WARNING, position=Position("a,b.yaml", 1, 1))
    assert sarif.annotation(Path("rules"), warning).startswith("::warning file=rules/a%2Cb.yaml,")


def test_paths_start_at_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert sarif.shown_path(Path("rules"), "a/b.yaml") == "rules/a/b.yaml"
    assert sarif.shown_path(tmp_path / "rules", "a.yaml") == "rules/a.yaml"
    assert sarif.shown_path(Path("."), "a.yaml") == "a.yaml"
    assert sarif.shown_path(Path("../rules"), "a.yaml") == "a.yaml"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all names are Unicode")
@pytest.mark.parametrize("kind", ["text", "json", "sarif", "github"])
def test_names_need_not_be_utf8(rules: Path, kind: str) -> None:
    (rules / os.fsdecode(b"caf\xe9.yaml")).write_text("foo: 1\n")
    odd = rules.rename(rules.with_name(os.fsdecode(b"r\xe9gles")))
    command = [sys.executable, "-m", "engine.cli.main", "check", str(odd), "--format", kind]
    environment = os.environ | {"PYTHONIOENCODING": "utf-8:strict", "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, cwd=odd.parent, env=environment, capture_output=True, check=False)
    assert (ran.returncode, ran.stderr) == (1, b"")
    told = ran.stdout.decode()
    assert {
        "text": "r\\udce9gles: 1 error in 1 file",
        "json": '"path": "caf\\udce9.yaml"',
        "sarif": '"uri": "r%E9gles/caf%E9.yaml"',
        "github": "::error file=r\\udce9gles/caf\\udce9.yaml,line=1",
    }[kind] in told
    if kind in ("json", "sarif"):
        json.loads(told)


def test_the_command_writes_both(tact: Tact, rules: Path) -> None:
    file = rules / "rules.yaml"
    file.write_text(file.read_text().replace("product: fund", "product: fnd"))
    ran = tact("check", rules, "--format", "sarif")
    assert ran.status == 1
    (result,) = ran.json["runs"][0]["results"]
    assert result["ruleId"] == "unknown-product"
    ran = tact("check", rules, "--format", "github")
    assert ran.status == 1
    assert ran.out.startswith("::error file=rules.yaml,line=29,col=14,endColumn=17,title=unknown-product::no product")
