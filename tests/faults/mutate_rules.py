"""Damages rule sets in many ways and compiles them: nothing but RulesInvalid may come of it, soon and in little memory.

    python tests/faults/mutate_rules.py --count 100000 --seed 1        # on all cores
    python tests/faults/mutate_rules.py --seed 1 --only 4711           # one case again, with its file

Each case depends on the seed and its number alone. Exit status 1 where a case failed.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import random
import re
import resource
import signal
import sys
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from openpyxl import Workbook

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from engine.bundle import compile_bundle  # noqa: E402
from engine.compiler import codes  # noqa: E402
from engine.compiler.ruleset import read_directory  # noqa: E402
from engine.compiler.source import render  # noqa: E402
from engine.errors import RulesInvalid  # noqa: E402

SECONDS_PER_KIB = 0.1  # of processor time
GROWTH_KIB = 50 * 1024
PATIENCE = 10  # a case that takes so many times its limit is ended
CHUNK = 250

Files = dict[str, bytes]
Change = Callable[[random.Random, bytes], bytes]


class Failure(NamedTuple):
    """A case that went wrong. `place` tells failures of one cause from others."""

    case: int
    what: str
    place: str
    detail: str


class _Hung(BaseException):
    """Not an Exception, so that nothing on the way takes it for its own."""


def sets() -> list[Files]:
    """What is damaged: the shipped rules, the tests' own, and the examples of the findings' page."""
    page = codes.PAGE.read_text(encoding="utf-8")
    base = codes.base(page).encode()
    alone = [ROOT / "tests" / "compiler" / "base_rules.yaml", ROOT / "tests" / "cli" / "small_rules.yaml"]
    whole = [read_directory(ROOT / "rules"), read_directory(ROOT / "rules" / "examples" / "bank_campaign")]
    tables = [
        {"base.yaml": base, "facts.yaml": _FACT % kind, f"tables/t.{kind.decode()}": table} for kind, table in _tables()
    ]
    shown = [c.bad for c in codes.codes().values() if c.bad] + [c.good for c in codes.codes().values() if c.good]
    return [
        *whole,
        *({"rules.yaml": path.read_bytes()} for path in alone for _ in range(40)),  # as often as examples, nearly
        *(one for one in tables for _ in range(20)),
        *({"base.yaml": base, "example.yaml": text.encode()} for text in shown),
    ]


_FACT = (
    b"facts:\n  t: {table: tables/t.%s, hit: first, default: {level: low, part: 0.5}}\n  u: facts.t.level == 'high'\n"
)
_TABLE = (
    ("features.region", "features.age", "out: level", "out: part number", "note"),
    ("-", "missing", "low", 0.1, ""),
    ('"north" | "south"', "[18..65)", "high", 0.25, "old enough"),
    ("east", "> 65", "middle", 1, ""),
)
_TIME = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def _tables() -> Iterator[tuple[bytes, bytes]]:
    """One decision table as CSV and as XLSX."""
    lines = io.StringIO(newline="")
    csv.writer(lines).writerows(_TABLE)
    yield b"csv", lines.getvalue().encode()
    book = Workbook()
    for row in _TABLE:
        book.worksheets[0].append(row)
    written, content = io.BytesIO(), io.BytesIO()
    book.save(written)
    with zipfile.ZipFile(written) as parts, zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as timeless:
        for name in parts.namelist():
            timeless.writestr(zipfile.ZipInfo(name), _TIME.sub(b"2026-01-01T00:00:00Z", parts.read(name)))
    yield b"xlsx", content.getvalue()


# Ways to damage a file

_TOKEN = re.compile(rb"[A-Za-z_][\w.]*|\d+(?:\.\d+)?|[^\s\w]{1,2}")
_NUMBERS = (b"99999999999999999999", b"-9223372036854775809", b"1e999", b"0", b"-1", b"0.0000001", b"1" * 5000, b"nan")
_ODD = (
    "\u202e", "\0", "\ufeff", "\u2028", "\x85", "\x1b[2J", "\U0001f600", "\uff08", "e\u0301" * 20, "\u0660", "\r", "\t",
)  # fmt: skip
_WORDS = (
    b"!x ", b"&a ", b"*a ", b" #", b"{", b"}", b"[", b"]", b": ", b"- ", b'"', b"'", b"|\n", b">-\n", b"? ", b"%", b"@",
    b"null", b"~", b"<<: ", b"---\n", b"like: ", b"facts.x", b"event.amount", b"{x:money}", b"has(", b"ratio(",
    b"1 day", b"matches(", b"[1, 2].all(x, x > 0)", b"? 1 : 2", b"(" * 300, b"[" * 300, b"- " * 100, b"!" * 2000,
    b" && true" * 400,
)  # fmt: skip


def _at(dice: random.Random, text: bytes) -> int:
    return dice.randrange(len(text) + 1)


def flip(dice: random.Random, text: bytes) -> bytes:
    """One bit."""
    if not text:
        return text
    at = dice.randrange(len(text))
    return text[:at] + bytes([text[at] ^ (1 << dice.randrange(8))]) + text[at + 1 :]


def cut(dice: random.Random, text: bytes) -> bytes:
    """Some bytes out, or the whole end."""
    at = _at(dice, text)
    return text[:at] + (text[at + dice.randrange(1, 20) :] if dice.random() < 0.9 else b"")


def word(dice: random.Random, text: bytes) -> bytes:
    """Something with a meaning in YAML, CEL or a template, anywhere."""
    at = _at(dice, text)
    return text[:at] + dice.choice(_WORDS) + text[at:]


def odd(dice: random.Random, text: bytes) -> bytes:
    """A character from the far ends of Unicode, or half of one."""
    at = _at(dice, text)
    return text[:at] + dice.choice(_ODD).encode()[: dice.randrange(1, 100)] + text[at:]


def number(dice: random.Random, text: bytes) -> bytes:
    """Another number in the place of one."""
    places = list(re.finditer(rb"\d+", text))
    if not places:
        return text
    match = dice.choice(places)
    return text[: match.start()] + dice.choice(_NUMBERS) + text[match.end() :]


def swap(dice: random.Random, text: bytes) -> bytes:
    """Two tokens for each other."""
    tokens = list(_TOKEN.finditer(text))
    if len(tokens) < 2:
        return text
    one, two = sorted(dice.sample(tokens, 2), key=lambda m: m.start())
    return text[: one.start()] + two[0] + text[one.end() : two.start()] + one[0] + text[two.end() :]


def lines(dice: random.Random, text: bytes) -> bytes:
    """A line away, twice, or elsewhere."""
    rows = text.split(b"\n")
    at, to = dice.randrange(len(rows)), dice.randrange(len(rows))
    kind = dice.choice(("drop", "copy", "move", "repeat"))
    if kind == "copy":
        rows.insert(to, rows[at])
    elif kind == "repeat":
        rows[at:at] = [rows[at]] * dice.randrange(2, 60)
    else:
        row = rows.pop(at)
        if kind == "move":
            rows.insert(to, row)
    return b"\n".join(rows)


def indent(dice: random.Random, text: bytes) -> bytes:
    """A line, or all from it on, deeper or less deep."""
    rows = text.split(b"\n")
    at = dice.randrange(len(rows))
    deeper, by = dice.random() < 0.5, dice.randrange(1, 5)
    for i in range(at, len(rows) if dice.random() < 0.2 else at + 1):
        rows[i] = b" " * by + rows[i] if deeper else rows[i][by:] if rows[i][:by].isspace() else rows[i]
    return b"\n".join(rows)


CHANGES: tuple[Change, ...] = (flip, cut, word, odd, number, swap, lines, indent)


def damaged(files: list[Files], seed: int, case: int) -> Files:
    """The files of one case: one of them with one to four changes."""
    dice = random.Random(f"{seed}:{case}")
    result = dict(dice.choice(files))
    path = dice.choice(sorted(result))
    for _ in range(dice.choice((1, 1, 1, 2, 3, 4))):
        result[path] = dice.choice(CHANGES)(dice, result[path])
    return result


# Compiling what came of it


def attempt(files: Files, case: int, patient: bool) -> Failure | None:
    """What goes wrong with a case, if anything. Limits of time and memory hold where it is not `patient`."""
    limit_s = SECONDS_PER_KIB * max(1.0, sum(map(len, files.values())) / 1024)
    if not patient:
        signal.setitimer(signal.ITIMER_PROF, PATIENCE * limit_s)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        try:
            told = compile_bundle(files).ruleset.warnings
        except RulesInvalid as refused:
            told = refused.findings
            if not refused.errors:
                return Failure(case, "refused without an error", "", "")
        for finding in told:
            assert finding.code in render(finding)
    except _Hung as hung:
        return Failure(case, "hangs", _frame(hung), "")
    except BaseException as error:
        return Failure(case, type(error).__name__, _frame(error), "".join(traceback.format_exception(error)[-3:]))
    finally:
        if not patient:
            signal.setitimer(signal.ITIMER_PROF, 0)
    took, grown = time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    if not patient and took > limit_s:
        return Failure(case, "slow", "", f"{took:.2f} s of {limit_s:.2f} s")
    if not patient and grown > GROWTH_KIB:
        return Failure(case, "large", "", f"{grown // 1024} MiB more")
    return None


def _frame(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(last.filename).name}:{last.lineno}"


def _hung(*_: object) -> None:
    raise _Hung


def run(seed: int, cases: range, patient: bool = False) -> list[Failure]:
    """The failures among these cases."""
    files = sets()
    if not patient:
        signal.signal(signal.SIGPROF, _hung)
        for one in files[:4]:  # what is loaded once is no case's own
            compile_bundle(one)
    found = (attempt(damaged(files, seed, case), case, patient) for case in cases)
    return [failure for failure in found if failure is not None]


def _chunks(count: int) -> Iterator[range]:
    for start in range(0, count, CHUNK):
        yield range(start, min(count, start + CHUNK))


def main() -> int:
    """Runs the cases on all cores and tells each cause of failure once."""
    parser = argparse.ArgumentParser(description="Compiles damaged rule sets.")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="one case, with its files")
    chosen = parser.parse_args()
    if chosen.only is not None:
        for path, content in damaged(sets(), chosen.seed, chosen.only).items():
            sys.stdout.write(f"--- {path}\n{content.decode('utf-8', 'backslashreplace')}\n")
    cases = list(_chunks(chosen.count)) if chosen.only is None else [range(chosen.only, chosen.only + 1)]
    causes: dict[tuple[str, str], list[Failure]] = {}
    began = time.monotonic()
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        for done, failures in enumerate(pool.map(partial(run, chosen.seed), cases), 1):
            for failure in failures:
                known = causes.setdefault((failure.what, failure.place), [])
                known.append(failure)
                if len(known) == 1:
                    sys.stdout.write(f"case {failure.case}: {failure.what} {failure.place}\n{failure.detail}\n")
            sys.stderr.write(f"\r{done * CHUNK:,} of {chosen.count:,}, {sum(map(len, causes.values()))} failed ")
    sys.stderr.write("\n")
    for (what, place), failures in causes.items():
        sys.stdout.write(f"{len(failures):>6}  {what} {place}, first: --only {failures[0].case}\n")
    sys.stdout.write(f"{sum(map(len, cases)):,} cases in {time.monotonic() - began:.0f} s, {len(causes)} causes\n")
    return 1 if causes else 0


if __name__ == "__main__":
    sys.exit(main())
