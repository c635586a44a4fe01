"""Exams with published figures: regrets of policies beside those of papers and libraries.

Chapelle & Li, An Empirical Evaluation of Thompson Sampling, NIPS 2011, table 1: ten items with rates from Beta(4, 4),
the prior Beta(1, 1), "at a given time, with probability 10^-3 one of the item retires and is replaced by a new one",
"the feedback is received only every delta time units"; regret at 10^6 steps. What is known of items that retire
between two feedbacks the paper does not say. Its figure for 1,000 steps is reached only where that, too, is learnt
with the feedback: so items retire at turns here. Where the new item is known at once, the regret is smaller.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from bench.learning.cores import Task, done
from bench.learning.play import Change, Player, play, policy
from bench.rows import Effort, Row

STEPS = 1_000_000
THOMPSON = {1: 9_105, 10: 9_049, 100: 11_550, 1000: 59_256}
UCB_TIMES = 2.5
NEAR = 0.1
STATIONARY, STATIONARY_STEPS = {"thompson": 42.0, "kl_ucb": 52.6}, 10_000
CHANGE, CHANGE_STEPS = {0: 766.0, 277: 273.0}, 10_000  # by half-life in steps: gamma = 0.9975, 1 - sqrt(1 / 10^4) / 4

_RETIRES = 1e-3
_ARMS = 10
_RUNS = {1: 1, 10: 4, 100: 4, 1000: 8}
_SETTINGS = "reward: {converted: 1}, floor: 0%"


def delayed(kind: str, delay: int, steps: int, seed: int, at_once: bool = False) -> float:
    """The regret in the set-up of Chapelle & Li; `at_once`: a new item is known when it comes."""
    rng = np.random.default_rng((seed, delay))
    rates = rng.beta(4, 4, _ARMS)
    changes: dict[int, list[Change]] = {}
    for step in np.flatnonzero(rng.random(steps) < _RETIRES).tolist():
        known = step if at_once else math.ceil(step / delay) * delay
        changes.setdefault(known, []).append(Change(int(rng.integers(_ARMS)), float(rng.beta(4, 4)), new=True))
    return play(Player(policy(kind, _SETTINGS), _ARMS), rates, steps, delay, changes, seed)


def stationary(kind: str, steps: int, seed: int) -> float:
    """The regret with nine arms of .1, .2, .. .9."""
    return play(Player(policy(kind, _SETTINGS), 9), np.arange(1, 10) / 10, steps, 1, {}, seed)


def changing(half_life: int, steps: int, seed: int) -> float:
    """The regret with arms of .5, .3, .4, where the third is worth .9 from step 3,000 to 5,000.

    `half_life` in steps, 0: nothing is forgotten. With one, four steps are a turn: to sum some 500 buckets takes longer
    than all else.
    """
    settings = _SETTINGS + (f", forget: {{half_life: {half_life} hours}}" if half_life else "")
    rates, changes = np.array([0.5, 0.3, 0.4]), {3000: [Change(2, 0.9)], 5000: [Change(2, 0.4)]}
    return play(Player(policy("thompson", settings), 3), rates, steps, 4 if half_life else 1, changes, seed)


def run(effort: Effort) -> list[Row]:
    """All three, on all cores: a run is one process' work."""
    tasks: dict[tuple[object, ...], list[Task[float]]] = {}
    lengths = {delay: max(200, min(STEPS, round(STEPS * effort.exams * delay))) for delay in THOMPSON}
    for delay, steps in lengths.items():
        for kind in ("thompson", "ucb1", *(("kl_ucb",) if delay == 100 else ())):
            runs = range(max(1, round(_RUNS[delay] * effort.exams)))
            tasks[kind, delay] = [partial(delayed, kind, delay, steps, seed) for seed in runs]
    tasks["at once", 1000] = [partial(delayed, "thompson", 1000, lengths[1000], 0, True)]
    whole = effort.exams >= 1.0
    steps = max(200, min(STATIONARY_STEPS, round(100 * STATIONARY_STEPS * effort.exams)))
    for kind in STATIONARY:
        tasks["stationary", kind] = [partial(stationary, kind, steps, s) for s in range(_seeds(20, effort))]
    for half_life in CHANGE:
        runs = range(_seeds(20 if half_life else 40, effort))
        tasks["change", half_life] = [partial(changing, half_life, steps, s) for s in runs]
    found = done(tasks, effort)
    rows = [row for delay in THOMPSON for row in _rows_of(delay, lengths[delay], found)]
    at_once = found["at once", 1000]
    rows.append(Row(
        "delay 1,000, new items known at once: thompson", "regret", at_once,
        [THOMPSON[1000] * lengths[1000] / STEPS] * len(at_once), better="lower",
    ))  # fmt: skip
    for kind, published in STATIONARY.items():
        bound = NEAR if whole and kind == "thompson" else None
        rows.append(_mean(f"nine arms .1 .. .9: {kind}", found["stationary", kind], published, steps, bound))
    for half_life, published in CHANGE.items():
        name = f"abrupt change: thompson{f', half-life {half_life}' if half_life else ''}"
        rows.append(_mean(name, found["change", half_life], published, steps, NEAR if whole else None))
    return rows


def _seeds(runs: int, effort: Effort) -> int:
    return max(1, round(runs * effort.exams))


def _rows_of(delay: int, steps: int, found: Mapping[tuple[object, ...], list[float]]) -> list[Row]:
    name = f"delay {delay:,}: "
    mine, whole = found["thompson", delay], steps == STEPS
    said = f"Chapelle & Li 2011, delay {delay:,}: {steps:,} steps" + (
        "" if whole else ", the published regret by as much less, no bounds"
    )
    published = [THOMPSON[delay] * steps / STEPS] * len(mine)
    mean = [float(np.mean(mine))]
    rows = [
        Row(
            name + "thompson", "regret", mine, published, bound=NEAR if whole else None, better="near",
            note=f"{said}; {len(mine)} run{'s' if len(mine) > 1 else ''}", facts={"steps": steps, "runs": len(mine)},
        ),
        Row(
            name + "ucb1, beside thompson", "regret", [float(np.mean(found["ucb1", delay]))], mean,
            bound=UCB_TIMES if whole else None,
        ),
    ]  # fmt: skip
    if ("kl_ucb", delay) in found:
        rows.append(Row(name + "kl_ucb, beside thompson", "regret", [float(np.mean(found["kl_ucb", delay]))], mean))
    return rows


def _mean(name: str, regrets: Sequence[float], published: float, steps: int, bound: float | None) -> Row:
    """A row of the mean over the runs: their regrets are skewed."""
    error = float(np.std(regrets, ddof=1)) / math.sqrt(len(regrets)) if len(regrets) > 1 else None
    said = f"{name}: {steps:,} steps, mean of {len(regrets)} run{'s' if len(regrets) > 1 else ''}"
    return Row(
        name, "regret", [float(np.mean(regrets))], [published], bound=bound, better="near",
        note=said + (f", standard error {error:.1f}" if error is not None else ""),
        facts={"steps": steps, "runs": len(regrets), "standard_error": error},
    )  # fmt: skip
