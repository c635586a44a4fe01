"""What a fault showed: figures, and what had to hold. Times are judged by scripts, not by the suite."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from tests.faults.line import close_all
from tests.server.process import RULES, Server


@dataclass(slots=True)
class Report:
    """`broken`: what did not hold whatever the machine; `slow`: what took too long, or cost too much of the rest."""

    fault: int
    figures: dict[str, object] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)

    def must(self, holds: bool, what: str) -> None:
        """Has to hold on any machine."""
        if not holds:
            self.broken.append(what)

    def in_time(self, holds: bool, what: str) -> None:
        """Has to hold on a machine that does nothing else."""
        if not holds:
            self.slow.append(what)

    def show(self) -> None:
        """One line of JSON."""
        holds = not self.broken and not self.slow
        line = {
            "fault": self.fault,
            "holds": holds,
            **self.figures,
            **({} if holds else {"broken": self.broken, "slow": self.slow}),
        }
        sys.stdout.write(orjson.dumps(line, option=orjson.OPT_NON_STR_KEYS).decode() + "\n")
        sys.stdout.flush()


_shared: tuple[Server, str] | None = None


@contextmanager
def sharing() -> Iterator[None]:
    """Meanwhile, servers that are to be nothing special are one: to start one takes seconds."""
    global _shared
    with serving() as _shared:
        try:
            yield
        finally:
            _shared = None


@contextmanager
def serving(
    *arguments: str, rules: str = RULES, environment: dict[str, str] | None = None, ready: bool = True
) -> Iterator[tuple[Server, str]]:
    """A server with small rules and a store of its own; and its address, where it is waited for."""
    if _shared is not None and not arguments and rules is RULES and environment is None and ready:
        try:
            yield _shared
        finally:
            close_all()
        return
    with tempfile.TemporaryDirectory(prefix="tact-fault-") as directory:
        server = Server(Path(directory), *arguments, rules=rules, environment=environment)
        try:
            yield server, server.ready()["address"] if ready else ""
        finally:
            server.close()


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that this share is not above; 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def memory_mib(server: Server) -> float:
    """What the server holds in memory."""
    pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def busy_s(server: Server) -> float:
    """Time of processors that the server has used."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def descriptors(server: Server) -> int:
    """How many files and sockets the server has open."""
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))
