"""The log folded by columns gives the sums that the learner gives, entry by entry."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.compiler.model import Learning, Policy, Position
from engine.decision import Outcome, OutcomeKind, Reason
from engine.identity import BUCKETS
from engine.learning.fold import BucketFold, Increments, parts_of
from engine.learning.linear import REWARD_UNIT
from engine.readout.refold import DECISION_COLUMNS, LAST, OUTCOME_COLUMNS, Refold, Refolded
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
    st.lists(DECISIONS, max_size=12),  # also some of one id: it was used again, or the customer erased
    st.lists(OUTCOMES, max_size=30),
    st.integers(0, 3),
    st.booleans(),
)
def test_columns_and_entries_give_the_same_sums(
    decisions: list[DecisionEntry], outcomes: list[OutcomeEntry], bucket: int, in_time: bool
) -> None:
    entries: list[Entry] = list(decisions)
    for o in outcomes:  # some soon, some late, some of nothing that is known
        trials = [d for d in decisions if (d.customer, d.event) == (o.customer, o.event)]
        if trials and o.kind % 3:
            o.at_ms = o.occurred_ms = trials[o.at_ms % len(trials)].at_ms + o.at_ms % 60_000
        entries.append(o)
    if in_time:
        entries.sort(key=lambda e: e.at_ms)
    refolded = same_sums(entries, bucket)
    assert refolded.trials == sum(state.trials for state in refolded.arms.values())


def same_sums(entries: list[Entry], bucket: int) -> Refolded:
    """What columns give, which is what entries give."""
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
    return refolded


def test_an_event_id_that_was_used_again() -> None:
    """Each trial has the reports that came after it, until it closed; what came while two were open is of both."""
    entries: list[Entry] = []
    for at_ms, variant, kind in (
        (0, "x", OutcomeKind.REPLIED),
        (90_000, "y", OutcomeKind.DELIVERED),
        (120_000, "z", OutcomeKind.CONVERTED),
    ):
        one = DecisionEntry(
            at_ms, b"a" * 16, 1, 0, b"", b"", "e", "r", int(Outcome.SEND), int(Reason.SELECTED), message="m",
            variant=variant, policy="gone", attribution_s=50, terms='{"reward":{"replied":1.0,"converted":1.0}}',
        )  # fmt: skip
        entries += [one, OutcomeEntry(at_ms + 5, at_ms + 5, one.customer, 1, 0, 0.0, int(kind))]
    arms = same_sums(entries, 3).arms
    assert {arm.variant: state.reward for arm, state in arms.items()} == dict.fromkeys("xyz", REWARD_UNIT // 2)
