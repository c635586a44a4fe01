"""The load generator: its clockwork, its histogram, its search, and a run against a real server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.load.__main__ import main
from bench.load.capacity import Objective, find_capacity
from bench.load.drive import Result
from bench.load.histogram import Histogram
from bench.load.schedule import send_times

ROOT = Path(__file__).parents[2]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=300), st.sampled_from([0.5, 0.9, 0.99, 0.999, 1.0]))
def test_a_quantile_is_within_a_thousandth(values: list[int], share: float) -> None:
    histogram = Histogram()
    for part in (values[::2], values[1::2]):
        other = Histogram()
        other.record(np.array(part, np.int64))
        histogram.add(other)
    exact = sorted(values)[max(0, int(np.ceil(share * len(values) - 1e-9)) - 1)]
    assert exact <= histogram.quantile(share) <= exact * 1.001 + 1
    assert histogram.total == len(values)
    assert histogram.quantile(1.0) == max(values)


def test_calls_are_due_at_the_rate() -> None:
    even = send_times(1000, 2, "constant", 1)
    assert len(even) == 2000
    assert set(np.diff(even)) == {1_000_000}
    chance = send_times(1000, 20, "poisson", 1)
    assert (np.diff(chance) >= 0).all()
    assert abs(chance[-1] / 1e9 - 20) < 1
    assert abs(np.diff(chance).std() / 1e6 - 1) < 0.1  # of an exponential the deviation is the mean
    assert (send_times(1000, 2, "poisson", 1) == send_times(1000, 2, "poisson", 1)).all()


def _result(rate: float, p99_ms: float, errors: int = 0) -> Result:
    latencies, late = Histogram(), Histogram()
    latencies.record(np.full(1000, int(p99_ms * 1e6)))
    return Result(rate, 1.0, 1000, latencies, late, Counter({0: 1000 - errors, 14: errors}), 0, 1000.0)


@pytest.mark.parametrize("limit", [130.0, 1000.0, 7777.0])
def test_the_search_ends_next_to_the_limit(limit: float) -> None:
    rate, best = find_capacity(lambda r: _result(r, 1.0 if r <= limit else 50.0), Objective(10), start=1000)
    assert best is not None
    assert limit * 0.94 <= rate <= limit


def test_a_search_without_an_end_says_so() -> None:
    assert find_capacity(lambda r: _result(r, 50.0), Objective(10), start=1000) == (0.0, None)
    assert "failed" in Objective(10).broken_by(_result(100, 1.0, errors=5))


def test_a_run_against_a_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = subprocess.Popen(
        [sys.executable, str(ROOT / "server.py"), "--listen", "127.0.0.1:0", "--data", str(tmp_path / "data")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
    )
    try:
        assert server.stdout is not None
        target = json.loads(server.stdout.readline())["address"]
        samples = ROOT / "rules" / "samples"
        arguments = ["--target", target, "--events", str(samples / "events.jsonl"), "--rate", "60", "--duration", "1"]
        page = tmp_path / "page.html"
        status = main(
            [*arguments, "--warm-up", "0", "--profiles", str(samples / "profiles.jsonl"), "--json", "--html", str(page)]
        )
        figures = json.loads(capsys.readouterr().out)
        assert status == 0
        assert figures["sent"] == 60
        assert figures["statuses"] == {"OK": 60}
        assert 0 < figures["latency_ms"]["p50"] <= figures["latency_ms"]["p99"] <= figures["latency_ms"]["max"]
        assert "SEND" in figures["outcomes"]
        assert "<polyline" in page.read_text()
    finally:
        server.terminate()
        server.communicate(timeout=30)


def test_what_cannot_run_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = tmp_path / "events.jsonl"
    events.write_text('{"event": {"event_id": "e1"}}\n{"evnt": {}}\n')
    assert main(["--target", "127.0.0.1:1", "--events", str(events), "--duration", "0.1"]) == 2
    assert f"{events}:2:" in capsys.readouterr().out.replace("\n", "")
    events.write_text('{"event": {"event_id": "e1"}}\n')
    assert main(["--target", "127.0.0.1:1", "--events", str(events), "--duration", "0.1"]) == 2
    assert "127.0.0.1:1" in capsys.readouterr().out
