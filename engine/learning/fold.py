"""Learning as a fold of the decision log: each closed trial enters once, together with its reward.

A trial closes when its attribution window has passed since it was to be sent. Per bucket the fold
stops at the first trial that is still open, so the offset says exactly what has been learnt, and
everything before it may be trimmed. Not learnt from: what was withheld, sticky draws, fixed weights,
and decisions nobody reported as having arrived.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from engine.compiler.model import Policy
from engine.decision import Outcome, OutcomeKind
from engine.learning.linear import REWARD_UNIT, moments_of
from engine.learning.policies import learnt_message, scaled_reward
from engine.learning.posteriors import ArmKey, ArmState
from engine.learning.terms import Terms, read, terms_of
from engine.state.log import DecisionEntry, Entry, OutcomeEntry

ARRIVED = frozenset(OutcomeKind) - {OutcomeKind.NOT_DELIVERED}


@dataclass(slots=True)
class Increments:
    """What a turn of the fold adds, by arm."""

    arms: dict[ArmKey, ArmState] = field(default_factory=dict)

    def add(self, arm: ArmKey, reward: int, context_key: int = 0, context: Sequence[int] = ()) -> None:
        """One closed trial; `reward` in REWARD_UNIT."""
        trials, rewards, squares, moments = self.arms.get(arm, ArmState(0, 0))
        if context:
            more = moments_of(context, reward)
            known = moments.get(context_key, (0,) * len(more))
            moments = {**moments, context_key: tuple(a + b for a, b in zip(known, more, strict=True))}
        squares += reward * reward // REWARD_UNIT
        self.arms[arm] = ArmState(trials + 1, rewards + reward, squares, moments)


def learnt_by(entry: DecisionEntry, policies: Mapping[str, Policy]) -> Terms | None:
    """The terms of a trial; None where it is none to learn from.

    `policies` are asked where the log does not say: of these entries it is not known what their context meant, and
    one of another length is left out.
    """
    if entry.outcome != Outcome.SEND or not entry.policy or entry.withheld or entry.sticky:
        return None
    if entry.terms:
        return read(entry.terms)
    policy = policies.get(entry.policy)
    terms = terms_of(policy) if policy is not None else None
    if policy is not None and terms is not None and len(entry.context) != 1 + len(policy.context):
        terms = terms._replace(context_key=0)
    return terms


@dataclass(slots=True)
class BucketFold:
    """One bucket's log from the last folded id on. `offset` is the id up to which all is folded.

    An entry that this version cannot read is None: carried over, like whatever does not concern learning.
    """

    offset: str = ""
    read: str = ""
    ahead: deque[tuple[str, Entry | None]] = field(default_factory=deque)

    def extend(self, entries: Iterable[tuple[str, Entry | None]]) -> None:
        """Appends what was read, in log order."""
        for log_id, entry in entries:
            self.ahead.append((log_id, entry))
            self.read = log_id

    def settle(self, now_ms: int, policies: Mapping[str, Policy], increments: Increments) -> str:
        """Folds every entry before the first open trial; returns the id folded up to ("" for none).

        The entries stay in `ahead` until `settled` is called with that id, so a failed commit costs nothing.
        """
        upto = ""
        for place, (log_id, entry) in enumerate(self.ahead):
            if isinstance(entry, DecisionEntry) and (terms := learnt_by(entry, policies)) is not None:
                closes_ms = max(entry.at_ms, entry.send_at_ms) + entry.attribution_s * 1000
                if now_ms < closes_ms:
                    break
                self._close(entry, place, closes_ms, terms, increments)
            upto = log_id
        return upto

    def settled(self, upto: str) -> None:
        """What was folded up to `upto` is committed."""
        while self.ahead:
            log_id, _ = self.ahead.popleft()
            if log_id == upto:
                break
        self.offset = upto

    def _close(self, trial: DecisionEntry, place: int, closes_ms: int, terms: Terms, increments: Increments) -> None:
        kinds: set[OutcomeKind] = set()
        for k in range(place + 1, len(self.ahead)):
            entry = self.ahead[k][1]
            if (
                isinstance(entry, OutcomeEntry)
                and entry.customer == trial.customer
                and entry.event == trial.event
                and entry.slot == trial.slot
                and entry.occurred_ms <= closes_ms
                and entry.at_ms <= closes_ms  # else the sums would depend on when the log is folded
            ):
                kinds.add(OutcomeKind(entry.kind))
        if kinds & ARRIVED:
            hour = closes_ms // 3_600_000 // terms.hours * terms.hours if terms.hours else 0
            arm = ArmKey(trial.policy, learnt_message(terms, trial.message), trial.segment, trial.variant, hour)
            context = trial.context if terms.context_key else ()
            increments.add(arm, scaled_reward(terms, kinds), terms.context_key, context)
