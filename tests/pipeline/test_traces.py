"""Every part of every condition of a message, with its value and its place: what Explain tells."""

from __future__ import annotations

import io

import pytest

from engine.bundle import Bundle, compile_bundle
from engine.compiler.model import Position
from engine.step import traces
from engine.step.traces import ConditionTrace
from engine.trial import run

HEAD = """\
events:
  pay:
    amount: {type: money, currency: EUR}
    fee: {type: money, currency: EUR}
    tags: texts
    due: date
    at: time
    n: integer
    secret: {type: text, personal: true}
  ping: {}
features:
  balance: {type: number, default: 3.5}
  salary: {type: number, above: 0}
  rate: {type: money, currency: USD, default: 2}
  limit: {type: money, currency: USD, default: 3}
  first_name: {type: text, personal: true}
  phone: {type: text, personal: true}
purposes: {service: {consent: not_required}}
channels: {push: {when: features.balance < 100.0}, sms: {}}
"""
FACTS = """\
# facts stand in a file of their own
facts:
  months: features.balance / features.salary
  twice: facts.months + facts.months
"""


def bundle_of(message: str, more: dict[str, str] | None = None, channels: str = "[sms]") -> Bundle:
    """A rule set of one message `m` that is said on `pay`, and one for `ping`."""
    rules = f"messages:\n  m:\n    purpose: service\n    on: [pay]\n    channels: {channels}\n{message}"
    rules += "\n    variants: {plain: {en: Hi}}" if "variants" not in message else ""
    rules += "\n  other: {purpose: service, on: [ping], channels: [sms], variants: {plain: {en: Hi}}}\n"
    files = {"head.yaml": HEAD, "facts.yaml": FACTS, "rules.yaml": rules, **(more or {})}
    return compile_bundle({path: text.encode() for path, text in files.items()})


def conditions(bundle: Bundle, event: str = "", features: str = "", name: str = "m") -> list[ConditionTrace]:
    """The message's conditions for one `pay`."""
    test = f"tests:\n  - {{name: t, given: {{features: {{{features}}}}}, event: {{type: pay, {event}}}"
    test += f", expect: {{send: {name}}}}}\n"
    files = {**bundle.ruleset.files, "tests.yaml": test.encode()}
    tested = compile_bundle(files)
    explanation = run(tested, tested.ruleset.tests[0]).explanation
    [view] = [v for v in explanation.candidates if v.message == name]
    for condition in view.conditions:
        check_places(tested, condition)
    return view.conditions


def check_places(bundle: Bundle, condition: ConditionTrace) -> None:
    """At each step's place the file says how the step begins."""
    for step in condition.steps:
        if step.text.startswith("no row"):
            continue
        begins = step.text.split(": ", 1)[1] if step.text.startswith("row ") else step.text
        assert at(bundle, step.position).startswith(begins.split()[0]), step


def at(bundle: Bundle, place: Position) -> str:
    """What stands in the file from a place on, to the end of its line."""
    line = bundle.ruleset.files[place.path].decode().split("\n")[place.line - 1]
    return line[place.column - 1 :]


def told(condition: ConditionTrace) -> list[str]:
    """The steps as text: depth, what is written, value."""
    return [f"{'  ' * step.depth}{step.text} = {step.value}" for step in condition.steps]


def when(text: str, event: str = "", features: str = "", more: dict[str, str] | None = None) -> list[str]:
    """The steps of a `when:`."""
    [condition] = conditions(bundle_of(f"    when: {text}", more), event, features)
    assert condition.role == "when"
    return told(condition)


def test_values_of_every_part() -> None:
    assert when("event.n > 1 && event.n * 2 < 5 || false", "n: 2") == [
        "event.n > 1 && event.n * 2 < 5 || false = true",
        "  event.n > 1 && event.n * 2 < 5 = true",
        "    event.n > 1 = true",
        "      event.n = 2",
        "    event.n * 2 < 5 = true",
        "      event.n * 2 = 4",
        "        event.n = 2",
    ]


def test_errors_have_their_cause_and_absorbed_ones_are_told_too() -> None:
    assert when("features.salary > 1.0 || event.n % (event.n - 2) > 0 || event.n == 2", "n: 2") == [
        "features.salary > 1.0 || event.n % (event.n - 2) > 0 || event.n == 2 = true",
        "  features.salary > 1.0 = error: features.salary is missing",
        "    features.salary = error: features.salary is missing",
        "  event.n % (event.n - 2) > 0 = error: modulus by zero",
        "    event.n % (event.n - 2) = error: modulus by zero",
        "      event.n = 2",
        "      (event.n - 2) = 0",
        "        event.n = 2",
        "  event.n == 2 = true",
        "    event.n = 2",
    ]


def test_defaults_has_and_ternaries() -> None:
    steps = when("'has(features.balance) ? features.balance > 1.0 : features.balance > 3.0'")
    assert steps[1:] == [
        "  has(features.balance) = false",
        "  features.balance > 1.0 = true",
        "    features.balance = 3.5 (default)",
        "  features.balance > 3.0 = true",
        "    features.balance = 3.5 (default)",
    ]


def test_units_of_money_dates_and_times() -> None:
    text = 'event.amount + event.fee > event.fee && event.due > date("2026-01-01") && event.at < now'
    given = 'amount: 12.50, fee: 1, due: 2026-03-01, at: "2026-01-14T10:30:00+01:00"'
    steps = [step.strip() for step in when(text, given)]
    assert "event.amount + event.fee = 13.50 EUR" in steps
    assert "event.fee = 1.00 EUR" in steps
    assert "event.due = 2026-03-01" in steps
    assert "event.at = 2026-01-14T09:30:00Z" in steps
    assert "now = 2026-01-15T12:00:00Z" in steps


def test_money_has_the_currency_of_money_only() -> None:
    steps = when("'(features.rate > features.limit ? event.amount : event.fee) > event.fee'", "amount: 5, fee: 2")
    assert steps[1] == "  (features.rate > features.limit ? event.amount : event.fee) = 2.00 EUR"
    assert "      features.rate = 2.00 USD (default)" in steps


def test_numbers_are_told_to_twelve_digits() -> None:
    steps = when("features.balance > 1.0", features="balance: 1234567.125")
    assert steps[1] == "  features.balance = 1234567.125"


def test_facts_have_their_own_file_and_are_opened_once() -> None:
    [condition] = conditions(bundle_of("    when: facts.twice > 6.0"), features="balance: 9000, salary: 3000")
    assert told(condition) == [
        "facts.twice > 6.0 = false",
        "  facts.twice = 6",
        "    facts.months + facts.months = 6",
        "      facts.months = 3",
        "        features.balance / features.salary = 3",
        "          features.balance = 9000",
        "          features.salary = 3000",
        "      facts.months = 3",
    ]
    assert [step.fact for step in condition.steps] == [
        "",
        "",
        *["facts.twice"] * 2,
        *["facts.months"] * 3,
        "facts.twice",
    ]
    assert str(condition.steps[2].position) == "facts.yaml:4:10"
    assert str(condition.steps[6].position) == "facts.yaml:3:30"
    assert str(condition.steps[7].position) == "facts.yaml:4:25"


def test_a_fact_of_two_conditions_is_opened_in_both() -> None:
    bundle = bundle_of("    when: facts.months > 1.0\n    unless: facts.months > 5.0")
    first, second = conditions(bundle, features="balance: 9000, salary: 3000")
    assert told(first)[1:] == told(second)[1:]
    assert "    features.balance / features.salary = 3" in told(second)


def test_macros_tell_the_value_for_each_element() -> None:
    text = 'event.tags.exists(t, t.startsWith("x") && size(t) > event.n)'
    assert when(f"'{text}'", "n: 1, tags: [xa, b, xyz]")[1:] == [
        '  event.tags = ["xa", "b", "xyz"]',
        '  t.startsWith("x") && size(t) > event.n = true, false, true',
        '    t.startsWith("x") = true, false, true',
        "    size(t) > event.n = true, false, true",
        "      size(t) = 2, 1, 3",
        "      event.n = 1",
    ]


def test_macros_of_macros_and_of_long_lists() -> None:
    tags = ", ".join("abcdefghij")
    text = 'event.tags.exists(t, ["a", "z"].exists_one(u, u == t)) && event.tags.map(t, t + "!").size() > 20'
    steps = when(f"'{text}'", f"tags: [{tags}]")
    few = "true, false, false, false, false, false, false, false, .."
    assert f'    ["a", "z"].exists_one(u, u == t) = {few}' in steps
    assert not any("u == t" in step and "exists_one" not in step for step in steps)
    assert any(step.endswith('t + "!" = "a!", "b!", "c!", "d!", "e!", "f!", "g!", "h!", ..') for step in steps)


def test_a_fact_in_a_macro_and_beside_it() -> None:
    more = {"tables/s.csv": TABLE, "table.yaml": TABLE_FACT % "first, default: {level: other, rank: 0}"}
    text = "event.tags.exists(t, size(t) > facts.score.rank) || facts.score.rank == 9 || facts.twice > 5.0"
    steps = when(text, "n: 2, tags: [a]", "salary: 3000, balance: 3000", more)
    assert steps[3:6] == ["    size(t) > facts.score.rank = false", "      size(t) = 1", "      facts.score.rank = 3"]
    assert steps[6:9] == ["  facts.score.rank == 9 = false", "    facts.score.rank = 3", "      features.salary = 3000"]


def test_an_error_for_one_element() -> None:
    steps = when("event.tags.exists(t, int(t) > 1)", "tags: ['5', x]")
    assert steps[2:] == ["  int(t) > 1 = true, error", "    int(t) = 5, error"]
    steps = when("event.tags.exists(t, int(t) > 1)", "tags: [y, x]")
    assert steps[3] == "    int(t) = error: int: the text is not an integer"


TABLE = """\
features.salary,event.n,out: level,out: rank,note
missing,-,none,1,
> 1000,[1..5],high,3,"a note, with a comma"
-,> 5,odd,2,
"""
TABLE_FACT = "facts: {score: {table: tables/s.csv, hit: %s}}\n"


def table(
    text: str, event: str, features: str, fact: str = TABLE_FACT % "first, default: {level: other, rank: 0}"
) -> list[str]:
    return when(f"'{text}'", event, features, {"tables/s.csv": TABLE, "table.yaml": fact})


def test_a_table_tells_its_inputs_and_its_row() -> None:
    more = {"tables/s.csv": TABLE, "table.yaml": TABLE_FACT % "first, default: {level: other, rank: 0}"}
    [condition] = conditions(bundle_of("    when: facts.score.level == 'high'", more), "n: 2", "salary: 3000")
    assert told(condition) == [
        "facts.score.level == 'high' = true",
        '  facts.score.level = "high"',
        "    features.salary = 3000",
        "    event.n = 2",
        '    row 3: > 1000,[1..5],high,3,"a note, with a comma" = "high"',
    ]
    assert [str(step.position) for step in condition.steps[2:]] == [
        "tables/s.csv:1:1",
        "tables/s.csv:1:17",
        "tables/s.csv:3:1",
    ]
    assert {step.fact for step in condition.steps[2:]} == {"facts.score.level"}


def test_a_row_without_a_value_an_erring_row_and_the_default() -> None:
    text = 'facts.score.level == "none" || facts.score.rank > 5'
    missing = table(text, "n: 2", "")
    assert '      row 2: missing,-,none,1, = "none"' in missing
    assert "      row 2: missing,-,none,1, = 1" in missing
    erring = table(text, "", "salary: 2000")
    assert '      row 3: > 1000,[1..5],high,3,"a note, with a comma" = error: event.n is missing' in erring
    assert '      no row: default = "other"' in table(text, "n: 1", "salary: 10")


def test_a_table_without_a_default_says_that_no_row_matches() -> None:
    steps = table('facts.score.level == "none"', "n: 1", "salary: 10", TABLE_FACT % "first")
    assert steps[1:] == [
        "  facts.score.level = error: no row of tables/s.csv matches",
        "    features.salary = 10",
        "    event.n = 1",
    ]


@pytest.mark.parametrize(
    ("collect", "text", "rows"),
    [
        (
            "list",
            "size(facts.score.level) > 1",
            ['row 3: > 1000,[1..5],high,3, = "high"', 'row 4: -,> 0,odd,2, = "odd"'],
        ),
        ("sum", "facts.score.rank > 1", ["row 3: > 1000,[1..5],high,3, = 3", "row 4: -,> 0,odd,2, = 2"]),
        ("count", "facts.score.level > 1", ["row 3: > 1000,[1..5],high,3, = 1", "row 4: -,> 0,odd,2, = 1"]),
        ("minimum", "facts.score.rank > 1", ["row 4: -,> 0,odd,2, = 2"]),
        ("maximum", "facts.score.rank > 1", ["row 3: > 1000,[1..5],high,3, = 3"]),
    ],
)
def test_tables_that_collect_tell_every_row_that_counts(collect: str, text: str, rows: list[str]) -> None:
    grid = "features.salary,event.n,out: level,out: rank,note\n-,> 9,none,1,\n> 1000,[1..5],high,3,\n-,> 0,odd,2,\n"
    if collect in ("sum", "minimum", "maximum"):
        grid = grid.replace("out: level", "note").replace(",note\n-", ",note\n-")
    fact = f"facts: {{score: {{table: tables/s.csv, hit: collect, collect: {collect}}}}}\n"
    if collect in ("minimum", "maximum"):
        fact = fact.replace(f"collect: {collect}", f"collect: {collect}, default: {{rank: 0}}")
    steps = when(f"'{text}'", "n: 2", "salary: 3000", {"tables/s.csv": grid, "table.yaml": fact})
    assert [step.strip() for step in steps if step.strip().startswith("row ")] == rows


def test_inputs_of_a_table_that_are_expressions_and_facts() -> None:
    grid = '"facts.months * 2.0", size(event.tags) ,out: ok\n> 5,2,true\n-,-,false\n'
    fact = "facts: {score: {table: tables/s.csv, hit: first}}\n"
    more = {"tables/s.csv": grid, "table.yaml": fact}
    bundle = bundle_of("    when: facts.score.ok", more)
    [condition] = conditions(bundle, "tags: [a, b]", "balance: 9000, salary: 3000")
    assert told(condition) == [
        "facts.score.ok = true",
        "  facts.months * 2.0 = 6",
        "    facts.months = 3",
        "      features.balance / features.salary = 3",
        "        features.balance = 9000",
        "        features.salary = 3000",
        "  size(event.tags) = 2",
        '    event.tags = ["a", "b"]',
        "  row 2: > 5,2,true = true",
    ]
    assert [s.position.column for s in condition.steps if s.position.path.endswith(".csv")] == [2, 2, 23, 28, 1]


def test_personal_values_are_hidden_also_in_what_they_are_part_of() -> None:
    more = '    slots: {who: "features.first_name + \\"!\\"", size: size(features.phone), n: int(event.secret)}'
    more += "\n    variants: {plain: {en: '{who} {size}'}, number: {en: '{n}'}}"
    text = "    when: event.n > 1 && has(features.phone)"
    found = conditions(bundle_of(f"{text}\n{more}"), "secret: Joe99", 'first_name: Ana77, phone: "34600"')
    everything = str(found)
    assert not any(value in everything for value in ("Joe99", "Ana77", "34600"))
    first, who, size = found
    assert (first.role, who.role, who.name, size.name) == ("when", "slot", "who", "size")
    assert told(first)[1:] == [
        '  event.secret != "x" = personal',
        "    event.secret = personal",
        "  has(features.phone) = true",
        "  int(event.secret) > 1 = error: personal",
        "    int(event.secret) = error: personal",
        "      event.secret = personal",
    ]
    assert told(who)[0].endswith(" = personal")
    assert told(size) == ["size(features.phone) = personal", "  features.phone = personal"]
    assert who.value == size.value == "personal"


def test_a_personal_value_that_is_missing_may_be_named() -> None:
    [condition] = conditions(bundle_of('    when: event.secret == "x"'))
    assert condition.value == "error: event.secret is missing"
    assert condition.failed


def test_elements_of_a_personal_list_are_hidden() -> None:
    head = HEAD.replace("tags: texts", "tags: {type: texts, personal: true}")
    [condition] = conditions(
        bundle_of("    when: event.tags.exists(t, size(t) > 2)", {"head.yaml": head}), "tags: [abc]"
    )
    assert [step.value for step in condition.steps] == ["personal"] * 4


def test_every_expression_of_a_message_in_its_order() -> None:
    message = """\
    product: fund
    when: event.n > 0
    unless: event.n > 50
    value: event.n * 2
    about: string(event.n)
    slots: {n: event.n}
    variants: {plain: {en: "{n}"}}"""
    products = "products: {fund: {eligible: {enough: {is: event.n > 1, because: {en: No.}}}}}\n"
    bundle = bundle_of(message, {"products.yaml": products}, channels="[push: event.n > 5, sms]")
    found = conditions(bundle, "n: 7")
    assert [(c.role, c.name, c.value) for c in found] == [
        ("eligible", "enough", "true"),
        ("when", "", "true"),
        ("unless", "", "false"),
        ("channel", "push", "true"),
        ("channel", "push", "true"),
        ("value", "", "14"),
        ("about", "", '"7"'),
        ("slot", "n", "7"),
    ]
    assert [str(c.position.path) for c in found[3:5]] == ["rules.yaml", "head.yaml"]


@pytest.mark.parametrize(
    ("scalar", "places"),
    [
        (">-\n      event.n > 1 &&\n\n        event.n <\n        9", ["7:7", "7:7", "7:7", "9:9", "9:9"]),
        ("|\n      event.n > 1 &&\n      event.n < 9", ["7:7", "7:7", "7:7", "8:7", "8:7"]),
        ("event.n > 1 &&\n      event.n < 9", ["6:11", "6:11", "6:11", "7:7", "7:7"]),
        ("'event.n > 1\n\n      && event.n < 9'", ["6:12", "6:12", "6:12", "8:10", "8:10"]),
        ('"event.n \\x3e 1 && event.n \\\n      < 9"', ["6:12", "6:12", "6:12", "6:30", "6:30"]),
    ],
)
def test_places_in_scalars_of_every_style(scalar: str, places: list[str]) -> None:
    [condition] = conditions(bundle_of(f"    when: {scalar}"), "n: 3")
    assert condition.expression == "event.n > 1 && event.n < 9"
    assert [f"{s.position.line}:{s.position.column}" for s in condition.steps] == places
    assert [s.text for s in condition.steps][3:] == ["event.n < 9", "event.n"]


def test_only_messages_that_hear_the_event_have_conditions() -> None:
    assert conditions(bundle_of("    when: event.n > 0"), "n: 1", name="other") == []


def test_a_condition_with_too_many_parts_is_cut() -> None:
    parts = " || ".join(f"event.n == {i}" for i in range(240))
    [condition] = conditions(bundle_of(f"    when: {parts}"), "n: 1")
    assert condition.truncated
    assert len(condition.steps) == traces.STEPS_MAX
    assert condition.value == "true"
    assert len(condition.expression) == len(parts)
    assert len(condition.steps[0].text) == traces.TEXT_MAX


def test_all_of_it_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "BYTES_MAX", 600)
    bundle = bundle_of(
        "    when: event.n > 1 && event.n < 9\n    unless: event.n * event.n == 16\n    value: event.n * 3"
    )
    found = conditions(bundle, "n: 2")
    assert [c.truncated for c in found] == [False, True, True]
    assert [c.value for c in found] == ["true", "false", "6"]


def test_long_values_and_texts_are_cut() -> None:
    [condition] = conditions(bundle_of("    when: size(event.tags) > 1"), f"tags: [{'x' * 5000}, y]")
    assert max(len(step.value) for step in condition.steps) == traces.TEXT_MAX


def test_a_workbook_names_the_row() -> None:
    from openpyxl import Workbook

    book = Workbook()
    for row in (["event.n", "out: ok"], ["> 1", "true"], ["-", "false"]):
        book.active.append(row)
    stream = io.BytesIO()
    book.save(stream)
    fact = "facts: {score: {table: tables/s.xlsx, hit: first}}\n"
    plain = bundle_of("    when: event.n > 0", {"table.yaml": "facts: {}\n"}).ruleset.files
    files = {**plain, "tables/s.xlsx": stream.getvalue(), "table.yaml": fact.encode()}
    files["rules.yaml"] = files["rules.yaml"].replace(b"event.n > 0", b"facts.score.ok")
    files["tests.yaml"] = b"tests:\n  - {name: t, event: {type: pay, n: 5}, expect: {send: m}}\n"
    bundle = compile_bundle(files)
    [view] = [v for v in run(bundle, bundle.ruleset.tests[0]).explanation.candidates if v.message == "m"]
    [condition] = view.conditions
    last = condition.steps[-1]
    assert (last.text, last.value, str(last.position)) == ("row 2: > 1, true", "true", "tables/s.xlsx:2:1")
