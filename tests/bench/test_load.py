"""The load generator: its clockwork, its histogram, its search, and a run against a real server."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import trustme
from google.protobuf.json_format import Parse, ParseError
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from bench.load.__main__ import main
from bench.load.capacity import Objective, find_capacity
from bench.load.chart import can_draw, picture
from bench.load.client import Target
from bench.load.drive import DECIDE, Result, drive
from bench.load.histogram import Histogram
from bench.load.lines import parse
from bench.load.report import as_json, show
from bench.load.requests import Requests
from bench.load.schedule import send_times
from engine.pb.tact.v1 import decision_pb2, profile_pb2
from engine.transport import Call, Code, RpcError, Unary
from engine.transport.http2 import Http2Transport

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


def test_one_hiccup_does_not_end_a_search() -> None:
    tried: list[float] = []

    def probe(rate: float) -> Result:
        tried.append(rate)
        hiccup = len(tried) % 3 == 1 and tried.count(rate) == 1
        return _result(rate, 50.0 if hiccup or rate > 4000 else 1.0)

    rate, best = find_capacity(probe, Objective(10), start=1000)
    assert best is not None
    assert 4000 * 0.94 <= rate <= 4000


def test_a_search_without_an_end_says_so() -> None:
    assert find_capacity(lambda r: _result(r, 50.0), Objective(10), start=1000) == (0.0, None)
    assert "failed" in Objective(10).broken_by(_result(100, 1.0, errors=5))


def test_requests_have_ids_of_their_own() -> None:
    given = [decision_pb2.DecideRequest(), decision_pb2.DecideRequest(max_messages=2)]
    for k, request in enumerate(given):
        request.event.event_id = "same"
        request.event.customer_id = f"c{k}"
        request.event.occurred_at.seconds = 1
    as_written = Requests(given, as_written=True)
    assert [as_written.one() for _ in range(3)] == [given[k].SerializeToString() for k in (0, 1, 0)]
    made = Requests(given)
    batch = decision_pb2.DecideBatchRequest.FromString(made.batch(5))
    assert [request.event.customer_id for request in batch.requests] == ["c0", "c1", "c0", "c1", "c0"]
    assert [request.max_messages for request in batch.requests] == [0, 2, 0, 2, 0]
    assert not any(request.event.HasField("occurred_at") for request in batch.requests)
    after = decision_pb2.DecideRequest.FromString(made.one())
    assert len({request.event.event_id for request in [*batch.requests, after]}) == 6


_TEXTS = st.sampled_from(["", "a", "ñ", "5", "-3", "05", "9" * 18, "9" * 19, "2026-01-02T03:04:05.6Z", "NaN"])
_SCALARS = st.one_of(_TEXTS, st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.none(), st.just({}))
_VALUES = st.dictionaries(
    _TEXTS, st.dictionaries(st.sampled_from(["number", "text", "flag", "integer", "time", "x"]), _SCALARS, max_size=2)
)
_EVENTS = st.fixed_dictionaries(
    {},
    optional={"eventId": _SCALARS, "customer_id": _SCALARS, "customerId": _SCALARS, "occurredAt": _SCALARS}
    | {"attributes": _VALUES},
)
_CONTACTS = st.sampled_from([{}, {"consents": [{"purpose": "marketing", "state": "GRANTED"}]}, {"no": 1}, 5, None])
_LINES = st.one_of(
    st.tuples(
        st.just(decision_pb2.DecideRequest),
        st.fixed_dictionaries({"event": _EVENTS}, optional={"maxMessages": _SCALARS}),
    ),
    st.tuples(
        st.just(profile_pb2.Profile),
        st.fixed_dictionaries({}, optional={"customerId": _SCALARS, "features": _VALUES, "contact": _CONTACTS}),
    ),
)


@settings(max_examples=400, deadline=None)
@given(_LINES)
def test_lines_are_read_as_protobuf_reads_them(line: tuple[type[Message], object]) -> None:
    kind, value = line
    text = json.dumps(value).encode()

    def read(how: Callable[[], Message]) -> bytes | None:
        try:
            return how().SerializeToString(deterministic=True)
        except (ParseError, ValueError):
            return None

    assert read(lambda: parse(text, kind)) == read(lambda: Parse(text, kind()))


class _Server:
    """Our transport, in the client's own loop, with a method of the test's."""

    def __init__(self, decide: Callable[[int], None]) -> None:
        self.calls = 0
        self._decide = decide

    async def _answer(self, body: bytes, _: Call) -> bytes:
        self.calls += 1
        self._decide(self.calls)
        return b""

    async def start(self, port: int = 0) -> Http2Transport:
        transport = Http2Transport([Unary(DECIDE, self._answer)], "127.0.0.1", port)
        self.address = await transport.start()
        return transport


def _body() -> bytes:
    return b""


def test_refused_calls_are_counted_apart(capsys: pytest.CaptureFixture[str]) -> None:
    def decide(number: int) -> None:
        if number % 4 == 0:
            raise RpcError(Code.RESOURCE_EXHAUSTED, "busy")
        if number % 10 == 1:
            raise RpcError(Code.INTERNAL, "broken")

    async def run() -> Result:
        server = _Server(decide)
        transport = await server.start()
        result = await drive(Target(server.address), _body, send_times(400, 0.5, "constant", 1), 400, 2)
        await transport.stop(0)
        return result

    result = asyncio.run(run())
    assert result.sent == 200
    assert (result.refused, result.failed, result.lost) == (50, 20, 0)
    assert (result.latencies.total, result.refusals.total) == (130, 50)
    assert Objective(1000).broken_by(result) == "50 calls refused, 20 failed of 200"
    figures = as_json(result, {"target": "t"})
    assert figures["statuses"] == {"OK": 130, "RESOURCE_EXHAUSTED": 50, "INTERNAL": 20}
    show(Console(width=100), figures)
    screen = capsys.readouterr().out
    assert "refused      50 calls" in screen
    assert "failed       20 calls" in screen
    assert len(screen.splitlines()) < 24


def test_a_lost_connection_is_opened_again() -> None:
    """The calls that met it fail; the run goes on, and ends well."""

    async def run() -> tuple[Result, int]:
        restart = asyncio.Event()
        server = _Server(lambda number: restart.set() if number == 50 else None)
        first = await server.start()
        running = asyncio.ensure_future(
            drive(Target(server.address), _body, send_times(300, 3.0, "constant", 1), 300, 2)
        )
        await restart.wait()
        await first.stop(0)
        second = await server.start(int(server.address.rpartition(":")[2]))
        result = await running
        await second.stop(0)
        return result, server.calls

    result, calls = asyncio.run(run())
    assert result.lost == 0
    assert result.latencies.total + result.failed == result.sent == 900
    assert result.latencies.total > 200
    assert calls >= result.latencies.total
    assert set(result.statuses) <= {0, 14}


@contextmanager
def _served(directory: Path, *options: str) -> Iterator[str]:
    """The address of a real server with the shipped rules."""
    server = subprocess.Popen(
        [sys.executable, str(ROOT / "server.py"), "--listen", "127.0.0.1:0", "--data", str(directory), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
    )
    try:
        assert server.stdout is not None
        yield json.loads(server.stdout.readline())["address"]
    finally:
        server.terminate()
        server.communicate(timeout=30)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with _served(tmp_path_factory.mktemp("data")) as address:
        yield address


EVENTS, PROFILES = (str(ROOT / "rules" / "samples" / f"{name}.jsonl") for name in ("events", "profiles"))


@pytest.mark.parametrize("arrivals", ["constant", "poisson"])
def test_a_run_against_a_server(target: str, arrivals: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, out = tmp_path / "page.html", tmp_path / "figures.json"
    arguments = ["--target", target, "--events", EVENTS, "--profiles", PROFILES, "--rate", "60", "--duration", "1"]
    arguments += ["--warm-up", "0.1", "--arrivals", arrivals, "--html", str(page), "--out", str(out)]
    assert main([*arguments, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert json.loads(out.read_text()) == figures
    assert figures["sent"] == 60
    assert figures["statuses"] == {"OK": 60}
    assert 0 < figures["latency_ms"]["p50"] <= figures["latency_ms"]["p99"] <= figures["latency_ms"]["max"]
    assert figures["outcomes"]["CAP_REACHED"] > 0
    assert "<polyline" in page.read_text()


def test_the_capacity_of_a_server(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--target", target, "--events", EVENTS, "--rate", "200", "--warm-up", "0", "--find-capacity"]
    assert main([*arguments, "--probe-seconds", "0.05", "--slo-p99-ms", "0.0001"]) == 1
    assert "no rate holds p99 <= 0.0001 ms" in capsys.readouterr().out
    assert main([*arguments, "--probe-seconds", "0.25", "--slo-p99-ms", "60", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["capacity"] == figures["rate"] > 0
    assert figures["latency_ms"]["p99"] <= figures["slo_p99_ms"] == 60


def test_mutual_tls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    authority = trustme.CA()
    ca = str(tmp_path / "ca.pem")
    authority.cert_pem.write_to_path(ca)
    names = {}
    for name in ("tact.test", "client.test"):
        made = authority.issue_cert(name)
        names[name] = (str(tmp_path / f"{name}.cert"), str(tmp_path / f"{name}.key"))
        made.cert_chain_pems[0].write_to_path(names[name][0])
        made.private_key_pem.write_to_path(names[name][1])
    cert, key = names["tact.test"]
    with _served(tmp_path / "data", "--tls-cert", cert, "--tls-key", key, "--tls-client-ca", ca) as target:
        arguments = [
            "--target",
            target,
            "--events",
            EVENTS,
            "--profiles",
            PROFILES,
            "--rate",
            "40",
            "--duration",
            "0.5",
        ]
        arguments += ["--warm-up", "0", "--json", "--tls", "--tls-ca", ca]
        own = ["--tls-cert", names["client.test"][0], "--tls-key", names["client.test"][1]]
        assert main([*arguments, "--tls-name", "tact.test", *own]) == 0
        assert json.loads(capsys.readouterr().out)["statuses"] == {"OK": 20}
        assert main([*arguments, *own]) == 2  # the certificate is not of 127.0.0.1
        assert "127.0.0.1" in capsys.readouterr().err
        assert main([*arguments, "--tls-name", "tact.test"]) == 2  # no certificate of our own
        assert target in capsys.readouterr().err


def test_a_picture_where_it_can_be_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture(as_json(_result(100, 5.0), {}), tmp_path / "chart.png")
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_run_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = tmp_path / "events.jsonl"

    def says(*options: str) -> str:
        assert main(["--target", "127.0.0.1:1", "--events", str(events), "--duration", "0.1", *options]) == 2
        return capsys.readouterr().out.replace("\n", "")

    assert f"{events}: No such file" in says()
    events.write_text('{"event": {"event_id": "e1"}}\n{"evnt": {}}\n')
    assert f"{events}:2:" in says()
    events.write_text('{"event": {"event_id": "e1"}}\n')
    assert "127.0.0.1:1: " in says()
    assert "are for --tls" in says("--tls-ca", "ca.pem")
    assert "cannot use no.pem: No such file" in says("--tls", "--tls-ca", "no.pem")
    assert "too short to see a queue grow to 30 ms: expected at least 0.12" in says(
        "--find-capacity", "--slo-p99-ms", "30", "--probe-seconds", "0.1"
    )
    if not can_draw():
        assert "--png needs matplotlib" in says("--png", "x.png")
