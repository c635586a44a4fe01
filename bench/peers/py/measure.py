"""Bandit libraries, in a Python of their own: they want other versions of numpy than Tact's.

The first line of stdin is a JSON object: `features` (rows of numbers), `actions` and `rewards` of the first half,
`arms`. The answer: `{"available": {"name": "version"}}`, for each library that is installed. Then a line each,
`[name, "one" or "batch", seconds]`, answered by microseconds of processor time a decision.
"""

from __future__ import annotations

import importlib
import json
import random
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

Decide = Callable[[int], None]  # on the i-th of the rows
BATCH = 256


def vowpal_wabbit(work: dict[str, Any]) -> tuple[Decide, None]:
    """Bags of five policies, the nearest to Thompson sampling that it has; text made beforehand, drawn by its pmf."""
    vw: Any = importlib.import_module("vowpalwabbit")
    learner = vw.Workspace("--cb_explore_adf --bag 5 -q UA --quiet")
    half, arms = len(work["actions"]), range(work["arms"])

    def text(i: int, label: str = "") -> str:
        shared = "shared |U " + " ".join(f"f{k}:{x}" for k, x in enumerate(work["features"][i]))
        action = work["actions"][i] if label else -1
        return "\n".join([shared, *(f"{label if a == action else ''}|A a{a}" for a in arms)])

    for i in range(half):
        learner.learn(text(i, f"0:{-work['rewards'][i]}:{1 / work['arms']} "))
    texts = [text(i) for i in range(half, len(work["features"]))]

    def decide(i: int) -> None:
        random.choices(arms, learner.predict(texts[i]))

    return decide, None


def mabwiser(work: dict[str, Any]) -> tuple[Decide, Callable[[], None]]:
    """LinTS."""
    mab: Any = importlib.import_module("mabwiser.mab")
    numpy: Any = importlib.import_module("numpy")
    learner = mab.MAB(list(range(work["arms"])), mab.LearningPolicy.LinTS(alpha=0.5))
    x, half = numpy.array(work["features"]), len(work["actions"])
    learner.fit(numpy.array(work["actions"]), numpy.array(work["rewards"]), x[:half])
    rows = [x[i : i + 1] for i in range(half, len(x))]

    def decide(i: int) -> None:
        learner.predict(rows[i])

    return decide, lambda: learner.predict(x[:BATCH])


def contextualbandits(work: dict[str, Any]) -> tuple[Decide, Callable[[], None]]:
    """LinTS."""
    online: Any = importlib.import_module("contextualbandits.online")
    numpy: Any = importlib.import_module("numpy")
    learner = online.LinTS(work["arms"])
    x, half = numpy.array(work["features"]), len(work["actions"])
    learner.fit(x[:half], numpy.array(work["actions"]), numpy.array(work["rewards"]))
    rows = [x[i : i + 1] for i in range(half, len(x))]

    def decide(i: int) -> None:
        learner.predict(rows[i])

    return decide, lambda: learner.predict(x[:BATCH])


LIBRARIES = {"vowpalwabbit": vowpal_wabbit, "mabwiser": mabwiser, "contextualbandits": contextualbandits}


def timed(step: Callable[[int], None], rows: int, each: int, seconds: float) -> float:
    """Microseconds of processor time a decision; `each`: decisions a step."""
    done, start = 0, time.process_time()
    while (spent := time.process_time() - start) < seconds:
        step(done % rows)
        done += 1
    return spent / (done * each) * 1e6


def main() -> None:
    """Until stdin ends."""
    warnings.simplefilter("ignore")  # of libraries: deprecations of others
    work = json.loads(sys.stdin.readline())
    ready: dict[str, tuple[Decide, Callable[[], None] | None]] = {}
    versions = {}
    for name, make in LIBRARIES.items():
        try:
            ready[name] = make(work)
            versions[name] = version(name)
        except ImportError:
            continue
    print(json.dumps({"available": versions}), flush=True)
    rows = len(work["features"]) - len(work["actions"])
    for line in sys.stdin:
        name, how, seconds = json.loads(line)
        one, batch = ready[name]
        if how == "one":
            print(timed(one, rows, 1, seconds), flush=True)
        else:
            assert batch is not None
            print(timed(lambda _, batch=batch: batch(), 1, min(BATCH, 2 * rows), seconds), flush=True)  # type: ignore[misc]


if __name__ == "__main__":
    main()
