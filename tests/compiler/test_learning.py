"""The part of a policy that learns, as it is written in rule files."""

from __future__ import annotations

import pytest

from engine.compiler import ruleset
from engine.compiler.model import Learning, RuleSet
from engine.compiler.sections_learning import LEARNS, LINEAR, ONLY
from engine.errors import RulesInvalid
from engine.learning.kinds import KINDS

RULES = """
events: {e: {}}
features: {region: text, age: number, vip: bool, name: {type: text, personal: true}}
purposes: {p: {consent: not_required}}
policies: {bandit: {kind: KIND, reward: {replied: 1.0}, REST}}
messages:
  m: {purpose: p, on: [e], channels: [sms], policy: bandit, variants: {x: {en: One}, y: {en: Two}}}
"""


def load(kind: str, rest: str) -> RuleSet:
    return ruleset.load({"a.yaml": RULES.replace("KIND", kind).replace("REST", rest).encode()})


def test_every_kind_that_can_be_written_is_there() -> None:
    assert set(LEARNS) == {*KINDS, *LINEAR}
    for kind in LEARNS:
        linear = kind in LINEAR
        policy = load(kind, "context: [features.age / 50.0]" if linear else "floor: 1%").policies["bandit"]
        assert (policy.kind, policy.learning, len(policy.context)) == (kind, Learning(), linear)
    assert {kind for kinds in ONLY.values() for kind in kinds} == {"fixed", *LEARNS}


def test_everything_that_can_be_said() -> None:
    policy = load(
        "thompson",
        "model: gaussian, prior: {rate: 5%, weight: 20}, forget: {half_life: 14 days}, values: {y: 0.8},"
        " by: [features.region], shrink: 50",
    ).policies["bandit"]
    assert policy.learning == Learning("gaussian", 0.1, 0.05, 0.05, 20.0, 50.0, 14 * 86_400, 0, {"y": 0.8})
    assert load("softmax", "temperature: 0.2").policies["bandit"].learning.temperature == 0.2
    assert load("epsilon_greedy", "epsilon: 0%").policies["bandit"].learning.epsilon == 0.0
    hybrid = load("linucb", "context: [features.age], explore: 0.2, hybrid: true").policies["bandit"].learning
    assert hybrid == Learning(explore=0.2, hybrid=True)
    assert load("kl_ucb", "forget: {window: 60 days}").policies["bandit"].learning.window_s == 60 * 86_400


def test_a_context_means_the_same_however_it_is_written() -> None:
    keys = [
        load("linucb", f"explore: 0.2, context: [{context}]").policies["bandit"].context_key
        for context in ("features.age / 50.0, features.vip", "(features.age)/50, features.vip", "features.vip")
    ]
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(
    ("kind", "rest", "code", "part"),
    [
        ("bayes", "", "bad-value", "no kind of policy is called 'bayes'"),
        ("linucb", "", "missing-key", "looks at a context and has none"),
        ("linucb", "context: []", "bad-value", "'context' is empty"),
        ("thompson", "hybrid: true", "unknown-key", "'hybrid' is for policies of kind linear_thompson or linucb"),
        ("linucb", "context: [features.region]", "wrong-type", "'context' cannot be a text"),
        ("linucb", "context: [features.name]", "personal-in-condition", ""),
        ("linear_thompson", f"context: [{', '.join(['1.0'] * 41)}]", "bad-value", "'context' is too long"),
        ("thompson", "context: [features.age]", "unknown-key", "linear_thompson or linucb"),
        ("ucb1", "prior: {rate: 5%}", "unknown-key", "thompson or epsilon_greedy or softmax"),
        ("softmax", "model: beta", "unknown-key", "'model' is for policies of kind thompson"),
        ("thompson", "weights: {x: 1, y: 1}", "unknown-key", "of kind fixed"),
        ("thompson", "model: bernoulli", "bad-value", "'model' cannot be 'bernoulli'"),
        ("softmax", "temperature: 0", "bad-value", "'temperature' is out of range"),
        ("thompson", "prior: {rate: 0%}", "bad-value", "'rate' is out of range"),
        ("thompson", "prior: {rate: 5}", "bad-share", "a bare 5"),
        ("thompson", "prior: {rate: 5%, weight: 0}", "bad-value", "'weight' is out of range"),
        ("thompson", "prior: {weight: 5}", "missing-key", "rate"),
        ("thompson", "forget: {}", "bad-value", "needs one of half_life and window"),
        ("thompson", "forget: {half_life: 1 day, window: 2 days}", "bad-value", "needs one of"),
        ("thompson", "forget: {half_life: 5 minutes}", "bad-value", "'half_life' is too short"),
        ("thompson", "shrink: 50", "missing-key", "there are none"),
        ("thompson", "values: {z: 2}", "unknown-variant", "'z'"),
        ("thompson", "values: {x: 0}", "bad-value", "'x' is out of range"),
    ],
)
def test_mistakes(kind: str, rest: str, code: str, part: str) -> None:
    with pytest.raises(RulesInvalid) as caught:
        load(kind, rest)
    [finding] = caught.value.findings
    assert finding.code == code
    assert part in f"{finding.message} {finding.expected}"
