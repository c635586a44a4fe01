"""The archiver: carries the buckets' log streams into Parquet files, then trims what is safe there.

    <directory>/run-0000000007/decision.parquet, outcome.parquet, profile.parquet, erased.parquet
    <directory>/run-0000000007/ranges.json    {bucket: [first id, last id, entries]}
    <directory>/offsets.json                  {"run": 7, "archive": .., "generation": .., "offsets": {bucket: last id}}
    <directory>/.archiving                    locked by the archiver for as long as it works there

A run is written into a hidden directory, fsynced, and renamed: that one rename makes all its files
count at once. A crash before it leaves nothing that counts; a crash after it, before offsets.json, is
mended at the next start from ranges.json, so no entry is lost or written twice. Streams are trimmed
after that, and only up to what learning has folded. `archive` is an id by which stores know theirs again (tenure.py).
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

import orjson
import pyarrow.parquet as pq

from engine.errors import Conflict, StoreUnavailable
from engine.identity import BUCKETS
from engine.state.connection import Command, Reply
from engine.state.log import LogRow, order
from engine.state.losses import Kept, ends, loss_of
from engine.state.reading import Recent, read_on
from engine.state.redis import RedisStore
from engine.state.runs import (
    ArchiveError,
    lock,
    make_directory,
    replace_synced,
    run_path,
    runs,
    sync,
    write_synced,
)
from engine.state.tables import tables_of
from engine.state.tenure import Standing, Tenure

log = logging.getLogger(__name__)
T = TypeVar("T")

_START = "0-0"
_BUCKET = itemgetter(0)  # of a row
_AT_ONCE = 64  # commands: the store does nothing else while it works off what it has received
_LATE_SHARE = 0.5  # of the most entries a stream may hold: beyond it, say so


@dataclass(slots=True)
class ArchiveReport:
    """What one run did. `longest` is the longest stream after trimming; `behind`: more was left to read."""

    run: int = 0
    read: int = 0
    written: dict[str, int] = field(default_factory=dict)
    trimmed: int = 0
    longest: int = 0
    behind: bool = False


class Archiver:
    """Archives one store into one directory, where nobody else does.

    `tenure`: others may want to archive this store too, and it says who does. Without it nobody else may.
    `safe_id(bucket)` is the last log id that learning has folded (`0-0`: nothing yet); entries after
    it are kept. Without it everything archived is trimmed. At most `max_entries` are read in one run. `recent`: what
    learning has read already.
    Counters for metrics: `archived`, `trimmed`, `runs_behind`.
    """

    def __init__(
        self,
        store: RedisStore,
        directory: Path,
        safe_id: Callable[[int], str] | None = None,
        max_entries: int = 100_000,
        recent: Recent | None = None,
        tenure: Tenure | None = None,
    ) -> None:
        self.archived = 0
        self.trimmed = 0
        self.runs_behind = 0
        self._store = store
        self._directory = Path(directory)
        self._safe_id = safe_id
        self._max_entries = max_entries
        self._recent = recent or Recent()
        self._tenure = tenure
        self._link = store.new_link()  # not in the hot path's way
        self._keys = [store.bucket_key(b, "log") for b in range(BUCKETS)]
        self._offsets: list[str] | None = None
        self._begin = 0  # the bucket to be read first
        self._standing = Standing()  # the directory's id, and the last run that counts
        self._lock: int | None = None  # a descriptor
        self._at_work: asyncio.Future[Any] | None = None  # on files, in a thread
        self._untrimmed: set[int] = set()
        self._generation = ""  # the store's, in hex, which the offsets are of
        self._made = 0  # which connection offsets were compared with streams on

    async def run_once(self) -> ArchiveReport:
        """Reads what is new, writes it, then trims; does nothing where another keeper archives.

        Raises StoreUnavailable, OSError, ArchiveError, Conflict where somebody else works in the directory.
        """
        if not await self._may_archive():
            return ArchiveReport()
        if self._offsets is None:
            self._offsets = await self._on_disk(self._recover)
            self._untrimmed = {b for b in range(BUCKETS) if self._offsets[b] != _START}
        offsets = self._offsets
        await self._compare(offsets)
        rows, behind = await self._read(offsets)
        report = ArchiveReport(self._standing.run, len(rows), behind=behind)
        if rows:
            await self._keep(report, rows, offsets)
        await self._trim(report, offsets)
        self._speak(report)
        return report

    async def close(self) -> None:
        """Lets others archive, once what is being written is written."""
        if self._at_work is not None:
            await asyncio.wait((self._at_work,))
        self._leave()
        if self._tenure is not None:
            await self._tenure.end()
        await self._link.close()

    # Alone

    async def _may_archive(self) -> bool:
        if self._tenure is None:
            return True
        known = self._offsets is not None
        standing = self._standing if known else await asyncio.to_thread(standing_of, self._directory)
        if await self._tenure.take(standing):
            return True
        self._leave()
        return False

    async def _may_trim(self) -> bool:
        if self._tenure is None or await self._tenure.may_trim(self._standing):
            return True
        self._leave()
        return False

    def _enter(self) -> None:
        """Takes the directory for as long as it is open. Raises Conflict, OSError."""
        make_directory(self._directory)
        if self._lock is None:
            self._lock = lock(self._directory / ".archiving")
        if self._lock is None:
            raise Conflict(f"another process archives into {self._directory}")

    def _leave(self) -> None:
        """Whoever archives next finds here what counts, and nothing is believed that was known of it."""
        self._offsets = None
        self._recent.forget()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def _keep(self, report: ArchiveReport, rows: list[LogRow], offsets: list[str]) -> None:
        run = self._standing.run + 1
        try:
            report.written = await self._on_disk(self._write, run, rows)
            report.run = run
            self._standing = self._standing._replace(run=run)
            for bucket, log_id, _ in rows:
                offsets[bucket] = log_id
            await self._on_disk(self._remember, offsets)
        except BaseException:
            self._offsets = None  # where this run stands is what the directory says: look again
            raise
        self._untrimmed.update(map(_BUCKET, rows))
        self.archived += len(rows)

    # Reading and trimming

    async def _compare(self, offsets: list[str]) -> None:
        """Behind a new connection may be a store that lost writes: what is in the archive is not in its streams then.

        Offsets go back to where such streams end, so that nothing written since is passed over. Within one
        generation of the store that is a loss; where it is another one, somebody knows.
        """
        [generation] = await self._link.pipeline([("GET", self._store.bucket_key(0, "g"))])
        theirs = generation.hex() if isinstance(generation, bytes) else ""
        made = self._link.made
        if self._made == made:
            self._generation = theirs
            return
        self._recent.forget()  # it may be gone
        replies = await self._link.pipeline([("XINFO", "STREAM", key) for key in self._keys])
        lasts = [ends(about)[1] for about in replies]
        lost = [b for b in range(BUCKETS) if order(lasts[b]) < order(offsets[b])]
        if lost:
            by_server: dict[object, list[Kept]] = {}
            for b, last in enumerate(lasts):
                gone = order(last) < order(offsets[b])
                server = self._link.server_of(self._keys[b])
                by_server.setdefault(server, []).append(Kept(order(offsets[b])[0], gone, order(last)[0]))
            loss = loss_of(by_server.values())
            if theirs and theirs == self._generation and loss is not None:
                await self._store.notice(loss)
            for b in lost:
                offsets[b] = lasts[b]
        if lost or theirs != self._generation:
            self._generation = theirs
            await self._on_disk(self._remember, offsets)
        self._made = made

    async def _read(self, offsets: list[str]) -> tuple[list[LogRow], bool]:
        rows, buckets = self._recent.take(offsets)
        left = self._max_entries - len(rows)
        begin = bisect_left(buckets, self._begin)
        async for more in read_on(self._link, self._keys, offsets, left, buckets[begin:] + buckets[:begin]):
            rows += more
        behind = len(rows) >= self._max_entries
        if behind:
            self._begin = rows[-1].bucket  # next time those come first that were not asked
        rows.sort(key=_BUCKET)  # of one bucket they stay in order
        return rows, behind

    async def _trim(self, report: ArchiveReport, offsets: list[str]) -> None:
        if not await self._may_trim():
            return
        buckets = sorted(self._untrimmed)
        limits = {b: offsets[b] if self._safe_id is None else self._safe_id(b) for b in buckets}
        upto = {b: min(offsets[b], limits[b], key=order) for b in buckets}
        commands: list[Command] = []
        for b in buckets:
            time_ms, serial = order(upto[b])
            commands.append(("XTRIM", self._keys[b], "MINID", "=", f"{time_ms}-{serial + 1}"))
            commands.append(("XLEN", self._keys[b]))
        for first in range(0, len(commands), _AT_ONCE):
            if not await self._may_trim():
                return
            replies = await self._link.pipeline(commands[first : first + _AT_ONCE])
            counts = [self._whole(r) for r in replies]
            report.trimmed += sum(counts[::2])
            report.longest = max(report.longest, *counts[1::2])
        self._untrimmed -= {b for b in buckets if upto[b] == offsets[b]}
        self.trimmed += report.trimmed

    @staticmethod
    def _whole(reply: Reply) -> int:
        if not isinstance(reply, int):
            raise StoreUnavailable(f"the store refused the archiver: {reply}")
        return reply

    def _speak(self, report: ArchiveReport) -> None:
        limit = self._store.max_log_length
        if report.behind or report.longest > limit * _LATE_SHARE:
            self.runs_behind += 1
            log.warning(
                "the archiver is behind: the longest log stream holds %d of at most %d entries%s",
                report.longest,
                limit,
                ", and not everything was read" if report.behind else "",
            )

    # Files

    async def _on_disk(self, work: Callable[..., T], *arguments: Any) -> T:
        """Works in a thread, which goes on where this is cancelled: `close` waits for it."""
        self._at_work = asyncio.get_running_loop().run_in_executor(None, work, *arguments)
        return await asyncio.shield(self._at_work)

    def _write(self, run: int, rows: list[LogRow]) -> dict[str, int]:
        """One directory of Parquet files; entries by kind as counted in what was written."""
        hidden = self._directory / f".run-{run:010d}"
        hidden.mkdir()
        written: dict[str, int] = {}
        for kind, table in tables_of(rows).items():
            path = hidden / f"{kind}.parquet"
            pq.write_table(table, path, compression="zstd")
            sync(path)
            written[kind] = pq.read_metadata(path).num_rows
        if sum(written.values()) != len(rows):
            raise ArchiveError(f"run {run} read {len(rows)} entries and wrote {written}")
        ranges: dict[str, list[str | int]] = {}
        for bucket, of_it in groupby(rows, _BUCKET):
            some = list(of_it)
            one = ranges.setdefault(str(bucket), [some[0].log_id, "", 0])
            one[1:] = [some[-1].log_id, int(one[2]) + len(some)]
        write_synced(hidden / "ranges.json", orjson.dumps(ranges))
        sync(hidden)
        os.replace(hidden, run_path(self._directory, run))
        sync(self._directory)
        return written

    def _remember(self, offsets: list[str]) -> None:
        known = {str(b): i for b, i in enumerate(offsets) if i != _START}
        archive, run = self._standing
        state = {"run": run, "archive": archive, "generation": self._generation, "offsets": known}
        replace_synced(self._directory / "offsets.json", orjson.dumps(state))

    def _recover(self) -> list[str]:
        """The offsets as they were, moved on by a run that was renamed but not remembered."""
        self._enter()
        offsets = [_START] * BUCKETS
        known = _remembered(self._directory)
        self._generation = known.get("generation", "")
        for bucket, log_id in known.get("offsets", {}).items():
            offsets[int(bucket)] = log_id
        archive, run = was = standing_of(self._directory)
        for left in self._directory.glob(".run-*"):
            shutil.rmtree(left)
        for ahead in runs(self._directory):
            if ahead.number > run:
                run = ahead.number
                for bucket, range_ in ahead.ranges().items():
                    offsets[bucket] = range_.last
        self._standing = Standing(archive or os.urandom(8).hex(), run)
        if self._standing != was:  # before a store hears of it
            self._remember(offsets)
        return offsets


def standing_of(directory: Path) -> Standing:
    """An archive's id and last run, as far as they are remembered there. Raises OSError, ArchiveError."""
    known = _remembered(directory)
    return Standing(known.get("archive", ""), known.get("run", 0))


def _remembered(directory: Path) -> dict[str, Any]:
    path = directory / "offsets.json"
    try:
        return dict(orjson.loads(path.read_bytes())) if path.exists() else {}
    except (ValueError, TypeError) as error:
        raise ArchiveError(f"{path} cannot be read: {error}") from None
