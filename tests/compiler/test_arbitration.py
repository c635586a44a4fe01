"""Between messages, as it is written in rule files: ranks, reserves, how one is drawn."""

from __future__ import annotations

import pytest

from engine.compiler import ruleset
from engine.compiler.model import Arbitration, RuleSet
from engine.errors import RulesInvalid

RULES = """
events: {e: {}, f: {}}
features: {worth: number}
purposes: {p: {consent: not_required}, q: {consent: not_required, tier: 1}}
policies:
  bandit: {kind: thompson, reward: {replied: 1.0}}
  other: {kind: softmax, reward: {converted: 1.0}}
  pooled: {kind: thompson, reward: {replied: 1.0}, pool: true}
  trial: {kind: fixed}
ARBITRATION
messages:
  m: {purpose: p, on: [e], channels: [sms], policy: bandit, rank: learned, variants: {x: {en: One}, y: {en: Two}}}
  n: {purpose: p, on: [e, f], channels: [sms], REST, variants: {x: {en: One}, y: {en: Two}}}
"""


def load(rest: str = "value: 1", arbitration: str = "") -> RuleSet:
    written = f"arbitration: {{{arbitration}}}" if arbitration else ""
    text = RULES.replace("REST", rest).replace("ARBITRATION", written)
    return ruleset.load({"a.yaml": text.encode()})


def test_everything_that_can_be_said() -> None:
    rules = load("policy: bandit, value: features.worth, rank: learned, reserve: 0.25")
    assert rules.arbitration == Arbitration("best", 0.0, 0.0)
    message = rules.messages["n"]
    assert message.learned
    assert message.reserve is not None
    assert (message.reserve.least, message.reserve.position.line) == (0.25, 13)
    assert not load().messages["n"].learned
    assert load(arbitration="kind: best").arbitration == Arbitration()
    assert load(arbitration="kind: thompson, floor: 1%").arbitration == Arbitration("thompson", 0.01)
    softmax = load(arbitration="kind: softmax, temperature: 2.5, floor: 0.02").arbitration
    assert softmax == Arbitration("softmax", 0.02, 2.5)


@pytest.mark.parametrize(
    "rest",
    [
        "policy: bandit, rank: learned",
        "policy: other, value: 1",  # ranks by its value
        "policy: other, rank: learned, like: m, purpose: q",  # another tier
        "policy: other, rank: learned, like: m, on: [f]",  # other events
        "policy: pooled, value: 1",
        "reserve: 1, value: features.worth",
    ],
)
def test_what_is_sound(rest: str) -> None:
    text = rest if "like" not in rest else rest.replace("like: m, ", "")
    rules = RULES.replace("REST", text).replace("ARBITRATION", "arbitration: {kind: thompson}")
    if "purpose: q" in rest:
        rules = rules.replace("n: {purpose: p, ", "n: {").replace("[e, f]", "[e]")
    if "on: [f]" in rest:
        rules = rules.replace("on: [e, f], ", "")
    assert "n" in ruleset.load({"a.yaml": rules.encode()}).messages


@pytest.mark.parametrize(
    ("rest", "arbitration", "code", "part"),
    [
        ("rank: learnt", "", "bad-value", "'rank' cannot be 'learnt'"),
        ("rank: learned", "", "rank-not-learned", "no policy"),
        ("policy: trial, rank: learned", "", "rank-not-learned", "of kind fixed"),
        ("policy: other, rank: learned", "", "ranks-not-comparable", "'n' and 'm' compete"),
        ("policy: other, rank: learned", "kind: thompson", "ranks-not-comparable", "'n' and 'm' compete"),
        ("policy: pooled, rank: learned", "kind: thompson", "ranks-not-comparable", "learns together"),
        ("reserve: much", "", "bad-value", "'reserve'"),
        ("reserve: 1.5", "", "bad-value", "can never be said"),
        ("value: 1", "kind: greedy", "bad-value", "'kind' cannot be 'greedy'"),
        ("value: 1", "floor: 1%", "missing-key", "kind"),
        ("value: 1", "kind: softmax", "missing-key", "needs a temperature"),
        ("value: 1", "kind: softmax, temperature: 0", "bad-value", "'temperature' is out of range"),
        ("value: 1", "kind: thompson, temperature: 1", "unknown-key", "softmax"),
        ("value: 1", "kind: best, floor: 1%", "unknown-key", "softmax or thompson"),
        ("value: 1", "kind: thompson, floor: 60%", "bad-value", "'floor' is out of range"),
        ("value: 1", "kind: thompson, floor: 1", "bad-share", "a bare 1"),
        ("value: 1", "kind: thompson, prior: 1", "unknown-key", "prior"),
    ],
)
def test_mistakes(rest: str, arbitration: str, code: str, part: str) -> None:
    with pytest.raises(RulesInvalid) as caught:
        load(rest, arbitration)
    [finding] = caught.value.findings
    assert finding.code == code
    assert part in f"{finding.message} {finding.found}"


def test_both_places_are_told() -> None:
    with pytest.raises(RulesInvalid) as caught:
        load("policy: other, rank: learned")
    [finding] = caught.value.findings
    assert finding.also is not None
    assert (finding.position.line, finding.also.line) == (13, 12)
    assert finding.expected == "one policy for both: each message still learns for itself"


def test_it_is_written_once() -> None:
    with pytest.raises(RulesInvalid) as caught:
        ruleset.load({
            "a.yaml": RULES.replace("REST", "value: 1").replace("ARBITRATION", "arbitration: {kind: best}").encode(),
            "b.yaml": b"arbitration: {kind: thompson}",
        })  # fmt: skip
    assert [f.code for f in caught.value.findings] == ["duplicate-name"]
