"""Eligibility per event by rule set size and batch, beside other rule engines; compiling; starting.

Kernel time is that of `evaluate` and `funnel`, three-valued, on what `Plan.batch` made of the events:
captured once and run again, so that nothing but the kernels is timed. "Whole batch" is what a caller pays:
from values by path to the messages left. 3 % of the features are missing.
"""

from __future__ import annotations

import gc
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

from bench import generate, peers
from bench.processes import SERVER_CORE, Child, pinned
from bench.rows import FULL, Effort, Row
from engine.bundle import Active, Bundle, compile_bundle
from engine.compiler import program as program_module
from engine.compiler import stages as stages_module
from engine.kernels.evaluate import evaluate
from engine.kernels.funnel import funnel

ZEN_BOUND, GROWTH_BOUND, COMPILE_BOUND_S, READY_BOUND_S = 1000.0, 120.0, 3.0, 3.0  # design.md, section 5
BATCH = 256  # of the bounds
_DIFFERENT_EVENTS = 2048  # an event's path through the rules depends on it: several batches are timed by turns
_PEER_EVENTS = 16
_PEER_SECONDS = 0.5

Call = tuple[Callable[..., Any], tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Sample:
    """One batch of events, as `Plan.batch` takes it."""

    types: list[str]
    inputs: list[Mapping[str, object]]

    def evaluate(self, bundle: Bundle) -> Any:
        """All messages of all events."""
        n = len(self.types)
        return bundle.program.funnel(bundle.program.rules.batch(self.types, self.inputs, [0] * n, [None] * n))


def sample(size: int, seed: int, missing: float = 0.03) -> Sample:
    """A seeded batch."""
    chance = random.Random(seed)
    people, happenings = generate.customers(size, seed, missing), generate.events(size, seed)
    return Sample(
        [h.type for h in happenings],
        [generate.inputs(c, h, chance) for c, h in zip(people, happenings, strict=True)],
    )


def _kernel_calls(bundle: Bundle, batch: Sample) -> list[Call]:
    """What evaluating the batch runs: each kernel with its arguments."""
    calls: list[Call] = []

    def recording(kernel: Callable[..., Any]) -> Callable[..., Any]:
        def record(*arguments: Any) -> Any:
            calls.append((kernel, arguments))
            return kernel(*arguments)

        return record

    with (
        patch.object(stages_module, "_evaluate", recording(evaluate)),
        patch.object(program_module, "_run_funnel", recording(funnel)),
    ):
        batch.evaluate(bundle)
    return calls


def kernel_us(bundle: Bundle, size: int, seconds: float) -> float:
    """Kernel time per event."""
    rounds = [_kernel_calls(bundle, batch) for batch in _samples(size)]
    done, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        for calls in rounds:
            for kernel, arguments in calls:
                kernel(*arguments)
        done += size * len(rounds)
    return elapsed / done * 1e6


def whole_us(bundle: Bundle, size: int, seconds: float) -> float:
    """Time per event from values by path to the messages left, columns filled in Python."""
    rounds = _samples(size)
    done, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        for batch in rounds:
            batch.evaluate(bundle)
        done += size * len(rounds)
    return elapsed / done * 1e6


def _samples(size: int) -> list[Sample]:
    return [sample(size, seed) for seed in range(10, 10 + max(2, min(8, _DIFFERENT_EVENTS // size)))]


def _context(batch: Sample, i: int) -> dict[str, dict[str, object]]:
    """Event i as nested objects, for the peer."""
    parts: dict[str, dict[str, object]] = {"features": {}, "windows": {}, "event": {"type": batch.types[i]}}
    for path, value in batch.inputs[i].items():
        root, _, name = path.partition(".")
        parts[root][name] = value
    return parts


def _peers_of(size: int, bundle: Bundle, rules: Sequence[generate.Rule], effort: Effort) -> dict[str, list[float]]:
    """Time per event of every peer that is there. Raises AssertionError where one gives other answers."""
    batch = sample(_PEER_EVENTS, 99, missing=0.0)
    contexts = [_context(batch, i) for i in range(_PEER_EVENTS)]
    answers = batch.evaluate(bundle)
    names = list(bundle.ruleset.messages)  # in the order of the files, the peers' in that of the rules
    order = {rule.name: place for place, rule in enumerate(rules)}
    ours = [sorted((names[m] for m in answers.candidates(i)), key=order.__getitem__) for i in range(_PEER_EVENTS)]
    figures = {}
    for peer in peers.PEERS:
        if size <= peer.largest and peer.available():
            measured = peers.measure(peer, rules, contexts, min(effort.seconds, _PEER_SECONDS), effort.repeats)
            for i, (found, theirs) in enumerate(zip(ours, measured.answers, strict=True)):
                if found != theirs:
                    raise AssertionError(f"{size} rules, event {i}: ours gives {found}, {peer.name} {theirs}")
            figures[peer.name] = measured.us
    return figures


def _compile_s(files: dict[str, bytes]) -> tuple[float, Bundle]:
    """Compiling, swapping in and the first event decided with it."""
    first = sample(1, 0)
    gc.collect()
    start = time.perf_counter()
    bundle = compile_bundle(files)
    first.evaluate(Active(bundle).bundle)
    return time.perf_counter() - start, bundle


def _ready_s() -> float:
    """From starting server.py (shipped rules, embedded store) to its ready line."""
    with tempfile.TemporaryDirectory(prefix="tact-bench-") as name:
        start = time.perf_counter()
        command = [sys.executable, "server.py", "--listen", "127.0.0.1:0", "--data", f"{name}/data"]
        server = Child(command, Path(name) / "log")
        elapsed = time.perf_counter() - start
        server.stop()
    return elapsed


_MEMORY = """
import re, sys
from pathlib import Path
from bench import generate
from engine.bundle import compile_bundle
peak = lambda: 1024 * int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
files = generate.rules(int(sys.argv[1])).files
compile_bundle(generate.rules(10).files)
before = peak()
compile_bundle(files)
print(peak() - before)
"""


def _compile_mb(size: int) -> float:
    """How far compiling raises the peak of a process's resident memory, in a process of its own."""
    command = [sys.executable, "-c", _MEMORY, str(size)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) / 1e6


def _rows(figures: Mapping[tuple[str, int, int], list[float]]) -> list[Row]:
    return [
        Row(
            f"{what}, {size:,} rules, batch {batch:,}",
            "us/event",
            values,
            better="lower",
            facts={"engine": "tact", "what": what, "rules": size, "batch": batch, "us_per_event": median(values)},
        )
        for (what, size, batch), values in figures.items()
    ]


def _growth(figures: Mapping[tuple[str, int, int], list[float]], effort: Effort) -> list[Row]:
    smallest = 100 if 100 in effort.sizes else effort.sizes[0]
    largest = effort.sizes[-1]
    rows = []
    for batch in effort.batches:
        bound = GROWTH_BOUND if (smallest, largest, batch) == (100, 100_000, BATCH) else None
        name = f"growth of eligibility, {smallest:,} to {largest:,} rules, batch {batch:,}"
        pair = figures["eligibility", largest, batch], figures["eligibility", smallest, batch]
        rows.append(Row(name, "us/event", *pair, bound=bound, better="lower"))
    return rows


def _peer_rows(size: int, ours: list[float], theirs: Mapping[str, list[float]]) -> list[Row]:
    rows = []
    for peer in peers.PEERS:
        if size > peer.largest:
            continue
        name = f"eligibility, {size:,} rules, batch {BATCH}, against {peer.name}"
        if peer.name not in theirs:
            rows.append(Row(name, "us/event", ours, better="lower", note=f"{peer.name}: {peers.MISSING}"))
            continue
        bound = ZEN_BOUND if (peer.name, size) == ("zen-engine", 1000) else None
        us = median(theirs[peer.name])
        facts = {"engine": peer.name, "rules": size, "batch": 1, "us_per_event": us}
        note = f"{peer.name}: {peer.how}; one event a call."
        rows.append(Row(name, "us/event", ours, theirs[peer.name], bound, invert=True, note=note, facts=facts))
    return rows


def run(effort: Effort) -> list[Row]:
    """All of it, on the server's core."""
    figures: dict[tuple[str, int, int], list[float]] = {
        (what, size, batch): []
        for what in ("eligibility", "whole batch")
        for size in effort.sizes
        for batch in effort.batches
    }
    compiled_s: dict[int, list[float]] = {}
    peer_rows: list[Row] = []
    quick = effort.repeats < FULL.repeats
    middle = effort.sizes[-2]
    with pinned(SERVER_CORE):
        for size in effort.sizes:  # one rule set at a time: the largest take memory
            made = generate.rules(size)
            bundle = None
            for _ in range(effort.repeats if size <= 1000 else 1):
                seconds, bundle = _compile_s(made.files)
                compiled_s.setdefault(size, []).append(seconds)
            assert bundle is not None
            for _ in range(effort.repeats):
                for batch in effort.batches:
                    figures["eligibility", size, batch].append(kernel_us(bundle, batch, effort.seconds / 4))
                    figures["whole batch", size, batch].append(whole_us(bundle, batch, effort.seconds / 8))
            if size == middle or not quick:
                theirs = _peers_of(size, bundle, made.rules, effort)
                peer_rows += _peer_rows(size, figures["eligibility", size, BATCH], theirs)
    rows = [*_rows(figures), *_growth(figures, effort), *peer_rows]
    for size in effort.sizes[1:]:
        bound = COMPILE_BOUND_S if size == 10_000 else None
        name = f"compile and activate, {size:,} rules"
        rows.append(Row(name, "s", compiled_s[size], bound=bound, better="lower", facts={"rules": size}))
    size = min(effort.sizes[-1], 10_000)
    rows.append(Row(f"memory for compiling {size:,} rules, peak", "MB", [_compile_mb(size)], better="lower"))
    _ready_s()  # whatever was cold
    ready = [_ready_s() for _ in range(effort.repeats)]
    rows.append(Row("start to ready, shipped rules, warm kernels", "s", ready, bound=READY_BOUND_S, better="lower"))
    return rows
