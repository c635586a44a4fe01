"""Every program measures, and says so in well-formed rows. The figures are not looked at."""

from __future__ import annotations

import random

import orjson
import pytest

from bench import generate, kernels
from bench.__main__ import PROGRAMS, main
from bench.rows import Row
from engine.bundle import compile_bundle

KEYS = {"program", "name", "unit", "ours", "peer", "ratio", "bound", "better", "holds", "spread", "note"}


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_gives_rows(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    status = main([program, "--quick", "--json", "--tiny"])
    rows = orjson.loads(capsys.readouterr().out)["rows"]
    assert status == (0 if all(row["holds"] for row in rows) else 1)
    assert rows
    for row in rows:
        assert set(row) >= KEYS
        assert row["program"] == program
        assert row["ours"] >= 0
        assert (row["peer"] is None) == (row["ratio"] is None)


def test_an_unknown_program_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["kernel"])
    assert stopped.value.code == 2
    assert "found 'kernel', expected one of transport, pipeline, kernels" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("row", "holds"),
    [
        (Row("no bound", "1/s", [1.0]), True),
        (Row("fast enough", "1/s", [9.0, 1.0, 6.0], [2.0, 2.0, 2.0], bound=3.0), True),
        (Row("too slow", "1/s", [1.0, 9.0, 5.0], [2.0, 2.0, 2.0], bound=3.0), False),
        (Row("times faster", "us", [1.0], [10.0], bound=10.0, invert=True), True),
        (Row("in time", "s", [2.0, 2.5, 9.0], bound=3.0, better="lower"), True),
        (Row("too late", "s", [4.0], bound=3.0, better="lower"), False),
    ],
    ids=lambda value: value.name if isinstance(value, Row) else "",
)
def test_the_median_is_held_against_the_bound(row: Row, holds: bool) -> None:
    assert row.holds() is holds
    assert row.as_json()["holds"] is holds


def test_rules_are_the_same_for_peers() -> None:
    """The same messages for an event, by the kernels and by the Python that the peer runs."""
    rules = generate.rules(200)
    bundle = compile_bundle(rules.files)
    batch = kernels.sample(64, seed=5, missing=0.0)
    funnel = batch.evaluate(bundle)
    for i, (kind, values) in enumerate(zip(batch.types, batch.inputs, strict=True)):
        parts: dict[str, dict[str, object]] = {"features": {}, "windows": {}, "event": {}}
        for path, value in values.items():
            root, _, name = path.partition(".")
            parts[root][name] = value
        expected = [
            r.name
            for r in rules.rules
            if r.on in (None, kind) and eval(generate.as_python(r.condition), parts)  # the generator wrote it
        ]
        assert [rules.rules[m].name for m in funnel.candidates(i)] == expected


def test_a_seed_gives_the_same_again() -> None:
    assert generate.rules(50).files == generate.rules(50).files
    assert generate.rules(50, seed=9).files != generate.rules(50).files
    assert generate.event_types(random.Random(1), 500).count("type_0") > 50
