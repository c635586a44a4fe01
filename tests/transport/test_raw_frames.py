"""Broken HTTP/2 sessions, a few. Many: python -m tests.faults.raw_frames --seconds 600."""

from __future__ import annotations

import asyncio

import pytest

from tests.faults.raw_frames import run


@pytest.mark.parametrize("seed", [1, 1_000_000])
def test_broken_sessions(runner: asyncio.Runner, seed: int) -> None:
    assert runner.run(run(seed, sessions=100)) == 100
