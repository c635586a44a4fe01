"""The fast lane of PutProfiles: a request's profiles through kernels, a part of them after the other.

Profiles and records are watched while they are read and rewritten, so what anybody else writes meanwhile is not lost:
the part is taken again. It needs no turn of the decider's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import numpy as np
import numpy.typing as npt

from engine.columns.lane import OVERLAP
from engine.columns.puts import PutBatch, PutColumns
from engine.decider import Decider
from engine.errors import StoreUnavailable, Unavailable
from engine.kernels.puts import find_items
from engine.state.model import CommitStatus
from engine.state.redis import RedisStore

log = logging.getLogger("tact.puts")

AT_ONCE = 256  # profiles of a transaction: 2 ms of the store's, which others wait for
MAX_ITEMS = 1000  # of a request, as service.codec
_AGAIN = "put the profile again"
_PARTS = 2  # under way: one is computed while another waits for the store
I64 = npt.NDArray[np.int64]
Result = bytes | Unavailable | None


class PutLane:
    """One per event loop, beside its decider. `logs_fit`: whether it may log, see `Lane`."""

    def __init__(self, decider: Decider, store: RedisStore, logs_fit: Callable[[], Awaitable[bool]]) -> None:
        self._decider = decider
        self._store = store
        self._logs_fit = logs_fit
        self._prefix = np.frombuffer(store.prefix.encode(), np.uint8)
        self._columns: PutColumns | None = None
        self._slots = [OVERLAP + k for k in range(_PARTS)]  # of the store's connections, behind the other lane's
        self._free = asyncio.Semaphore(_PARTS)

    def _columns_now(self) -> PutColumns:
        bundle = self._decider.active.bundle
        if self._columns is None or self._columns.bundle is not bundle:
            self._columns = PutColumns(bundle, self._decider.settings.secret)
        return self._columns

    def find(self, payload: bytes) -> I64 | None:
        """Where the profiles of a PutProfilesRequest lie; None where it is not for this lane."""
        spans = np.zeros((MAX_ITEMS, 2), np.int64)
        count = int(find_items(np.frombuffer(payload, np.uint8), spans))
        return None if count < 1 or self._decider.draining else spans[:count]

    async def put(self, payload: bytes, spans: I64) -> list[Result]:
        """Puts the profiles at `spans`: of each its part of a PutProfilesResponse, or that it is not known, or None:
        nothing was done."""
        results: list[Result] = [None] * len(spans)
        try:
            if not await self._logs_fit():
                return results
            batch = PutBatch(self._columns_now(), payload, spans)
            batch.leave_buckets(self._store.lengths.full)
            rows = batch.rows()
            parts = [rows[at : at + AT_ONCE] for at in range(0, len(rows), AT_ONCE)]
            works = [self._put(batch, part, results) for part in parts]
            for error in await asyncio.gather(*works, return_exceptions=True):
                if isinstance(error, StoreUnavailable):
                    log.debug("left to the ordinary way: %s", error)
                elif error is not None:
                    log.error("profiles could not be put in columns", exc_info=error)
        except StoreUnavailable as error:
            log.debug("left to the ordinary way: %s", error)
        except Exception:
            log.exception("profiles could not be put in columns")
        return results

    async def _put(self, batch: PutBatch, rows: I64, results: list[Result]) -> None:
        async with self._free:
            slot = self._slots.pop()
            try:
                await self._commit(batch, rows, results, slot)
            finally:
                self._slots.append(slot)

    async def _commit(self, batch: PutBatch, rows: I64, results: list[Result], slot: int) -> None:
        store, budget_ms = self._store, self._decider.settings.commit_budget_ms
        if batch.columns.bundle is not self._decider.active.bundle:
            return
        try:
            look = await store.look(slot, batch.read_command(rows, self._prefix), len(rows), budget_ms, each=2)
        except TimeoutError:
            return
        blobs = look.blobs
        if look.lost:  # their part of a cluster cannot be reached: the ordinary way says so
            here = np.delete(np.arange(len(rows)), look.lost)
            rows, blobs = rows[here], [blob for k in here.tolist() for blob in blobs[2 * k : 2 * k + 2]]
        command, commands = batch.commit(rows, blobs, look.now_ms, self._prefix)
        if not commands:
            return
        status = await store.commit_look(look, command, commands)
        if isinstance(status, list):  # in a cluster each customer was committed for itself
            committed = batch.rows_of(rows)
            _stored(batch, committed[[s.done for s in status]], results)
            for i, one in zip(committed.tolist(), status, strict=True):
                if one.status == "unknown":
                    results[i] = one.error(_AGAIN)
            await asyncio.sleep(max((s.after_s for s in status), default=0.0))
        elif status == "done":
            _stored(batch, batch.rows_of(rows), results)
        elif status == "moved" and len(rows) > 1:  # somebody wrote to one of these customers: it alone is left
            self._decider.metrics.store_error("collision")
            half = len(rows) // 2
            for part in (rows[:half], rows[half:]):
                await self._commit(batch, part, results, slot)
        elif status == "unknown":
            self._decider.metrics.store_error(status)
            for i in batch.rows_of(rows).tolist():
                results[i] = CommitStatus(status).error(_AGAIN)


def _stored(batch: PutBatch, rows: I64, results: list[Result]) -> None:
    answer, ends = batch.results(rows)
    begin = 0
    for i, end in zip(rows.tolist(), ends, strict=True):
        results[i] = answer[begin:end]
        begin = end
