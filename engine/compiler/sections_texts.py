"""The words of a message: texts per language and channel, and the slots in them."""

from __future__ import annotations

from engine.compiler import templates
from engine.compiler.model import Expression, Slot, Text
from engine.compiler.nodes import Ref, Span, Type
from engine.compiler.reading import Reading
from engine.compiler.scopes import Expressions, On
from engine.compiler.source import WARNING, did_you_mean
from engine.compiler.tree import MapNode, Node, Scalar
from engine.compiler.written import is_currency

_DEFAULT_SHAPE = {
    Type.TEXT: "text", Type.INTEGER: "integer", Type.NUMBER: "number", Type.TIME: "date",
    Type.DURATION: "days", Type.DATE: "date", Type.MONEY: "money", Type.TEXTS: "text",
}  # fmt: skip
_FITS = {
    "text": (Type.TEXT, Type.TEXTS),
    "integer": (Type.INTEGER, Type.NUMBER),
    "number": (Type.INTEGER, Type.NUMBER),
    "money": (Type.INTEGER, Type.NUMBER, Type.MONEY),
    "date": (Type.TIME, Type.DATE),
    "days": (Type.INTEGER, Type.NUMBER, Type.DURATION),
}


_CURRENCIES = {  # what units are called that people mean as one of them
    "eur": "EUR", "euro": "EUR", "euros": "EUR", "€": "EUR",
    "usd": "USD", "dollar": "USD", "dollars": "USD", "$": "USD", "us$": "USD",
    "gbp": "GBP", "pound": "GBP", "pounds": "GBP", "£": "GBP",
}  # fmt: skip


class Words:
    """Reads the texts of one message. `slots` gathers what they use, declared slots first.

    `what` names the message in findings; `channels` are those that may have texts of their own.
    """

    def __init__(self, reading: Reading, expressions: Expressions, what: str, on: On, channels: frozenset[str]) -> None:
        self.reading = reading
        self.expressions = expressions
        self.what = what
        self.on = on
        self.channels = channels
        self.slots: dict[str, Slot] = {}
        self.declared: frozenset[str] = frozenset()

    def declare(self, node: Node) -> None:
        """Takes in the slots that the message declares."""
        mapping = self.reading.map(node, "'slots'")
        self.declared = frozenset(mapping.entries if mapping else ())
        for name, (key, node) in (mapping.entries if mapping else {}).items():
            if not self.reading.named(key, "a slot", identifier=True):
                continue
            wanted: str | None = None
            body: Node = node
            if isinstance(node, MapNode):
                parts = self.reading.fields(node, f"the slot '{name}'", ("is", "as"), ("is",))
                if parts is None or "is" not in parts:
                    continue
                body = parts["is"][1]
                if "as" in parts:
                    wanted = self.reading.choice(parts["as"][1], "'as'", templates.SHAPES)
            scalar = self.reading.scalar(body, f"the slot '{name}'")
            expression = (
                self.expressions.expression(scalar, self.on, None, personal=True) if scalar is not None else None
            )
            if scalar is not None and expression is not None:
                self._slot(name, expression, wanted, scalar, (0, len(scalar.value)))

    def _slot(self, name: str, expression: Expression, wanted: str | None, at: Scalar, part: tuple[int, int]) -> None:
        kind = expression.node.type
        chosen = wanted or _DEFAULT_SHAPE.get(kind)
        if chosen is None or kind not in _FITS[chosen]:
            message = f"{kind} cannot be written as {chosen}" if chosen else f"a {kind} cannot be put into a text"
            fitting = [s for s in templates.SHAPES if kind in _FITS[s]]
            self.reading.add_at("bad-slot", at, *part, message, expected=" or ".join(fitting) or "another type")
            return
        self.slots[name] = Slot(name, expression, chosen)
        if chosen == "money" and kind is not Type.MONEY:
            self._currency(expression, at, part)

    def _currency(self, expression: Expression, at: Scalar, part: tuple[int, int]) -> None:
        """A unit that is no currency is left out of the text: for people `1.50 €` and `1.50` are not the same."""
        unit = self.expressions.unit(expression.node, self.on)
        if unit is None or is_currency(unit):
            return
        code = _CURRENCIES.get(unit.casefold(), "")
        self.reading.add_at(
            "unit-no-currency", at, *part, f"'{unit[:40]}' is no currency: the amount is said without one",
            found=f"{expression.node.type} in {unit[:40]}", expected="a unit of three capital letters, such as EUR",
            hint=f"write `unit: {code}` in the schema" if code else "mend the unit in the schema, or write `:number`",
            severity=WARNING,
        )  # fmt: skip

    def text(self, node: Node, what: str) -> Text | None:
        """What is said in one language: a text, or a map with texts per channel and replies."""
        if isinstance(node, Scalar):
            text = self._template(node, what)
            return None if text is None else Text(text, {}, (), node.position)
        mapping = self.reading.map(node, what)
        if mapping is None:
            return None
        if "text" not in mapping.entries:
            self.reading.add("missing-key", node, f"{what} needs 'text'")
        text = None
        channels: dict[str, str] = {}
        replies: list[str] = []
        for name, (key, value) in mapping.entries.items():
            if name == "replies":
                read = [self._template(item, "a reply") for item in self.reading.list(value, "'replies'")]
                replies = [r for r in read if r is not None]
            elif name == "text":
                text = self._template(value, what)
            elif name not in self.channels:
                known = ("text", "replies", *sorted(self.channels))
                self.reading.unknown("unknown-key", key, f"'{name}' is no channel of {self.what}", known)
            elif (said := self._template(value, f"{what} for {name}")) is not None:
                channels[name] = said
        return None if text is None else Text(text, channels, tuple(replies), node.position)

    def _template(self, node: Node, what: str) -> str | None:
        text = self.reading.text(node, what)
        if text is None or not isinstance(node, Scalar):
            return None
        uses, problems = templates.slots(text)
        for p in problems:
            self.reading.add_at("bad-slot", node, p.start, p.end, p.message, hint=p.hint)
        for use in uses:
            if use.key not in self.slots:
                self._use(node, use)
        return text

    def _use(self, node: Scalar, use: templates.SlotUse) -> None:
        """A slot that a text uses first: a declared one in another shape, a feature, an expression."""
        at = (use.start, use.start + len(use.key))
        if use.shape is not None and use.shape not in templates.SHAPES:
            hint = did_you_mean(use.shape, templates.SHAPES)
            message = f"no shape is called '{use.shape}'"
            self.reading.add_at("bad-slot", node, *at, message, expected=", ".join(templates.SHAPES), hint=hint)
            return
        if use.bare and use.body in self.declared:
            if use.body in self.slots:  # else it has its finding
                self._slot(use.key, self.slots[use.body].expression, use.shape, node, at)
            return
        if use.bare:
            path = f"features.{use.body}"
            feature = self.expressions.features.get(use.body)
            if feature is None and path not in self.expressions.broken:
                names = [*self.declared, *self.expressions.features]
                message = f"'{use.body}' is neither a slot of {self.what} nor a feature"
                hint = did_you_mean(use.body, names)
                self.reading.add_at("unknown-slot", node, *at, message, hint=hint or "declare it under 'slots:'")
            if feature is not None:
                ref = Ref(feature.type, path, Span(0, len(path)))
                self._slot(use.key, Expression(path, ref, node.place(use.start), node, use.start), use.shape, node, at)
            return
        if (slot := "_".join(use.body.split())) in {*self.declared, *self.expressions.features}:
            message = f"'{use.body}' is neither a slot of {self.what} nor a feature"
            self.reading.add_at("unknown-slot", node, *at, message, hint=f"did you mean '{slot}'?")
            return
        begin = use.start + use.key.index(use.body)
        part = (begin, begin + len(use.body))
        if not use.body:
            self.reading.add_at("bad-slot", node, *at, "nothing before the shape", expected="a slot or an expression")
            return
        expression = self.expressions.expression(node, self.on, None, personal=True, part=part)
        if expression is not None:
            self._slot(use.key, expression, use.shape, node, at)
