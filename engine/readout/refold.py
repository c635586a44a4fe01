"""The sums of learning, folded again from the log's columns: to the unit what `learning.fold` gives, entry by entry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.compiler.model import Policy
from engine.decision import ARRIVED_BITS, Outcome, OutcomeKind
from engine.identity import BUCKETS
from engine.learning.enrolment import Assignment
from engine.learning.linear import REWARD_UNIT, X_UNIT
from engine.learning.policies import scaled_reward
from engine.learning.posteriors import ArmKey, ArmState
from engine.learning.terms import Terms, read, terms_of
from engine.readout.decided import Decided
from engine.readout.log import I64, U64, Flags, Names, codes_of, decision_keys, digests_of, lists_of, mixed, numbers_of

DECISION_TEXTS = ["policy", "message", "segment", "variant", "terms"]
DECISION_COLUMNS = [
    "bucket", "log_id", "at_ms", "customer", "event", "outcome", "slot", *DECISION_TEXTS, "send_at_ms",
    "attribution_s", "withheld", "sticky", "context", "assignment",
]  # fmt: skip
OUTCOME_COLUMNS = ["bucket", "log_id", "at_ms", "occurred_ms", "customer", "event", "kind", "slot"]
_SERIALS = 20  # bits of a log id's serial number, below its time
_HOUR_MS = 3_600_000
LAST = np.iinfo(np.int64).max


class _Trials(NamedTuple):
    """Some trials. `book` is the number of their terms, `arm` that of their arm without its hour."""

    bucket: I64
    place: I64  # of the entry in its bucket's log, see `place_of`
    decision: U64
    closes_ms: I64
    book: I64
    arm: I64
    context_at: I64  # (n, 2): spans of the contexts

    def of(self, rows: I64 | Flags) -> _Trials:
        """Some of them."""
        return _Trials(
            self.bucket[rows], self.place[rows], self.decision[rows], self.closes_ms[rows], self.book[rows],
            self.arm[rows], self.context_at[rows],
        )  # fmt: skip


class _Book(NamedTuple):
    """Terms that some trials have. `told`: by the log itself. `length`: of a context, -1 whatever it is."""

    terms: Terms
    told: bool
    length: int


class Refolded(NamedTuple):
    """Sums by arm, and of how many trials. `untold`: those whose terms are of the rule set in use, not of the log."""

    arms: dict[ArmKey, ArmState]
    trials: int
    untold: int


def place_of(log_id: str) -> int:
    """A log id as a number that compares within its bucket; 0 for none."""
    time_ms, _, serial = log_id.partition("-")
    return int(time_ms or 0) << _SERIALS | int(serial or 0)


def id_of(place: int) -> str:
    """The log id at a place."""
    return f"{place >> _SERIALS}-{place & (1 << _SERIALS) - 1}"


class Refold:
    """Gathers decisions and outcomes, in any order and each as often as it likes; then sums what has closed.

    `policies` are asked for the terms of entries that have none. `instead`: only trials of these policies count, by
    these definitions whatever the log says, but for what a context means.
    """

    def __init__(self, policies: Mapping[str, Policy], instead: Mapping[str, Policy] | None = None) -> None:
        self._policies = policies
        self._instead = instead
        self.policies: set[str] = set()  # that decided
        self.last_ms = 0  # of anything in the log
        self._names = Names()
        self._books: list[_Book] = []
        self._book_of: dict[tuple[int, int], int] = {}  # of policy and terms; -1: not learnt from
        self._arms: dict[tuple[int, ...], int] = {}
        self._trials: list[_Trials] = []
        self._contexts: list[I64] = []
        self._reports: list[tuple[U64, I64, I64, I64]] = []  # decision, kind, known at, place

    def take(self, table: pa.Table) -> None:
        """Decisions: DECISION_COLUMNS of a file, or of entries that a store still has."""
        table = table.combine_chunks()
        number = {n: numbers_of(table[n]) for n in ("bucket", "at_ms", "outcome", "slot", "send_at_ms")}
        policy, message, segment, variant, terms = (codes_of(table[n], self._names) for n in DECISION_TEXTS)
        book = self._books_of(policy, terms)
        learns = (book >= 0) & (policy > 0) & (number["outcome"] == int(Outcome.SEND))
        learns &= (numbers_of(table["withheld"]) == 0) & (numbers_of(table["sticky"]) == 0)
        learns &= numbers_of(table["assignment"]) < Assignment.OUTSIDE
        rows = np.flatnonzero(learns)
        self.policies |= {self._names.texts[code] for code in np.unique(policy).tolist() if code}
        self.last_ms = max(self.last_ms, int(number["at_ms"].max(initial=0)))
        context = lists_of(table["context"])
        closes = np.maximum(number["at_ms"], number["send_at_ms"]) + numbers_of(table["attribution_s"]) * 1000
        keys = decision_keys(digests_of(table["customer"]), table["event"].to_numpy(), number["slot"])
        pooled = np.array([b.terms.pool for b in self._books] or [False])[book[rows]]
        names = np.stack([policy[rows], np.where(pooled, 0, message[rows]), segment[rows], variant[rows], book[rows]])
        kinds, which = np.unique(names, axis=1, return_inverse=True)
        arm = [self._arms.setdefault(tuple(kind), len(self._arms)) for kind in kinds.T.tolist()]
        self._trials.append(
            _Trials(
                number["bucket"][rows],
                _places(table["log_id"])[rows],
                keys[rows],
                closes[rows],
                book[rows],
                np.array(arm, np.int64)[which.reshape(-1)] if len(rows) else rows,
                np.stack([context.at[:-1][rows], context.at[1:][rows]], axis=1) + sum(map(len, self._contexts)),
            )
        )
        self._contexts.append(context.name)

    def report(self, table: pa.Table) -> None:
        """Outcomes: OUTCOME_COLUMNS."""
        table = table.combine_chunks()
        keys = decision_keys(digests_of(table["customer"]), table["event"].to_numpy(), numbers_of(table["slot"]))
        known = np.maximum(numbers_of(table["occurred_ms"]), numbers_of(table["at_ms"]))
        self._reports.append((keys, numbers_of(table["kind"]), known, _places(table["log_id"])))
        self.last_ms = max(self.last_ms, int(known.max(initial=0)))

    def behind(self, after: I64, before: I64) -> tuple[I64, I64, int]:
        """Trials between two places: by bucket the last one's place and the latest close, 0 where there is none; how
        many there are.
        """
        place, closes, count = np.zeros(BUCKETS, np.int64), np.zeros(BUCKETS, np.int64), 0
        for t in self._trials:
            there = (t.place > after[t.bucket]) & (t.place < before[t.bucket])
            np.maximum.at(place, t.bucket[there], t.place[there])
            np.maximum.at(closes, t.bucket[there], t.closes_ms[there])
            count += int(there.sum())
        return place, closes, count

    def sums(self, upto: I64, closed_ms: int = LAST) -> Refolded:
        """What is learnt from every trial up to these places of the buckets' logs that closes by `closed_ms`. All of
        these must have closed.
        """
        if not self._trials:
            return Refolded({}, 0, 0)
        t = _Trials(*map(np.concatenate, zip(*self._trials, strict=True)))
        once = np.unique(mixed(t.decision, t.place.astype(np.uint64), t.bucket.astype(np.uint64)), return_index=True)[1]
        t = t.of(once[(t.place[once] <= upto[t.bucket[once]]) & (t.closes_ms[once] <= closed_ms)])
        kinds = self._kinds(t)
        came = kinds & ARRIVED_BITS != 0
        t, kinds = t.of(came), kinds[came]
        reward = self._rewards(t.book, kinds)
        width = np.array([max(1, b.terms.hours) for b in self._books] or [1])[t.book]
        timed = np.array([b.terms.hours > 0 for b in self._books] or [False])[t.book]
        hour = np.where(timed, t.closes_ms // _HOUR_MS // width * width, 0)
        told = np.array([b.told for b in self._books] or [True])[t.book]
        return Refolded(self._by_arm(t, hour, reward), len(reward), int((~told).sum()))

    def _by_arm(self, t: _Trials, hour: I64, reward: I64) -> dict[ArmKey, ArmState]:
        kinds, which = np.unique(np.stack([t.arm, hour]), axis=1, return_inverse=True)
        which = which.reshape(-1)
        order = np.argsort(which, kind="stable")
        ends = np.cumsum(np.bincount(which, minlength=kinds.shape[1]))
        names, texts = list(self._arms), self._names.texts
        contexts = np.concatenate([np.zeros(0, np.int64), *self._contexts])
        found: dict[ArmKey, ArmState] = {}
        for k, (number, at) in enumerate(kinds.T.tolist()):
            rows = order[ends[k - 1] if k else 0 : ends[k]]
            *words, book = names[number]
            policy, message, segment, variant = (texts[w] for w in words)
            arm = ArmKey(policy, message, segment, variant, at)
            r = reward[rows]
            moments = _moments(self._books[book], contexts, t.context_at[rows], r)
            state = ArmState(len(rows), int(r.sum()), int((r * r // REWARD_UNIT).sum()), moments)
            found[arm] = together(found[arm], state) if arm in found else state
        return found

    def _books_of(self, policy: I64, terms: I64) -> I64:
        """The number of each row's terms; -1 where it has none."""
        pairs, which = np.unique(np.stack([policy, terms]), axis=1, return_inverse=True)
        numbers = []
        for pair in map(tuple, pairs.T.tolist()):
            if pair not in self._book_of:
                book = self._book(*(self._names.texts[code] for code in pair))
                self._book_of[pair] = len(self._books) if book is not None else -1
                self._books += [book] if book is not None else []
            numbers.append(self._book_of[pair])
        return np.array(numbers, np.int64)[which.reshape(-1)] if len(policy) else np.zeros(0, np.int64)

    def _book(self, policy: str, terms: str) -> _Book | None:
        if self._instead is not None:
            own = terms_of(self._instead[policy]) if policy in self._instead else None
            there = read(terms)
            if own is not None and (there is None or there.context_key != own.context_key):
                own = own._replace(context_key=0)
            return _Book(own, True, -1) if own is not None else None
        if terms:
            found = read(terms)
            return _Book(found, True, -1) if found is not None else None
        known = self._policies.get(policy)
        found = terms_of(known) if known is not None else None
        return _Book(found, False, 1 + len(known.context)) if known is not None and found is not None else None

    def _rewards(self, book: I64, kinds: I64) -> I64:
        pairs, which = np.unique(np.stack([book, kinds]), axis=1, return_inverse=True)
        worth = [
            scaled_reward(self._books[number].terms, {k for k in OutcomeKind if mask >> int(k) & 1})
            for number, mask in pairs.T.tolist()
        ]
        return np.array(worth, np.int64)[which.reshape(-1)] if len(book) else np.zeros(0, np.int64)

    def _kinds(self, t: _Trials) -> I64:
        """Bits of the kinds of outcomes that each trial had when it closed."""
        kinds, decided = np.zeros(len(t.decision), np.int64), Decided(t.decision)
        for decision, kind, known_ms, place in self._reports:
            report, trial = decided.of(decision)
            good: Flags = (place[report] > t.place[trial]) & (known_ms[report] <= t.closes_ms[trial])
            np.bitwise_or.at(kinds, trial[good], 1 << kind[report[good]])
        return kinds


def together(a: ArmState, b: ArmState) -> ArmState:
    """Sums of both."""
    moments = dict(a.moments)
    for key, sums in b.moments.items():
        known = moments.get(key, ())
        size = max(len(known), len(sums))
        rows = (tuple(row) + (0,) * (size - len(row)) for row in (known, sums))
        moments[key] = tuple(x + y for x, y in zip(*rows, strict=True))
    return ArmState(a.trials + b.trials, a.reward + b.reward, a.squares + b.squares, moments)


def _moments(book: _Book, contexts: I64, spans: I64, reward: I64) -> dict[int, tuple[int, ...]]:
    """The sums of `linear.moments_of` over some trials of an arm, by the meaning of their contexts."""
    length = spans[:, 1] - spans[:, 0]
    fits = (length == book.length) | (book.length < 0) & (length > 0)
    if not book.terms.context_key or not fits.any():
        return {}
    spans, reward = spans[fits], reward[fits]
    d = int(spans[0, 1] - spans[0, 0])
    x = contexts[spans[:, 0][:, None] + np.arange(d)]
    products = (x.T @ x)[np.triu_indices(d)]
    rewarded = (x * reward[:, None] // X_UNIT).sum(axis=0)
    return {book.terms.context_key: (*products.tolist(), *rewarded.tolist())}


def _places(column: Any) -> I64:
    """`place_of` of a column of log ids."""
    parts = pc.extract_regex(column.combine_chunks(), r"^(?P<ms>\d+)-(?P<n>\d+)$")
    ms, serial = (pc.cast(pc.struct_field(parts, k), pa.int64()).to_numpy(zero_copy_only=False) for k in range(2))
    places: I64 = ms << _SERIALS | serial
    return places
