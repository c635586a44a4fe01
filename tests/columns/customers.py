"""Random customers and their events, for any rule set: drawn from a seed, odd values among them."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from engine.bundle import Bundle
from engine.compiler.model import LEARNING, Attribute, Feature, RuleSet
from engine.compiler.nodes import Type
from engine.decision import OutcomeKind
from engine.identity import name_hash
from engine.learning.linear import REWARD_UNIT, context_of, moments_of
from engine.learning.policies import learnt_message
from engine.learning.posteriors import ArmKey, ArmState, Posteriors
from engine.pb.tact.v1 import decision_pb2 as pb
from engine.state.model import Cell, ConsentEntry, Contact, Profile, Record, Touch
from engine.state.profile import encode as encode_profile
from engine.state.profile import new_version
from engine.state.record import encode as encode_record
from engine.step.inputs import stored

BILLION = 1_000_000_000
DAY_MS = 86_400_000
ZONES = ("Europe/Madrid", "America/New_York", "Asia/Kolkata", "Pacific/Apia", "UTC", "Nowhere/Land", "", "+05:30")
LANGUAGES = ("en", "es", "es-CO", "es_CO", "pt-BR", "de", "", "xx-invalid-", "en")
WORDS = ("north", "south", "a", "Zürich", "12", "", "x" * 300, "noon", "nord\U0001f600")
NUMBERS = (0.0, -0.0, 0.5, 3.0, 5.0, 6.0, 12.34, 30.0, 40.0, 1200.0, 9000.0, -7.25, 1e-9, 1e9)
INTEGERS = (0, 1, 2, 3, 6, 7, 9, 12, 20, 50, -5, 2**40)
ODD_NUMBERS = (float("inf"), float("-inf"), float("nan"))
ODD_INTEGERS = (2**63 - 1, -(2**63), 2**62)


def words_of(files: Mapping[str, bytes]) -> tuple[str, ...]:
    """What is written in quotes in rule files: values that conditions ask for."""
    text = "\n".join(raw.decode(errors="ignore") for raw in files.values())
    found = set(re.findall(r"""\\?["']([a-z_]{1,30})\\?["']""", text))
    return tuple(sorted(found)) + WORDS


_OUTCOMES = (OutcomeKind.REPLIED, OutcomeKind.CONVERTED, OutcomeKind.DECLINED, OutcomeKind.OPENED)


class Customers:
    """Draws profiles and requests. `odd`: also values that kernels leave to Python.

    `usual`: what features and attributes mostly are, by name, so that messages are not only refused.
    """

    def __init__(
        self,
        seed: int,
        bundle: Bundle,
        words: Sequence[str],
        odd: bool = False,
        usual: Mapping[str, Sequence[object]] | None = None,
    ) -> None:
        self.chance = random.Random(f"customers {seed}")
        self.bundle = bundle
        self.words = words
        self.odd = odd
        self.usual = usual or {}

    @property
    def _rules(self) -> RuleSet:
        return self.bundle.ruleset

    def _scalar(self, kind: Type, now_ms: int) -> object:
        r, odd = self.chance, self.odd and self.chance.random() < 0.04
        if kind is Type.BOOL:
            return r.random() < 0.6
        if kind is Type.NUMBER:
            return (
                r.choice(ODD_NUMBERS)
                if odd
                else r.choice((r.choice(NUMBERS), round(r.uniform(-10, 100), 2), r.random()))
            )
        if kind is Type.INTEGER:
            return r.choice(ODD_INTEGERS) if odd else r.choice((r.choice(INTEGERS), r.randint(-3, 60)))
        if kind is Type.TEXT:
            return r.choice(self.words)
        if kind is Type.TIME:
            far = r.choice((9 * 10**9, -(9 * 10**9), -(10**9))) if odd else now_ms // 1000
            return far * BILLION + (
                0 if odd else r.randint(-40 * 86_400, 86_400) * BILLION + r.choice((0, 1, 5 * 10**8))
            )
        if kind is Type.DATE:
            return r.choice((-719_162, 2_932_896, 0)) if odd else now_ms // DAY_MS + r.randint(-60, 5)
        if kind is Type.DURATION:
            return (
                r.choice(ODD_INTEGERS)
                if odd
                else r.choice((0, 90, 3600, 86_400 * 3, -5)) * BILLION + r.choice((0, 0, 1))
            )
        if kind is Type.MONEY:
            return r.choice((1, -1, 10**26)) if odd else r.choice((0, 1250, 4000, r.randint(-500, 100_000))) * 10**7
        return tuple(r.choice(self.words) for _ in range(r.choice((0, 1, 3))))

    def _feature(self, feature: Feature, now_ms: int) -> object:
        if feature.name in self.usual and self.chance.random() < 0.9:
            return self.chance.choice(self.usual[feature.name])
        if feature.name == "timezone":
            return self.chance.choice(ZONES[:4] if self.chance.random() < 0.8 else ZONES)
        if feature.name == "language":
            return self.chance.choice(LANGUAGES)
        return self._scalar(feature.type, now_ms)

    def profile(self, now_ms: int) -> bytes:
        """A profile's bytes; none now and then."""
        r = self.chance
        if r.random() < 0.05:
            return b""
        missing = r.choice((0.0, 0.1, 0.5))
        ages = (0, 1000, DAY_MS, 37 * 3_600_000, 100 * DAY_MS)
        cells = {
            f.name: stored(f, self._feature(f, now_ms), now_ms - r.choice(ages))
            for f in self._rules.features.values()
            if r.random() >= missing and (f.type.element is None or (self.odd and r.random() < 0.1))
        }
        if r.random() < 0.1:
            cells["unheard_of"] = Cell("text", "?", now_ms)
        if cells and r.random() < 0.1:  # it was of another type, or money in another currency
            cells[r.choice(list(cells))] = r.choice((Cell("bool", True, now_ms), Cell("money", 10**9, now_ms, "USD")))
        if r.random() < 0.1:
            cells = {name: cell._replace(as_of_ms=0) for name, cell in cells.items()}
        declared = self.bundle.steps.features if r.random() < 0.5 else None
        return encode_profile(Profile(new_version(), cells, self._contact(now_ms)), declared)

    def record(self, now_ms: int) -> bytes:
        """A record's bytes; mostly none, and sometimes one with more than rounds leave behind."""
        r = self.chance
        if r.random() < 0.9:
            return b""
        steps = self.bundle.steps.messages
        record = Record(new_version(), now_ms - 5, now_ms - 400 * DAY_MS)
        purposes = [name_hash(name) for name in self._rules.purposes]
        record.opt_outs = {
            p: now_ms - r.randint(0, 9 * DAY_MS) for p in (0, 77, name_hash(LEARNING), *purposes) if r.random() < 0.1
        }
        for _ in range(r.choice((0, 1, 40, 510, 511, 512)) if steps else 0):
            step = r.choice(steps)
            at_ms = now_ms - r.choice((0, 60_000, DAY_MS, 7 * DAY_MS, 30 * DAY_MS)) + r.randint(-DAY_MS, 600_000)
            flags = r.choice((0, 0, 0, 1, 2, 4, 1 << 8 + int(_OUTCOMES[len(record.touches) % 4]), 16))
            record.touches.append(
                Touch(
                    at_ms, r.getrandbits(64), 0, step.key, r.choice(list(step.variant_keys.values())),
                    r.choice(step.channels).key, name_hash(step.message.purpose), step.topic, step.product, step.stage,
                    0, name_hash(step.policy.name) if step.policy else 0, 3, at_ms + 9, at_ms + 99, flags,
                )
            )  # fmt: skip
        for step in steps:
            if step.policy is not None and r.random() < 0.7:
                variant = r.choice((*step.variant_keys.values(), 5))
                record.assignments[name_hash(step.policy.name), step.key] = (variant, r.choice((1, 1 << 30, 99)))
        if self.odd and r.random() < 0.3:
            record.unknown = [(99, b"what a later version knows")]
        return encode_record(record)

    def _contact(self, now_ms: int) -> Contact | None:
        r, rules = self.chance, self._rules
        if r.random() < 0.15:
            return None
        consents = [
            ConsentEntry(name, r.random() < 0.85, now_ms - r.randint(0, 9 * DAY_MS), r.choice(("app", "")), "v1")
            for name in rules.purposes
            if r.random() < 0.8
        ]
        if r.random() < 0.02:
            consents.append(ConsentEntry(LEARNING, r.random() < 0.5, now_ms - r.randint(0, 9 * DAY_MS), "app", ""))
        topics = sorted({m.topic for m in rules.messages.values() if m.topic})
        channels = list(rules.channels)
        contact = Contact(consents)
        if topics and r.random() < 0.2:
            contact.blocked_topics = r.sample(topics, 1)
        if r.random() < 0.25:
            contact.blocked_channels = r.sample(channels, min(len(channels), r.choice((1, 2))))
        if r.random() < 0.25:
            contact.preferred_from_minute, contact.preferred_to_minute = r.choice(
                ((540, 1020), (1200, 120), (0, 1439), (600, 600), (760, 800))
            )
        return contact

    # ---- requests -----------------------------------------------------------------------------------

    def request(self, event_id: str, customer: str, now_ms: int) -> pb.DecideRequest:
        """An event as a caller sends it."""
        r, rules = self.chance, self._rules
        message = pb.DecideRequest()
        event = message.event
        event.event_id, event.customer_id = event_id, customer
        declared = rules.events[r.choice(list(rules.events))]
        event.type = declared.name
        missing = r.choice((0.0, 0.0, 0.3))
        for attribute in declared.attributes.values():
            if r.random() >= missing:
                self._write(event.attributes[attribute.name], attribute, now_ms)
        if r.random() < 0.5:
            at_ms = now_ms - r.choice((0, 1, 60_000, 3_600_000, 23 * 3_600_000, -60_000))
            event.occurred_at.seconds, rest = divmod(at_ms, 1000)
            event.occurred_at.nanos = rest * 1_000_000 + r.choice((0, 0, 123))
        if r.random() < 0.2:
            message.max_messages = 1
        if self.odd and r.random() < 0.15:
            self._spoil(message, now_ms)
        return message

    def _write(self, into: pb.Value, attribute: Attribute, now_ms: int) -> None:
        kind = attribute.type
        value: Any = self._scalar(kind, now_ms)
        if attribute.name in self.usual and self.chance.random() < 0.8:
            value = self.chance.choice(self.usual[attribute.name])
        if kind is Type.BOOL:
            into.flag = value
        elif kind is Type.INTEGER:
            into.integer = value
        elif kind is Type.NUMBER:
            if isinstance(value, float) and value.is_integer() and abs(value) < 2**50 and self.chance.random() < 0.5:
                into.integer = int(value)
            else:
                into.number = value
        elif kind is Type.TEXT:
            into.text = value
        elif kind is Type.TIME:
            into.time.seconds, into.time.nanos = divmod(value, BILLION)
        elif kind is Type.MONEY:
            units, nanos = divmod(abs(value), BILLION)
            sign = -1 if value < 0 else 1
            into.money.currency_code = attribute.unit or ""
            into.money.units, into.money.nanos = sign * min(units, 2**62), sign * nanos
        elif kind is Type.DATE:
            into.text = self.chance.choice(("2026-09-14", "2026-02-30"))
        elif kind is Type.DURATION:
            into.text = "1h30m"
        else:
            into.texts.values.extend(value)

    def _spoil(self, message: pb.DecideRequest, now_ms: int) -> None:
        """Something that a kernel leaves to Python."""
        event, r = message.event, self.chance
        spoil = r.randrange(8)
        if spoil == 0:
            event.event_id = r.choice(("", "ü", "two words", "x" * 257))
        elif spoil == 1:
            event.type = "unheard_of"
        elif spoil == 2:
            event.attributes["unheard_of"].text = "x"
        elif spoil == 3:
            event.occurred_at.seconds = now_ms // 1000 + r.choice((-90_000, 301, 400, -86_400, -86_399))
        elif spoil == 4:
            message.max_messages = 3
        elif spoil == 5:
            message.dry_run = True
        elif spoil == 6:
            event.customer_id = "customer " + event.customer_id
        elif event.attributes:
            name = r.choice(list(event.attributes))
            event.attributes[name].CopyFrom(pb.Value())


def _moments(chance: random.Random, size: int) -> tuple[int, ...]:
    """What an arm of a linear policy has seen: some contexts and rewards."""
    seen = [
        moments_of(context_of([chance.gauss(0, 3) for _ in range(size)]), chance.randrange(REWARD_UNIT))
        for _ in range(chance.choice((1, 5, 40)))
    ]
    return tuple(map(sum, zip(*seen, strict=True)))


def posteriors(seed: int, bundle: Bundle) -> Posteriors:
    """What might have been learnt, of some of the variants."""
    chance = random.Random(f"learnt {seed}")
    arms: dict[ArmKey, ArmState] = {}
    for message in bundle.ruleset.messages.values():
        policy = bundle.ruleset.policies[message.policy] if message.policy else None
        if policy is None:
            continue
        for variant in message.variants:
            for segment in ("", "north", "north|true|3", "?", "south"):
                if chance.random() < 0.7:
                    trials = chance.choice((1, 10, 400))
                    reward = int(chance.random() * trials * REWARD_UNIT)
                    hour = chance.choice((480_000, 480_100)) if policy.learning.bucket_h else 0
                    moments = {policy.context_key: _moments(chance, len(policy.context))} if policy.context else {}
                    arm = ArmKey(policy.name, learnt_message(policy, message.name), segment, variant, hour)
                    arms[arm] = ArmState(trials, reward, 0, moments)
    return Posteriors(chance.choice((1, 7, 300)), arms)
