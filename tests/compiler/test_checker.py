"""Types: the trees the checker makes, and the exact text of what it says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.compiler.checker import Scope, check
from engine.compiler.model import Attribute, EventType, Feature, Position
from engine.compiler.nodes import Const, Fact, Node, Op, Ref, Span, Type, Var
from engine.compiler.source import WARNING
from engine.compiler.summary import Known

S0 = Span(0, 0)
PLACE = Position("schema.yaml", 1, 1)
B, INT, N, X, T, D = Type.BOOL, Type.INTEGER, Type.NUMBER, Type.TEXT, Type.TIME, Type.DURATION


def event(name: str, **attributes: Type) -> EventType:
    unit = {"amount": "EUR"}
    made = {key: Attribute(key, kind, unit.get(key), False, PLACE) for key, kind in attributes.items()}
    return EventType(name, made, PLACE)


def feature(name: str, kind: Type, unit: str | None = None, personal: bool = False) -> Feature:
    return Feature(name, kind, unit, personal, None, None, None, None, None, PLACE)


FEATURES = [
    feature("savings_balance", N, "EUR"),
    feature("age", INT),
    feature("city", X),
    feature("joined", T),
    feature("active", B),
    feature("tags", Type.TEXTS),
    feature("due", Type.DATE),
    feature("debt", Type.MONEY, "EUR"),
    feature("fine", Type.MONEY, "USD"),
    feature("age_days", INT, "days"),
    feature("phone", X, personal=True),
]
SCOPE = Scope(
    events={
        "deposit": event("deposit", amount=N, channel=X),
        "payment": event("payment", amount=N, channel=INT),
        "login": event("login", channel=X),
    },
    features={one.name: one for one in FEATURES},
    windows={"deposits_30d": INT, "last_payment": T},
    facts={
        "rich": Op(B, "gt", (Ref(N, "features.savings_balance", Span(0, 5)), Const(N, 9.0, Span(6, 9))), Span(0, 9)),
        "big": Op(B, "gt", (Ref(N, "event.amount", Span(0, 5)), Const(N, 9.0, Span(6, 9))), Span(0, 9)),
        "reachable": Op(B, "has", (Ref(X, "features.phone", Span(4, 8)),), Span(0, 9)),
        "tagged": Op(B, "exists", (Ref(Type.TEXTS, "features.tags", S0), Const(B, True, S0)), S0),
        "called": Op(B, "eq", (Ref(X, "features.phone", Span(0, 8)), Const(X, "1", Span(9, 12))), Span(0, 12)),
        "maturity.paying": Const(X, "nascent", Span(0, 9)),
    },
    on=("deposit",),
    roots=frozenset({"event", "features", "windows", "facts", "now"}),
    personal=False,
)


def show(node: Node) -> str:
    match node:
        case Const():
            return node.key
        case Ref():
            return node.path.rpartition(".")[2]
        case Var():
            return f"{node.name}{node.level}"
        case Fact():
            return node.path
    return f"{node.op}:{node.type}({', '.join(show(arg) for arg in node.args)})"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("features.savings_balance >= 1000", "ge:bool(savings_balance, 1000.0)"),
        ("1000 <= features.savings_balance", "le:bool(1000.0, savings_balance)"),
        ("features.savings_balance / 12 > -0", "gt:bool(div:number(savings_balance, 12.0), -0.0)"),
        ("features.savings_balance > (1)", "gt:bool(savings_balance, 1.0)"),
        ("features.savings_balance in [1, -2, 3.5]", "in:bool(savings_balance, (1.0, -2.0, 3.5))"),
        ("features.age > 1", "gt:bool(age, 1)"),
        ("features.age % 2 == 1", "eq:bool(mod:integer(age, 2), 1)"),
        ("-features.age < --1", "lt:bool(neg:integer(age), 1)"),
        ("double(features.age) > 1.5", "gt:bool(to_number:number(age), 1.5)"),
        ("double(5) > 1.5", "gt:bool(to_number:number(5), 1.5)"),
        ("double(1.5) > 1", "gt:bool(1.5, 1.0)"),
        ("int(features.savings_balance) > 1", "gt:bool(to_integer:integer(savings_balance), 1)"),
        ("ratio(event.amount, 3) > 1", "gt:bool(ratio:number(amount, 3.0), 1.0)"),
        ("features.city in ['a', \"b\"]", "in:bool(city, ('a', 'b'))"),
        ("features.city in []", "in:bool(city, ())"),
        ("features.city in ['a', features.city]", "in:bool(city, list:texts('a', city))"),
        ("features.city in features.tags", "in:bool(city, tags)"),
        ("features.tags == []", "eq:bool(tags, ())"),
        ("size(features.tags + ['a']) > 1", "gt:bool(size:integer(concat:texts(tags, ('a',))), 1)"),
        ("features.tags[0] == 'a'", "eq:bool(index:text(tags, 0), 'a')"),
        ("features.city < 'a'", "lt:bool(city, 'a')"),
        ("features.city + 'a' == 'b'", "eq:bool(concat:text(city, 'a'), 'b')"),
        ("features.city.startsWith('a')", "starts_with:bool(city, 'a')"),
        ("matches(features.city, '^a+$')", "matches:bool(city, '^a+$')"),
        ("features.city.indexOf('a', 1) == 2", "eq:bool(index_of:integer(city, 'a', 1), 2)"),
        ("features.city.split(',').join() == ''", "eq:bool(join:text(split:texts(city, ',')), '')"),
        ("[].join() == strings.quote('')", "eq:bool(join:text(()), quote:text(''))"),
        ("[1, 2].exists(x, x > 1)", "exists:bool((1, 2), gt:bool(x0, 1))"),
        (
            "features.tags.all(t, ['a', 'b'].existsOne(x, x == t))",
            "all:bool(tags, exists_one:bool(('a', 'b'), eq:bool(x1, t0)))",
        ),
        ("features.tags.filter(x, x != '') == []", "eq:bool(filter:texts(tags, ne:bool(x0, '')), ())"),
        (
            "2 in features.tags.map(x, x != '', size(x))",
            "in:bool(2, map:integers(tags, ne:bool(x0, ''), size:integer(x0)))",
        ),
        (
            "[1].all(x, [2].all(x, x > 1) && x > 0)",
            "all:bool((1,), and:bool(all:bool((2,), gt:bool(x1, 1)), gt:bool(x0, 0)))",
        ),
        ("int('5') > int(now)", "gt:bool(to_integer:integer('5'), to_integer:integer(now))"),
        ("bool(features.city) || bool(true)", "or:bool(to_bool:bool(city), True)"),
        ("timestamp(features.age) > timestamp(1)", "gt:bool(to_time:time(age), 1000000000)"),
        ("features.joined.getHours('+05:30') > 9", "gt:bool(hours:integer(joined, '+05:30'), 9)"),
        ("days(2).getHours() > 9", "gt:bool(hours:integer(172800000000000), 9)"),
        ("features.due < date('2026-01-02')", "lt:bool(due, 20455)"),
        ("features.due + days(3) > date(now)", "gt:bool(add_days:date(due, 3), to_date:date(now))"),
        (
            "features.due - days(3) > features.due - months(2)",
            "gt:bool(add_days:date(due, -3), add_months:date(due, -2))",
        ),
        ("months(12) + features.joined > now", "gt:bool(add_months:time(joined, 12), now)"),
        ("days_until(features.due) < 7", "lt:bool(days_until:integer(due), 7)"),
        ("features.debt > 12.5", "gt:bool(debt, 12500000000)"),
        ("-10 < features.debt + 0.000000001", "lt:bool(-10000000000, add:money(debt, 1))"),
        ("2 * -features.debt > 1", "gt:bool(mul:money(neg:money(debt), 2), 1000000000)"),
        ("features.debt in [10, 2.5]", "or:bool(eq:bool(debt, 10000000000), eq:bool(debt, 2500000000))"),
        ("ratio(features.debt, 3) > 1", "gt:bool(ratio:number(to_number:number(debt), 3.0), 1.0)"),
        ("string(features.debt) == ''", "eq:bool(concat:text(to_text:text(debt), ' EUR'), '')"),
        ("dyn(features.age) < 1.5", "lt:bool(to_number:number(age), 1.5)"),
        ("dyn(3) in [1.0, 3.0]", "in:bool(to_number:number(3), (1.0, 3.0))"),
        ("features.joined in [timestamp('1970-01-01T00:00:01Z')]", "in:bool(joined, (1000000000,))"),
        ("now - features.joined > days(2)", "gt:bool(sub:duration(now, joined), 172800000000000)"),
        ("days(1) + now > features.joined", "gt:bool(add:time(now, 86400000000000), joined)"),
        ("-duration('1h') < days(-1)", "lt:bool(neg:duration(3600000000000), -86400000000000)"),
        ("days_since(windows.last_payment) > 30", "gt:bool(days_since:integer(last_payment), 30)"),
        ("event.occurred_at < now && event.type == 'x'", "and:bool(lt:bool(occurred_at, now), eq:bool(type, 'x'))"),
        ("has(features.phone) || has(event.amount)", "or:bool(has:bool(phone), has:bool(amount))"),
        (
            "features.active && (true && features.active) || false",
            "or:bool(and:bool(active, True, active), False)",
        ),
        ("features.active < true", "lt:bool(active, True)"),
        (
            "features.active ? facts.rich : !features.active",
            "cond:bool(active, facts.rich, not:bool(active))",
        ),
        ("facts.maturity.paying == 'x'", "eq:bool(facts.maturity.paying, 'x')"),
        ("facts.reachable && facts.big", "and:bool(facts.reachable, facts.big)"),
        ("-9223372036854775808 < features.age", "lt:bool(-9223372036854775808, age)"),
    ],
)
def test_trees(text: str, expected: str) -> None:
    node, problems = check(text, SCOPE, B)
    assert problems == []
    assert node is not None
    assert show(node) == expected
    assert node.span == Span(0, len(text))


def test_facts_share_their_tree() -> None:
    node, _ = check("facts.rich || !facts.rich", SCOPE, B)
    assert isinstance(node, Op)
    first, second = node.args
    assert isinstance(second, Op)
    assert first == second.args[0]
    assert isinstance(first, Fact)
    assert (first.path, first.span) == ("facts.rich", Span(0, 10))
    assert first.node is SCOPE.facts["rich"]


@pytest.mark.parametrize(
    ("text", "wanted", "shown"),
    [
        ("12", N, "12.0"),
        ("-12", N, "-12.0"),
        ("12", INT, "12"),
        ("features.age", None, "age"),
        ("'x'", None, "'x'"),
        ("0.5", N, "0.5"),
        ("timestamp('2026-11-21T10:00:00.5+01:00')", T, "1795251600500000000"),
        ("timestamp('0001-01-01T00:00:00Z')", T, "-62135596800000000000"),
        ("timestamp('9999-12-31T23:59:59.999999999Z')", T, "253402300799999999999"),
        ("duration('1h30m')", D, "5400000000000"),
        ("duration('-1.5s')", D, "-1500000000"),
        ("duration('1h0.5m3ms2us1ns')", D, "3630003002001"),
        ("duration('0')", D, "0"),
    ],
)
def test_wanted_types(text: str, wanted: Type | None, shown: str) -> None:
    node, problems = check(text, SCOPE, wanted)
    assert problems == []
    assert node is not None
    assert show(node) == shown


def test_integer_division_where_it_is_allowed() -> None:
    node, problems = check("features.age / 2 == 1", SCOPE, B, allow_integer_division=True)
    assert problems == []
    assert node is not None
    assert show(node) == "eq:bool(div:integer(age, 2), 1)"


ALL = "one of `event.`, `features.`, `windows.`, `facts.`, `now`"
FUNCTIONS = "a function of CEL, or one of ratio, days_since, days_until, date, days, months"
KERNEL = ""

PROBLEMS = [  # text, [(code, part, message, found, expected, hint)]
    (
        "savings_balance > 3",
        [
            (
                "unknown-name",
                "savings_balance",
                "nothing is called 'savings_balance'",
                "",
                ALL,
                "write `features.savings_balance`",
            )
        ],
    ),
    (
        "features.savings_balanc > 3",
        [
            (
                "unknown-name",
                "features.savings_balanc",
                "no feature is called 'savings_balanc'",
                "",
                "a feature of the schema",
                "did you mean 'savings_balance'?",
            )
        ],
    ),
    (
        "features.deposits_30d > 3",
        [
            (
                "unknown-name",
                "features.deposits_30d",
                "no feature is called 'deposits_30d'",
                "",
                "a feature of the schema",
                "write `windows.deposits_30d`",
            )
        ],
    ),
    (
        "deposit.amount > 3",
        [("unknown-name", "deposit.amount", "nothing is called 'deposit'", "", ALL, "write `event.amount`")],
    ),
    (
        "event.amout > 3",
        [
            (
                "unknown-name",
                "event.amout",
                "no attribute 'amout' in event type 'deposit'",
                "",
                "an attribute of the event, occurred_at or type",
                "did you mean 'amount'?",
            )
        ],
    ),
    (
        "features",
        [
            (
                "incomplete-name",
                "features",
                "'features' alone is not a value",
                "features",
                "a name in it, such as `features.x`",
                "",
            )
        ],
    ),
    (
        "features.age.x == 1",
        [
            (
                "unknown-name",
                "features.age.x",
                "`features.age` has no fields",
                "",
                "a feature of the schema",
                "write `features.age`",
            )
        ],
    ),
    (
        "features.phone == 'x'",
        [
            (
                "personal-in-condition",
                "features.phone",
                "`features.phone` is personal",
                "",
                "personal values only in slots and in has()",
                "`has(..)` tells whether it is there",
            )
        ],
    ),
    (
        "facts.called",
        [
            (
                "personal-in-condition",
                "facts.called",
                "`facts.called` reads `features.phone`, which is personal",
                "",
                "personal values only in slots and in has()",
                "`has(..)` tells whether it is there",
            )
        ],
    ),
    (
        "features.age > 1.5",
        [
            (
                "mixed-numbers",
                "features.age > 1.5",
                "`>` does not mix integer and number",
                "integer > number",
                "two integers or two numbers",
                "write `double(features.age)`",
            )
        ],
    ),
    (
        "event.amount * features.age > 1",
        [
            (
                "mixed-numbers",
                "event.amount * features.age",
                "`*` does not mix integer and number",
                "number in EUR * integer",
                "two integers or two numbers",
                "write `double(features.age)`",
            )
        ],
    ),
    (
        "features.savings_balance > 9007199254740993",
        [
            (
                "inexact-literal",
                "9007199254740993",
                "9007199254740993 is no exact number: it would become 9007199254740992",
                "9007199254740993",
                "an integer that a double holds exactly",
                "integers are exact up to 2^53",
            )
        ],
    ),
    (
        "features.age / 2 > 1",
        [
            (
                "integer-division",
                "features.age / 2",
                "an integer divided by an integer loses its fraction",
                "integer / integer",
                "numbers",
                "write `ratio(double(features.age), 2.0)`",
            )
        ],
    ),
    (
        "features.savings_balance % 2.0 == 0",
        [
            (
                "no-such-operator",
                "features.savings_balance % 2.0",
                "there is no `%` for number and number",
                "number in EUR % number",
                "two integers",
                "",
            )
        ],
    ),
    (
        "features.savings_balance > '5'",
        [
            (
                "no-such-operator",
                "features.savings_balance > '5'",
                "there is no `>` for number and text",
                "number in EUR > text",
                "two values of one type",
                "write `5`",
            )
        ],
    ),
    (
        "features.city == 5",
        [
            (
                "no-such-operator",
                "features.city == 5",
                "there is no `==` for text and integer",
                "text == integer",
                "two values of one type",
                'write `"5"`',
            )
        ],
    ),
    (
        "now - features.joined > 30",
        [
            (
                "no-such-operator",
                "now - features.joined > 30",
                "there is no `>` for duration and integer",
                "duration > integer",
                "two values of one type",
                "write `days(30)`",
            )
        ],
    ),
    (
        "features.joined < '2026'",
        [
            (
                "no-such-operator",
                "features.joined < '2026'",
                "there is no `<` for time and text",
                "time < text",
                "two values of one type",
                'write `timestamp("2026-11-21T10:00:00Z")`',
            )
        ],
    ),
    (
        "1 < features.age < 5",
        [
            (
                "no-such-operator",
                "1 < features.age < 5",
                "there is no `<` for bool and integer",
                "bool < integer",
                "two values of one type",
                "write `1 < features.age && features.age < 5`",
            )
        ],
    ),
    (
        "features.city in ['a', 1, 2.5]",
        [
            ("wrong-type", "1", "integer in a list for text", "integer", "text", 'write `"1"`'),
            ("wrong-type", "2.5", "number in a list for text", "number", "text", 'write `"2.5"`'),
        ],
    ),
    (
        "1 in features.age",
        [
            (
                "no-such-operator",
                "features.age",
                "the right of `in` is not a list",
                "integer",
                "a list",
                "write `1 == features.age`, or `in [..]`",
            )
        ],
    ),
    (
        "features.age && !features.city || x",
        [
            ("wrong-type", "features.age", "this is integer, not bool", "integer", "bool", "compare it, as in `x > 0`"),
            ("wrong-type", "features.city", "this is text, not bool", "text", "bool", 'compare it, as in `x == "a"`'),
            ("unknown-name", "x", "nothing is called 'x'", "", ALL, 'if a text was meant, write `"x"`'),
        ],
    ),
    (
        "features.active ? 1 : 2.5",
        [
            (
                "wrong-type",
                "features.active ? 1 : 2.5",
                "the two branches are not of one type",
                "integer and number",
                "two branches of one type",
                "write `1.0`",
            )
        ],
    ),
    (
        "-features.city == 'x'",
        [
            (
                "no-such-operator",
                "-features.city",
                "there is no `-` for text",
                "text",
                "an integer, a number, a duration or money",
                "",
            )
        ],
    ),
    (
        "features['age'] == 1u",
        [
            (
                "not-yet-supported",
                "features['age']",
                "an index: the names of inputs are written with a dot",
                "features['age']",
                KERNEL,
                "write `features.age`",
            ),
            (
                "not-yet-supported",
                "1u",
                "unsigned integers: no feature or attribute has such a value",
                "1u",
                KERNEL,
                "leave the `u` out",
            ),
        ],
    ),
    (
        "day_since(features.joined) > now.x",
        [
            (
                "unknown-function",
                "day_since(features.joined)",
                "no function is called 'day_since'",
                "day_since()",
                FUNCTIONS,
                "did you mean 'days_since'?",
            ),
            ("unknown-name", "now.x", "`now` has no fields", "", "`now`", ""),
        ],
    ),
    (
        "features.joined.days_since() > 3",
        [
            (
                "unknown-function",
                "features.joined.days_since()",
                "no function is called 'days_since'",
                "days_since()",
                FUNCTIONS,
                "write `days_since(features.joined)`",
            )
        ],
    ),
    (
        "ratio(features.age, 2) > ratio(1)",
        [
            (
                "wrong-type",
                "features.age",
                "this is integer, not number",
                "integer",
                "number",
                "write `double(features.age)`",
            ),
            ("wrong-arguments", "ratio(1)", "`ratio()` takes 2 arguments", "1", "`ratio(number, number)`", ""),
        ],
    ),
    (
        "days(features.age) > duration('1x')",
        [
            (
                "not-yet-supported",
                "days(features.age)",
                "`days()`: it takes a literal integer only",
                "days(features.age)",
                KERNEL,
                "write `days(30)`",
            ),
            ("bad-duration", "'1x'", "'1x' cannot be read: it is not a duration", "'1x'", '`duration("1h30m")`', ""),
        ],
    ),
    (
        "days(200000) > days(1)",
        [
            (
                "bad-duration",
                "200000",
                "200000 cannot be read: it is longer than about 292 years",
                "200000",
                "`days(30)`",
                "",
            )
        ],
    ),
    (
        "now > timestamp('2026-02-30T00:00:00Z')",
        [
            (
                "bad-time",
                "'2026-02-30T00:00:00Z'",
                "'2026-02-30T00:00:00Z' cannot be read: there is no such day or hour",
                "'2026-02-30T00:00:00Z'",
                '`timestamp("2026-11-21T10:00:00Z")`',
                "",
            )
        ],
    ),
    (
        "has(facts.rich)",
        [
            (
                "bad-has",
                "has(facts.rich)",
                "has() of a fact has no meaning: a fact is computed, it is not an input",
                "facts.rich",
                "an input",
                "ask for what the fact reads",
            )
        ],
    ),
    (
        "has(1)",
        [
            (
                "bad-has",
                "has(1)",
                "has() takes the name of one input",
                "has(1)",
                "`has(features.x)`, `has(event.x)` or `has(windows.x)`",
                "",
            )
        ],
    ),
    ("[1, 'a'] == [1]", [("wrong-type", "'a'", "text in a list for integer", "text", "integer", "")]),
    ("[[1]] == []", [("not-yet-supported", "[1]", "a list of lists: lists hold plain values", "[1]", KERNEL, "")]),
    (
        "features.city.matches(features.city) || features.city.matches('(')",
        [
            (
                "not-yet-supported",
                "features.city",
                "a pattern that is no literal: patterns are compiled before anything runs",
                "features.city",
                KERNEL,
                "",
            ),
            (
                "bad-pattern",
                "'('",
                "the pattern cannot be read: missing ): (",
                "'('",
                "a regular expression of RE2",
                "",
            ),
        ],
    ),
    (
        "features.city.contains(1) || features.age.trim() == ''",
        [
            ("wrong-type", "1", "this is integer, not text", "integer", "text", "write `string(1)`"),
            (
                "wrong-type",
                "features.age",
                "this is integer, not text",
                "integer",
                "text",
                "write `string(features.age)`",
            ),
        ],
    ),
    (
        "getHours(now) > 1 || now.getHours('Mars') > 1",
        [
            (
                "unknown-function",
                "getHours(now)",
                "no function is called 'getHours'",
                "getHours()",
                FUNCTIONS,
                "write `now.getHours()`",
            ),
            (
                "unknown-zone",
                "'Mars'",
                "there is no time zone 'Mars'",
                "Mars",
                'an IANA name such as "Europe/Berlin", or an offset such as "+05:30"',
                "",
            ),
        ],
    ),
    (
        "features.city.indexOf() == 1",
        [
            (
                "wrong-arguments",
                "features.city.indexOf()",
                "`indexOf()` takes 1 to 2 arguments",
                "0",
                "`text.indexOf(text, integer)`",
                "",
            )
        ],
    ),
    (
        "size(features.age) > bool(1.5)",
        [
            (
                "wrong-type",
                "features.age",
                "`size()` does not take integer",
                "integer",
                "text, bools, integers, numbers, texts, times, durations, dates",
                "",
            ),
            ("wrong-type", "1.5", "`bool()` does not take number", "number", "text", ""),
        ],
    ),
    (
        "features.tags.all(t, features.tags.all(x, x == t))",
        [
            (
                "not-yet-supported",
                "features.tags.all(x, x == t)",
                "a nested macro: a list of unknown length inside another one cannot run in a kernel",
                "features.tags.all(x, x == t)",
                KERNEL,
                "use a literal list for one of them",
            )
        ],
    ),
    (
        "features.tags.all(t, facts.tagged)",
        [
            (
                "not-yet-supported",
                "features.tags.all(t, facts.tagged)",
                "a nested macro: a fact with a macro over a list, inside a macro over another, cannot run in a kernel",
                "features.tags.all(t, facts.tagged)",
                KERNEL,
                "",
            )
        ],
    ),
    (
        "features.tags.all(1, true) || features.age.all(x, x) || [1].exists(x, x) || x.y",
        [
            (
                "bad-macro",
                "features.tags.all(1, true)",
                "`all()` takes a name for the element and what is done with it",
                "features.tags.all(1, true)",
                "`list.all(x, x > 0)`",
                "",
            ),
            ("wrong-type", "features.age", "`all()` runs over a list, and this is integer", "integer", "a list", ""),
            ("wrong-type", "x", "this is integer, not bool", "integer", "bool", "compare it, as in `x > 0`"),
            ("unknown-name", "x.y", "nothing is called 'x'", "", ALL, ""),
        ],
    ),
    (
        "features.debt > features.fine",
        [
            (
                "currency-mismatch",
                "features.debt > features.fine",
                "EUR and USD do not mix",
                "money in EUR and money in USD",
                "two amounts of one currency",
                "",
            )
        ],
    ),
    (
        "features.debt > 0.0000000001 || features.debt / 2 > 1 || features.debt * 1.5 > 1",
        [
            (
                "inexact-literal",
                "0.0000000001",
                "0.0000000001 is no amount of money",
                "0.0000000001",
                "an amount in steps of 0.000000001",
                "",
            ),
            (
                "no-such-operator",
                "features.debt / 2",
                "there is no `/` for money and integer",
                "money in EUR / integer",
                "two numbers",
                "write `ratio(features.debt, 2)`",
            ),
            (
                "no-such-operator",
                "features.debt * 1.5",
                "there is no `*` for money and number",
                "money in EUR * number",
                "two integers or two numbers, or money and an integer",
                "write `double(features.debt)`",
            ),
        ],
    ),
    (
        "features.due > date('2026-02-30') || features.due > '2026-01-01'",
        [
            (
                "bad-date",
                "'2026-02-30'",
                "'2026-02-30' cannot be read: there is no such day",
                "'2026-02-30'",
                '`date("2026-11-21")`',
                "",
            ),
            (
                "no-such-operator",
                "features.due > '2026-01-01'",
                "there is no `>` for date and text",
                "date > text",
                "two values of one type",
                "write `date('2026-01-01')`",
            ),
        ],
    ),
    (
        "months(1) > days(1) || features.age + months(2) > 1 || now + months(features.age) > now",
        [
            (
                "wrong-type",
                "months(1)",
                "`months()` is a calendar period, not a value",
                "months(1)",
                "a time or a date plus or minus months(n)",
                "write `now - months(3)`",
            ),
            (
                "no-such-operator",
                "features.age + months(2)",
                "there is no `+` for integer and a calendar period",
                "integer",
                "a time or a date",
                "",
            ),
            (
                "not-yet-supported",
                "months(features.age)",
                "`months()`: it takes a literal integer only",
                "months(features.age)",
                KERNEL,
                "write `months(30)`",
            ),
        ],
    ),
    (
        "event.amount",
        [
            (
                "wrong-type",
                "event.amount",
                "this is number, not bool",
                "number in EUR",
                "bool",
                "compare it, as in `x > 0`",
            )
        ],
    ),
]


@pytest.mark.parametrize(("text", "expected"), PROBLEMS, ids=[text for text, _ in PROBLEMS])
def test_problems(text: str, expected: list[tuple[str, str, str, str, str, str]]) -> None:
    node, problems = check(text, SCOPE, B)
    assert node is None
    told = [(p.code, text[p.span.start : p.span.end], p.message, p.found, p.expected, p.hint) for p in problems]
    assert told == expected


@pytest.mark.parametrize(
    ("on", "text", "code", "found", "hint"),
    [
        (
            ("deposit", "login"),
            "event.amount > 1",
            "not-in-every-event",
            "no 'amount' in 'login'",
            "say `on: [deposit]`",
        ),
        (None, "event.amount > 1", "not-in-every-event", "no 'amount' in 'login'", "say `on: [deposit, payment]`"),
        (None, "facts.big", "not-in-every-event", "no 'amount' in 'login'", "say `on: [deposit, payment]`"),
        (
            None,
            "event.channel == 'x'",
            "event-types-differ",
            "text in 'deposit', 'login'; integer in 'payment'",
            "name event types that agree in `on`",
        ),
        (("login",), "event.amount > 1", "unknown-name", "", ""),
    ],
)
def test_event_types(on: tuple[str, ...] | None, text: str, code: str, found: str, hint: str) -> None:
    _, problems = check(text, replace(SCOPE, on=on), B)
    assert [(p.code, p.found, p.hint) for p in problems] == [(code, found, hint)]
    assert check(text, replace(SCOPE, on=("deposit",)), B)[1] == []


@pytest.mark.parametrize("text", ["windows.deposits_30d > 1", "now > event.occurred_at", "facts.rich"])
def test_roots(text: str) -> None:
    _, problems = check(text, replace(SCOPE, roots=frozenset({"event", "facts"})), B)
    assert [(p.code, p.expected) for p in problems] == [("not-available-here", "one of `event.`, `facts.`")]


def test_personal_features_in_slots() -> None:
    assert check("features.phone", replace(SCOPE, personal=True), X)[1] == []


@pytest.mark.parametrize(
    ("text", "place", "message", "found"),
    [
        (
            "features.savings_balance > double(features.age_days)",
            "features.savings_balance > double(features.age_days)",
            "`>` takes EUR and days for the same",
            "number in EUR > number in days",
        ),
        (
            "features.age_days * 2 + windows.idle > 3",
            "features.age_days * 2 + windows.idle",
            "`+` takes days and hours for the same",
            "integer in days + integer in hours",
        ),
        (
            "windows.idle in [1, features.age_days]",
            "windows.idle in [1, features.age_days]",
            "`in` takes hours and days for the same",
            "integer in hours in integers in days",
        ),
        (
            "(features.age > 3 ? windows.idle : features.age_days) > 1",
            "(features.age > 3 ? windows.idle : features.age_days)",
            "`:` takes hours and days for the same",
            "integer in hours : integer in days",
        ),
        (
            "[features.age_days][0] > windows.idle",
            "[features.age_days][0] > windows.idle",
            "`>` takes days and hours for the same",
            "integer in days > integer in hours",
        ),
    ],
)
def test_units_that_differ_are_warnings(text: str, place: str, message: str, found: str) -> None:
    scope = replace(SCOPE, windows={"idle": INT}, units={"windows.idle": "hours"})
    node, problems = check(text, scope, B)
    assert node is not None
    assert [(p.code, p.severity, text[p.span.start : p.span.end], p.message, p.found) for p in problems] == [
        ("unit-mismatch", WARNING, place, message, found)
    ]


@pytest.mark.parametrize(
    "text",
    [
        "features.savings_balance * 12 > event.amount",
        "ratio(features.savings_balance, event.amount) > double(features.age_days)",
        "features.savings_balance / event.amount > 3",
        "double(features.debt) > features.savings_balance",
        "features.active ? features.age_days > 1 : features.savings_balance > 1",
    ],
)
def test_units_that_agree(text: str) -> None:
    assert check(text, SCOPE, B)[1] == []


def test_windows_of_money_have_their_currency() -> None:
    scope = replace(SCOPE, windows={"paid": Type.MONEY}, units={"windows.paid": "USD"})
    assert [p.code for p in check("windows.paid > features.debt", scope, B)[1]] == ["currency-mismatch"]
    assert check("windows.paid > features.fine", scope, B)[1] == []


def test_an_attribute_of_two_currencies_is_refused() -> None:
    euro, dollar = (Attribute("due", Type.MONEY, unit, False, PLACE) for unit in ("EUR", "USD"))
    events = {"a": EventType("a", {"due": euro}, PLACE), "b": EventType("b", {"due": dollar}, PLACE)}
    _, problems = check("event.due > 1", replace(SCOPE, events=events, on=("a", "b")), B)
    assert [(p.code, p.found) for p in problems] == [("event-types-differ", "money in EUR in 'a'; money in USD in 'b'")]


def test_macros_over_literals_count_for_each_element() -> None:
    wide = f"[{', '.join(str(n) for n in range(100))}]"
    assert check(f"{wide}.all(x, x < features.age)", SCOPE, B)[1] == []
    _, problems = check(f"{wide}.all(x, {wide}.all(y, x + y < features.age))", SCOPE, B)
    assert [p.code for p in problems] == ["too-many-nodes"]


def test_a_fact_counts_once() -> None:
    facts: dict[str, Node] = {"f0": SCOPE.facts["rich"]}
    for i in range(1, 40):
        node, problems = check(f"facts.f{i - 1} != facts.f{i - 1}", replace(SCOPE, facts=facts), B)
        assert problems == []
        assert node is not None
        facts[f"f{i}"] = node


def test_facts_that_are_too_much_together_are_refused() -> None:
    long = " + ".join(["features.age"] * 200)
    facts: dict[str, Node] = {}
    for i in range(5):
        node, _ = check(f"{long} + {i}", SCOPE, INT)
        assert node is not None
        facts[f"f{i}"] = node
    _, problems = check(" + ".join(f"facts.f{i}" for i in range(5)), replace(SCOPE, facts=facts), INT)
    assert [p.code for p in problems] == ["too-many-nodes"]


def test_facts_that_nest_are_refused() -> None:
    known = Known()
    facts: dict[str, Node] = {"f0": Ref(INT, "features.age", Span(0, 1))}
    for i in range(1, 400):
        node, problems = check(f"facts.f{i - 1} + 1 ", replace(SCOPE, facts=facts, known=known), INT)
        if node is None:
            assert [p.code for p in problems] == ["too-deep"]
            assert i == 150  # each a sum in a fact
            return
        facts[f"f{i}"] = node
    pytest.fail("nothing was refused")
