"""Random typed expressions, inputs and rule sets: what both twins are asked."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

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
from engine.compiler.nodes import SCALARS, Const, Fact, Node, Op, Ref, Span, Type, Var
from engine.compiler.reference import Absent, Defaulted

S = Span(0, 0)
HERE = Position("rules.yaml", 1, 1)
NS = 1_000_000_000
DAY_NS = 86_400 * NS
INT_MIN, INT_MAX = -(2**63), 2**63 - 1
FIRST_NS, LAST_NS = -62_135_596_800 * NS, 253_402_300_800 * NS - 1
LISTS = tuple(kind.listed for kind in SCALARS if kind is not Type.MONEY)
EVENTS = ("deposit", "payment", "login", "reply")
TEXTS = ("", "a", "b", "ab", "Paris", "Zürich", "\U0001f600", "\uffff", "z", "a,b", "12", "-7", "1.5", "true", "90s")
PATTERNS = ("", "a", "^a.*b$", "[0-9]+", "^$", "ü", "(?i)PARIS", ".*,.*")
NAMED_ZONES = ("Europe/Berlin", "Asia/Kolkata", "+05:30", "-02:30", "Nowhere/Land", "")
UNROLLED = ("all", "exists", "exists_one", "filter", "map")
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
        self.variables: list[Type] = []

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
        if kind is Type.DATE:
            near = NOW_NS // DAY_NS + r.randint(-90, 90)
            return r.choice((near, near, FIRST_NS // DAY_NS, LAST_NS // DAY_NS, 0, 59, 11_016))
        if kind is Type.MONEY:
            few = r.choice((0, 1, -1, 12_500_000_000, -NS, 10**17 + 1, -(10**17), INT_MIN * NS, INT_MAX * NS + NS - 1))
            return few if r.random() < 0.7 else r.randint(-(10 ** r.randint(1, 27)), 10 ** r.randint(1, 27))
        if kind.element:
            return tuple(self.scalar(kind.element) for _ in range(r.choice((0, 1, 2, 3, 5))))
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
        bound = [level for level, own in enumerate(self.variables) if own is kind]
        if bound and self.rng.random() < 0.7:
            return Var(kind, self.rng.choice(bound), "x", S)
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
        if r.random() < 0.25:
            return self.any_type(kind, depth)
        if kind is Type.BOOL:
            return self.condition(depth)
        if kind.element:
            return self.list_of(kind, kind.element, depth)
        op, *args = r.choice(OPS[kind])
        return Op(kind, op, tuple(self.argument(op, arg, depth - 1) for arg in args), S)

    def argument(self, op: str, kind: Type | str, depth: int) -> Node:
        """An argument: of a type, or of a kind that an operation asks for."""
        r = self.rng
        if kind == "pattern":
            return Const(Type.TEXT, r.choice(PATTERNS), S)
        if kind == "zone":
            return Const(Type.TEXT, r.choice(NAMED_ZONES), S) if r.random() < 0.7 else self.node(Type.TEXT, depth)
        if kind == "small" or (kind is Type.INTEGER and op in ("add_days", "add_months") and r.random() < 0.8):
            return Const(Type.INTEGER, r.choice((0, 1, 2, -1, 5, 12, -13)), S)
        assert isinstance(kind, Type)
        return self.node(kind, depth)

    def any_type(self, kind: Type, depth: int) -> Node:
        """What there is for every type."""
        r = self.rng
        form = r.choice(("cond", "switch", "fact", "index", "fail"))
        if form == "cond":
            return self.op(kind, "cond", depth, Type.BOOL, kind, kind)
        if form == "switch":
            return self.op(kind, "switch", depth, *[Type.BOOL, kind] * r.choice((1, 2, 4)), kind)
        if form == "index" and kind in SCALARS and kind is not Type.MONEY:
            return Op(kind, "index", (self.node(kind.listed, depth - 1), self.argument("index", "small", depth)), S)
        if form == "fail":
            return Op(kind, "fail", (Const(Type.TEXT, "why", S),), S)
        variables, self.variables = self.variables, []
        tree = self.node(kind, depth - 1)
        self.variables = variables
        return Fact(kind, f"facts.{kind}", tree, S)

    def list_of(self, kind: Type, element: Type, depth: int) -> Node:
        """A list, of elements of this type."""
        r = self.rng
        form = r.choice(("list", "concat", "filter", "map", "reverse", "collect", *["split"] * (element is Type.TEXT)))
        if form == "list":
            return self.op(kind, "list", depth, *[element] * r.choice((1, 2, 3)))
        if form in ("concat", "reverse"):
            return self.op(kind, form, depth, *[kind] * (2 if form == "concat" else 1))
        if form == "split":
            args = (Type.TEXT, Type.TEXT) if r.random() < 0.6 else (Type.TEXT, Type.TEXT, "small")
            return Op(kind, "split", tuple(self.argument("split", arg, depth - 1) for arg in args), S)
        if form == "collect":
            return self.op(kind, "collect", depth, *[Type.BOOL, element] * r.choice((1, 2, 3)))
        if form == "filter":
            return self.macro(kind, "filter", kind, (Type.BOOL,), depth)
        return self.macro(kind, "map", r.choice(LISTS), (element,) if r.random() < 0.6 else (Type.BOOL, element), depth)

    def macro(self, kind: Type, op: str, source: Type, bodies: Sequence[Type], depth: int) -> Node:
        """A macro over a list, at most three deep."""
        assert source.element
        items = self.node(source, depth - 1)
        if len(self.variables) == 3:
            return self.leaf(kind)
        self.variables.append(source.element)
        made = [self.node(body, depth - 1) for body in bodies]
        self.variables.pop()
        return Op(kind, op, (items, *made), S)

    def op(self, kind: Type, op: str, depth: int, *args: Type) -> Op:
        return Op(kind, op, tuple(self.node(arg, depth - 1) for arg in args), S)

    def condition(self, depth: int) -> Node:
        r, kind = self.rng, self.rng.choice(SCALARS)
        op = r.choice(("logic", "logic", "not", "has", "in", "compare", "compare", "lists", "text", "macro", "fails"))
        if op == "logic":
            return self.op(Type.BOOL, r.choice(("and", "or")), depth, *[Type.BOOL] * r.choice((2, 2, 3, 5)))
        if op == "not":
            return self.op(Type.BOOL, "not", depth, Type.BOOL)
        if op == "has":
            paths = (*PATHS[kind], "now") if kind is Type.TIME else PATHS[kind]
            return Op(Type.BOOL, "has", (Ref(kind, r.choice(paths), S),), S)
        if op == "in" and kind is not Type.MONEY and r.random() < 0.5:
            items = tuple(self.scalar(kind) for _ in range(r.choice((0, 1, 2, 5))))
            return Op(Type.BOOL, "in", (self.node(kind, depth - 1), Const(kind.listed, items, S)), S)
        if op == "in" and kind is not Type.MONEY:
            return self.op(Type.BOOL, "in", depth, kind, kind.listed)
        if op == "lists":
            return self.op(Type.BOOL, r.choice(("eq", "ne")), depth, *[r.choice(LISTS)] * 2)
        if op == "text":
            op, *args = r.choice(OPS[Type.BOOL])
            return Op(Type.BOOL, op, tuple(self.argument(op, arg, depth - 1) for arg in args), S)
        if op == "macro":
            return self.macro(Type.BOOL, r.choice(UNROLLED[:3]), r.choice(LISTS), (Type.BOOL,), depth)
        if op == "fails":
            return self.op(Type.BOOL, "fails", depth, r.choice((*SCALARS, *LISTS)))
        return self.op(Type.BOOL, r.choice(COMPARISONS), depth, kind, kind)

    def inputs(self) -> dict[str, object]:
        """Values of every path: written, absent in all ways, or defaulted."""
        found: dict[str, object] = {}
        for kind, paths in PATHS.items():
            for path in paths:
                chance, value = self.rng.random(), self.scalar(kind)
                if kind is Type.TEXT and self.rng.random() < 0.3:
                    value = self.rng.choice(("unseen", "Unseen", "aa", "zz"))
                if kind is Type.INTEGERS and self.rng.random() < 0.03:
                    value = (1,) * 257  # more than a list may have
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
            channels=(ChannelChoice("sms", self.maybe(Type.BOOL), HERE), ChannelChoice("push", None, HERE)),
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
    kind: (f"event.{kind}", f"features.{kind}", f"windows.{kind}") for kind in (*SCALARS, *LISTS)
}
_I, _N, _X, _T, _D, _A, _M = (
    Type.INTEGER, Type.NUMBER, Type.TEXT, Type.TIME, Type.DURATION, Type.DATE, Type.MONEY,
)  # fmt: skip
_PARTS = ("full_year", "month", "date", "day_of_month", "day_of_week", "day_of_year")
_CLOCK = ("hours", "minutes", "seconds", "milliseconds")
# by type of the result: operation and what its arguments are
OPS: dict[Type, list[tuple[Any, ...]]] = {
    Type.INTEGER: [
        *[(op, _I, _I) for op in ("add", "sub", "mul", "div", "mod")],
        ("neg", _I),
        *[(op, kind) for op in ("days_since", "days_until") for kind in (_T, _A)],
        *[("to_integer", kind) for kind in (_N, _X, _T, _D)],
        *[(op, _T) for op in ("full_year", "day_of_week", "hours")],
        *[(op, _T, "zone") for op in (*_PARTS, *_CLOCK)],
        *[(op, _D) for op in _CLOCK],
        ("size", _X),
        *[("size", kind) for kind in LISTS],
        ("index_of", _X, _X),
        ("index_of", _X, _X, "small"),
        ("last_index_of", _X, _X),
    ],
    Type.NUMBER: [
        *[(op, _N, _N) for op in ("add", "sub", "mul", "div", "ratio")],
        ("neg", _N),
        *[("to_number", kind) for kind in (_I, _X, _M)],
    ],
    Type.DURATION: [("add", _D, _D), ("sub", _D, _D), ("sub", _T, _T), ("neg", _D), ("to_duration", _X)],
    Type.TIME: [
        ("add", _T, _D),
        ("add", _D, _T),
        ("sub", _T, _D),
        ("add_months", _T, _I),
        ("to_time", _I),
        ("to_time", _X),
    ],
    Type.DATE: [("add_days", _A, _I), ("add_months", _A, _I), ("to_date", _T), ("to_date", _X)],
    Type.MONEY: [("add", _M, _M), ("sub", _M, _M), ("neg", _M), ("mul", _M, _I)],
    Type.TEXT: [
        *[("to_text", kind) for kind in SCALARS],
        ("concat", _X, _X),
        ("char_at", _X, "small"),
        *[(op, _X) for op in ("lower_ascii", "upper_ascii", "reverse", "trim", "quote")],
        ("replace", _X, _X, _X),
        ("replace", _X, _X, _X, "small"),
        ("substring", _X, "small"),
        ("substring", _X, "small", "small"),
        ("join", Type.TEXTS),
        ("join", Type.TEXTS, _X),
    ],
    Type.BOOL: [
        *[(op, _X, _X) for op in ("contains", "starts_with", "ends_with")],
        ("matches", _X, "pattern"),
        ("to_bool", _X),
    ],
}
