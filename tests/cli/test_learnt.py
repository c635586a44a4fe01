"""`tact rebuild` and `tact learn` as an operator uses them: a real server, its embedded store, the commands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import grpc

from engine.bundle import Active, compile_bundle
from engine.learning.learner import Learner
from engine.pb.tact.v1 import decision_pb2 as pb
from engine.pb.tact.v1 import decision_pb2_grpc, profile_pb2, profile_pb2_grpc
from engine.state.embedded import EmbeddedStore
from engine.state.redis import RedisStore
from tests.server.process import Server

Tact = Callable[..., Any]
RULES = """\
events: {deposit: {}}
purposes: {service: {consent: not_required}}
channels: {push: {}}
policies:
  words: {kind: thompson, reward: {replied: 1.0, opted_out: -1.0}, attribution: 1 day, control: plain}
messages:
  offer:
    purpose: service
    on: [deposit]
    channels: [push]
    policy: words
    variants: {plain: {en: "Save."}, warm: {en: "Do save!"}}
"""


def served(address: str) -> None:
    """Thirty customers are told something and reply; ten of them object to learning."""
    with grpc.insecure_channel(address) as channel:
        withdrawn = profile_pb2.Consent(purpose="learning", state=profile_pb2.Consent.WITHDRAWN)
        objectors = [
            profile_pb2.Profile(customer_id=f"c{k}", contact=profile_pb2.ContactPreferences(consents=[withdrawn]))
            for k in range(10)
        ]
        put = profile_pb2.PutProfilesRequest(profiles=objectors)
        results = profile_pb2_grpc.ProfileServiceStub(channel).PutProfiles(put, timeout=20).results
        assert not [r for r in results if r.HasField("error")]
        stub = decision_pb2_grpc.DecisionServiceStub(channel)
        told: dict[int, str] = {}
        for k in range(30):
            event = pb.Event(event_id=f"e{k}", customer_id=f"c{k}", type="deposit")
            [decision] = stub.Decide(pb.DecideRequest(event=event), timeout=20).decisions
            told[k] = decision.variant
            report = pb.OutcomeReport(decision_id=decision.decision_id, kind=pb.OutcomeReport.REPLIED)
            stub.RecordOutcomes(pb.RecordOutcomesRequest(outcomes=[report]), timeout=20)
        assert {told[k] for k in range(10)} == {"plain"}
        assert {told[k] for k in range(10, 30)} == {"plain", "warm"}


def on_store(data: Path, work: Callable[[RedisStore], Coroutine[Any, Any, None]]) -> None:
    async def run(url: str) -> None:
        store = RedisStore(url)
        await work(store)
        await store.close()

    server = EmbeddedStore(data)
    try:
        asyncio.run(run(server.start()))
    finally:
        server.stop()


def test_what_was_learnt_is_looked_over_built_again_and_added_to(tact: Tact, tmp_path: Path) -> None:
    data = tmp_path / "data"
    server = Server(tmp_path, rules=RULES)
    try:
        served(server.ready()["address"])
        assert server.end() == 0
    finally:
        server.close()

    async def learn(store: RedisStore) -> None:
        learner = Learner(store, Active(compile_bundle({"rules.yaml": RULES.encode()})))
        assert await learner.run_once(await learner.now_ms() + 100_000_000) == 20
        await learner.close()

    async def spoil(store: RedisStore) -> None:
        await store.admin.hincrby(store.key("learn:sums"), 'n["words","offer","","warm"]', 3)

    on_store(data, learn)
    told = tact("rebuild", "--data", data)
    assert (told.status, told.out) == (0, "what was learnt is what the log says: 2 arms, 20 trials of the log\n")
    on_store(data, spoil)
    told = tact("rebuild", "--check", "--data", data)
    assert told.status == 1
    assert told.out.splitlines()[0] == "not what the log says: 1 arm, of 2"
    assert "words   offer             warm" in told.out
    told = tact("rebuild", "--data", data, "--json")
    assert (told.status, told.json["differs"][0]["variant"], told.json["written"]) == (1, "warm", False)
    assert tact("rebuild", "--check", "--write", "--data", data).status == 2
    told = tact("rebuild", "--write", "--data", data)
    assert (told.status, told.out.splitlines()[0]) == (
        0,
        "built again from the log: 2 arms, 20 trials of the log; 1 arm differed",
    )
    assert tact("rebuild", "--data", data).status == 0

    table = tmp_path / "past.csv"
    table.write_text("action,reward\n" + "plain,0\nwarm,1\nwarm,0\n" * 50)
    learn_it = ("learn", table, "--policy", "words", "--worth", "60", "--data", data)
    told = tact(*learn_it)
    assert (told.status, told.out) == (
        0,
        "'words from past.csv': 110 trials of 2 arms: the policy 'words' learnt them\n",
    )
    assert "had them already" in tact(*learn_it).out
    told = tact("rebuild", "--data", data)
    assert told.out == "what was learnt is what the log says: 2 arms, 20 trials of the log, 1 learnt elsewhere\n"
    assert tact("learn", "--remove", "words from past.csv", "--data", data).status == 0
    assert tact("learn", table, "--data", data).status == 2
    told = tact("learn", table, "--policy", "word", "--data", data)
    assert (told.status, told.err) == (1, "tact: the rule set in use has no policy 'word'; did you mean 'words'?\n")
