"""Random rule sets as files: whatever the language says that concerns the step, drawn from a seed.

Plain ones hold only what kernels take. The others have lists, `about`, former names of sticky trials, attributes
that are dates: all that is left to the step in Python.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence

from engine.compiler.sections_learning import LEARNS, LINEAR
from tests.columns.conditions import TYPE_OF, Expressions

EUR: dict[str, object] = {"type": "money", "currency": "EUR"}
EVENTS: dict[str, dict[str, object]] = {
    "deposit": {"amount": {"type": "number", "unit": "EUR"}, "channel": "text", "count": "integer"},
    "payment": {"paid": EUR, "amount": "number", "category": "text", "at": "time", "flag": "bool", "count": "integer"},
    "page_view": {"page": {"type": "text", "personal": True}, "count": "integer"},
    "check": {},
}
WORDS = ("north", "south", "a", "Zürich", "12", "", "none of them")
ZONES = ("customer", "Europe/Berlin", "America/New_York", "UTC", "Asia/Kolkata")
LANGUAGES = ("en", "es", "es-CO", "pt")
TEXTS = (
    "Hello.", "¿Qué tal?", "A {{brace}}.", "{s0}", "{region}: {x}", "{x} and {y}, {x}!", "{y}", "{name}, {z} {x}",
    "Only {features.n0}.", "{event.type:text}", "{z}", "Long. " * 300 + "{x}",
)  # fmt: skip

_LONGER = re.compile(r"\b(message_\d+|deposit|payment|check|only|other|s1|n1|amount|even|segmented|news)\b")


def files(seed: int, plain: bool = True, messages: int | None = None, windows: bool = True) -> dict[str, bytes]:
    """The files of a rule set."""
    return _RuleSet(random.Random(f"rules {seed} {plain}"), plain, messages, windows).files()


def _how_it_learns(seed: int) -> dict[str, object]:
    """Keys of a policy: its kind, and what is forgotten."""
    chance = random.Random(seed)
    made: dict[str, object] = {"kind": chance.choice(LEARNS)}
    if made["kind"] == "thompson":
        made["model"] = chance.choice(("beta", "gaussian"))
    if made["kind"] in LINEAR:
        made["context"] = ["features.i1", "features.b0"]
    forget = chance.choice(({"half_life": "7 days"}, {"window": "30 days"}))
    return made | {"forget": forget, "values": {"control": 0.8}}


def _enrol(policies: Mapping[str, dict[str, object]], seed: str) -> dict[str, object]:
    """Gives some policies dates, fixed slices and values to report by, and some a slice of a layer; the layers."""
    chance = random.Random(f"trials {seed}")
    slices: dict[str, object] = {}
    for name, policy in policies.items():
        if chance.random() < 0.4:
            slices[name] = chance.choice(("12%", "15%", "0"))
        days = chance.choice(({}, {}, {"from": "2026-03-10"}, {"until": "2027-01-05"}, {"until": "2026-01-31"}))
        if slices.get(name) or days:
            policy |= {**days, "outside": chance.choice(("control", "a", "leave_out"))}
            if "until" in days and chance.random() < 0.5:
                policy["then"] = chance.choice(("b", "leave_out"))
        if policy["kind"] != "fixed" and chance.random() < 0.4:
            policy["trial"] = {"share": "40%", "weights": {"control": 1, "a": chance.choice((0, 3)), "b": 0.5}}
        if chance.random() < 0.4:
            policy["report_by"] = ["features.region", "features.n0 * 2.0", "features.b0"][: chance.randint(1, 3)]
    return {"layer": {"salt": seed, "slices": slices}} if slices else {}


def _between(made: Mapping[str, dict[str, object]], plain: bool) -> dict[str, object]:
    """Lets messages rank by what they have learnt, and have reserves; how one is drawn, where the best is not taken."""
    chance = random.Random(len(str(made)))
    learns = chance.choice(("learns", "segmented"))  # the same for all: they are compared
    if chance.random() < 0.4:
        return {}
    for name, message in made.items():
        value = message.get("value", 1)
        if message.get("policy") == learns and chance.random() < 0.6:
            message["rank"] = "learned"
        if name in ("message_0", "message_alike") or chance.random() < 0.7:
            continue
        if "rank" in message or isinstance(value, str):
            message["reserve"] = chance.choice((0.2, 0.5, 2.5))
        else:
            message["reserve"] = value - chance.choice((0, 1))  # type: ignore[operator]
    if plain:
        return {}
    softmax = {"kind": "softmax", "temperature": 1.5, "floor": "1%"}
    return chance.choice(({}, {}, {"arbitration": softmax}, {"arbitration": {"kind": "thompson", "floor": "2%"}}))


class _RuleSet:
    def __init__(self, chance: random.Random, plain: bool, messages: int | None, windows: bool) -> None:
        self.chance = chance
        self.plain = plain
        self.lists = not plain and chance.random() < 0.1
        self.count = chance.choice((2, 4, 6, 12, 20)) if messages is None else messages
        self.features: dict[str, dict[str, object]] = {}
        self.windows: dict[str, dict[str, object]] = {}
        self.kind_of: dict[str, str] = {}  # type of each window
        self.facts: dict[str, object] = {}
        self.fact_types: dict[str, str] = {}
        self.tables: dict[str, bytes] = {}
        self.events = {name: dict(attributes) for name, attributes in EVENTS.items()}
        if not plain and chance.random() < 0.3:
            self.events["payment"]["due"] = "date"
            self.events["payment"]["took"] = "duration"
            self.events["check"]["tags"] = "texts"
        self.says = Expressions(chance, self.events, self.features, self.kind_of, self.fact_types)
        self._features()
        if windows and chance.random() < 0.9:
            self._windows()
        self._facts()

    def files(self) -> dict[str, bytes]:
        """The files by their paths."""
        purposes = self._purposes()
        products = {f"product_{k}": self._product() for k in range(self.chance.randint(0, 3))}
        policies = self._policies()
        made = {f"message_{k}": self._message(purposes, products, policies) for k in range(self.count)}
        if self.count > 2 and (not self.plain or made["message_1"].get("policy") not in ("fixed", "even")):
            made["message_1"]["was"] = ["message_of_old", "message_99"]
        if self.count > 2:
            made["message_alike"] = {"like": "message_0", "value": 3}
        how = _between(made, self.plain)
        used = {str(m["policy"]) for m in made.values() if "policy" in m}
        schema = {
            "defaults": {"language": self.chance.choice(("en", "en", "en", "es"))},
            "events": self.events,
            "features": self.features,
        }
        contact: dict[str, object] = {
            "purposes": purposes, "channels": self._channels(), "quiet_hours": self._hours(),
            "caps": self._caps(list(purposes)), "gaps": self._gaps(list(purposes)),
        }  # fmt: skip
        contact["suppress"] = self._suppressions(list(purposes))
        if not self.plain and self.chance.random() < 0.2:
            contact["caps"].append({"volume": 5, "per": ["message"], "in": "calendar day"})  # type: ignore[attr-defined]
        parts: dict[str, dict[str, object]] = {
            "schema.yaml": {**schema, "windows": self.windows, "facts": self.facts},
            "contact.yaml": contact,
            "messages.yaml": {"products": products, "messages": made},
            "policies.yaml": {"policies": {name: p for name, p in policies.items() if name in used}},
        }
        layers = _enrol(parts["policies.yaml"]["policies"], str(self.chance.random()))  # type: ignore[arg-type]
        if layers:
            parts["policies.yaml"]["layers"] = layers
        if self.chance.random() < 0.4:
            sums = ("payment.paid", "payment.amount", "deposit.count")
            parts["policies.yaml"]["kpis"] = {f"sum_{k}": of for k, of in enumerate(sums) if self.chance.random() < 0.7}
        parts["policies.yaml"] |= how
        if self.chance.random() < 0.5:
            share = self.chance.choice(("5%", "30%", "0", "0.999"))
            parts["policies.yaml"]["holdout"] = {"share": share, "salt": "salt"}
        written = {name: json.dumps(part, ensure_ascii=False, indent=1) for name, part in parts.items()}
        if self.chance.random() < 0.15:
            written = {
                name: _LONGER.sub(lambda found: f"{found[0]}{'_x' * 40}", text) for name, text in written.items()
            }
        return {name: text.encode() for name, text in written.items()} | self.tables

    # ---- what there is ------------------------------------------------------------------------------

    def _features(self) -> None:
        r, found = self.chance, self.features
        for name, default in (("language", "en"), ("timezone", "Europe/Madrid"), ("region", "north")):
            if name == "region" or r.random() < 0.9:
                found[name] = {"type": "text"}
                if r.random() < 0.6:
                    found[name]["default"] = default
        found["name"] = {"type": "text", "personal": True}
        for letter, kind in TYPE_OF.items():
            for k in range(2):
                feature: dict[str, object] = {"type": kind}
                if kind == "money":
                    feature["currency"] = "EUR"
                elif kind == "number" and r.random() < 0.5:
                    feature["unit"] = r.choice(("EUR", "kg"))
                if r.random() < 0.3:
                    feature["max_age"] = r.choice(("1 day", "36 hours", "90 days", "5 minutes"))
                if kind in ("number", "integer", "money") and r.random() < 0.4:
                    feature[r.choice(("above", "at_least"))] = r.choice((0, 0, -5, 2))
                    if r.random() < 0.5:
                        feature["at_most"] = r.choice((1000, 50))
                if r.random() < 0.3:
                    feature["default"] = self._default(kind)
                found[f"{letter}{k}"] = feature
        if not self.plain:
            found["l0"] = {"type": "texts"}  # declared is not read: only what reads a list is left

    def _default(self, kind: str) -> object:
        r = self.chance
        return {
            "number": r.choice((0.0, 12.5, 40)), "integer": r.choice((0, 3, 40)), "money": "12.50", "bool": True,
            "text": r.choice(WORDS[:5]), "time": "2026-01-02T03:04:05Z", "date": "2026-03-01", "duration": "90s",
        }[kind]  # fmt: skip

    def _windows(self) -> None:
        r = self.chance
        spans = ("20 minutes", "2 hours", "36 hours", "3 days", "30 days", "90 days", "12 months", "120 days")
        sums = ("deposit.amount", "payment.amount", "payment.paid", "deposit.count", "page_view.count")
        types = {"deposit.amount": "number", "payment.amount": "number", "payment.paid": "money"}
        lasts: tuple[tuple[str, str], ...] = (
            ("payment.occurred_at", "time"), ("deposit.amount", "number"), ("payment.paid", "money"),
            ("payment.at", "time"), ("payment.flag", "bool"), ("deposit.count", "integer"),
        )  # fmt: skip
        if "due" in self.events["payment"]:
            lasts = (*lasts, ("payment.due", "date"), ("payment.took", "duration"))
        extremes = lasts[:4] + lasts[5:]  # a flag has neither
        for k in range(r.randint(1, 7)):
            kind = r.choice(
                ("count", "count", "sum", "sum", "months_with", "last", "minimum", "maximum", "mean", "distinct",
                 "days_with", "months_with", "days_with")
            )  # fmt: skip
            window: dict[str, object] = {}
            typed = "integer"
            if kind == "last":
                of, typed = r.choice(lasts)
            else:
                window["over"] = r.choice((*spans, "calendar day", "calendar week", "calendar month"))
                if kind == "months_with":
                    window["over"] = r.choice(("12 months", "3 months"))
                elif kind == "days_with":
                    window["over"] = r.choice(
                        ("1 day", "7 days", "45 days", "120 days", "calendar week", "calendar month")
                    )
                of = r.choice(tuple(self.events))
                if kind in ("sum", "mean"):
                    of = r.choice(sums)
                    typed = types.get(of, "integer") if kind == "sum" else "number"
                elif kind in ("minimum", "maximum"):
                    of, typed = r.choice(extremes)
                elif kind == "distinct":
                    of = r.choice(("deposit.channel", "payment.category", "deposit.count", "payment.count"))
                if r.random() < 0.6:
                    window["since_start"] = "zero"
            window[kind] = of
            event = of.partition(".")[0]
            if r.random() < 0.4:
                window["where"] = self.says.where(event)
            if kind in ("months_with", "days_with") and r.random() < 0.6:
                window["having"] = self.says.having(event, self.plain)
            self.windows[f"w{k}"] = window
            self.kind_of[f"w{k}"] = typed

    def _facts(self) -> None:
        for k in range(self.chance.randint(0, 5)):
            kind = self.chance.choice(("bool", "number", "integer", "text", "money"))
            self.facts[f"f{k}"] = self.says.expression(kind, 2, ())
            self.fact_types[f"f{k}"] = kind
        if self.chance.random() < 0.6:
            self._table()

    def _table(self) -> None:
        r = self.chance
        hit = r.choice(("first", "priority", "collect"))
        rows = [
            "features.i0,features.region,features.b0,out: tier,out: weight number,note",
            'missing,-,-,"low",1.5,x',
            '>= 6,"north","true","high",7,',
            '[1..5],-,-,"middle",3.25,',
            '-,not("south"),false,"low",2,' if r.random() < 0.5 else '0,-,"missing | true","low",2,',
        ]
        if hit == "first":
            self.facts["table"] = {"table": "tables/t.csv", "hit": hit, "default": {"tier": "low", "weight": 0}}
        elif hit == "priority":
            order = {"tier": ["high", "middle", "low"]}
            self.facts["table"] = {
                "table": "tables/t.csv", "hit": hit, "priority": order, "default": {"tier": "low", "weight": 0},
            }  # fmt: skip
        else:
            rows = [row.rsplit(",", 1)[0] for row in rows]
            rows = [",".join((*row.split(",")[:-2], row.split(",")[-1])) for row in rows]
            self.facts["table"] = {"table": "tables/t.csv", "hit": hit, "collect": r.choice(("sum", "maximum"))}
        self.tables["tables/t.csv"] = ("\n".join(rows) + "\n").encode()
        self.fact_types["table.weight"] = "number"
        if hit != "collect":
            self.fact_types["table.tier"] = "text"

    # ---- what may be said ---------------------------------------------------------------------------

    def _product(self) -> dict[str, object]:
        r = self.chance
        words = {"en": "Not for you: {n}.".replace("{n}", str(r.randint(1, 9))), "es": "No es para ti."}
        eligible: dict[str, object] = {}
        for k in range(r.randint(1, 3)):
            condition: dict[str, object] = {"is": self.says.expression("bool", 1, ())}
            if r.random() < 0.7:
                condition["because"] = {name: text for name, text in words.items() if r.random() < 0.8} or words
            eligible[f"condition_{k}"] = condition
        product: dict[str, object] = {"eligible": eligible}
        if r.random() < 0.1:
            product["eligible"] = self.says.expression("bool", 1, ())
        if r.random() < 0.6:
            product["otherwise"] = words if r.random() < 0.5 else {"en": "Sorry."}
        return product

    def _message(
        self,
        purposes: dict[str, dict[str, object]],
        products: Mapping[str, object],
        policies: Mapping[str, object],
    ) -> dict[str, object]:
        r = self.chance
        on = r.sample(list(self.events), r.choice((1, 1, 2, 3))) if r.random() < 0.8 else None
        heard = on or list(self.events)
        anybody = [name for name, purpose in purposes.items() if on or purpose["consent"] != "required"]
        message: dict[str, object] = {"purpose": r.choice(anybody)}
        if on:
            message["on"] = on
        if products and r.random() < 0.4:
            message["product"] = r.choice(list(products))
        for key, words in (("topic", ("money", "saving", "sms")), ("stage", ("early", "late")), ("sender", ("Ana",))):
            if r.random() < 0.6:
                message[key] = r.choice(words)
        if r.random() < 0.5:
            message["when"] = self.says.expression("bool", r.choice((0, 1, 2)), heard)
        if r.random() < 0.25:
            message["unless"] = self.says.expression("bool", r.choice((0, 1)), heard)
        if r.random() < 0.8:
            message["value"] = (
                r.choice((1, 1, 1, 2, 2.5, 0, -3, 1e300))
                if r.random() < 0.6
                else self.says.expression(r.choice(("number", "number", "integer")), 1, heard)
            )
        channels: list[object] = []
        for name in r.sample(("push", "sms", "mail", "branch"), r.randint(1, 3)):
            channels.append({name: self.says.expression("bool", 0, heard)} if r.random() < 0.2 else name)
        message["channels"] = channels
        taken = [next(iter(c)) if isinstance(c, dict) else str(c) for c in channels]
        message["slots"] = {name: self._slot(heard) for name in "xyz"}
        policy = r.choice(list(policies)) if r.random() < 0.7 else None
        names = ["control", "a", "b"] if policy is not None else ["only", "other"][: r.choice((1, 1, 2))]
        if policy is None and r.random() < 0.05:
            names = [f"v{k}" for k in range(32 if self.plain else 33)]
        message["variants"] = {name: self._variant(taken) for name in names}
        if policy is not None:
            message["policy"] = policy
        if not self.plain and r.random() < 0.1:
            message["about"] = r.choice((self.says.read("text", heard), self.says.read("integer", heard)))
        return message

    def _slot(self, on: Sequence[str]) -> object:
        r = self.chance
        kind = r.choice([kind for kind in TYPE_OF.values() if kind != "bool"])
        shapes = {
            "number": ("integer", "number", "money", "days"), "integer": ("integer", "number", "money", "days"),
            "money": ("money",), "time": ("date",), "date": ("date",), "duration": ("days",), "text": ("text",),
        }[kind]  # fmt: skip
        value = self.says.expression(kind, r.choice((0, 0, 1)), on)
        if not self.plain and r.random() < 0.01:
            return 'features.region.split("o")'
        if self.lists and r.random() < 0.05:
            return "features.l0"
        return {"is": value, "as": r.choice(shapes)} if r.random() < 0.5 else value

    def _variant(self, channels: Sequence[str]) -> dict[str, object]:
        r = self.chance
        texts: dict[str, object] = {}
        for language in LANGUAGES:
            if language == "en" or r.random() < 0.3:
                text = r.choice(TEXTS) if r.random() < 0.7 else "Hello."
                if r.random() < 0.5:
                    texts[language] = text
                    continue
                written: dict[str, object] = {"text": text}
                for channel in channels:
                    if r.random() < 0.3:
                        written[channel] = r.choice(TEXTS)
                if r.random() < 0.5:
                    written["replies"] = ["Yes", "Ahora no"]
                texts[language] = written
        if len(texts) > 1 and r.random() < 0.1:
            del texts["en"]
        return texts

    def _policies(self) -> dict[str, dict[str, object]]:
        r = self.chance
        fixed: dict[str, object] = {"kind": "fixed", "if_unfit": r.choice(("leave_out", "drop"))}
        if r.random() < 0.7:
            fixed["weights"] = {"control": 1, "a": r.choice((0, 1, 2.5)), "b": r.choice((0, 3))}
        if r.random() < 0.6:
            fixed["sticky"] = "customer"
        even: dict[str, object] = {"kind": "fixed", "sticky": "customer", "if_unfit": "drop"}
        zero: dict[str, object] = {"kind": "fixed", "weights": {"control": 0, "a": 1, "b": 0}, "if_unfit": "drop"}
        learns: dict[str, object] = {
            "kind": "thompson", "reward": {"replied": 1.0, "converted": 5.0}, "attribution": "48 hours",
            "control": "control", "floor": r.choice(("2%", 0.05)),
        }  # fmt: skip
        by = ["features.region", *(["features.b0", "features.i1"] if r.random() < 0.5 else [])]
        segmented = {**learns, "by": by, "shrink": 20}
        policies = {"fixed": fixed, "even": even, "zero": zero, "learns": learns, "segmented": segmented}
        policies["linear"] = {**learns, **({"by": by} if r.random() < 0.3 else {}), **self._linear()}
        return policies | {"pooled": {**learns, "pool": True, **_how_it_learns(len(str(fixed)))}}

    def _linear(self) -> dict[str, object]:
        """Keys of a policy that looks at a context: whatever can be one."""
        r = self.chance
        kinds = [r.choice(("number", "number", "integer", "bool")) for _ in range(r.choice((0, 1, 2, 3, 6, 12)))]
        context = [self.says.expression(kind, r.choice((0, 0, 1)), ()) for kind in kinds]
        if r.random() < 0.3:
            context += r.sample(("0.5", "3", "true", "features.n0 / 0.0", "features.i0 > 2"), 2)
        context = context or ["0.5"]
        made: dict[str, object] = {"kind": r.choice(LINEAR), "context": context, "explore": r.choice((0, 0.3, 2))}
        if r.random() < 0.4:
            made["hybrid"] = True
        made["prior"] = {"rate": r.choice((0.05, 0.5)), "weight": r.choice((0.001, 2, 100))}
        return made | ({"values": {"a": r.choice((0.3, 7.5))}} if r.random() < 0.3 else {})

    # ---- how often, when, where ---------------------------------------------------------------------

    def _purposes(self) -> dict[str, dict[str, object]]:
        r = self.chance
        found: dict[str, dict[str, object]] = {}
        for name in ("marketing", "service", "news"):
            asks = name != "service" and r.random() < 0.5
            purpose: dict[str, object] = {"consent": "required" if asks else "not_required"}
            if r.random() < 0.5:
                purpose["quiet_hours"] = r.choice(("night", "noon", "named"))
            if name == "service" and r.random() < 0.7:
                purpose["tier"] = 1
            elif r.random() < 0.2:
                purpose["tier"] = 3
            if name != "service" and r.random() < 0.6:
                purpose["holdout"] = True
            found[name] = purpose
        return found

    def _channels(self) -> dict[str, object]:
        r = self.chance
        conditions = {"push": "features.b1", "sms": "has(features.name)", "mail": "features.i1 >= 2"}
        found: dict[str, object] = {name: {"when": c} if r.random() < 0.3 else {} for name, c in conditions.items()}
        return found | {"branch": {}}

    def _hours(self) -> dict[str, object]:
        r = self.chance
        ranges = {"night": ("20:00", "08:00"), "noon": ("12:00", "15:30"), "named": ("22:30", "06:00")}
        found: dict[str, dict[str, object]] = {
            name: {"from": begin, "to": end, "zone": r.choice(ZONES), "then": r.choice(("defer", "defer", "drop"))}
            for name, (begin, end) in ranges.items()
        }
        for hours in found.values():
            if not self.plain and hours["zone"] == "customer" and r.random() < 0.5:
                hours["if_zone_unknown"] = ["Europe/Madrid", "America/New_York"]
        return dict(found)

    def _per(self) -> list[str]:
        keys = ["channel", "topic", "message", "product", "stage", "purpose"] + ([] if self.plain else ["about"])
        return ["customer", *self.chance.sample(keys, self.chance.choice((0, 0, 1, 1, 2, 3)))]

    def _caps(self, purposes: list[str]) -> list[object]:
        r = self.chance
        found: list[object] = []
        for k in range(r.choice((0, 1, 2, 4))):
            cap: dict[str, object] = {
                "at_most": r.choice((0, 1, 2, 3, 5, 20)), "per": self._per(),
                "in": r.choice(("7 days", "36 hours", "30 minutes", "calendar day", "calendar week", "calendar month")),
            }  # fmt: skip
            if r.random() < 0.5:
                cap["purposes"] = r.sample(purposes, r.choice((1, 2)))
            if r.random() < 0.5:
                cap["name"] = f"cap {k}"
            found.append(cap)
        return found

    def _suppressions(self, purposes: list[str]) -> list[object]:
        r = self.chance
        found: list[object] = []
        for k in range(r.choice((0, 1, 2))):
            after = r.choice(("converted", "declined", "ignored"))
            keys = ("topic", "message", "product", "stage", "purpose")
            rule: dict[str, object] = {
                "after": after, "per": ["customer", *r.sample(keys, r.choice((0, 1, 1, 2)))],
                "for": r.choice(("2 days", "30 days", "12 hours")), "name": f"left alone {k}",
            }  # fmt: skip
            if after == "ignored":
                rule |= {"times": r.choice((1, 2, 3)), "in": r.choice(("7 days", "60 days"))}
            if r.random() < 0.3:
                rule["purposes"] = r.sample(purposes, 2)
            found.append(rule)
        return found

    def _gaps(self, purposes: list[str]) -> list[object]:
        r = self.chance
        found: list[object] = []
        for k in range(r.choice((0, 0, 1, 2))):
            gap: dict[str, object] = {"at_least": r.choice(("4 hours", "10 minutes", "2 days")), "per": self._per()}
            if r.random() < 0.5:
                gap["purposes"] = r.sample(purposes, r.choice((1, 2)))
            if r.random() < 0.5:
                gap["name"] = f"gap {k}"
            found.append(gap)
        return found
