"""The columnar lane against the step in Python: over random rule sets, customers and events, and over ours.

TACT_LONG=1 runs many more of them.
"""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from pathlib import Path

import pytest

from bench import generate
from engine.bundle import Bundle, Pauses, compile_bundle
from engine.columns import rules as columns_rules
from engine.compiler.ruleset import read_directory
from engine.decision import OutcomeKind, Reason
from engine.identity import name_hash
from engine.pb.tact.v1 import decision_pb2 as pb
from engine.state.history import NO_HISTORY, History
from engine.state.log import DecisionEntry
from engine.state.model import Record, Touch, TouchFlag
from engine.state.profile import new_version
from engine.state.record import encode
from tests.columns.customers import posteriors, words_of
from tests.columns.rounds import DAY_MS, MINUTE_MS, Tally, Town
from tests.columns.rule_sets import files
from tests.columns.twin import by_columns, by_step, compare, world

LONG = os.environ.get("TACT_LONG", "") not in ("", "0")
ROOT = Path(__file__).resolve().parents[2]
MANY = 400 if LONG else 6


def pauses(chance: random.Random) -> Pauses:
    """Mostly none."""
    messages = frozenset(("message_1",) if chance.random() < 0.1 else ())
    purposes = frozenset(("news",) if chance.random() < 0.1 else ())
    return Pauses(chance.random() < 0.04, messages, purposes)


def live(seed: int, plain: bool, rounds: int, size: int) -> Tally:
    """Some rounds under one rule set, and a few more under another one."""
    chance = random.Random(f"live {seed}")
    texts = files(seed, plain)
    town = Town(seed, compile_bundle(texts), size, words_of(texts), odd=not plain)
    for k in range(rounds):
        if k == rounds - 2:
            town.use(compile_bundle(files(seed + 100_000, plain)))
        town.history = History(0, town.now_ms - chance.choice((3, 30)) * DAY_MS) if seed % 3 == 1 else NO_HISTORY
        learnt = posteriors(seed, town.bundle) if chance.random() < 0.5 else None
        town.round(pauses=pauses(chance), posteriors=learnt)
    return town.tally


@pytest.mark.parametrize("part", range(4))
def test_random_rule_sets(part: int) -> None:
    """What is left to Python here: mostly who is outside of a trial whose variant for them cannot be said."""
    total = Tally()
    for seed in range(part, 4 * MANY, 4):
        tally = live(seed, True, 7, 24)
        assert tally.taken >= 0.75 * tally.plain, f"seed {seed}: {tally}"
        total.add(tally)
    assert total.taken >= 0.92 * total.plain, total
    assert len(total.reasons) >= 12, total.reasons


@pytest.mark.parametrize("part", range(2))
def test_random_rule_sets_with_what_is_left(part: int) -> None:
    total = Tally()
    for seed in range(part, 2 * MANY, 2):
        total.add(live(seed, False, 6, 24))
    assert 0.2 * total.events <= total.taken < total.events


def _directory(name: str) -> tuple[Bundle, Mapping[str, bytes]]:
    texts = read_directory(ROOT / name)
    return compile_bundle(texts), texts


USUAL = {
    "rules": {
        "savings_balance": (9000.0, 7200.0, 7199.99), "monthly_salary": (1200.0,), "deposit_months_12m": (9, 11, 8),
        "cashflow_positive_months": (12, 12, 3), "has_invested": (True, False), "open_complaints": (0, 0, 1),
        "page": ("carbon_footprint", "loans"), "days_left": (3, 7, 1, 0), "days_late": (1, 3, 14),
        "payment_plan_agreed": (False,), "instalments_late_12m": (0, 2), "region": ("north", "south"),
    },
    "rules/examples/bank_campaign": {
        "age": (18, 40, 85, 17), "in_default": (False,), "balance": (300.0, 2500.0, 1e4, 199.99),
        "housing_loan": (True, False), "personal_loan": (True, False), "last_result": ("success", "failure", "other"),
        "days_since_campaign": (20, 180, 400), "contact_number": (1, 2, 3, 4), "medium": ("cellular", "telephone"),
    },
}  # fmt: skip


@pytest.mark.parametrize(("name", "least"), [("rules", 0.5), ("rules/examples/bank_campaign", 0.95)])
def test_our_own_rule_sets(name: str, least: float) -> None:
    """Those with a message that is `about` something are left where it is looked at."""
    bundle, texts = _directory(name)
    total = Tally()
    for seed in range(40 if LONG else 2):
        town = Town(seed, bundle, 40, words_of(texts), usual=USUAL[name])
        for k in range(8):
            town.round(posteriors=posteriors(seed, bundle) if k % 2 else None)
        total.add(town.tally)
    assert total.taken >= least * total.events, total
    assert total.reasons[Reason.SELECTED] > 0.01 * total.events, total


def test_a_thousand_messages() -> None:
    made = generate.rules(1000 if LONG else 300)
    town = Town(1, compile_bundle(made.files), 64, words_of(made.files))
    for _ in range(4):
        town.round()
    assert town.tally.taken >= 0.95 * town.tally.plain, town.tally


@pytest.mark.parametrize("messages", [0, 1])
@pytest.mark.parametrize("windows", [False, True])
def test_hardly_any_rules(messages: int, windows: bool) -> None:
    for seed in range(20 if LONG else 3):
        texts = files(seed, messages=messages, windows=windows)
        town = Town(seed, compile_bundle(texts), 12, words_of(texts))
        for _ in range(3):
            town.round()
        assert town.tally.taken >= 0.9 * town.tally.plain


NO_SCHEMA = {
    "rules.yaml": b"""
events: {visit: {}}
purposes: {service: {consent: not_required}}
channels: {push: {}}
messages:
  hello: {purpose: service, on: [visit], channels: [push], variants: {plain: {en: "Hello."}}}
"""
}


def test_no_features_and_no_windows() -> None:
    town = Town(1, compile_bundle(NO_SCHEMA), 10, ("a",))
    for _ in range(4):
        town.round()
    assert town.tally.taken >= 0.9 * town.tally.plain
    assert town.tally.reasons[Reason.SELECTED]


@pytest.mark.parametrize("events", [1, 2, 63, 64, 65, 300])
def test_batches_of_any_size(events: int) -> None:
    texts = files(3)
    town = Town(events, compile_bundle(texts), events, words_of(texts))
    for _ in range(2 if events > 2 else 9):
        town.round()
    assert town.tally.taken >= 0.7 * town.tally.plain


def test_more_answers_in_a_day_than_a_record_holds() -> None:
    """What does not fit spills, is known for a repeat, and is forgotten in the end."""
    texts = files(5)
    town = Town(1, compile_bundle(texts), 6, words_of(texts))
    for k in range(60 if LONG else 42):
        town.round(9 * MINUTE_MS if k % 20 else 3 * MINUTE_MS)
    for _ in range(3):
        town.round(11 * 60 * MINUTE_MS)
    assert town.tally.spills > 6 * 10
    assert town.tally.taken >= 0.9 * town.tally.plain


def test_customers_of_others_are_left_alone() -> None:
    """Events that are not this batch's (somebody else has the customer) change nothing and get no answer."""
    texts = files(2)
    bundle = compile_bundle(texts)
    town = Town(7, bundle, 30, words_of(texts))
    town.round()
    requests = [town.customers.request(f"again-{name}", name, town.now_ms) for name in town.names]
    taken = set(range(0, 30, 3))
    w = world(bundle)
    columns = by_columns(town.rules, w, requests, town.state, town.now_ms, taken=taken)
    assert {i for i, one in enumerate(columns) if one is not None} <= taken
    assert compare(columns, by_step(w, requests, town.state, town.now_ms)) >= 0.9 * len(taken)


def test_what_was_answered_already_is_left() -> None:
    texts = files(4)
    bundle = compile_bundle(texts)
    town = Town(3, bundle, 20, words_of(texts))
    town.round()
    again = [town.asked[name][-1] for name in town.names]
    assert by_columns(town.rules, world(bundle), again, town.state, town.now_ms + 1) == [None] * 20
    other = [pb.DecideRequest.FromString(one.SerializeToString()) for one in again]
    for one in other:
        one.event.occurred_at.seconds = town.now_ms // 1000
    assert by_columns(town.rules, world(bundle), other, town.state, town.now_ms + 1) == [None] * 20


def test_more_languages_than_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever speaks one more is left; nobody is taken for somebody without a language."""
    monkeypatch.setattr(columns_rules, "_LANGUAGES_MAX", 2)
    texts = files(9)
    bundle = compile_bundle(texts)
    town = Town(9, bundle, 60, words_of(texts))
    for _ in range(3):
        town.round()
    assert len(town.rules.languages.known) == 3
    assert 0.2 * town.tally.events < town.tally.taken < 0.9 * town.tally.events


LINEAR = b"""
events: {visit: {seconds: number}}
features:
  language: {type: text, default: en}
  region: {type: text, default: north}
  age: integer
  income: {type: number, default: 0.5}
purposes: {ads: {consent: not_required}}
products: {loan: {}, card: {}, fund: {}}
channels: {push: {}}
messages:
  loan:
    {purpose: ads, product: loan, on: [visit], channels: [push], policy: alone, variants: {
      a: {en: "A?", es: "A!"}, b: {en: "B?"}, c: {en: "C?", es: "C!"}, d: {es: "D!", en: "{n} D?"}},
     slots: {n: features.age}}
  card: {like: loan, product: card, policy: segmented}
  fund: {like: loan, product: fund, policy: bound}
policies:
  alone:
    {kind: linear_thompson, reward: {replied: 1.0}, floor: 2%, values: {b: 3},
     context: [double(features.age) / 50.0, features.income, 'features.region == "north"', features.age, 0.25]}
  segmented: {kind: linear_thompson, reward: {replied: 1.0}, by: [features.region], context: [features.income]}
  bound: {kind: linucb, reward: {replied: 1.0}, pool: true, context: [features.age > 30, features.income]}
caps: [{at_most: 2, per: [customer, product], in: 7 days}]
"""


def test_linear_policies_are_decided_in_columns() -> None:
    """Shares by customer, with the context that they come from, and the same in both ways."""
    bundle = compile_bundle({"a.yaml": LINEAR})
    learnt = posteriors(3, bundle)
    town = Town(5, bundle, 100, ("north", "south", "en", "es"))
    requests = [town.customers.request(f"e-{name}", name, town.now_ms) for name in town.names]
    w = world(bundle, posteriors=learnt)
    columns = by_columns(town.rules, w, requests, town.state, town.now_ms)
    assert compare(columns, by_step(w, requests, town.state, town.now_ms)) >= 95
    entries = [one.entry for one in columns if one is not None and isinstance(one.entry, DecisionEntry)]
    drawn = [entry for entry in entries if entry.variants]
    lengths = {"alone": 6, "segmented": 2, "bound": 3}
    assert {entry.policy for entry in drawn} == set(lengths)
    assert all(len(entry.context) == lengths[entry.policy] and entry.context[0] == 1024 for entry in drawn)
    assert all(sum(share for _, share in entry.variants) == 1 << 30 for entry in drawn)
    shares = {tuple(entry.variants) for entry in drawn if entry.policy == "alone" and len(entry.variants) == 4}
    assert len(shares) > 5


LEFT_ALONE = b"""
events: {deposit: {}, login: {}, ping: {}}
purposes: {ads: {consent: not_required}}
products: {loan: {}, card: {}, fund: {}}
messages:
  loan: {purpose: ads, product: loan, on: [deposit], channels: [sms], variants: {plain: {en: "A loan?"}}}
  card: {like: loan, product: card, on: [login]}
  fund: {like: loan, product: fund, on: [ping]}
suppress:
  - {name: has it, after: converted, per: [product], for: 300 days}
  - {name: said no, after: declined, per: [product], for: 30 days}
  - {name: passed over it, after: ignored, times: 2, in: 20 days, per: [message], for: 20 days}
"""


def test_who_is_left_alone_after_outcomes() -> None:
    """Every reason, by both ways, with the same bytes."""
    bundle = compile_bundle({"a.yaml": LEFT_ALONE})
    town = Town(1, bundle, 120, ())
    for name in town.names:
        town.state[name] = b"", _touched(town, bundle)
    for _ in range(3):
        town.round(step_ms=DAY_MS)
    assert town.tally.taken >= 0.95 * town.tally.plain
    left_alone = {Reason.ALREADY_CONVERTED, Reason.ALREADY_DECLINED, Reason.REPEATEDLY_IGNORED, Reason.SELECTED}
    assert all(town.tally.reasons[reason] > 3 for reason in left_alone), town.tally.reasons


def _touched(town: Town, bundle: Bundle) -> bytes:
    """A record of some messages of the last weeks and what came of them."""
    r, record = town.chance, Record(new_version(), town.now_ms - 5, town.now_ms - 100 * DAY_MS)
    kinds = (OutcomeKind.CONVERTED, OutcomeKind.DECLINED, OutcomeKind.OPENED)
    for step in bundle.steps.messages:
        for _ in range(r.choice((0, 1, 2, 3))):
            at_ms = town.now_ms - r.randrange(40 * DAY_MS)
            flags = r.choice((0, 0, 0, 1, 2, *map(TouchFlag.outcome, kinds)))
            names = (step.key, 0, step.channels[0].key, name_hash("ads"), step.topic, step.product, step.stage, 0, 0, 0)
            due_ms = at_ms + r.choice((DAY_MS, 4 * DAY_MS))
            record.touches.append(Touch(at_ms, r.getrandbits(64), 0, *names, at_ms + DAY_MS, due_ms, flags))
    return encode(record)
