"""Several workers: one port, one end, one page of metrics; a worker that dies is started again."""

from __future__ import annotations

import os
import re
import signal
import urllib.request
from pathlib import Path

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from engine.pb.tact.v1 import decision_pb2_grpc
from tests.server.process import Server, decide
from tests.server.test_metrics import read


def workers(server: Server) -> list[int]:
    """Process ids of the workers that run."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    return [int(c) for c in children if b"server.py" in Path(f"/proc/{c}/cmdline").read_bytes()]


def ask(address: str, number: int) -> str:
    """One decision over a connection of its own."""
    with grpc.insecure_channel(address, (("grpc.use_local_subchannel_pool", 1),)) as channel:
        # A worker that was killed may still have had a connection in its queue: those come again.
        return str(decide(decision_pb2_grpc.DecisionServiceStub(channel), number, True).decisions[0].text)


def figures(server: Server) -> dict[str, float]:
    """What /metrics says, summed over labels."""
    found = re.search(r"metrics are served on (\S+)", server.said())
    assert found is not None, server.said()
    with urllib.request.urlopen(f"http://{found[1]}/metrics", timeout=20) as page:  # the server's own, on loopback
        families = text_string_to_metric_families(page.read().decode())
        sums: dict[str, float] = {}
        for sample in (s for family in families for s in family.samples):
            sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
        return sums


def test_workers_share_a_port_and_a_page_of_metrics_and_are_started_again(
    servers: list[Server], tmp_path: Path
) -> None:
    """Sums never fall: what a worker counted that died is kept."""
    servers.append(server := Server(tmp_path, "--workers", "2", "--metrics", "127.0.0.1:0"))
    ready = server.ready()
    assert (ready["workers"], ready["store"], ready["pid"]) == (2, "embedded", server.process.pid)
    assert {ask(ready["address"], number) for number in range(20)} == {"Thank you."}
    first = figures(server)
    assert (first["tact_decisions_total"], first["tact_call_seconds_count"]) == (20, 20)
    address = server.said().partition("metrics are served on ")[2].split()[0]
    assert (read(address, "/healthz"), read(address, "/health")[0]) == ((200, "ok\n"), 404)
    assert (first["tact_workers"], first["tact_worker_restarts_total"], first["tact_log_dropped"]) == (2, 0, 0)
    before = workers(server)
    assert len(before) == 2
    os.kill(before[0], signal.SIGKILL)
    assert {ask(ready["address"], number) for number in range(20, 30)} == {"Thank you."}
    later = first
    while later["tact_worker_restarts_total"] == 0 or later["tact_workers"] < 2:
        later = figures(server)
        assert later["tact_decisions_total"] == 30
    assert {ask(ready["address"], number) for number in range(30, 40)} == {"Thank you."}
    assert figures(server)["tact_decisions_total"] == 40
    assert server.end() == 0
    assert "ended with status -9 and is started again" in server.said()
    assert not any(Path(f"/proc/{w}").exists() for w in before)


@pytest.mark.parametrize("count", ["1", "2"])
def test_metrics_that_cannot_be_served_end_with_1(servers: list[Server], tmp_path: Path, count: str) -> None:
    servers.append(server := Server(tmp_path, "--workers", count, "--metrics", "192.0.2.1:1"))
    assert server.process.wait(60) == 1
    assert "server.py: cannot serve metrics on 192.0.2.1:1: " in server.said()
    assert "Traceback" not in server.said()
    assert "never awaited" not in server.said()
