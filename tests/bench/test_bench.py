"""Every program measures, and says so in well-formed rows. The figures are not looked at."""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import orjson
import pytest

from bench import compare, generate, kernels
from bench.__main__ import PROGRAMS, main
from bench.echo import AIO, CXX, ECHOES
from bench.load.drive import DRAIN_S, Result
from bench.load.histogram import Histogram
from bench.processes import Child
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
    told = "found 'kernel', expected one of compare, pipeline, log, kernels, state, learning, population"
    assert told in capsys.readouterr().err


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
    assert generate.event_types(random.Random(1), 500).count(generate.COUNTED) > 50


def test_an_echo_that_is_missing_is_named() -> None:
    """Its rows stay, without a ratio and without a bound."""
    figures = compare.Figures([100.0], [10.0], [20.0], [300.0], [0.5])
    rows = compare.rows(figures, {AIO: figures}, {echo: "not built" for echo in ECHOES if echo is not AIO}, 1000)
    missing = [row for row in rows if row.name.endswith(CXX.name)]
    assert len(missing) == 2
    for row in missing:
        assert row.ratios() is None
        assert row.bound is None
        assert row.note == f"{CXX.name}: not built"
    bounds = {row.name: row.bound for row in rows if row.bound is not None}
    assert list(bounds.values()) == [10.0, 1.5, 1.0, 20.0]


def test_calls_without_a_good_answer_count_as_slow() -> None:
    def of(good: int, failed: int) -> float:
        latencies = Histogram()
        latencies.record(np.arange(1, good + 1) * 1_000_000)
        sent = good + failed
        return compare.p99_us(Result(2000, 1.0, sent, latencies, Histogram(), Counter({0: good, 14: failed}), 0, 1.0))

    assert of(1000, 0) == pytest.approx(990_000, rel=0.002)
    assert of(992, 8) == pytest.approx(990_000, rel=0.002)
    assert of(980, 20) == DRAIN_S * 1e6


_WITH_A_CHILD = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
print('{"address": "%d"}' % child.pid, flush=True)
child.wait()
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system does not say how processes fare")
def test_a_server_is_stopped_and_counted_with_what_it_started(tmp_path: Path) -> None:
    def state(pid: str) -> str:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return "gone"

    def until(wanted: str, pid: str) -> None:
        end = time.monotonic() + 20
        while state(pid) not in wanted.split():
            assert time.monotonic() < end, state(pid)

    child = Child([sys.executable, "-c", _WITH_A_CHILD], tmp_path / "log")
    try:
        end = time.monotonic() + 20
        while child.processor_s() < 0.3:  # more than it takes to start: its child's
            assert time.monotonic() < end
        child.pause()
        until("T", child.address)
        child.resume()
        until("R S", child.address)
    finally:
        child.stop()
    until("gone Z", child.address)
