"""Logs are read on to their ends, and what one reader keeps for another has no gaps."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.identity import BUCKETS
from engine.state.log import LogRow, order
from engine.state.reading import ENTRIES, STREAMS, Recent, read_on

KEYS = [b"log:%d" % bucket for bucket in range(BUCKETS)]


class Logs:
    """Streams that answer XREAD as a store does; fails at the call `failing`."""

    def __init__(self) -> None:
        self.entries: defaultdict[bytes, list[tuple[bytes, list[bytes]]]] = defaultdict(list)
        self.largest = self.failing = 0
        self._next = 0

    def write(self, bucket: int) -> None:
        self._next += 1
        self.entries[KEYS[bucket]].append((b"%d-0" % self._next, [b"d", b"%d" % self._next]))

    async def pipeline(self, commands: Sequence[Any]) -> list[Any]:
        [command] = commands
        if self.failing:
            self.failing -= 1
            if not self.failing:
                raise ConnectionError
        count, names = command[2], command[4:]
        found = []
        for key, after in zip(names[: len(names) // 2], names[len(names) // 2 :], strict=True):
            left = [one for one in self.entries.get(key, ()) if order(one[0].decode()) > order(after)][:count]
            if left:
                found.append([key, left])
        self.largest = max(self.largest, sum(len(entries) for _, entries in found))
        return [found or None]


async def _read(logs: Logs, after: Sequence[str], **how: Any) -> list[LogRow]:
    return [row async for rows in read_on(cast(Any, logs), KEYS, after, **how) for row in rows]


def test_all_logs_to_their_ends_a_little_at_a_time() -> None:
    logs = Logs()
    for k in range(400):
        logs.write((0, 3, 3, 3, 77, BUCKETS - 1)[k % 6])
    start = ["0-0"] * BUCKETS
    rows = asyncio.run(_read(logs, start))
    assert [(row.bucket, row.d) for row in rows if row.bucket == 3] == [
        (3, pairs[1]) for _, pairs in logs.entries[KEYS[3]]
    ]
    assert sorted(int(row.d) for row in rows) == list(range(1, 401))
    assert logs.largest <= STREAMS * ENTRIES
    for row in rows:
        start[row.bucket] = row.log_id
    assert asyncio.run(_read(logs, start)) == []
    assert len(asyncio.run(_read(logs, ["0-0"] * BUCKETS, most=10))) == 10
    assert {row.bucket for row in asyncio.run(_read(logs, ["0-0"] * BUCKETS, buckets=[77, 5]))} == {77}


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 5)),
        st.tuples(st.just("learn"), st.integers(0, 3)),  # the call that fails, 0: none
        st.tuples(st.just("archive"), st.sampled_from([0, 1, 5, 1000])),  # entries at most, 0: it cannot be written
        st.tuples(st.just("again"), st.integers(0, 2)),  # the learner, the archiver or both begin anew
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.integers(1, 12))
def test_every_entry_is_archived_once_whoever_read_it(steps: list[tuple[str, int]], most: int) -> None:
    """As `Learner` and `Archiver` use it: whatever happens between them, in whatever order."""

    async def scenario() -> None:
        logs, recent = Logs(), Recent(most)
        learnt, offsets, archived = ["0-0"] * BUCKETS, ["0-0"] * BUCKETS, []

        async def archive(at_most: int) -> None:
            rows, buckets = recent.take(offsets)
            rows += await _read(logs, offsets, most=at_most - len(rows), buckets=buckets)
            if at_most:
                archived.extend(rows)
                for row in rows:
                    offsets[row.bucket] = row.log_id

        for what, how in [*steps, ("learn", 0), ("archive", 1000)]:
            if what == "write":
                logs.write(how)
            elif what == "learn":
                logs.failing = how
                recent.begin(learnt)
                upto = list(learnt)
                try:
                    async for rows in read_on(cast(Any, logs), KEYS, learnt, buckets=range(8)):
                        recent.add(rows)
                        for row in rows:
                            upto[row.bucket] = row.log_id
                        learnt = upto  # a part that was taken in stays
                    recent.end()
                except ConnectionError:
                    pass
                logs.failing = 0
            elif what == "archive":
                await archive(how)
            elif how == 2:
                recent.forget()
            else:
                learnt = ["0-0"] * BUCKETS if how else list(offsets)
        assert sorted(int(row.d) for row in archived) == list(range(1, logs._next + 1))
        for bucket in range(6):
            ids = [order(row.log_id) for row in archived if row.bucket == bucket]
            assert ids == sorted(ids)

    asyncio.run(scenario())
