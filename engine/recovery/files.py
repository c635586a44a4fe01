"""A backup on disk.

    <directory>/backup.json   what it is: format, when, of which store, the position of each log, checksums
    <directory>/state.zst     a MessagePack array for each key: name, type, when it expires (ms, 0: never), value
    <directory>/logs.zst      the same for pieces of the log streams: bucket, [[id, entry], ..]

Written under a hidden name beside, fsynced and renamed: whole, or absent. It holds personal data: profiles as the bank
wrote them, and texts that were said.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgpack
import orjson
import pyarrow as pa

from engine.errors import Conflict, TactError
from engine.state.format import Format
from engine.state.runs import make_directory, sync, write_synced

FORMAT = 1
MANIFEST, STATE, LOGS = "backup.json", "state.zst", "logs.zst"
_PERSONAL = (
    "profiles hold what the bank wrote of its customers, and records what was said to them; ids are keyed hashes. "
    "Keep it as the store itself is kept, and delete it when customers erased since must be gone from backups too."
)


class BackupError(TactError):
    """A backup cannot be read, or is not what it was."""


@dataclass(slots=True)
class Manifest:
    """What a backup says of itself. `positions`: the last id of each bucket's log before its customers were copied."""

    id: str
    made_ms: int
    made_by: str
    prefix: str
    store: dict[str, int]
    positions: dict[str, str]
    counts: dict[str, int] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    format: int = FORMAT
    personal_data: str = _PERSONAL

    def store_format(self) -> Format:
        """The format of the store that was copied."""
        return Format(**self.store)


class FrameWriter:
    """Writes frames, compressed; `done` gives what the manifest says of the file."""

    def __init__(self, path: Path) -> None:
        self.frames = 0
        self._path = path
        self._out = pa.output_stream(str(path), compression="zstd")

    def write(self, frame: list[object]) -> None:
        """One frame."""
        self._out.write(msgpack.packb(frame))
        self.frames += 1

    def done(self) -> dict[str, Any]:
        """Closes the file, on the disk; its size and checksum."""
        self._out.close()
        sync(self._path)
        return {"frames": self.frames, "bytes": self._path.stat().st_size, "sha256": _sha256(self._path)}


@contextmanager
def new_backup(directory: Path) -> Iterator[Path]:
    """Where a backup's files are to be written; at the end they are at `directory`, unless something was raised.

    Raises Conflict where something is there already.
    """
    if directory.exists():
        raise Conflict(f"{directory} exists already; a backup is never written over anything")
    make_directory(directory.absolute().parent)
    hidden = directory.absolute().with_name(f".{directory.name}.partial")
    shutil.rmtree(hidden, ignore_errors=True)  # of one that was killed
    hidden.mkdir(mode=0o700)
    try:
        yield hidden
        sync(hidden)
        os.rename(hidden, directory)
        sync(directory.absolute().parent)
    except BaseException:
        shutil.rmtree(hidden, ignore_errors=True)
        raise


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """The last file of a backup."""
    write_synced(directory / MANIFEST, orjson.dumps(asdict(manifest), option=orjson.OPT_INDENT_2))


def read_manifest(directory: Path) -> Manifest:
    """The manifest, once all files are what it says. Raises BackupError."""
    path = directory / MANIFEST
    try:
        manifest = Manifest(**orjson.loads(path.read_bytes()))
        if manifest.format != FORMAT:
            raise BackupError(f"{directory} is a backup of format {manifest.format}; this version reads {FORMAT}")
        manifest.store_format()
        for name in (STATE, LOGS):
            said, file = manifest.files[name], directory / name
            if file.stat().st_size != said["bytes"] or _sha256(file) != said["sha256"]:
                raise BackupError(f"{file} is damaged: its size or checksum is not what {path} says")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BackupError(f"{directory} is no backup, or a damaged one: {path}: {error}") from None
    return manifest


def frames(path: Path) -> Iterator[list[Any]]:
    """The frames of a file. Raises BackupError."""
    try:
        with pa.input_stream(str(path), compression="zstd") as source:
            yield from msgpack.Unpacker(source, max_buffer_size=1 << 30, use_list=True)
    except (OSError, ValueError, msgpack.UnpackException) as error:
        raise BackupError(f"{path} is damaged: {error}") from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
