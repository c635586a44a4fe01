"""The vocabulary of the pipeline: requests in, decisions out. A leaf module; `service/codec.py`
carries it to protobuf and back.

Times are int milliseconds since 1970 unless the name says otherwise. Attribute and feature values
are Python values as in `compiler.nodes`: bool, int, float, str, or a tuple of str. Whether an int is an
integer, nanoseconds, days or billionths of a currency's unit is what the rule set declares.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

SHARE_UNIT = 1 << 30  # shares and draws are integers of this


class Outcome(IntEnum):
    """Numbers as in decision.proto."""

    SEND = 1
    NO_MESSAGE = 2


class Reason(IntEnum):
    """The closed list; numbers as in decision.proto."""

    SELECTED = 1
    NO_RULE_FOR_EVENT = 10
    NOT_IN_AUDIENCE = 11
    NOT_ELIGIBLE = 12
    DATA_MISSING = 13
    DATA_STALE = 14
    WINDOW_INCOMPLETE = 15
    LEFT_ALONE = 16
    NO_CONSENT = 20
    OPTED_OUT = 21
    TOPIC_BLOCKED = 22
    CHANNEL_BLOCKED = 23
    OUTSIDE_PREFERRED_HOURS = 24
    QUIET_HOURS = 30
    CAP_REACHED = 31
    GAP_NOT_ELAPSED = 32
    VOLUME_REACHED = 33
    ALREADY_CONVERTED = 34
    ALREADY_DECLINED = 35
    REPEATEDLY_IGNORED = 36
    NO_CHANNEL = 37
    HOLDOUT = 40
    VARIANT_UNAVAILABLE = 41
    NOT_IN_TRIAL = 42
    BELOW_RESERVE = 43
    OUTRANKED = 44
    TEXT_UNAVAILABLE = 50
    EVENT_TOO_OLD = 51
    SEND_BY_PASSED = 52
    STATE_UNKNOWN = 60
    PAUSED = 61
    LOG_FULL = 62


class OutcomeKind(IntEnum):
    """Numbers as in decision.proto."""

    DELIVERED = 1
    NOT_DELIVERED = 2
    OPENED = 3
    CLICKED = 4
    REPLIED = 5
    CONVERTED = 6
    OPTED_OUT = 7
    DECLINED = 8
    COMPLAINED = 9


ARRIVED = frozenset(OutcomeKind) - {OutcomeKind.NOT_DELIVERED}  # whatever is reported besides that implies it
ARRIVED_BITS = sum(1 << kind for kind in ARRIVED)
# what may be reported without a decision, and by what its message is found
BY_PRODUCT = frozenset((OutcomeKind.CONVERTED, OutcomeKind.DECLINED, OutcomeKind.COMPLAINED))
BY_CHANNEL = frozenset((OutcomeKind.OPENED, OutcomeKind.CLICKED, OutcomeKind.REPLIED))


@dataclass(slots=True)
class Event:
    """`occurred_at_ns` None: the moment the state is read."""

    event_id: str
    customer_id: str
    type: str
    occurred_at_ns: int | None
    attributes: dict[str, object]


@dataclass(slots=True)
class DecideRequest:
    """`fingerprint` is of the content as it came, None: to be worked out from the decoded event."""

    event: Event
    max_messages: int = 1
    dry_run: bool = False
    fingerprint: int | None = None


@dataclass(slots=True)
class Outcomes:
    """One report on a decision. `outcome_id` "": once per decision and kind. `category`: what a reply was about.

    Where `decision_id` is "", on what a customer did: with `product` or `channel`, `outcome_id` and `occurred_at_ms`.
    """

    decision_id: str
    kind: OutcomeKind
    occurred_at_ms: int | None
    value: float
    outcome_id: str
    failure: str
    category: str = ""
    customer_id: str = ""
    product: str = ""
    channel: str = ""


@dataclass(slots=True)
class OutcomeResult:
    """`exceeded`: the cap or gap that a booking again (DELIVERED after NOT_DELIVERED) broke.

    `credited_decision_ids`: of a report that names no decision.
    """

    repeated: bool
    cancelled_decision_ids: list[str]
    exceeded: str = ""
    credited_decision_ids: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Details:
    """What a reason refers to; only what applies is set."""

    message: str = ""
    feature: str = ""
    window: str = ""
    attribute: str = ""
    condition: str = ""
    cap: str = ""
    gap: str = ""
    slot: str = ""
    channel: str = ""
    purpose: str = ""
    topic: str = ""
    count: int = 0
    limit: int = 0
    frees_at_ms: int = 0
    cause: str = ""


@dataclass(slots=True)
class Decision:
    """The answer for one event (one of a slate). Field by field as in decision.proto."""

    outcome: Outcome
    reason: Reason
    details: Details = field(default_factory=Details)
    reason_text: str = ""
    message: str = ""
    variant: str = ""
    channel: str = ""
    locale: str = ""
    text: str = ""
    slots: dict[str, str] = field(default_factory=dict)
    suggested_replies: list[str] = field(default_factory=list)
    sender: str = ""
    purpose: str = ""
    topic: str = ""
    stage: str = ""
    product: str = ""
    send_after_ms: int = 0
    send_before_ms: int = 0
    report_by_ms: int = 0
    confirm_before_sending: bool = False
    provisional: bool = False
    slot: int = 0
    score: float = 0.0
    message_share: int = 0
    variant_share: int = 0
    policy: str = ""
    policy_version: int = 0
    revision: str = ""
    decision_id: str = ""
    event_id: str = ""
    customer_id: str = ""

    @property
    def propensity(self) -> float:
        """Probability of this message and variant, exactly the product of the two shares."""
        return (self.message_share / SHARE_UNIT) * (self.variant_share / SHARE_UNIT)
