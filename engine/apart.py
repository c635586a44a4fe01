"""Compiles a rule set in a process of its own, while this one serves.

Compiling takes seconds of Python for thousands of messages, and in a thread it would hold the interpreter's
lock for most of them. The bundle comes back in pieces that take about half a millisecond each to take in,
with room for traffic between them: what a piece brought, the later ones only refer to, and the last one is
the bundle.
"""

from __future__ import annotations

import asyncio
import copyreg
import gc
import io
import logging
import os
import pickle
import resource
import struct
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass, replace
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO

from engine.bundle import Bundle, compile_bundle
from engine.compiler.collector import without_collector
from engine.compiler.model import Position
from engine.compiler.source import Finding
from engine.errors import RulesInvalid

logger = logging.getLogger(__name__)

SMALL_BYTES = 100_000  # compiled sooner than a process starts
TIME_MAX_S = 120.0
MEMORY_MAX = 4 << 30
_ROOT = Path(__file__).resolve().parents[1]  # where `import engine` works from
# traffic goes first, from the start
_COMMAND = "from engine.background import give_way; give_way(); from engine.apart import main; main()"
_LENGTH = struct.Struct("<Q")
_BUSY_S, _PAUSE_S = 0.0005, 0.001  # taking pieces in, and then traffic's turn
_SHORT, _AT_ONCE = 50, 4  # a message with its step takes a tenth of a millisecond


async def compile_apart(files: Mapping[str, bytes]) -> Bundle:
    """Compiles in another process. Raises RulesInvalid with all findings, also where it takes too much."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _COMMAND, stdin=PIPE, stdout=PIPE, cwd=_ROOT)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(TIME_MAX_S):
            process.stdin.write(pickle.dumps(dict(files), 5))
            await process.stdin.drain()
            process.stdin.close()
            length = await process.stdout.readexactly(_LENGTH.size)
            with without_collector():
                made = await _taken_in(process.stdout, length)
                gc.freeze()  # a collection among a million new objects would hold everything up
    except (TimeoutError, OSError, asyncio.IncompleteReadError) as error:
        logger.error("compiling ended without a result: %r", error)
        limits = f"{TIME_MAX_S:.0f} s and {MEMORY_MAX >> 30} GiB of memory"
        message = f"the compiler gave no answer: it has {limits}"
        raise RulesInvalid([Finding("too-large", Position("", 1, 1), 1, message)]) from error
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    if not isinstance(made, Bundle):
        raise RulesInvalid(made)
    return replace(made, ruleset=replace(made.ruleset, files=dict(files)))


async def _taken_in(stream: asyncio.StreamReader, length: bytes) -> Any:
    """What the last piece holds. `length`: of the first piece, as sent."""
    buffer = io.BytesIO()  # one for all: an unpickler remembers earlier pieces, and keeps to its file
    unpickler = pickle.Unpickler(buffer)
    made, began = None, time.perf_counter()
    while size := _LENGTH.unpack(length)[0]:
        buffer.seek(0)
        buffer.truncate()
        buffer.write(await stream.readexactly(size))
        buffer.seek(0)
        made = unpickler.load()
        if time.perf_counter() - began > _BUSY_S:
            await asyncio.sleep(_PAUSE_S)
            began = time.perf_counter()
        length = await stream.readexactly(_LENGTH.size)
    return made


def main() -> None:
    """The other process: files in on standard input, pieces out on standard output."""
    with suppress(ValueError, OSError):  # not every system limits memory
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
    gc.disable()
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)  # whatever prints
        files = pickle.load(sys.stdin.buffer)
        try:
            bundle = compile_bundle(files)
        except RulesInvalid as error:
            _give_out([list(error.findings)], out)
        else:
            _give_out(_pieces(replace(bundle, ruleset=replace(bundle.ruleset, files={}))), out)


def _give_out(pieces: Iterable[object], out: BinaryIO) -> None:
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, 5)
    pickler.dispatch_table = _Reducers(copyreg.dispatch_table)
    for piece in pieces:
        pickler.dump(piece)
        out.write(_LENGTH.pack(buffer.tell()))
        out.write(buffer.getvalue())
        buffer.seek(0)
        buffer.truncate()
    out.write(_LENGTH.pack(0))


def _pieces(bundle: Bundle) -> Iterator[object]:
    """Parts of the bundle that are quick to take in, and then the bundle itself."""
    yield from _parts(bundle, set())
    yield bundle


def _parts(thing: object, seen: set[int]) -> Iterator[object]:
    """What long tuples, lists and maps below `thing` hold, some at a time; nothing twice."""
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, tuple | list | dict):
        held = thing.items() if isinstance(thing, dict) else thing
        if len(thing) > _SHORT:
            rest = iter(held)
            while some := list(islice(rest, _AT_ONCE)):
                yield some
            return
        below = list(thing.values()) if isinstance(thing, dict) else list(thing)
    elif type(thing).__module__.startswith("engine."):
        below = [getattr(thing, name, None) for name in getattr(thing, "__slots__", None) or vars(thing)]
    else:
        return
    for one in below:
        yield from _parts(one, seen)


class _Reducers(dict[type, Callable[[Any], Any]]):
    """How dataclasses are pickled: as a call with their fields, three times as fast as their own way."""

    def __missing__(self, kind: type) -> Callable[[Any], Any]:
        names = [f.name for f in fields(kind) if f.init] if is_dataclass(kind) else []
        if len(names) < 2 or len(names) < len(fields(kind)):
            raise KeyError(kind)
        values = attrgetter(*names)

        def reduced(thing: Any) -> tuple[type, tuple[Any, ...]]:
            return kind, values(thing)

        self[kind] = reduced
        return reduced
