"""The embedded store: one owner, nothing lost, nothing left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from engine.errors import Conflict, StoreUnavailable
from engine.identity import customer_key
from engine.state.embedded import EmbeddedStore
from engine.state.model import Commit, ReadBatch, ReadRequest
from engine.state.profile import new_version
from engine.state.redis import RedisStore

ANNA = customer_key("anna")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedStore]:
    one = EmbeddedStore(tmp_path / "data", fsync="always")
    yield one
    one.stop()


async def again(store: RedisStore) -> ReadBatch:
    async with asyncio.timeout(15):
        while True:
            try:
                return await store.read([ReadRequest(ANNA, ())])
            except StoreUnavailable:
                await asyncio.sleep(0.02)


async def read_on(store: RedisStore) -> None:
    for _ in range(100):
        await store.read([ReadRequest(ANNA, ())])


def test_killed_and_restarted(server: EmbeddedStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        store = RedisStore(server.start(), commit_budget_ms=2000)
        now_ms = (await store.read([])).now_ms
        blob = new_version() + b"kept"
        assert (await store.commit([Commit(ANNA, b"", b"", blob)], now_ms + 2000))[0].done
        os.kill(server.pid, signal.SIGKILL)
        start = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await read_on(store)
        with pytest.raises(StoreUnavailable):
            await store.commit([Commit(ANNA, blob[:8], b"", blob)], now_ms + 60_000)
        assert time.monotonic() - start < 10.0
        server.start()
        store._connection._retry_at = store._connection._pause_s = 0.0  # the pause of 20 ms or so is over
        batch = await store.read([ReadRequest(ANNA, ())])
        assert batch.entries[0].record == blob
        assert (await store.commit([Commit(ANNA, blob[:8], b"", blob)], batch.now_ms + 2000))[0].done
        await store.close()

    runner.run(scenario())


def test_a_stopped_server_gives_unknown_and_executes_nothing(server: EmbeddedStore, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        store = RedisStore(server.start(), commit_budget_ms=100)
        await store.check()
        now_ms = (await store.read([])).now_ms
        os.kill(server.pid, signal.SIGSTOP)
        try:
            start = time.monotonic()
            [status] = await store.commit([Commit(ANNA, b"", b"", new_version())], now_ms + 100)
            assert status.status == "unknown"
            assert time.time() * 1000 > now_ms + 100
            with pytest.raises(StoreUnavailable, match="no reply within"):
                await store.read([ReadRequest(ANNA, ())])
            assert time.monotonic() - start < 5.0
        finally:
            os.kill(server.pid, signal.SIGCONT)
        batch = await again(store)
        assert batch.entries[0].record == b""  # the late execution was refused
        await store.close()

    runner.run(scenario())


def test_a_second_owner_is_refused(server: EmbeddedStore) -> None:
    server.start()
    with pytest.raises(Conflict, match=f"process {os.getpid()}"):
        EmbeddedStore(server.data_dir).start()
    server.stop()
    second = EmbeddedStore(server.data_dir)
    second.start()
    second.stop()


def test_a_live_server_left_over_is_taken_over(server: EmbeddedStore) -> None:
    server.start()
    pid = server.pid
    assert server._owner is not None
    os.close(server._owner)  # as if this engine had died and its server lived on
    server._owner = None
    heir = EmbeddedStore(server.data_dir)
    assert heir.start() == server.url
    assert heir.pid == pid
    heir.stop()
    assert server._child is not None
    assert server._child.wait() == 0


def test_the_server_ends_with_its_engine(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from engine.state.embedded import EmbeddedStore\n"
        "s = EmbeddedStore(Path(sys.argv[1])); s.start(); print(s.pid, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as engine:
        assert engine.stdout is not None
        pid = int(engine.stdout.readline())
        engine.kill()
    heir = EmbeddedStore(tmp_path)
    heir.start()
    assert heir.pid != pid
    heir.stop()


def test_long_paths_get_a_port_and_a_password(tmp_path: Path, runner: asyncio.Runner) -> None:
    async def scenario(url: str) -> None:
        store = RedisStore(url)
        assert await store.check() == []
        assert await store.admin.ping()
        await store.close()
        naked = RedisStore(url.replace(url[url.index(":", 6) : url.index("@") + 1], ""))
        with pytest.raises(StoreUnavailable, match="NOAUTH"):
            await naked.read([])
        await naked.close()

    server = EmbeddedStore(tmp_path / ("long" * 30))
    url = server.start()
    assert url.startswith("redis://:")
    runner.run(scenario(url))
    server.stop()


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "appendonlydir").write_text("in the way")
    with pytest.raises(StoreUnavailable, match="did not start"):
        EmbeddedStore(tmp_path).start()
    (tmp_path / "appendonlydir").unlink()
    server = EmbeddedStore(tmp_path)
    server.start()
    server.stop()


PROGRAM = """\
import os, sys
from pathlib import Path
import redis
from engine.errors import Conflict
from engine.state.embedded import EmbeddedStore
store = EmbeddedStore(Path(sys.argv[1]))
try:
    url = store.start()
except Conflict:
    print("refused", flush=True)
    sys.exit()
client = redis.Redis.from_url(url)
for n in range(1_000_000):
    word = f"{os.getpid()}:{n}"
    client.rpush("said", word)
    print(word, flush=True)
"""


def test_owners_that_are_killed_lose_nothing(tmp_path: Path) -> None:
    """Of engines that come at once one owns the directory; it is killed, the next one owns it, all words are there."""
    said: list[str] = []
    refused = 0
    for round_ in range(4):
        command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
        engines = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        firsts = []
        for engine in engines:
            assert engine.stdout is not None
            firsts.append(engine.stdout.readline().strip())
        assert sorted(f == "refused" for f in firsts) == [False, True]
        refused += 1
        for engine, first in zip(engines, firsts, strict=True):
            assert engine.stdout is not None
            if first != "refused":
                said.append(first)
                said += [engine.stdout.readline().strip() for _ in range(20 * round_)]
                engine.kill()  # its server may live a little longer: the next owner takes it over, or waits for its end
                said += [line.strip() for line in engine.stdout if line.endswith("\n")]
            engine.wait()
            engine.stdout.close()
    heir = EmbeddedStore(tmp_path)
    with redis.Redis.from_url(heir.start()) as client:
        kept = [word.decode() for word in client.lrange("said", 0, -1)]
    heir.stop()
    assert refused == 4
    assert len(said) > 100
    assert set(said) <= set(kept)
    assert len(kept) == len(set(kept)) <= len(said) + 4  # at most the word that was on its way when its engine died
