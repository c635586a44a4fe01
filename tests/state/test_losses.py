"""A store that comes back with less than it had acknowledged: real Valkeys on older files."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import StoreUnavailable
from engine.identity import CustomerKey, customer_key
from engine.state.archive import Archiver
from engine.state.embedded import EmbeddedStore
from engine.state.log import ErasedEntry, encode
from engine.state.losses import Loss, Seen
from engine.state.model import Commit
from engine.state.redis import RedisStore

CUSTOMERS = [customer_key(f"customer {i}") for i in range(20)]


class Restorable:
    """An embedded store that can be set back to a copy: of a snapshot (`rdb`), else of its append-only file."""

    def __init__(self, directory: Path, rdb: bool) -> None:
        self.server = EmbeddedStore(directory / "data", persist=not rdb, fsync="always")
        self.url = self.server.start()
        self._rdb = rdb
        self._kept = directory / "kept"

    async def keep(self, store: RedisStore) -> None:
        if self._rdb:
            await store.admin.save()
            shutil.copy(self.server.data_dir / "dump.rdb", self._kept)
        else:
            shutil.copytree(self.server.data_dir / "appendonlydir", self._kept)

    def restart(self, older: bool = True) -> None:
        os.kill(self.server.pid, signal.SIGKILL)
        while self.server.alive():
            pass
        if older and self._rdb:
            shutil.copy(self._kept, self.server.data_dir / "dump.rdb")
        elif older:
            shutil.rmtree(self.server.data_dir / "appendonlydir")
            shutil.copytree(self._kept, self.server.data_dir / "appendonlydir")
        assert self.server.start() == self.url


@pytest.fixture(params=["aof", "rdb"])
def restorable(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Restorable]:
    one = Restorable(tmp_path, request.param == "rdb")
    yield one
    one.server.stop()


async def write(store: RedisStore, customers: list[CustomerKey]) -> list[str]:
    """An entry for each customer, one commit after the other."""
    found = []
    for customer in customers:
        now_ms = (await store.read([])).now_ms
        entry = encode(ErasedEntry(now_ms, customer.digest))
        found.append((await store.commit([Commit(customer, b"", b"", None, entries=[entry])], now_ms + 2000))[0].status)
    return found


async def back(store: RedisStore) -> None:
    """The loss of the connection has been seen."""
    for connection in (store._connection, *store._slots):
        connection.drop("the store was killed")


def test_lost_writes_close_the_store_for_everybody(
    restorable: Restorable, runner: asyncio.Runner, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        file = tmp_path / "generation"
        store = RedisStore(restorable.url, max_loss_ms=0, generation_file=file)
        bystander = RedisStore(restorable.url, max_loss_ms=0)  # saw nothing of what was lost
        assert await write(store, CUSTOMERS[:10]) == ["done"] * 10
        assert await write(bystander, CUSTOMERS[:1]) == ["done"]
        await restorable.keep(store)
        assert await write(store, CUSTOMERS[5:]) == ["done"] * 15
        restorable.restart()
        for one in (store, bystander):
            await back(one)
        assert await write(bystander, CUSTOMERS[:1]) == ["done"]  # it cannot know
        assert await write(store, CUSTOMERS[:2]) == ["generation"] * 2
        assert store.losses == 1
        assert "in 15 of 20 logs looked at" in store.closed
        assert "the store lost writes" in caplog.text
        assert await write(bystander, CUSTOMERS[:1]) == ["generation"]  # now it does
        await store.close()
        for newcomer in (RedisStore(restorable.url, generation_file=file), RedisStore(restorable.url)):
            assert await write(newcomer, CUSTOMERS[:1]) == ["generation"]
            assert [s for s in await newcomer.check() if s.startswith("refused: the store lost writes")]
            await newcomer.close()
        operator = RedisStore(restorable.url)
        assert "15 of 20" in await operator.lacks()
        await operator.acknowledge_generation()
        assert await operator.lacks() == ""
        await operator.close()
        for one in (bystander, RedisStore(restorable.url, generation_file=file)):
            assert await write(one, CUSTOMERS) == ["done"] * 20
            assert one.closed == ""
        restorable.restart(older=False)  # and nothing is lost by an honest restart
        for one in (bystander, RedisStore(restorable.url, generation_file=file)):
            await back(one)
            expected = "generation" if restorable._rdb else "done"  # without an append-only file all since is lost
            assert await write(one, CUSTOMERS[:1]) == [expected]
            await one.close()

    runner.run(scenario())


def test_a_small_loss_is_told_and_gone_on_with(
    restorable: Restorable, runner: asyncio.Runner, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        store = RedisStore(restorable.url, max_loss_ms=600_000)
        await write(store, CUSTOMERS[:10])
        await restorable.keep(store)
        await write(store, CUSTOMERS[:3])
        restorable.restart()
        await back(store)
        assert await write(store, CUSTOMERS[:1]) == ["done"]
        assert (store.losses, store.closed) == (1, "")
        assert "going on, as --max-loss allows" in caplog.text
        restorable.restart(older=False)
        await back(store)
        await write(store, CUSTOMERS[1:])
        assert store.losses == (2 if restorable._rdb else 1)  # told once
        await store.close()

    runner.run(scenario())


def test_batches_notice_too(restorable: Restorable, runner: asyncio.Runner) -> None:
    """The way of transactions: what was written by them is remembered, and a look finds it gone."""

    def transaction(store: RedisStore, customer: CustomerKey) -> bytes:
        key = store.bucket_key(customer.bucket, "log")
        parts = [(b"MULTI",), (b"XADD", key, b"*", b"d", b"entry"), (b"EXEC",)]
        return b"".join(
            b"*%d\r\n" % len(p) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in p) for p in parts
        )

    async def batch(store: RedisStore, customer: CustomerKey) -> str:
        look = await store.look(
            0, b"*2\r\n$5\r\nWATCH\r\n$1\r\nx\r\n*4\r\n$4\r\nMGET\r\n$1\r\nx\r\n$1\r\ny\r\n$1\r\nz\r\n", 1, 500
        )
        return await store.commit_look(look, transaction(store, customer), 1)

    async def scenario() -> None:
        store = RedisStore(restorable.url, max_loss_ms=0)
        assert await batch(store, CUSTOMERS[0]) == "done"
        await restorable.keep(store)
        assert await batch(store, CUSTOMERS[1]) == "done"
        restorable.restart()
        await back(store)
        with pytest.raises(Exception, match="lost its data"):
            await batch(store, CUSTOMERS[2])
        assert store.losses == 1
        await store.close()

    runner.run(scenario())


def test_the_archive_knows_what_a_store_lost_while_all_were_away(
    restorable: Restorable, runner: asyncio.Runner, tmp_path: Path
) -> None:
    async def scenario() -> None:
        store = RedisStore(restorable.url, max_loss_ms=0)
        archiver = Archiver(store, tmp_path / "archive")
        await write(store, CUSTOMERS[:10])
        await archiver.run_once()
        await restorable.keep(store)
        await write(store, CUSTOMERS)
        assert (await archiver.run_once()).read == 20
        await archiver.close()
        await store.close()
        restorable.restart()

        store = RedisStore(restorable.url, max_loss_ms=0)
        assert await write(store, CUSTOMERS[:4]) == ["done"] * 4  # nobody has looked yet
        archiver = Archiver(store, tmp_path / "archive")
        assert (await archiver.run_once()).read == 4  # nothing new is passed over
        assert "in 16 of 4096 logs looked at" in store.closed
        assert await write(store, CUSTOMERS[:1]) == ["generation"]
        await archiver.close()
        await store.acknowledge_generation()
        archiver = Archiver(store, tmp_path / "archive")
        assert await write(store, CUSTOMERS[:1]) == ["done"]
        assert (await archiver.run_once()).read == 1
        assert (store.losses, store.closed) == (1, "")
        await archiver.close()
        await store.close()

    runner.run(scenario())


def test_how_much_is_lost_is_said_as_time() -> None:
    assert str(Loss(3, 40, 1_700_000_000_500, 1250)) == (
        "writes of at most 1.2 s before 2023-11-14T22:13:20.500+00:00 are gone (in 3 of 40 logs looked at)"
    )
    assert str(Loss(3, 40, 5000, 5000)).startswith("all writes before 1970-01-01T00:00:05")


def test_the_time_lost_decides(store: RedisStore, runner: asyncio.Runner) -> None:
    """Ids of known times: what is left is measured against the newest that is gone."""

    async def entry(bucket: int, log_id: str) -> None:
        await store.admin.xadd(store.bucket_key(bucket, "log"), {"d": b"x"}, id=log_id)

    async def scenario() -> None:
        link = store._connection
        seen = Seen(store.bucket_key)
        assert await seen.compare(link) is None
        for bucket, log_id in ((1, "1000-0"), (2, "4000-0"), (3, "5000-0"), (4, "9000-3")):
            await entry(bucket, log_id)
            seen.note(bucket, log_id)
        assert await seen.compare(link) is None
        await store.admin.xtrim(store.bucket_key(3, "log"), maxlen=0)  # archived: it was there
        assert await seen.compare(link) is None
        seen.note(2, "7000-0")
        assert await seen.compare(link) == Loss(1, 4, 7000, 2000)  # 5000 is left; 9000 came after
        seen.note(4, "9000-4")
        assert await seen.compare(link) == Loss(2, 4, 9000, 0)  # within the same millisecond
        await entry(2, "8000-0")  # others wrote after the loss: it is seen all the same
        assert await seen.compare(link) == Loss(2, 4, 9000, 0)
        seen.note(77, "9500-0")  # a log that is not there at all
        assert await seen.compare(link) == Loss(3, 5, 9500, 500)
        await store.admin.set(store.bucket_key(5, "log"), b"no log")
        seen.note(5, "1-0")
        with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
            await seen.compare(link)

    runner.run(scenario())


@pytest.mark.parametrize(
    ("max_loss_ms", "span_ms", "goes_on"), [(1999, 2000, False), (2000, 2000, True), (0, 0, False), (1, 0, True)]
)
def test_max_loss_is_a_bound(
    store_url: str, key_prefix: str, runner: asyncio.Runner, max_loss_ms: int, span_ms: int, goes_on: bool
) -> None:
    async def scenario() -> None:
        store = RedisStore(store_url, key_prefix, max_loss_ms=max_loss_ms)
        assert await write(store, CUSTOMERS[:1]) == ["done"]
        assert await store.notice(Loss(1, 4, 7000, span_ms)) is goes_on
        assert await write(store, CUSTOMERS[:1]) == (["done"] if goes_on else ["generation"])
        assert (await store.lacks() == "") is goes_on
        await store.close()

    runner.run(scenario())
