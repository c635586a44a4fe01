"""Random expressions of the rules' language over the schema of a random rule set."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

TYPE_OF = {
    "n": "number", "i": "integer", "m": "money", "b": "bool", "s": "text", "t": "time", "d": "date", "u": "duration",
}  # fmt: skip
Declared = Mapping[str, Mapping[str, object]]


class Expressions:
    """Draws them. `windows` and `facts` (types by name) may grow while it is used."""

    def __init__(
        self,
        chance: random.Random,
        events: Declared,
        features: Declared,
        windows: Mapping[str, str],
        facts: Mapping[str, str],
    ) -> None:
        self.chance = chance
        self.events, self.features = events, features
        self.windows, self.facts = windows, facts

    def where(self, event: str) -> str:
        """A condition on an event, for a window."""
        choices = ['event.type != "x"', 'event.occurred_at.getHours() < 15 || event.type == "y"']
        if event in ("deposit", "payment"):
            choices += ["event.amount > 20", "event.amount * 2.0 < 90.0 || event.count == 3"]
        if event == "payment":
            choices += ["event.paid > 10.5", 'event.category == "north" && event.flag', "event.flag", "event.at < now"]
        if event == "deposit":
            choices += ['event.channel.startsWith("n")', 'event.channel in ["a", "12"]', "has(event.count)"]
        if event == "page_view":
            choices += ["event.count % 2 == 0"]
        return self.chance.choice([c for c in choices if "now" not in c])

    def having(self, event: str, plain: bool) -> str:
        """A condition on a month's or a day's events; a plain one is known to kernels."""
        choices = ["count() >= 2", "!(count() == 1)", "maximum(event.occurred_at) > timestamp('2026-09-01T00:00:00Z')"]
        if event in ("deposit", "payment"):
            choices += ["sum(event.amount) > 20", "mean(event.amount) < 40.0 || maximum(event.count) > 3"]
            choices += ["minimum(event.amount) != 3.0 && (sum(event.count) <= 6 || count() < 3)"]
        if event == "payment":
            choices += ["sum(event.paid) > 10.5", "mean(event.paid) >= 12.5 && minimum(event.paid) > 0"]
        if event in ("deposit", "page_view") and not plain:
            choices += ["sum(event.count) % 2 == 0", "count() > sum(event.count)"]
        return self.chance.choice(choices)

    def _attributes(self, on: Sequence[str]) -> dict[str, str]:
        """Attributes that all these event types have; of none at all: none."""
        if not on:
            return {}
        found = [
            {a: str(d["type"] if isinstance(d, dict) else d) for a, d in self.events[e].items()
             if not (isinstance(d, dict) and d.get("personal"))}
            for e in on
        ]  # fmt: skip
        return {name: kind for name, kind in found[0].items() if all(f.get(name) == kind for f in found)}

    def read(self, kind: str, on: Sequence[str]) -> str:
        """An input of a type."""
        r = self.chance
        paths = [f"features.{name}" for name, f in self.features.items() if f["type"] == kind and "personal" not in f]
        paths += [f"windows.{name}" for name, typed in self.windows.items() if typed == kind]
        paths += 2 * [f"event.{name}" for name, typed in self._attributes(on).items() if typed == kind]
        paths += [f"facts.{name}" for name, typed in self.facts.items() if typed == kind]
        if kind == "time":
            paths += ["now", "event.occurred_at"]
        if kind == "text":
            paths += ["event.type"]
        return r.choice(paths)

    def expression(self, kind: str, depth: int, on: Sequence[str]) -> str:
        """An expression in CEL."""
        r = self.chance
        read = self.read(kind, on)
        if depth <= 0 and kind != "bool":
            return read
        low = depth - 1
        if kind == "bool":
            return self._condition(depth, on)
        if kind == "number":
            n, m = self.expression("number", low, on), self.expression("number", low, on)
            i = self.read("integer", on)
            return r.choice((
                read, f"({n} + {m})", f"({n} * 1.5)", f"({n} - {m})", f"ratio({n}, {m})", f"({n} / {m})",
                f"double({i})", f"ratio(double({i}), 3.0)", f"({self._condition(low, on)} ? {n} : {m})",
                f"(has({self._given('number')}) ? {n} : 2.5)", f"double({self.read('money', on)})",
            ))  # fmt: skip
        if kind == "integer":
            n, t = self.expression("integer", low, on), self.read("time", on)
            return r.choice((
                read, f"({n} + 1)", f"({n} * 2)", f"({n} % 3)", f"days_since({t})",
                f"days_until({self.read('date', on)})",
                f"size({self.read('text', on)})", f"int({self.read('number', on)})", f"{t}.getHours()",
                f"{t}.getDayOfWeek(\"Europe/Lisbon\")", f"({self._condition(low, on)} ? {n} : 7)",
            ))  # fmt: skip
        if kind == "money":
            n = self.expression("money", low, on)
            return r.choice((read, read, f"({n} + {read})", f"({n} * 2)", f"({n} - {read})"))
        if kind == "text":
            s = self.expression("text", low, on)
            return r.choice((
                read, f'({s} + "-x")', f"{s}.upperAscii()", f"string({self.read('integer', on)})",
                f'({self._condition(low, on)} ? {s} : "none")', f"{s}.substring(1)", f'{s}.replace("o", "0")',
            ))  # fmt: skip
        if kind == "time":
            return r.choice(
                (read, f"({read} - days(2))", f"({read} + months(1))", f"({read} + {self.read('duration', on)})")
            )
        if kind == "date":
            return r.choice((read, f"date({self.read('time', on)})", f"({read} + days(3))", f"({read} - months(1))"))
        return r.choice((read, f"({read} + {read})", f"({self.read('time', on)} - {self.read('time', on)})"))

    def _given(self, kind: str) -> str:
        return f"features.{self.chance.choice([n for n, f in self.features.items() if f['type'] == kind])}"

    def _condition(self, depth: int, on: Sequence[str]) -> str:
        r = self.chance
        if depth > 0 and r.random() < 0.5:
            one, other = self._condition(depth - 1, on), self._condition(depth - 1, on)
            return r.choice((f"({one} && {other})", f"({one} || {other})", f"!({one})", f"({one} ? {other} : true)"))
        kind = r.choice(
            (
                "bool",
                "number",
                "number",
                "integer",
                "integer",
                "money",
                "text",
                "text",
                "time",
                "date",
                "duration",
                "has",
            )
        )
        if kind == "has":
            return f"has({self._given(r.choice(tuple(TYPE_OF.values())))})"
        if kind == "bool":
            return self.read("bool", on)
        value = self.expression(kind, min(depth, 1), on)
        over = r.choice((">", ">=", "<", "<=", "!="))
        if kind == "text":
            return r.choice((
                f'{value} == "north"', f'{value} in ["north", "12", "page_view"]', f'{value} != "south"',
                f'{value}.startsWith("n")', f"{value} < {self.read('text', on)}", f'{value}.matches("^[a-n]")',
            ))  # fmt: skip
        literal = {
            "number": r.choice(("5.0", "30", "0.5")), "integer": r.choice(("0", "3", "20")),
            "money": r.choice(("12.50", "40")), "time": "now", "date": 'date("2026-09-15")',
            "duration": 'duration("1h")',
        }[kind]  # fmt: skip
        if literal == "now" and "now" in value:
            literal = 'timestamp("2026-09-20T00:00:00Z")'
        return f"{value} {over} {literal}"
