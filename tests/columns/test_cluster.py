"""The lane on a cluster: each customer's part of a batch is committed by itself, on the node that has it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from engine.bundle import Active, compile_bundle
from engine.columns.lane import Ask, Lane
from engine.decider import Decider, DeciderSettings
from engine.errors import CommitUnknown, TactError
from engine.identity import customer_key
from engine.pb.tact.v1 import decision_pb2 as pb
from engine.state.cluster_store import ClusterStore
from engine.state.model import Commit, ReadRequest
from engine.state.profile import new_version
from engine.state.slots import SLOT_OF_BUCKET
from tests.valkeys import ValkeyCluster

RULES = b"""
events: {deposit: {amount: number}}
purposes: {service: {consent: not_required}}
channels: {push: {}}
caps: [{at_most: 2, per: [customer], in: 7 days, purposes: [service]}]
messages:
  thanks: {purpose: service, on: [deposit], value: 1.0, channels: [push], variants: {plain: {en: "Thank you."}}}
"""
BUDGET_MS = 2000


class Call:
    """An ask, and what became of it: its answer, or None where it was handed back."""

    def __init__(self, customer: str, event: str) -> None:
        event_ = pb.Event(event_id=event, customer_id=customer, type="deposit")
        self.payload = pb.DecideRequest(event=event_).SerializeToString()
        self.came_to: asyncio.Future[bytes | TactError | None] = asyncio.get_running_loop().create_future()

    def answered(self, answer: bytes | TactError) -> None:
        self.came_to.set_result(answer)

    def handed_back(self, ahead: bool) -> None:
        self.came_to.set_result(None)


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyCluster]:
    with ValkeyCluster(tmp_path_factory.mktemp("cluster")) as one:
        yield one


def test_a_batch_is_committed_customer_by_customer(cluster: ValkeyCluster, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        store = ClusterStore(cluster.url, commit_budget_ms=BUDGET_MS)
        decider = Decider(Active(compile_bundle({"r.yaml": RULES})), store, DeciderSettings(commit_budget_ms=BUDGET_MS))
        lane = Lane(decider, store)
        names = [f"c{n}" for n in range(120)]

        async def ask(event: str) -> list[bytes | TactError | None]:
            calls = [Call(name, event) for name in names]
            asks: list[Ask] = [*calls]
            lane.submit(asks)
            return await asyncio.gather(*(call.came_to for call in calls))

        def reasons(answers: list[bytes | TactError | None]) -> set[int]:
            return {pb.DecideResponse.FromString(a).decisions[0].reason for a in answers if isinstance(a, bytes)}

        first = await ask("1")
        assert all(isinstance(answer, bytes) for answer in first)
        assert await ask("1") == [None] * 120  # repeats are for the ordinary way
        assert reasons(await ask("2")) == reasons(first) == {pb.Decision.SELECTED}
        assert reasons(await ask("3")) == {pb.Decision.CAP_REACHED}
        logged = [len(n.admin.keys("*r:*")) for n in cluster.masters]
        assert sum(logged) == 120
        assert min(logged) > 20

        moved = customer_key(names[5])  # somebody writes to one of them while the batch is under way
        commit = store.commit

        async def after_another(commits: list[Commit], not_after_ms: int) -> object:
            if any(c.customer == moved for c in commits):
                store.commit = commit  # type: ignore[method-assign]
                entry = (await store.read([ReadRequest(moved, ())])).entries[0]
                changed = Commit(moved, entry.record[:8], b"", new_version() + entry.record[8:])
                assert (await commit([changed], not_after_ms))[0].done
            return await commit(commits, not_after_ms)

        store.commit = after_another  # type: ignore[method-assign,assignment]
        assert [answer is None for answer in await ask("4")] == [name == names[5] for name in names]

        lost = cluster.owner_of(SLOT_OF_BUCKET[customer_key(names[0]).bucket])
        theirs = [cluster.owner_of(SLOT_OF_BUCKET[customer_key(n).bucket]) is lost for n in names]
        wait = asyncio.get_running_loop().time()
        lost.kill()
        answers = await ask("5")
        assert [answer is None or isinstance(answer, CommitUnknown) for answer in answers] == theirs
        answers = await ask("6")
        assert [answer is None for answer in answers] == theirs
        assert asyncio.get_running_loop().time() - wait < 10
        await decider.drain()
        await store.close()

    runner.run(scenario())
