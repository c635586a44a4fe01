"""The public suite of contact policy, by the step in Python and by the lane in columns."""

from __future__ import annotations

import asyncio
from functools import partial

import jsonschema
import pytest

from engine.replay.manual_store import ManualStore
from tests.cases.runner import HERE, load, play_all, read, schema

CASES = list(load())
FILES = sorted({case.file for case in CASES})


@pytest.mark.parametrize("file", FILES)
def test_cases(file: str, store_url: str, key_prefix: str, runner: asyncio.Runner) -> None:
    cases = sorted((case for case in CASES if case.file == file), key=lambda case: repr(case.policy))
    store_of = partial(ManualStore, store_url, commit_budget_ms=60_000)
    failed, decided, taken = runner.run(play_all(cases, lambda name: store_of(f"{key_prefix}{name}:")))
    assert failed == []
    # the rest is repeats, reused ids, two messages in an answer, products and the like: those are the step's
    assert taken > 0.5 * decided


def test_files_are_as_documented() -> None:
    for path in HERE.glob("*.yaml"):
        jsonschema.validate(read(path), schema())
    names = [str(case) for case in CASES]
    assert len(names) == len(set(names)) >= 60
