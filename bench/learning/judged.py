"""What the readout says of trials whose truth is known: trials of Tact's own policies, looked at every day.

A trial is a month of 100 customers a day; what was drawn yesterday is learnt today. In A/A trials both variants are
worth the same, and every verdict is false. In the others the treatment is worth five points more. A bound is a level
and three standard errors of the share of runs that were counted: of ten with two, one would often fail by chance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Literal

import numpy as np

from bench.learning.cores import done
from bench.learning.play import F64, I64, Player, draws, policy
from bench.rows import Effort, Row
from engine.decision import SHARE_UNIT
from engine.learning.fold import Increments
from engine.learning.linear import REWARD_UNIT
from engine.readout.effects import Effect, Trials, compare
from engine.readout.ratio import SUSPECT, sample_ratio

LEVEL = 0.05
RUNS = 1000
_ERRORS = 3.0  # standard errors that a share may be off
_AT_ONCE = 20  # runs a task
_QUICK = 0.04  # the least part of them
_DAYS, _A_DAY = 30, 100
_CONTROL, _TREATED = 0, 1
_POLICIES = {
    "a fixed trial": ("fixed", "weights: {a: 1, b: 1}"),
    "thompson": ("thompson", "reward: {converted: 1}, floor: 5%"),
}
_SAME, _BETTER = (0.2, 0.2), (0.3, 0.35)


@dataclass(frozen=True, slots=True)
class Watched:
    """One trial. `looks`: every day's comparison; `ratio_p`: of the sample ratio at the end; `suspect`: on any day."""

    looks: list[Effect]
    ratio_p: float
    suspect: bool

    @property
    def called(self) -> bool:
        """On some day a difference was seen by the test that may be watched."""
        return any(look.seq_p is not None and look.seq_p < LEVEL for look in self.looks)

    @property
    def called_by_one_look(self) -> bool:
        """The same by the test that may be looked at once."""
        return any(look.p is not None and look.p < LEVEL for look in self.looks)

    def covered(self, effect: float) -> bool:
        """The interval for one look at the end holds the truth."""
        last = self.looks[-1]
        return last.low is not None and last.high is not None and last.low <= effect <= last.high

    def covered_always(self, effect: float) -> bool:
        """So does the watched interval, on all days at once."""
        return all(
            look.seq_low <= effect <= look.seq_high
            for look in self.looks
            if look.seq_low is not None and look.seq_high is not None
        )


def watch(name: str, rates: tuple[float, float], seed: int, days: int = _DAYS) -> Watched:
    """A trial of one of the policies, looked at every day."""
    player = Player(policy(*_POLICIES[name]), 2)
    player.variants = ["a", "b"]
    n = days * _A_DAY
    u, luck = draws(seed, n), np.random.default_rng(seed).random(n)
    arm: I64 = np.empty(n, np.int64)
    p: F64 = np.empty((n, 2))
    for day in range(days):
        of_day = slice(day * _A_DAY, (day + 1) * _A_DAY)
        shares = player.shares()
        p[of_day] = np.array(shares) / SHARE_UNIT
        arm[of_day] = np.searchsorted(np.cumsum(shares), u[of_day], side="right")
        closed = Increments()
        for place, won in zip(arm[of_day].tolist(), luck[of_day] < np.array(rates)[arm[of_day]], strict=True):
            closed.add(player.arm(place), REWARD_UNIT if won else 0)
        player.learn(closed)
    y = (luck < np.array(rates)[arm]).astype(float)
    trials = Trials(y, arm == _TREATED, arm == _CONTROL, p[:, _TREATED], p[:, _CONTROL], np.arange(n))
    looks = [compare(trials.some(np.arange(n) < (day + 1) * _A_DAY)) for day in range(days)]
    ratios = [sample_ratio(arm[: (day + 1) * _A_DAY], p[: (day + 1) * _A_DAY]) for day in range(days)]
    return Watched(looks, ratios[-1].p, any(ratio.suspect for ratio in ratios))


def _watch_some(name: str, rates: tuple[float, float], seeds: range, days: int) -> list[Watched]:
    return [watch(name, rates, seed, days) for seed in seeds]


def run(effort: Effort) -> list[Row]:
    """A/A trials and trials with an effect, of a fixed trial and of Thompson sampling."""
    runs = max(_AT_ONCE if effort.exams else 3, round(RUNS * max(effort.exams, _QUICK if effort.exams else 0.0)))
    days = _DAYS if effort.exams else 4
    tasks = {}
    for k, (name, rates) in enumerate(product(_POLICIES, (_SAME, _BETTER))):
        seeds = range(50_000 * k, 50_000 * k + runs)
        parts = [seeds[at : at + _AT_ONCE] for at in range(0, runs, _AT_ONCE)]
        tasks[name, rates] = [partial(_watch_some, name, rates, part, days) for part in parts]
    found = {key: [one for some in parts for one in some] for key, parts in done(tasks, effort).items()}
    rows = []
    for name in _POLICIES:
        same, better = found[name, _SAME], found[name, _BETTER]
        effect = _BETTER[1] - _BETTER[0]
        note = f"judged: {runs} trials of {days * _A_DAY:,} customers each, {days} looks"
        rows += [
            _share(f"A/A, {name}: called different, daily looks", [w.called for w in same], LEVEL, "lower", note),
            _share(f"A/A, {name}: the same, test for one look", [w.called_by_one_look for w in same]),
            _share(f"{name}: 95 % interval at the end covers", [w.covered(effect) for w in better], 0.95, "higher"),
            _share(
                f"{name}: watched interval covers on all days", [w.covered_always(effect) for w in better], 0.95,
                "higher",
            ),
            _share(f"{name}: sample ratio's p below 5 %", [w.ratio_p < LEVEL for w in same + better], LEVEL, "lower"),
            _share(f"{name}: sample ratio ever suspect", [w.suspect for w in same + better], SUSPECT, "lower"),
        ]  # fmt: skip
    return rows


def _share(
    name: str,
    found: list[bool],
    level: float | None = None,
    better: Literal["higher", "lower"] = "lower",
    note: str = "",
) -> Row:
    """The share of runs, against a level and some standard errors of it."""
    bound = None
    if level is not None:
        error = _ERRORS * math.sqrt(level * (1.0 - level) / len(found))
        bound = round(level + error if better == "lower" else level - error, 4)
    return Row(
        name, "share", [float(np.mean(found))], bound=bound, better=better, note=note, facts={"runs": len(found)}
    )
