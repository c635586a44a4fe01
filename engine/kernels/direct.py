"""Calls of kernels past numba's dispatcher.

For each call the dispatcher looks at every array it is handed, also within tuples, to find what was compiled for such
types, and batches hand over a hundred arrays. Whoever always hands over the same types may ask once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Kernel = Callable[..., Any]

checked = False  # whether each call is looked at; tests want that
mistaken: list[str] = []  # calls that were looked at and were not as the first


def direct(kernel: Kernel) -> Kernel:
    """The kernel as it was compiled for the types of the first call.

    Later calls must hand over the same ones: nothing looks, and arrays of another type would be misread. Where calls
    are `checked`, raises TypeError if they differ, and keeps it in `mistaken`: whoever calls may have another way.
    """
    dispatcher: Any = kernel
    first: tuple[Any, ...] | None = None
    compiled: Kernel | None = None

    def call(*arguments: Any) -> Any:
        nonlocal first, compiled
        if compiled is not None and not checked:
            return compiled(*arguments)
        types = tuple(map(dispatcher.typeof_pyval, arguments))
        if first is None:
            result = kernel(*arguments)
            compiled = dispatcher.overloads[types].entry_point
            first = types
            return result
        if types != first:
            mistaken.append(f"{dispatcher.__name__} was called with {types}, and before with {first}")
            raise TypeError(mistaken[-1])
        return kernel(*arguments)

    return call
