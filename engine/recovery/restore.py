"""Brings a store back: the backup's copy, then what the archive says since, and the end closed until acknowledged.

Into an empty store, while no server uses it. `{0}restoring` stands there until it is done: a restore that broke off
is begun again over what it left. Whatever the archive had not yet taken when the store was lost is lost (some ten
seconds of decisions, where the archiver kept up); so the restored store stays closed until somebody acknowledges that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from engine.bundle import Bundle, compile_bundle
from engine.errors import Conflict, NotFound, RulesInvalid
from engine.identity import BUCKETS, CustomerKey
from engine.recovery.archived import Archived, Erasure, entries_after, erasures_after, unreadable_after
from engine.recovery.files import LOGS, STATE, Manifest, frames, read_manifest
from engine.recovery.rebook import Rebooked, Rebooking, RuleBook
from engine.revision_store import RevisionStore, unpack
from engine.state import format as formats
from engine.state.archive import standing_of
from engine.state.connection import Command
from engine.state.contents import Contents, names_of
from engine.state.log import DecisionEntry, OutcomeEntry, encode, order
from engine.state.profile import decode as decode_profile
from engine.state.profile import encode as encode_profile
from engine.state.profile import new_version
from engine.state.record import decode as decode_record
from engine.state.record import encode as encode_record
from engine.state.redis import RedisStore
from engine.state.runs import Run, reconcile, runs
from engine.state.tenure import belongs_to
from engine.step.operations import TOMBSTONE_MS

_CHUNK = 500
_OLDER_BY_S = 3600.0  # twelve times what clocks may be apart
_MARK = "{0}restoring"
_WRITE = {"string": "SET", "hash": "HSET", "list": "RPUSH", "set": "SADD"}


@dataclass(slots=True)
class RestoreReport:
    """What was put back and booked again. `until_ms`: how far the archive reached; 0: it had nothing newer."""

    made_ms: int
    keys: int = 0
    log_entries: int = 0
    until_ms: int = 0
    relearnt: int = 0
    rebooked: Rebooked = field(default_factory=Rebooked)


async def restore(
    url: str, directory: Path, archive: Path | None, rules: Sequence[Mapping[str, bytes]] = (), prefix: str = "tact:"
) -> RestoreReport:
    """Restores a backup and books what the archive has of the time after it.

    `archive` None: there is none. `rules`: rule sets for messages that no revision of the backup has. Raises
    BackupError, ArchiveError, Conflict where the store is not empty or another version's, StoreUnavailable.
    """
    manifest = await asyncio.to_thread(read_manifest, directory)
    if refused := formats.refusal(formats.encode(manifest.store_format())):
        raise Conflict(refused)
    found = [] if archive is None else await asyncio.to_thread(_runs_since, archive, manifest.made_ms)
    contents, store = Contents(url, prefix), RedisStore(url, prefix)
    try:
        return await _Restoring(contents, store, manifest, directory, archive).run(found, rules)
    finally:
        await contents.close()
        await store.close()


def _runs_since(archive: Path, made_ms: int) -> list[Run]:
    """The runs that may hold something newer than the backup, each counted. Raises ArchiveError.

    What a run holds is older than its files. Clocks may differ, and a copied archive may have newer times.
    """
    since_s = made_ms / 1000 - _OLDER_BY_S
    found = [run for run in runs(archive) if (run.path / "ranges.json").stat().st_mtime >= since_s]
    for run in found:
        reconcile(run)
    return found


def last_served(data: Path) -> list[Mapping[str, bytes]]:
    """The rule set that a server with this data directory served last, if it can be read."""
    try:
        return [unpack((data / "last_good" / "rules").read_bytes())]
    except (OSError, ValueError):
        return []


class _Restoring:
    def __init__(
        self, contents: Contents, store: RedisStore, manifest: Manifest, directory: Path, archive: Path | None
    ) -> None:
        self.contents = contents
        self.store = store
        self.manifest = manifest
        self.directory = directory
        self.archive = archive
        self.report = RestoreReport(manifest.made_ms)
        self.revisions = RevisionStore(store.side, store.key)
        self.rules = RuleBook()
        self.now_ms = 0
        self.erasures: Mapping[CustomerKey, list[Erasure]] = {}
        self.positions = {int(bucket): last for bucket, last in manifest.positions.items()}
        self.lasts = dict(self.positions)  # the newest log id of each bucket

    async def run(self, found: Sequence[Run], rules: Sequence[Mapping[str, bytes]]) -> RestoreReport:
        """See `restore`."""
        await self._begin()
        await self._put_state()
        await self._put_logs()
        for files in rules:
            if (bundle := await _compiled(files)) is not None:
                self.rules.bundles[bundle.revision] = bundle
        active = (await self.revisions.control()).active
        if active not in self.rules.bundles and (stored := await self._stored(active)) is not None:
            self.rules.bundles[active] = stored
        self.erasures = await asyncio.to_thread(erasures_after, found, self.positions)
        self.report.rebooked.unreadable = await asyncio.to_thread(unreadable_after, found, self.positions)
        for run in found:
            entries = await asyncio.to_thread(entries_after, run, self.positions)
            if entries:
                await self._fetch_rules(entries)
                await self._rebook(entries)
                await self._relearn(entries)
        await self._end_logs()
        if self.archive is not None:
            standing = await asyncio.to_thread(standing_of, self.archive)
            await belongs_to(self.store, standing, str(self.archive.absolute()))
        await self._finish()
        return self.report

    async def _begin(self) -> None:
        mark = await self.contents.ask("GET", self.contents.key(_MARK))
        if mark is None:
            async for names in self.contents.names():
                raise Conflict(
                    f"the store is not empty (it holds {names[0].decode(errors='replace')}): "
                    "stop the servers that use it, and restore into an empty one"
                )
        elif mark.decode() != self.manifest.id:
            raise Conflict("a restore of another backup broke off here: finish that, or empty the store")
        form = formats.encode(self.manifest.store_format())
        marks: list[Command] = [
            ("SET", self.contents.key(_MARK), self.manifest.id),
            ("SET", self.contents.key("{0}format"), form),
        ]
        await self.contents.run(marks)
        await self.store.close_for_all("a backup is being restored")
        self.now_ms = await self.contents.now_ms()

    async def _put_state(self) -> None:
        commands: list[Command] = []
        for name, kind, expires_ms, value in frames(self.directory / STATE):
            if expires_ms and expires_ms <= self.now_ms:
                continue
            key = self.contents.key(name)
            if kind == "string":
                commands.append(("SET", key, value))
            else:
                commands.append(("DEL", key))
                if kind == "zset":  # scores follow their members
                    value = [part for pair in zip(value[1::2], value[::2], strict=True) for part in pair]
                commands.append(("ZADD" if kind == "zset" else _WRITE[kind], key, *value))
            if expires_ms:
                commands.append(("PEXPIRE", key, expires_ms - self.now_ms))
            self.report.keys += 1
            if len(commands) >= _CHUNK:
                await self.contents.run(commands)
                commands = []
        await self.contents.run(commands)

    async def _put_logs(self) -> None:
        await self.contents.run([("DEL", self._log(b)) for b in range(BUCKETS)])
        for bucket, entries in frames(self.directory / LOGS):
            await self.contents.run([("XADD", self._log(bucket), entry_id, "d", d) for entry_id, d in entries])
            self.report.log_entries += len(entries)

    async def _fetch_rules(self, entries: Mapping[CustomerKey, list[Archived]]) -> None:
        """Compiles the revisions that these decisions were made by, as far as the backup has them."""
        made_by = {
            a.entry.revision
            for archived in entries.values()
            for a in archived
            if isinstance(a.entry, DecisionEntry) and a.entry.variant
        }
        for revision in sorted(made_by - self.rules.bundles.keys()):
            if (bundle := await self._stored(revision)) is not None:
                self.rules.bundles[revision] = bundle

    async def _stored(self, revision: str) -> Bundle | None:
        try:
            return await _compiled(await self.revisions.files(revision))
        except (NotFound, ValueError):
            return None

    async def _rebook(self, entries: Mapping[CustomerKey, list[Archived]]) -> None:
        customers = list(entries)
        for first in range(0, len(customers), _CHUNK):
            chunk = customers[first : first + _CHUNK]
            keys = [self.contents.key(name) for customer in chunk for name in names_of(customer)[:2]]
            blobs = await self.contents.ask("MGET", *keys)
            commands: list[Command] = []
            for customer, profile, record in zip(chunk, blobs[::2], blobs[1::2], strict=True):
                one = Rebooking(
                    customer,
                    decode_profile(profile or b""),
                    decode_record(record or b""),
                    self.now_ms,
                    self.rules,
                    self.report.rebooked,
                    self.erasures.get(customer, ()),
                )
                one.book(entries[customer])
                commands += self._writes(one)
            await self.contents.run(commands)

    def _writes(self, one: Rebooking) -> Iterable[Command]:
        profile, record, answer = (self.contents.key(name) for name in names_of(one.key))
        change = one.change
        if one.without_profile:
            yield ("DEL", profile)
        if change.record:
            one.record.version = new_version()
            kept = one.record.touches or one.record.answers or one.record.assignments or one.record.opt_outs
            yield ("SET", record, encode_record(one.record), *(() if kept else ("PX", TOMBSTONE_MS)))
        if change.profile:
            one.profile.version = new_version()
            yield ("SET", profile, encode_profile(one.profile))
        for event, body, life_ms in change.spills:
            key = answer + f"{event:016x}".encode()
            yield ("SET", key, body, "PX", life_ms) if body else ("DEL", key)

    async def _relearn(self, entries: Mapping[CustomerKey, list[Archived]]) -> None:
        """Puts back into the logs what learning folds: decisions by a policy, and outcomes."""
        wanted: dict[int, list[Archived]] = {}
        for customer, archived in entries.items():
            last = max((a.log_id for a in archived), key=order)
            self.lasts[customer.bucket] = max(self.lasts.get(customer.bucket, "0-0"), last, key=order)
            self.report.until_ms = max(self.report.until_ms, order(last)[0])
            rows = [a for a in archived if _learnt_from(a)]
            if rows:
                wanted.setdefault(customer.bucket, []).extend(rows)
        commands: list[Command] = []
        for bucket, rows in wanted.items():
            for log_id, entry in sorted(rows, key=lambda a: order(a.log_id)):
                commands.append(("XADD", self._log(bucket), log_id, "d", encode(entry)))
        for first in range(0, len(commands), _CHUNK):
            await self.contents.run(commands[first : first + _CHUNK])
        self.report.relearnt += len(commands)

    async def _end_logs(self) -> None:
        """No id is ever given twice: each log goes on behind the newest one that is known."""
        replies = await self.contents.run([("EXISTS", self._log(b)) for b in self.lasts])
        commands: list[Command] = []
        for (bucket, last), there in zip(self.lasts.items(), replies, strict=True):
            key = self._log(bucket)
            if there:
                commands.append(("XSETID", key, last))
            else:  # a log without entries: one that is taken away at once
                commands += [("XADD", key, last, "d", b""), ("XDEL", key, last)]
        await self.contents.run(commands)

    async def _finish(self) -> None:
        reached = f", and the archive up to {_at(self.report.until_ms)}" if self.report.until_ms else ""
        await self.store.close_for_all(
            f"the store was restored from the backup of {_at(self.manifest.made_ms)}{reached}; what came later is lost"
        )
        await self.contents.ask("DEL", self.contents.key(_MARK))

    def _log(self, bucket: int) -> bytes:
        return self.contents.key(f"{{{bucket}}}log")


def _learnt_from(archived: Archived) -> bool:
    entry = archived.entry
    return isinstance(entry, OutcomeEntry) or (isinstance(entry, DecisionEntry) and bool(entry.policy))


async def _compiled(files: Mapping[str, bytes]) -> Bundle | None:
    try:
        return await asyncio.to_thread(compile_bundle, files)
    except RulesInvalid:  # of a version that allowed what this one does not
        return None


def _at(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
