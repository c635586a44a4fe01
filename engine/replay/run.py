"""A replay: the rows of a table through the decider on a store of its own, in the rows' own time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from engine.bundle import Active, Bundle
from engine.decider import Decider, DeciderSettings
from engine.decision import Decision, Outcome, OutcomeKind, Outcomes
from engine.errors import TactError
from engine.identity import BUCKETS, CustomerKey, customer_key
from engine.learning.learner import Learner, refresh
from engine.learning.snapshot import Learnt
from engine.replay.mapping import OutcomeRule
from engine.replay.rows import BadRow, Row, Table
from engine.replay.store import RowProfiles
from engine.replay.summary import Summary
from engine.state.archive import Archiver
from engine.state.redis import RedisStore

CHUNK = 2048  # rows in memory at once
CHUNK_MIN = 256  # a chunk this long ends with its week, so that learning keeps up with the rows' time
_CHUNK_MS = 7 * 86_400_000
_APART_MS = 86_400_000  # outcomes are reported before the customer's next row later than this
_LOG_EVERY = 50_000  # entries kept in the store at most, about: they are archived or dropped then
_BUDGET_MS = 60_000  # nobody waits for a single decision here


async def replay(
    bundle: Bundle,
    table: Table,
    url: str,
    directory: Path,
    limit: int | None,
    log: Path | None,
    step: Callable[[Summary], None],
) -> Summary:
    """Decides every row, at most `limit` of them, on the store at `url`, which must be empty.

    `step` is called after each chunk. With `log` the decision log is archived there. With a mapped
    outcome every contact made is reported as delivered and, where it holds, with the outcome; policies
    learn from that as they would have. Raises StoreUnavailable, OSError, UnreadableTable.
    """
    rule = table.mapping.outcome
    keeps_log = log is not None or rule is not None
    store = RedisStore(
        url,
        commit_budget_ms=_BUDGET_MS,
        audit="require" if keeps_log else "best-effort",
        max_log_length=10 * _LOG_EVERY if keeps_log else 0,
        generation_file=directory / "generation",
        timeout_ms=10_000,
    )
    runner = _Runner(bundle, table, store, rule, log, step)
    try:
        await store.check()
        return await runner.run(limit)
    finally:
        await runner.close()
        await store.close()


class _Runner:
    def __init__(
        self,
        bundle: Bundle,
        table: Table,
        store: RedisStore,
        rule: OutcomeRule | None,
        log: Path | None,
        step: Callable[[Summary], None],
    ) -> None:
        active = Active(bundle)
        self._table = table
        self._store = store
        self._rule = rule
        self._step = step
        self._profiles = RowProfiles(store, bundle.ruleset, table.mapping.consent)
        self._learnt = Learnt()
        settings = DeciderSettings(virtual_time=True, commit_budget_ms=_BUDGET_MS)
        self._decider = Decider(active, self._profiles, settings, self._learnt)
        self._learner = Learner(store, active) if rule is not None else None
        safe_id = self._learner.safe_id if self._learner is not None else None
        self._archiver = Archiver(store, log, safe_id) if log is not None else None
        self._logged = 0
        self.summary = Summary()

    async def run(self, limit: int | None) -> Summary:
        """All rows, chunk by chunk."""
        began = time.perf_counter()
        rows = islice(self._table.rows(), limit)
        while True:
            with self._timed("rows"):
                chunk = _chunk(rows)
            if not chunk:
                break
            await self._take(chunk)
            self.summary.total_s = time.perf_counter() - began
            self._step(self.summary)
        await self._keep_log()
        self.summary.total_s = time.perf_counter() - began
        return self.summary

    async def close(self) -> None:
        """Closes the connections of learning and archiving."""
        if self._learner is not None:
            await self._learner.close()
        if self._archiver is not None:
            await self._archiver.close()

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.summary.seconds[phase] += time.perf_counter() - began  # type: ignore[assignment]

    async def _take(self, chunk: list[Row | BadRow]) -> None:
        good: list[Row] = []
        for row in chunk:
            if isinstance(row, BadRow):
                self.summary.refuse(row)
            else:
                self.summary.rows += 1
                good.append(row)
        for wave in _waves(good):
            await self._decide(wave)
        if good and self._learner is not None:
            with self._timed("learn"):
                self.summary.learnt += await self._learner.run_once(max(row.at_ms for row in good))
                await refresh(self._store, self._learnt)
        if self._logged >= _LOG_EVERY:
            await self._keep_log()

    async def _decide(self, wave: _Wave) -> None:
        contacts: list[tuple[Row, Decision]] = []
        with self._timed("decide"):
            busy = time.process_time()
            self._profiles.lay({key: (row.features, row.at_ms) for key, row in wave.first.items()})
            results = await self._decider.decide([row.request for row in wave.rows])
            for row, result in zip(wave.rows, results, strict=True):
                if isinstance(result, TactError):
                    self.summary.failed[str(result)] += 1
                    continue
                self.summary.count(result[0], row.positive)
                if result[0].outcome is Outcome.SEND:
                    contacts.append((row, result[0]))
            self.summary.busy_s += time.process_time() - busy
        self._logged += len(wave.rows)
        if self._rule is not None:
            with self._timed("learn"):
                await self._report(contacts, self._rule)

    async def _report(self, contacts: list[tuple[Row, Decision]], rule: OutcomeRule) -> None:
        """Says what came of the contacts made: every one arrived, some with the outcome."""
        reports = []
        for row, decision in contacts:
            kinds = [OutcomeKind.DELIVERED, rule.kind] if row.positive else [OutcomeKind.DELIVERED]
            reports += [Outcomes(decision.decision_id, kind, None, 0.0, "", "") for kind in kinds]
        for result in await self._decider.record_outcomes(reports):
            if isinstance(result, TactError):
                self.summary.failed[str(result)] += 1
        self._logged += len(reports)

    async def _keep_log(self) -> None:
        """Archives the log, or lets go of what has been learnt from."""
        self._logged = 0
        with self._timed("log"):
            if self._archiver is not None:
                while (await self._archiver.run_once()).behind:
                    pass
            elif self._learner is not None:
                pipeline = self._store.admin.pipeline(transaction=False)
                for bucket in range(BUCKETS):
                    upto = self._learner.safe_id(bucket)
                    if upto != "0-0":
                        pipeline.xtrim(self._store.bucket_key(bucket, "log"), minid=upto, approximate=False)
                await pipeline.execute()


class _Wave:
    """Rows that can be decided at once: whoever is in it twice has one profile."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.first: dict[CustomerKey, Row] = {}

    def holds(self, key: CustomerKey, row: Row) -> bool:
        """Whether the customer's row may be decided together with what is here."""
        first = self.first.get(key)
        return first is None or (first.features == row.features and row.at_ms - first.at_ms <= _APART_MS)


def _chunk(rows: Iterator[Row | BadRow]) -> list[Row | BadRow]:
    """The next rows: at most CHUNK, and from CHUNK_MIN on no more than a week of them."""
    chunk: list[Row | BadRow] = []
    first_ms = None
    for row in rows:
        chunk.append(row)
        if isinstance(row, Row):
            first_ms = row.at_ms if first_ms is None else first_ms
            if len(chunk) >= CHUNK_MIN and row.at_ms - first_ms > _CHUNK_MS:
                break
        if len(chunk) == CHUNK:
            break
    return chunk


def _waves(rows: list[Row]) -> list[_Wave]:
    """The rows in waves: a customer's rows stay in order, and another profile waits for the next wave."""
    waves: list[_Wave] = []
    at: dict[CustomerKey, int] = {}
    for row in rows:
        key = customer_key(row.request.event.customer_id)
        place = at.get(key, 0)
        if place < len(waves) and not waves[place].holds(key, row):
            place += 1
        if place == len(waves):
            waves.append(_Wave())
        waves[place].rows.append(row)
        waves[place].first.setdefault(key, row)
        at[key] = place
    return waves
