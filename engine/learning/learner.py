"""The learner: reads the buckets' logs, folds what is closed, and keeps this process's snapshot fresh."""

from __future__ import annotations

import asyncio
import logging
import time
from importlib import resources
from itertools import chain, groupby
from operator import itemgetter
from typing import Any

from engine.bundle import Active
from engine.errors import StoreUnavailable
from engine.identity import BUCKETS
from engine.learning.fold import BucketFold, Increments, parts_of
from engine.learning.posteriors import Posteriors
from engine.learning.snapshot import Learnt
from engine.learning.sums import Gathered, fields_of
from engine.state.link import Link, reply_of
from engine.state.log import LogRow
from engine.state.reading import Recent, read_on
from engine.state.redis import RedisStore

log = logging.getLogger("tact.learner")

_SCRIPT = resources.files("engine.state").joinpath("lua/fold.lua").read_text()
_AT_ONCE = 4096  # entries taken apart together
_SUMS_AT_ONCE = 500  # half a millisecond
_TURN_S, _REST_S = 0.001, 0.002  # work on the loop that calls wait for, and what they have of it
_FIELDS_PER_COMMAND = 999
_FORGET_EVERY_S = 3600.0


class Learner:
    """Folds one store's log into its sums. Any number may run: a commit moves offsets by compare-and-set."""

    def __init__(self, store: RedisStore, active: Active, recent: Recent | None = None) -> None:
        """`recent`: where what was read is kept for whoever archives it."""
        self._store = store
        self._recent = recent
        self._active = active
        self._link = store.new_link()  # not in the hot path's way
        self._keys = [store.bucket_key(b, "log") for b in range(BUCKETS)]
        self._folds: list[BucketFold] | None = None
        self._sums = [store.key(name) for name in ("learn:offsets", "learn:sums", "learn:version")]

    def safe_id(self, bucket: int) -> str:
        """The last log id folded: what follows must not be trimmed."""
        return (self._folds[bucket].offset or "0-0") if self._folds is not None else "0-0"

    async def run_once(self, now_ms: int) -> int:
        """Reads what is new and folds what has closed by `now_ms`; the number of trials learnt.

        Raises StoreUnavailable.
        """
        if self._folds is None:
            self._folds = await self._load()
        await self._read(self._folds)
        increments = Increments()
        policies = self._active.bundle.ruleset.policies
        moves: list[tuple[int, str]] = []
        for bucket, fold in enumerate(self._folds):
            if fold.behind:
                upto = fold.settle(now_ms, policies, increments)
                if upto:
                    moves.append((bucket, upto))
        if not moves:
            return 0
        arguments: list[Any] = [len(moves)]
        for bucket, upto in moves:
            arguments += [bucket, self._folds[bucket].offset, upto]
        sums = [field for arm, state in increments.arms.items() for field in fields_of(arm, state)]
        arguments += [len(sums), *chain.from_iterable(sums)]
        version = await reply_of(self._link, "EVAL", _SCRIPT, 3, *self._sums, *arguments)
        if version == -1:  # another learner was faster: begin again from its offsets
            self._folds = None
            return 0
        for bucket, upto in moves:
            self._folds[bucket].settled(upto)
        return sum(state.trials for state in increments.arms.values())

    async def forget(self) -> int:
        """Removes the sums of which nothing is left; how many arms. Raises StoreUnavailable."""
        all_of_them = Posteriors(0, dict((await _gather(self._link, self._sums[1], _SUMS_AT_ONCE)).arms()))
        stale = all_of_them.stale(self._active.bundle.ruleset.policies)
        names = [name for arm in stale for name, _ in fields_of(arm, all_of_them.arms[arm])]
        for first in range(0, len(names), _FIELDS_PER_COMMAND):
            await reply_of(self._link, "HDEL", self._sums[1], *names[first : first + _FIELDS_PER_COMMAND])
        return len(stale)

    async def now_ms(self) -> int:
        """The store's time. Raises StoreUnavailable."""
        of_its_node = ("EVAL", "return redis.call('TIME')", 1, self._sums[0])
        seconds, micros = await reply_of(self._link, *of_its_node)
        return int(seconds) * 1000 + int(micros) // 1000

    async def close(self) -> None:
        """Closes the learner's own connection."""
        await self._link.close()

    async def _load(self) -> list[BucketFold]:
        flat = await reply_of(self._link, "HGETALL", self._sums[0])
        offsets = {int(bucket): offset.decode() for bucket, offset in zip(flat[::2], flat[1::2], strict=True)}
        return [BucketFold(offsets.get(bucket, "")) for bucket in range(BUCKETS)]

    async def _read(self, folds: list[BucketFold]) -> None:
        waiting: list[LogRow] = []
        after = [fold.read or "0-0" for fold in folds]
        if self._recent is not None:
            self._recent.begin(after)
        async for rows in read_on(self._link, self._keys, after):
            waiting += rows
            if self._recent is not None:
                self._recent.add(rows)
            if len(waiting) >= _AT_ONCE:
                _take_in(folds, waiting)
                waiting = []
        _take_in(folds, waiting)
        if self._recent is not None:
            self._recent.end()


def _take_in(folds: list[BucketFold], rows: list[LogRow]) -> None:
    parts = iter(parts_of([row.d for row in rows]))
    for bucket, some in groupby(rows, itemgetter(0)):
        folds[bucket].extend([(log_id, next(parts)) for _, log_id, _ in some])


async def refresh(store: RedisStore, learnt: Learnt) -> bool:
    """Replaces the snapshot where the sums have moved; whether it did. Raises StoreUnavailable.

    Sums are taken only where the version was the same before and after, and as many are there as were read (a cursor
    means nothing on another server, after a failover): a logged version must name one state.
    """
    link, version_key, sums_key = store.side, store.key("learn:version"), store.key("learn:sums")
    version, at_once = int(await reply_of(link, "GET", version_key) or 0), _SUMS_AT_ONCE
    while version != learnt.posteriors.version:
        gathered = await _gather(link, sums_key, at_once)
        before, version = version, int(await reply_of(link, "GET", version_key) or 0)
        if version == before and gathered.fields == await reply_of(link, "HLEN", sums_key):
            learnt.posteriors = await _made(version, gathered)
            return True
        at_once *= 2  # so that in the end it is faster than those who learn
    return False


async def _gather(link: Link, key: bytes, at_once: int) -> Gathered:
    """All sums, so many at a time: calls are served meanwhile, here and by the store."""
    gathered, cursor = Gathered(), b"0"
    while True:
        cursor, flat = await reply_of(link, "HSCAN", key, cursor, "COUNT", at_once)
        gathered.add(zip(flat[::2], flat[1::2], strict=True))
        if cursor == b"0":
            return gathered
        await asyncio.sleep(_REST_S)


async def _made(version: int, gathered: Gathered) -> Posteriors:
    posteriors, began = Posteriors(version), time.perf_counter()
    for arm, state in gathered.arms():
        posteriors.put(arm, state)
        if time.perf_counter() - began > _TURN_S:
            await asyncio.sleep(_REST_S)
            began = time.perf_counter()
    return posteriors


async def keep_learnt_fresh(store: RedisStore, learnt: Learnt, every_s: float) -> None:
    """Refreshes for ever; a store that is away is tried again."""
    while True:
        try:
            await refresh(store, learnt)
        except Exception as error:
            log.warning("what was learnt could not be read: %s", error)
        await asyncio.sleep(every_s)


async def keep_learning(learner: Learner, every_s: float, settled_ms: int) -> None:
    """Folds for ever, what has closed `settled_ms` ago by the store's clock: longer than a commit takes, so that no
    outcome of before is still on its way and the log alone says what was learnt. Whatever fails is tried again: the
    archive must not wait for it.
    """
    forgot_at = -_FORGET_EVERY_S
    while True:
        try:
            await learner.run_once(await learner.now_ms() - settled_ms)
            if time.monotonic() - forgot_at >= _FORGET_EVERY_S:
                await learner.forget()
                forgot_at = time.monotonic()
        except StoreUnavailable as error:
            log.warning("the log could not be folded: %s", error)
        except Exception:
            log.exception("the log could not be folded")
        await asyncio.sleep(every_s)
