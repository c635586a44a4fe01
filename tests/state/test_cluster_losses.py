"""What one node of a cluster loses, or whether it is there at all, is its own affair: three real masters."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from engine.bundle import Active, compile_bundle
from engine.decider import create_decider
from engine.decision import DecideRequest, Event
from engine.errors import StoreUnavailable
from engine.identity import BUCKETS, customer_key
from engine.state.archive import Archiver
from engine.state.cluster_store import ClusterStore
from engine.state.losses import Loss, Seen
from engine.state.model import Commit, CommitStatus, ReadRequest
from engine.state.slots import SLOT_OF_BUCKET
from tests.state.test_cluster import BUDGET_MS, customers, write
from tests.valkeys import ValkeyCluster, until

RULES = {
    "rules.yaml": b"""
events: {ping: {}}
purposes: {service: {consent: not_required}}
messages:
  pong: {purpose: service, on: [ping], channels: [push], variants: {plain: {en: "Pong."}}}
"""
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyCluster]:
    with ValkeyCluster(tmp_path_factory.mktemp("cluster")) as one:
        yield one


@pytest.fixture
def clustered(cluster: ValkeyCluster, key_prefix: str, runner: asyncio.Runner) -> Iterator[ClusterStore]:
    one = ClusterStore(cluster.url, key_prefix, commit_budget_ms=BUDGET_MS)
    yield one
    runner.run(one.close())


def buckets_of(cluster: ValkeyCluster) -> list[list[int]]:
    """The buckets of each master."""
    owners = {slot: cluster.owner_of(slot) for slot in sorted(set(SLOT_OF_BUCKET))[::600]}
    shares = [(m, [slot for slot, owner in owners.items() if owner is m]) for m in cluster.masters]
    bounds = [(min(slots), max(slots)) for _, slots in shares]
    return [[b for b, slot in enumerate(SLOT_OF_BUCKET) if first <= slot <= last] for first, last in bounds]


async def entry(store: ClusterStore, bucket: int, log_id: str) -> None:
    [reply] = await store.side.pipeline([("XADD", store.bucket_key(bucket, "log"), log_id, "d", "x")])
    assert reply == log_id.encode()


def test_a_loss_is_measured_on_the_node_that_had_it(
    cluster: ValkeyCluster, clustered: ClusterStore, runner: asyncio.Runner
) -> None:
    async def scenario() -> None:
        busy, poor, _ = buckets_of(cluster)
        link, seen = clustered.side, Seen(clustered.bucket_key)
        await entry(clustered, busy[0], "8999-0")
        await entry(clustered, poor[0], "1000-0")
        seen.note(busy[0], "8999-0")
        seen.note(poor[0], "9000-0")
        assert await seen.compare(link) == Loss(1, 2, 9000, 8000)  # what others wrote a moment before is no comfort
        await entry(clustered, busy[1], "500-0")
        seen.note(busy[1], "700-0")
        assert await seen.compare(link) == Loss(2, 3, 9000, 8000)  # the longest of two

    runner.run(scenario())


def test_a_node_that_was_passed_over_by_a_failover_is_looked_at_all_the_same(
    cluster: ValkeyCluster, clustered: ClusterStore, runner: asyncio.Runner
) -> None:
    """Others went on writing while its replica took over: all of their buckets are newer than its newest."""

    async def scenario() -> None:
        busy, poor, _ = buckets_of(cluster)
        link, seen = clustered.side, Seen(clustered.bucket_key)
        for bucket in busy[:600]:
            await entry(clustered, bucket, "9000-0")
            seen.note(bucket, "9000-0")
        seen.note(poor[0], "5000-0")
        assert await seen.compare(link) == Loss(1, 513, 5000, 5000)

    runner.run(scenario())


def test_the_archive_measures_each_node_for_itself(
    cluster: ValkeyCluster, clustered: ClusterStore, runner: asyncio.Runner, tmp_path: Path
) -> None:
    async def scenario() -> None:
        busy, poor, _ = buckets_of(cluster)
        assert set(await write(clustered, customers(1), b"one")) == {"done"}  # the generation is joined
        await entry(clustered, busy[0], "8999-0")
        await entry(clustered, poor[0], "1000-0")
        await entry(clustered, poor[0], "9000-0")
        archiver = Archiver(clustered, tmp_path / "archive")
        await archiver.run_once()
        key = clustered.bucket_key(poor[0], "log")
        await clustered.side.pipeline([("DEL", key)])
        await entry(clustered, poor[0], "1000-0")
        archiver._link.drop("the node came back with less")
        await archiver.run_once()
        assert "at most 8.0 s" in clustered.closed
        await archiver.close()

    runner.run(scenario())


def test_a_newcomer_does_not_begin_anew_where_one_node_was_emptied(
    cluster: ValkeyCluster, clustered: ClusterStore, key_prefix: str, runner: asyncio.Runner
) -> None:
    async def scenario() -> None:
        keys = customers(60)
        assert set(await write(clustered, keys, b"one")) == {"done"}
        cluster.owner_of(SLOT_OF_BUCKET[0]).admin.flushall()
        newcomer = ClusterStore(cluster.url, key_prefix, commit_budget_ms=BUDGET_MS)
        assert set(await write(newcomer, keys, b"two")) == {"generation"}
        assert "lost its data" in newcomer.closed
        assert any(s.startswith("refused") and "lost its data" in s for s in await newcomer.check())
        assert "a node" in await newcomer.lacks()
        await newcomer.acknowledge_generation()
        assert "generation" in await write(clustered, keys, b"two")  # it learns of it by this
        for one in (newcomer, clustered, ClusterStore(cluster.url, key_prefix, commit_budget_ms=BUDGET_MS)):
            assert set(await write(one, keys, b"three")) == {"done"}
            if one is not clustered:
                await one.close()

    runner.run(scenario())


def test_a_generation_that_was_begun_by_halves_is_completed(
    cluster: ValkeyCluster, clustered: ClusterStore, runner: asyncio.Runner
) -> None:
    async def scenario() -> None:
        keys = [("SET", clustered.bucket_key(b, "g"), b"8 bytes!") for b in range(1, 2000)]
        await clustered.side.pipeline([("SET", clustered.key("g-new"), b"8 bytes!"), *keys])
        assert set(await write(clustered, customers(60), b"one")) == {"done"}
        found = await clustered.side.pipeline([("GET", clustered.bucket_key(b, "g")) for b in range(BUCKETS)])
        assert set(found) == {b"8 bytes!"}

    runner.run(scenario())


def test_an_emptied_node_is_told_beside_warnings(
    cluster: ValkeyCluster, clustered: ClusterStore, runner: asyncio.Runner
) -> None:
    async def scenario() -> None:
        keys = customers(60)
        assert set(await write(clustered, keys, b"one")) == {"done"}
        of_zero = cluster.owner_of(SLOT_OF_BUCKET[0])
        next(m for m in cluster.masters if m is not of_zero).admin.flushall()
        found = await clustered.check()
        assert any(sentence.startswith("warning") for sentence in found)
        assert any(sentence.startswith("refused: a node of the cluster lost its data") for sentence in found), found

    runner.run(scenario())


@pytest.mark.parametrize("tells", [False, True])
def test_a_node_that_is_away_does_not_hold_up_who_connects_anew(
    cluster: ValkeyCluster, clustered: ClusterStore, runner: asyncio.Runner, tells: bool
) -> None:
    """`tells`: it is the one of bucket 0, which says what holds of the whole store."""

    async def scenario() -> None:
        keys = customers(60)
        assert set(await write(clustered, keys, b"one")) == {"done"}
        of_zero = cluster.owner_of(SLOT_OF_BUCKET[0])
        dead = of_zero if tells else next(m for m in cluster.masters if m is not of_zero)
        others = [k for k in keys if cluster.owner_of(SLOT_OF_BUCKET[k.bucket]) is not dead]
        dead.kill()
        try:
            clustered._link.drop("all connections were lost")
            assert set(await write(clustered, others, b"two")) == {"done"}
        finally:
            dead.start()
        await asyncio.to_thread(until, lambda: all(map(cluster.whole, cluster.nodes)), "the node")
        loop = asyncio.get_running_loop()
        until_s = loop.time() + 10
        while (batch := await clustered.read([ReadRequest(key, ()) for key in keys])).lost:
            assert loop.time() < until_s
            await asyncio.sleep(0.01)
        assert [not e.record for e in batch.entries] == [k not in others for k in keys]  # it came back empty
        assert set(await write(clustered, keys, b"three")) == {"generation"}
        assert clustered.closed
        assert clustered.losses == (0 if tells else 1)  # of bucket 0 the generation is gone already

    runner.run(scenario())


def test_what_never_left_for_a_node_is_told_as_not_done(
    cluster: ValkeyCluster, key_prefix: str, runner: asyncio.Runner
) -> None:
    """The node of a customer dies between reading and committing."""
    victim = cluster.masters[2]

    class Cut(ClusterStore):
        cut = False

        async def commit(self, commits: Sequence[Commit], not_after_ms: int) -> list[CommitStatus]:
            if self.cut:
                victim.kill()
                for node in self._cluster.masters():
                    if node.endpoint.port == victim.port:
                        node.connection.drop("it is dead")
            return await super().commit(commits, not_after_ms)

    async def scenario() -> None:
        store = Cut(cluster.url, key_prefix, commit_budget_ms=BUDGET_MS)
        try:
            decider = create_decider(Active(compile_bundle(RULES)), store)
            names = [f"c{n}" for n in range(20)]
            theirs = [cluster.owner_of(SLOT_OF_BUCKET[customer_key(n).bucket]) is victim for n in names]
            await store.check()  # it has a generation
            store.cut = True
            found = await decider.decide([DecideRequest(Event("e", name, "ping", None, {})) for name in names])
            for result, gone in zip(found, theirs, strict=True):
                assert isinstance(result, StoreUnavailable) if gone else isinstance(result, list), result
            assert "nothing was done" in str(found[theirs.index(True)])
        finally:
            victim.start()
            await store.close()

    runner.run(scenario())
