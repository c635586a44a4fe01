"""Rule sets, profiles and events to measure with: seeded, so that a figure can be made again.

Conditions are drawn like those that marketing operations write: ranges, texts that are equal, sums,
alternatives, counts of events. 85 % of the messages name one of about 30 event types, the frequent
ones more often (Zipf). A condition is one text in CEL; the peers read the same one in their dialect.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

EVENT_TYPES = (  # of a bank, the frequent ones first
    "card_payment", "deposit", "app_login", "transfer_out", "direct_debit", "page_view", "cash_withdrawal",
    "bill_payment", "transfer_in", "salary", "balance_check", "card_online", "mobile_top_up", "instalment_due",
    "standing_order", "fx_payment", "card_declined", "savings_move", "support_contact", "document_viewed",
    "instalment_paid", "loan_simulated", "limit_changed", "fund_viewed", "card_blocked", "address_changed",
    "insurance_viewed", "loan_requested", "complaint", "account_opened",
)  # fmt: skip
COUNTED, SUMMED = EVENT_TYPES[:2]  # what the windows are over
ZIPF = tuple(1 / (k + 1) for k in range(len(EVENT_TYPES)))
NUMBERS, INTEGERS, TEXTS, FLAGS = 24, 8, 6, 2  # 40 features
WINDOWS = ("events_30d", "deposited_7d", "deposit_months")
PRODUCTS = 20
TEXT_VALUES = 8
FILE_MESSAGES = 1000  # a rule file holds at most 1 MiB, a rule set at most 200 files
_PATH = re.compile(r"\b(features|windows|event)\.(\w+)")

Values = dict[str, object]


@dataclass(frozen=True, slots=True)
class Rule:
    """A generated message, for peers: `condition` in CEL, its product's eligibility included."""

    name: str
    on: str | None
    condition: str
    value: float
    topic: str

    @property
    def purpose(self) -> str:
        """What asks for consent must name its event types; the others are for any event."""
        return "service" if self.on is None else "marketing"


@dataclass(frozen=True, slots=True)
class Rules:
    """A generated rule set: the files for `compile_bundle`, and the same rules for the peers."""

    files: dict[str, bytes]
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer's features by name, and whether marketing may write."""

    customer_id: str
    features: Values
    consent: bool


@dataclass(frozen=True, slots=True)
class Happening:
    """An event without its id."""

    type: str
    attributes: Values


def as_python(condition: str) -> str:
    """The condition in Python, over the dictionaries `features`, `windows` and `event`."""
    return _PATH.sub(r'\1["\2"]', condition).replace("&&", "and").replace("||", "or")


def as_zen(condition: str) -> str:
    """The condition in zen-engine's expression language."""
    return condition.replace("&&", "and").replace("||", "or")


def by_type(rules: Sequence[Rule]) -> dict[str, list[Rule]]:
    """For each event type the rules that hear it, in their order: how a caller of a plain engine would keep them."""
    return {kind: [rule for rule in rules if rule.on in (None, kind)] for kind in EVENT_TYPES}


def event_types(chance: random.Random, count: int) -> list[str]:
    """Types of `count` events, the k-th about k times as rare as the first."""
    return chance.choices(EVENT_TYPES, ZIPF, k=count)


def rules(messages: int, seed: int = 1) -> Rules:
    """A rule set of that many messages."""
    chance = random.Random(seed)
    products = [_range(chance) for _ in range(PRODUCTS)]
    types = event_types(chance, messages)
    made, texts = [], []
    for k, kind in enumerate(types):
        product = chance.randrange(PRODUCTS) if chance.random() < 0.3 else None
        when = " && ".join(_atom(chance) for _ in range(chance.randint(3, 6)))
        rule = Rule(
            f"message_{k}",
            kind if chance.random() < 0.85 else None,
            when if product is None else f"{products[product]} && {when}",
            float(chance.randint(1, 500)),
            f"topic_{chance.randrange(12)}",
        )
        made.append(rule)
        texts.append(_message(rule, product, when, chance.random() < 0.5))
    files = {"schema.yaml": _schema(), "contact_policy.yaml": _CONTACT, "products.yaml": _products(products)}
    for start in range(0, messages, FILE_MESSAGES):
        files[f"messages/{start}.yaml"] = "messages:\n" + "".join(texts[start : start + FILE_MESSAGES])
    return Rules({path: text.encode() for path, text in files.items()}, tuple(made))


def customers(count: int, seed: int = 2, missing: float = 0.03, consent: float = 1.0) -> list[Customer]:
    """Customers c0, c1, ..; each feature is missing with the chance `missing`."""
    return list(draw_customers(count, seed, missing, consent))


def feature_names() -> list[str]:
    """The features that a customer may have."""
    counts = (("n", NUMBERS), ("i", INTEGERS), ("s", TEXTS), ("b", FLAGS))
    return [f"{letter}{i}" for letter, count in counts for i in range(count)] + ["phone"]


def draw_customers(count: int, seed: int = 2, missing: float = 0.03, consent: float = 1.0) -> Iterator[Customer]:
    """The same, one after another."""
    chance = random.Random(seed)
    for k in range(count):
        features: Values = {f"n{i}": round(chance.uniform(0, 100), 2) for i in range(NUMBERS)}
        features |= {f"i{i}": chance.randint(0, 20) for i in range(INTEGERS)}
        features |= {f"s{i}": f"v{chance.randrange(TEXT_VALUES)}" for i in range(TEXTS)}
        features |= {f"b{i}": chance.random() < 0.5 for i in range(FLAGS)}
        kept = {name: value for name, value in features.items() if chance.random() >= missing}
        yield Customer(f"c{k}", {**kept, "phone": "+34600000000"}, chance.random() < consent)


def events(count: int, seed: int = 3) -> list[Happening]:
    """Events as they come: frequent types often, rare ones seldom."""
    chance = random.Random(seed)
    return [
        Happening(t, {"amount": round(chance.uniform(0, 100), 2), "channel": f"v{chance.randrange(TEXT_VALUES)}"})
        for t in event_types(chance, count)
    ]


def inputs(customer: Customer, event: Happening, chance: random.Random) -> Values:
    """What a plan reads, by path: for measuring kernels without a store."""
    values: Values = {f"features.{name}": value for name, value in customer.features.items()}
    values |= {f"event.{name}": value for name, value in event.attributes.items()}
    values |= {"windows.events_30d": chance.randint(1, 6), "windows.deposited_7d": chance.uniform(0, 100)}
    return values | {"windows.deposit_months": chance.randint(0, 3)}


def _range(chance: random.Random) -> str:
    low = chance.randrange(10, 60, 5)
    name = f"features.n{chance.randrange(NUMBERS)}"
    if chance.random() < 0.5:
        return f"{name} >= {low}.0"
    return f"{name} >= {low}.0 && {name} < {low + 40}.0"


def _simple(chance: random.Random) -> str:
    if chance.random() < 0.6:
        return f"features.i{chance.randrange(INTEGERS)} >= {chance.randint(4, 16)}"
    return f'features.s{chance.randrange(TEXTS)} == "v{chance.randrange(TEXT_VALUES)}"'


def _atom(chance: random.Random) -> str:
    kind = chance.random()
    if kind < 0.4:
        return _range(chance)
    if kind < 0.6:
        return f'features.s{chance.randrange(TEXTS)} == "v{chance.randrange(TEXT_VALUES)}"'
    if kind < 0.72:
        return f"({_simple(chance)} || {_simple(chance)})"
    if kind < 0.82:
        a, b = chance.sample(range(NUMBERS), 2)
        return f"features.n{a} + 0.5 * features.n{b} >= {chance.randrange(60, 120, 5)}.0"
    if kind < 0.88:
        return f"event.amount >= {chance.randrange(10, 80, 5)}.0"
    if kind < 0.94:
        return f"windows.events_30d >= {chance.randint(1, 3)}"
    return f"features.b{chance.randrange(FLAGS)}"


def _message(rule: Rule, product: int | None, when: str, learns: bool) -> str:
    lines = [f"  {rule.name}:", f"    topic: {rule.topic}", f"    purpose: {rule.purpose}"]
    if product is not None:
        lines.append(f"    product: product_{product}")
    if rule.on is not None:
        lines.append(f"    on: [{rule.on}]")
    lines += [f"    when: '{when}'", f"    value: {rule.value}", "    channels: [push, sms]"]
    lines.append("    slots: {amount: {is: event.amount, as: integer}}")
    lines.append("    variants:")
    lines.append('      control: {en: "There is something new in your app."}')
    lines.append('      amount: {en: "You moved {amount} today. See what that can become."}')
    if learns:
        lines.append("    policy: words")
    return "\n".join(lines) + "\n"


def _products(products: list[str]) -> str:
    lines = [
        f"  product_{k}: {{eligible: '{condition}', otherwise: {{en: \"Not for you yet.\"}}}}"
        for k, condition in enumerate(products)
    ]
    return "products:\n" + "\n".join(lines) + "\n"


def _schema() -> str:
    lines = ["events:"]
    lines += [f"  {kind}: {{amount: number, channel: text}}" for kind in EVENT_TYPES]
    lines.append("features:")
    for letter, kind, count in (("n", "number", NUMBERS), ("i", "integer", INTEGERS), ("s", "text", TEXTS)):
        lines += [f"  {letter}{k}: {kind}" for k in range(count)]
    lines += [f"  b{k}: {{type: bool, default: false}}" for k in range(FLAGS)]
    lines += [
        "  phone: {type: text, personal: true}",
        "  language: {type: text, default: en}",
        "  timezone: {type: text, default: Europe/Madrid}",
        "windows:",
        f"  events_30d: {{count: {COUNTED}, over: 30 days, since_start: zero}}",
        f"  deposited_7d: {{sum: {SUMMED}.amount, over: 7 days, since_start: zero}}",
        f"  deposit_months: {{months_with: {SUMMED}, over: 12 months, since_start: zero}}",
    ]
    return "\n".join(lines) + "\n"


# Caps are checked for every decision and wide enough that a measurement does not run into them.
_CONTACT = """
purposes:
  marketing: {consent: required, quiet_hours: night, if_state_unknown: silent, holdout: true}
  service: {consent: not_required, quiet_hours: night, if_state_unknown: silent}
channels:
  push: {when: features.b0}
  sms: {when: has(features.phone)}
quiet_hours:
  night: {from: "20:00", to: "08:00", zone: customer, then: defer}
caps:
  - {at_most: 60, per: [customer], in: 7 days}
  - {at_most: 30, per: [customer, topic], in: calendar day}
holdout: {share: 0.05, salt: "bench"}
policies:
  words: {kind: thompson, reward: {replied: 1.0, converted: 5.0}, attribution: 48 hours, floor: 0.02, control: control}
"""
