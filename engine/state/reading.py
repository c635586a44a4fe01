"""Reads on in all buckets' logs, a little at a time: while the store looks some up it does nothing else."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from engine.identity import BUCKETS
from engine.state.connection import Command, Reply
from engine.state.log import LogRow

STREAMS, ENTRIES = 8, 32  # of one command: 256 entries hold the store up for 0.3 ms


async def read_on(
    ask: Callable[[Command], Awaitable[Reply]],
    keys: Sequence[bytes],
    after: Sequence[str],
    most: int = sys.maxsize,
    begin: int = 0,
) -> AsyncIterator[list[LogRow]]:
    """What follows on the ids `after`, by bucket, one bucket's in order; up to the end of all logs, or `most` entries.

    keys: of the logs, by bucket. `begin`: the bucket to begin with. Raises what `ask` raises.
    """
    bucket_of = {key: bucket for bucket, key in enumerate(keys)}
    for first in range(0, BUCKETS, STREAMS):
        ids = {(begin + k) % BUCKETS: after[(begin + k) % BUCKETS] for k in range(first, first + STREAMS)}
        while ids:
            if most <= 0:
                return
            count = max(1, min(ENTRIES, most // len(ids)))
            found = await ask(("XREAD", "COUNT", count, "STREAMS", *[keys[b] for b in ids], *ids.values()))
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
