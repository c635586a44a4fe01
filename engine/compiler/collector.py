"""Python's cyclic garbage collector, out of the way while a rule set is compiled."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collector() -> Iterator[None]:
    """No collections meanwhile. Compiling makes millions of objects and keeps them: looking for garbage among
    them again and again took half of its time.

    For the whole process, and safe side by side: whoever found the collector running starts it again.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
