"""A policy of a rule file plays against arms of known rates: Tact's own shares, draws and sums.

One turn is what the learner does every few seconds in service: what has closed enters the sums, and a new snapshot
gives new shares. Between two turns all draws come from the same shares. A step is a decision, and an hour where
trials are kept by time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.bundle import compile_bundle
from engine.compiler.model import Policy
from engine.identity import customer_key
from engine.learning.fold import Increments
from engine.learning.linear import REWARD_UNIT
from engine.learning.policies import variant_shares
from engine.learning.posteriors import ArmKey, ArmState, Posteriors
from engine.learning.shares import VARIANT_STAGE, drawn, salt_keys
from engine.readout.philox import uniforms

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

MESSAGE = "exam"
SALT = b"bench learning"
_FORGET_EVERY = 250  # turns between two removals of what has no weight left
_RULES = """
events: {{step: {{{attributes}}}}}
purposes: {{exam: {{consent: not_required}}}}
policies:
  exam: {{kind: {kind}, {settings}}}
messages:
  exam: {{purpose: exam, on: [step], channels: [sms], policy: exam, variants: {{a: {{en: A}}, b: {{en: B}}}}}}
"""


def policy(kind: str, settings: str = "reward: {converted: 1}, floor: 0%", context: Sequence[str] = ()) -> Policy:
    """The policy that a rule file with these settings gives; `context`: names of the event's attributes (numbers)."""
    attributes = ", ".join(f"{name}: number" for name in context)
    if context:
        settings += f", context: [{', '.join(f'event.{name}' for name in context)}]"
    rules = _RULES.format(kind=kind, settings=settings, attributes=attributes)
    return compile_bundle({"exam.yaml": rules.encode()}).ruleset.policies["exam"]


class Player:
    """A policy, its variants, and what it has learnt so far."""

    def __init__(self, policy: Policy, arms: int) -> None:
        self.policy = policy
        self.variants = [f"v{k}" for k in range(arms)]
        self.posteriors = Posteriors()
        self._sums: dict[ArmKey, ArmState] = {}
        self._made = arms

    def shares(self, context: tuple[int, ...] = ()) -> tuple[int, ...]:
        """Of 2^30, in the order of the variants."""
        return variant_shares(self.policy, MESSAGE, "", self.variants, self.posteriors, context).shares

    def arm(self, place: int, step: int = 0) -> ArmKey:
        """The key of a variant's sums."""
        width = self.policy.learning.bucket_h
        return ArmKey(self.policy.name, MESSAGE, "", self.variants[place], step // width * width if width else 0)

    def learn(self, closed: Increments) -> None:
        """One turn: the sums grow, and a new snapshot is taken."""
        for arm, more in closed.arms.items():
            known = self._sums.get(arm, ArmState(0, 0))
            moments = dict(known.moments)
            for key, sums in more.moments.items():
                before = moments.get(key, (0,) * len(sums))
                moments[key] = tuple(a + b for a, b in zip(before, sums, strict=True))
            self._sums[arm] = ArmState(
                known.trials + more.trials, known.reward + more.reward, known.squares + more.squares, moments
            )
        version = self.posteriors.version + 1
        if version % _FORGET_EVERY == 0:
            for arm in self.posteriors.stale({self.policy.name: self.policy}):
                self._sums.pop(arm, None)
        self.posteriors = Posteriors(version, self._sums)

    def replace(self, place: int) -> None:
        """A variant leaves, and one that nobody has seen takes its place."""
        gone = self.variants[place]
        for arm in [arm for arm in self._sums if arm.variant == gone]:
            del self._sums[arm]
        self.variants[place] = f"v{self._made}"
        self._made += 1
        self.posteriors = Posteriors(self.posteriors.version, self._sums)


@dataclass(frozen=True, slots=True)
class Change:
    """From a step on, an arm has another rate; `new`: it is another arm."""

    place: int
    rate: float
    new: bool = False


Changes = Mapping[int, Sequence[Change]]


def draws(seed: int, steps: int) -> I64:
    """The uniforms of the variant's draw, 0 .. 2^30 - 1: one customer, the steps as events (`shares.uniform`)."""
    digest = customer_key(f"exam {seed}").digest
    low, high = (np.full(steps, int.from_bytes(half, "little"), np.uint64) for half in (digest[:8], digest[8:]))
    events = np.arange(steps, dtype=np.uint64)
    return uniforms(*salt_keys(SALT), low, high, events, np.full(steps, VARIANT_STAGE, np.uint64))


def play(player: Player, rates: F64, steps: int, delay: int, changes: Changes, seed: int) -> float:
    """The regret: what the best arm of each step would have earned on average, less that of the arms drawn.

    `delay`: steps between two turns; what was drawn since the last one is learnt then.
    """
    rates, u = rates.copy(), draws(seed, steps)
    luck = np.random.default_rng(seed).random(steps)
    regret = 0.0
    waiting = Increments()
    starts = sorted({*range(0, steps, delay), *(step for step in changes if step < steps)})
    for start, end in zip(starts, [*starts[1:], steps], strict=True):
        if start and start % delay == 0:
            player.learn(waiting)
            waiting = Increments()
        for change in changes.get(start, ()):
            rates[change.place] = change.rate
            if change.new:
                waiting.arms.pop(player.arm(change.place, start), None)
                player.replace(change.place)
        shares = player.shares()
        if end - start == 1:
            arm = drawn(shares, int(u[start]))
            waiting.add(player.arm(arm, start), REWARD_UNIT if luck[start] < rates[arm] else 0)
            regret += float(rates.max() - rates[arm])
            continue
        arms = np.searchsorted(np.cumsum(shares), u[start:end], side="right")
        won = luck[start:end] < rates[arms]
        for place in np.unique(arms).tolist():
            mine = arms == place
            reward = int(won[mine].sum()) * REWARD_UNIT
            key = player.arm(place, start)
            known = waiting.arms.get(key, ArmState(0, 0))
            waiting.arms[key] = ArmState(
                known.trials + int(mine.sum()), known.reward + reward, known.squares + reward, known.moments
            )
        regret += float((rates.max() - rates[arms]).sum())
    return regret
