"""Faults of the store and of the network to it, in brief; `python -m tests.faults NUMBER --long` for the whole."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.faults import clocks, losses, network, races, silence
from tests.faults.stage import sharing

SHARED = [
    losses.killed, losses.powerless, losses.truncated, losses.emptied, silence.stopped, silence.full, silence.hole,
    network.dropped, network.slow, network.cut, network.forgotten,
]  # fmt: skip


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as one:
        yield one


@pytest.fixture(scope="module")
def stage(loop: asyncio.Runner) -> Iterator[None]:
    """One server and one store for all: to start a server takes seconds."""
    shared = sharing()
    loop.run(shared.__aenter__())
    yield
    loop.run(shared.__aexit__(None, None, None))


@pytest.mark.parametrize("fault", SHARED, ids=lambda f: f.__name__)
def test_fault(fault: object, stage: None, loop: asyncio.Runner) -> None:
    report = loop.run(fault())  # type: ignore[operator]
    assert report.broken == [], report.figures


@pytest.mark.parametrize("fault", [races.run, clocks.run], ids=["races", "clocks"])
def test_fault_of_a_server_of_its_own(fault: object, loop: asyncio.Runner) -> None:
    report = loop.run(fault())  # type: ignore[operator]
    assert report.broken == [], report.figures
