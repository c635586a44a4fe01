"""`tact check`, `tact --help`, and what users do wrong on the command line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Tact = Callable[..., Any]


def test_a_sound_set_is_described(tact: Tact, rules: Path) -> None:
    ran = tact("check", rules)
    assert (ran.status, ran.err) == (0, "")
    first, *rest = ran.out.splitlines()
    assert first.startswith(f"{rules}: no findings, revision ")
    assert rest == [
        "    1  files",
        "    2  events     deposit, login",
        "    2  features   phone, age",
        "    0  windows",
        "    0  facts",
        "    1  products   fund",
        "    2  messages   thanks, fund_intro",
        "    2  purposes   service, marketing",
        "    1  channels   sms",
        "    1  caps       one a week",
        "    0  gaps",
        "    0  policies",
        "    0  tests",
    ]


def test_all_findings_are_shown_by_place(tact: Tact, rules: Path) -> None:
    file = rules / "rules.yaml"
    text = (
        file.read_text().replace("event.amount >= 100", "event.amuont >= 100").replace("product: fund", "product: fnd")
    )
    file.write_text(text)
    ran = tact("check", rules)
    assert ran.status == 1
    assert (
        ran.out
        == f"""\
rules.yaml:24:11: error[unknown-name]: no attribute 'amuont' in event type 'deposit'
        when: event.amuont >= 100
              ^^^^^^^^^^^^
    expected: an attribute of the event, occurred_at or type
    hint: did you mean 'amount'?

rules.yaml:29:14: error[unknown-product]: no product is called 'fnd'
        product: fnd
                 ^^^
    expected: one of fund
    hint: did you mean 'fund'?

{rules}: 2 findings in 1 file
"""
    )


def test_findings_as_json(tact: Tact, rules: Path) -> None:
    file = rules / "rules.yaml"
    file.write_text(file.read_text().replace("product: fund", "product: fnd"))
    ran = tact("check", rules, "--json")
    assert ran.status == 1
    [finding] = ran.json["findings"]
    assert (finding["code"], finding["severity"]) == ("unknown-product", "error")
    assert (finding["path"], finding["line"], finding["column"], finding["length"]) == ("rules.yaml", 29, 14, 3)
    assert ran.json["revision"] is None
    assert ran.json["counts"] == {"findings": 1}


def test_a_sound_set_as_json(tact: Tact, rules: Path) -> None:
    found = tact("check", rules, "--json").json
    assert len(found["revision"]) == 16
    assert found["findings"] == []
    assert found["counts"]["messages"] == 2


def test_a_directory_without_rules(tact: Tact, tmp_path: Path) -> None:
    ran = tact("check", tmp_path)
    assert ran.status == 1
    assert "no rule files here: *.yaml or *.yml" in ran.out


def test_wrong_usage_ends_with_2(tact: Tact, tmp_path: Path) -> None:
    for arguments in (["check", tmp_path / "nowhere"], ["check"], ["chekc", tmp_path], ["check", tmp_path, "--jsno"]):
        ran = tact(*arguments)
        assert ran.status == 2
        assert "Traceback" not in ran.err


def test_help_and_check_of_findings_load_no_kernels(rules: Path) -> None:
    """grpc and numba take half a second each."""
    file = rules / "rules.yaml"
    file.write_text(file.read_text().replace("product: fund", "product: fnd"))
    code = "import sys; from engine.cli.main import main\ntry: main()\nexcept SystemExit: pass\n"
    code += "print([m for m in ('grpc', 'numba', 'redis') if m in sys.modules])"
    for arguments in (["--help"], ["check", str(rules)]):
        ran = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
        assert ran.stdout.splitlines()[-1] == "[]"
