"""What a policy had learnt when it drew, worked out from the log."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine.compiler.model import Policy, Position
from engine.decision import OutcomeKind
from engine.learning.enrolment import Assignment, assigned_shares
from engine.learning.fold import BucketFold, Increments, part_of
from engine.learning.posteriors import Posteriors
from engine.readout.log import Names, read_decisions, read_outcomes
from engine.readout.states import StateBook, Used
from engine.state.log import Entry
from tests.readout.written import DAY_MS, START_MS, archive, decision, outcome

HOUR_MS = 3_600_000
HERE = Position("x.yaml", 1, 1)
WORDS = Policy("words", "thompson", {"replied": 1.0}, 86_400, 0.0, None, (), {}, False, False, "drop", HERE)


def test_an_event_id_that_was_used_again(tmp_path: Path) -> None:
    """What is worked out is what the learner folds: each of both trials with its own reports."""
    shares = {"a": 1 << 29, "b": 1 << 29}
    entries: list[Entry] = []
    for event in range(1, 6):
        first = decision("ana", event, START_MS + event * HOUR_MS, shares, "a", attribution_s=86_400)
        second = decision("ana", event, first.at_ms + 2 * DAY_MS, shares, "b", attribution_s=86_400)
        entries += [first, outcome(first, OutcomeKind.REPLIED), second, outcome(second, OutcomeKind.DELIVERED)]
    entries.sort(key=lambda e: e.at_ms)
    fold, increments = BucketFold(), Increments()
    fold.extend((f"{n}-0", part_of(entry)) for n, entry in enumerate(entries, 1))
    now_ms = START_MS + 9 * DAY_MS
    fold.settle(now_ms, {"words": WORDS}, increments)
    learnt = assigned_shares(WORDS, Assignment.POLICY, "offer", "", ("a", "b"), Posteriors(1, increments.arms), ())

    log, names, book = archive(tmp_path, entries), Names(), StateBook({"words": WORDS})
    for decisions in read_decisions(log, names):
        book.take(decisions)
    for outcomes in read_outcomes(log, names):
        book.report(outcomes)
    book.use(Used("words", "offer", "", 1, ("a", "b"), (), learnt.shares, 1))
    book.note(np.array([1]), np.array([now_ms]))
    [found] = book.judge(begins=True)
    assert (found.off, found.sure) == (0, True)
