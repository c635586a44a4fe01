"""A rule set's messages as kernels choose among them, and what they tell of the choice: columns and rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.kernels.linear import Room

I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]

SHARE_UNIT = 1 << 30
DAY_MS = 86_400_000
WITHHELD, DEFERRED = 2, 4  # flags of a touch, as in state.model
# Filters in their order, as in step.reasons; the first three are the funnel's.
ELIGIBILITY, WHEN, UNLESS, PAUSE, CONSENT, SUPPRESSION, CHANNEL, HOURS, LIMITS, VOLUME = range(1, 11)
TRIAL, TEXT, RANK, RESERVE = range(11, 15)
STAGES = 15

# Columns of `Messages.table`.
TIER, PURPOSE, TOPIC, PRODUCT, STAGE, KEY, QUIET, VALUE = range(8)
ELIGIBLE_AT, ELIGIBLE_END, WHEN_AT, UNLESS_AT, CHANNEL_AT, CHANNEL_END, VARIANT_AT, VARIANT_END = range(8, 16)
POLICY, STICKY, ALL_FIT, OWN_SHARES, TOPIC_AT, TOPIC_END, HOLDOUT, LEAVE, BY_NAME = range(16, 25)
# What may suppress the message: a touch with one of these bits, or so many touches (0: none).
OUTCOMES, TOUCHES_MAX = 25, 26
ENROLS = 27  # not everybody is in the policy's trial, or drawn by what it learnt
LEARNED = 28  # it ranks by what it has learnt
CONTEXT_AT, CONTEXT_END = 29, 30
MESSAGE_COLUMNS = 31
# Kinds of slots: a value, a double (which must be finite), a condition, a constant, a constant that is none.
PLAIN, FLOATING, CONDITION, ALWAYS, NEVER = range(5)

# Columns of `Chosen.rows`.
STATUS, MESSAGE, VARIANT_NO, TEXT_ROW, AT_MS, SEND_BEFORE, REPORT_BY = range(7)
IS_DEFERRED, SHARES, MESSAGE_SHARE, VARIANT_SHARE, U_MESSAGE, U_VARIANT, IS_STICKY, FITTING = range(7, 15)
STOP_STAGE, STOP_CODE, STOP_X, STOP_Y, STOP_COUNT, STOP_FREES = range(15, 21)
SEEN_AT, FITS, STOPS, OUTRANKED, CHANNEL_ROW = range(21, 26)
ROW = 26
# STATUS: LEFT to the step in Python, shares of variants are wanted first, and what was decided.
TO_PYTHON, SHARES_WANTED, SENDS, HELD_OUT, REFUSED, BY_RULES, NO_RULE = range(1, 8)
# Columns of `Chosen.seen`: the message, what stopped it (stage and the stop's code; stage 0: nothing; -1: outranked),
# rank (bits of a double), share of the draw among messages; of one that ranks by what it has learnt the row of its
# shares, else -1, and its value (bits).
SEEN_MESSAGE, SEEN_STAGE, SEEN_CODE, SEEN_RANK, SEEN_SHARE, SEEN_ROW, SEEN_VALUE = range(7)
SEEN = 7
# Columns of `Given.shares`; SHARE_MODEL: where a linear policy's model begins in `models`, else -1.
SHARE_M, SHARE_FIT, SHARE_VERSION, SHARE_MODEL, SHARES_FROM = range(5)
# Codes of stops that are not another kernel's.
NO_CHANNEL, BLOCKED_CHANNEL = 1, 2
NOT_FIT, ASSIGNED_UNFIT, NO_WEIGHT = 1, 2, 3
LEFT_OUT = 2  # and the assignment: who is not in the trial hears nothing
# By what a variant was drawn, as in learning.enrolment: from OUTSIDE on it is no part of the trial.
OUTSIDE, OVER = 2, 4


class Messages(NamedTuple):
    """A rule set's messages. Spans of names lie in `names`; columns are of `trues`, or -1."""

    table: I64  # (M, MESSAGE_COLUMNS)
    constant: F64  # (M,): the value where its column is -1
    reserve: F64  # (M,): the least rank at which it is said; minus infinity where there is none
    eligible: I64  # columns of conditions
    channels: I64  # (.., 5): conditions' begin and end, hash, span of the name
    conditions: I64  # columns
    variants: I64  # (.., 3): key, set of languages, first row in `texts`
    texts: I64  # (.., 2): slots' begin and end; per variant by language and channel
    slots: I64  # (.., 2): kind, column
    contexts: I64  # (.., 3): kind as of slots (PLAIN: an integer), column, and of an ALWAYS its part of the context
    purposes: I64  # (P + 1, 4): hash, span of the name, whether consent is required; the last one is for learning
    names: U8


class Given(NamedTuple):
    """What else a choice depends on: what may change between batches."""

    paused: U8  # (M,)
    places: I64  # (languages, sets): a language's place among a set's, -1 where it has none
    share_slots: NDArray[np.int32]  # a power of two: rows of `shares`, by message and variants; -1
    # (rows, SHARES_FROM + most variants): message, fitting variants (bits), version, model, the shares. Where they are
    # not what the policy learnt, minus the assignment stands for the version; less OVER, where the variant for that is
    # not fit.
    shares: I64
    models: F64  # of linear policies, see kernels.linear
    rates: F64  # (rows, 2): by row of `shares`, of messages that rank by them: the best reward, and the rate
    rate_spans: I64  # (rows, 3): in `rate_texts`: what stands ahead of the value in the log, and behind it
    rate_texts: U8
    own: I64  # (.., 2): an event and a row of `shares` that is its own (shares by segment); ascending by event
    key0: np.uint64  # of the draw
    key1: np.uint64


class Zones(NamedTuple):
    """The tables of `engine.zones.ZONES`, and the zone of every event, -1 where it is unknown."""

    of: I64
    starts: I64
    at_s: I64
    offset_s: I64


class Facts(NamedTuple):
    """What the rules gave, as `evaluate` and `funnel` hand it back; by row."""

    values: F64  # (V, rows)
    value_ok: U64  # (W, V)
    trues: U64  # (W, B)
    possibles: U64  # (W, B)
    starts: I64  # (rows + 1,)
    found: NDArray[np.int32]
    furthest: NDArray[np.int32]
    stage: NDArray[np.int8]


class Customers(NamedTuple):
    """A batch's customers, by event."""

    customer: U64  # (events, 2): the digest
    event: U64  # (events,)
    contact: I64  # (events, 2): span in `data`
    language: I64  # (events,): number of the language
    held_out: U8  # (events,)
    now_ms: I64  # (events,)


class Scratch(NamedTuple):
    """Room for one event."""

    waits: I64  # (2 x quiet hours + 2, 4): event, at, code, frees
    order: I64  # (M, 4): message, whether it waits, stage and code of its stop, the row of shares of a learned rank
    values: F64  # (M,)
    ranks: F64  # (M,): once its filters were run
    live: I64  # (MAX_TOUCHES,)
    times: I64  # (MAX_TOUCHES,)
    shares: I64  # (most variants,)
    linear: Room


class Chosen(NamedTuple):
    """Results: a row an event, and the messages looked at."""

    rows: I64  # (events, ROW)
    ranks: F64  # (events,): of the message that was drawn
    seen: I64  # (room, SEEN)
    used: I64  # (1,)
    shares: I64  # (events, most variants): that the variant was drawn from
    contexts: I64  # (events, longest): what a linear policy looked at
