"""Commands that work on a store: an embedded one that runs or not, their JSON, their exit status, no traceback."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.identity import customer_key
from engine.state.archive import Archiver
from engine.state.embedded import EmbeddedStore
from engine.state.log import ErasedEntry, OutcomeEntry, encode
from engine.state.model import Commit
from engine.state.redis import RedisStore
from engine.state.tenure import Tenure
from tests.state.test_profile import LAYOUT_1

Tact = Callable[..., Any]
ANA, BO = customer_key("ana"), customer_key("bo")


def prepared(data: Path, profile: bytes) -> None:
    """A data directory whose store holds a profile and says no format, as before there was one."""

    async def work(url: str) -> None:
        store = RedisStore(url)
        now_ms = (await store.read([])).now_ms
        assert (await store.commit([Commit(ANA, b"", b"", None, profile)], now_ms + 2000))[0].done
        await store.admin.delete(store.key("format"))
        await store.close()

    server = EmbeddedStore(data)
    asyncio.run(work(server.start()))
    server.stop()


def test_migrate(tact: Tact, tmp_path: Path) -> None:
    data = tmp_path / "data"
    prepared(data, LAYOUT_1)
    told = tact("migrate", "--data", data)
    assert told.status == 0
    assert "the store is of layout 1, this version writes 2" in told.out
    assert "1 profile, 1 to be written again" in told.out
    assert "nothing was changed" in told.out
    done = tact("migrate", "--data", data, "--commit", "--json")
    assert (done.status, done.json["done"], done.json["steps"][0]["rewritten"]) == (0, True, 1)
    server = EmbeddedStore(data)
    server.start()  # somebody's server runs: the command works on that
    again = tact("migrate", "--data", data)
    server.stop()
    assert (again.status, again.out.splitlines()[-1]) == (0, "nothing to do")


def test_migrate_tells_what_it_cannot_read(tact: Tact, tmp_path: Path) -> None:
    prepared(tmp_path, LAYOUT_1[:-1] + b"}")
    told = tact("migrate", "--data", tmp_path, "--commit")
    assert told.status == 1
    assert f"{ANA.hex}: the profile cannot be read" in told.err
    assert "the layout stays as it was" in told.out


def test_commands_say_where_they_looked(tact: Tact, tmp_path: Path) -> None:
    for command in ("migrate", "acknowledge"):
        told = tact(command, "--data", tmp_path / "nowhere")
        assert told.status == 2
        assert told.err.startswith(f"tact: no embedded store has run in {tmp_path / 'nowhere'}")
        away = tact(command, "--redis", "redis://127.0.0.1:1")
        assert away.status == 1
        assert away.err.startswith("tact: the store at 127.0.0.1:1 cannot be reached")
    told = tact("erase-archive", "--data", tmp_path)
    assert (told.status, told.err.partition(";")[0]) == (2, f"tact: there is no archive in {tmp_path / 'archive'}")


def test_the_log_gets_another_archive(tact: Tact, tmp_path: Path) -> None:
    store, directory = EmbeddedStore(tmp_path), tmp_path / "archive"
    url = store.start()

    async def archive() -> int:
        client = RedisStore(url)
        archiver = Archiver(client, directory, tenure=Tenure(client, directory))
        now_ms = (await client.read([])).now_ms
        entry = encode(OutcomeEntry(now_ms, now_ms, ANA.digest, 1, 1, 0.0, 1))
        assert (await client.commit([Commit(ANA, b"", b"", None, entries=[entry])], now_ms + 2000))[0].done
        report = await archiver.run_once()
        await archiver.close()
        await client.close()
        return report.read

    def acknowledged() -> str:
        told = tact("acknowledge", "--archive", "--data", tmp_path)
        assert told.status == 0
        return " ".join(told.out.split())

    try:
        assert acknowledged() == "nothing to acknowledge: the store knows of no archive yet"
        assert asyncio.run(archive()) == 1
        shutil.rmtree(directory)
        assert asyncio.run(archive()) == 0
        told = tact("acknowledge", "--archive", "--data", tmp_path, "--json").json
        assert (told["acknowledged"], told["run"], told["where"].endswith(f":{directory}")) == (True, 1, True)
        assert asyncio.run(archive()) == 2
        asyncio.run(hold(url))
        assert acknowledged() == "nothing to acknowledge: the log is archived at here:/there; stop that server first"
        asyncio.run(hold(url, ms=1))
        while "stop that server" in (said := acknowledged()):
            pass
        assert said.startswith("the log went to the archive ")
        assert said.endswith(" acknowledged: the archive of the keeper that looks next goes on from here")
    finally:
        store.stop()


async def hold(url: str, ms: int = 60_000) -> None:
    """Somebody has the lease."""
    client = RedisStore(url)
    await client.admin.set(client.key("archiver"), "0123456789abcdef here:/there", px=ms)
    await client.close()


def test_erase_archive(tact: Tact, tmp_path: Path) -> None:
    async def archive(url: str) -> None:
        store = RedisStore(url)
        now_ms = (await store.read([])).now_ms
        entries = [encode(OutcomeEntry(now_ms, now_ms, c.digest, 1, 1, 0.0, 1)) for c in (ANA, BO)]
        commits = [Commit(c, b"", b"", None, entries=[e]) for c, e in zip((ANA, BO), entries, strict=True)]
        commits.append(Commit(ANA, b"", b"", None, entries=[encode(ErasedEntry(now_ms, ANA.digest))]))
        assert all(s.done for s in await store.commit(commits, now_ms + 2000))
        archiver = Archiver(store, tmp_path / "archive")
        await archiver.run_once()
        await archiver.close()
        await store.close()

    server = EmbeddedStore(tmp_path)
    asyncio.run(archive(server.start()))
    server.stop()
    told = tact("erase-archive", "--data", tmp_path)
    assert (told.status, told.out) == (0, "1 customer erased: 1 log entry taken out of 1 file, counts agree\n")
    assert tact("erase-archive", "--data", tmp_path).out.startswith("nothing to do")
    assert tact("erase-archive", "--data", tmp_path, "--json").json == {
        "run": 1,
        "customers": 0,
        "files": 0,
        "removed": 0,
    }
    (tmp_path / "archive" / "rewritten.json").write_text("[]")
    broken = tact("erase-archive", "--data", tmp_path)
    assert broken.status == 1
    assert "rewritten.json cannot be read" in broken.err


def test_what_goes_wrong_is_told_in_a_line(tact: Tact, tmp_path: Path) -> None:
    for command in ("migrate", "acknowledge"):
        told = tact(command, "--redis", "http://here")
        assert (told.status, told.err.partition(",")[0]) == (
            2,
            "tact: --redis: a store's address begins with redis://",
        )
    prepared(tmp_path / "data", LAYOUT_1)
    (tmp_path / "file").write_text("")
    told = tact("backup", tmp_path / "file" / "backup", "--data", tmp_path / "data")
    assert (told.status, told.err.count("\n")) == (1, 1)
    assert "Not a directory" in told.err
