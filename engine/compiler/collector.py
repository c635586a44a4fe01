"""Python's cyclic garbage collector, out of the way while a rule set is compiled."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_MANY = 100_000  # new objects: a collection among fewer is over in milliseconds


@contextmanager
def without_collector() -> Iterator[None]:
    """No collections meanwhile. Compiling makes millions of objects and keeps them: looking for garbage among
    them again and again took half of its time.

    For the whole process, and safe side by side: whoever found the collector running starts it again. What was
    made is old by then: as young objects the very next collection would look through all of it, 0.7 of the 4.4 s
    that 10,000 messages took.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        # asked in this order: counting what is frozen (12 ms for 500,000) would hold up a server, whose
        # objects from the start are frozen and must stay so
        if gc.get_count()[0] > _MANY and not gc.get_freeze_count():
            gc.freeze()  # every object, and ..
            gc.unfreeze()  # .. back into the oldest generation; neither looks at a single one
        gc.enable()
