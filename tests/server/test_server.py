"""server.py as a process: the ready line, the end, and what is said where it cannot serve."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from pathlib import Path

import grpc
import pytest
import redis
from grpc_health.v1 import health_pb2, health_pb2_grpc

from engine.cli.acknowledge import acknowledge
from engine.pb.tact.v1 import decision_pb2 as pb
from engine.pb.tact.v1 import decision_pb2_grpc, rules_pb2, rules_pb2_grpc
from tests.server.process import RULES, WAIT_S, Server, decide


def test_serves_stops_and_keeps_its_state(servers: list[Server], tmp_path: Path) -> None:
    servers.append(first := Server(tmp_path))
    ready = first.ready()
    assert {k: ready[k] for k in ("ready", "store", "transport", "workers", "pid")} == {
        "ready": True,
        "store": "embedded",
        "transport": "http2",
        "workers": 1,
        "pid": first.process.pid,
    }
    with grpc.insecure_channel(ready["address"]) as channel:
        answer = decide(decision_pb2_grpc.DecisionServiceStub(channel), 1)
        assert answer.decisions[0].text == "Thank you."
        assert answer.decisions[0].revision == ready["revision"]
    servers.append(second := Server(tmp_path, "--listen", ready["address"]))
    assert second.process.wait(WAIT_S) == 1
    assert "in use by another engine" in second.said()
    assert first.end() == 0
    assert first.process.stdout is not None
    assert first.process.stdout.read() == b""  # one line and no more
    servers.append(third := Server(tmp_path))
    with grpc.insecure_channel(third.ready()["address"]) as channel:
        assert decide(decision_pb2_grpc.DecisionServiceStub(channel), 1) == answer
    assert third.end(signal.SIGINT) == 0


def test_no_accepted_call_fails_when_it_is_stopped(servers: list[Server], tmp_path: Path) -> None:
    servers.append(server := Server(tmp_path))
    address = server.ready()["address"]
    failed: list[grpc.StatusCode] = []
    answered = [0] * 4
    running = threading.Barrier(5)

    def load(caller: int) -> None:
        with grpc.insecure_channel(address) as channel:
            stub = decision_pb2_grpc.DecisionServiceStub(channel)
            decide(stub, caller)
            running.wait()
            for i in range(100_000):
                try:
                    decide(stub, 4 + i * 4 + caller)
                    answered[caller] += 1
                except grpc.RpcError as error:
                    failed.append(error.code())  # type: ignore[attr-defined]
                    return

    callers = [threading.Thread(target=load, args=(i,)) for i in range(4)]
    for caller in callers:
        caller.start()
    with grpc.insecure_channel(address) as channel:
        statuses = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(statuses).status == health_pb2.HealthCheckResponse.SERVING
        running.wait()
        server.process.terminate()
        assert next(statuses).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert server.process.wait(WAIT_S) == 0
    for caller in callers:
        caller.join()
    # A caller's last call finds nobody: refused, not accepted and dropped.
    assert set(failed) == {grpc.StatusCode.UNAVAILABLE}
    assert min(answered) > 0
    assert "Traceback" not in server.said()


def test_wrong_settings_and_wrong_rules_end_with_2(servers: list[Server], tmp_path: Path) -> None:
    servers.append(wrong := Server(tmp_path, "--workers", "many"))
    assert wrong.process.wait(WAIT_S) == 2
    assert wrong.said() == "server.py: --workers: found 'many', expected a whole number from 1 to 256\n"
    servers.append(nowhere := Server(tmp_path, "--redis", "redis+sentinel://one,two"))
    assert nowhere.process.wait(WAIT_S) == 2
    assert "ends with the name of the service" in nowhere.said()
    servers.append(broken := Server(tmp_path, rules=RULES.replace("on: [deposit]", "on: [deposits]")))
    assert broken.process.wait(WAIT_S) == 2
    assert "rules.yaml:5:" in broken.said()
    assert "did you mean 'deposit'?" in broken.said()
    assert "Traceback" not in broken.said()


def test_an_address_in_use_ends_with_1(servers: list[Server], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for workers in ("1", "2"):
            servers.append(server := Server(tmp_path, "--listen", address, "--workers", workers))
            assert server.process.wait(WAIT_S) == 1
            assert f"server.py: cannot listen on {address}" in server.said()
            assert "Traceback" not in server.said()


def test_without_its_store_it_serves_and_says_so(servers: list[Server], tmp_path: Path) -> None:
    url = f"unix://{tmp_path}/nobody.sock"
    servers.append(server := Server(tmp_path, "--redis", url))
    ready = server.ready()
    assert ready["store"] == "down"
    with grpc.insecure_channel(ready["address"]) as channel:
        answer = decide(decision_pb2_grpc.DecisionServiceStub(channel), 1)
        assert answer.decisions[0].provisional or answer.decisions[0].reason == pb.Decision.STATE_UNKNOWN
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.SERVING
    assert server.end() == 0


def test_an_embedded_store_that_is_killed_comes_back_with_its_state(servers: list[Server], tmp_path: Path) -> None:
    servers.append(server := Server(tmp_path))
    with grpc.insecure_channel(server.ready()["address"]) as channel:
        stub = decision_pb2_grpc.DecisionServiceStub(channel)
        answer = decide(stub, 1)
        os.kill(json.loads((tmp_path / "data" / "server.json").read_bytes())["pid"], signal.SIGKILL)
        turns, failed = [], set()
        for i in range(2, 100_000):  # meanwhile: without state, or not known to be done; never wrong
            try:
                turns.append(decide(stub, i).decisions[0].provisional)
            except grpc.RpcError as error:
                failed.add(error.code())  # type: ignore[attr-defined]
            if turns[-2:] == [True, False]:  # a first answer may still be with state: the kill takes a moment
                break
        assert turns[-2:] == [True, False]
        assert failed <= {grpc.StatusCode.UNAVAILABLE}
        assert decide(stub, 1) == answer
    assert server.end() == 0
    assert "the embedded store died; starting it again" in server.said()


def test_a_store_that_lost_its_data_sends_nothing_until_somebody_says_so(servers: list[Server], tmp_path: Path) -> None:
    rules = RULES.replace("consent: not_required, if_state_unknown: send", "consent: not_required")
    servers.append(server := Server(tmp_path, rules=rules))
    with grpc.insecure_channel(server.ready()["address"]) as channel:
        stub = decision_pb2_grpc.DecisionServiceStub(channel)
        assert decide(stub, 1).decisions[0].outcome == pb.Decision.SEND
        rules_stub = rules_pb2_grpc.RuleServiceStub(channel)
        rules_stub.Pause(rules_pb2.PauseRequest(message="thanks"), timeout=20)
        store = redis.Redis.from_url(json.loads((tmp_path / "data" / "server.json").read_bytes())["url"])
        store.flushall()
        store.close()
        closed = decide(stub, 2).decisions[0]
        assert closed.reason == pb.Decision.STATE_UNKNOWN
        assert "lost its data" in closed.details.cause
        assert acknowledge("", tmp_path / "data", False, True) == 0
        assert decide(stub, 3).decisions[0].reason == pb.Decision.PAUSED  # written back from memory
        for _ in range(10_000):  # within a third of a second
            if kept := rules_stub.ListRevisions(rules_pb2.ListRevisionsRequest(), timeout=20).revisions:
                break
        assert [revision.active for revision in kept] == [True]
        rules_stub.Pause(rules_pb2.PauseRequest(message="thanks", resume=True), timeout=20)
        assert decide(stub, 4).decisions[0].outcome == pb.Decision.SEND
        assert acknowledge("", tmp_path / "data", False, True) == 0  # there is nothing to acknowledge: as it was
        assert decide(stub, 5).decisions[0].outcome == pb.Decision.SEND
    assert server.end() == 0


def test_deploys_under_load_fail_no_call_and_mix_no_revisions(servers: list[Server], tmp_path: Path) -> None:
    servers.append(server := Server(tmp_path))
    ready = server.ready()
    sets = [RULES, RULES.replace("Thank you.", "Thanks a lot."), RULES.replace("Thank you.", "Many thanks.")]
    said: dict[str, set[str]] = {}
    failed: list[object] = []
    over = threading.Event()

    def load(caller: int) -> None:
        with grpc.insecure_channel(ready["address"]) as channel:
            stub = decision_pb2_grpc.DecisionServiceStub(channel)
            number = 0
            while not over.is_set():
                number += 10
                events = [
                    pb.Event(event_id=f"e{n}", customer_id=f"{caller}-{n % 7}", type="deposit")
                    for n in range(number, number + 10)
                ]
                batch = pb.DecideBatchRequest(requests=[pb.DecideRequest(event=e) for e in events])
                try:
                    answers = stub.DecideBatch(batch, timeout=20).responses
                except grpc.RpcError as error:
                    failed.append(error)
                    return
                failed.extend(a for a in answers if a.error.code)
                for decision in (a.decisions[0] for a in answers if not a.error.code):
                    said.setdefault(decision.revision, set()).add(decision.text)

    callers = [threading.Thread(target=load, args=(i,)) for i in range(3)]
    for caller in callers:
        caller.start()
    deployed = {ready["revision"]}
    with grpc.insecure_channel(ready["address"]) as channel:
        rules = rules_pb2_grpc.RuleServiceStub(channel)
        for turn in range(12):
            file = rules_pb2.RuleFile(path="rules.yaml", content=sets[turn % 3].encode())
            deployed.add(rules.Deploy(rules_pb2.DeployRequest(files=[file]), timeout=20).revision.revision)
            broken = rules_pb2.RuleFile(path="rules.yaml", content=b"messages: {a: 1")
            with pytest.raises(grpc.RpcError) as refused:
                rules.Deploy(rules_pb2.DeployRequest(files=[broken]), timeout=20)
            assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]
        over.set()
        for caller in callers:
            caller.join()
        back = rules.Rollback(rules_pb2.RollbackRequest(), timeout=20).revision.revision
    assert failed == []
    assert len(deployed) == 3
    assert back in deployed
    assert len(said) > 1
    assert set(said) <= deployed
    assert all(len(texts) == 1 for texts in said.values())  # one revision, one text
    assert server.end() == 0
    servers.append(again := Server(tmp_path))
    assert again.ready()["revision"] == back
