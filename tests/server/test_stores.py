"""A whole server on stores of other kinds: a cluster, and one behind TLS; as the user that docs/operators.md describes.

That user may do all that a server does, and nothing else.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import redis
import trustme

from engine.bundle import Active, compile_bundle
from engine.identity import customer_key
from engine.learning.learner import Learner, refresh
from engine.learning.snapshot import Learnt
from engine.pb.tact.v1 import decision_pb2 as pb
from engine.pb.tact.v1 import decision_pb2_grpc, profile_pb2, profile_pb2_grpc, rules_pb2, rules_pb2_grpc
from engine.state.archive import Archiver
from engine.state.cluster_store import kind_of_store
from engine.state.tenure import Tenure, archived_s, forget
from tests.server.process import ROOT, Server
from tests.valkeys import Valkey, ValkeyCluster, until

RULES = """\
events: {deposit: {amount: number}}
features: {age: integer}
purposes: {service: {consent: not_required, if_state_unknown: silent}}
channels: {push: {}}
policies: {bandit: {kind: thompson, reward: {replied: 1.0}, attribution: 100 seconds}}
caps: [{at_most: 2, per: [customer], in: 7 days, purposes: [service]}]
messages:
  thanks:
    purpose: service
    on: [deposit]
    channels: [push]
    policy: bandit
    variants: {plain: {en: "Thank you."}, warm: {en: "Thank you so much."}}
"""
ADMIN, SECRET = "admin", "s3cret"
[LINE] = re.findall(r"^ACL SETUSER tact (.*)$", (ROOT / "docs" / "operators.md").read_text(), re.MULTILINE)
ALLOWED = {word[1:].lower() for word in LINE.split() if word.startswith("+")}
# what only some stores and moments need: many revisions, replicas, sentinels, slots on their way, databases
SELDOM = {"lrange", "wait", "role", "asking", "cluster|nodes", "select", "incrby", "decrby", "pexpireat"}  # and volumes
FORBIDDEN: tuple[tuple[str, ...], ...] = (
    ("FLUSHALL",), ("FLUSHDB",), ("KEYS", "*"), ("SCAN", "0"), ("CONFIG", "SET", "maxmemory", "1"), ("SHUTDOWN",),
    ("ACL", "LIST"), ("CLIENT", "LIST"), ("SCRIPT", "FLUSH"), ("FUNCTION", "LIST"),
    ("REPLICAOF", "NO", "ONE"), ("CLUSTER", "RESET"), ("MODULE", "LIST"), ("PUBLISH", "x", "y"), ("SUBSCRIBE", "x"),
    ("MONITOR",), ("SAVE",), ("RENAME", "tact:{0}g", "tact:{0}h"), ("DUMP", "tact:{0}g"), ("COPY", "tact:{0}g", "x"),
    ("GET", "other"), ("SET", "other", "1"), ("XADD", "other", "*", "d", "1"), ("MGET", "tact:{0}g", "other"),
    ("EVAL", "return redis.call('GET', 'other')", "0"), ("EVAL", "return redis.call('FLUSHALL')", "0"),
)  # fmt: skip


@pytest.fixture
def access(tmp_path: Path) -> Sequence[str]:
    """Settings of a server that has an administrator and our user."""
    file = tmp_path / "users.acl"
    file.write_text(f"user default on >{ADMIN} ~* &* +@all\nuser tact {LINE.replace('PASSWORD', SECRET)}\n")
    return [f"aclfile {file}", f"masterauth {ADMIN}"]


def walk(address: str) -> None:
    """Everything that callers can ask for."""
    with grpc.insecure_channel(address) as channel:
        decisions: Any = decision_pb2_grpc.DecisionServiceStub(channel)
        profiles: Any = profile_pb2_grpc.ProfileServiceStub(channel)
        rules: Any = rules_pb2_grpc.RuleServiceStub(channel)
        people = [f"c{n}" for n in range(40)]
        written = [profile_pb2.Profile(customer_id=c, features={"age": pb.Value(integer=40)}) for c in people]
        for result in profiles.PutProfiles(profile_pb2.PutProfilesRequest(profiles=written), timeout=20).results:
            assert not result.error.code, result
        assert profiles.GetProfile(profile_pb2.GetProfileRequest(customer_id="c7"), timeout=20).profile.features["age"]
        first = {c: _decide(decisions, c, "1") for c in people}
        assert all(d.outcome == pb.Decision.SEND for d in first.values()), first["c0"]
        assert {c: _decide(decisions, c, "1") for c in people} == first
        batch = pb.DecideBatchRequest(
            requests=[_request(c, str(n)) for n in range(2, 5) for c in people]  # several of a customer: by its script
        )
        reasons = [r.decisions[0].reason for r in decisions.DecideBatch(batch, timeout=20).responses]
        assert reasons == [pb.Decision.SELECTED] * 40 + [pb.Decision.CAP_REACHED] * 80
        one = first["c3"].decision_id
        assert decisions.ConfirmSend(pb.ConfirmSendRequest(decision_id=one), timeout=20).outcome == pb.Decision.SEND
        reports = [
            pb.OutcomeReport(decision_id=d.decision_id, kind=kind, outcome_id=str(kind))
            for d in first.values()
            for kind in (pb.OutcomeReport.DELIVERED, pb.OutcomeReport.REPLIED)
        ]
        told = decisions.RecordOutcomes(pb.RecordOutcomesRequest(outcomes=reports), timeout=20).results
        assert not any(r.error.code for r in told), told[0]
        assert decisions.Explain(pb.ExplainRequest(decision_id=one), timeout=20).candidates[0].message == "thanks"
        assert profiles.EraseCustomer(profile_pb2.EraseCustomerRequest(customer_id="c9"), timeout=20).existed
        file = rules_pb2.RuleFile(path="rules.yaml", content=RULES.replace("Thank you.", "Thanks.").encode())
        deployed = rules.Deploy(rules_pb2.DeployRequest(files=[file]), timeout=20).revision.revision
        listed = rules.ListRevisions(rules_pb2.ListRevisionsRequest(), timeout=20).revisions
        assert listed[0].revision == deployed
        assert len(listed) == 2
        rules.Pause(rules_pb2.PauseRequest(all=True), timeout=20)
        until(lambda: _decide(decisions, "p", "1").reason == pb.Decision.PAUSED, "a pause")
        rules.Pause(rules_pb2.PauseRequest(all=True, resume=True), timeout=20)
        rules.Rollback(rules_pb2.RollbackRequest(), timeout=20)


def _request(customer: str, event: str) -> pb.DecideRequest:
    return pb.DecideRequest(event=pb.Event(event_id=event, customer_id=customer, type="deposit"))


def _decide(stub: Any, customer: str, event: str) -> pb.Decision:
    return stub.Decide(_request(customer, event), timeout=20).decisions[0]  # type: ignore[no-any-return]


async def keep(url: str, directory: Path) -> None:
    """What the log's keeper does, at once and as if much time had passed."""
    store = kind_of_store(url)(url)
    learner = Learner(store, Active(compile_bundle({"rules.yaml": RULES.encode()})))
    assert await learner.run_once(2**42) == 40
    assert await refresh(store, Learnt())
    await forget(store)  # the server's own may have been there
    archiver = Archiver(store, directory, learner.safe_id, tenure=Tenure(store, directory))
    report = await archiver.run_once()
    assert report.read > 100
    assert report.trimmed > 100
    assert await archived_s(store) > 0
    assert not await store.lacks()
    await store.measure_logs()
    batch = (await store.read([])).now_ms
    assert batch > 0
    assert (await store.find_decision(customer_key("c1"), 1, 0)) is None
    for closing in (learner, archiver, store):
        await closing.close()


def used(nodes: Sequence[Valkey]) -> set[str]:
    """The commands that these servers were given."""
    return {name.removeprefix("cmdstat_").lower() for n in nodes for name in n.admin.info("commandstats")}


def check_rights(nodes: Sequence[Valkey]) -> None:
    """Nothing was refused, nothing is allowed that is not needed, nor anything else."""
    for node in nodes:
        assert node.admin.acl_log() == []
    assert ALLOWED - used(nodes) <= SELDOM
    for node in nodes:
        with redis.Redis(port=node.port, username="tact", password=SECRET, protocol=2) as client:
            for command in FORBIDDEN:
                with pytest.raises(redis.ResponseError, match=r"(?i)no permissions|ACL failure"):
                    client.execute_command(*command)


def test_a_cluster(servers: list[Server], tmp_path: Path, access: Sequence[str], runner: asyncio.Runner) -> None:
    with ValkeyCluster(tmp_path / "cluster", settings=access, password=ADMIN) as cluster:
        url = f"redis+cluster://tact:{SECRET}@{cluster.seeds}"
        servers.append(server := Server(tmp_path, "--redis", url, rules=RULES))
        ready = server.ready()
        assert ready["store"] == f"redis+cluster://{cluster.seeds}"
        walk(ready["address"])
        assert server.end() == 0
        runner.run(keep(url, tmp_path / "kept"))
        assert "Traceback" not in server.said()
        sizes = [n.admin.dbsize() for n in cluster.masters]
        assert min(sizes) > 0.8 * max(sizes)
        for node in cluster.masters:
            assert node.admin.acl_log() == []
            assert node.admin.info("clients")["connected_clients"] < 10


def test_one_node_behind_tls(
    servers: list[Server], tmp_path: Path, access: Sequence[str], runner: asyncio.Runner
) -> None:
    authority = trustme.CA()
    files = {name: tmp_path / f"{name}.pem" for name in ("ca", "cert", "key")}
    authority.cert_pem.write_to_path(files["ca"])
    ours = authority.issue_cert("tact")
    ours.private_key_pem.write_to_path(files["key"])
    for blob in ours.cert_chain_pems:
        blob.write_to_path(files["cert"], append=True)
    with Valkey(tmp_path / "node", *access, password=ADMIN) as node, secured(node, authority) as port:
        options = "&".join(f"{name}={path}" for name, path in files.items())
        url = f"rediss://tact:{SECRET}@127.0.0.1:{port}/0?{options}"
        servers.append(server := Server(tmp_path, "--redis", url, rules=RULES))
        ready = server.ready()
        assert ready["store"] == f"rediss://127.0.0.1:{port}/0"
        walk(ready["address"])
        assert server.end() == 0
        runner.run(keep(url, tmp_path / "kept"))
        assert "Traceback" not in server.said()
        check_rights([node])


@contextmanager
def secured(node: Valkey, authority: trustme.CA) -> Iterator[int]:
    """The port of a TLS end in front of a server, which wants a certificate of its clients."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    loop = asyncio.new_event_loop()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", node.port)

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            try:
                while data := await source.read(1 << 16):
                    sink.write(data)
                    await sink.drain()
            except OSError:
                pass
            sink.close()

        await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))

    listening = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0, ssl=context))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        listening.close()
        loop.run_until_complete(asyncio.sleep(0.05))
        loop.close()
