"""What can be said: messages, their slots, variants and texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from engine.compiler.model import (
    Channel,
    ChannelChoice,
    Expression,
    Message,
    Product,
    Purpose,
    Variant,
)
from engine.compiler.nodes import Const, Op, Ref, Span, Type
from engine.compiler.reading import Fields, Reading, shape
from engine.compiler.scopes import Expressions, On, walk
from engine.compiler.sections_arbitration import read_rank
from engine.compiler.sections_schema import Section
from engine.compiler.sections_texts import Words
from engine.compiler.source import did_you_mean
from engine.compiler.tree import ListNode, MapNode, Node, Scalar

_KEYS = (
    "product", "purpose", "topic", "stage", "on", "when", "unless", "value", "channels", "slots", "variants",
    "policy", "sender", "about", "was", "like", "rank", "reserve",
)  # fmt: skip
_REQUIRED = ("purpose", "channels", "variants")
_ZONE_OPS = ("days_since", "days_until")  # they ask for the customer's time zone,
_ZONE_OPS_OF_TIMES = ("add_months", "to_date")  # these where they read a time


class Known(NamedTuple):
    """What messages may refer to."""

    products: Mapping[str, Product]
    purposes: Mapping[str, Purpose]
    channels: Mapping[str, Channel]
    declared: Mapping[str, frozenset[str]]  # kind -> names, also of what could not be read
    expressions: Expressions


def copied(reading: Reading, section: Section) -> dict[str, tuple[Scalar, MapNode]]:
    """The messages' maps with `like:` carried out: one level, own keys replace."""
    result: dict[str, tuple[Scalar, MapNode]] = {}
    for name, (key, node) in section.items():
        if not reading.named(key, "a message"):
            continue
        what = f"the message '{name}'"
        own = None if reading.unwritten(node, what, _REQUIRED) else reading.map(node, what)
        if own is None:
            continue
        if "like" not in own.entries:
            result[name] = (key, own)
            continue
        target_name = reading.reference(own.entries["like"][1], "message", section)
        if target_name is None:
            continue
        target = section[target_name][1]
        if isinstance(target, Scalar) and target.absent:
            continue  # it has its finding
        if not isinstance(target, MapNode) or target_name == name:
            reading.add("like-chain", own.entries["like"][1], f"'{name}' cannot be like '{target_name}'")
            continue
        if "like" in target.entries:
            hint = "name the message that has the keys itself"
            reading.add("like-chain", own.entries["like"][1], f"'{target_name}' is itself like another", hint=hint)
            continue
        merged = MapNode(own.document, own.start)
        inherited = {k: v for k, v in target.entries.items() if k != "was"}
        merged.entries = inherited | {k: v for k, v in own.entries.items() if k != "like"}
        result[name] = (key, merged)
    return result


def events_of(reading: Reading, mapping: MapNode, known: Mapping[str, object], told: bool) -> On:
    """The event types of a message, None for all. Findings only where `told`: it is read twice."""
    node = mapping.get("on")
    if node is None or (isinstance(node, Scalar) and node.absent):
        return None
    quiet = reading if told else Reading()
    if isinstance(node, ListNode) and not node.items:
        quiet.add("missing-value", node, "'on' names no event type", hint="leave 'on' out for every event")
    return quiet.names(node, "'on'", known, "unknown-event-type")


def read_messages(reading: Reading, maps: Mapping[str, tuple[Scalar, MapNode]], known: Known) -> dict[str, Message]:
    """The messages that can be read; findings for the others."""
    messages: dict[str, Message] = {}
    for name, (key, mapping) in maps.items():
        _check_former(reading, key, mapping, maps)
        message = _MessageReader(reading, key, mapping, known).read()
        if message is not None:
            messages[name] = message
    return messages


def _check_former(reading: Reading, key: Scalar, mapping: MapNode, maps: Mapping[str, tuple[Scalar, MapNode]]) -> None:
    """A former name that is in use would count the history of one message for two."""
    former = mapping.get("was")
    for item in former.items if isinstance(former, ListNode) else ():
        if not isinstance(item, Scalar) or item.value not in maps:
            continue
        own = item.value == key.value
        told = "is what the message is called now" if own else "is another message: it keeps its own history"
        hint = "leave it out" if own else "leave it out, or give the other one a new name"
        reading.add("duplicate-name", item, f"'{item.value}' {told}", hint=hint, also=maps[item.value][0].position)


class _MessageReader:
    """One message."""

    def __init__(self, reading: Reading, key: Scalar, mapping: MapNode, known: Known) -> None:
        self.reading = reading
        self.key = key
        self.mapping = mapping
        self.known = known
        self.what = f"the message '{key.value}'"
        self.on: On = None

    def read(self) -> Message | None:
        before = len(self.reading.findings)
        fields = self.reading.fields(self.mapping, self.what, _KEYS, _REQUIRED)
        if fields is None:
            return None
        self.on = events_of(self.reading, self.mapping, self.known.expressions.events, told=True)
        product, purpose = self._reference(fields, "product"), self._reference(fields, "purpose")
        topic, stage = (self.reading.name(fields[k][1], f"'{k}'") if k in fields else None for k in ("topic", "stage"))
        policy = self._reference(fields, "policy")
        when, unless = (self._expression(fields, k, Type.BOOL) for k in ("when", "unless"))
        about = self._expression(fields, "about", None)
        if about is not None and about.node.type not in (Type.TEXT, Type.INTEGER):
            node = fields["about"][1]
            self.reading.add(
                "wrong-type", node, f"'about' is {about.node.type}", expected="a text or an integer: an id"
            )
        value = self._value(fields) or _one(self.key)
        channels = self._channels(fields)
        named = frozenset(c.channel for c in channels)
        words = Words(self.reading, self.known.expressions, self.what, self.on, named)
        if "slots" in fields:
            words.declare(fields["slots"][1])
        variants = self._variants(fields, words)
        sender = self.reading.text(fields["sender"][1], "'sender'") if "sender" in fields else None
        was = self.reading.names(fields["was"][1], "'was'") if "was" in fields else ()
        learned, reserve = read_rank(self.reading, fields)
        if self.reading.failed_since(before) or purpose is None:
            return None
        message = Message(
            self.key.value,
            product,
            purpose,
            topic,
            stage,
            self.on,
            when,
            unless,
            value,
            channels,
            words.slots,
            variants,
            policy,
            sender,
            about,
            was,
            self.key.position,
            learned=learned,
            reserve=reserve,
        )
        self._check_purpose(message, fields)
        return message

    def _reference(self, fields: Fields, kind: str) -> str | None:
        if kind not in fields:
            return None
        return self.reading.reference(fields[kind][1], kind, self.known.declared[kind])

    def _expression(self, fields: Fields, name: str, expected: Type | None) -> Expression | None:
        scalar = self.reading.scalar(fields[name][1], f"'{name}'") if name in fields else None
        return self.known.expressions.expression(scalar, self.on, expected) if scalar is not None else None

    def _value(self, fields: Fields) -> Expression | None:
        """A number or an integer; integers rank as the numbers they are."""
        value = self._expression(fields, "value", None)
        if value is not None and value.node.type not in (Type.NUMBER, Type.INTEGER):
            node = fields["value"][1]
            self.reading.add("wrong-type", node, f"'value' is {value.node.type}", expected="a number")
        return value

    def _channels(self, fields: Fields) -> tuple[ChannelChoice, ...]:
        result: dict[str, ChannelChoice] = {}
        nodes = self.reading.list(fields["channels"][1], "'channels'") if "channels" in fields else ()
        for node in nodes:
            name, condition = self._channel(node)
            if name is None:
                continue
            if name.value in result:
                self.reading.add("duplicate-name", name, f"the channel '{name.value}' stands twice")
            result[name.value] = ChannelChoice(name.value, condition, name.position)
        if "channels" in fields and not nodes and isinstance(fields["channels"][1], ListNode):
            self.reading.add("missing-value", fields["channels"][0], f"{self.what} has no channel")
        return tuple(result.values())

    def _channel(self, node: Node) -> tuple[Scalar | None, Expression | None]:
        condition: Scalar | None = None
        if isinstance(node, MapNode) and len(node.entries) == 1:
            name, value = next(iter(node.entries.values()))
            condition = self.reading.scalar(value, f"the condition of '{name.value}'")
        elif isinstance(node, Scalar):
            name = node
        else:
            self.reading.add("wrong-shape", node, "a channel is a name or `{name: condition}`", found=shape(node))
            return None, None
        if not self.reading.named(name, "a channel"):
            return None, None
        declared = self.known.declared["channel"]
        if name.value not in declared and did_you_mean(name.value, declared):
            self.reading.unknown("unknown-channel", name, f"no channel is called '{name.value}'", declared)
        when = self.known.expressions.expression(condition, self.on, Type.BOOL) if condition is not None else None
        return name, when

    def _variants(self, fields: Fields, words: Words) -> dict[str, Variant]:
        variants: dict[str, Variant] = {}
        mapping = self.reading.map(fields["variants"][1], "'variants'") if "variants" in fields else None
        for name, (key, node) in (mapping.entries if mapping else {}).items():
            if not self.reading.named(key, "a variant"):
                continue
            if _nothing(node):
                self.reading.add("missing-value", key, f"the variant '{name}' has no texts")
                continue
            texts = self.reading.by_language(node, f"the text of '{name}'", words.text)
            variants[name] = Variant(name, texts, key.position)
        if mapping is not None and not mapping.entries:
            self.reading.add("missing-value", fields["variants"][0], f"{self.what} has no variant")
        return variants

    def _check_purpose(self, message: Message, fields: Fields) -> None:
        purpose = self.known.purposes.get(message.purpose)
        if purpose is None:
            return
        if purpose.consent_required and message.on is None:
            self.reading.add(
                "marketing-without-on",
                self.key,
                f"{self.what} asks for consent and would be said at any event",
                hint="name the event types in 'on: [..]'",
            )
        if purpose.if_state_unknown == "send":
            for what, expression in self._spoken(message):
                path = next((p for p in map(_state, walk(expression.node)) if p), None)
                if path is not None:
                    self.reading.add(
                        "state-needed",
                        self.key,
                        f"'{purpose.name}' are sent when state is unknown, but {what} reads {path}",
                        expected="event attributes alone",
                        hint="use a purpose with `if_state_unknown: silent`",
                    )
                    return

    def _spoken(self, message: Message) -> list[tuple[str, Expression]]:
        """What decides whether and how the message is said (a channel whose condition fails is skipped)."""
        result: list[tuple[str, Expression | None]] = [
            ("'when'", message.when),
            ("'unless'", message.unless),
            ("'value'", message.value),
            ("'about'", message.about),
            *((f"the slot '{s.name}'", s.expression) for s in message.slots.values()),
        ]
        product = self.known.products.get(message.product or "")
        if product is not None:
            result += [(f"the product '{product.name}'", c.expression) for c in product.eligible]
        return [(what, e) for what, e in result if e is not None]


def _nothing(node: Node) -> bool:
    """Whether nothing is written, or a map with nothing in it."""
    return node.absent if isinstance(node, Scalar) else isinstance(node, MapNode) and not node.entries


def _state(node: object) -> str:
    """What of the customer's state a node reads, or ""."""
    if isinstance(node, Ref) and node.path.startswith(("features.", "windows.")):
        return node.path
    if not isinstance(node, Op):
        return ""
    zoned = node.op in _ZONE_OPS or (node.op in _ZONE_OPS_OF_TIMES and node.args[0].type is Type.TIME)
    return f"the customer's calendar ({node.op})" if zoned else ""


def _one(key: Scalar) -> Expression:
    return Expression("1", Const(Type.NUMBER, 1.0, Span(0, 1)), key.position)
