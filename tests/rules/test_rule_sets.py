"""The rule sets that ship: they load without findings, speak every language, and their samples fit."""

from __future__ import annotations

import json
import re
import string
from pathlib import Path

import pytest
from google.protobuf import json_format
from ruamel.yaml import YAML

from engine.bundle import compile_bundle
from engine.compiler.model import Message, RuleSet
from engine.compiler.nodes import Type
from engine.compiler.ruleset import load, read_directory
from engine.pb.tact.v1 import decision_pb2, profile_pb2
from engine.step.render import fill, shown, slots_used

RULES = Path(__file__).parents[2] / "rules"
BANK = RULES / "examples" / "bank_campaign"
BANK_COLUMNS = {
    *(
        "age",
        "job",
        "marital",
        "education",
        "default",
        "balance",
        "housing",
        "loan",
        "contact",
        "day",
        "month",
    ),
    *("duration", "campaign", "pdays", "previous", "poutcome", "y"),
}
KIND_OF = {
    Type.BOOL: "flag",
    Type.INTEGER: "integer",
    Type.NUMBER: "number",
    Type.TEXT: "text",
    Type.TIME: "time",
    Type.DATE: "text",
    Type.MONEY: "money",
    Type.TEXTS: "texts",
}
EXAMPLE_OF = {
    Type.TEXT: "Ana",
    Type.INTEGER: 3,
    Type.NUMBER: 85.5,
    Type.TIME: 1_795_000_000 * 10**9,
    Type.DATE: 20_775,
    Type.MONEY: 85_500_000_000,
}
WALLET = RULES.parent / "bench" / "wallet"
SETS = {"shipped": RULES, "bank_campaign": BANK, "wallet": WALLET}


@pytest.fixture(scope="module")
def rule_sets() -> dict[str, RuleSet]:
    return {name: load(read_directory(path)) for name, path in SETS.items()}


@pytest.fixture(scope="module")
def shipped(rule_sets: dict[str, RuleSet]) -> RuleSet:
    return rule_sets["shipped"]


@pytest.mark.parametrize("name", SETS)
def test_compiles_to_a_bundle(name: str) -> None:
    assert compile_bundle(read_directory(SETS[name])).revision


def test_examples_are_no_part_of_the_shipped_set(rule_sets: dict[str, RuleSet]) -> None:
    assert set(rule_sets["shipped"].products) == {"green_fund", "growth_fund"}
    assert set(rule_sets["bank_campaign"].products) == {"term_deposit"}


def _rendered(message: Message, variant: str, language: str) -> list[str]:
    text = message.variants[variant].texts[language]
    texts = [text.text, *text.channels.values(), *text.replies]
    values = {}
    for name, slot in message.slots.items():
        kind = slot.expression.node.type
        values[name] = shown(EXAMPLE_OF[kind], kind, slot.shape, language, "EUR", "Europe/Madrid")
    assert {s for t in texts for s in slots_used(t)} <= set(values)
    return [fill(t, values) for t in texts]


@pytest.mark.parametrize(
    ("name", "languages"), [("shipped", {"en", "es"}), ("bank_campaign", {"en", "pt"}), ("wallet", {"en", "es"})]
)
def test_every_variant_renders_in_every_language(rule_sets: dict[str, RuleSet], name: str, languages: set[str]) -> None:
    for message in rule_sets[name].messages.values():
        for variant in message.variants.values():
            assert set(variant.texts) == languages, (message.name, variant.name)
            for language in languages:
                for text in _rendered(message, variant.name, language):
                    assert text.strip()
                    assert "{" not in text


def test_reminders_write_plurals_of_the_language(shipped: RuleSet) -> None:
    note = shipped.messages["instalment_missed_note"]
    assert "3 days ago" in _rendered(note, "plain", "en")[0]
    assert "hace 3 días" in _rendered(note, "plain", "es")[0]


@pytest.mark.parametrize("name", SETS)
def test_every_refusal_can_be_told_in_every_language(rule_sets: dict[str, RuleSet], name: str) -> None:
    """S-6: a refusal without a reason causes anxiety."""
    rule_set = rule_sets[name]
    for product in rule_set.products.values():
        for condition in product.eligible:
            assert condition.name
            assert rule_set.default_language in condition.because


@pytest.mark.parametrize("name", SETS)
def test_every_message_is_tested(rule_sets: dict[str, RuleSet], name: str) -> None:
    rule_set = rule_sets[name]
    assert {t.expect.send for t in rule_set.tests} - {None} == set(rule_set.messages)


def test_the_trial_has_a_control_and_is_sticky(shipped: RuleSet) -> None:
    """S-10: randomised, against a plain control message."""
    message = shipped.messages["reactivate"]
    assert message.policy is not None
    policy = shipped.policies[message.policy]
    assert (policy.kind, policy.sticky, policy.if_unfit, policy.control) == (
        "fixed",
        True,
        "leave_out",
        "control",
    )
    assert set(policy.weights) == set(message.variants)
    assert message.variants["control"].texts["en"].text == "You can use your account to send money home."


def test_everybody_is_addressed_by_somebody(rule_sets: dict[str, RuleSet]) -> None:
    """S-5: messages come from a named sender."""
    assert all(m.sender for s in rule_sets.values() for m in s.messages.values())


def _lines(name: str) -> list[str]:
    return (RULES / "samples" / name).read_text(encoding="utf-8").splitlines()


def test_sample_events_fit_the_schema(shipped: RuleSet) -> None:
    seen = set()
    for line in _lines("events.jsonl"):
        event = json_format.Parse(line, decision_pb2.DecideRequest()).event
        declared = shipped.events[event.type].attributes
        assert not event.HasField("occurred_at"), "samples must not age"
        for name, value in event.attributes.items():
            assert value.WhichOneof("kind") == KIND_OF[declared[name].type], (event.event_id, name)
        seen.add((event.customer_id, event.event_id))
    assert len(seen) == len(_lines("events.jsonl"))
    assert {event for _, event in seen} == {f"sample-{i:02d}" for i in range(1, len(seen) + 1)}


def test_sample_profiles_fit_the_schema(shipped: RuleSet) -> None:
    known = set()
    for line in _lines("profiles.jsonl"):
        profile = json_format.Parse(line, profile_pb2.Profile())
        for name, value in profile.features.items():
            assert value.WhichOneof("kind") == KIND_OF[shipped.features[name].type], (
                profile.customer_id,
                name,
            )
        assert {c.purpose for c in profile.contact.consents} <= set(shipped.purposes)
        topics = {m.topic for m in shipped.messages.values()}
        assert set(profile.contact.blocked_topics) <= topics
        known.add(profile.customer_id)
    asked = {json.loads(line)["event"]["customerId"] for line in _lines("events.jsonl")}
    assert asked - known == {"nobody-knows-me"}
    assert known <= asked


@pytest.fixture(scope="module")
def mapping() -> dict[str, dict[str, object]]:
    document = YAML(typ="safe").load((BANK / "mapping.yaml").read_text(encoding="utf-8"))
    assert isinstance(document["mapping"], dict)
    return document["mapping"]


def _bank_fields(mapping: dict[str, dict[str, object]]) -> dict[str, dict[str, object]]:
    return {**mapping["attributes"], **mapping["features"]}  # type: ignore[dict-item]


def test_mapping_names_what_the_rules_declare(
    rule_sets: dict[str, RuleSet], mapping: dict[str, dict[str, object]]
) -> None:
    bank = rule_sets["bank_campaign"]
    declared = bank.events[str(mapping["event"]["type"])].attributes
    assert set(mapping["attributes"]) == set(declared)
    assert set(mapping["features"]) == set(bank.features) - {"timezone", "language"}
    types = {**{n: a.type for n, a in declared.items()}, **{n: f.type for n, f in bank.features.items()}}
    for name, field in _bank_fields(mapping).items():
        assert field["as"] == types[name].value, name
        assert field["column"] in BANK_COLUMNS


def test_nothing_known_only_after_the_call_is_read(mapping: dict[str, dict[str, object]]) -> None:
    used = {field["column"] for field in _bank_fields(mapping).values()}
    template = [column for _, column, _, _ in string.Formatter().parse(str(mapping["customer"]["row"])) if column]
    assert set(template) <= set(BANK_COLUMNS)
    assert not {"duration", "y"} & (used | set(template))


def test_mapping_documents_the_columns_it_leaves_out() -> None:
    text = (BANK / "mapping.yaml").read_text(encoding="utf-8")
    words = set(re.findall(r"\w+", text))
    assert words >= BANK_COLUMNS
