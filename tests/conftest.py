"""One real store per test worker, and a part of it for each test."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.state.embedded import EmbeddedStore
from engine.state.redis import RedisStore

_prefixes = (f"test{n}:" for n in itertools.count())


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
