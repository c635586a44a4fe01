"""The shares of variants worked out anew: of fixed policies from the rules, of learning ones from the folded log."""

from __future__ import annotations

import numpy as np

from engine.compiler.model import RuleSet
from engine.decision import SHARE_UNIT
from engine.identity import name_hash
from engine.learning.enrolment import Assignment, assigned_shares, assignment, known_assignment
from engine.learning.posteriors import Posteriors
from engine.learning.shares import shares_of
from engine.readout.log import I64, Decisions, Flags, Outcomes, mixed
from engine.readout.states import NEAR, StateBook, Used
from engine.readout.verdict import EXAMPLES, Difference, Verdict, same

_SAME = ("revision", "policy", "message", "segment", "policy_version", "assignment")


class Vectors:
    """Checks the variants' shares of a log, file by file, into a verdict."""

    def __init__(self, ruleset: RuleSet | None, verdict: Verdict) -> None:
        self._ruleset = ruleset
        self._verdict = verdict
        self._states: dict[tuple[object, ...], tuple[int, ...]] = {}
        self.book = StateBook(ruleset.policies) if ruleset is not None else None
        self._revisions: set[str] = set()

    def report(self, o: Outcomes) -> None:
        """Outcomes, which rewards are made of."""
        if self.book is not None:
            self.book.report(o)

    def take(self, d: Decisions, drawn: Flags) -> None:
        """Checks one file. Rows alike in everything that shares depend on are looked at once."""
        self._revisions |= {d.names.texts[c] for c in np.unique(d["revision"][drawn]).tolist()}
        if self.book is not None:
            self.book.take(d)
        self._assigned(d, drawn)
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
            *(d[n].astype(np.uint64) for n in _SAME),
        )
        _, inverse, count = np.unique(key[rows], return_inverse=True, return_counts=True)
        alike = np.split(rows[np.argsort(inverse, kind="stable")], np.cumsum(count)[:-1])
        for members in alike:
            self._take_alike(d, members)

    def _assigned(self, d: Decisions, drawn: Flags) -> None:
        """Who was in a trial, and in its slices: by the hash of the customer and the time of the decision."""
        if self._ruleset is None or self._ruleset.revision not in d.names.texts:
            return
        policies = [self._ruleset.policies.get(name) for name in d.names.texts]
        some = np.array([p is not None and p.enrols for p in policies])
        ours = drawn & (d["revision"] == d.names.texts.index(self._ruleset.revision))
        objected = d["assignment"] == Assignment.OBJECTED  # the log alone knows
        expected = np.where(ours & ~objected, int(Assignment.POLICY), d["assignment"])
        for i in np.flatnonzero(ours & some[d["policy"]]).tolist():
            digest, now_ms = d.customer[i].tobytes(), int(d["at_ms"][i])
            expected[i] = assignment(policies[d["policy"][i]], digest, now_ms, bool(objected[i]))
        bad = d["assignment"] != expected
        self._verdict.tell(d, "assignment", bad, lambda i: (_how(d["assignment"][i]), _how(expected[i])))

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
            known_assignment(d["assignment"][i]),
        )
        check, expected = self._judged(revision, used)
        if check:
            bad = np.zeros(len(d), np.bool_)
            bad[members] = True
            self._verdict.tell(d, check, bad, same((str(list(used.shares)), expected)))
        elif self.book is not None and self._ours(revision) and used.version and self._learns(policy):
            for k in members[:EXAMPLES].tolist():
                used.examples.append((d.decision_id(k), str(d.table["log_id"][k]), str(d.path)))
            self.book.use(used)

    def _judged(self, revision: str, used: Used) -> tuple[str, str]:
        """(the check that fails, what it expects); ("", "") if none."""
        state = (
            revision, used.policy, used.message, used.segment, used.version, used.variants, used.context, used.how,
        )  # fmt: skip
        known = self._states.setdefault(state, used.shares)
        expected = self._recomputed(revision, used)
        if expected is None:
            if known != used.shares:
                return "same_state", str(list(known))
            least = self._least(revision, used.policy, sum(s > 0 for s in used.shares))
            if any(s < least for s in used.shares):
                return "variant_shares", f"at least {least} each"
            return "", ""
        self._verdict.recomputed += used.count
        off = max((abs(a - b) for a, b in zip(used.shares, expected, strict=True)), default=0)
        if off > (NEAR if self._learns(used.policy) else 0):
            return "variant_shares", str(list(expected))
        self._verdict.count_off(off, used.count)
        return "", ""

    def finish(self, begins: bool, elsewhere: frozenset[str] = frozenset()) -> None:
        """Folds the log again, and compares what policies had learnt with what they drew from. `begins`: as `judge`.

        `elsewhere`: policies that were given what was learnt elsewhere, of which the log says nothing.
        """
        if self.book is None or len(self._revisions) > 1 or self._verdict.erased:
            return
        for found in self.book.judge(begins):
            used, verdict = found.used, self._verdict
            check = "learnt_shares" if used.rate is None else "learnt_rank"
            if found.off is not None and used.rate is None:
                verdict.open_shares -= used.count
                verdict.recomputed += used.count
            elif found.off is not None:
                verdict.open_ranks -= used.count
                verdict.ranks += used.count
            if found.off is not None:
                verdict.count_off(found.off, used.count)
            elif found.sure and used.policy not in elsewhere:
                verdict.counts[check] += used.count
                shown = str(list(used.shares)) if used.rate is None else "{:.9g} +- {:.3g}".format(*used.rate)
                for name, log_id, path in used.examples[: EXAMPLES - self._told(check)]:
                    told = (shown, f"a state that version {used.version} can have had")
                    verdict.differences.append(Difference(check, name, log_id, path, *told))

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
        learnt = found is not None and found.kind != "fixed" and used.version
        if found is None or not self._ours(revision) or learnt:
            self._verdict.open_shares += used.count
            self._verdict.other_revision += used.count if self._ruleset is not None and not self._ours(revision) else 0
            return None
        return assigned_shares(
            found, used.how, used.message, used.segment, used.variants, Posteriors(), used.context
        ).shares


def _how(number: np.int64) -> str:
    return Assignment(int(number)).name if int(number) in set(Assignment) else str(number)
