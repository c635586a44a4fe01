"""The JSON Schema of rule files (draft 07, which editors know best): completion, hover, underlining.

It says what can be told of a single value: keys, shapes, closed lists. Names that must exist and
expressions are the checker's. It never refuses what the reader takes: numbers may be quoted, an empty
section is allowed, and a condition may be any scalar. `tact schema` writes it.
"""

from __future__ import annotations

from engine.compiler import regimes
from engine.compiler.schema_values import (
    IDENTIFIER,
    LANGUAGE,
    NAME,
    PERIOD,
    Schema,
    choice,
    day,
    expression,
    fields,
    flag,
    listed,
    name,
    named,
    names,
    number,
    period,
    scalar,
    share,
    text,
    texts,
    value,
    whole,
)
from engine.compiler.sections_arbitration import ARBITRATIONS, LEARNED
from engine.compiler.sections_contact import PER
from engine.compiler.sections_learning import CONTEXT_MAX, LEARNS, MODELS
from engine.compiler.sections_limits import AFTER, SUPPRESS_PER, VOLUME_MAX, VOLUME_PER
from engine.compiler.sections_policies import REWARDS
from engine.compiler.sections_schema import TYPES
from engine.compiler.sections_tests import REASONS
from engine.compiler.tables.table import COLLECTS, HITS
from engine.compiler.templates import SHAPES


def rules_schema() -> Schema:
    """The schema of one rule file."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Tact rule file",
        "description": "Any file of a rule set may hold any of these sections; maps merge by name across files.",
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": _sections(),
    }


def _sections() -> Schema:
    return {
        "events": named("Event types with their attributes.", _event(), IDENTIFIER),
        "features": named("What the bank writes of a customer.", _feature(), IDENTIFIER),
        "windows": named("Aggregates that the engine keeps of a customer's events.", _window(), IDENTIFIER),
        "facts": named("Named expressions and decision tables, used as `facts.x`.", _fact(), IDENTIFIER),
        "products": named("What can be taken up, with its eligibility.", _product()),
        "messages": named("What can be said.", _message()),
        "purposes": named("Why something is said; decides on consent and quiet hours.", _purpose()),
        "channels": named("Ways to reach a customer, with the condition for it.", _channel()),
        "quiet_hours": named("Hours in which nothing is sent.", _quiet_hours()),
        "caps": listed("How much is said at most: to a customer, or to all together.", _caps()),
        "gaps": listed("How far apart two messages must be.", _gap()),
        "suppress": listed("Who is left alone after what came of earlier messages.", _suppression()),
        "topics": named("Topics that were called something else before.", _topic()),
        "policies": named("How a variant is chosen.", _policy()),
        "layers": named("Trials that exclude each other: a customer is in one at most.", _layer()),
        "kpis": named("Sums that the report tells: `spent: payment.amount`.", text("An event type's attribute.")),
        "holdout": fields(
            "A share of customers who are held out, to measure against.",
            {"share": share("The share held out."), "salt": text("Another salt draws other customers.")},
            ("share", "salt"),
        ),
        "arbitration": fields(
            "How one message of the best tier is taken.",
            {
                "kind": choice("`best` takes the largest rank, the others draw.", ARBITRATIONS),
                "floor": share("No message that can be drawn gets less."),
                "temperature": number("Of softmax, in the unit of `value`: small ones take the best nearly always."),
            },
            ("kind",),
        ),
        "defaults": fields(
            "What counts where nothing is said.",
            {
                "language": name("The language texts fall back to."),
                "zone": text("The IANA zone whose days `from` and `until` are; absent: UTC."),
            },
        ),
        "tests": listed("What the rules must decide; `tact test` runs them.", _test()),
    }


# What there is


def _type() -> Schema:
    return choice("Type of the value.", tuple(TYPES))


def _field_keys() -> Schema:
    return {
        "type": _type(),
        "unit": scalar("Unit, for people: EUR, days ..", ("string", "number")),
        "currency": text("Currency of a money, such as EUR."),
        "personal": flag("Personal data: only in texts and has(), never in a condition."),
    }


def _field(description: str, properties: Schema) -> Schema:
    return {
        "description": description,
        "if": {"type": "object"},
        "then": fields(description, properties, ("type",)),
        "else": _type(),
    }


def _event() -> Schema:
    told = "An event type; `type` and `occurred_at` are always there."
    return named(told, _field("An attribute of the event: its type, or a map.", _field_keys()), IDENTIFIER)


def _feature() -> Schema:
    own = {
        "default": value("The value where none was written; `has()` stays false."),
        "above": number("What is not above this counts as missing."),
        "at_least": number("What is less counts as missing."),
        "at_most": number("What is more counts as missing."),
        "max_age": period("An older value counts as missing."),
    }
    return _field("A feature: its type, or a map.", _field_keys() | own)


WINDOW_KINDS = {
    "count": "Number of events of this type.",
    "sum": "Sum of an attribute: `payment.amount`.",
    "minimum": "Least value of an attribute.",
    "maximum": "Greatest value of an attribute.",
    "mean": "Mean of an attribute, a number.",
    "last": "Latest value of an attribute: `payment.occurred_at`.",
    "distinct": "Number of different values of an attribute, 100 at most.",
    "months_with": "Number of months with an event of this type.",
    "days_with": "Number of days with an event of this type.",
}


def _window() -> Schema:
    properties = {kind: text(told) for kind, told in WINDOW_KINDS.items()} | {
        "over": scalar(
            "How far back it looks, 24 months at most: `7 days`, or `calendar day`, `calendar week`, `calendar month`.",
            ("string",),
            pattern=rf"^({PERIOD}|calendar\s+(day|week|month))$",
        ),
        "where": expression("Only events for which this holds; it sees `event` alone."),
        "having": expression("Of months_with and days_with: only months or days with `sum(event.amount) > 0`."),
        "since_start": choice("`zero`: complete from the start, as if nothing had happened before.", ("zero",)),
    }
    return fields("One window: what it keeps, over which span.", properties) | {
        "anyOf": [{"required": [kind]} for kind in WINDOW_KINDS]
    }


def _fact() -> Schema:
    table = {
        "table": text("The file from the rule set's directory: `tables/x.csv` or `tables/x.xlsx`."),
        "hit": choice("Which rows count: the only one, the first, the best by `priority`, or all.", HITS),
        "default": _by_output("Result per output where no row fits.", value("The result.")),
        "sheet": name("The sheet of an XLSX file; absent: the first."),
        "priority": _by_output("Order of the results, best first.", {"type": "array", "items": value("A result.")}),
        "collect": choice("What is made of all rows that fit.", COLLECTS),
    }
    return {
        "description": "An expression, or a decision table.",
        "if": {"type": "object"},
        "then": fields("A decision table.", table, ("table", "hit")),
        "else": expression("A named expression."),
    }


def _by_output(description: str, entry: Schema) -> Schema:
    return {"description": description, "type": "object", "additionalProperties": entry}


# What is said


def _product() -> Schema:
    condition = fields(
        "A condition that can be told by itself.",
        {"is": expression("What must hold."), "because": texts("What is said where it does not hold.")},
        ("is",),
    )
    eligible = {
        "description": "Who can take it up: one expression, or named conditions.",
        "if": {"type": "object"},
        "then": named("Named conditions; all must hold.", condition),
        "else": expression("Who can take it up."),
    }
    keys = {"eligible": eligible, "otherwise": texts("What is said to who is not eligible.")}
    return fields("A product.", keys, empty=True)


def _message() -> Schema:
    keys = {
        "product": name("The product it promotes: its eligibility is inherited."),
        "purpose": name("Why it is said: one of `purposes`."),
        "topic": name("What it is about, for caps per topic."),
        "stage": name("Where in the customer's way it stands, for caps per stage."),
        "on": names("Event types at which it is considered; absent: all.") | {"minItems": 1},
        "when": expression("Who hears it."),
        "unless": expression("Who is left alone."),
        "value": expression("What it is worth; ranks messages."),
        "channels": _channels(),
        "slots": named("Values that the texts use.", _slot(), IDENTIFIER),
        "variants": named("Wordings.", _variant()) | {"minProperties": 1},
        "policy": name("How a variant is chosen: one of `policies`; absent: equal weights."),
        "sender": text("Who says it, for people."),
        "about": expression("The id of what it is about, such as a loan; for caps per [customer, about]."),
        "rank": choice("`learned`: it ranks by its value x what its policy has learnt; absent: by its value.", LEARNED),
        "reserve": number("The least rank at which it is said."),
        "was": names("Former names of this message: their history counts."),
        "like": name("Copies the keys of this message; own keys replace them."),
    }
    return fields("A message.", keys) | {
        "if": {"required": ["like"]},
        "else": {"required": ["purpose", "channels", "variants"]},
    }


def _channels() -> Schema:
    item = {
        "if": {"type": "object"},
        "then": {
            "type": "object",
            "propertyNames": {"pattern": NAME},
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": expression("When the channel can be taken."),
        },
        "else": name("A channel."),
    }
    told = "Channels in order of preference: names, or `{name: condition}`."
    return {"description": told, "type": "array", "minItems": 1, "items": item}


def _slot() -> Schema:
    keys = {"is": expression("The value."), "as": choice("How it is written.", SHAPES)}
    return {
        "description": "A value: an expression, or `{is: expression, as: shape}`.",
        "if": {"type": "object"},
        "then": fields("A value and its shape.", keys, ("is",)),
        "else": expression("The value."),
    }


def _variant() -> Schema:
    body = {
        "type": "object",
        "properties": {
            "text": text("The text, for every channel without its own."),
            "replies": {"description": "Suggested replies.", "type": "array", "items": text("A reply.")},
        },
        "required": ["text"],
        "additionalProperties": text("The text for this channel."),
    }
    return {
        "description": "A wording, per language.",
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"pattern": LANGUAGE},
        "additionalProperties": {"if": {"type": "object"}, "then": body, "else": text("What is said.")},
    }


# What protects the customer


def _purpose() -> Schema:
    keys = {
        "consent": choice("Whether the customer must have agreed.", ("required", "not_required")),
        "quiet_hours": name("When nothing of this purpose is sent: one of `quiet_hours`."),
        "if_state_unknown": choice("What happens while the store cannot be read.", ("silent", "send")),
        "holdout": flag("Whether the held-out share hears nothing of it."),
        "stops": names("Other purposes that a customer's stop closes too."),
        "tier": whole("Tier 1 goes before all others and is not counted by caps without purposes.", 1, 9),
    }
    return fields("A purpose.", keys, ("consent",))


def _channel() -> Schema:
    return fields("A channel.", {"when": expression("Which customers can be reached by it.")}, empty=True)


def _quiet_hours() -> Schema:
    keys = {
        "from": _clock("Begin"),
        "to": _clock("End"),
        "zone": text("`customer`, or an IANA zone such as Europe/Berlin."),
        "then": choice("`defer` sends it afterwards, `drop` never.", ("defer", "drop")),
        "preset": choice("The hours of a regime; then `from`, `to` and `zone` are left out.", tuple(regimes.HOURS)),
        "if_zone_unknown": {
            "description": "Where the customer's zone is unknown: it must be open in all of these. Absent: silence.",
            "type": "array",
            "minItems": 1,
            "items": text("An IANA zone such as America/Chicago."),
        },
    }
    return _or_preset(fields("Hours in which nothing is sent.", keys), ("from", "to"))


def _or_preset(schema: Schema, required: tuple[str, ...]) -> Schema:
    return schema | {"if": {"required": ["preset"]}, "else": {"required": list(required)}}


def _clock(what: str) -> Schema:
    return scalar(f'{what}: a time of day such as "20:00".', ("string",), pattern="^([01]?[0-9]|2[0-3]):[0-5][0-9]$")


def _limit_keys() -> Schema:
    return {
        "per": names("Counted apart for each of these; customer is always among them.", PER) | {"minItems": 1},
        "purposes": names("What is counted and held; absent: all but tier 1."),
        "name": text("A name for reasons and reports."),
    }


def _cap() -> Schema:
    own = {
        "at_most": whole("So many at most.", 0, 1000),
        "in": scalar(
            "A rolling span (`7 days`), or `calendar day`, `calendar week`, `calendar month`.",
            ("string",),
            pattern=rf"^({PERIOD}|calendar\s+(day|week|month))$",
        ),
    }
    own["preset"] = choice("The cap of a regime; then `at_most`, `per` and `in` are left out.", tuple(regimes.CAPS))
    return _or_preset(fields("A cap.", own | _limit_keys()), ("at_most", "per", "in"))


def _caps() -> Schema:
    return {"if": {"type": "object", "required": ["volume"]}, "then": _volume(), "else": _cap()}


def _calendar() -> Schema:
    told = "`calendar day`, `calendar week` or `calendar month` of the zone."
    return scalar(told, ("string",), pattern=r"^calendar\s+(day|week|month)$")


def _volume() -> Schema:
    own = {
        "volume": whole("So many at most, to all customers together.", 0, VOLUME_MAX),
        "in": _calendar(),
        "zone": text("The IANA zone whose calendar counts; absent: UTC."),
    }
    per = {"per": names("Counted apart for each of these; absent: all together.", VOLUME_PER)}
    return fields("A cap over all customers.", own | _limit_keys() | per, ("volume", "in"))


def _suppression() -> Schema:
    own = {
        "after": choice("What came of earlier messages.", AFTER),
        "times": whole("Of ignored: so many in a row; absent: 3.", 1, 100),
        "in": period("Of ignored: sent within this span; absent: 90 days."),
        "for": period("For so long, from when the last of them was sent."),
    }
    per = {"per": names("What is left out: all that is the same in these.", SUPPRESS_PER) | {"minItems": 1}}
    return fields("Left alone after an outcome.", own | _limit_keys() | per, ("after", "for", "per"))


def _topic() -> Schema:
    return fields("A topic of messages.", {"was": names("Former names of this topic: their history counts.")}, ("was",))


def _gap() -> Schema:
    own = {"at_least": period("At least so long between two.")}
    return fields("A gap.", own | _limit_keys(), ("at_least", "per"))


def _layer() -> Schema:
    own = {
        "salt": text("Another salt draws other customers."),
        "slices": named("Per policy its share of the customers, one behind another.", share("A share.")),
    }
    return fields("A layer.", own, ("salt", "slices"))


def _policy() -> Schema:
    weight = number("The variant's weight.", minimum=0)
    keys = {
        "kind": choice("`fixed` keeps its weights, the others learn from rewards.", ("fixed", *LEARNS)),
        "reward": fields("What an outcome is worth.", {r: number(f"Worth of {r}.") for r in REWARDS}),
        "attribution": period("How long after a message its outcomes count."),
        "floor": share("No variant gets less."),
        "control": name("The variant that others are measured against."),
        "by": {
            "description": "Each combination of these learns on its own.",
            "type": "array",
            "items": expression("A segment."),
        },
        "weights": named("Weight per variant.", weight),
        "sticky": choice("A customer keeps the variant.", ("customer",)),
        "pool": flag("Whether messages that share the policy learn together."),
        "if_unfit": choice("Where a text cannot be made: leave the customer out, or drop it.", ("leave_out", "drop")),
        "model": choice("Of thompson: what a reward is like.", MODELS),
        "epsilon": share("Of epsilon_greedy: so much tries out."),
        "temperature": number("Of softmax: small ones take the best nearly always.", minimum=0.001),
        "prior": fields(
            "What is thought before anything was seen.",
            {"rate": share("The reward expected."), "weight": number("Worth so many trials.", minimum=0.001)},
            ("rate",),
        ),
        "shrink": number("What was seen in other segments is worth so many trials at most.", minimum=0),
        "forget": fields(
            "What has been seen counts less with time.",
            {"half_life": period("Half as much after."), "window": period("Not at all after.")},
        ),
        "context": {
            "description": "Of linear kinds: what the reward depends on.",
            "type": "array",
            "items": expression("A number, integer or bool."),
            "maxItems": CONTEXT_MAX,
        },
        "explore": number("Of linear kinds: how far single rewards spread.", minimum=0),
        "hybrid": flag("Of linear kinds: whether variants learn from one another what they have in common."),
        "values": named("What each variant's reward is multiplied by.", number("A factor above zero.", minimum=0)),
        "report_by": {
            "description": "Values that are logged with each decision, for the report to split by.",
            "type": "array",
            "items": expression("A text, bool, integer or number."),
        },
        "from": day("First day of the trial"),
        "until": day("Last day of the trial"),
        "outside": name("The variant for customers who are not in the trial, or `leave_out`; absent: the control."),
        "then": name("The variant for everybody once the trial is over, or `leave_out`; absent: as `outside`."),
        "trial": fields(
            "Of policies that learn: customers who are drawn by fixed weights.",
            {
                "share": share("So many customers."),
                "weights": named("Weight per variant; absent: all the same.", weight),
                "salt": text("Another salt draws other customers."),
            },
            ("share",),
        ),
    }
    return fields("A policy.", keys, ("kind",))


# Tests


def _test() -> Schema:
    given = {
        "features": named("Features of the customer.", value("Its value."), IDENTIFIER),
        "windows": named("Windows as the rules will read them.", value("Its value."), IDENTIFIER),
        "consent": names("Purposes the customer agreed to."),
        "now": text("The time, such as 2026-11-21T10:00:00+01:00."),
    }
    expect = {
        "send": name("This message is sent."),
        "no_message": choice("Nothing is sent, for this reason.", REASONS),
        "eligible": names("Exactly these products are open to the customer."),
        "variant": name("The variant chosen."),
        "channel": name("The channel chosen."),
        "text": text("The text, word for word."),
    }
    event = {
        "description": "What happened: `type` and the attributes.",
        "type": "object",
        "required": ["type"],
        "properties": {"type": name("The event type.")},
        "additionalProperties": value("An attribute's value."),
    }
    keys = {
        "name": text("What the test shows, in words."),
        "given": fields("State it starts from.", given),
        "event": event,
        "expect": fields("What must come of it.", expect) | {"minProperties": 1},
        "holdout": flag("true: everybody is held out; else nobody."),
        "in_trial": flag("false: in no slice of a layer; else in those of all trials."),
    }
    return fields("A test.", keys, ("name", "event", "expect"))
