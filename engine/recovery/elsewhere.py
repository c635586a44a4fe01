"""What was learnt elsewhere, given to a policy: from a decision log, or from a table of actions and rewards.

It is kept by its name beside the sums, so that it enters once however often it is given, can be replaced and taken
back, and stays where the sums are built again from the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from engine.compiler.model import Policy, RuleSet
from engine.compiler.source import did_you_mean
from engine.errors import Conflict, TactError
from engine.identity import BUCKETS
from engine.learning.linear import LIMIT, REWARD_UNIT, X_UNIT
from engine.learning.posteriors import ArmKey, ArmState, Posteriors
from engine.learning.stored import Elsewhere, added, correct, fields_of_all, read_stored
from engine.learning.sums import arms_of
from engine.readout.judged import numbers_in, read_table
from engine.readout.log import F64
from engine.readout.refold import LAST, Refold
from engine.readout.target import written
from engine.recovery.rebuild import active_bundle, take_archive
from engine.state.redis import RedisStore

_HOUR_MS = 3_600_000
_TRIES = 5
Arms = dict[ArmKey, ArmState]


@dataclass(frozen=True, slots=True)
class Table:
    """Which columns of a table mean what. `best`: what the best trial earns there. `message`, `segment` "": none."""

    action: str = "action"
    reward: str = "reward"
    context: tuple[str, ...] = ()
    segment: str = ""
    message: str = ""
    best: float = 1.0
    separator: str = ","


@dataclass(frozen=True, slots=True)
class Given:
    """What became of it. `left_out`: trials of messages or variants that the policy does not have. `known`: it had
    been given before, as it is; `replaced`: another one of that name was taken back.
    """

    name: str
    policy: str
    arms: int = 0
    trials: int = 0
    left_out: int = 0
    known: bool = False
    replaced: bool = False


async def give(
    url: str, source: Path, policy: str, of: str = "", table: Table | None = None, worth: int = 0, name: str = "",
    prefix: str = "tact:",
) -> Given:  # fmt: skip
    """Gives a policy what a log's policy `of` ("": of the same name) or a `table` knows.

    `worth`: trials that it counts for at most, of each arm; 0: as many as it has. `name` "": the policy's and the
    source's. Raises TactError: no such policy, nothing to learn, a bad table, no store.
    """
    store = RedisStore(url, prefix, timeout_ms=60_000)
    try:
        bundle = await active_bundle(store)
        if bundle is None:
            raise Conflict("the store has no rule set yet: start a server with one, or deploy it")
        found = _policy(bundle.ruleset, policy)
        name = name or f"{policy} from {source.name}"

        def read(now_ms: int) -> Arms:
            if table is not None:
                return _of_table(source, table, found, _messages(bundle.ruleset, found), now_ms)
            return _of_log(source, found, of or policy)

        for _ in range(_TRIES):
            stored = await read_stored(store)
            everything = await asyncio.to_thread(read, stored.now_ms)
            arms = _served(everything, bundle.ruleset, found)
            left_out = sum(s.trials for s in everything.values()) - sum(s.trials for s in arms.values())
            arms = limited(arms, worth)
            if not arms:
                raise TactError(f"{source}: nothing that the policy '{policy}' could learn from")
            sums, before = fields_of_all(arms), stored.elsewhere.get(name)
            told = Given(name, policy, len(arms), sum(s.trials for s in arms.values()), left_out)
            if before is not None and (before.policy, before.sums) == (policy, sums):
                return replace(told, known=True)
            right = added(_without(stored.sums, before), sums)
            if set(arms) <= set(Posteriors(0, arms_of(right)).stale({policy: found})):
                raise TactError(f"{source}: older than what the policy '{policy}' remembers")
            one = Elsewhere(policy, str(source), worth, stored.now_ms, sums)
            if await correct(store, stored, right, given=(name, one)):
                return replace(told, replaced=before is not None)
        raise Conflict("nothing was written: somebody else corrects these sums at the same time")
    finally:
        await store.close()


async def take_back(url: str, name: str, prefix: str = "tact:") -> Given:
    """Takes back what was given under a name. Raises TactError where there is none of it."""
    store = RedisStore(url, prefix, timeout_ms=60_000)
    try:
        for _ in range(_TRIES):
            stored = await read_stored(store)
            one = stored.elsewhere.get(name)
            if one is None:
                there = ", ".join(f"'{n}'" for n in sorted(stored.elsewhere)) or "nothing"
                raise TactError(f"nothing was given as '{name}'; there is {there}")
            if await correct(store, stored, _without(stored.sums, one), given=(name, None)):
                states = arms_of(one.sums).values()
                return Given(name, one.policy, len(states), sum(s.trials for s in states))
        raise Conflict("nothing was written: somebody else corrects these sums at the same time")
    finally:
        await store.close()


def limited(arms: Mapping[ArmKey, ArmState], worth: int) -> Arms:
    """The sums of each arm as if of `worth` trials, where there are more; in whole units. 0: as they are."""
    if not worth:
        return dict(arms)
    total: dict[ArmKey, int] = {}
    for arm, state in arms.items():
        whose = arm._replace(hour=0)
        total[whose] = total.get(whose, 0) + state.trials
    found: Arms = {}
    seen: dict[ArmKey, int] = {}
    for arm in sorted(arms):
        state, whose = arms[arm], arm._replace(hour=0)
        if total[whose] <= worth:
            found[arm] = state
            continue
        before = seen.get(whose, 0)
        seen[whose] = before + state.trials
        trials = seen[whose] * worth // total[whose] - before * worth // total[whose]
        if trials:
            part = _part(trials, state.trials)
            moments = {key: tuple(map(part, row)) for key, row in state.moments.items()}
            found[arm] = ArmState(trials, part(state.reward), part(state.squares), moments)
    return found


def _part(some: int, of: int) -> Callable[[int], int]:
    """Multiplies by some / of, to the nearest whole."""
    return lambda value: (2 * value * some + of) // (2 * of)


def _without(sums: dict[bytes, int], one: Elsewhere | None) -> dict[bytes, int]:
    """The sums less what was given, as far as it was not forgotten since."""
    if one is None:
        return sums
    there = arms_of(sums)
    return added(sums, fields_of_all({arm: s for arm, s in arms_of(one.sums).items() if arm in there}), -1)


def _policy(ruleset: RuleSet, name: str) -> Policy:
    found = ruleset.policies.get(name)
    if found is None:
        hint = did_you_mean(name, ruleset.policies) or f"it has: {', '.join(ruleset.policies) or 'none'}"
        raise TactError(f"the rule set in use has no policy '{name}'; {hint}")
    if found.kind == "fixed":
        raise TactError(f"the policy '{name}' is fixed: it learns nothing")
    return found


def _messages(ruleset: RuleSet, policy: Policy) -> dict[str, set[str]]:
    """The policy's messages and their variants."""
    return {m.name: set(m.variants) for m in ruleset.messages.values() if m.policy == policy.name}


def _served(arms: Arms, ruleset: RuleSet, policy: Policy) -> Arms:
    """Those of messages and variants that the policy has, under its name."""
    messages = _messages(ruleset, policy)
    everywhere = set().union(*messages.values())
    return {
        arm._replace(policy=policy.name): state
        for arm, state in arms.items()
        if arm.variant in (everywhere if policy.pool else messages.get(arm.message, set()))
    }


def _of_log(log: Path, policy: Policy, of: str) -> Arms:
    fold = Refold({}, {of: policy})
    take_archive(fold, log)
    if of not in fold.policies:
        raise TactError(
            f"{log}: no decision by a policy '{of}'; there are: {', '.join(sorted(fold.policies)) or 'none'}"
        )
    arms = fold.sums(np.full(BUCKETS, LAST), fold.last_ms).arms
    if policy.context_key and arms and not any(state.moments for state in arms.values()):
        raise TactError(f"{log}: no decision was made by the context of '{policy.name}', so there is nothing to learn")
    return arms


def _of_table(path: Path, t: Table, policy: Policy, messages: Mapping[str, set[str]], now_ms: int) -> Arms:
    table = read_table(path, t.separator)
    wanted = [t.action, t.reward, *t.context, *([t.segment] if t.segment else [])]
    if missing := [c for c in wanted if c not in table.column_names]:
        raise TactError(f"{path}: no column '{missing[0]}'; expected one of {', '.join(table.column_names)}")
    if len(t.context) != len(policy.context):
        raise TactError(
            f"the policy '{policy.name}' looks at {len(policy.context)} values, and {len(t.context)} columns were said "
            "(--context, in the order of the policy's)"
        )
    message = "" if policy.pool else _the_message(t.message, policy, messages)
    parts = numbers_in(path, table, t.reward) / t.best
    if len(bad := np.flatnonzero(np.abs(parts) > 1.0)):
        raise TactError(
            f"{path}: row {bad[0] + 1}: the reward {parts[bad[0]] * t.best:g} is out of range; expected at "
            f"most what the best trial earns, {t.best:g} (--best)"
        )
    rewards = np.rint(parts * REWARD_UNIT).astype(np.int64)
    x = _contexts([numbers_in(path, table, c) for c in t.context], len(table))
    actions = np.array([written(v) for v in table[t.action].to_pylist()], object)
    segments = np.array([written(v) for v in table[t.segment].to_pylist()] if t.segment else [""] * len(table), object)
    width = policy.learning.bucket_h
    hour = now_ms // _HOUR_MS // width * width if width else 0
    arms: Arms = {}
    for action, segment in sorted(set(zip(actions.tolist(), segments.tolist(), strict=True))):
        rows = np.flatnonzero((actions == action) & (segments == segment))
        r = rewards[rows]
        moments = {policy.context_key: _moments(x[rows], r)} if policy.context_key else {}
        arms[ArmKey(policy.name, message, segment, action, hour)] = ArmState(
            len(rows), int(r.sum()), int((r * r // REWARD_UNIT).sum()), moments
        )
    return arms


def _contexts(columns: list[F64], rows: int) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """As `linear.context_of`."""
    values = [np.rint(np.clip(c, -LIMIT, LIMIT) * X_UNIT).astype(np.int64) for c in columns]
    return np.stack([np.full(rows, X_UNIT), *values], axis=1)


def _moments(
    x: np.ndarray[tuple[int, int], np.dtype[np.int64]], reward: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> tuple[int, ...]:
    products = (x.T @ x)[np.triu_indices(x.shape[1])]
    return (*products.tolist(), *(x * reward[:, None] // X_UNIT).sum(axis=0).tolist())


def _the_message(said: str, policy: Policy, messages: Mapping[str, set[str]]) -> str:
    if said and said not in messages:
        raise TactError(f"the policy '{policy.name}' has no message '{said}'; it has: {', '.join(messages) or 'none'}")
    if not said and len(messages) != 1:
        there = ", ".join(messages) or "none"
        raise TactError(f"which message is the table of? The policy '{policy.name}' has {there} (--message NAME)")
    return said or next(iter(messages))
