"""What answers are made of, as bytes: made once where nothing in them changes. `kernels.bodies` puts them together.

Of a refusal only counts and times change, of a message only its times, shares and slots. The pieces are cut out of
the encoding of a decision that has all the rest, so field for field they are what `engine.answer` writes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from engine.answer import encode_decision, encode_details, to_bytes
from engine.bundle import Bundle
from engine.columns.tables import RuleTables, reason_of
from engine.compiler.nodes import Type
from engine.contact.caps import HISTORY_SHORT
from engine.contact.suppression import SAID
from engine.decision import Decision, Details, Outcome, Reason
from engine.kernels import consent as k_consent
from engine.kernels import hours as k_hours
from engine.kernels import limits as k_limits
from engine.kernels import messages as c
from engine.kernels.bodies import LIMIT, MESSAGE, PIECE, REFUSAL, WHOLE, Pieces
from engine.learning.enrolment import Assignment, why_not
from engine.plan import MessageStep, SlotPlan
from engine.step.reasons import ELIGIBILITY, UNLESS, WHEN, Stop, below_reserve, said, sentence
from engine.step.render import fill, language_for, pieces, shown, slots_used

_TEXT, _SLOT, _VALUE = b"\x62", b"\x6a", b"\x12"  # fields 12 and 13 of a decision; 2 of an entry of 13
_NUMBERS = (int, float)  # and no bool
KNOWN_MAX = 65_536  # pieces remembered; then all are forgotten


_SHORT = tuple(bytes((value,)) for value in range(128))


def varint(value: int) -> bytes:
    """As protobuf has it."""
    if value < 128:
        return _SHORT[value]
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, payload: bytes) -> bytes:
    """A field with a length; none where it is empty."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload if payload else b""


def kept(decision: bytes) -> bytes:
    """What is kept of an answer of one decision."""
    return b"\x0a" + varint(len(decision)) + decision


@dataclass(frozen=True, slots=True)
class Message:
    """A text with slots: which values it needs, and where they go.

    `parts` of the text are its own words, or the number of a slot; `names` are the slots by name: number, and what
    stands ahead of its value in the answer, twice its length.
    """

    language: str
    slots: tuple[SlotPlan, ...]
    parts: tuple[bytes | int, ...]
    names: tuple[tuple[int, bytes], ...]
    replies: bytes


class Bodies:
    """The pieces of one rule set's answers. A row's number is good until `begin` is called."""

    def __init__(self, bundle: Bundle, tables: RuleTables) -> None:
        self._bundle = bundle
        self._tables = tables
        self._steps = bundle.steps.messages
        self._clear()

    def _clear(self) -> None:
        self._bytes = np.zeros(1 << 16, np.uint8)
        self._end = 0
        self._rows = np.zeros((256, PIECE), np.int64)
        self._count = 0
        self._numbers: dict[object, tuple[int, Reason]] = {}
        self.messages: dict[int, Message] = {}  # by row of `Messages.texts`, those with slots
        self.of_text: npt.NDArray[np.int64] = np.full(len(self._tables.messages.texts), -1, np.int64)
        self._revision = self._put(field(32, self._bundle.revision.encode()))
        plain = (Reason.NO_RULE_FOR_EVENT, Reason.HOLDOUT)
        self.no_rule, self.held_out = (
            self._whole(Decision(Outcome.NO_MESSAGE, reason, reason_text=sentence(reason, Details())))
            for reason in plain
        )

    def begin(self) -> None:
        """To be called ahead of a batch."""
        if self._count > KNOWN_MAX:
            self._clear()

    def pieces(self) -> Pieces:
        """All pieces that there are by now; what comes later does not change them."""
        return Pieces(self._bytes, self._rows, np.array(self._revision, np.int64))

    def _put(self, piece: bytes) -> tuple[int, int]:
        begin, end = self._end, self._end + len(piece)
        if end > len(self._bytes):
            self._bytes = np.concatenate((self._bytes, np.zeros(max(len(self._bytes), len(piece)), np.uint8)))
        self._bytes[begin:end] = np.frombuffer(piece, np.uint8)
        self._end = end
        return begin, end

    def _row(self, kind: int, pieces: Sequence[bytes | None], limit: int = 0) -> int:
        row = [kind]
        for piece in pieces:
            row += (-1, -1) if piece is None else self._put(piece)
        number = self._count
        if number == len(self._rows):
            self._rows = np.concatenate((self._rows, np.zeros_like(self._rows)))
        self._rows[number, : len(row)] = row
        self._rows[number, LIMIT] = limit
        self._count += 1
        return number

    def _whole(self, decision: Decision) -> int:
        decision.revision = self._bundle.revision
        return self._row(WHOLE, [kept(to_bytes(encode_decision(decision)))])

    # ---- refusals ---------------------------------------------------------------------------------

    def remembered(self, key: object, make: Callable[[], Stop]) -> tuple[int, Reason]:
        """The row and reason of a stop in which nothing changes for the same key."""
        found = self._numbers.get(key)
        if found is None:
            stop = make()
            text = stop.text or sentence(stop.reason, stop.details)
            decision = Decision(Outcome.NO_MESSAGE, stop.reason, stop.details, text)
            found = self._numbers[key] = self._whole(decision), stop.reason
        return found

    def by_rules(self, m: int, stage: int, place: int, language: str) -> tuple[int, Reason]:
        """A message's own rules said no, and none of them was an error."""
        return self.remembered((m, stage, place, language), lambda: self._said_no(m, stage, place, language))

    def _said_no(self, m: int, stage: int, place: int, language: str) -> Stop:
        step = self._steps[m]
        name = step.message.name
        if stage == ELIGIBILITY:
            condition = step.eligible[place]
            text = said(condition.because or step.otherwise, language)
            return Stop(ELIGIBILITY, Reason.NOT_ELIGIBLE, Details(message=name, condition=condition.name), text)
        expression = step.message.when if stage == WHEN else step.message.unless
        assert expression is not None
        reason = Reason.NOT_IN_AUDIENCE if stage == WHEN else Reason.LEFT_ALONE
        return Stop(WHEN if stage == WHEN else UNLESS, reason, Details(message=name, condition=expression.text))

    def below_reserve(self, m: int, rank: float) -> tuple[int, Reason]:
        """A message is not worth saying: every rank has words of its own."""
        return self.remembered((m, c.RESERVE, rank), lambda: below_reserve(self._steps[m].message, rank))

    def refused(self, row: list[int], language: int, wanted: str | None) -> tuple[int, Reason]:
        """Of the message that got furthest through the filters, by its row of `kernels.messages`."""
        stage, code = row[c.STOP_STAGE], row[c.STOP_CODE]
        spoken = (language, row[c.CHANNEL_ROW]) if stage in (c.TEXT, c.TRIAL) else None  # each has texts of its own
        key = (row[c.MESSAGE], stage, code, row[c.STOP_X], row[c.STOP_Y], spoken)
        found = self._numbers.get(key)
        if found is None:
            reason = reason_of(stage, code)
            found = self._numbers[key] = self._refusal(reason, self._details(row, wanted)), reason
        return found

    def _refusal(self, reason: Reason, details: Details) -> int:
        text = sentence(reason, details)
        head = to_bytes(encode_decision(Decision(Outcome.NO_MESSAGE, reason)))
        rest = Decision(0, 0, Details(), text, revision=self._bundle.revision)  # type: ignore[arg-type]
        cause, limit = details.cause, details.limit
        details.cause, details.limit = "", 0
        names = encode_details(details)
        ahead = to_bytes(names) if names else b""
        return self._row(REFUSAL, [head, ahead, field(15, cause.encode()), to_bytes(encode_decision(rest))], limit)

    def _details(self, row: list[int], wanted: str | None) -> Details:
        """As the filters of `engine.step` tell it, but for counts and times."""
        step = self._steps[row[c.MESSAGE]]
        message, stage, code, x = step.message, row[c.STOP_STAGE], row[c.STOP_CODE], row[c.STOP_X]
        details = Details(message=message.name)
        if stage == c.PAUSE:
            details.purpose = message.purpose
        elif stage == c.CONSENT:
            _consent(details, step, code)
        elif stage == c.SUPPRESSION:
            rule = self._bundle.ruleset.suppressions[x]
            details.condition, details.limit, details.cause = rule.title, rule.times, SAID[rule.after]
        elif stage == c.CHANNEL:
            if code == c.BLOCKED_CHANNEL:
                first = int(self._tables.messages.table[row[c.MESSAGE], c.CHANNEL_AT])
                details.channel, details.cause = step.channels[x - first].name, "the customer blocked the channel"
            else:
                names = ", ".join(channel.name for channel in step.channels)
                details.cause = f"no channel is open to the customer (of {names})"
        elif stage == c.HOURS:
            _hours(details, step, code)
        elif stage == c.LIMITS:
            self._limits(details, code, x)
        elif stage in (c.TEXT, c.TRIAL):
            self._unsayable(details, row, step, wanted)
        else:
            details.cause = "the message's value could not be computed"
        return details

    def _limits(self, details: Details, code: int, x: int) -> None:
        ruleset = self._bundle.ruleset
        if code == k_limits.FULL:
            details.cause, details.limit = "the touch log is full", k_limits.MAX_TOUCHES
        elif code in (k_limits.CAP, k_limits.CAP_FORGETS):
            details.cap, details.limit = ruleset.caps[x].title, ruleset.caps[x].at_most
        else:
            details.gap, details.limit = ruleset.gaps[x].title, 1
            details.cause = f"less than {ruleset.gaps[x].apart} apart"
        if code in (k_limits.CAP_FORGETS, k_limits.GAP_FORGETS):
            details.cause = HISTORY_SHORT

    def _unsayable(self, details: Details, row: list[int], step: MessageStep, wanted: str | None) -> None:
        """A variant that cannot be said stops its message."""
        if row[c.STOP_CODE] == c.ASSIGNED_UNFIT:
            details.cause = "the variant assigned to the customer cannot be said"
            return
        if row[c.STOP_CODE] == c.NO_WEIGHT:
            details.cause = "no variant with weight is left"
            return
        if row[c.STOP_STAGE] == c.TRIAL and row[c.STOP_CODE] > c.NO_WEIGHT:
            assert step.policy is not None
            details.cause = why_not(step.policy, Assignment(row[c.STOP_CODE] - c.LEFT_OUT))
            return
        default = self._bundle.ruleset.default_language
        name, variant = list(step.message.variants.items())[row[c.STOP_X]]
        if row[c.STOP_Y] < 0:
            slot, cause = "", f"no text in '{wanted or default}'"
        else:
            first = int(self._tables.messages.table[row[c.MESSAGE], c.CHANNEL_AT])
            channel = step.channels[row[c.CHANNEL_ROW] - first].name
            language = language_for(wanted, default, variant.texts)
            assert language is not None
            text = variant.texts[language]
            slot = slots_used(text.channels.get(channel, text.text))[row[c.STOP_Y]]
            cause = f"slot '{slot}' has no value"
        if row[c.STOP_STAGE] == c.TEXT:
            details.slot, details.cause = slot, f"variant '{name}': {cause}"
        else:
            details.cause = f"left out of the trial: variant '{name}': {cause}"

    # ---- messages ---------------------------------------------------------------------------------

    def add_message(self, row: list[int]) -> None:
        """The pieces of a text that is said for the first time, by an event's row of `kernels.messages`."""
        text = row[c.TEXT_ROW]
        what = self._tables.said(row[c.MESSAGE], row[c.VARIANT_NO], row[c.CHANNEL_ROW], text, self._steps)
        step, message = what.step, what.step.message
        written = message.variants[what.variant].texts[what.language]
        template = written.channels.get(what.channel, written.text)
        head = Decision(
            Outcome.SEND, Reason.SELECTED, reason_text=sentence(Reason.SELECTED, Details()), message=message.name,
            variant=what.variant, channel=what.channel, locale=what.language,
        )  # fmt: skip
        replies = b"".join(_item(14, reply.encode()) for reply in written.replies)
        about = (message.sender, message.purpose, message.topic, message.stage, message.product)
        middle = b"".join(field(15 + k, (value or "").encode()) for k, value in enumerate(about))
        names = slots_used(template)
        plain = None if names else field(12, fill(template, {}).encode()) + replies
        if names:
            numbers = {name: k for k, name in enumerate(names)}
            parts = tuple([numbers[part] if is_slot else part.encode() for is_slot, part in pieces(template)])
            ahead = tuple([(numbers[name], _item(1, name.encode()) + _VALUE) for name in sorted(names)])
            slots = tuple([step.slots[name] for name in names])
            self.messages[text] = Message(what.language, slots, parts, ahead, replies)
        policy = field(30, step.policy.name.encode()) if step.policy else b""
        self.of_text[text] = self._row(MESSAGE, [to_bytes(encode_decision(head)), plain, middle, policy])

    @staticmethod
    def text(message: Message, values: list[object], zone: str | None) -> bytes:
        """Text, slots and replies of a text with slots, these values in them."""
        language = message.language
        shows = [
            _whole(int(value), language)  # type: ignore[call-overload]
            if slot.shape == "integer" and type(value) in _NUMBERS
            else shown(value, slot.type, slot.shape, language, slot.currency, zone).encode()
            for slot, value in zip(message.slots, values, strict=True)
        ]
        filled = b"".join([part if type(part) is bytes else shows[part] for part in message.parts])  # type: ignore[index]
        said = [_TEXT, varint(len(filled)), filled] if filled else []
        for k, ahead in message.names:  # entries of a map of texts: both fields are written, also where they are empty
            value = shows[k]
            length = varint(len(value))
            said += (_SLOT, varint(len(ahead) + len(length) + len(value)), ahead, length, value)
        said.append(message.replies)
        return b"".join(said)


@lru_cache(maxsize=16384)
def _whole(value: int, language: str) -> bytes:
    return shown(value, Type.INTEGER, "integer", language, None, None).encode()


def _item(number: int, payload: bytes) -> bytes:
    """An entry of a list: written also where it is empty."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def _consent(details: Details, step: MessageStep, code: int) -> None:
    purpose = step.purpose.name
    if code == k_consent.TOPIC_BLOCKED:
        details.topic, details.cause = step.message.topic or "", "the customer blocked the topic"
        return
    details.purpose = purpose
    details.cause = {
        k_consent.SAID_STOP: "the customer said stop",
        k_consent.WITHDRAWN: "consent was withdrawn",
        k_consent.NOT_GIVEN: f"no consent for '{purpose}' was given",
    }[code]


def _hours(details: Details, step: MessageStep, code: int) -> None:
    quiet = step.quiet_hours.name if step.quiet_hours else ""
    if code in (k_hours.QUIET_ZONE, k_hours.OWN_ZONE):
        details.feature = "timezone"
        details.cause = "the customer's time zone is unknown, so hours cannot be checked"
    elif code == k_hours.QUIET:
        details.condition, details.cause = quiet, f"quiet hours '{quiet}'"
    elif code == k_hours.OUTSIDE:
        details.cause = "outside the hours the customer chose"
    else:
        details.cause = "the customer's hours lie within the quiet hours"
