"""A keeper that dies anywhere, with the machine or without it, loses and doubles nothing."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.state.archive import Archiver
from engine.state.erasure import pending, rewrite
from engine.state.redis import RedisStore
from engine.state.runs import reconcile, runs
from engine.state.tenure import Tenure
from tests.state.crashes import Crash, Crashes
from tests.state.test_archive import CUSTOMERS, archived, erase, left, write

HOW = [("torn", False), ("before", True), ("after", True)]


def crash_everywhere(
    directory: Path, how: str, power: bool, work: Callable[[], None], check: Callable[[], None]
) -> int:
    """Does `work` with a crash at its first step, its second, .. until it gets through; `check` after each."""
    for at in range(1, 1000):
        with pytest.MonkeyPatch.context() as patch:
            crashes = Crashes(patch, directory, at, how, power)
            try:
                work()
            except Crash:
                assert crashes.crashed
        if not crashes.crashed:
            return at - 1
        crashes.come_back()
        check()
    raise AssertionError("it never gets through")


@pytest.mark.parametrize(("how", "power"), HOW)
def test_a_keeper_that_dies_at_any_step(
    store: RedisStore, runner: asyncio.Runner, tmp_path: Path, how: str, power: bool
) -> None:
    directory, written = tmp_path / "a" / "archive", 0

    async def run_once() -> None:
        archiver = Archiver(store, directory, tenure=Tenure(store, directory))
        try:
            await archiver.run_once()
        finally:
            await archiver.close()

    def more() -> None:
        nonlocal written
        runner.run(write(store, written, 5))
        written += 5

    def work() -> None:
        more()
        runner.run(run_once())

    def check() -> None:
        runner.run(run_once())
        for kind in ("decision", "outcome"):
            assert archived(directory, kind) == Counter(range(written))
        assert runner.run(left(store)) == 0
        for run in runs(directory):
            reconcile(run)

    assert crash_everywhere(directory, how, power, work, check) >= 10
    check()
    assert not list(directory.glob(".run-*"))


@pytest.mark.parametrize(("how", "power"), HOW)
def test_an_erasure_that_dies_at_any_step(
    store: RedisStore, runner: asyncio.Runner, tmp_path: Path, how: str, power: bool
) -> None:
    """Each round is another customer's: what is left of the others is whole, and the counts agree."""
    directory, erased = tmp_path / "archive", 0

    async def prepare() -> None:
        archiver = Archiver(store, directory)
        await write(store, 0, 60)
        await archiver.run_once()
        await write(store, 60, 60)
        await archiver.run_once()
        await archiver.close()

    async def erase_next() -> None:
        nonlocal erased
        archiver = Archiver(store, directory)
        await erase(store, CUSTOMERS[erased])
        await archiver.run_once()
        await archiver.close()
        erased += 1

    def work() -> None:
        assert pending(directory).customers == 1
        rewrite(directory)

    def check() -> None:
        rewrite(directory)
        gone = {n for c in range(erased) for n in (c, c + 60)}
        for kind in ("decision", "outcome"):
            assert archived(directory, kind) == Counter(set(range(120)) - gone)
        for run in runs(directory):
            reconcile(run)
        assert pending(directory) == (0, 0)
        runner.run(erase_next())

    runner.run(prepare())
    runner.run(erase_next())
    assert crash_everywhere(directory, how, power, work, check) >= 10
    check()
    assert not [p for p in directory.rglob(".*") if p.name not in (".archiving", ".rewriting")]


PROGRAM = """\
import asyncio, sys
from pathlib import Path
from engine.state.archive import Archiver
from engine.state.redis import RedisStore

async def main():
    archiver = Archiver(RedisStore(sys.argv[1], sys.argv[2]), Path(sys.argv[3]), max_entries=20)
    print("go", flush=True)
    while True:
        await archiver.run_once()

asyncio.run(main())
"""


def test_a_process_that_is_killed_at_random(store: RedisStore, runner: asyncio.Runner, tmp_path: Path) -> None:
    chance = random.Random(11)
    for n in range(4):
        runner.run(write(store, 40 * n, 40))
        command = [sys.executable, "-c", PROGRAM, store.url, store.prefix, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"go\n"
            time.sleep(chance.uniform(0.005, 0.1))
            os.kill(process.pid, signal.SIGKILL)

    async def finish() -> None:
        archiver = Archiver(store, tmp_path)
        await archiver.run_once()
        await archiver.close()

    runner.run(finish())
    assert archived(tmp_path, "decision") == archived(tmp_path, "outcome") == Counter(range(160))
    assert runner.run(left(store)) == 0
