"""Eligibility per event by rule set size and batch, beside zen-engine; compiling; starting.

Kernel time is that of `evaluate` and `funnel`, three-valued, on what `Plan.batch` made of the events:
captured once and run again, so that nothing but the kernels is timed. 3 % of the features are missing.
"""

from __future__ import annotations

import gc
import random
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from bench import generate, zen
from bench.processes import SERVER_CORE, Child, pinned
from bench.rows import Effort, Row
from engine.bundle import Active, Bundle, compile_bundle
from engine.compiler import plan as plan_module
from engine.compiler import program as program_module
from engine.kernels.evaluate import evaluate
from engine.kernels.funnel import funnel

BATCHES = (1, 256)
ZEN_BOUND, COMPILE_BOUND_S, READY_BOUND_S = 1000.0, 3.0, 3.0  # design.md, section 5
_DIFFERENT_BATCHES = 8  # an event's path through the rules depends on it: several are timed by turns
_ZEN_EVENTS = 16
_ZEN_SECONDS = 0.5
_PEER = "one event a call, its event type in a column of its own"

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
        patch.object(plan_module, "evaluate", recording(evaluate)),
        patch.object(program_module, "run_funnel", recording(funnel)),
    ):
        batch.evaluate(bundle)
    return calls


def kernel_us(bundle: Bundle, size: int, seconds: float) -> float:
    """Kernel time per event."""
    rounds = [_kernel_calls(bundle, sample(size, seed)) for seed in range(10, 10 + _DIFFERENT_BATCHES)]
    done, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        for calls in rounds:
            for kernel, arguments in calls:
                kernel(*arguments)
        done += size * len(rounds)
    return elapsed / done * 1e6


def _context(batch: Sample, i: int) -> dict[str, object]:
    """Event i as nested objects, for the peer."""
    parts: dict[str, dict[str, object]] = {"features": {}, "windows": {}, "event": {"type": batch.types[i]}}
    for path, value in batch.inputs[i].items():
        root, _, name = path.partition(".")
        parts[root][name] = value
    return dict(parts)


def _zen_us(peer: zen.Evaluate, batch: Sample, seconds: float) -> float:
    contexts = [_context(batch, i) for i in range(len(batch.types))]
    done, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        for context in contexts:
            peer(context)
        done += len(contexts)
    return elapsed / done * 1e6


def _same_answers(bundle: Bundle, rules: generate.Rules, peer: zen.Evaluate) -> None:
    """Raises where the peer does other work: the same events must give the same messages."""
    batch = sample(_ZEN_EVENTS, 99, missing=0.0)
    answers = batch.evaluate(bundle)
    for i in range(_ZEN_EVENTS):
        ours = [rules.rules[m].name for m in answers.candidates(i)]
        theirs = peer(_context(batch, i))
        if ours != theirs:
            raise AssertionError(f"event {i}: ours gives {ours}, zen-engine {theirs}")


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
        server = Child(["server.py", "--listen", "127.0.0.1:0", "--data", f"{name}/data"], Path(name) / "log")
        elapsed = time.perf_counter() - start
        server.stop()
    return elapsed


def _peer_rows(size: int, ours: list[float], bundle: Bundle, rules: generate.Rules, effort: Effort) -> list[Row]:
    name = f"eligibility, {size:,} messages, batch 256"
    if not zen.available():
        return [Row(name, "us/event", ours, better="lower", note=zen.MISSING)]
    rows = []
    for how, peer, bound in zip(
        ("create_decision", "compiled content"), zen.evaluators(rules.rules), (ZEN_BOUND, None), strict=True
    ):
        _same_answers(bundle, rules, peer)
        batch = sample(_ZEN_EVENTS, 11, missing=0.0)
        theirs = [_zen_us(peer, batch, min(effort.seconds, _ZEN_SECONDS)) for _ in ours]
        title = f"{name}, against zen-engine, {how}"
        rows.append(Row(title, "us/event", ours, theirs, bound, invert=True, note=f"zen-engine: {_PEER}."))
    return rows


def run(effort: Effort) -> list[Row]:
    """All of it, on the server's core."""
    with pinned(SERVER_CORE):
        made = {size: generate.rules(size) for size in effort.sizes}
        compiled_s: dict[int, list[float]] = {size: [] for size in effort.sizes}
        bundles: dict[int, Bundle] = {}
        for size in effort.sizes:
            times = effort.repeats if size < effort.sizes[-1] else 1
            for _ in range(times):
                seconds, bundles[size] = _compile_s(made[size].files)
                compiled_s[size].append(seconds)
        figures: dict[tuple[int, int], list[float]] = {(s, b): [] for s in effort.sizes for b in BATCHES}
        for _ in range(effort.repeats):
            for (size, batch), values in figures.items():
                values.append(kernel_us(bundles[size], batch, effort.seconds / 3))
        rows = [
            Row(f"eligibility, {size:,} messages, batch {batch}", "us/event", values, better="lower")
            for (size, batch), values in figures.items()
        ]
        smallest, middle, largest = effort.sizes[0], effort.sizes[-2], effort.sizes[-1]
        for batch in BATCHES:
            name = f"growth of eligibility, {smallest:,} to {largest:,} messages, batch {batch}"
            rows.append(Row(name, "us/event", figures[largest, batch], figures[smallest, batch], better="lower"))
        rows += _peer_rows(middle, figures[middle, 256], bundles[middle], made[middle], effort)
    for size in effort.sizes[1:]:
        bound = COMPILE_BOUND_S if size == 10_000 else None
        name = f"compile and activate, {size:,} messages"
        rows.append(Row(name, "s", compiled_s[size], bound=bound, better="lower"))
    _ready_s()  # whatever was cold
    ready = [_ready_s() for _ in range(effort.repeats)]
    rows.append(Row("start to ready, shipped rules, warm kernels", "s", ready, bound=READY_BOUND_S, better="lower"))
    return rows
