"""What is remembered of a customer, as plain data; `profile.py` and `record.py` hold the bytes.

Times are int milliseconds since 1970 in the store's clock, unless the name says otherwise.
Names are 64-bit hashes (`identity.name_hash`), 0 for none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from engine.errors import CommitUnknown, StoreUnavailable, Unavailable
from engine.identity import CustomerKey

if TYPE_CHECKING:
    from engine.state.log import DecisionEntry


class ConsentEntry(NamedTuple):
    """The bank's word on one purpose; where `topic` or `channel` is not "", on that alone."""

    purpose: str
    granted: bool
    changed_at_ms: int
    source: str
    wording_version: str
    topic: str = ""
    channel: str = ""

    @property
    def scope(self) -> tuple[str, str, str]:
        """What it is said of."""
        return self.purpose, self.topic, self.channel


@dataclass(slots=True)
class Contact:
    """Contact preferences as the bank wrote them. Hours are minutes of the customer's day, or -1."""

    consents: list[ConsentEntry] = field(default_factory=list)
    blocked_topics: list[str] = field(default_factory=list)
    blocked_channels: list[str] = field(default_factory=list)
    preferred_from_minute: int = -1
    preferred_to_minute: int = -1


class Cell(NamedTuple):
    """One stored feature: `type` is a `compiler.nodes.Type` value; `value` as in nodes' table."""

    type: str
    value: object
    as_of_ms: int  # when the bank wrote it
    unit: str = ""  # of money: its currency


@dataclass(slots=True)
class Profile:
    """Written by the bank. `version` is 8 random bytes, b"" where there is none yet.

    `cells` is keyed by feature name.
    """

    version: bytes = b""
    cells: dict[str, Cell] = field(default_factory=dict)
    contact: Contact | None = None


class TouchFlag:
    """Bits of what is known of a touch, as plain integers (an IntFlag's operators take a microsecond each).

    Outcome bits are 1 << (8 + OutcomeReport.Kind).
    """

    RELEASED = 1  # not delivered, cancelled: does not count against caps
    WITHHELD = 2  # holdout: in the shadow log only
    DEFERRED = 4  # to be confirmed before sending
    CANCELLED = 8  # released by a STOP
    CONFIRMED = 16  # ConfirmSend said SEND: it is on its way

    @staticmethod
    def outcome(kind: int) -> int:
        """The bit of an outcome's kind."""
        return 1 << (8 + kind)


class Touch(NamedTuple):
    """One message booked against the caps, at the time it is to be sent."""

    at_ms: int
    event: int  # event hash
    slot: int
    message: int
    variant: int
    channel: int
    purpose: int
    topic: int
    product: int
    stage: int
    about: int
    policy: int
    policy_version: int
    send_before_ms: int
    report_by_ms: int
    flags: int

    def counts(self, shadow: bool) -> bool:
        """Whether filters see it: shadow readers (holdout customers) see withheld touches too."""
        return not self.flags & TouchFlag.RELEASED and (shadow or not self.flags & TouchFlag.WITHHELD)


class Answer(NamedTuple):
    """What was answered to an event (or that an outcome was taken), for idempotency.

    `body` is what `decider` needs to give the same bytes back; the layout is its own.
    """

    event: int
    fingerprint: int
    at_ms: int
    body: bytes


@dataclass(slots=True)
class WindowState:
    """Buckets of one window, oldest first: `buckets` holds bucket numbers, `values` what was
    gathered in each (count: how many; sum: the sum; months_with: 1; last: one entry, the value).
    `is_float` says whether values are doubles or integers (of at most 96 bits: money and far times).
    """

    is_float: bool = False
    buckets: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    since_ms: int = 0  # when it was first kept for this customer: complete once its span has passed
    last_used_ms: int = 0  # when a rule set last knew this window; dropped 30 days later


@dataclass(slots=True)
class Record:
    """Written by the engine alone. `version` is 8 random bytes, b"" where there is none yet.

    `windows` is keyed by the hash of the window's definition; `opt_outs` maps a purpose's hash
    (0: everything) to when; `assignments` maps (policy, message) to (variant, share of 2^30).
    `unknown` carries sections this version does not know, byte for byte, with their tag. `spilled`
    says which answers have keys of their own, and until when.
    """

    version: bytes = b""
    last_ms: int = 0
    since_ms: int = 0
    windows: dict[int, WindowState] = field(default_factory=dict)
    touches: list[Touch] = field(default_factory=list)
    opt_outs: dict[int, int] = field(default_factory=dict)
    assignments: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    unknown: list[tuple[int, bytes]] = field(default_factory=list)
    spilled: dict[int, int] = field(default_factory=dict)


class ReadRequest(NamedTuple):
    """One customer to read, with the event hashes whose spilled answers are wanted."""

    customer: CustomerKey
    events: tuple[int, ...]


class ReadEntry(NamedTuple):
    """The customer's blobs as stored (b"" where absent) and the spilled answers found, by event hash."""

    profile: bytes
    record: bytes
    spilled: dict[int, bytes]


class ReadBatch(NamedTuple):
    """`now_ms` is the store's TIME, read ahead of the blobs. Entries are in request order.

    `lost`: the places of customers whose part of the store could not be read; their entries are empty. `closed`: why
    nothing may be committed until somebody acknowledges, as far as is known; "" where it may.
    """

    now_ms: int
    entries: list[ReadEntry]
    lost: tuple[int, ...] = ()
    closed: str = ""


@dataclass(slots=True)
class Commit:
    """One customer's group. Everything is written, or nothing.

    `record` None: the record is not rewritten. `profile` None: likewise. `spills` are answers that
    move out of the record: (event hash, bytes, life in ms). `entries` go to the bucket's stream.
    `delete` erases profile and record (then `record` may hold the tombstone).
    """

    customer: CustomerKey
    record_version: bytes
    profile_version: bytes
    record: bytes | None
    profile: bytes | None = None
    spills: list[tuple[int, bytes, int]] = field(default_factory=list)
    entries: list[bytes] = field(default_factory=list)
    expire_record_ms: int = 0
    delete_profile: bool = False


class CommitStatus(NamedTuple):
    """`done`, or why not: moved (read and step again), late (past not_after), generation, log_full, unknown.

    Of a cluster also `unreachable`: nothing was executed, for want of the node. `after_s`: of `unknown`, for how long
    it may still be executed; nobody is to be told before.
    """

    status: str
    log_id: str = ""
    after_s: float = 0.0

    @property
    def done(self) -> bool:
        return self.status == "done"

    def error(self, again: str = "retry with the same ids") -> Unavailable:
        """What a caller is told of a commit that is not known to be done, or was not taken anywhere."""
        if self.status == "unreachable":
            return StoreUnavailable("the customer's part of the store cannot be reached; nothing was done")
        return CommitUnknown(f"the store did not confirm the commit ({self.status}); {again}")


class Store(Protocol):
    """What the pipeline needs of a store: two places where state is touched."""

    async def read(self, requests: Sequence[ReadRequest]) -> ReadBatch:
        """One TIME and one MGET per customer, pipelined in one round trip.

        Raises StoreUnavailable.
        """
        ...

    async def commit(self, commits: Sequence[Commit], not_after_ms: int) -> list[CommitStatus]:
        """Compare-and-set of each group, pipelined in one round trip; statuses in order.

        Returns only when none of them can execute any more, but for those whose status has `after_s`: `unknown`
        where no reply came by `not_after_ms` (store clock). Never retries a write.
        Raises StoreUnavailable where nothing was sent.
        """
        ...

    async def find_decision(self, customer: CustomerKey, event: int, slot: int) -> DecisionEntry | None:
        """The log entry of a decision, while the bucket's stream still holds it.

        Raises StoreUnavailable.
        """
        ...
