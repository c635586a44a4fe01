"""The store's compare-and-set on a real server: who wins, what is refused, what nobody sees."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from engine.errors import StoreUnavailable
from engine.identity import BUCKETS, customer_key
from engine.state.model import Commit, ReadRequest
from engine.state.profile import new_version
from engine.state.redis import RedisStore

ANNA = customer_key("anna")
BERT = customer_key("bert")


def group(record_version: bytes, blob: bytes | None, profile_version: bytes = b"", **more: object) -> Commit:
    return Commit(ANNA, record_version, profile_version, blob, **more)  # type: ignore[arg-type]


async def statuses(store: RedisStore, *commits: Commit, budget_ms: int = 2000) -> list[str]:
    now_ms = (await store.read([])).now_ms
    return [s.status for s in await store.commit(commits, now_ms + budget_ms)]


def test_one_of_two_writers_wins(store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        first, second = new_version() + b"first", new_version() + b"second"
        assert await statuses(store, group(b"", first), group(b"", second)) == ["done", "moved"]
        batch = await store.read([ReadRequest(ANNA, ()), ReadRequest(BERT, (7,))])
        assert batch.entries == [(b"", first, {}), (b"", b"", {})]
        assert abs(batch.now_ms - time.time() * 1000) < 5000
        assert await statuses(store, group(first[:8], second)) == ["done"]
        assert await statuses(store, group(first[:8], first)) == ["moved"]

    runner.run(scenario())


def test_a_profile_that_moved_refuses_the_group(store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        profile = new_version() + b"profile"
        assert await statuses(store, group(b"", None, profile=profile)) == ["done"]
        assert await statuses(store, group(b"", new_version(), entries=[b"x"])) == ["moved"]
        assert await store.admin.xlen(store.bucket_key(ANNA.bucket, "log")) == 0
        assert await statuses(store, group(b"", new_version(), profile[:8], delete_profile=True)) == ["done"]
        assert (await store.read([ReadRequest(ANNA, ())])).entries[0].profile == b""

    runner.run(scenario())


def test_all_of_a_group_is_written(store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        commit = group(b"", new_version(), entries=[b"e1", b"e2"], spills=[(5, b"five", 60_000), (6, b"6", 50)])
        commit.expire_record_ms = 90_000
        [status] = await store.commit([commit], (await store.read([])).now_ms + 1000)
        assert status.done
        entries = await store.admin.xrange(store.bucket_key(ANNA.bucket, "log"))
        assert [e[1] for e in entries] == [{b"d": b"e1"}, {b"d": b"e2"}]
        assert entries[-1][0].decode() == status.log_id
        [entry] = (await store.read([ReadRequest(ANNA, (5, 8))])).entries
        assert entry.spilled == {5: b"five"}
        _, record, answer = store._customer_keys(ANNA)
        assert 0 < await store.admin.pttl(f"{answer}{5:016x}") <= 60_000
        assert 0 < await store.admin.pttl(record) <= 90_000

    runner.run(scenario())


def test_fifty_loops_at_once_count_exactly(store: RedisStore, runner: asyncio.Runner) -> None:
    async def loop() -> int:
        for turn in range(1000):
            batch = await store.read([ReadRequest(ANNA, ())])
            blob = batch.entries[0].record
            count = int(blob[8:] or b"0") + 1
            version = blob[:8]
            commit = group(version, new_version() + str(count).encode(), entries=[str(count).encode()])
            [status] = await store.commit([commit], batch.now_ms + 2000)
            if status.done:
                return turn
            assert status.status == "moved"
        raise AssertionError("never got its turn")

    async def scenario() -> None:
        await asyncio.gather(*[loop() for _ in range(50)])
        [entry] = (await store.read([ReadRequest(ANNA, ())])).entries
        assert entry.record[8:] == b"50"
        assert await store.admin.xlen(store.bucket_key(ANNA.bucket, "log")) == 50

    runner.run(scenario())


def test_a_late_commit_writes_nothing(store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        await store.check()
        now_ms = (await store.read([])).now_ms
        commit = group(b"", new_version(), entries=[b"x"])
        packed = store._pack(commit, now_ms - 1)
        from engine.state.redis import SCRIPT

        assert await store._connection.pipeline([("EVAL", SCRIPT, *packed)]) == [b"late"]
        [status] = await store.commit([commit], now_ms - 1)
        assert status.status in ("late", "unknown")
        assert (await store.read([ReadRequest(ANNA, ())])).entries[0].record == b""

    runner.run(scenario())


def test_a_store_that_lost_its_data_is_closed_until_acknowledged(
    store: RedisStore, store_url: str, runner: asyncio.Runner, tmp_path: Path
) -> None:
    async def scenario() -> None:
        file = tmp_path / "generation"
        other = RedisStore(store_url, store.prefix, generation_file=file)
        assert await statuses(store, group(b"", new_version())) == ["done"]
        assert await statuses(other, Commit(BERT, b"", b"", new_version())) == ["done"]
        keys = [k async for k in store.admin.scan_iter(f"{store.prefix}*", count=5000)]
        await store.admin.delete(*keys)
        assert await statuses(store, group(b"", new_version())) == ["generation"]
        assert await statuses(store, group(b"", new_version())) == ["generation"]
        await other.close()
        other = RedisStore(store_url, store.prefix, generation_file=file)  # a restart remembers
        assert await statuses(other, group(b"", new_version())) == ["generation"]
        assert any(s.startswith("refused") for s in await store.check())
        newcomer = RedisStore(store_url, store.prefix)  # remembers nothing, so must not heal it for others
        assert await statuses(newcomer, Commit(BERT, b"", b"", new_version())) == ["done"]
        assert await statuses(store, group(b"", new_version())) == ["generation"]
        await store.acknowledge_generation()
        assert await statuses(store, group(b"", first := new_version())) == ["done"]
        assert await statuses(other, group(first, new_version())) == ["done"]
        assert await statuses(newcomer, Commit(BERT, b"", b"", new_version())) == ["generation"]
        await other.close()
        await newcomer.close()

    runner.run(scenario())


def test_engines_that_start_at_once_agree(store_url: str, key_prefix: str, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        stores = [RedisStore(store_url, key_prefix) for _ in range(4)]
        await asyncio.gather(*[s.check() for s in stores])
        customers = [customer_key(str(i)) for i in range(40)]
        for s in stores:
            commits = [Commit(c, b"", b"", None, entries=[b"x"]) for c in customers]
            assert set(await statuses(s, *commits)) == {"done"}
        values = await stores[0].admin.mget([stores[0].bucket_key(b, "g") for b in range(BUCKETS)])
        assert len(set(values)) == 1
        for s in stores:
            await s.close()

    runner.run(scenario())


def test_nobody_sees_a_forgotten_script(store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        version = b""
        for _ in range(5):
            await store.admin.script_flush()
            commits = [group(version, blob := new_version()), Commit(BERT, b"", b"", None, entries=[b"x"])]
            assert await statuses(store, *commits) == ["done", "done"]
            version = blob

    runner.run(scenario())


def test_a_full_log(store_url: str, key_prefix: str, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        strict = RedisStore(store_url, key_prefix, max_log_length=2)
        assert await statuses(strict, group(b"", None, entries=[b"1", b"2"])) == ["done"]
        assert await statuses(strict, group(b"", new_version(), entries=[b"3"])) == ["log_full"]
        assert await statuses(strict, group(b"", blob := new_version())) == ["done"]
        easy = RedisStore(store_url, key_prefix, max_log_length=2, audit="best-effort")
        assert await statuses(easy, group(blob, new_version(), entries=[b"3"])) == ["done"]
        assert (easy.log_dropped, await strict.admin.xlen(strict.bucket_key(ANNA.bucket, "log"))) == (1, 2)
        await strict.close()
        await easy.close()

    runner.run(scenario())


def test_an_error_before_the_first_write_is_refused(
    store: RedisStore, runner: asyncio.Runner, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        await store.admin.set(store.bucket_key(ANNA.bucket, "log"), b"no stream")
        await store.check()
        assert await statuses(store, group(b"", new_version(), entries=[b"x"])) == ["refused"]
        assert "WRONGTYPE" in store.last_refusal
        assert (await store.read([ReadRequest(ANNA, ())])).entries[0].record == b""

    runner.run(scenario())


def test_clocks_too_far_apart(store_url: str, key_prefix: str, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        store = RedisStore(store_url, key_prefix, clock=lambda: time.time() + 600)
        with pytest.raises(StoreUnavailable, match="-600 s off"):
            await store.read([ReadRequest(ANNA, ())])
        await store.close()

    runner.run(scenario())


def test_check_names_what_is_wrong(store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        assert await store.check() == ["warning: the store keeps no append-only file, so a restart loses all state"]
        await store.admin.config_set("maxmemory-policy", "allkeys-lru")
        try:
            assert "warning: maxmemory-policy is allkeys-lru" in (await store.check())[0]
        finally:
            await store.admin.config_set("maxmemory-policy", "noeviction")

    runner.run(scenario())
