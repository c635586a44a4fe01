"""The log folded by columns gives the sums that the learner gives, entry by entry."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.compiler.model import Learning, Policy, Position
from engine.decision import Outcome, OutcomeKind, Reason
from engine.identity import BUCKETS
from engine.learning.fold import BucketFold, Increments, parts_of
from engine.readout.refold import DECISION_COLUMNS, LAST, OUTCOME_COLUMNS, Refold
from engine.state.log import DecisionEntry, Entry, LogRow, OutcomeEntry, encode
from engine.state.tables import tables_of

HERE = Position("x.yaml", 1, 1)
OWN = {"replied": 1.0, "converted": 2.0, "opted_out": -1.0}
POLICIES = {
    "bandit": Policy("bandit", "thompson", OWN, 50, 0.0, None, (), {}, False, False, "drop", HERE),
    "forgets": Policy(
        "forgets", "ucb1", OWN, 50, 0.0, None, (), {}, False, True, "drop", HERE, Learning(window_s=64 * 3600)
    ),
    "trial": Policy("trial", "fixed", {}, 50, 0.0, None, (), {}, False, False, "drop", HERE),
}
TERMS = (
    "",
    "fixed",
    '{"reward":{"replied":1.0}}',
    '{"reward":{"replied":0.3,"opted_out":-2.0},"pool":true}',
    '{"reward":{"converted":5.0},"hours":4}',
    '{"reward":{"replied":1.0},"context":7}',
    '{"reward":{"replied":1.0},"context":18446744073709551615}',
)
DECISIONS = st.builds(
    lambda at_ms, customer, event, policy, message, variant, segment, terms, context, wait, flags: DecisionEntry(
        at_ms, bytes([customer]) * 16, event, 0, b"", b"", "e", "r", int(Outcome.SEND), int(Reason.SELECTED),
        slot=event % 2, message=message, variant=variant, policy=policy, segment=segment, send_at_ms=at_ms + wait,
        attribution_s=50, withheld=flags == 1, sticky=flags == 2, assignment=flags % 6, terms=terms,
        context=[1024, *context] if "context" in terms else [],
    ),
    st.integers(0, 200_000_000), st.integers(0, 1), st.integers(1, 6), st.sampled_from((*POLICIES, "", "gone")),
    st.sampled_from("mn"), st.sampled_from("xy"), st.sampled_from(("", "s")), st.sampled_from(TERMS),
    st.tuples(st.integers(-16384, 16384)), st.sampled_from((0, 40_000)), st.integers(0, 8),
)  # fmt: skip
OUTCOMES = st.builds(
    lambda at_ms, customer, event, kind: OutcomeEntry(
        at_ms, at_ms, bytes([customer]) * 16, event, 0, 0.0, int(kind), event % 2
    ),
    st.integers(0, 200_100_000), st.integers(0, 1), st.integers(1, 6), st.sampled_from(list(OutcomeKind)),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.lists(DECISIONS, max_size=12, unique_by=lambda e: (e.customer, e.event)),
    st.lists(OUTCOMES, max_size=30),
    st.integers(0, 3),
)
def test_columns_and_entries_give_the_same_sums(
    decisions: list[DecisionEntry], outcomes: list[OutcomeEntry], bucket: int
) -> None:
    known = {(d.customer, d.event): d for d in decisions}
    entries: list[Entry] = list(decisions)
    for o in outcomes:  # some soon, some late, some of nothing that is known
        trial = known.get((o.customer, o.event))
        if trial is not None and o.kind % 3:
            o.at_ms = o.occurred_ms = trial.at_ms + o.at_ms % 60_000
        entries.append(o)
    rows = [LogRow(bucket, f"{k}-{k % 3}", encode(e)) for k, e in enumerate(entries, 1)]
    fold, increments = BucketFold(), Increments()
    fold.extend((row.log_id, part) for row, part in zip(rows, parts_of([row.d for row in rows]), strict=True))
    fold.settle(10**12, POLICIES, increments)
    refold = Refold(POLICIES)
    for part in (rows[len(rows) // 2 :], rows):  # in any order, and more than once
        tables = tables_of(part)
        if "outcome" in tables:
            refold.report(tables["outcome"].select(OUTCOME_COLUMNS))
        if "decision" in tables:
            refold.take(tables["decision"].select(DECISION_COLUMNS))
    refolded = refold.sums(np.full(BUCKETS, LAST))
    assert refolded.arms == increments.arms
    assert refolded.trials == sum(state.trials for state in increments.arms.values())
