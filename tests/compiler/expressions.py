"""Random typed expressions, inputs and rule sets: what both twins are asked."""

from __future__ import annotations

import random
from collections.abc import Sequence

from engine.compiler.model import (
    Attribute,
    Channel,
    ChannelChoice,
    Condition,
    Expression,
    Message,
    Policy,
    Position,
    Product,
    Purpose,
    RuleSet,
    Slot,
    Window,
)
from engine.compiler.model import EventType as DeclaredEvent
from engine.compiler.nodes import Const, Node, Op, Ref, Span, Type
from engine.compiler.reference import Absent, Defaulted

S = Span(0, 0)
HERE = Position("rules.yaml", 1, 1)
NS = 1_000_000_000
DAY_NS = 86_400 * NS
INT_MIN, INT_MAX = -(2**63), 2**63 - 1
FIRST_NS, LAST_NS = -62_135_596_800 * NS, 253_402_300_800 * NS - 1
SCALARS = (Type.BOOL, Type.INTEGER, Type.NUMBER, Type.TEXT, Type.TIME, Type.DURATION)
EVENTS = ("deposit", "payment", "login", "reply")
TEXTS = ("", "a", "b", "ab", "Paris", "Zürich", "\U0001f600", "\uffff", "z")
ZONES = ("Europe/Berlin", "America/New_York", "Asia/Kolkata", "UTC", "Nowhere/Land", "", None)
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
NUMBERS = (
    0.0,
    -0.0,
    1.0,
    -1.5,
    2.0,
    7.25,
    float("nan"),
    float("inf"),
    float("-inf"),
    1e308,
    5e-324,
    2.0**63,
    -(2.0**63),
)
INTEGERS = (0, 1, -1, 2, 3, 7, -7, INT_MIN, INT_MIN + 1, INT_MAX, 3_037_000_500, -3_037_000_500, 2**53 + 1)
NOW_NS = 1_795_000_000 * NS


class Maker:
    """Draws from one generator; `size` bounds the depth."""

    def __init__(self, seed: int, depth: int) -> None:
        self.rng = random.Random(seed)
        self.depth = depth

    def scalar(self, kind: Type) -> object:
        """A value of a type, extremes included."""
        r = self.rng
        if kind is Type.BOOL:
            return r.random() < 0.5
        if kind is Type.INTEGER:
            return r.choice(INTEGERS) if r.random() < 0.7 else r.randint(INT_MIN, INT_MAX)
        if kind is Type.NUMBER:
            return r.choice(NUMBERS) if r.random() < 0.7 else r.uniform(-10, 10)
        if kind is Type.TEXT:
            return r.choice(TEXTS)
        if kind is Type.DURATION:
            few = r.choice((0, 1, -1, NS, -NS, 90 * DAY_NS, -90 * DAY_NS, INT_MIN, INT_MAX))
            return few if r.random() < 0.7 else r.randint(INT_MIN, INT_MAX)
        return self.time()

    def time(self) -> int:
        """Any moment of 1840 to 2100; beyond, noons (there the tables have no daylight saving) and the ends."""
        r = self.rng
        if r.random() < 0.6:
            return NOW_NS + r.randint(-90, 90) * DAY_NS + r.choice((0, 1, -1, r.randint(-DAY_NS, DAY_NS)))
        if r.random() < 0.6:
            return r.randint(-4_102_444_800 * NS, 4_102_444_800 * NS)
        noon = DAY_NS // 2
        far = r.randint(FIRST_NS // DAY_NS + 1, LAST_NS // DAY_NS - 1) * DAY_NS + noon
        return r.choice((FIRST_NS, LAST_NS, far, far))

    def leaf(self, kind: Type) -> Node:
        if self.rng.random() < 0.35:
            return Const(kind, self.scalar(kind), S)
        if kind is Type.TIME and self.rng.random() < 0.2:
            return Ref(kind, "now", S)
        return Ref(kind, self.rng.choice(PATHS[kind]), S)

    def node(self, kind: Type, depth: int | None = None) -> Node:
        """An expression of a type."""
        depth = self.depth if depth is None else depth
        r = self.rng
        if depth == 0 or r.random() < 0.1:
            return self.leaf(kind)
        if r.random() < 0.15:
            return self.op(kind, "cond", depth, Type.BOOL, kind, kind)
        if kind is Type.BOOL:
            return self.condition(depth)
        if kind is Type.INTEGER:
            op = r.choice(("add", "sub", "mul", "div", "mod", "neg", "to_integer", "days_since", "days_until"))
            if op.startswith("days"):
                return Op(kind, op, (self.leaf(Type.TIME),), S)
            if op == "to_integer":
                return self.op(kind, op, depth, Type.NUMBER)
            return self.op(kind, op, depth, *[kind] * (1 if op == "neg" else 2))
        if kind is Type.NUMBER:
            op = r.choice(("add", "sub", "mul", "div", "neg", "ratio", "to_number"))
            if op == "to_number":
                return self.op(kind, op, depth, Type.INTEGER)
            return self.op(kind, op, depth, *[kind] * (1 if op == "neg" else 2))
        if kind is Type.DURATION:
            op = r.choice(("add", "sub", "neg", "between"))
            if op == "between":
                return self.op(kind, "sub", depth, Type.TIME, Type.TIME)
            return self.op(kind, op, depth, *[kind] * (1 if op == "neg" else 2))
        if kind is Type.TIME:
            if r.random() < 0.3:
                return self.op(kind, "add", depth, Type.DURATION, kind)
            return self.op(kind, r.choice(("add", "sub")), depth, kind, Type.DURATION)
        return self.leaf(kind)

    def op(self, kind: Type, op: str, depth: int, *args: Type) -> Op:
        return Op(kind, op, tuple(self.node(arg, depth - 1) for arg in args), S)

    def condition(self, depth: int) -> Node:
        r, kind = self.rng, self.rng.choice(SCALARS)
        op = r.choice(("logic", "logic", "not", "has", "in", "compare", "compare", "compare"))
        if op == "logic":
            return self.op(Type.BOOL, r.choice(("and", "or")), depth, *[Type.BOOL] * r.choice((2, 2, 3, 5)))
        if op == "not":
            return self.op(Type.BOOL, "not", depth, Type.BOOL)
        if op == "has":
            return Op(
                Type.BOOL,
                "has",
                (Ref(kind, r.choice((*PATHS[kind], "now") if kind is Type.TIME else PATHS[kind]), S),),
                S,
            )
        if op == "in":
            items = tuple(self.scalar(kind) for _ in range(r.choice((0, 1, 2, 5))))
            return Op(Type.BOOL, "in", (self.node(kind, depth - 1), Const(Type.LIST, items, S)), S)
        return self.op(Type.BOOL, r.choice(COMPARISONS), depth, kind, kind)

    def inputs(self) -> dict[str, object]:
        """Values of every path: written, absent in all ways, or defaulted."""
        found: dict[str, object] = {}
        for kind, paths in PATHS.items():
            for path in paths:
                chance, value = self.rng.random(), self.scalar(kind)
                if kind is Type.TEXT and self.rng.random() < 0.3:
                    value = self.rng.choice(("unseen", "Unseen", "aa", "zz"))
                if chance < 0.75:
                    found[path] = value
                elif chance < 0.85:
                    found[path] = Defaulted(value)
                elif chance < 0.95:
                    found[path] = Absent("DATA_STALE", has=chance < 0.9)
        return found

    def types_on(self) -> tuple[str, ...] | None:
        if self.rng.random() < 0.3:
            return None
        return tuple(self.rng.sample(EVENTS, self.rng.choice((1, 1, 2))))

    def expression(self, kind: Type) -> Expression:
        return Expression("", self.node(kind), HERE)

    def maybe(self, kind: Type, share: float = 0.5) -> Expression | None:
        return self.expression(kind) if self.rng.random() < share else None

    def message(self, name: str, products: Sequence[str], purposes: Sequence[str], policies: Sequence[str]) -> Message:
        r = self.rng
        kind = r.choice((Type.NUMBER, Type.INTEGER))
        constant = Expression(
            "", Const(kind, r.choice((1, 2, 3)) if kind is Type.INTEGER else r.choice((1.0, 2.0)), HERE), HERE
        )
        return Message(
            name=name,
            product=r.choice((None, *products)),
            purpose=r.choice(purposes),
            topic=None,
            stage=None,
            on=self.types_on(),
            when=self.maybe(Type.BOOL, 0.8),
            unless=self.maybe(Type.BOOL),
            value=self.expression(kind) if r.random() < 0.5 else constant,
            channels=(ChannelChoice("sms", self.maybe(Type.BOOL)), ChannelChoice("push", None)),
            slots={"city": Slot("city", self.expression(r.choice(SCALARS[1:])), "text")},
            variants={},
            policy=r.choice((None, *policies)),
            sender=None,
            about=self.maybe(Type.TEXT),
            was=(),
            position=HERE,
        )

    def ruleset(self, messages: int) -> RuleSet:
        """A rule set of that many messages over several event types."""
        r = self.rng
        names = [f"m{n}" for n in range(messages)]
        r.shuffle(names)
        products = ("fund", "loan")
        purposes = {
            name: Purpose(name, False, None, "send", False, tier, HERE) for name, tier in (("a", 1), ("b", 2), ("c", 2))
        }
        windows = [
            Window(n, "sum", n, self.expression(Type.NUMBER), self.maybe(Type.BOOL), None, False, Type.NUMBER, "", HERE)
            for n in EVENTS[:3]
        ]
        return RuleSet(
            revision="0" * 16,
            files={},
            events={name: DeclaredEvent(name, dict[str, Attribute](), HERE) for name in EVENTS},
            features={},
            windows={window.name: window for window in windows},
            facts={},
            products={
                name: Product(
                    name,
                    tuple(Condition("", self.expression(Type.BOOL), {}) for _ in range(r.choice((1, 3)))),
                    {},
                    HERE,
                )
                for name in products
            },
            messages={name: self.message(name, products, tuple(purposes), ("trial",)) for name in names},
            purposes=purposes,
            channels={"sms": Channel("sms", self.maybe(Type.BOOL), HERE), "push": Channel("push", None, HERE)},
            quiet_hours={},
            caps=(),
            gaps=(),
            policies={
                "trial": Policy(
                    "trial", "fixed", {}, 0, 0.0, None, (self.expression(Type.TEXT), self.expression(Type.INTEGER)),
                    {}, False, False, "drop", HERE,
                )
            },
            holdout=None,
            default_language="en",
        )  # fmt: skip


PATHS: dict[Type, tuple[str, ...]] = {
    kind: (f"event.{kind}", f"features.{kind}", f"windows.{kind}") for kind in SCALARS
}
