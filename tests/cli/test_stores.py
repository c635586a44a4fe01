"""Commands that work on a store: an embedded one that runs or not, their JSON, their exit status, no traceback."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.identity import customer_key
from engine.state.archive import Archiver
from engine.state.embedded import EmbeddedStore
from engine.state.log import ErasedEntry, OutcomeEntry, encode
from engine.state.model import Commit
from engine.state.redis import RedisStore
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
