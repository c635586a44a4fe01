"""A plan for a trial: how many customers effects need, and what a number of customers could find."""

from __future__ import annotations

import math
from dataclasses import dataclass

from engine.errors import TactError
from engine.readout.power import customers_needed, detectable_effect, rate_variance

LIFTS = (0.05, 0.1, 0.2, 0.5)
WEEKS = (1, 2, 4, 8, 12)


@dataclass(frozen=True, slots=True)
class Trial:
    """What is planned. `mean` and `variance` are of the control's outcome, `is_rate`: it is a share.

    `arms` with the control; `share` of the customers for each variant, the rest is the control's. `alpha` is divided by
    the comparisons over all variants and messages (Bonferroni, which is Holm's first step). `saved`: the part of the
    variance that CUPED is known to take away (`tact report` shows it).
    """

    mean: float
    variance: float
    is_rate: bool
    arms: int
    share: float
    alpha: float
    power: float
    messages: int = 1
    saved: float = 0.0

    @property
    def comparisons(self) -> int:
        """Variants against controls, over all messages."""
        return (self.arms - 1) * self.messages

    @property
    def level(self) -> float:
        """What one comparison may err."""
        return self.alpha / self.comparisons

    @property
    def pair(self) -> float:
        """The part of the customers that one comparison sees."""
        return self.share + self.control

    @property
    def control(self) -> float:
        """The control's share of the customers."""
        return 1.0 - (self.arms - 1) * self.share


@dataclass(frozen=True, slots=True)
class Need:
    """Customers, all arms together, to find `effect`: by one look at the end, and by the watched sequence."""

    effect: float
    lift: float
    one_look: int
    watched: int


@dataclass(frozen=True, slots=True)
class Reach:
    """The smallest effects that `customers` find."""

    customers: int
    one_look: float
    watched: float


def checked(trial: Trial) -> Trial:
    """The trial, if it can be one. Raises TactError."""
    if trial.arms < 2:
        raise TactError(f"{trial.arms} arms are no trial; expected at least 2, the control is one")
    if not trial.share > 0.0 or trial.control <= 0.0:
        raise TactError(f"a share of {trial.share:g} for each of {trial.arms - 1} variants leaves the control none")
    if trial.is_rate and not 0.0 < trial.mean < 1.0:
        raise TactError(f"the rate {trial.mean:g} is none; expected one between 0 and 1, as 0.05")
    if trial.variance <= 0.0 or not 0.0 <= trial.saved < 1.0:
        raise TactError("an outcome that does not vary needs no trial; expected a deviation above 0, saved below 1")
    if not 0.0 < trial.alpha < 0.5 or not 0.5 <= trial.power < 1.0:
        raise TactError("expected an alpha below 0.5, as 0.05, and a power from 0.5 to below 1, as 0.8")
    return trial


def need(trial: Trial, effect: float) -> Need:
    """Customers for one effect. Raises TactError where a rate would leave 0 to 1."""
    after = trial.mean + effect
    if effect == 0.0:
        raise TactError("an effect of zero cannot be found by any number of customers")
    if trial.is_rate and not 0.0 < after < 1.0:
        raise TactError(f"a rate of {trial.mean:g} {effect:+g} is {after:g}; expected one between 0 and 1")
    kept = 1.0 - trial.saved
    variance = (rate_variance(after) if trial.is_rate else trial.variance) * kept
    found = [
        customers_needed(
            effect, trial.share / trial.pair, variance, trial.variance * kept, trial.level, trial.power, watched
        )
        for watched in (False, True)
    ]
    one_look, watched = (math.ceil(n / trial.pair) for n in found)
    return Need(effect, effect / trial.mean if trial.mean else math.inf, one_look, watched)


def reach(trial: Trial, customers: int) -> Reach:
    """The smallest effects for a number of customers, all arms together."""
    n = max(2, int(customers * trial.pair))
    variance = trial.variance * (1.0 - trial.saved)
    share = trial.share / trial.pair
    found = [detectable_effect(n, share, variance, trial.level, trial.power, watched) for watched in (False, True)]
    return Reach(customers, found[0], found[1])
