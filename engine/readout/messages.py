"""What stands between messages, worked out anew: their ranks, and the shares that these give.

The log says what each learned rank was made of, so the shares follow from it without the rules, whatever the
arbitration. With the rule set of the same revision the values, reserves and arbitration are the rules' own, and what
was learnt is that of a state of the folded log (`states`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.compiler.model import Message, RuleSet
from engine.compiler.nodes import Const, Fact
from engine.decision import SHARE_UNIT, Reason
from engine.identity import name_hash
from engine.learning import arbitration
from engine.learning.enrolment import Assignment, assignment, known_assignment
from engine.learning.posteriors import Posteriors
from engine.learning.ranks import Worth, learnt_worth
from engine.readout.log import F64, I64, U64, Decisions, Flags, Ranks, mixed, ranks_of
from engine.readout.states import NEAR, StateBook, Used, units_apart
from engine.readout.verdict import EXAMPLES, Verdict, same

_NO_ARBITRATION = 0  # the code of the empty text: the best


@dataclass(slots=True)
class _Candidates:
    """Of one file's candidates, flat, what each was worth; `learnt`: there is an entry of what its rank was made of."""

    row: I64
    fits: Flags
    learnt: Flags
    value: F64
    rate: F64
    deviation: F64
    normal: Flags


class Messages:
    """Checks the draws between messages of a log, file by file, into a verdict."""

    def __init__(self, ruleset: RuleSet | None, verdict: Verdict, book: StateBook | None) -> None:
        self._ruleset = ruleset
        self._verdict = verdict
        self._book = book
        self._rates: dict[tuple[object, ...], tuple[float, float]] = {}
        self._keys: list[int] = []  # hashes of names, by code

    def take(self, d: Decisions, drawn: Flags) -> None:
        """Checks one file."""
        self._keys += [name_hash(n) for n in d.names.texts[len(self._keys) :]]
        ranks = ranks_of(d)
        known, odd = _candidates(d, ranks)
        self._verdict.tell(d, "rank", odd, same(("entries of ranks", "each of a candidate, and its value x rate")))
        ours = self._ours(d)
        if ours.any():
            self._rules(d, known, ours & ~odd, drawn)
        self._best(d, known, drawn & (d["arbitration"] == _NO_ARBITRATION))
        self._drawn(d, known, drawn & (d["arbitration"] != _NO_ARBITRATION))
        if len(ranks):
            self._learnt(d, ranks, odd)

    def _ours(self, d: Decisions) -> Flags:
        """The rows of the revision that the rule set is."""
        revision = self._ruleset.revision if self._ruleset is not None else ""
        of = np.array([bool(revision) and n == revision for n in d.names.texts])
        found: Flags = of[d["revision"]]
        return found

    # Rules

    def _rules(self, d: Decisions, known: _Candidates, ours: Flags, drawn: Flags) -> None:
        """Values that are constants, reserves, what ranks by what it learns, and the arbitration: as the rules say."""
        assert self._ruleset is not None
        texts, c = d.names.texts, d.candidates
        messages = [self._ruleset.messages.get(n) for n in texts]
        learned = np.array([m is not None and m.learned for m in messages])[c.name]
        known_name = np.array([m is not None for m in messages])[c.name]
        constant = np.array([_constant(m) for m in messages])[c.name]
        least = np.array([m.reserve.least if m is not None and m.reserve else -np.inf for m in messages])[c.name]
        below = c.stopped_by == int(Reason.BELOW_RESERVE)
        worked_out = known.fits | below
        wrong = worked_out & ~known_name
        wrong |= worked_out & (learned != known.learnt)
        by_value = (worked_out & ~learned) | (c.stopped_by == int(Reason.OUTRANKED))
        wrong |= by_value & ~np.isnan(constant) & (c.rank != constant)
        wrong |= (known.fits & (c.rank < least)) | (below & (c.rank >= least))
        bad = ours & (c.sums(wrong.astype(np.int64)) > 0)
        expected = "the rules' values, reserves and `rank: learned`"
        self._verdict.tell(d, "rank", bad, lambda i: (_shown(c.rank[c.at[i] : c.at[i + 1]]), expected))
        how = arbitration.written(self._ruleset.arbitration)
        other = np.array([n != how for n in texts])[d["arbitration"]]
        self._verdict.tell(
            d,
            "message_shares",
            ours & drawn & other,
            lambda i: (texts[d["arbitration"][i]] or "best", how or "best"),
        )

    # Shares

    def _best(self, d: Decisions, known: _Candidates, rows: Flags) -> None:
        """The largest rank, ties shared evenly. What ranks below it must have been asked because it learns."""
        c = d.candidates
        fits = known.fits & rows[known.row]
        most = np.full(len(d), -np.inf)
        np.maximum.at(most, known.row[fits], c.rank[fits])
        winners = fits & (c.rank == most[known.row])
        uneven = c.sums((fits & ~winners & ~known.learnt).astype(np.int64)) > 0
        count = c.sums(winners.astype(np.int64))
        expected = np.where(winners, SHARE_UNIT // np.maximum(count[known.row], 1), 0)
        hashes = np.array(self._keys, np.uint64)
        for k in np.unique(count[count > 1]).tolist():  # the remainder goes to the largest hashes
            those = np.flatnonzero(count == k)
            at = np.flatnonzero(winners & (count[known.row] == k)).reshape(len(those), k)
            order = np.argsort(hashes[c.name[at]], axis=1)[:, ::-1]
            shares = np.full((len(those), k), SHARE_UNIT // k)
            np.put_along_axis(shares, order[:, : SHARE_UNIT - SHARE_UNIT // k * k], SHARE_UNIT // k + 1, axis=1)
            expected[at] = shares
        other = c.sums((c.share != expected).astype(np.int64)) > 0
        at = c.at
        self._verdict.tell(
            d,
            "message_shares",
            rows & (other | uneven),
            lambda i: (str(c.share[at[i] : at[i + 1]].tolist()), str(expected[at[i] : at[i + 1]].tolist())),
        )

    def _drawn(self, d: Decisions, known: _Candidates, rows: Flags) -> None:
        """Softmax and thompson: rows alike in all that shares depend on, and in their shares, are looked at once."""
        c = d.candidates
        place = np.arange(len(c.name)) - c.at[:-1][known.row]
        words = [_bits(column) for column in (known.value, known.rate, known.deviation)]
        words += [column.astype(np.uint64) for column in (c.name, c.share, known.fits, known.normal, place)]
        key = mixed(c.sums(mixed(*words)), d["arbitration"].astype(np.uint64))
        for members in _alike(key, np.flatnonzero(rows)):
            i = int(members[0])
            at = np.flatnonzero(known.fits[c.at[i] : c.at[i + 1]]) + c.at[i]
            shares = c.share[at].tolist()
            text = d.names.texts[d["arbitration"][i]]
            worths = [
                Worth(float(known.value[k]), float(known.rate[k]), float(known.deviation[k]), bool(known.normal[k]))
                for k in at.tolist()
            ]
            try:
                how = arbitration.read(text)
                expected = arbitration.message_shares(how, worths, [self._keys[n] for n in c.name[at].tolist()])
            except (ValueError, ArithmeticError):
                self._tell(d, "message_shares", members, (text, "an arbitration, and worths that it can be drawn from"))
                continue
            off = max(abs(a - b) for a, b in zip(shares, expected, strict=True))
            self._verdict.between += len(members)
            if off > NEAR:
                self._tell(d, "message_shares", members, (str(shares), str(list(expected))))
            else:
                self._verdict.count_off(off, len(members))

    # What was learnt

    def _learnt(self, d: Decisions, ranks: Ranks, odd: Flags) -> None:
        """Rates of the messages that rank by what they have learnt: alike ones at once."""
        good = np.flatnonzero(~odd[ranks.row])
        place = d.candidates.at[:-1][ranks.row] + np.where(odd[ranks.row], 0, ranks.candidate)
        message = d.candidates.name[np.minimum(place, max(0, len(d.candidates.name) - 1))]
        if self._book is not None:
            self._book.note(ranks.version[good], d["at_ms"][ranks.row[good]])
        codes = (d["revision"][ranks.row], message, ranks.version, ranks.segment, ranks.variants, ranks.context)
        words = [column.astype(np.uint64) for column in (*codes, ranks.normal, ranks.assignment)]
        words += [_bits(column) for column in (ranks.value, ranks.rate, ranks.deviation)]
        for members in _alike(mixed(*words), good):
            k = int(members[0])
            revision, segment = d.names.texts[codes[0][k]], d.names.texts[ranks.segment[k]]
            used = Used(
                "",
                d.names.texts[message[k]],
                segment,
                int(ranks.version[k]),
                tuple(d.names.texts[ranks.variants[k]].split(",")),
                _numbers(d.names.texts[ranks.context[k]]),
                (),
                len(members),
                known_assignment(ranks.assignment[k]),
                rate=(float(ranks.rate[k]), float(ranks.deviation[k])),
            )
            self._judge(d, ranks, members, revision, used)

    def _judge(self, d: Decisions, ranks: Ranks, members: I64, revision: str, used: Used) -> None:
        assert used.rate is not None
        rows, k, verdict = ranks.row[members], int(members[0]), self._verdict
        state = (revision, used.message, used.segment, used.version, used.variants, used.context, used.how)
        if self._rates.setdefault(state, used.rate) != used.rate:
            self._tell(d, "same_state", rows, (_shown(used.rate), _shown(self._rates[state])))
            return
        ruleset = self._ruleset if self._ruleset is not None and revision == self._ruleset.revision else None
        message = ruleset.messages.get(used.message) if ruleset is not None else None
        policy = ruleset.policies.get(message.policy or "") if ruleset is not None and message is not None else None
        if message is None or policy is None or not message.learned:
            verdict.open_ranks += used.count  # or told already: the rules do not rank it so
            return
        if not set(used.variants) <= set(message.variants) or len(used.context) not in (0, 1 + len(policy.context)):
            self._tell(d, "rank", rows, (",".join(used.variants), "variants and a context of the message"))
            return
        used.policy = policy.name
        at_ms = d["at_ms"][rows].tolist()
        objected = used.how is Assignment.OBJECTED
        hows = [
            int(assignment(policy, d.customer[i].tobytes(), at, objected))
            for i, at in zip(rows.tolist(), at_ms, strict=True)
        ]
        if (other := rows[np.array(hows) != ranks.assignment[k]]).size:
            self._tell(d, "assignment", other, (used.how.name, "as the customer and the time say"))
            return
        constant, most = _constant(message), max(policy.learning.values.get(v, 1.0) for v in used.variants)
        empty = learnt_worth(
            policy, used.message, constant, used.segment, used.variants, (0,) * len(used.variants), Posteriors(),
            used.context,
        )  # fmt: skip
        if (constant == constant and ranks.value[k] != constant * most) or ranks.normal[k] != empty.normal:
            self._tell(d, "rank", rows, (f"a value of {ranks.value[k]:g}", f"{constant * most:g}"))
        elif used.version == 0:
            off = units_apart(policy, used, Posteriors())
            if off > NEAR:
                self._tell(d, "learnt_rank", rows, (_shown(used.rate), "what is thought before anything was seen"))
            else:
                verdict.ranks += used.count
                verdict.count_off(off, used.count)
        else:
            verdict.open_ranks += used.count
            for i in rows[:EXAMPLES].tolist():
                used.examples.append((d.decision_id(i), str(d.table["log_id"][i]), str(d.path)))
            if self._book is not None:
                self._book.use(used)

    def _tell(self, d: Decisions, check: str, rows: I64, words: tuple[str, str]) -> None:
        bad = np.zeros(len(d), np.bool_)
        bad[rows] = True
        self._verdict.tell(d, check, bad, same(words))


def _candidates(d: Decisions, ranks: Ranks) -> tuple[_Candidates, Flags]:
    """What each candidate was worth, and the rows whose entries of ranks do not hold in themselves."""
    c = d.candidates
    row = c.row
    fits = c.stopped_by == 0
    known = _Candidates(
        row, fits, np.zeros(len(row), np.bool_), c.rank.copy(), np.ones(len(row)), np.zeros(len(row)),
        np.zeros(len(row), np.bool_),
    )  # fmt: skip
    odd = np.zeros(len(d), np.bool_)
    inside = (ranks.candidate >= 0) & (ranks.candidate < np.diff(c.at)[ranks.row])
    odd[ranks.row[~inside]] = True
    at = (c.at[:-1][ranks.row] + ranks.candidate)[inside]
    wrong = ~(fits[at] | (c.stopped_by[at] == int(Reason.BELOW_RESERVE)))
    wrong |= ranks.value[inside] * ranks.rate[inside] != c.rank[at]
    wrong |= ~(ranks.deviation[inside] >= 0.0)
    wrong |= np.bincount(at, minlength=len(row))[at] > 1  # twice
    odd[ranks.row[inside][wrong]] = True
    known.learnt[at] = True
    known.value[at], known.rate[at] = ranks.value[inside], ranks.rate[inside]
    known.deviation[at], known.normal[at] = ranks.deviation[inside], ranks.normal[inside]
    return known, odd


def _alike(key: U64, rows: I64) -> Sequence[I64]:
    """Rows of the same key together."""
    if not len(rows):
        return []
    _, inverse, count = np.unique(key[rows], return_inverse=True, return_counts=True)
    return np.split(rows[np.argsort(inverse, kind="stable")], np.cumsum(count)[:-1])


def _bits(numbers: F64) -> U64:
    return np.ascontiguousarray(numbers, np.float64).view(np.uint64)


def _constant(message: Message | None) -> float:
    """The message's value where it is a constant, else NaN."""
    node = message.value.node if message is not None else None
    while isinstance(node, Fact):
        node = node.node
    return float(node.value) + 0.0 if isinstance(node, Const) and isinstance(node.value, int | float) else np.nan


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError:
        return ()


def _shown(numbers: Sequence[float] | F64) -> str:
    return ", ".join(f"{n:.9g}" for n in numbers)
