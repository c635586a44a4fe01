"""The master that sentinels name: followed when it moves, whether it died or was replaced while it lives."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.exceptions import RedisError

from engine.errors import StoreUnavailable
from engine.identity import customer_key
from engine.state.model import Commit, ReadRequest
from engine.state.profile import new_version
from engine.state.redis import RedisStore
from tests.valkeys import Valkey, until

ANNA = customer_key("anna")
DOWN_AFTER_MS = 2000
BUDGET_MS = 1000


class Service:
    """A master, its replica, and three sentinels that agree by two."""

    def __init__(self, directory: Path) -> None:
        common = ("repl-diskless-sync-delay 0",)
        self.servers = [Valkey(directory / "a", *common), Valkey(directory / "b", *common)]
        self.servers[1].admin.replicaof("127.0.0.1", self.servers[0].port)
        watched = (
            f"sentinel monitor banking 127.0.0.1 {self.servers[0].port} 2",
            f"sentinel down-after-milliseconds banking {DOWN_AFTER_MS}",
            "sentinel failover-timeout banking 1000",
            "bind 127.0.0.1",
        )
        self.sentinels = [Valkey(directory / f"s{n}", *watched, sentinel=True) for n in range(3)]
        for sentinel in self.sentinels:
            until(lambda s=sentinel: self._complete(s), "sentinels to find each other")  # type: ignore[misc]

    def _complete(self, sentinel: Valkey) -> bool:
        [about] = sentinel.admin.execute_command("SENTINEL", "MASTERS")
        known = dict(zip(about[::2], about[1::2], strict=True)) if isinstance(about, list) else about
        found = {str(k if isinstance(k, str) else k.decode()): int(v) for k, v in known.items() if _is_number(v)}
        return found["num-other-sentinels"] == 2 and found["num-slaves"] == 1

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:1,{','.join(s.endpoint for s in self.sentinels)}/banking"

    def close(self) -> None:
        for one in (*self.sentinels, *self.servers):
            one.close()


def _is_number(value: object) -> bool:
    return isinstance(value, int) or (isinstance(value, bytes) and value.isdigit())


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    one = Service(tmp_path_factory.mktemp("sentinel"))
    yield one
    one.close()


async def write(store: RedisStore, value: bytes) -> str:
    batch = await store.read([ReadRequest(ANNA, ())])
    version = batch.entries[0].record[:8]
    [status] = await store.commit([Commit(ANNA, version, b"", new_version() + value)], batch.now_ms + BUDGET_MS)
    return status.status


async def written_in_time(store: RedisStore, value: bytes, within_s: float) -> float:
    """Writes until it is done; the seconds that took."""
    began = time.monotonic()
    while True:
        try:
            status = await write(store, value)
            if status == "done":
                return time.monotonic() - began
            assert status in ("moved", "unknown"), status
        except StoreUnavailable:
            pass
        assert time.monotonic() - began < within_s
        await asyncio.sleep(0.01)


def test_the_master_is_followed(service: Service, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        first, second = service.servers
        store = RedisStore(service.url, commit_budget_ms=BUDGET_MS)
        assert all("append-only" in sentence for sentence in await store.check())
        assert await write(store, b"one") == "done"
        await replicated(first)
        # it is replaced while it lives, and turns read-only under our feet (sentinels would see to that in 10 s)
        service.sentinels[0].admin.execute_command("SENTINEL", "FAILOVER", "banking")
        await asyncio.to_thread(until, lambda: second.admin.info("replication")["role"] == "master", "a failover")
        first.admin.replicaof("127.0.0.1", second.port)
        assert await written_in_time(store, b"two", 15.0) < 15.0
        await asyncio.to_thread(until, lambda: _follows(first, second), "the old master to follow")
        await written_in_time(store, b"three", 10.0)
        assert second.admin.get(store._customer_keys(ANNA)[1])[8:] == b"three"
        await replicated(second)
        # it is killed
        second.kill()
        with pytest.raises(StoreUnavailable):
            await write(store, b"four")
        outage_s = await written_in_time(store, b"four", 15.0)
        assert first.admin.get(store._customer_keys(ANNA)[1])[8:] == b"four"
        assert outage_s < DOWN_AFTER_MS / 1000 + 10.0
        await store.close()

    runner.run(scenario())


async def replicated(master: Valkey) -> None:
    await asyncio.to_thread(until, lambda: master.admin.execute_command("WAIT", 1, 1000) == 1, "the replica")


def _follows(replica: Valkey, master: Valkey) -> bool:
    try:
        about = replica.admin.info("replication")
    except RedisError:
        return False
    return bool(
        about["role"] == "slave" and about["master_port"] == master.port and about["master_link_status"] == "up"
    )


def test_a_service_that_nobody_knows(service: Service, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        store = RedisStore(service.url.replace("/banking", "/other"), commit_budget_ms=BUDGET_MS)
        with pytest.raises(StoreUnavailable, match="no sentinel names a master of 'other'"):
            await store.check()
        await store.close()

    runner.run(scenario())
