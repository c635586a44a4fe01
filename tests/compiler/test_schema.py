"""The JSON Schema of rule files: it is current, refuses slips of the pen, and never what the reader takes."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from engine.compiler import codes, document, ruleset, sections_windows
from engine.compiler.reading import Fields, Reading
from engine.compiler.schema import WINDOW_KINDS, rules_schema
from engine.compiler.tree import ListNode, MapNode, Node, Scalar

ROOT = Path(__file__).parents[2]
SCHEMA = rules_schema()
VALIDATOR = Draft7Validator(SCHEMA)
BASE = (Path(__file__).parent / "base_rules.yaml").read_text()
PAGE = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
RULES = [p for p in sorted((ROOT / "rules").rglob("*.yaml")) if p.name != "mapping.yaml"]


def plain(node: Node) -> Any:
    """What an editor sees: values typed by YAML's core schema."""
    if isinstance(node, MapNode):
        return {key: plain(value) for key, (_, value) in node.entries.items()}
    if isinstance(node, ListNode):
        return [plain(item) for item in node.items]
    assert isinstance(node, Scalar)
    if node.style:
        return node.value
    if node.value in ("", "~", "null", "Null", "NULL"):
        return None
    if node.value.lower() in ("true", "false"):
        return node.value.lower() == "true"
    if re.fullmatch(r"[-+]?[0-9]+", node.value):
        return int(node.value)
    if re.fullmatch(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", node.value):
        return float(node.value)
    return node.value


def problems(text: str) -> list[str]:
    """What the schema says of a file, as `path: message`."""
    root = document.read("f.yaml", text.encode()).root
    assert root is not None
    errors = VALIDATOR.iter_errors(plain(root))
    return [f"{'/'.join(map(str, e.absolute_path))}: {e.message}" for e in errors]


def test_it_is_a_schema_and_the_committed_one_is_current() -> None:
    Draft7Validator.check_schema(SCHEMA)
    committed = (ROOT / "docs" / "rules.schema.json").read_text(encoding="utf-8")
    assert json.loads(committed) == SCHEMA, "run `make docs`"


@pytest.mark.parametrize("path", RULES, ids=[str(p.relative_to(ROOT)) for p in RULES])
def test_shipped_rules_are_valid(path: Path) -> None:
    assert problems(path.read_text(encoding="utf-8")) == []


GOOD = [code.good for code in codes.parse(PAGE).values() if code.good]


@pytest.mark.parametrize("text", [BASE, codes.base(PAGE), *GOOD])
def test_what_loads_is_valid(text: str) -> None:
    assert problems(text) == []


TAKEN = [
    "features:\ncaps:\nmessages:\n",
    'features: {a: {type: integer, at_least: "3", default: 4}}\n',
    "channels: {sms: , push: {}}\n",
    "events: {deposit: }\n",
    "defaults: {language: de}\n",
    "quiet_hours: {us: {preset: united_states}}\n",
    "caps: [{volume: 5, in: calendar day}]\n",
    "products: {p: }\n",
    "facts: {yes_1: true, n: 3}\n",
    'holdout: {share: 5 %, salt: "1"}\n',
    'purposes: {p: {consent: required, tier: "1", holdout: "true"}}\n',
    "policies: {p: {kind: fixed, weights: {a: 1e0, 2: 3}}}\n",
]


@pytest.mark.parametrize("text", TAKEN)
def test_it_is_no_stricter_than_the_reader(text: str) -> None:
    ruleset.load({"f.yaml": text.encode()})
    assert problems(text) == []


MISTAKES = [
    ("mesages: {}", ": Additional properties are not allowed ('mesages' was unexpected)"),
    ("messages: [a]", "messages: ['a'] is not of type 'object', 'null'"),
    ("features: {a: int}", "features/a: 'int' is not one of"),
    ("features: {home-town: text}", "features: 'home-town' does not match"),
    ("features: {a: {type: text, personal: maybe}}", "features/a/personal: 'maybe' is not one of"),
    ("features: {a: {unit: EUR}}", "features/a: 'type' is a required property"),
    ("windows: {w: {count: deposit, over: 7}}", "windows/w/over: 7 is not of type 'string'"),
    ("windows: {w: {count: deposit, over: 7 dais}}", "windows/w/over: '7 dais' does not match"),
    ("windows: {w: {over: 7 days}}", "windows/w: {'over': '7 days'} is not valid under any of the given schemas"),
    ("messages: {m: {purpose: p, channels: [a]}}", "messages/m: 'variants' is a required property"),
    ("messages: {m: {like: a, topics: b}}", "messages/m: Additional properties are not allowed"),
    ("messages: {m: {like: a, on: deposit}}", "messages/m/on: 'deposit' is not of type 'array'"),
    ("messages: {m: {like: a, variants: {x: {en: 12}}}}", "messages/m/variants/x/en: 12 is not of type 'string'"),
    ("messages: {m: {like: a, variants: {x: {english: b}}}}", "messages/m/variants/x: 'english' does not match"),
    ("messages: {m: {like: a, slots: {s: {is: b, as: mony}}}}", "messages/m/slots/s/as: 'mony' is not one of"),
    ("messages: {m: {like: a, channels: [{a: b, c: d}]}}", "messages/m/channels/0: {'a': 'b', 'c': 'd'} has too many"),
    ("purposes: {p: {consent: maybe}}", "purposes/p/consent: 'maybe' is not one of"),
    ("purposes: {p: {consent: required, tier: 12}}", "purposes/p/tier: 12 is greater than the maximum of 9"),
    ('quiet_hours: {n: {from: "25:00", to: "08:00"}}', "quiet_hours/n/from: '25:00' does not match"),
    ("caps: [{at_most: 3, per: [costumer], in: 7 days}]", "caps/0/per/0: 'costumer' is not one of"),
    ("caps: [{at_most: 3, per: [customer], in: calendar year}]", "caps/0/in: 'calendar year' does not match"),
    ("quiet_hours: {n: {then: drop}}", "quiet_hours/n: 'from' is a required property"),
    ("quiet_hours: {n: {preset: us}}", "quiet_hours/n/preset: 'us' is not one of"),
    ("caps: [{volume: 3, in: 7 days}]", "caps/0/in: '7 days' does not match"),
    ("caps: [{volume: 3, per: [customer], in: calendar day}]", "caps/0/per/0: 'customer' is not one of"),
    ("suppress: [{after: bought, per: [product], for: 3 days}]", "suppress/0/after: 'bought' is not one of"),
    ("holdout: {share: 5, salt: x}", "holdout/share: 5 is greater than or equal to the maximum of 1"),
    ("policies: {p: {kind: tompson}}", "policies/p/kind: 'tompson' is not one of"),
    ("policies: {p: {kind: thompson, reward: {reply: 1}}}", "policies/p/reward: Additional properties"),
    ("tests: [{name: a, event: {type: b}, expect: {no_message: QUIET}}]", "tests/0/expect/no_message: 'QUIET' is not"),
    ("tests: [{name: a, event: {amount: 3}, expect: {send: b}}]", "tests/0/event: 'type' is a required property"),
]


@pytest.mark.parametrize(("text", "said"), MISTAKES)
def test_slips_of_the_pen_are_underlined(text: str, said: str) -> None:
    told = problems(text)
    assert any(t.startswith(said) for t in told), told


def _keys(schema: object) -> list[frozenset[str]]:
    """The keys of every map that the schema describes."""
    if isinstance(schema, list):
        return [keys for item in schema for keys in _keys(item)]
    if not isinstance(schema, dict):
        return []
    found = [keys for value in schema.values() for keys in _keys(value)]
    return [frozenset(schema["properties"]), *found] if "properties" in schema else found


LATER = {"report_by"}  # known to the reader, which refuses it


def test_it_knows_every_key_that_the_reader_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: set[frozenset[str]] = set()
    original = Reading.fields

    def fields(
        self: Reading, node: Node, what: str, known: Sequence[str], required: Sequence[str] = ()
    ) -> Fields | None:
        if what not in ("'default'", "'priority'"):  # their keys are a table's outputs
            asked.add(frozenset(known))
        return original(self, node, what, known, required)

    monkeypatch.setattr(Reading, "fields", fields)
    more = """
    defaults: {language: en}
    products: {p: {eligible: {c: {is: true}}}}
    facts: {t: {table: tables/t.csv, hit: first, default: {x: 1}}}
    quiet_hours: {us: {preset: united_states}}
    caps: [{volume: 5, in: calendar day}]
    suppress: [{after: ignored, per: [message], for: 3 days}]
    """
    table = b"features.region,out: x\n-,1\n"
    files = {"a.yaml": BASE.encode(), "b.yaml": textwrap.dedent(more).encode(), "tables/t.csv": table}
    ruleset.load(files)
    described = _keys(SCHEMA)
    assert len(asked) > 14
    for keys in asked:
        assert any(keys - LATER <= known for known in described), sorted(keys)


def test_it_knows_every_kind_of_window() -> None:
    assert tuple(WINDOW_KINDS) == sections_windows.KINDS
