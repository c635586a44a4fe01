"""One mistake is one finding: what follows from it is not told, and the hint says how to write it."""

from __future__ import annotations

import pytest

from engine.compiler.ruleset import load
from engine.errors import RulesInvalid

RULES = """\
events:
  deposit: {amount: number}
features:
  first_name: {type: text, personal: true}
  has_app: bool
  late: {type: integer, default: 0, at_least: 0}
windows:
  deposits: {count: deposit, over: 30 days}
purposes:
  service: {consent: not_required, quiet_hours: night}
channels:
  push: {when: features.has_app}
quiet_hours:
  night: {from: "20:00", to: "08:00", zone: Europe/Lisbon}
caps:
  - {at_most: 2, per: [customer], in: 7 days}
policies:
  words: {kind: fixed, weights: {plain: 1, named: 2}, if_unfit: drop}
facts:
  active: windows.deposits > 1
messages:
  thanks:
    purpose: service
    on: [deposit]
    when: facts.active && features.late < 2
    channels: [push]
    policy: words
    variants:
      plain: {en: "Thank you."}
      named: {en: "Thank you, {first_name}."}
"""

MISTAKES = [  # as it was, as it is written, the finding
    ("purposes:", "purpose:", "unknown-key 9:1 did you mean 'purposes'?"),
    ("caps:", "Caps:", "unknown-key 15:1 did you mean 'caps'?"),
    ("at_most: 2", "atmost: 2", "unknown-key 16:6 did you mean 'at_most'?"),
    ("per: [customer]", "per: customer", "wrong-shape 16:23 write [customer]"),
    ("7 days", "7", "bad-value 16:39 write 7 days, or 7 hours"),
    ("7 days", "7days", "bad-value 16:39 write 7 days"),
    ("7 days", "24h", "bad-value 16:39 write 24 hours"),
    ("7 days", "week", "bad-value 16:39 write 1 week"),
    ("named: 2", "name: 2", "unknown-variant 18:44 did you mean 'named'?"),
    ("thanks:", "than\u200bks:",
     "bad-name 22:3 its character 5 is U+200B (zero width space), which nobody sees: remove it"),
    ("    policy: words", "    pol\xadicy: words",
     "unknown-key 27:5 its character 4 is U+00AD (soft hyphen), which nobody sees: remove it"),
    ("facts.active &&", "facts.active \u200b&&", "unexpected-character 25:24 remove it: nobody sees it"),
    ("7 days", "7\u2060 days", "bad-value 16:39 its character 2 is U+2060 (word joiner), which nobody sees: remove it"),
    ("count: deposit", "counts: deposit", "unknown-key 8:14 did you mean 'count'?"),
    ("active: windows.deposits > 1", "active: {is: windows.deposits > 1}",
     "wrong-shape 20:11 write `active: features.x > 3`, without braces"),
    ("has_app: bool", "has_app: {type:bool}", "unknown-key 5:13 write type: bool"),
    ("has_app: bool", "has_app: Boolean", "unknown-type 5:12 did you mean 'bool'?"),
    ("{type: text, personal: true}", "{type: string, personal: true}", "unknown-type 4:22 did you mean 'text'?"),
    ("push: {when: features.has_app}", "push: features.has_app", "wrong-shape 12:9 write {when: features.has_app}"),
    ("channels: [push]", "channels: push", "wrong-shape 26:15 write [push]"),
    ("channels: [push]", "channel: [push]", "unknown-key 26:5 did you mean 'channels'?"),
    ("Europe/Lisbon", "Lisbon", "unknown-zone 14:45 did you mean 'Europe/Lisbon'?"),
    ('en: "Thank you."', "en: “Thank you.”", 'curly-quotes 29:19 write "Thank you."'),
    ('en: "Thank you."', 'EN: "Thank you."', "bad-language 29:15 write en"),
    ("{first_name}", "{first name}", "unknown-slot 30:32 did you mean 'first_name'?"),
    ("when: facts.active && features.late < 2", "when: [facts.active, features.late < 2]",
     "wrong-shape 25:11 join conditions with `&&`"),
]  # fmt: skip


def told(text: str) -> list[str]:
    try:
        load({"rules.yaml": text.encode()})
        return []
    except RulesInvalid as refused:
        return [f"{f.code} {f.position.line}:{f.position.column} {f.hint}" for f in refused.findings]


def test_the_rules_are_sound() -> None:
    assert told(RULES) == []


@pytest.mark.parametrize(("old", "new", "finding"), MISTAKES, ids=[new for _, new, _ in MISTAKES])
def test_one_mistake_is_one_finding(old: str, new: str, finding: str) -> None:
    assert RULES.count(old) == 1 or old in ("caps:", "named: 2")
    assert told(RULES.replace(old, new, 1)) == [finding]
