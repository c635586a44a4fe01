"""Faults of the service in their brief form; `python -m tests.faults NUMBER --long` for the whole of each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.faults.__main__ import FAULTS
from tests.faults.report import sharing

# What is left to the programs: 27 compiles all kernels anew, minutes of it on some machines. Those of the store are
# in test_store_faults.py.
_BRIEF = [number for number in FAULTS if number in (15, 16) or 22 <= number <= 26]


@pytest.fixture(scope="module", autouse=True)
def one_server() -> Iterator[None]:
    with sharing():
        yield


@pytest.mark.parametrize("number", _BRIEF)
def test_fault(number: int, runner: asyncio.Runner) -> None:
    report = runner.run(FAULTS[number]())
    assert report.broken == [], report.figures
