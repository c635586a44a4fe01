"""What a verification finds: counts, and the first entries of each kind that do not hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from engine.readout.log import Decisions, Flags

CHECKS: Mapping[str, str] = {
    "message": "the message is not the one that its shares and uniform draw",
    "variant": "the variant is not the one that its shares and uniform draw",
    "shares": "shares do not sum to 2^30, or a stopped message has one",
    "uniform": "the uniform is not the draw's of this customer, event and slot",
    "message_shares": "the messages' shares are not what the candidates' ranks give",
    "rank": "a rank is not what it was made of, what the rules say, or on the right side of the reserve",
    "learnt_rank": "a rank was made of what its policy cannot have learnt by then",
    "variant_shares": "the variants' shares are not what the policy gives",
    "assignment": "the customer is, or is not, in the trial or its slice, unlike the log says",
    "learnt_shares": "the variants' shares are not those of any state that the policy can have learnt by then",
    "same_state": "the same policy state gave other shares elsewhere in the log",
    "reason": "outcome, reason, draw and candidates contradict each other",
    "outcome": "an outcome names another message or variant than its decision",
    "twice": "the entry stands twice in the log",
    "count": "a run of the archive holds more or fewer entries than were read from the store",
}
EXAMPLES = 10  # of each kind that are told
Words = Callable[[int], tuple[str, str]]  # row -> found, expected


class Difference(NamedTuple):
    """One entry that does not hold. `check` is a key of CHECKS."""

    check: str
    decision_id: str
    log_id: str
    path: str
    found: str
    expected: str


@dataclass(slots=True)
class Verdict:
    """What was looked at and what differs. `counts`: differing entries by check; `differences`: the first of each.

    `drawn`: decisions with a draw. `recomputed`: whose variant shares were worked out anew, `units`: of these, those
    that differ by one unit, `near`: by more, but by no more than another version's arithmetic. `open_shares`: whose
    policy state, or rule set, the log does not hold. `between`: whose message was drawn by softmax or thompson, the
    shares worked out anew. `ranks`: learned ranks worked out anew, `open_ranks`: taken as logged. `erased`: entries
    that erasures took out.
    """

    decisions: int = 0
    drawn: int = 0
    outcomes: int = 0
    recomputed: int = 0
    units: int = 0
    near: int = 0
    open_shares: int = 0
    between: int = 0
    ranks: int = 0
    open_ranks: int = 0
    erased: int = 0
    other_revision: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Nothing differs."""
        return not self.counts

    def count_off(self, off: int, count: int) -> None:
        """Counts what was worked out anew and is `off` by so many units."""
        self.units += count if off == 1 else 0
        self.near += count if off > 1 else 0

    def tell(self, d: Decisions, check: str, bad: Flags, words: Words) -> None:
        """Counts the rows of `bad` under a check, and keeps the first of them."""
        rows = np.flatnonzero(bad)
        if not len(rows):
            return
        told = min(self.counts[check], EXAMPLES)
        self.counts[check] += len(rows)
        for i in rows[: EXAMPLES - told].tolist():
            log_id = str(d.table["log_id"][i])
            self.differences.append(Difference(check, d.decision_id(i), log_id, str(d.path), *words(i)))


def same(words: tuple[str, str]) -> Words:
    """The same words for every row."""
    return lambda i: words
