"""One real store per test worker, and a part of it for each test."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import itertools
import os
import sys
import tempfile
import warnings
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest

from engine.columns.warm import warm
from engine.kernels import CACHE, direct
from engine.state.embedded import EmbeddedStore
from engine.state.redis import RedisStore

direct.checked = True
# The same cases each time: a run says what a change broke. `make explore` looks for what nobody has seen.
hypothesis.settings.register_profile("explore", hypothesis.settings.default, deadline=None)  # machines are shared
hypothesis.settings.register_profile("tact", hypothesis.settings.get_profile("explore"), derandomize=True)
hypothesis.settings.load_profile("tact")
_prefixes = (f"test{n}:" for n in itertools.count())


def pytest_sessionstart(session: pytest.Session) -> None:
    """Compiles all kernels where the cache is cold: one worker does, the others wait and load them.

    Tests that wait for something would wait for compilations else.
    """
    if os.environ.get("PYTEST_XDIST_WORKER") or not session.config.getoption("numprocesses", None):
        CACHE.mkdir(parents=True, exist_ok=True)
        with (CACHE / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            warm()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """What a failed test left open is dropped at its end, unsaid: else it is told as a failure of a later test."""
    before = item.session.testsfailed
    result = yield
    if item.session.testsfailed > before:
        for name in ("last_exc", "last_type", "last_value", "last_traceback"):  # they hold its frames
            vars(sys).pop(name, None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            gc.collect()
    return result


def pytest_runtest_teardown() -> None:
    """Kernels must always be called with the same types (`direct`); the lane would hide it and go another way."""
    assert not direct.mistaken, direct.mistaken


@pytest.fixture(scope="session")
def store_url() -> Iterator[str]:
    """The address of an embedded Valkey of this worker's own, in memory, in a temporary directory."""
    with tempfile.TemporaryDirectory(prefix="tact-") as directory:
        server = EmbeddedStore(Path(directory), persist=False)
        yield server.start()
        server.stop()


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """An event loop for one test: `runner.run(scenario())`, as often as wanted."""
    with asyncio.Runner() as one:
        yield one


@pytest.fixture
def key_prefix() -> str:
    """A key prefix that no other test of this worker's store has."""
    return next(_prefixes)


@pytest.fixture
def store(store_url: str, key_prefix: str, runner: asyncio.Runner) -> Iterator[RedisStore]:
    """A store with nothing in it, to be used from `runner`; closed with the test."""
    one = RedisStore(store_url, key_prefix, commit_budget_ms=2000)
    yield one
    runner.run(one.close())
