"""The conformance cases of CEL, by the twin and the kernels: floors per file, and nothing wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.cli.conformance import PASS, REFUSED, WRONG, Outcome, counts, judge

_BESIDE = Path(__file__).parents[3] / "shared" / "exams" / "cel"
CASES = Path(os.environ.get("TACT_CEL_CASES", _BESIDE))
FLOORS = {  # file: passes as written, passes with literals lifted into variables
    "basic": (26, 26),
    "comparisons": (151, 154),
    "conversions": (51, 51),
    "fields": (3, 3),
    "fp_math": (29, 29),
    "integer_math": (41, 41),
    "lists": (19, 17),
    "logic": (21, 21),
    "macros": (32, 30),
    "parse": (90, 90),
    "plumbing": (3, 3),
    "string": (45, 45),
    "string_ext": (93, 93),
    "timestamps": (63, 73),
    "type_deduction": (7, 7),
}


def wrong(outcomes: list[Outcome]) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.verdict == WRONG]


@pytest.mark.skipif(
    not CASES.is_dir(), reason="CEL's conformance cases are not here; TACT_CEL_CASES names their folder"
)
@pytest.mark.parametrize("lifted", [False, True], ids=["as_written", "lifted"])
@pytest.mark.parametrize("name", FLOORS)
def test_conformance(name: str, lifted: bool) -> None:
    outcomes = judge(CASES / f"{name}.json", lifted)
    assert wrong(outcomes) == []
    assert counts(outcomes)[PASS] >= FLOORS[name][lifted]


def written(tmp_path: Path, cases: str) -> Path:
    file = tmp_path / "some.json"
    file.write_text(f'{{"cases": [{cases}]}}')
    return file


@pytest.mark.parametrize("lifted", [False, True], ids=["as_written", "lifted"])
@pytest.mark.parametrize(
    ("case", "verdict", "detail"),
    [
        ('"expr": "1 + 1", "value": {"int64Value": "2"}', PASS, ""),
        ('"expr": "1 + 1", "value": {"int64Value": "3"}', WRONG, "found 2, expected 3"),
        ('"expr": "1 + 1", "value": {"doubleValue": 2}', WRONG, "found 2, expected 2.0"),
        ('"expr": "1 + 1", "value": {"uint64Value": "2"}', WRONG, "found 2, expected another type"),
        ('"expr": "1 / 0", "error": ["divide by zero"]', PASS, ""),
        ('"expr": "1 / 1", "error": ["divide by zero"]', WRONG, "found 1, expected None"),
        ('"expr": "1 / 0", "value": {"int64Value": "2"}', WRONG, "found None, expected 2"),
        ('"expr": "[-0.0]", "value": {"listValue": {"values": [{"doubleValue": 0}]}}', WRONG,
         "found (-0.0,), expected (0.0,)"),
        ('"expr": "1u", "value": {"uint64Value": "1"}', REFUSED,
         "not-yet-supported: unsigned integers: no feature or attribute has such a value"),
        ('"expr": "a.b + x > 1", "value": {"boolValue": true}, "bindings": {"a.b": {"value": {"int64Value": "1"}}, '
         '"x": {"value": {"int64Value": "1"}}}, "type_env": ['
         '{"name": "a.b", "ident": {"type": {"primitive": "INT64"}}}, '
         '{"name": "x", "ident": {"type": {"primitive": "INT64"}}}]', PASS, ""),
    ],
)  # fmt: skip
def test_verdicts(tmp_path: Path, case: str, lifted: bool, verdict: str, detail: str) -> None:
    (outcome,) = judge(written(tmp_path, f'{{"name": "one", {case}}}'), lifted)
    assert (outcome.verdict, outcome.detail) == (verdict, detail)


def test_lifting(tmp_path: Path) -> None:
    case = (
        '{"name": "one", "expr": "[1, 2].exists(x, x == (-2) || \'a\'.matches(\'a\'))", "value": {"boolValue": true}}'
    )
    (outcome,) = judge(written(tmp_path, case), True)
    expected = "features.l0.exists(x, x == features.l1 || features.l2.matches('a'))"
    assert (outcome.expression, outcome.verdict) == (expected, PASS)


def test_bare_literals_are_counted_apart(tmp_path: Path) -> None:
    cases = ['{"name": "a", "expr": "(1)", "value": {"int64Value": "1"}}', '{"name": "b", "expr": "2u", "value": {}}']
    cases.append('{"name": "c", "expr": "1 + 1", "value": {"int64Value": "2"}}')
    found = counts(judge(written(tmp_path, ", ".join(cases)), False))
    assert found == {"cases": 3, PASS: 2, REFUSED: 1, WRONG: 0, "literals": 2, "literals_pass": 1}
