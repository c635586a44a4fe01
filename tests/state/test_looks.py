"""Looks and their transactions on a real server: all of it or nothing, and nothing that is late or of another life."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import hiredis
import pytest

from engine.errors import StoreUnavailable
from engine.identity import customer_key
from engine.state.redis import Look, RedisStore

NAMES = ("anna", "bert", "carl")


def keys_of(store: RedisStore, name: str) -> tuple[str, str, str]:
    profile, record, answer = store._customer_keys(customer_key(name))
    return profile, record, f"{answer}{7:016x}"


async def look(store: RedisStore, names: Sequence[str] = NAMES, slot: int = 0, budget_ms: int = 2000) -> Look:
    keys = [keys_of(store, name) for name in names]
    watched = [key for profile, record, _ in keys for key in (record, profile)]
    command = hiredis.pack_command(("WATCH", *watched)) + hiredis.pack_command(
        ("MGET", *[key for three in keys for key in three])
    )
    return await store.look(slot, command, len(names), budget_ms)


async def commit(store: RedisStore, at: Look, names: Sequence[str] = NAMES, value: str = "new") -> str:
    commands: list[tuple[str | bytes, ...]] = []
    for name in names:
        log = store.bucket_key(customer_key(name).bucket, "log")
        commands += [("XADD", log, "*", "d", value), ("SET", keys_of(store, name)[1], value)]
    whole = [("MULTI",), *commands, ("EXEC",)]
    return await store.commit_look(at, b"".join(hiredis.pack_command(c) for c in whole), len(commands))


async def written(store: RedisStore) -> list[bytes | None]:
    found: list[bytes | None] = await store.admin.mget([keys_of(store, name)[1] for name in NAMES])
    logged = [await store.admin.xlen(store.bucket_key(customer_key(name).bucket, "log")) for name in NAMES]
    assert [bool(n) for n in logged] == [blob is not None for blob in found]
    return found


def test_all_or_nothing(store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        first = await look(store)
        assert first.blobs == [None] * 9
        assert abs(first.now_ms - time.time() * 1000) < 5000
        assert first.not_after_ms == first.now_ms + 2000
        assert await commit(store, first) == "done"
        assert await written(store) == [b"new"] * 3
        profile, _, answer = keys_of(store, "bert")
        await store.admin.mset({profile: b"p", answer: b"a"})
        second = await look(store)
        assert second.blobs == [None, b"new", None, b"p", b"new", b"a", None, b"new", None]
        for key in keys_of(store, "bert")[:2]:  # whoever writes to one of the customers stops the whole of it
            second = await look(store)
            await store.admin.set(key, b"other")
            assert await commit(store, second, value="newer") == "moved"
        assert await written(store) == [b"new", b"other", b"new"]
        assert await commit(store, await look(store), value="newer") == "done"

    runner.run(scenario())


def test_slots_do_not_disturb_each_other(store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        abandoned = await look(store, ("anna",))
        one, other = await look(store, ("bert",)), await look(store, ("carl",), slot=1)
        assert one.wire is abandoned.wire
        assert one.wire is not other.wire
        await store.admin.set(keys_of(store, "anna")[1], b"moved")  # nobody looks at it any more
        assert [await commit(store, one, ("bert",)), await commit(store, other, ("carl",))] == ["done", "done"]
        one, other = await look(store, NAMES), await look(store, ("carl",), slot=1)
        assert [await commit(store, other, ("carl",)), await commit(store, one)] == ["done", "moved"]

    runner.run(scenario())


def test_nothing_is_executed_too_late(store_url: str, key_prefix: str, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        store = RedisStore(store_url, key_prefix, timeout_ms=10_000)
        await look(store)  # connects
        late = await look(store, budget_ms=1000)
        await asyncio.sleep(1.05)
        assert await commit(store, late) in ("moved", "unknown")
        late = await look(store, budget_ms=1000)
        await store.admin.execute_command("CLIENT", "PAUSE", 2000, "ALL")
        assert await commit(store, late) == "unknown"  # it is with the server, which does not answer
        assert await written(store) == [None] * 3
        assert await commit(store, await look(store)) == "done"
        await store.close()

    runner.run(scenario())


def test_nothing_is_executed_where_the_store_lost_its_data(store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        before = await look(store)
        await store.admin.delete(*[k async for k in store.admin.scan_iter(f"{store.prefix}*", count=5000)])
        assert await commit(store, before) == "moved"
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="lost its data"):
                await look(store)
        assert await written(store) == [None] * 3
        await store.acknowledge_generation()
        assert await commit(store, await look(store)) == "done"

    runner.run(scenario())


def test_a_refused_transaction_wrote_nothing(store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        at = await look(store)
        await store.admin.config_set("maxmemory", 1)
        try:
            assert await commit(store, at) == "refused"
            assert store.last_refusal
            with pytest.raises(StoreUnavailable, match="refused"):
                await look(store)
        finally:
            await store.admin.config_set("maxmemory", 0)
        assert await written(store) == [None] * 3
        assert await commit(store, await look(store)) == "done"

    runner.run(scenario())


def test_a_connection_that_breaks(store: RedisStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        at = await look(store, budget_ms=1000)
        sent = asyncio.ensure_future(commit(store, at))
        await asyncio.sleep(0)
        at.wire.fail("it broke")
        assert await sent == "unknown"
        again = await look(store)
        assert again.wire is not at.wire
        with pytest.raises(StoreUnavailable):
            await commit(store, at)  # never on another connection: nothing is watched there
        assert await commit(store, again) == "done"

    runner.run(scenario())


def test_logs_that_are_nearly_full_are_noted(store_url: str, key_prefix: str, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        store = RedisStore(store_url, key_prefix, max_log_length=10)
        await store.measure_logs()
        assert store.lengths.full == frozenset()
        anna, bert, carl = (customer_key(name).bucket for name in NAMES)
        for bucket, entries in ((anna, 8), (bert, 9)):
            for _ in range(entries):
                await store.admin.xadd(store.bucket_key(bucket, "log"), {"d": b"x"})
        await store.admin.set(store.bucket_key(carl, "log"), b"no stream")
        store.lengths.forget()
        await store.measure_logs()
        assert store.lengths.full == {bert, carl}
        await store.close()

    runner.run(scenario())
