"""The shares of variants worked out anew: of fixed policies from the rules, of learning ones from the folded log."""

from __future__ import annotations

import numpy as np

from engine.compiler.model import RuleSet
from engine.decision import SHARE_UNIT
from engine.identity import name_hash
from engine.learning.policies import objected_shares, variant_shares
from engine.learning.posteriors import Posteriors
from engine.learning.shares import shares_of
from engine.learning.terms import OBJECTED
from engine.readout.log import I64, Decisions, Flags, Outcomes, mixed
from engine.readout.states import NEAR, StateBook, Used
from engine.readout.verdict import EXAMPLES, Difference, Verdict, same


class Vectors:
    """Checks the variants' shares of a log, file by file, into a verdict."""

    def __init__(self, ruleset: RuleSet | None, verdict: Verdict) -> None:
        self._ruleset = ruleset
        self._verdict = verdict
        self._states: dict[tuple[object, ...], tuple[int, ...]] = {}
        self._book = StateBook(ruleset.policies) if ruleset is not None else None
        self._revisions: set[str] = set()

    def report(self, o: Outcomes) -> None:
        """Outcomes, which rewards are made of."""
        if self._book is not None:
            self._book.report(o)

    def take(self, d: Decisions, drawn: Flags) -> None:
        """Checks one file. Rows alike in everything that shares depend on are looked at once."""
        self._revisions |= {d.names.texts[c] for c in np.unique(d["revision"][drawn]).tolist()}
        if self._book is not None:
            self._book.take(d)
        rows = np.flatnonzero(drawn & (d["sticky"] == 0))
        if not len(rows):
            return
        v = d.variants
        place = np.arange(len(v.name)) - np.repeat(v.at[:-1], np.diff(v.at))
        content = v.sums(mixed(v.name.astype(np.uint64), v.share.astype(np.uint64), place.astype(np.uint64)))
        x = d.context
        at = np.arange(len(x.name)) - np.repeat(x.at[:-1], np.diff(x.at))
        key = mixed(
            content,
            x.sums(mixed(x.name.astype(np.uint64), at.astype(np.uint64))),
            *(d[n].astype(np.uint64) for n in ("revision", "policy", "message", "segment", "policy_version", "terms")),
        )
        _, inverse, count = np.unique(key[rows], return_inverse=True, return_counts=True)
        alike = np.split(rows[np.argsort(inverse, kind="stable")], np.cumsum(count)[:-1])
        for members in alike:
            self._take_alike(d, members)

    def _take_alike(self, d: Decisions, members: I64) -> None:
        """Rows that agree in all that shares depend on, and in their shares."""
        v, x, i, texts = d.variants, d.context, int(members[0]), d.names.texts
        revision, policy, message, segment = (texts[d[n][i]] for n in ("revision", "policy", "message", "segment"))
        used = Used(
            policy,
            message,
            segment,
            int(d["policy_version"][i]),
            tuple(texts[n] for n in v.name[v.at[i] : v.at[i + 1]].tolist()),
            tuple(x.name[x.at[i] : x.at[i + 1]].tolist()),
            tuple(v.share[v.at[i] : v.at[i + 1]].tolist()),
            len(members),
            objected=texts[d["terms"][i]] == OBJECTED,
        )
        check, expected = self._judged(revision, used)
        if check:
            bad = np.zeros(len(d), np.bool_)
            bad[members] = True
            self._verdict.tell(d, check, bad, same((str(list(used.shares)), expected)))
        elif self._book is not None and self._ours(revision) and used.version and self._learns(policy):
            for k in members[:EXAMPLES].tolist():
                used.examples.append((d.decision_id(k), str(d.table["log_id"][k]), str(d.path)))
            self._book.use(used)

    def _judged(self, revision: str, used: Used) -> tuple[str, str]:
        """(the check that fails, what it expects); ("", "") if none."""
        state = (
            revision, used.policy, used.message, used.segment, used.version, used.variants, used.context, used.objected
        )  # fmt: skip
        known = self._states.setdefault(state, used.shares)
        expected = self._recomputed(revision, used)
        if expected is None:
            if known != used.shares:
                return "same_state", str(list(known))
            least = 0 if used.objected else self._least(revision, used.policy, sum(s > 0 for s in used.shares))
            if any(s < least for s in used.shares):
                return "variant_shares", f"at least {least} each"
            return "", ""
        self._verdict.recomputed += used.count
        off = max((abs(a - b) for a, b in zip(used.shares, expected, strict=True)), default=0)
        if off > (NEAR if self._learns(used.policy) else 0):
            return "variant_shares", str(list(expected))
        self._count_off(off, used.count)
        return "", ""

    def _count_off(self, off: int, count: int) -> None:
        self._verdict.units += count if off == 1 else 0
        self._verdict.near += count if off > 1 else 0

    def finish(self, begins: bool, elsewhere: frozenset[str] = frozenset()) -> None:
        """Folds the log again, and compares what policies had learnt with what they drew from. `begins`: as `judge`.

        `elsewhere`: policies that were given what was learnt elsewhere, of which the log says nothing.
        """
        if self._book is None or len(self._revisions) > 1 or self._verdict.erased:
            return
        for found in self._book.judge(begins):
            used = found.used
            if found.off is not None:
                self._verdict.open_shares -= used.count
                self._verdict.recomputed += used.count
                self._count_off(found.off, used.count)
            elif found.sure and used.policy not in elsewhere:
                self._verdict.counts["learnt_shares"] += used.count
                for name, log_id, path in used.examples[: EXAMPLES - self._told("learnt_shares")]:
                    told = (str(list(used.shares)), f"a state that version {used.version} can have had")
                    self._verdict.differences.append(Difference("learnt_shares", name, log_id, path, *told))

    def _told(self, check: str) -> int:
        return sum(d.check == check for d in self._verdict.differences)

    def _ours(self, revision: str) -> bool:
        return self._ruleset is not None and revision == self._ruleset.revision

    def _least(self, revision: str, policy: str, arms: int) -> int:
        """The least share that a learning policy's floor leaves to each of its arms; 0 where that is not known."""
        if self._ruleset is None or not self._ours(revision) or not self._learns(policy):
            return 0
        return int(min(self._ruleset.policies[policy].floor, 1.0 / max(1, arms)) * SHARE_UNIT) - 1

    def _learns(self, policy: str) -> bool:
        found = self._ruleset.policies.get(policy) if self._ruleset is not None else None
        return found is not None and found.kind != "fixed"

    def _recomputed(self, revision: str, used: Used) -> tuple[int, ...] | None:
        """The shares as they should be, None where that cannot be known yet, or at all."""
        if not used.policy:
            return shares_of((1.0,) * len(used.variants), 0.0, tuple(name_hash(n) for n in used.variants))
        found = self._ruleset.policies.get(used.policy) if self._ruleset is not None else None
        learnt = found is not None and found.kind != "fixed" and used.version and not used.objected
        if found is None or not self._ours(revision) or learnt:
            self._verdict.open_shares += used.count
            self._verdict.other_revision += used.count if self._ruleset is not None and not self._ours(revision) else 0
            return None
        if used.objected:
            return objected_shares(found, used.variants).shares
        return variant_shares(found, used.message, used.segment, used.variants, Posteriors(), used.context).shares
