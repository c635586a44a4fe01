"""A checked rule set, as plain immutable data: the output of checking, the input of everything else.

Names keep the order in which they were written. Every declaration knows its position.
Times and spans are in the unit their name says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.compiler.frozen import frozen
from engine.compiler.nodes import Node, Span, Type

if TYPE_CHECKING:
    from engine.compiler.source import Finding
    from engine.compiler.tree import Scalar


@frozen
class Position:
    """Where something is written. `line` and `column` count from 1; columns are characters."""

    path: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row of a decision table: its number in the file, its place, and its text."""

    number: int
    position: Position
    text: str


@dataclass(frozen=True, slots=True)
class TableSource:
    """Where a decision table is written: each input's span in the expression's text with its place in the file,
    and the rows in the order in which they are asked."""

    inputs: tuple[tuple[Span, Position], ...]
    rows: tuple[TableRow, ...]


@frozen
class Expression:
    """A checked CEL expression with its text as written.

    It begins at character `offset` of `scalar`, for findings about a part of it; None where nobody wrote it.
    An output of a decision table has its inputs, one behind another, as text, and a `table`.
    """

    text: str
    node: Node
    position: Position
    scalar: Scalar | None = field(default=None, compare=False, repr=False)
    offset: int = field(default=0, compare=False, repr=False)
    table: TableSource | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Attribute:
    """A field of an event type. `unit` of money is its currency."""

    name: str
    type: Type
    unit: str | None
    personal: bool
    position: Position

    @property
    def kind(self) -> str:
        """The type in words, of money with its currency: what must agree where event types share an expression."""
        return f"{self.type} in {self.unit}" if self.type is Type.MONEY else str(self.type)


@dataclass(frozen=True, slots=True)
class EventType:
    """An event type. Every event also has `event.occurred_at` (time) and `event.type` (text)."""

    name: str
    attributes: Mapping[str, Attribute]
    position: Position


@dataclass(frozen=True, slots=True)
class Feature:
    """A stored field of the customer. Outside `above`/`at_least`/`at_most` counts as missing.

    `unit` of money is its currency; `default` and the bounds are values of `type` (of money: billionths).
    """

    name: str
    type: Type
    unit: str | None
    personal: bool
    default: object | None
    above: float | None
    at_least: float | None
    at_most: float | None
    max_age_s: int | None
    position: Position


@dataclass(frozen=True, slots=True)
class Period:
    """`7 days`, `36 hours`, `12 months`: `amount` of `unit` (second, minute, hour, day, week, month)."""

    amount: int
    unit: str

    @property
    def span_s(self) -> int:
        """Seconds, a month counted as 31 days (so as an upper bound)."""
        per = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800, "month": 31 * 86400}
        return self.amount * per[self.unit]

    def __str__(self) -> str:
        return f"{self.amount} {self.unit}{'' if self.amount == 1 else 's'}"


COUNTING = frozenset(("count", "distinct", "months_with", "days_with"))  # kinds of windows that are never negative
PRESENT = COUNTING | {"sum"}  # kinds that have a value also where there was no event
DISTINCT_MAX = 100  # `distinct` counts to here: more is 'at least so many'


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One aggregate of `having`: `kind` (count, sum, minimum, maximum, mean) of a bucket's events.

    `path` is what the condition calls it; `parts` are places among the window's parts: of the mean a sum
    and a count, else one.
    """

    path: str
    kind: str
    parts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Having:
    """Which buckets count: a condition over aggregates of the bucket's events."""

    expression: Expression
    aggregates: tuple[Aggregate, ...]


@dataclass(frozen=True, slots=True)
class Window:
    """An aggregate the engine keeps from events.

    `kind` is count, sum, minimum, maximum, mean, last, distinct, months_with or days_with. `value` is the
    aggregated expression over the event (`payment.amount` is `event.amount`); None for count, months_with and
    days_with. `type` is the window's own: integer for these and distinct, number for mean, else the value's;
    `unit` is the value's, None for what counts. Of `over` (rolling) and `calendar` (the running day, week or
    month) one is set, neither for last.
    `daily`: kept by day, however long the span.
    `definition` is a canonical text of what is counted: its hash keys the stored state. A window with `parts`
    is not stored itself but read from them: mean from a sum and a count, one with `having` from a count (the
    first, of all events) and what the condition needs.
    """

    name: str
    kind: str
    event: str
    value: Expression | None
    where: Expression | None
    over: Period | None
    since_start_zero: bool
    type: Type
    definition: str
    position: Position
    unit: str | None = None
    calendar: str | None = None
    daily: bool = False
    parts: tuple[Window, ...] = ()
    having: Having | None = None

    @property
    def stored(self) -> tuple[Window, ...]:
        """What is stored for it: its parts, or itself."""
        return self.parts or (self,)


@frozen
class Text:
    """What is said in one language: text, per-channel texts, suggested replies."""

    text: str
    channels: Mapping[str, str]
    replies: tuple[str, ...]
    position: Position


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of a product's eligibility. `name` is "" where only one was written."""

    name: str
    expression: Expression
    because: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Product:
    name: str
    eligible: tuple[Condition, ...]
    otherwise: Mapping[str, str]
    position: Position


@frozen
class Slot:
    """A value put into texts. `shape` is text, integer, number, money, date or days. Texts are listed."""

    name: str
    expression: Expression
    shape: str


@frozen
class ChannelChoice:
    """A channel a message may take, with its condition for this message, in order of preference."""

    channel: str
    when: Expression | None
    position: Position


@frozen
class Variant:
    name: str
    texts: Mapping[str, Text]
    position: Position


@frozen
class Reserve:
    """The least rank at which a message is said."""

    least: float
    position: Position


@frozen
class Message:
    """Something that can be said. `on` is None for every event type.

    `learned`: it ranks by its value x what its policy has learnt (`engine.learning.ranks`), else by its value.

    `slots` holds every slot its texts use, declared or not: `{first_name}` that is no declared slot
    is the feature of that name, `{event.amount:money}` is the expression in full.
    """

    name: str
    product: str | None
    purpose: str
    topic: str | None
    stage: str | None
    on: tuple[str, ...] | None
    when: Expression | None
    unless: Expression | None
    value: Expression
    channels: tuple[ChannelChoice, ...]
    slots: Mapping[str, Slot]
    variants: Mapping[str, Variant]
    policy: str | None
    sender: str | None
    about: Expression | None
    was: tuple[str, ...]
    position: Position
    former_topics: tuple[str, ...] = ()
    learned: bool = False
    reserve: Reserve | None = None

    @property
    def topics(self) -> tuple[str, ...]:
        """Present and former names of its topic; empty where it has none."""
        return (self.topic, *self.former_topics) if self.topic is not None else ()


@dataclass(frozen=True, slots=True)
class Purpose:
    """`if_state_unknown` is silent or send. `tier` 1 is served first; without one it is 2.

    A customer's stop closes it and `stops`.
    """

    name: str
    consent_required: bool
    quiet_hours: str | None
    if_state_unknown: str
    holdout: bool
    tier: int
    position: Position
    stops: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Channel:
    name: str
    when: Expression | None
    position: Position


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From and to in minutes of the day, may span midnight. `zone` is "customer" or an IANA name.

    `unknown_zones`: where the customer's zone is unknown it must be open in all of these; empty: nothing is said.
    """

    name: str
    from_minute: int
    to_minute: int
    zone: str
    then: str  # defer or drop
    position: Position
    unknown_zones: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cap:
    """At most `at_most` touches per combination of `per` in a rolling period or a calendar unit.

    `per` is drawn from customer, channel, topic, message, product, stage, purpose, about; customer is
    always meant. Exactly one of `over` and `calendar` (day, week, month) is set. `purposes` None: all
    but tier 1. `title` is the declared name or a sentence made from the rule; `preset` the regime it is of.
    """

    title: str
    at_most: int
    per: tuple[str, ...]
    over: Period | None
    calendar: str | None
    purposes: tuple[str, ...] | None
    position: Position
    preset: str = ""


@dataclass(frozen=True, slots=True)
class Gap:
    """At least `apart` between two touches of the same `per`."""

    title: str
    apart: Period
    per: tuple[str, ...]
    purposes: tuple[str, ...] | None
    position: Position


@dataclass(frozen=True, slots=True)
class Learning:
    """How a policy that learns does it; each kind reads what concerns it.

    model         of thompson: beta or gaussian
    epsilon       of epsilon_greedy: the share that explores
    temperature   of softmax
    prior_*       what is thought before anything was seen: a rate of reward, and how many trials that is worth
    shrink        trials that what was seen in other segments is worth at most; 0: each segment by itself
    half_life_s, window_s   what has been seen counts half after, or not at all after; 0: for ever
    values        what a variant's reward is multiplied by, where it is not 1
    explore       of linear policies: the standard deviation of one reward; widens what is tried
    hybrid        of linear policies: variants have coefficients in common, and deviate from them
    """

    model: str = "beta"
    epsilon: float = 0.1
    temperature: float = 0.05
    prior_rate: float = 0.5
    prior_weight: float = 2.0
    shrink: float = 0.0
    half_life_s: int = 0
    window_s: int = 0
    values: Mapping[str, float] = field(default_factory=dict)
    explore: float = 0.5
    hybrid: bool = False

    @property
    def bucket_h(self) -> int:
        """Hours that closed trials are summed by, so that they can be forgotten; 0: all together."""
        span_s = self.half_life_s or self.window_s
        return max(1, span_s // 3600 // 16) if span_s else 0


@dataclass(frozen=True, slots=True)
class Suppression:
    """Nothing more of the same `per` for as long as `lasts`, counted from when the last of them was sent.

    `after` is converted, declined or ignored: the latter `times` in a row, sent `within` that span.
    """

    title: str
    after: str
    times: int
    within: Period | None
    lasts: Period
    per: tuple[str, ...]
    purposes: tuple[str, ...] | None
    position: Position


@dataclass(frozen=True, slots=True)
class VolumeCap:
    """At most `at_most` messages to all customers together in a calendar day, week or month of `zone`.

    `per` is drawn from channel, topic, message, product, stage, purpose; empty: all are counted together.
    """

    title: str
    at_most: int
    per: tuple[str, ...]
    calendar: str
    zone: str
    purposes: tuple[str, ...] | None
    position: Position


LEARNING = "learning"  # a consent's purpose that no rule set declares: withdrawn, the customer is not learnt from


@dataclass(frozen=True, slots=True)
class Kpi:
    """An attribute of an event type (number, integer or money) whose sum the readout tells."""

    name: str
    event: str
    value: Expression
    position: Position


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of all customers: those whose hash, salted by `owner` and `salt`, lies within [low, high) of 2^64."""

    owner: str
    salt: str
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Layer:
    """Trials that exclude each other: a customer is in one slice at most. `slices` by policy, as written."""

    name: str
    salt: str
    slices: Mapping[str, Slice]
    position: Position


@dataclass(frozen=True, slots=True)
class Enrolment:
    """Who is in a policy's trial: from `from_ms` until before `until_ms` (None: always), the customers of `part`
    (None: all). Others get the variant `outside`, when it is over `then`; "": the message is not said.
    """

    from_ms: int | None
    until_ms: int | None
    part: Slice | None
    outside: str
    then: str


@dataclass(frozen=True, slots=True)
class FixedSlice:
    """Customers of a policy that learns who are drawn by `weights` (empty: all the same), whatever was learnt."""

    part: Slice
    weights: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Policy:
    """How a variant is chosen. `kind` is fixed, or one of `engine.learning.kinds`.

    `reward` maps outcome kinds in lower case to values; `weights` variant names to weights (fixed).
    `by` keys the learned state; `if_unfit` is leave_out or drop. `context` is what linear policies look at,
    `context_key` its meaning as a hash (0: none). `enrolment` None: everybody is in the trial, for ever.
    `report_by` are values that are logged for the readout.
    """

    name: str
    kind: str
    reward: Mapping[str, float]
    attribution_s: int
    floor: float
    control: str | None
    by: tuple[Expression, ...]
    weights: Mapping[str, float]
    sticky: bool
    pool: bool
    if_unfit: str
    position: Position
    learning: Learning = field(default_factory=Learning)
    context: tuple[Expression, ...] = ()
    context_key: int = 0
    enrolment: Enrolment | None = None
    fixed_slice: FixedSlice | None = None
    report_by: tuple[Expression, ...] = ()

    @property
    def enrols(self) -> bool:
        """Whether it depends on customer or time who is in the trial, or drawn by what was learnt."""
        return self.enrolment is not None or self.fixed_slice is not None


@frozen
class Arbitration:
    """How one message of the best tier is taken: the largest rank (best), or drawn (softmax, thompson).

    `floor`: no candidate that can be drawn gets less; `temperature`, of softmax, is in the unit of ranks.
    """

    kind: str = "best"
    floor: float = 0.0
    temperature: float = 0.0


@dataclass(frozen=True, slots=True)
class Holdout:
    share: float
    salt: str
    position: Position


@dataclass(frozen=True, slots=True)
class Given:
    """State a test starts from. Windows are what the rules will read, not what is stored.

    `zone` is the UTC offset written in `now` as a zone's name, None where it is not a whole hour.
    """

    features: Mapping[str, object]
    windows: Mapping[str, object]
    consent: tuple[str, ...]
    now_ns: int | None
    zone: str | None = None


@dataclass(frozen=True, slots=True)
class Expect:
    """What a test expects; every part that is not None must hold."""

    send: str | None
    no_message: str | None
    eligible: tuple[str, ...] | None
    variant: str | None
    channel: str | None
    text: str | None


@dataclass(frozen=True, slots=True)
class Test:
    name: str
    given: Given
    event_type: str
    attributes: Mapping[str, object]
    expect: Expect
    holdout: bool
    position: Position
    in_trial: bool = True


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Everything a directory of rule files says. `revision` is its content hash (16 hex digits)."""

    revision: str
    files: Mapping[str, bytes]
    events: Mapping[str, EventType]
    features: Mapping[str, Feature]
    windows: Mapping[str, Window]
    facts: Mapping[str, Expression]
    products: Mapping[str, Product]
    messages: Mapping[str, Message]
    purposes: Mapping[str, Purpose]
    channels: Mapping[str, Channel]
    quiet_hours: Mapping[str, QuietHours]
    caps: tuple[Cap, ...]
    gaps: tuple[Gap, ...]
    policies: Mapping[str, Policy]
    holdout: Holdout | None
    default_language: str
    tests: tuple[Test, ...] = field(default=())
    warnings: tuple[Finding, ...] = field(default=())
    suppressions: tuple[Suppression, ...] = field(default=())
    volumes: tuple[VolumeCap, ...] = field(default=())
    layers: Mapping[str, Layer] = field(default_factory=dict)
    kpis: Mapping[str, Kpi] = field(default_factory=dict)
    arbitration: Arbitration = field(default_factory=Arbitration)
