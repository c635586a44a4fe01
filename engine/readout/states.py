"""What a policy had learnt when it drew: its state at each logged version, folded again from the log.

A trial is folded when its window has closed and all trials before it in its bucket are folded (learning.fold), so it
enters at the greatest closing time up to its place. The state of an arm is therefore a step function of time. The log
does not say when the learner ran; but the state of a version must be one of those steps, not after the version was
first used and not before that of the version before. Where the log does not hold all that was learnt from (it begins
later, customers were erased), no step fits from the start, and nothing is said of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.compiler.model import Policy
from engine.compiler.sections_learning import LINEAR
from engine.decision import ARRIVED_BITS, SHARE_UNIT, Outcome, OutcomeKind
from engine.learning.enrolment import Assignment, assigned_shares
from engine.learning.linear import REWARD_UNIT, moments_of
from engine.learning.policies import learnt_message, scaled_reward
from engine.learning.posteriors import ArmKey, ArmState, Posteriors
from engine.learning.ranks import learnt_worth
from engine.learning.terms import read
from engine.readout.decided import Decided
from engine.readout.log import I64, U64, Decisions, Outcomes, decision_keys

TRIES = 2000  # states looked at for one version
NEAR = 1 << 16  # units, 0.00006: so far apart are two ways to integrate the same densities
_NEAR_TRIES = 64  # states looked at once one was near
_CLOCKS_MS = 2000  # by which the learner's clock may be ahead of the store's
_BUCKET = 1 << 44  # ms: more than any time


@dataclass(slots=True)
class Used:
    """One vector of shares of a learning policy, as it was used: by which version, in which decisions.

    `rate`: instead, mean and deviation of what a message that ranks by it was thought to earn.
    """

    policy: str
    message: str
    segment: str
    version: int
    variants: tuple[str, ...]
    context: tuple[int, ...]
    shares: tuple[int, ...]
    count: int
    how: Assignment = Assignment.POLICY
    examples: list[tuple[str, str, str]] = field(default_factory=list)  # decision id, log id, path
    rate: tuple[float, float] | None = None


def units_apart(policy: Policy, used: Used, state: Posteriors) -> int:
    """How far a vector, or a rate, is from what a state gives: in units of 2^-30."""
    expected = assigned_shares(
        policy, used.how, used.message, used.segment, used.variants, state, used.context
    )  # fmt: skip
    if used.rate is None:
        return max(abs(a - b) for a, b in zip(expected.shares, used.shares, strict=True))
    worth = learnt_worth(
        policy, used.message, 1.0, used.segment, used.variants, expected.shares, state, used.context
    )  # fmt: skip
    apart = max(abs(worth.rate - used.rate[0]), abs(worth.deviation - used.rate[1]))
    return round(min(apart, 1.0) * SHARE_UNIT) if apart == apart else SHARE_UNIT


@dataclass(slots=True)
class Found:
    """What the log says of a vector: `off` units from a state that fits (up to NEAR), None where none fits;
    `sure`: the log holds all that it was learnt from. `tired`: there were more states than are looked at.
    """

    used: Used
    off: int | None
    sure: bool
    tired: bool


@dataclass(slots=True)
class _Steps:
    """One arm's trials by the time they were folded, and the sums so far: trials, reward, squares, moments."""

    at_ms: I64
    sums: I64  # (n, 3 + moments)
    context_key: int

    def at(self, moment: int) -> ArmState | None:
        """The state then; None where nothing was folded yet."""
        n = int(np.searchsorted(self.at_ms, moment, "right"))
        if not n:
            return None
        trials, reward, squares, *moments = self.sums[n - 1].tolist()
        return ArmState(trials, reward, squares, {self.context_key: tuple(moments)} if moments else {})


@dataclass(slots=True)
class StateBook:
    """Gathers the trials, outcomes and vectors of the learning policies of one revision, file by file."""

    policies: Mapping[str, Policy]
    _trials: list[tuple[I64, I64, I64, U64, I64]] = field(default_factory=list)  # bucket, at, closes, decision, arm
    _contexts: list[tuple[int, ...]] = field(default_factory=list)  # of the trials, in their order
    _reports: list[tuple[U64, I64, I64, I64]] = field(default_factory=list)  # decision, kind, at, known at
    _arms: list[ArmKey] = field(default_factory=list)
    _codes: dict[ArmKey, int] = field(default_factory=dict)
    _first_ms: dict[int, int] = field(default_factory=dict)  # version -> first used
    _used: list[Used] = field(default_factory=list)

    def take(self, d: Decisions) -> None:
        """The trials of one file, and when versions were first used."""
        texts = d.names.texts
        learns = np.array([n in self.policies and self.policies[n].kind != "fixed" for n in texts])
        told = np.array([not text or read(text) is not None for text in texts])  # "": not told by the log
        rows = np.flatnonzero(
            learns[d["policy"]] & told[d["terms"]] & (d["outcome"] == int(Outcome.SEND)) & (d["withheld"] == 0)
            & (d["sticky"] == 0) & (d["assignment"] < Assignment.OUTSIDE)
        )  # fmt: skip
        parts = np.stack([d[n][rows] for n in ("policy", "message", "segment", "variant")])
        kinds, place = np.unique(parts, axis=1, return_inverse=True)
        codes = []
        for policy, message, segment, variant in kinds.T.tolist():
            owner = learnt_message(self.policies[texts[policy]], texts[message])
            arm = ArmKey(texts[policy], owner, texts[segment], texts[variant])
            if arm not in self._codes:
                self._codes[arm] = len(self._arms)
                self._arms.append(arm)
            codes.append(self._codes[arm])
        closes = np.maximum(d["at_ms"][rows], d["send_at_ms"][rows]) + d["attribution_s"][rows] * 1000
        key = decision_keys(d.customer[rows], d.event[rows], d["slot"][rows])
        arms = np.array(codes, np.int64)[place.reshape(-1)] if len(rows) else np.zeros(0, np.int64)
        self._trials.append((d["bucket"][rows], d["at_ms"][rows], closes, key, arms))
        x = d.context
        for i, policy, terms in zip(rows.tolist(), d["policy"][rows].tolist(), d["terms"][rows].tolist(), strict=True):
            meant = not terms or self._means(texts[terms], texts[policy])
            self._contexts.append(tuple(x.name[x.at[i] : x.at[i + 1]].tolist()) if meant else ())
        self.note(d["policy_version"], d["at_ms"])

    def note(self, version: I64, at_ms: I64) -> None:
        """Which versions were used, and when."""
        learnt = np.flatnonzero(version > 0)
        versions, first = np.unique(version[learnt], return_inverse=True)
        least = np.full(len(versions), np.iinfo(np.int64).max)
        np.minimum.at(least, first, at_ms[learnt])
        for one, then_ms in zip(versions.tolist(), least.tolist(), strict=True):
            self._first_ms[one] = min(then_ms, self._first_ms.get(one, then_ms))

    def _means(self, terms: str, policy: str) -> bool:
        """Whether a context of these terms is what the policy looks at."""
        found = read(terms)
        return found is not None and found.context_key == self.policies[policy].context_key

    def report(self, o: Outcomes) -> None:
        """The outcomes of one file."""
        key = decision_keys(o.customer, o.event, o["slot"])
        self._reports.append((key, o["kind"], o["at_ms"], np.maximum(o["occurred_ms"], o["at_ms"])))

    def use(self, used: Used) -> None:
        """A vector that was drawn from."""
        self._used.append(used)

    def judge(self, begins: bool) -> Iterator[Found]:
        """Every vector, with what the log says of it. `begins`: the archive has its first run.

        Then what is learnt anywhere from it shows that it holds all; else each state must show that for itself.
        """
        found = list(self._judge_all())
        whole = begins and any(f.sure for f in found)
        for one in found:
            yield Found(one.used, one.off, (one.sure or whole) and not one.tired, one.tired)

    def _judge_all(self) -> Iterator[Found]:
        steps = self._steps()
        groups: dict[tuple[str, str, str], list[Used]] = defaultdict(list)
        for used in self._used:
            groups[used.policy, learnt_message(self.policies[used.policy], used.message), used.segment].append(used)
        for key, vectors in groups.items():
            yield from self._judge_key(key, sorted(vectors, key=lambda u: u.version), steps)

    def _judge_key(
        self, key: tuple[str, str, str], vectors: Sequence[Used], steps: Mapping[ArmKey, _Steps]
    ) -> Iterator[Found]:
        policy = self.policies[key[0]]
        own = {arm: s for arm, s in steps.items() if self._matters(policy, key, arm)}
        moments = np.unique(np.concatenate([np.zeros(1, np.int64), *(s.at_ms for s in own.values())]))
        lowest, sure = 0, False
        known: dict[int, Posteriors] = {}  # by place in `moments`
        found_at: dict[int, int] = {}  # version -> place
        for used in vectors:
            upto = self._first_ms[used.version] + _CLOCKS_MS
            highest = int(np.searchsorted(moments, upto, "right")) - 1
            places = [k for k in [found_at.get(used.version)] if k is not None]
            places += range(highest, max(lowest, highest - TRIES) - 1, -1)
            off, left = None, len(places)
            for k in places:
                if k not in known:
                    then = {arm: s.at(int(moments[k])) for arm, s in own.items()}
                    known[k] = Posteriors(1, {arm: state for arm, state in then.items() if state is not None})
                apart = units_apart(policy, used, known[k])
                if apart <= 1:
                    off, lowest, found_at[used.version] = apart, k, k
                    sure = sure or bool(known[k].arms)
                    break
                if apart <= NEAR:
                    off, left = (apart, _NEAR_TRIES) if off is None else (min(apart, off), left)
                left -= 1
                if not left:
                    break
            yield Found(used, off, sure, off is None and highest - lowest > TRIES)
            known = {k: state for k, state in known.items() if k >= lowest}

    @staticmethod
    def _matters(policy: Policy, key: tuple[str, str, str], arm: ArmKey) -> bool:
        """Whether an arm's trials can move these shares: forgetting goes by the newest trial of the whole policy."""
        if policy.learning.bucket_h:
            return arm.policy == policy.name
        return arm[:2] == key[:2] and (policy.learning.shrink > 0.0 or arm.segment == key[2])

    def _steps(self) -> dict[ArmKey, _Steps]:
        """Each arm's state through time, by the hour where trials are kept by time."""
        none = np.zeros(0, np.int64)
        empty = (none, none, none, np.zeros(0, np.uint64), none)
        bucket, at, closes, key, arm = map(np.concatenate, zip(empty, *self._trials, strict=True))
        order = np.argsort(bucket, kind="stable")
        lifted = bucket[order] * _BUCKET + closes[order]
        folded = np.empty(len(order), np.int64)
        folded[order] = np.maximum.accumulate(lifted) - bucket[order] * _BUCKET
        kinds = self._kinds(key, at, closes)
        steps: dict[ArmKey, _Steps] = {}
        for code, name in enumerate(self._arms):
            mine = np.flatnonzero((arm == code) & (kinds & ARRIVED_BITS != 0))
            mine = mine[np.argsort(folded[mine], kind="stable")]
            policy = self.policies[name.policy]
            width = policy.learning.bucket_h
            hours = closes[mine] // 3_600_000 // width * width if width else np.zeros(len(mine), np.int64)
            sums = self._added(policy, mine, kinds)
            for hour in np.unique(hours).tolist():
                then = hours == hour
                at_ms, so_far = folded[mine[then]], np.cumsum(sums[then], axis=0)
                steps[name._replace(hour=hour)] = _Steps(at_ms, so_far, policy.context_key)
        return steps

    def _added(self, policy: Policy, trials: I64, kinds: I64) -> I64:
        """What each trial adds to the sums, as `learning.fold` does: (n, 3 + moments)."""
        masks, place = np.unique(kinds[trials], return_inverse=True)
        worth = [scaled_reward(policy, {k for k in OutcomeKind if m >> int(k) & 1}) for m in masks.tolist()]
        reward = np.array([*worth, 0], np.int64)[place]
        sums = np.stack([np.ones(len(trials), np.int64), reward, reward * reward // REWARD_UNIT], axis=1)
        if policy.kind not in LINEAR:
            return sums
        d = 1 + len(policy.context)
        moments = np.zeros((len(trials), d * (d + 1) // 2 + d), np.int64)
        for k, i in enumerate(trials.tolist()):
            if len(self._contexts[i]) == d:
                moments[k] = moments_of(self._contexts[i], int(reward[k]))
        return np.concatenate([sums, moments], axis=1)

    def _kinds(self, key: U64, decided_ms: I64, closes: I64) -> I64:
        """Bits of the kinds of outcomes that each trial had when it closed. A customer's time never goes back."""
        kinds, decided = np.zeros(len(key), np.int64), Decided(key)
        for decision, kind, at_ms, known_ms in self._reports:
            report, trial = decided.of(decision)
            good = (at_ms[report] >= decided_ms[trial]) & (known_ms[report] <= closes[trial])
            np.bitwise_or.at(kinds, trial[good], 1 << kind[report[good]])
        return kinds
