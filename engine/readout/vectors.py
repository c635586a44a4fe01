"""The shares of variants worked out anew: of fixed policies from the rules, of learning ones from the folded log."""

from __future__ import annotations

import numpy as np

from engine.compiler.model import RuleSet
from engine.decision import SHARE_UNIT
from engine.identity import name_hash
from engine.learning.policies import Posteriors, variant_shares
from engine.learning.shares import shares_of
from engine.readout.log import I64, Decisions, Flags, Outcomes, mixed
from engine.readout.states import StateBook, Used
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
        key = mixed(
            content,
            *(d[n].astype(np.uint64) for n in ("revision", "policy", "message", "segment", "policy_version")),
        )
        _, first, inverse, count = np.unique(key[rows], return_index=True, return_inverse=True, return_counts=True)
        texts = d.names.texts
        for g, i in enumerate(rows[first].tolist()):
            lo, hi = int(v.at[i]), int(v.at[i + 1])
            variants = tuple(texts[n] for n in v.name[lo:hi].tolist())
            shares = tuple(v.share[lo:hi].tolist())
            check, expected = self._judged(d, i, variants, shares, int(count[g]))
            if not check and self._open(d, i):
                self._use(d, rows[inverse == g], variants, shares)
            if check:
                bad = np.zeros(len(d), np.bool_)
                bad[rows[inverse == g]] = True
                self._verdict.tell(d, check, bad, same((str(list(shares)), expected)))

    def _judged(
        self, d: Decisions, i: int, variants: tuple[str, ...], shares: tuple[int, ...], count: int
    ) -> tuple[str, str]:
        """(the check that fails, what it expects) for `count` decisions like the one in row i; ("", "") if none."""
        texts = d.names.texts
        revision, policy, message, segment = (texts[d[n][i]] for n in ("revision", "policy", "message", "segment"))
        version = int(d["policy_version"][i])
        known = self._states.setdefault((revision, policy, message, segment, version, variants), shares)
        expected = self._recomputed(revision, policy, message, segment, version, variants, count)
        if expected is None:
            if known != shares:
                return "same_state", str(list(known))
            least = self._least(revision, policy, sum(s > 0 for s in shares))
            if any(s < least for s in shares):
                return "variant_shares", f"at least {least} each"
            return "", ""
        self._verdict.recomputed += count
        off = max((abs(a - b) for a, b in zip(shares, expected, strict=True)), default=0)
        if off > (1 if version or self._learns(policy) else 0):
            return "variant_shares", str(list(expected))
        self._verdict.units += count if off else 0
        return "", ""

    def _open(self, d: Decisions, i: int) -> bool:
        """Whether row i has what a policy of these rules had learnt."""
        texts = d.names.texts
        ours = self._ruleset is not None and texts[d["revision"][i]] == self._ruleset.revision
        return ours and d["policy_version"][i] > 0 and self._learns(texts[d["policy"][i]])

    def _use(self, d: Decisions, rows: I64, variants: tuple[str, ...], shares: tuple[int, ...]) -> None:
        """Keeps a learnt vector for the end, when all that it was learnt from is known."""
        assert self._book is not None
        texts, i = d.names.texts, int(rows[0])
        policy, message, segment = (texts[d[n][i]] for n in ("policy", "message", "segment"))
        examples = [(d.decision_id(k), str(d.table["log_id"][k]), str(d.path)) for k in rows[:EXAMPLES].tolist()]
        version = int(d["policy_version"][i])
        self._book.use(Used(policy, message, segment, version, variants, shares, len(rows), examples))

    def finish(self, begins: bool) -> None:
        """Folds the log again, and compares what policies had learnt with what they drew from. `begins`: as `judge`."""
        if self._book is None or len(self._revisions) > 1 or self._verdict.erased:
            return
        for found in self._book.judge(begins):
            used = found.used
            if found.off is not None:
                self._verdict.open_shares -= used.count
                self._verdict.recomputed += used.count
                self._verdict.units += used.count if found.off else 0
            elif found.sure:
                self._verdict.counts["learnt_shares"] += used.count
                for name, log_id, path in used.examples[: EXAMPLES - self._told("learnt_shares")]:
                    told = (str(list(used.shares)), f"a state that version {used.version} can have had")
                    self._verdict.differences.append(Difference("learnt_shares", name, log_id, path, *told))

    def _told(self, check: str) -> int:
        return sum(d.check == check for d in self._verdict.differences)

    def _least(self, revision: str, policy: str, arms: int) -> int:
        """The least share that a learning policy's floor leaves to each of its arms; 0 where that is not known."""
        found = self._ruleset.policies.get(policy) if self._ruleset is not None else None
        if found is None or self._ruleset is None or revision != self._ruleset.revision or found.kind == "fixed":
            return 0
        return int(min(found.floor, 1.0 / max(1, arms)) * SHARE_UNIT) - 1

    def _learns(self, policy: str) -> bool:
        found = self._ruleset.policies.get(policy) if self._ruleset is not None else None
        return found is not None and found.kind != "fixed"

    def _recomputed(
        self,
        revision: str,
        policy: str,
        message: str,
        segment: str,
        version: int,
        variants: tuple[str, ...],
        n: int,
    ) -> tuple[int, ...] | None:
        """The shares as they should be, None where that cannot be known."""
        if not policy:
            return shares_of((1.0,) * len(variants), 0.0, tuple(name_hash(n) for n in variants))
        if self._ruleset is None or revision != self._ruleset.revision:
            self._verdict.open_shares += n
            self._verdict.other_revision += n if self._ruleset is not None else 0
            return None
        found = self._ruleset.policies.get(policy)
        if found is None or (found.kind != "fixed" and version):
            self._verdict.open_shares += n
            return None
        return variant_shares(found, message, segment, variants, Posteriors()).shares
