"""Crashes at every step of what writes files and trims streams, and power cuts that forget what was not fsynced."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from engine.state.connection import Connection


class Crash(BaseException):
    """The process is gone: nothing catches this."""


class Crashes:
    """Counts steps; the one numbered `at` crashes: `before` it, half way (`torn`, of writes), or `after` it.

    `power`: what was not fsynced is lost as well: contents of files, and names given by a rename.
    """

    def __init__(self, patch: pytest.MonkeyPatch, directory: Path, at: int, how: str, power: bool) -> None:
        self.steps = 0
        self.crashed = False
        self._directory = directory
        self._at = at
        self._how = how
        self._power = power
        self._unsynced: set[int] = set()  # inodes of files
        self._renamed: list[tuple[Path, Path, bytes | None]] = []  # from, to, what was there
        self._write_bytes, self._replace, self._fsync = Path.write_bytes, os.replace, os.fsync
        self._write_table, self._pipeline = pq.write_table, Connection.pipeline
        patch.setattr(Path, "write_bytes", lambda path, data: self._write(path, lambda: self._write_bytes(path, data)))
        patch.setattr(os, "replace", self._on_replace)
        patch.setattr(os, "fsync", lambda fd: self._step(lambda: self._synced(fd)))
        patch.setattr(
            pq,
            "write_table",
            lambda table, path, **how: self._write(path, lambda: self._write_table(table, path, **how)),
        )
        patch.setattr(Connection, "pipeline", lambda connection, commands: self._on_pipeline(connection, commands))

    def _step(self, act: Callable[[], Any], half: Callable[[], None] | None = None) -> None:
        if self.crashed:
            raise Crash
        self.steps += 1
        here = self.steps == self._at
        if here and self._how == "before":
            self._crash()
        act()
        if here and self._how == "torn" and half is not None:
            half()
        if here:
            self._crash()

    def _crash(self) -> None:
        self.crashed = True
        raise Crash

    def _write(self, path: Path, act: Callable[[], Any]) -> None:
        def write() -> None:
            act()
            self._unsynced.add(path.stat().st_ino)

        self._step(write, lambda: os.truncate(path, path.stat().st_size // 2))

    def _on_replace(self, source: Path, target: Path) -> None:
        old = Path(target).read_bytes() if Path(target).is_file() else None
        self._step(lambda: self._replace(source, target))
        self._renamed.append((Path(source), Path(target), old))

    def _synced(self, fd: int) -> None:
        self._fsync(fd)
        self._unsynced.discard(os.fstat(fd).st_ino)
        directory = Path(os.readlink(f"/proc/self/fd/{fd}"))
        self._renamed = [r for r in self._renamed if r[1].parent != directory]

    async def _on_pipeline(self, connection: Connection, commands: Any) -> Any:
        if not any(command[0] == "XTRIM" for command in commands):
            return await self._pipeline(connection, commands)
        self._step(lambda: None)
        return await self._pipeline(connection, commands)

    def come_back(self) -> None:
        """The machine is there again, after the patches are gone."""
        if not self._power:
            return
        for path in self._directory.rglob("*"):
            if path.is_file() and path.stat().st_ino in self._unsynced:
                os.truncate(path, 0)
        for source, target, old in reversed(self._renamed):
            os.replace(target, source)
            if old is not None:
                target.write_bytes(old)
