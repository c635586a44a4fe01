"""Many runs of exams at once: each is the work of one process."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeAlias, TypeVar

from bench.rows import Effort

T = TypeVar("T")
Name = TypeVar("Name", bound=Hashable)
Task: TypeAlias = Callable[[], T]


def done(tasks: Mapping[Name, Sequence[Task[T]]], effort: Effort) -> dict[Name, list[T]]:
    """What each task gives, on all cores. The first begin first, and should be the longest."""
    if effort.exams == 0.0:
        return {name: [task() for task in some] for name, some in tasks.items()}
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        futures = {name: [pool.submit(task) for task in some] for name, some in tasks.items()}
        return {name: [future.result() for future in some] for name, some in futures.items()}
