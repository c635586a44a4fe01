"""A server whose store comes back with less than it had acknowledged: closed, said everywhere, until acknowledged."""

from __future__ import annotations

import json
import os
import shutil
import signal
import urllib.request
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from engine.cli.acknowledge import acknowledge
from engine.pb.tact.v1 import decision_pb2 as pb
from engine.pb.tact.v1 import decision_pb2_grpc
from engine.state.embedded import EmbeddedStore
from tests.server.process import RULES, Server, decide
from tests.server.test_metrics import read


def test_lost_writes_are_said_everywhere(
    servers: list[Server], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = EmbeddedStore(tmp_path / "store", fsync="always")
    url = store.start()
    rules = RULES.replace("consent: not_required, if_state_unknown: send", "consent: not_required")
    arguments = ("--redis", url, "--max-loss", "0", "--metrics", "127.0.0.1:0")
    servers.append(server := Server(tmp_path, *arguments, rules=rules))
    try:
        with grpc.insecure_channel(server.ready()["address"]) as channel:
            stub, health = decision_pb2_grpc.DecisionServiceStub(channel), health_pb2_grpc.HealthStub(channel)
            metrics = server.said().partition("metrics are served on ")[2].split()[0]

            def state() -> int:
                return int(health.Check(health_pb2.HealthCheckRequest(service="tact.state"), timeout=20).status)

            def figure(name: str) -> float:
                with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=20) as page:
                    lines = page.read().decode().splitlines()
                return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))

            def wait_for(name: str, value: float) -> None:
                for _ in range(2000):  # figures are counted every second
                    if figure(name) == value:
                        return
                raise AssertionError(f"{name} is {figure(name)}")

            assert decide(stub, 1).decisions[0].outcome == pb.Decision.SEND
            assert (state(), figure("tact_store_closed")) == (health_pb2.HealthCheckResponse.SERVING, 0)
            shutil.copytree(tmp_path / "store" / "appendonlydir", tmp_path / "older")
            assert decide(stub, 2).decisions[0].outcome == pb.Decision.SEND
            os.kill(store.pid, signal.SIGKILL)
            while store.alive():
                pass
            shutil.rmtree(tmp_path / "store" / "appendonlydir")
            shutil.copytree(tmp_path / "older", tmp_path / "store" / "appendonlydir")
            store.start()
            for n in range(3, 3000):  # the first may meet a store that is away
                closed = decide(stub, n).decisions[0]
                assert closed.reason == pb.Decision.STATE_UNKNOWN
                if "lost its data" in closed.details.cause:
                    break
            assert "acknowledge" in closed.details.cause
            assert "the store lost writes" in server.said()
            assert state() == health_pb2.HealthCheckResponse.NOT_SERVING
            assert health.Check(health_pb2.HealthCheckRequest(), timeout=20).status == 1  # answers are still given
            assert figure("tact_log_archived_timestamp_seconds") >= 0
            wait_for("tact_store_closed", 1)
            status, why = read(metrics, "/healthz")
            assert (status, why[:22], "tact acknowledge" in why) == (503, "the store lost writes:", True)
            assert figure("tact_store_losses") >= 1
            assert acknowledge(url, tmp_path / "data", False, True) == 0
            told = json.loads(capsys.readouterr().out)
            assert told["acknowledged"] is True
            assert "writes of at most" in told["lost"]
            wait_for("tact_store_closed", 0)  # though nobody asks for decisions
            assert read(metrics, "/healthz") == (200, "ok\n")
            assert state() == health_pb2.HealthCheckResponse.SERVING
            assert decide(stub, 3000).decisions[0].outcome == pb.Decision.SEND
        assert server.end() == 0
    finally:
        store.stop()
