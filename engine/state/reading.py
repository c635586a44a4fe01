"""Reads on in all buckets' logs, a little at a time: while the store looks some up it does nothing else.

To read an entry costs as much as to learn from it, so who reads keeps it for who comes later.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence

from engine.identity import BUCKETS
from engine.state.link import Link, reply_of
from engine.state.log import LogRow, order

STREAMS, ENTRIES = 32, 8  # of one command: 256 entries at most
KEPT_MAX = 250_000  # entries, some 150 MB
TAKEN_MAX = 6  # a pass takes longer than from one `take` to the next where there is much to do


async def read_on(
    link: Link,
    keys: Sequence[bytes],
    after: Sequence[str],
    most: int = sys.maxsize,
    buckets: Sequence[int] = range(BUCKETS),
) -> AsyncIterator[list[LogRow]]:
    """What follows on the ids `after`, by bucket, one bucket's in order; up to the end of all logs, or `most` entries.

    keys: of the logs, by bucket. `buckets`: those that are read, in their order. Raises StoreUnavailable.
    """
    bucket_of = {key: bucket for bucket, key in enumerate(keys)}
    for first in range(0, len(buckets), STREAMS):
        ids = {bucket: after[bucket] for bucket in buckets[first : first + STREAMS]}
        while ids:
            if most <= 0:
                return
            count = max(1, min(ENTRIES, most // len(ids)))
            found = await reply_of(link, "XREAD", "COUNT", count, "STREAMS", *[keys[b] for b in ids], *ids.values())
            ids = {}
            rows: list[LogRow] = []
            for key, entries in found or ():
                bucket = bucket_of[key]
                rows += [LogRow(bucket, entry_id.decode(), pairs[1]) for entry_id, pairs in entries]
                if len(entries) == count:
                    ids[bucket] = rows[-1].log_id
            if rows:
                most -= len(rows)
                yield rows


class Recent:
    """What one reader has read since another took it. `most`: so many entries, beyond which all is forgotten."""

    def __init__(self, most: int = KEPT_MAX) -> None:
        self._most = most
        self._after: list[str] | None = None  # by bucket: what is kept follows on these ids
        self._upto: list[str] = []
        self._rows: list[LogRow] = []
        self._taken = 0  # so often since a pass over all logs went through

    def begin(self, after: Sequence[str]) -> None:
        """A reader is about to read on from these ids, by bucket; what does not end there is no use any more."""
        if self._after is None or self._upto != after:
            self._after, self._upto, self._rows = list(after), list(after), []

    def add(self, rows: Sequence[LogRow]) -> None:
        """What it read, each bucket's in order."""
        if self._after is None:  # forgotten since it began: something is missing
            return
        self._rows += rows
        upto = self._upto
        for bucket, log_id, _ in rows:
            upto[bucket] = log_id
        if len(self._rows) > self._most:
            self.forget()

    def end(self) -> None:
        """It has read all logs to their ends."""
        self._taken = 0

    def forget(self) -> None:
        """Whoever comes later reads for himself."""
        self._after, self._rows = None, []

    def take(self, offsets: Sequence[str]) -> tuple[list[LogRow], list[int]]:
        """What follows on these ids, once, and the buckets of which it is not known.

        That is all of them where the reader does not get through: nobody shall wait for it for ever.
        """
        self._taken += 1
        if self._after is None or self._taken > TAKEN_MAX:
            return [], list(range(BUCKETS))
        elsewhere = [b for b, after in enumerate(self._after) if after != offsets[b]]  # whoever takes stands there
        asked = [b for b in elsewhere if order(self._after[b]) > order(offsets[b])]
        rows = self._rows
        if elsewhere:
            unknown, places = set(asked), {b: order(offsets[b]) for b in elsewhere}
            rows = [
                row
                for row in rows
                if row[0] not in places or (row[0] not in unknown and order(row[1]) > places[row[0]])
            ]
        self._after, self._rows = self._upto, []
        self._upto = list(self._after)
        return rows, asked
