"""Any number of keepers on one store: one archives, into the archive that belongs to the store."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from engine.errors import Conflict
from engine.state.archive import Archiver, standing_of
from engine.state.redis import RedisStore
from engine.state.runs import reconcile, runs
from engine.state.tenure import Tenure, archived_s, belonging, forget
from tests.state.test_archive import archived, left, write


def keeper(store: RedisStore, directory: Path) -> Archiver:
    """As each server has one."""
    return Archiver(store, directory, tenure=Tenure(store, directory))


async def lapse(store: RedisStore) -> None:
    """The lease's time is over."""
    assert await store.admin.delete(store.key("archiver")) == 1


def all_in(directory: Path, count: int) -> None:
    for kind in ("decision", "outcome"):
        assert archived(directory, kind) == Counter(range(count))
    for run in runs(directory):
        reconcile(run)


def test_of_two_keepers_one_archives(
    store: RedisStore, runner: asyncio.Runner, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        first, second = keeper(store, tmp_path / "a"), keeper(store, tmp_path / "b")
        assert await archived_s(store) == 0
        for turn in range(6):
            await write(store, 20 * turn, 20)
            for one in (first, second) if turn % 2 else (second, first):
                if turn or one is first:
                    await one.run_once()
        assert await left(store) == 0
        now_s = (await store.read([])).now_ms // 1000
        assert now_s - 60 <= await archived_s(store) <= now_s
        for one in (first, second):
            await one.close()

    runner.run(scenario())
    all_in(tmp_path / "a", 120)
    assert not (tmp_path / "b").exists()
    [told] = [r.message for r in caplog.records]
    assert told.startswith("the log is archived by the keeper of ")
    assert told.endswith(f":{tmp_path / 'a'}; this one stands by")


def test_another_archive_waits_until_somebody_says_so(
    store: RedisStore, runner: asyncio.Runner, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        first, second = keeper(store, tmp_path / "a"), keeper(store, tmp_path / "b")
        await write(store, 0, 60)
        await first.run_once()
        await first.close()
        await write(store, 60, 60)
        for _ in range(3):
            assert (await second.run_once()).read == 0
        assert await left(store) == 120
        assert not (tmp_path / "b").exists()
        mine = standing_of(tmp_path / "a")
        assert [r.message.partition("expected")[0] for r in caplog.records] == [
            f"the log is not archived: found no archive in {tmp_path / 'b'}, "
        ]
        assert f"expected the archive {mine.id} (run 1), last at " in caplog.text
        assert "or run `tact acknowledge --archive` to go on with what is here" in caplog.text

        assert (await belonging(store)).archive == mine
        await forget(store)
        assert (await second.run_once()).read == 120
        assert caplog.records[-1].message == "this keeper archives the log now"
        first = keeper(store, tmp_path / "a")  # the other one comes back
        await write(store, 120, 60)
        assert (await first.run_once()).read == 0
        assert (await second.run_once()).read == 120
        await second.close()
        assert (await first.run_once()).read == 0
        assert standing_of(tmp_path / "b") == (await belonging(store)).archive
        await first.close()

    runner.run(scenario())
    all_in(tmp_path / "a", 60)
    assert archived(tmp_path / "b", "decision") == Counter(range(60, 180))


def test_an_older_copy_is_another_archive(
    store: RedisStore, runner: asyncio.Runner, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        one = keeper(store, tmp_path / "a")
        await write(store, 0, 60)
        await one.run_once()
        shutil.copytree(tmp_path / "a", tmp_path / "older")
        await write(store, 60, 60)
        await one.run_once()
        await one.close()
        shutil.copytree(tmp_path / "a", tmp_path / "moved")
        await write(store, 120, 60)
        older, moved = keeper(store, tmp_path / "older"), keeper(store, tmp_path / "moved")
        assert (await older.run_once()).read == 0
        assert f"(run 1), an older copy, in {tmp_path / 'older'}, expected the archive " in caplog.text
        assert (await moved.run_once()).read == 120
        for each in (older, moved):
            await each.close()

    runner.run(scenario())
    all_in(tmp_path / "moved", 180)


PROGRAM = """\
import asyncio, sys
from pathlib import Path
from engine.state.archive import Archiver
from engine.state.redis import RedisStore
from engine.state.tenure import Tenure

async def main():
    store, directory = RedisStore(sys.argv[1], sys.argv[2]), Path(sys.argv[3])
    archiver = Archiver(store, directory, max_entries=20, tenure=Tenure(store, directory))
    await archiver.run_once()
    print("go", flush=True)
    while True:
        await archiver.run_once()

asyncio.run(main())
"""


def test_one_takes_over_from_a_keeper_that_was_killed(
    store: RedisStore, runner: asyncio.Runner, tmp_path: Path
) -> None:
    runner.run(write(store, 0, 60))
    command = [sys.executable, "-c", PROGRAM, store.url, store.prefix, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"go\n"

        async def beside() -> None:
            another = Archiver(store, tmp_path)
            with pytest.raises(Conflict, match=r"another process archives into "):
                await another.run_once()
            await another.close()

        runner.run(beside())
        os.kill(process.pid, signal.SIGKILL)

    async def scenario() -> None:
        second = keeper(store, tmp_path)
        await write(store, 60, 60)
        before = runs(tmp_path)
        await second.run_once()
        assert runs(tmp_path) == before
        assert 0 < await store.admin.pttl(store.key("archiver")) <= 20_000
        await lapse(store)
        await second.run_once()
        assert await left(store) == 0
        await second.close()

    runner.run(scenario())
    all_in(tmp_path, 120)


def test_two_in_one_directory(store: RedisStore, runner: asyncio.Runner, tmp_path: Path) -> None:
    async def scenario() -> None:
        first, second = keeper(store, tmp_path), keeper(store, tmp_path)
        await write(store, 0, 60)
        await first.run_once()
        (tmp_path / ".run-0000000002").mkdir()  # it is writing
        await second.run_once()
        await lapse(store)  # it does not get its turn
        with pytest.raises(Conflict):
            await second.run_once()
        assert (tmp_path / ".run-0000000002").exists()
        (tmp_path / ".run-0000000002").rmdir()
        await write(store, 60, 60)
        assert (await first.run_once()).read == 0  # it hears of it, and lets go
        assert (await second.run_once()).read == 120
        await second.close()
        await write(store, 120, 60)
        assert (await first.run_once()).read == 120  # no entry twice: it looked again
        await first.close()

    runner.run(scenario())
    all_in(tmp_path, 180)


def test_nothing_is_trimmed_once_the_lease_is_lost(
    store: RedisStore, runner: asyncio.Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        first, second = keeper(store, tmp_path / "a"), keeper(store, tmp_path / "b")
        await write(store, 0, 60)
        write_run, loop = Archiver._write, asyncio.get_running_loop()

        def slowly(self: Archiver, *arguments: object) -> dict[str, int]:
            written = write_run(self, *arguments)  # type: ignore[arg-type]
            if self is first:
                asyncio.run_coroutine_threadsafe(lapse(store), loop).result()
                asyncio.run_coroutine_threadsafe(second.run_once(), loop).result()
            return written

        monkeypatch.setattr(Archiver, "_write", slowly)
        report = await first.run_once()
        assert (report.read, report.trimmed) == (120, 0)
        await write(store, 60, 60)
        assert (await second.run_once()).read == 120
        for one in (first, second):
            await one.close()

    runner.run(scenario())
    all_in(tmp_path / "b", 120)


def test_who_ends_waits_for_what_is_being_written(
    store: RedisStore, runner: asyncio.Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        first, second = keeper(store, tmp_path), keeper(store, tmp_path)
        await write(store, 0, 60)
        write_run, begun, goes_on = Archiver._write, threading.Event(), threading.Event()

        def slowly(self: Archiver, *arguments: object) -> dict[str, int]:
            begun.set()
            assert goes_on.wait(30)
            return write_run(self, *arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(Archiver, "_write", slowly)
        running = asyncio.ensure_future(first.run_once())
        await asyncio.to_thread(begun.wait, 30)
        running.cancel()
        await asyncio.wait((running,))
        closing = asyncio.ensure_future(first.close())
        await second.run_once()
        assert not closing.done()
        goes_on.set()
        await closing
        await write(store, 60, 60)
        await second.run_once()
        assert await left(store) == 0
        await second.close()

    runner.run(scenario())
    all_in(tmp_path, 120)


def test_a_store_that_lost_its_data_gets_its_archive_again(
    store: RedisStore, runner: asyncio.Runner, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        one = keeper(store, tmp_path)
        await write(store, 0, 60)
        await one.run_once()
        await store.admin.delete(store.key("archiver"), store.key("archive"))
        await write(store, 60, 60)
        await one.run_once()
        assert (await belonging(store)).archive == standing_of(tmp_path)
        assert (await belonging(store)).keeper.endswith(f":{tmp_path}")
        await one.close()
        assert not (await belonging(store)).keeper

    with caplog.at_level(logging.INFO):
        runner.run(scenario())
    assert caplog.records == []
    all_in(tmp_path, 120)
