"""Draws every logged decision again: the log must agree with itself, with the draw, and with the rules.

The draw is repeated from what was logged (exact everywhere). The uniform is repeated from the deployment's secret.
The share vectors are worked out anew where the log, or the rule set of the same revision, says all that they
depend on; floating point may then differ by a unit of 2^-30 between maths libraries, and such are counted apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.compiler.model import RuleSet
from engine.decision import SHARE_UNIT, Outcome, Reason
from engine.learning.shares import MESSAGE_STAGE, VARIANT_STAGE, salt_keys
from engine.readout.decided import Decided
from engine.readout.log import (
    I64,
    U64,
    Decisions,
    Flags,
    Lists,
    Names,
    Outcomes,
    RunCount,
    decision_keys,
    given_elsewhere,
    mixed,
    read_decisions,
    read_outcomes,
    runs_of,
)
from engine.readout.messages import Messages
from engine.readout.philox import uniforms
from engine.readout.vectors import Vectors
from engine.readout.verdict import EXAMPLES, Difference, Verdict, Words, same


def verify(log: Path, secret: bytes = b"", ruleset: RuleSet | None = None) -> Verdict:
    """Verifies all decisions and outcomes of a log.

    `secret`: the server's; `ruleset` allows to work out fixed policies. Raises UnreadableLog.
    """
    work = _Work(secret or b"tact", ruleset)
    names = Names()
    for decisions in read_decisions(log, names, ("log_id", "ranks")):
        work.take(decisions)
    for run in runs_of(log):
        work.count(run)
    work.finish(read_outcomes(log, names), given_elsewhere(log))
    return work.verdict


class _Work:
    def __init__(self, salt: bytes, ruleset: RuleSet | None) -> None:
        self.verdict = Verdict()
        self._key0, self._key1 = salt_keys(salt)
        self._seen: list[U64] = []  # keys of entries, for what stands twice
        self._chosen: list[tuple[U64, I64, I64, I64]] = []  # decision -> message, variant, revision, for outcomes
        self._vectors = Vectors(ruleset, self.verdict)
        self._messages = Messages(ruleset, self.verdict, self._vectors.book)
        self._runs: set[int] = set()

    # One file

    def take(self, d: Decisions) -> None:
        """Checks one file of decisions."""
        c = d.candidates
        fits = c.stopped_by == 0
        drawn = c.sums(fits.astype(np.int64)) > 0
        self.verdict.decisions += len(d)
        self.verdict.drawn += int(drawn.sum())
        self._shares(d, drawn, fits)
        self._draws(d, drawn, fits)
        self._uniforms(d, drawn)
        self._reasons(d, drawn)
        self._vectors.take(d, drawn)
        self._messages.take(d, drawn)
        key = decision_keys(d.customer, d.event, d["slot"])
        self._chosen.append((key[drawn], d["message"][drawn], d["variant"][drawn], d["revision"][drawn]))
        self._twice(d, key)

    def _shares(self, d: Decisions, drawn: Flags, fits: Flags) -> None:
        c, v = d.candidates, d.variants
        messages, variants = c.sums(c.share), v.sums(v.share)
        stopped = c.sums(((c.share != 0) & ~fits).astype(np.int64)) > 0
        negative = (c.sums((c.share < 0).astype(np.int64)) > 0) | (v.sums((v.share < 0).astype(np.int64)) > 0)
        sticky = d["sticky"] != 0
        one = v.sums((v.share > 0).astype(np.int64)) == 1  # a sticky assignment keeps its first share alone
        whole = np.where(drawn, messages == SHARE_UNIT, messages == 0)
        whole &= np.where(drawn & ~sticky, variants == SHARE_UNIT, True) & np.where(drawn & sticky, one, True)
        bad = ~whole | stopped | negative | (~drawn & (variants != 0))
        self.verdict.tell(d, "shares", bad, lambda i: (f"sums {messages[i]} and {variants[i]}", f"{SHARE_UNIT}"))

    def _draws(self, d: Decisions, drawn: Flags, fits: Flags) -> None:
        names = d.names.texts
        message = _redrawn(d.candidates, d["u_message"])
        bad = drawn & (message != d["message"])
        self.verdict.tell(d, "message", bad, lambda i: (names[d["message"][i]], _name(names, message[i])))
        sticky = d["sticky"] != 0
        variant = np.where(sticky, _only(d.variants), _redrawn(d.variants, d["u_variant"]))
        bad = drawn & (variant != d["variant"])
        self.verdict.tell(d, "variant", bad, lambda i: (names[d["variant"][i]], _name(names, variant[i])))

    def _uniforms(self, d: Decisions, drawn: Flags) -> None:
        for name, stage in (("u_message", MESSAGE_STAGE), ("u_variant", VARIANT_STAGE)):
            last = (d["slot"].astype(np.uint64) << np.uint64(8)) | np.uint64(stage)
            u = uniforms(self._key0, self._key1, d.customer[:, 0], d.customer[:, 1], d.event, last)
            bad = np.where(drawn, d[name] != u, d[name] != 0)
            self.verdict.tell(d, "uniform", bad, _pair(d[name], np.where(drawn, u, 0), name))

    def _reasons(self, d: Decisions, drawn: Flags) -> None:
        c = d.candidates
        sent, reason, withheld = d["outcome"] == int(Outcome.SEND), d["reason"], d["withheld"] != 0
        told = (c.stopped_by == reason[c.row]) & (c.name == d["message"][c.row])
        explained = (c.sums(told.astype(np.int64)) > 0) | (np.diff(c.at) == 0)
        selected, holdout = reason == int(Reason.SELECTED), reason == int(Reason.HOLDOUT)
        good = np.where(
            sent,
            drawn & selected & ~withheld,
            np.where(drawn, withheld & holdout, ~withheld & ~selected & ~holdout & explained & (d["variant"] == 0)),
        )
        good &= (d["outcome"] == int(Outcome.SEND)) | (d["outcome"] == int(Outcome.NO_MESSAGE))
        self.verdict.tell(
            d, "reason", ~good, lambda i: (f"outcome {d['outcome'][i]}, reason {reason[i]}", "one that fits")
        )

    def _twice(self, d: Decisions, key: U64) -> None:
        log_ids = d.table["log_id"].combine_chunks().dictionary_encode()
        ids = np.array([hash(t) & 0xFFFFFFFFFFFFFFFF for t in log_ids.dictionary.to_pylist()] or [0], np.uint64)
        entry = mixed(key, ids[log_ids.indices.to_numpy()], d["bucket"].astype(np.uint64))
        order = np.argsort(entry, kind="stable")
        again = np.zeros(len(d), np.bool_)
        again[order[1:]] = entry[order[1:]] == entry[order[:-1]]
        for earlier in self._seen:
            again |= np.isin(entry, earlier, kind="sort")
        self._seen.append(entry)
        self.verdict.tell(d, "twice", again, same(("twice", "once")))

    def count(self, run: RunCount) -> None:
        """Compares a run's entries with those that the archiver read, less what erasures took out."""
        self.verdict.erased += run.erased
        self._runs.add(int(run.path.name.removeprefix("run-")))
        if run.found != run.read:
            self.verdict.counts["count"] += 1
            told = Difference("count", "", "", str(run.path), f"{run.found:,} entries", f"{run.read:,}")
            self.verdict.differences.append(told)

    # Outcomes

    def finish(self, files: Iterable[Outcomes], elsewhere: frozenset[str]) -> None:
        """Compares outcomes with the decisions that they are credited to, where the log holds these: of several of one
        id, each with any of them.

        An outcome names the message as it is called when it is reported, which may be a later name than the decision's:
        only another message of the decision's own revision is a difference.
        """
        empty = (np.zeros(0, np.uint64), *[np.zeros(0, np.int64)] * 3)
        keys, message, variant, revision = map(np.concatenate, zip(empty, *self._chosen, strict=True))
        decided = Decided(keys)
        named = np.unique(revision << 32 | message)
        for o in files:
            self.verdict.outcomes += len(o)
            self._vectors.report(o)
            row, at = decided.of(decision_keys(o.customer, o.event, o["slot"]))
            told, varied = o["message"][row], o["variant"][row]
            other = (message[at] != told) & np.isin(revision[at] << 32 | told, named)
            other |= (variant[at] != varied) & (varied != 0)
            other &= ~np.isin(row, row[~other])
            wrong, first = np.unique(row[other], return_index=True)
            texts = o.names.texts
            if len(wrong):
                self.verdict.counts["outcome"] += len(wrong)
            for i, k in zip(wrong[:EXAMPLES].tolist(), at[other][first[:EXAMPLES]].tolist(), strict=True):
                name = f"{o.customer[i].tobytes().hex()}-{int(o.event[i]):016x}-{int(o['slot'][i])}"
                found = f"{texts[o['message'][i]]}/{texts[o['variant'][i]]}"
                expected = f"{texts[message[k]]}/{texts[variant[k]]}"
                self.verdict.differences.append(Difference("outcome", name, "", str(o.path), found, expected))
        self._vectors.finish(self._runs == set(range(1, len(self._runs) + 1)) != set(), elsewhere)


def _redrawn(lists: Lists, u: I64) -> I64:
    """The name whose cumulative share holds each row's `u`; -1 where none does."""
    ends = np.cumsum(lists.share)
    before = ends - lists.share
    row = lists.row
    start = np.concatenate([ends, [0]])[lists.at[:-1] - 1] if len(ends) else np.zeros(len(u), np.int64)
    start = np.where(lists.at[:-1] == 0, 0, start)
    own = u[row]
    hit = (before - start[row] <= own) & (own < ends - start[row])
    found = np.full(len(u), -1, np.int64)
    found[row[hit]] = lists.name[hit]
    return found


def _only(lists: Lists) -> I64:
    """The name of each row's first element that has a share; -1 where none has."""
    found = np.full(len(lists.at) - 1, -1, np.int64)
    live = lists.share > 0
    found[lists.row[live][::-1]] = lists.name[live][::-1]
    return found


def _name(names: list[str], code: np.int64) -> str:
    return names[code] if code >= 0 else "none"


def _pair(found: npt.NDArray[np.int64], expected: npt.NDArray[np.int64], what: str) -> Words:
    return lambda i: (f"{what} {found[i]}", str(expected[i]))
