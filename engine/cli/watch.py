"""`tact check --watch`: checks again whenever a file of the rule set changes, until Ctrl-C.

It looks at the files' times five times a second: that works on every system and file system.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from rich.text import Text

from engine.cli import check
from engine.cli.output import OK, out

POLL_S = 0.2
Snapshot = tuple[tuple[str, int, int], ...]


def snapshot(directory: Path) -> Snapshot:
    """Path, time and size of every file below; what vanishes meanwhile is left out."""
    found: list[tuple[str, int, int]] = []
    for root, directories, names in os.walk(directory):
        directories[:] = [d for d in directories if not d.startswith(".")]
        for name in names:
            try:
                status = os.stat(os.path.join(root, name))
            except OSError:
                continue
            found.append((os.path.join(root, name), status.st_mtime_ns, status.st_size))
    return tuple(sorted(found))


def polled(directory: Path, sleep: Callable[[float], None]) -> Iterator[Snapshot]:
    """What is there now, and again after every sleep."""
    while True:
        yield snapshot(directory)
        sleep(POLL_S)


def settled(snapshots: Iterable[Snapshot]) -> Iterator[Snapshot]:
    """The first one, then each that differs from the last one given and was the same twice in a row.

    An editor that writes in several steps causes one check, when it is done.
    """
    given: Snapshot | None = None
    before: Snapshot | None = None
    for now in snapshots:
        if given is None or (now != given and now == before):
            given = now
            yield now
        before = now


def run(directory: Path, view: check.View, snapshots: Iterable[Snapshot] | None = None) -> int:
    """Checks at once and after every change; 0 after Ctrl-C. `snapshots` end it when they end."""
    console = out(view.color)
    try:
        for _ in settled(polled(directory, time.sleep) if snapshots is None else snapshots):
            if console.is_terminal:
                console.clear()
            check.run(directory, view)
            console.print(Text("watching for changes; Ctrl-C ends it", "dim"))
    except KeyboardInterrupt:
        pass
    return OK
