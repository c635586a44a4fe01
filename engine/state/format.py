"""Which layouts a store holds, as its key `{0}format` says: what refuses a store that a newer version wrote.

    {"layout": 2, "buckets": 4096, "min_reader": 2}

`layout` is the newest layout of anything in the store, `min_reader` the oldest version of readers that understands
all of it. A store without the key is of layout 1: it was made before there was one. Steps are in `migrate.py`.

    1   profiles of layout 1 may be there (a JSON array as contact section)
    2   profiles of layout 2 only
"""

from __future__ import annotations

from typing import NamedTuple

import orjson

from engine.identity import BUCKETS
from engine.state.packing import CorruptBlob

LAYOUT = 2  # what this version writes
READER = 2  # up to which `min_reader` this version understands a store


class Format(NamedTuple):
    """A store's format."""

    layout: int = LAYOUT
    buckets: int = BUCKETS
    min_reader: int = LAYOUT


OLDEST = Format(1, BUCKETS, 1)


def encode(form: Format) -> bytes:
    """The key's value."""
    return orjson.dumps(form._asdict())


def decode(blob: bytes | None) -> Format:
    """The format of a store whose key holds this. Raises CorruptBlob."""
    if not blob:
        return OLDEST
    try:
        found = orjson.loads(blob)
        return Format(*(int(found[name]) for name in Format._fields))
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptBlob(f"the store's format key holds {blob[:80]!r}: {error}") from None


def refusal(blob: bytes | None) -> str:
    """Why this version must not touch a store of this format, or ""."""
    try:
        form = decode(blob)
    except CorruptBlob as error:
        return str(error)
    if form.buckets != BUCKETS:
        return f"the store has {form.buckets} buckets, and this version expects {BUCKETS}: it is another deployment's"
    if form.min_reader > READER:
        return (
            f"the store is of layout {form.layout}, for readers of {form.min_reader} or newer, and this version reads "
            f"up to {READER}: a newer version migrated it; start that one"
        )
    return ""
