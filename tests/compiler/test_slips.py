"""What people write instead: each slip is told where it is, with the way to write it."""

from __future__ import annotations

import pytest

from engine.compiler.checker import Scope, check
from engine.compiler.model import Feature, Position
from engine.compiler.nodes import Type

PLACE = Position("schema.yaml", 1, 1)
FEATURES = {
    "has_app": Type.BOOL,
    "age": Type.INTEGER,
    "burden": Type.NUMBER,
    "tier": Type.TEXT,
    "ends_on": Type.DATE,
    "debt": Type.MONEY,
    "interests": Type.TEXTS,
}
SCOPE = Scope(
    events={},
    features={
        name: Feature(name, kind, "EUR" if kind is Type.MONEY else None, False, None, None, None, None, None, PLACE)
        for name, kind in FEATURES.items()
    },
    windows={},
    facts={},
    on=None,
    roots=frozenset({"features", "now"}),
    personal=False,
)
AMOUNT = "write the number alone: an amount takes its currency from what it is compared with"

SLIPS = [  # what is written, the part that is marked, the hint
    ("features.has_app and features.age > 3", "and", "for 'and', write `&&`"),
    ("features.has_app OR features.age > 3", "OR", "for 'or', write `||`"),
    ("not features.has_app", "not", "for 'not', write `!`"),
    ('features.tier = "gold"', "=", "to compare, write `==`"),
    ("features.age => 3", "=", "write `>=`"),
    ("features.age =< 3", "=", "write `<=`"),
    ('features.tier <> "gold"', "<", "write `!=`"),
    ("features.age between 1 and 3", "between", "write `x >= 1 && x <= 3`"),
    ("features.tier == gold", "gold", 'if a text was meant, write `"gold"`'),
    ("features.tier == “gold”", "“", 'use straight quotes: "..."'),
    ("features.tier == ('gold', 'silver')", ",", ""),
    ("features.tier in ('gold', 'silver')", ",", "a list stands in brackets: `x in [1, 2]`"),
    ("features.has_app == yes", "yes", "write `true`"),
    ("features.has_app == False", "False", "write `false`"),
    ('features.has_app == "yes"', None, "write `features.has_app` or `!features.has_app`"),
    ("0 != features.has_app", None, "write `features.has_app` or `!features.has_app`"),
    ("features.debt > 1,000", ",", "write `1000`: a number has no comma"),
    ("features.burden > 2,5", ",", "write `2.5`: a number has no comma"),
    ("features.burden > 30%", "%", "`%` is the remainder of a division: 30 percent are `0.3`"),
    ("features.debt > €1000", "€", AMOUNT),
    ("features.debt > 1000 EUR", "EUR", AMOUNT),
    ("features.ends_on < date(now) + 7 days", "days", "write `days(7)`"),
    ("features.ends_on < date(now) + 3 Months", "Months", "write `months(3)`"),
    ("features.ends_on > 2026-03-31", None, 'write `date("2026-03-31")`'),
    ('features.ends_on > date("31.3.2026")', '"31.3.2026"', 'write `date("2026-03-31")`'),
    ("features.ends_on < now", None, "write `date(now)`"),
    ("features.ends_on < today", "today", "write `date(now)`"),
    ("features.ends_on < date(now())", "now()", "write `now`"),
    (
        "features.ends_on - now < 7",
        "features.ends_on - now",
        "write days_since(x) or days_until(x): days between a date and now",
    ),
    ("features.debt == missing", "missing", "`!has(..)` tells that a value is missing"),
    ("features.debt == null", "null", "has(x) tells whether a value is there"),
    ('features.interests == "food"', None, 'write `"food" in features.interests`'),
    ('features.interests.contains("food")', "features.interests", "write `x in features.interests`"),
    ('features.interests in "food"', '"food"', 'write `"food" in features.interests`'),
    ("if features.has_app then 1", "if", "write `condition ? value : other value`"),
    ("features.has_app\u00a0&& true", "\u00a0", "type a space instead"),
    ("features.debt – 3.0 > 1.0", "–", "write `-`"),
]


@pytest.mark.parametrize(("text", "part", "hint"), SLIPS, ids=[text for text, *_ in SLIPS])
def test_a_slip_is_marked_once_with_the_way_to_write_it(text: str, part: str | None, hint: str) -> None:
    _, problems = check(text, SCOPE, Type.BOOL)
    assert [(text[p.span.start : p.span.end], p.hint) for p in problems] == [(part or text, hint)]
