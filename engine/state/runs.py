"""The archive's files: written whole or not at all, listed by run, counted.

    <directory>/run-0000000007/decision.parquet ..   a run's entries, a table for each kind
    <directory>/run-0000000007/ranges.json           {bucket: [first id, last id, entries]}, as read from the store

Every file is written under a hidden name, fsynced and renamed, and then its directory is fsynced: a crash or a
power cut leaves the old file, or none, or the new one whole. Entries that an erasure took out are counted in
the metadata of the file that held them (`removed_from`), so that the two change together.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from engine.errors import TactError

_REMOVED = b"tact.removed"


class ArchiveError(TactError):
    """What was written is not what was read, or a file of the archive is damaged."""


class Range(NamedTuple):
    """What a run holds of a bucket."""

    first: str
    last: str
    entries: int


class Run(NamedTuple):
    """One run that counts."""

    number: int
    path: Path

    def ranges(self) -> dict[int, Range]:
        """What was read from the store, by bucket. Raises ArchiveError."""
        try:
            found = orjson.loads((self.path / "ranges.json").read_bytes())
            return {int(bucket): Range(*row) for bucket, row in found.items()}
        except (OSError, ValueError, TypeError) as error:
            raise ArchiveError(f"{self.path / 'ranges.json'} cannot be read: {error}") from None

    def tables(self) -> Iterator[tuple[str, Path]]:
        """The kinds of entries it holds, and their files."""
        for path in sorted(self.path.glob("[!.]*.parquet")):
            yield path.stem, path


def run_path(directory: Path, number: int) -> Path:
    """Where a run is."""
    return directory / f"run-{number:010d}"


def runs(directory: Path) -> list[Run]:
    """The runs that count, in order."""
    found = [(p.name.removeprefix("run-"), p) for p in directory.glob("run-*")]
    return sorted(Run(int(digits), path) for digits, path in found if digits.isdigit())


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """A table of a run. Raises ArchiveError."""
    try:
        return pq.ParquetFile(path).read(columns)
    except (OSError, pa.ArrowException) as error:
        raise ArchiveError(f"{path} cannot be read: {error}") from None


def rows_and_removed(path: Path) -> tuple[int, int]:
    """(entries in a file, entries that erasures took out of it). Raises ArchiveError."""
    try:
        metadata = pq.read_metadata(path)
    except (OSError, pa.ArrowException) as error:
        raise ArchiveError(f"{path} cannot be read: {error}") from None
    return metadata.num_rows, int((metadata.metadata or {}).get(_REMOVED, b"0"))


def with_removed(table: pa.Table, removed: int) -> pa.Table:
    """The table with the number of entries that erasures took out of it, so far."""
    return table.replace_schema_metadata({**(table.schema.metadata or {}), _REMOVED: str(removed).encode()})


def reconcile(run: Run) -> None:
    """Raises ArchiveError where a run does not hold as many entries as were read from the store for it."""
    read = sum(one.entries for one in run.ranges().values())
    counts = [rows_and_removed(path) for _, path in run.tables()]
    if (held := sum(map(sum, counts))) != read:
        raise ArchiveError(f"{run.path} was to hold {read} entries and holds {held}, erased ones included")


def lock(path: Path) -> int | None:
    """A descriptor that locks this file for as long as it is open; None where somebody else does. Raises OSError."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except OSError:
        os.close(fd)
        raise
    return fd


def make_directory(path: Path) -> None:
    """Makes a directory, and those above it, so that they stay."""
    if path.exists():
        return
    make_directory(path.parent)
    path.mkdir(exist_ok=True)
    sync(path.parent)


def write_synced(path: Path, data: bytes) -> None:
    """Writes a file that is on the disk when this returns; its name is when its directory is synced."""
    path.write_bytes(data)
    sync(path)


def replace_synced(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all, over an older one."""
    hidden = path.with_name(f".{path.name}")
    write_synced(hidden, data)
    os.replace(hidden, path)
    sync(path.parent)


def sync(path: Path) -> None:
    """fsync of a file or a directory."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
