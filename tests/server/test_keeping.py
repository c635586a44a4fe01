"""The log's keeper: where half of it ends, all of it does, so that its parent starts it again."""

from __future__ import annotations

import asyncio
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from engine import keeping
from engine.learning.learner import Learner
from engine.revisions import Revisions
from engine.settings import parse
from engine.state.embedded import EmbeddedStore
from engine.state.log import DecisionEntry, ErasedEntry, encode
from engine.state.redis import RedisStore
from engine.state.runs import runs
from tests.server.process import RULES


async def _breaks(learner: Learner, every_s: float, now_ms: object) -> None:
    raise ValueError("an entry nobody thought of")


@pytest.mark.parametrize("broken", [True, False])
def test_a_keeper_ends_with_its_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: bool) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "rules.yaml").write_text(RULES)
    settings = parse(["--rules", str(rules), "--data", str(tmp_path / "data")], {})
    settings.data.mkdir()
    stop = asyncio.Event()
    if broken:
        monkeypatch.setattr(keeping, "keep_learning", _breaks)
    else:
        stop.set()
    embedded = EmbeddedStore(settings.data)
    try:
        work = asyncio.wait_for(keeping.keep(settings, embedded.start(), stop), 30)
        if broken:
            with pytest.raises(ValueError, match="nobody thought of"):
                asyncio.run(work)
        else:
            asyncio.run(work)
    finally:
        embedded.stop()


def test_a_damaged_entry_ends_no_keeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is archived as it is, trimmed, and so are the others."""
    monkeypatch.setattr(keeping, "LEARN_EVERY_S", 0.05)
    monkeypatch.setattr(keeping, "ARCHIVE_EVERY_S", 0.05)
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "rules.yaml").write_text(RULES)
    settings = parse(["--rules", str(rules), "--data", str(tmp_path / "data")], {})
    settings.data.mkdir()
    embedded = EmbeddedStore(settings.data)
    damaged = DecisionEntry(1, bytes(16), 1, 0, b"", b"", "e", "r", 1, 1, slot="a", policy="p")  # type: ignore[arg-type]
    logs = ["tact:{0}log", "tact:{1}log"]

    async def scenario(url: str) -> None:
        with redis.Redis.from_url(url) as client:
            for log, entry in zip(logs, (ErasedEntry(1, bytes(16)), damaged), strict=True):
                client.xadd(log, {"d": encode(entry)})
            stop = asyncio.Event()
            kept = asyncio.ensure_future(keeping.keep(settings, url, stop))
            ended: set[object] = set()
            while not ended and any(client.xlen(log) for log in logs):
                ended, _ = await asyncio.wait((kept,), timeout=0.05)
            stop.set()
            await kept

    try:
        asyncio.run(asyncio.wait_for(scenario(embedded.start()), 30))
    finally:
        embedded.stop()
    found = [kind for run in runs(settings.data / "archive") for kind, _ in run.tables()]
    assert sorted(found) == ["erased", "unreadable"]


def test_a_keeper_deploys_nothing(tmp_path: Path, store: RedisStore, runner: asyncio.Runner) -> None:
    """Somebody edits the rules while the server runs, and the keeper is started again."""
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "rules.yaml").write_text(RULES)
    last_good = tmp_path / "last_good"

    async def scenario() -> None:
        server = Revisions(store.side, store.key, last_good)
        await server.start(rules)
        kept = last_good.read_bytes()
        (rules / "rules.yaml").write_text(RULES + "# edited\n")
        keeper = Revisions(store.side, store.key, last_good)
        active = await keeper.follow(rules)
        await server.refresh()
        assert keeper.serving == server.serving == active.bundle.revision
        assert len(await server.list()) == 1
        files = {"rules.yaml": (RULES + "# deployed\n").encode()}
        await server.deploy(files, "", "", stage_only=False)
        await keeper.refresh()
        assert keeper.serving == server.serving == active.bundle.revision
        last_good.write_bytes(kept)
        await store.admin.delete(*await _keys(store))
        await keeper.refresh()
        assert await _keys(store) == []  # to write it again is the server's too
        newcomer = Revisions(store.side, store.key, tmp_path / "none")
        assert (await newcomer.follow(rules)).bundle.ruleset.files["rules.yaml"].endswith(b"# edited\n")
        assert await _keys(store) == []
        await server.refresh()
        await newcomer.refresh()
        assert newcomer.serving == server.serving
        assert last_good.read_bytes() == kept

    runner.run(scenario())


async def _keys(store: RedisStore) -> list[bytes]:
    return [key async for key in store.admin.scan_iter(f"{store.prefix}*", count=5000)]


def test_a_keeper_is_no_server(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "rules.yaml").write_text(RULES)
    settings = parse(["--rules", str(rules), "--data", str(tmp_path / "data")], {})
    settings.data.mkdir()
    stop = asyncio.Event()
    stop.set()
    embedded = EmbeddedStore(settings.data)
    try:
        url = embedded.start()
        asyncio.run(asyncio.wait_for(keeping.keep(settings, url, stop), 30))
        with redis.Redis.from_url(url) as client:
            assert client.hgetall("tact:{0}control") == {}
            assert client.exists("tact:{0}archiver", "tact:{0}archive") == 0
    finally:
        embedded.stop()


_GIVES_WAY = """
import os, threading
from engine.background import give_way
give_way()
threading.Thread(target=lambda: print(os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0))).start()
"""


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="this system has no schedulers to choose from")
def test_it_gives_way_with_all_its_threads() -> None:
    done = subprocess.run([sys.executable, "-c", _GIVES_WAY], capture_output=True, text=True, check=True)
    policy, nice = map(int, done.stdout.split())
    assert nice >= 10
    assert policy == os.SCHED_BATCH or platform.machine() not in ("x86_64", "aarch64")
