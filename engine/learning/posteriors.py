"""What was learnt, as one snapshot: sums of closed trials by arm, and what is left of them after forgetting."""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from engine.compiler.model import Policy
from engine.learning.kinds import Belief, Seen, belief
from engine.learning.linear import F64, REWARD_UNIT, X_UNIT, Model, model, moments_size

_HALVINGS = 10  # half-lives after which nothing is left
_MODELS_MAX = 1024  # kept, of linear policies: some 30 kB each


class ArmKey(NamedTuple):
    """Whose statistics: segment "" is everybody. `hour`: since 1970, where trials are kept by time; else 0."""

    policy: str
    message: str
    segment: str
    variant: str
    hour: int = 0


class ArmState(NamedTuple):
    """Sufficient statistics: closed trials, the sums of their rewards and of the squares of these, in REWARD_UNIT.

    `moments` are those of a linear policy (`learning.linear`), by the meaning of its context; zeros at the end may be
    missing.
    """

    trials: int
    reward: int
    squares: int = 0
    moments: Mapping[int, tuple[int, ...]] = {}


@dataclass(frozen=True, slots=True)
class Posteriors:
    """A snapshot of everything learnt so far; pinned for the length of a batch.

    Nothing is forgotten by waiting: the age of a trial is how far its hour is behind the newest of its policy, so a
    version of the sums always gives the same shares.
    """

    version: int = 0
    arms: dict[ArmKey, ArmState] = field(default_factory=dict)
    _hours: dict[ArmKey, list[int]] = field(init=False, default_factory=dict)  # by arm without its hour
    _segments: dict[tuple[str, str, str], set[str]] = field(init=False, default_factory=dict)
    _variants: dict[tuple[str, str, str], set[str]] = field(init=False, default_factory=dict)
    _newest: dict[str, int] = field(init=False, default_factory=dict)
    _models: dict[tuple[int, str, str, tuple[str, ...]], tuple[Policy, Model]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for arm in self.arms:
            self._file(arm)

    def put(self, arm: ArmKey, state: ArmState) -> None:
        """One more arm, before anybody reads this snapshot, which was made with a dictionary of its own."""
        self.arms[arm] = state
        self._file(arm)

    def _file(self, arm: ArmKey) -> None:
        policy, message, segment, variant, hour = arm
        whole = ArmKey(policy, message, segment, variant) if hour else arm
        insort(self._hours.setdefault(whole, []), hour)
        self._segments.setdefault((policy, message, variant), set()).add(segment)
        self._variants.setdefault((policy, message, segment), set()).add(variant)
        self._newest[policy] = max(hour, self._newest.get(policy, 0))

    def seen(self, policy: Policy, arm: ArmKey) -> Seen:
        """What counts of an arm (hour 0 in its key)."""
        total = Seen()
        for hour in self._hours.get(arm, ()):
            left = kept(policy, self._newest[policy.name] - hour)
            if left > 0.0:
                trials, reward, squares, _ = self.arms[arm._replace(hour=hour)]
                total = total.plus(Seen(trials, reward / REWARD_UNIT, squares / REWARD_UNIT), left)
        return total

    def belief(self, policy: Policy, message: str, segment: str, variant: str) -> Belief:
        """What is thought of a variant in a segment."""
        own = self.seen(policy, ArmKey(policy.name, message, segment, variant))
        others = Seen()
        if policy.learning.shrink > 0.0:
            for other in sorted(self._segments.get((policy.name, message, variant), set()) - {segment}):
                others = others.plus(self.seen(policy, ArmKey(policy.name, message, other, variant)))
        return belief(policy.learning, own, others)

    def model(self, policy: Policy, message: str, segment: str, variants: tuple[str, ...]) -> Model:
        """What a linear policy thinks of these variants; worked out once."""
        key = (id(policy), message, segment, variants)
        found = self._models.get(key)
        if found is None:
            if len(self._models) >= _MODELS_MAX:
                self._models.clear()
            known = set(variants)
            if policy.learning.hybrid:
                known |= self._variants.get((policy.name, message, segment), set())
            sums = {v: self._moments(policy, ArmKey(policy.name, message, segment, v)) for v in sorted(known)}
            found = self._models[key] = policy, model(policy, variants, sums)  # the policy: its id stays its own
        return found[1]

    def _moments(self, policy: Policy, arm: ArmKey) -> F64:
        """Sums of an arm, in units of one: as many as its context has, whatever was kept."""
        d = 1 + len(policy.context)
        half, total = d * (d + 1) // 2, np.zeros(moments_size(d))
        for hour in self._hours.get(arm, ()):
            sums = self.arms[arm._replace(hour=hour)].moments.get(policy.context_key)
            left = kept(policy, self._newest[policy.name] - hour)
            if left > 0.0 and sums is not None:
                total[: len(sums)] += left * np.array(sums, np.float64)
        total[:half] /= X_UNIT**2
        total[half:] /= REWARD_UNIT
        return total

    def stale(self, policies: Mapping[str, Policy]) -> list[ArmKey]:
        """Arms of which nothing is left."""
        return [
            arm
            for arm in self.arms
            if (policy := policies.get(arm.policy)) is not None
            and policy.learning.bucket_h
            and kept(policy, self._newest[arm.policy] - arm.hour) == 0.0
        ]


def kept(policy: Policy, age_h: int) -> float:
    """The part of a trial that still counts, so many hours behind the newest one."""
    learning = policy.learning
    if learning.half_life_s:
        halvings = age_h * 3600 / learning.half_life_s
        return 0.5**halvings if halvings <= _HALVINGS else 0.0
    return 0.0 if learning.window_s and age_h * 3600 >= learning.window_s else 1.0
