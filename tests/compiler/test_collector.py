"""What the collector finds after a compile: everything old, and everything that it could collect before."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from weakref import ref

import pytest

from engine.compiler.collector import without_collector


class Thing:
    """Something in a circle."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture(autouse=True)
def nothing_frozen() -> Iterator[None]:
    """As a process starts, whatever ran before."""
    gc.unfreeze()
    yield
    gc.unfreeze()


def many() -> list[list[int]]:
    return [[k] for k in range(200_000)]


def test_what_was_made_is_old() -> None:
    with without_collector():
        made = many()
    young = set(map(id, gc.get_objects(generation=0)))
    assert gc.isenabled()
    assert not any(id(one) in young for one in made)
    assert gc.get_freeze_count() == 0


def test_circles_made_meanwhile_are_collected() -> None:
    with without_collector():
        circle = ref(Thing())
        many()
        made = many()
    assert circle() is not None
    gc.collect()
    assert circle() is None
    assert len(made) == 200_000


def test_what_is_frozen_stays_so() -> None:
    gc.freeze()
    before = gc.get_freeze_count()
    with without_collector():
        made = many()
    assert gc.get_freeze_count() >= before - 100  # some of it is freed, nothing comes back
    assert made


def test_inside_another_one() -> None:
    with without_collector():
        with without_collector():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
