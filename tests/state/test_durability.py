"""What a replica must have before it counts, and a store that stands still."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import hiredis
import pytest

from engine.errors import StoreUnavailable
from engine.identity import customer_key
from engine.state.cluster_store import ClusterStore
from engine.state.model import Commit, ReadRequest
from engine.state.profile import new_version
from engine.state.redis import RedisStore
from tests.valkeys import Valkey, ValkeyCluster, until

ANNA = customer_key("anna")
BUDGET_MS = 2000


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Valkey, Valkey]]:
    directory = tmp_path_factory.mktemp("pair")
    with Valkey(directory / "a", "repl-diskless-sync-delay 0") as master, Valkey(directory / "b") as replica:
        replica.admin.replicaof("127.0.0.1", master.port)
        until(lambda: replica.admin.info("replication")["master_link_status"] == "up", "the replica")
        yield master, replica


async def write(store: RedisStore, value: bytes) -> str:
    batch = await store.read([ReadRequest(ANNA, ())])
    commit = Commit(ANNA, batch.entries[0].record[:8], b"", new_version() + value)
    return (await store.commit([commit], batch.now_ms + BUDGET_MS))[0].status


async def write_by_look(store: RedisStore, value: bytes) -> object:
    keys = store._customer_keys(ANNA)
    read = hiredis.pack_command(("WATCH", *keys[:2])) + hiredis.pack_command(("MGET", *keys))
    look = await store.look(0, read, 1, BUDGET_MS)
    log = store.bucket_key(ANNA.bucket, "log")
    commands = [("MULTI",), ("XADD", log, "*", "d", "x"), ("SET", keys[1], new_version() + value), ("EXEC",)]
    return await store.commit_look(look, b"".join(hiredis.pack_command(c) for c in commands), 2)


async def read(store: RedisStore) -> bytes:
    return (await store.read([ReadRequest(ANNA, ())])).entries[0].record[8:]


def test_a_replica_has_it_or_it_is_not_confirmed(
    pair: tuple[Valkey, Valkey], key_prefix: str, runner: asyncio.Runner
) -> None:
    async def scenario() -> None:
        master, replica = pair
        url = f"redis://{master.endpoint}"
        store = RedisStore(url, key_prefix, commit_budget_ms=BUDGET_MS, timeout_ms=4000, durability="replica")
        assert not any("replica" in sentence for sentence in await store.check())
        before = master.admin.info("commandstats").get("cmdstat_wait", {"calls": 0})["calls"]
        assert await write(store, b"one") == "done"  # the first time by EVAL: the script was not known
        assert await write(store, b"two") == "done"
        assert await write_by_look(store, b"three") == "done"
        assert replica.admin.get(store._customer_keys(ANNA)[1])[8:] == b"three"
        assert master.admin.info("commandstats")["cmdstat_wait"]["calls"] - before in (3, 4)
        replica.process.send_signal(signal.SIGSTOP)
        try:
            assert await write(store, b"four") == "unknown"
            assert await read(store) == b"four"  # executed, but not confirmed
            assert await write_by_look(store, b"five") == "unknown"
            relaxed = RedisStore(url, key_prefix, commit_budget_ms=BUDGET_MS)
            assert await write(relaxed, b"six") == "done"
            await relaxed.close()
        finally:
            replica.process.send_signal(signal.SIGCONT)
        await asyncio.to_thread(until, lambda: master.admin.execute_command("WAIT", 1, 100) == 1, "the replica")
        assert await write(store, b"seven") == "done"
        await store.close()

    runner.run(scenario())


def test_without_a_replica_it_is_said_at_start(store_url: str, key_prefix: str, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        store = RedisStore(store_url, key_prefix, durability="replica")
        assert any("has no replica" in sentence for sentence in await store.check())
        assert await write(store, b"one") == "unknown"
        await store.close()

    runner.run(scenario())


def test_a_cluster_waits_on_each_node(tmp_path: Path, key_prefix: str, runner: asyncio.Runner) -> None:
    async def scenario(cluster: ValkeyCluster) -> None:
        keys = [customer_key(f"c{n}") for n in range(60)]
        for durability in ("store", "replica"):
            store = ClusterStore(cluster.url, key_prefix, commit_budget_ms=BUDGET_MS, durability=durability)
            batch = await store.read([ReadRequest(key, ()) for key in keys])
            assert batch.lost == ()
            commits = [Commit(k, e.record[:8], b"", new_version()) for k, e in zip(keys, batch.entries, strict=True)]
            await store._generation.join()
            not_after_ms = (await store.read([])).now_ms + BUDGET_MS
            statuses = {s.status for s in await store.commit(commits, not_after_ms)}
            assert statuses == {"done" if durability == "store" else "unknown"}  # nobody has replicas here
            await store.close()
        waits = [n.admin.info("commandstats")["cmdstat_wait"]["calls"] for n in cluster.masters]
        assert waits == [1, 1, 1]

    with ValkeyCluster(tmp_path) as cluster:
        runner.run(scenario(cluster))


def test_a_store_that_stands_still_is_left_alone_after_a_second(
    pair: tuple[Valkey, Valkey], key_prefix: str, runner: asyncio.Runner
) -> None:
    async def scenario() -> None:
        master, _ = pair
        loop = asyncio.get_running_loop()
        store = RedisStore(f"redis://{master.endpoint}", key_prefix, commit_budget_ms=BUDGET_MS)
        assert await write(store, b"one") == "done"
        master.process.send_signal(signal.SIGSTOP)
        try:
            began = loop.time()
            with pytest.raises(StoreUnavailable, match="no reply within"):
                await read(store)
            assert loop.time() - began < 3.0
            began = loop.time()
            for _ in range(20):  # no call waits for another second, though the server takes connections
                with pytest.raises(StoreUnavailable):
                    await read(store)
            assert loop.time() - began < 10  # it would be 20
        finally:
            master.process.send_signal(signal.SIGCONT)
        began = loop.time()
        while True:
            try:
                assert await read(store) == b"one"
                break
            except StoreUnavailable:
                assert loop.time() - began < 10.0
                await asyncio.sleep(0.01)
        await store.close()

    runner.run(scenario())
