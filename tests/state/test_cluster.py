"""The store on a real cluster of three masters: redirections, migrations and lost nodes stay out of callers' sight."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import hiredis
import pytest

from engine.errors import StoreUnavailable
from engine.identity import BUCKETS, CustomerKey, customer_key
from engine.state.archive import Archiver
from engine.state.cluster import Node
from engine.state.cluster_store import ClusterStore, kind_of_store
from engine.state.log import ErasedEntry, encode
from engine.state.model import Commit, ReadRequest
from engine.state.profile import new_version
from engine.state.redis import RedisStore
from engine.state.slots import SLOT_OF_BUCKET, SLOTS, slot_of
from engine.state.tenure import Tenure, belonging, forget
from tests.valkeys import Valkey, ValkeyCluster, until

BUDGET_MS = 2000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyCluster]:
    with ValkeyCluster(tmp_path_factory.mktemp("cluster")) as one:
        yield one


@pytest.fixture
def clustered(cluster: ValkeyCluster, key_prefix: str, runner: asyncio.Runner) -> Iterator[ClusterStore]:
    one = ClusterStore(cluster.url, key_prefix, commit_budget_ms=BUDGET_MS)
    yield one
    runner.run(one.close())


def customers(count: int, bucket: int | None = None) -> list[CustomerKey]:
    keys = (customer_key(f"c{n}") for n in itertools.count())
    return list(itertools.islice((k for k in keys if bucket in (None, k.bucket)), count))


async def write(store: RedisStore, keys: Sequence[CustomerKey], value: bytes) -> list[str]:
    """A record and a log entry for each, whatever was there."""
    batch = await store.read([ReadRequest(key, ()) for key in keys])
    commits = [
        Commit(k, e.record[:8], e.profile[:8], new_version() + value, entries=[encode(ErasedEntry(1, k.digest))])
        for k, e in zip(keys, batch.entries, strict=True)
    ]
    return [status.status for status in await store.commit(commits, batch.now_ms + BUDGET_MS)]


async def read(store: RedisStore, keys: Sequence[CustomerKey]) -> list[bytes]:
    batch = await store.read([ReadRequest(key, ()) for key in keys])
    assert batch.lost == ()
    return [entry.record[8:] for entry in batch.entries]


def errors(nodes: Sequence[Valkey], word: str) -> int:
    """How often the servers answered so."""
    return sum(int(n.admin.info("errorstats").get(f"errorstat_{word}", {"count": 0})["count"]) for n in nodes)


@pytest.mark.parametrize("nodes", range(3, 13))
def test_buckets_are_spread_evenly(nodes: int) -> None:
    assert (slot_of(b"123456789"), slot_of(b"a{123456789}b"), slot_of(b"a{}b")) == (12739, 12739, slot_of(b"a{}b"))
    counts = [0] * nodes
    for slot in SLOT_OF_BUCKET:
        counts[slot * nodes // SLOTS] += 1
    assert max(counts) < 1.06 * BUCKETS / nodes
    assert min(counts) > 0.94 * BUCKETS / nodes


def test_commits_are_compare_and_set_on_their_node(
    cluster: ValkeyCluster, clustered: ClusterStore, runner: asyncio.Runner
) -> None:
    async def scenario() -> None:
        found = await clustered.check()
        assert all("append-only" in sentence for sentence in found), found
        keys = customers(200)
        assert set(await write(clustered, keys, b"one")) == {"done"}
        assert await read(clustered, keys) == [b"one"] * 200
        shares = [sum(cluster.owner_of(SLOT_OF_BUCKET[k.bucket]) is m for k in keys) for m in cluster.masters]
        assert min(shares) > 40
        anna = keys[0]
        before = (await clustered.read([ReadRequest(anna, ())])).entries[0]
        now_ms = (await clustered.read([])).now_ms
        same = [Commit(anna, before.record[:8], b"", new_version() + b"two", spills=[(7, b"kept", 60_000)])] * 2
        assert [s.status for s in await clustered.commit(same, now_ms + BUDGET_MS)] == ["done", "moved"]
        assert (await clustered.read([ReadRequest(anna, (7, 8))])).entries[0].spilled == {7: b"kept"}
        late = Commit(anna, b"", b"", new_version())
        assert (await clustered.commit([late], now_ms - 1))[0].status in ("late", "unknown", "unreachable")
        assert await read(clustered, [anna]) == [b"two"]
        for node in cluster.masters:  # a node that forgot its scripts is told again
            node.admin.script_flush()
        assert set(await write(clustered, keys, b"three")) == {"done"}

    runner.run(scenario())


def test_a_wrong_map_is_mended_by_what_nodes_say(
    cluster: ValkeyCluster, clustered: ClusterStore, runner: asyncio.Runner
) -> None:
    async def scenario() -> None:
        keys = customers(100)
        assert set(await write(clustered, keys, b"one")) == {"done"}
        links = clustered._cluster
        masters, moved = links.masters(), errors(cluster.nodes, "MOVED")
        for slot in range(SLOTS):
            links._owners[slot] = masters[(masters.index(links._owners[slot]) + 1) % 3]  # type: ignore[arg-type]
        assert await read(clustered, keys) == [b"one"] * 100
        assert errors(cluster.nodes, "MOVED") >= moved + 90
        assert set(await write(clustered, keys, b"two")) == {"done"}

    runner.run(scenario())


def test_a_lost_generation_on_one_node_closes_its_buckets(
    cluster: ValkeyCluster, clustered: ClusterStore, runner: asyncio.Runner
) -> None:
    async def scenario() -> None:
        keys = customers(60)
        assert set(await write(clustered, keys, b"one")) == {"done"}
        lost = cluster.owner_of(SLOT_OF_BUCKET[keys[0].bucket])
        lost.admin.flushall()
        statuses = await write(clustered, keys, b"two")
        here = [cluster.owner_of(SLOT_OF_BUCKET[k.bucket]) is lost for k in keys]
        assert [s == "done" for s in statuses] == [not gone for gone in here]
        assert await clustered.lacks()
        assert any("generation" in sentence for sentence in await clustered.check())
        await clustered.acknowledge_generation()
        assert not await clustered.lacks()
        assert set(await write(clustered, keys, b"three")) == {"done"}

    runner.run(scenario())


@pytest.mark.parametrize(("setting", "value"), [("maxmemory", 1), ("min-replicas-to-write", 1)])
def test_a_node_that_refuses_writes_refuses_its_own_customers(
    setting: str, value: int, cluster: ValkeyCluster, clustered: ClusterStore, runner: asyncio.Runner
) -> None:
    async def scenario() -> None:
        keys = customers(60)
        assert set(await write(clustered, keys, b"one")) == {"done"}
        full = cluster.owner_of(SLOT_OF_BUCKET[keys[0].bucket])
        full.admin.config_set(setting, value)
        try:
            statuses = await write(clustered, keys, b"two")
            here = [cluster.owner_of(SLOT_OF_BUCKET[k.bucket]) is full for k in keys]
            assert statuses == ["refused" if refused else "done" for refused in here]
            assert await read(clustered, keys) == [b"one" if refused else b"two" for refused in here]
        finally:
            full.admin.config_set(setting, 0)
        assert set(await write(clustered, keys, b"three")) == {"done"}

    runner.run(scenario())


def test_the_log_of_all_nodes_is_archived_and_read(
    clustered: ClusterStore, tmp_path: Path, runner: asyncio.Runner
) -> None:
    async def scenario() -> None:
        await write(clustered, customers(300), b"one")
        archiver = Archiver(clustered, tmp_path)
        report = await archiver.run_once()
        assert (report.read, report.trimmed, report.longest) == (300, 300, 0)
        await write(clustered, customers(300), b"two")
        assert (await archiver.run_once()).read == 300
        assert await clustered.find_decision(customers(1)[0], 1, 0) is None
        await clustered.measure_logs()
        assert clustered.lengths.full == frozenset()
        await archiver.close()

    runner.run(scenario())


def test_of_two_keepers_one_archives(
    clustered: ClusterStore, tmp_path: Path, runner: asyncio.Runner, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        first, second = (
            Archiver(clustered, tmp_path / name, tenure=Tenure(clustered, tmp_path / name)) for name in ("a", "b")
        )
        await write(clustered, customers(300), b"one")
        report = await first.run_once()
        assert (report.read, report.trimmed) == (300, 300)
        await write(clustered, customers(300), b"two")
        assert (await second.run_once()).read == 0
        await first.close()
        assert (await second.run_once()).read == 0
        assert "expected the archive" in caplog.text
        assert (await belonging(clustered)).archive.run == 1
        await forget(clustered)
        assert (await second.run_once()).read == 300
        await second.close()

    runner.run(scenario())


def test_looks_are_committed_for_each_customer(clustered: ClusterStore, runner: asyncio.Runner) -> None:
    def keys_of(customer: CustomerKey) -> list[str]:
        profile, record, answer = clustered._customer_keys(customer)
        return [profile, record, f"{answer}{7:016x}"]

    async def scenario() -> None:
        keys = customers(20)
        assert set(await write(clustered, keys[:10], b"one")) == {"done"}
        mget = hiredis.pack_command(("MGET", *[key for k in keys for key in keys_of(k)]))
        look = await clustered.look(0, hiredis.pack_command(("WATCH", "x")) + mget, 20, BUDGET_MS)
        assert [blob is not None for blob in look.blobs] == [False, True, False] * 10 + [False] * 30
        await write(clustered, keys[5:6], b"meanwhile")
        commands: list[tuple[str | bytes | int, ...]] = []
        for k in keys:
            _, record, answer = keys_of(k)
            commands.append(("XADD", clustered.bucket_key(k.bucket, "log"), "*", "d", encode(ErasedEntry(2, k.digest))))
            commands.append(("SET", record, new_version() + b"two"))
        commands.append(("SET", answer, b"spilled", "PX", 60_000))
        whole = [("MULTI",), *commands, ("EXEC",)]
        statuses = await clustered.commit_look(look, b"".join(map(hiredis.pack_command, whole)), len(commands))
        assert isinstance(statuses, list)
        assert [s.status for s in statuses] == ["done"] * 5 + ["moved"] + ["done"] * 14
        assert await read(clustered, keys) == [b"two"] * 5 + [b"meanwhile"] + [b"two"] * 14
        assert (await clustered.read([ReadRequest(keys[-1], (7,))])).entries[0].spilled == {7: b"spilled"}

    runner.run(scenario())


def test_a_slot_moves_during_traffic(cluster: ValkeyCluster, clustered: ClusterStore, runner: asyncio.Runner) -> None:
    bucket = customers(1)[0].bucket
    slot = SLOT_OF_BUCKET[bucket]
    source = cluster.owner_of(slot)
    target = next(m for m in cluster.masters if m is not source)
    moving, others = customers(6, bucket), customers(20)
    counts = dict.fromkeys([*moving, *others], 0)
    statuses: list[str] = []
    task: asyncio.Task[None]

    async def traffic(stop: asyncio.Event) -> None:
        while not stop.is_set():
            batch = await clustered.read([ReadRequest(key, ()) for key in counts])
            assert batch.lost == ()
            assert [int(e.record[8:] or b"0") for e in batch.entries] == list(counts.values())
            commits = [
                Commit(k, e.record[:8], b"", new_version() + b"%d" % (counts[k] + 1), entries=[b"e"])
                for k, e in zip(counts, batch.entries, strict=True)
            ]
            for key, status in zip(counts, await clustered.commit(commits, batch.now_ms + BUDGET_MS), strict=True):
                statuses.append(status.status)
                counts[key] += status.done

    async def turns() -> None:
        """Two commits of everybody begin after this."""
        wanted = min(counts.values()) + 3
        async with asyncio.timeout(15):
            while min(counts.values()) < wanted and not task.done():  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def scenario() -> None:
        nonlocal task
        stop = asyncio.Event()
        await write(clustered, moving, b"0")
        task = asyncio.create_task(traffic(stop))
        await turns()
        try:
            await asyncio.to_thread(cluster.begin_move, slot, source, target)
            await asyncio.to_thread(cluster.move_keys, slot, source, target, 3)
            # half of the keys are here, half are there
            await asyncio.to_thread(until, lambda: errors(cluster.nodes, "TRYAGAIN") > 0, "a TRYAGAIN")
            await asyncio.to_thread(cluster.move_keys, slot, source, target)
            await asyncio.to_thread(until, lambda: errors(cluster.nodes, "ASK") > 0, "an ASK")
        finally:
            await asyncio.to_thread(cluster.move_keys, slot, source, target)
            await asyncio.to_thread(cluster.end_move, slot, source, target)
        await turns()
        stop.set()
        await task
        assert set(statuses) == {"done"}
        assert min(counts.values()) > 3
        assert errors(cluster.nodes, "ASK")
        assert errors(cluster.nodes, "TRYAGAIN")
        assert cluster.owner_of(slot) is target
        assert (await clustered.read([ReadRequest(moving[0], ())])).lost == ()

    runner.run(scenario())


def test_a_killed_master_costs_its_own_customers_until_its_replica_takes_over(
    tmp_path: Path, runner: asyncio.Runner
) -> None:
    async def scenario(cluster: ValkeyCluster) -> None:
        store = ClusterStore(cluster.url, commit_budget_ms=BUDGET_MS)
        keys = customers(60)
        assert set(await write(store, keys, b"one")) == {"done"}
        for node in cluster.masters:
            node.admin.execute_command("WAIT", 1, 1000)
        dead = cluster.owner_of(SLOT_OF_BUCKET[keys[0].bucket])
        theirs = [cluster.owner_of(SLOT_OF_BUCKET[k.bucket]) is dead for k in keys]
        dead.kill()
        batch = await store.read([ReadRequest(key, ()) for key in keys])
        assert batch.lost == tuple(i for i, gone in enumerate(theirs) if gone)
        assert [e.record[8:] for e in batch.entries] == [b"" if gone else b"one" for gone in theirs]
        with pytest.raises(StoreUnavailable):
            await read(store, keys[:1])
        commits = [Commit(k, e.record[:8], b"", new_version()) for k, e in zip(keys, batch.entries, strict=True)]
        statuses = [s.status for s in await store.commit(commits, batch.now_ms + BUDGET_MS)]
        assert statuses == ["unreachable" if gone else "done" for gone in theirs]
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            try:
                assert await read(store, keys[:1]) == [b"one"]
                break
            except StoreUnavailable:
                assert loop.time() - began < 10.0  # node timeout + 3 s on a machine that does nothing else
                await asyncio.sleep(0.02)
        assert set(await write(store, keys, b"two")) == {"done"}
        dead.start()  # empty, and a replica of the new one soon
        await asyncio.to_thread(until, lambda: dead.admin.info("replication")["role"] == "slave", "its new role")
        assert await read(store, keys) == [b"two"] * 60
        await store.close()

    with ValkeyCluster(tmp_path, replicas=1) as cluster:
        runner.run(scenario(cluster))


def test_nodes_whose_clocks_differ(clustered: ClusterStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        keys = customers(60)
        links = clustered._cluster
        assert set(await write(clustered, keys, b"one")) == {"done"}
        fast, slow = links.masters()[:2]
        note = links._note_time

        def skewed(node: Node, reply: object) -> None:
            note(node, reply)
            assert node.ahead_ms is not None
            node.ahead_ms += {fast: 60_000, slow: -60_000}.get(node, 0)

        links._note_time = skewed  # type: ignore[method-assign]
        for value in (b"two", b"three"):
            assert set(await write(clustered, keys, value)) <= {"done", "late"}  # what is slow refuses, as it must
        now_ms = (await clustered.read([])).now_ms
        assert 55_000 < now_ms - time.time() * 1000 < 61_000
        for _ in range(5):
            await read(clustered, keys[:1])
            left_s = clustered._seconds_until((await clustered.read([])).now_ms + BUDGET_MS)
            assert left_s == pytest.approx(BUDGET_MS / 1000, abs=0.5)

    runner.run(scenario())


def test_who_is_no_cluster_says_so(
    store_url: str, cluster: ValkeyCluster, key_prefix: str, runner: asyncio.Runner
) -> None:
    async def scenario() -> None:
        node = RedisStore(f"redis://{cluster.nodes[0].endpoint}", key_prefix)
        assert await node.check() == [
            "refused: the store is a node of a cluster; its address must begin with redis+cluster://"
        ]
        await node.close()
        nobody = ClusterStore("redis+cluster://127.0.0.1:1,127.0.0.1:2", key_prefix, timeout_ms=200)
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            await nobody.read([ReadRequest(customers(1)[0], ())])
        await nobody.close()

    runner.run(scenario())
    assert kind_of_store(cluster.url) is ClusterStore
    assert kind_of_store(store_url) is RedisStore
