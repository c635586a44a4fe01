"""The sums of learning against the log that they are a fold of: what differs, and put right while learners go on.

Everything up to each bucket's offset is folded again, from the archive and from what the store's logs still hold, and
what was learnt elsewhere is added. A correction moves sums by differences, so learners need not stop. Offsets stay,
except where trials behind one are in the archive alone: no learner would ever see them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson

from engine.bundle import Bundle, compile_bundle
from engine.compiler.model import Policy
from engine.errors import Conflict
from engine.identity import BUCKETS
from engine.learning.posteriors import ArmKey, ArmState, Posteriors
from engine.learning.stored import Fields, Move, Stored, added, correct, fields_of_all, read_stored
from engine.learning.sums import arms_of
from engine.readout.log import RunCount, columns_of, files_of, runs_of
from engine.readout.refold import (
    DECISION_COLUMNS,
    DECISION_TEXTS,
    OUTCOME_COLUMNS,
    Refold,
    id_of,
    place_of,
)
from engine.revision_store import RevisionStore
from engine.state.link import reply_of
from engine.state.log import LogRow
from engine.state.losses import ends
from engine.state.reading import read_on
from engine.state.redis import RedisStore
from engine.state.runs import runs
from engine.state.tables import tables_of

_OFFSETS = "offsets.json"  # of an archive, there before its first run
_STREAMS = 64
_AT_ONCE = 50_000  # entries in columns
_TIMEOUT_MS = 60_000  # a correction may hold a million sums
_TRIES = 5
_SETTLED_MS = 61_000  # more than the longest budget of a commit: outcomes on their way have come


class Differs(NamedTuple):
    """An arm, as the store has it and as the log says; None where it is not there."""

    arm: ArmKey
    found: ArmState | None
    right: ArmState | None


@dataclass(slots=True)
class RebuildReport:
    """What the log says of the sums.

    `differs`: arms that are not what the log says. `passed_over`: trials that are in the archive alone, behind an
    offset. `unknown`: what the log cannot say, in words; where there is any, the sums may be right and differ.
    """

    trials: int = 0
    arms: int = 0
    elsewhere: int = 0
    differs: list[Differs] = field(default_factory=list)
    passed_over: int = 0
    unknown: list[str] = field(default_factory=list)
    written: bool = False

    @property
    def same(self) -> bool:
        """Whether nothing is to be put right."""
        return not self.differs and not self.passed_over


class _Streams(NamedTuple):
    """What the store's logs hold. `first`: where each bucket's log begins, or would where it is empty: a trial before
    that is in the archive alone. `added`: how many entries a bucket ever had.
    """

    first: np.ndarray[tuple[int], np.dtype[np.int64]]
    added: list[int]
    rows: list[LogRow]


async def rebuild(
    url: str, archive: Path, write: bool = False, force: bool = False, prefix: str = "tact:", now_ms: int = 0
) -> RebuildReport:
    """Compares the sums with the log; with `write` also puts them right.

    `archive`: where it is, or will be once there is any. `force`: also where the log cannot say everything.
    `now_ms` 0: the store's time. Raises Conflict where that is refused, ArchiveError, UnreadableLog, StoreUnavailable.
    """
    store = RedisStore(url, prefix, timeout_ms=_TIMEOUT_MS)
    try:
        bundle = await active_bundle(store)
        policies = bundle.ruleset.policies if bundle is not None else {}
        for _ in range(_TRIES):
            stored = await read_stored(store)
            # ahead of the archive: what is trimmed meanwhile is in that
            streams = await _read_streams(store, stored.now_ms)
            stored = replace(stored, now_ms=now_ms or stored.now_ms)
            generation = await reply_of(store.side, "GET", store.bucket_key(0, "g"))
            report, right, moves = await asyncio.to_thread(
                _compare, stored, streams, _begun(archive), generation or b"", policies
            )
            if not write or report.same:
                return report
            if report.unknown and not force:
                raise Conflict(
                    f"nothing was written, as the log does not say everything: {'; '.join(report.unknown)}. "
                    "With --force the sums become what it says"
                )
            if await correct(store, stored, right, moves):
                report.written = True
                return report
        raise Conflict("nothing was written: somebody else corrects these sums at the same time")
    finally:
        await store.close()


async def active_bundle(store: RedisStore) -> Bundle | None:
    """The rule set in use, None where there is none."""
    revisions = RevisionStore(store.side, store.key)
    active = (await revisions.control()).active
    return await asyncio.to_thread(compile_bundle, await revisions.files(active)) if active else None


def _compare(
    stored: Stored, streams: _Streams, archive: Path | None, generation: bytes, policies: Mapping[str, Policy]
) -> tuple[RebuildReport, Fields, list[Move]]:
    report, fold = RebuildReport(elsewhere=len(stored.elsewhere)), Refold(policies)
    if archive is not None:
        take_archive(fold, archive)
    unreadable = _take_rows(fold, streams.rows)
    offsets = np.array([place_of(stored.offsets.get(b, "")) for b in range(BUCKETS)], np.int64)
    behind, closes_ms, report.passed_over = fold.behind(offsets, streams.first)
    if (left_ms := int(closes_ms.max()) + _SETTLED_MS - stored.now_ms) >= 0:
        raise Conflict(
            "the archive has open trials that are not in the store's log any more: "
            f"try again in {left_ms / 3.6e6:,.1f} hours, when the last of them has closed"
        )
    moves = [Move(b, stored.offsets.get(b, ""), id_of(int(behind[b]))) for b in np.flatnonzero(behind).tolist()]
    refolded = fold.sums(np.maximum(offsets, behind))
    report.trials = refolded.trials
    right = fields_of_all(refolded.arms)
    for one in stored.elsewhere.values():
        right = added(right, one.sums)
    stale = set(Posteriors(0, arms_of(right)).stale(policies))  # are to be removed, or were
    right_arms = {arm: s for arm, s in arms_of(right).items() if arm not in stale}
    found_arms = {arm: s for arm, s in arms_of(stored.sums).items() if arm not in stale}
    right = fields_of_all(right_arms)
    kept = fields_of_all({arm: s for arm, s in arms_of(stored.sums).items() if arm in stale})
    report.arms = len(right_arms)
    for arm in sorted(right_arms.keys() | found_arms.keys()):
        there, said = found_arms.get(arm), right_arms.get(arm)
        if said is None or there is None or fields_of_all({arm: there}) != fields_of_all({arm: said}):
            report.differs.append(Differs(arm, there, said))
    report.unknown = _unknown(streams, archive, generation, refolded.untold, unreadable)
    return report, {**right, **{name: value for name, value in kept.items() if name in stored.sums}}, moves


def _begun(archive: Path) -> Path | None:
    """The archive; None where there is none, or its first run is still being written."""
    if archive.is_dir() and {path.name for path in archive.glob("[!.]*")} <= {_OFFSETS}:
        return None
    return archive if archive.exists() else None


def take_archive(fold: Refold, archive: Path) -> None:
    """All decisions and outcomes of an archive, or of one file of it with the outcomes beside it."""
    for path in files_of(archive, "outcome"):
        fold.report(columns_of(path, "outcome", OUTCOME_COLUMNS, []))
    for path in files_of(archive, "decision"):
        fold.take(columns_of(path, "decision", DECISION_COLUMNS, DECISION_TEXTS))


def _take_rows(fold: Refold, rows: Sequence[LogRow]) -> int:
    """Entries that the store still has; how many only a later version can read."""
    unreadable = 0
    for first in range(0, len(rows), _AT_ONCE):
        tables = tables_of(rows[first : first + _AT_ONCE])
        if "decision" in tables:
            fold.take(tables["decision"].select(DECISION_COLUMNS))
        if "outcome" in tables:
            fold.report(tables["outcome"].select(OUTCOME_COLUMNS))
        unreadable += len(tables.get("unreadable", ()))
    return unreadable


def _unknown(streams: _Streams, archive: Path | None, generation: bytes, untold: int, unreadable: int) -> list[str]:
    """What the log cannot say."""
    found = []
    counts = list(runs_of(archive)) if archive is not None else []
    if counts and (theirs := _generation(archive)) and generation and theirs != generation.hex():
        found.append("the archive is of another store, or of this one before it was restored and served again")
    numbers = sorted(run.number for run in runs(archive)) if archive is not None else []
    if numbers and numbers != list(range(1, len(numbers) + 1)):
        found.append("runs are missing in the archive")
    if short := [run for run in counts if run.found != run.read]:
        found.append(f"{short[0].path} does not hold what was read for it")
    if (missing := _missing(streams, archive)) > 0:
        found.append(f"{missing:,} log entries are neither in the store nor in the archive")
    found += _in_words(counts, untold, unreadable)
    return found


def _in_words(counts: Sequence[RunCount], untold: int, unreadable: int) -> Iterator[str]:
    if erased := sum(run.erased for run in counts):
        yield f"{erased:,} entries of erased customers were taken out of the archive, and may have been learnt from"
    if untold:
        yield (
            f"{untold:,} trials were logged by a version that did not say on which terms they are learnt: "
            "they are taken on those of the rule set in use"
        )
    if unreadable:
        yield f"{unreadable:,} log entries only a later version can read"


def _missing(streams: _Streams, archive: Path | None) -> int:
    """Entries that the store once had and that are nowhere now."""
    archived, last = [0] * BUCKETS, [0] * BUCKETS
    for run in runs(archive) if archive is not None else ():
        for bucket, range_ in run.ranges().items():
            archived[bucket] += range_.entries
            last[bucket] = max(last[bucket], place_of(range_.last))
    for row in streams.rows:
        archived[row.bucket] += place_of(row.log_id) > last[row.bucket]
    return sum(max(0, ever - known) for ever, known in zip(streams.added, archived, strict=True))


def _generation(archive: Path | None) -> str:
    try:
        return str(orjson.loads(((archive or Path()) / _OFFSETS).read_bytes()).get("generation", ""))
    except (OSError, ValueError):
        return ""


async def _read_streams(store: RedisStore, now_ms: int) -> _Streams:
    """`now_ms`: the store's time, before which a log that is not there yet cannot begin."""
    first, ever = np.full(BUCKETS, place_of(f"{now_ms}-0")), [0] * BUCKETS
    keys = [store.bucket_key(b, "log") for b in range(BUCKETS)]
    for start in range(0, BUCKETS, _STREAMS):
        replies = await store.side.pipeline([("XINFO", "STREAM", key) for key in keys[start : start + _STREAMS]])
        for bucket, reply in enumerate(replies, start):
            last = place_of(ends(reply)[1])
            if isinstance(reply, list):
                first[bucket] = last + 1
                ever[bucket] = int(dict(zip(reply[::2], reply[1::2], strict=True))[b"entries-added"])
    rows: list[LogRow] = []
    async for more in read_on(store.side, keys, ["0-0"] * BUCKETS):
        rows += more
    for row in rows:
        first[row.bucket] = min(int(first[row.bucket]), place_of(row.log_id))
    return _Streams(first, ever, rows)
