"""How far a load has come: a small file beside its input, for `--resume`."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

SUFFIX = ".tact-load"
_EVERY_S = 1.0


class Checkpoint:
    """Of one input; standard input has none. `line`: all up to it was stored, or told to be wrong."""

    def __init__(self, file: Path, target: str) -> None:
        self.path = None if str(file) == "-" else file.with_name(file.name + SUFFIX)
        self._written_s = 0.0
        self.line = 0
        if self.path is not None:
            there = file.stat()
            self._input = {"target": target, "size": there.st_size, "modified_ns": there.st_mtime_ns}

    def read(self) -> int:
        """The line to go on behind; 0 where there is no checkpoint of this very file and server."""
        if self.path is None:
            return 0
        try:
            found = json.loads(self.path.read_bytes())
            line = found.pop("line")
        except (OSError, ValueError, KeyError, AttributeError):
            return 0
        self.line = line if found == self._input and isinstance(line, int) else 0
        return self.line

    def reach(self, line: int) -> None:
        """Notes how far it is; written once a second."""
        self.line = line
        now_s = time.monotonic()
        if now_s - self._written_s >= _EVERY_S:
            self._written_s = now_s
            self.write()

    def write(self) -> None:
        """Writes it, whole or not at all; where the directory takes no file, there is none."""
        if self.path is None or not self.line:
            return
        part = self.path.with_name(self.path.name + ".part")
        try:
            part.write_text(json.dumps({**self._input, "line": self.line}))
            os.replace(part, self.path)
        except OSError:
            self.path = None

    def end(self) -> None:
        """All is done: there is nothing to go on with."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
