"""What the columns of a file are: features of the rule set that the server serves, the customer's id, consent.

customer_id, customerId, id                    the customer; `--customer COLUMN` names another
NAME                                           the feature of that name; `--map COLUMN=NAME` names another
consent.PURPOSE                                yes or no
consent.PURPOSE.changed_at, .source, .wording  of that consent
blocked_topics, blocked_channels               texts: a|b, or a list
preferred_from, preferred_to                   a time of day, such as 08:00
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ruamel.yaml import YAML

from engine.cli.client import Client
from engine.cli.output import USAGE, CommandError
from engine.compiler.model import LEARNING
from engine.compiler.nodes import Type
from engine.compiler.source import did_you_mean
from engine.pb.tact.v1 import rules_pb2

CUSTOMER = ("customer_id", "customerId", "id")
CONTACT = {
    "blocked_topics": Type.TEXTS, "blocked_channels": Type.TEXTS, "preferred_from": Type.TEXT,
    "preferred_to": Type.TEXT,
}  # fmt: skip
_OTHERS = {";": "';'", "|": "'|'", "\t": "$'\\t'"}  # delimiters, as a shell has them
OF_CONSENT = {"changed_at": Type.TIME, "source": Type.TEXT, "wording": Type.TEXT}


class Part(Enum):
    """Where a column's values go."""

    CUSTOMER = 1
    FEATURE = 2
    CONTACT = 3


@dataclass(frozen=True, slots=True)
class Column:
    """One column: `target` is a feature, or what of the contact preferences; `unit` of money its currency."""

    name: str
    part: Part
    target: str
    type: Type
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Schema:
    """What a rule set declares that a profile may hold: type and currency of each feature, and the purposes."""

    features: Mapping[str, tuple[Type, str]]
    purposes: frozenset[str]


def served_schema(client: Client) -> Schema:
    """That of the active rule set. Its files were checked when they were deployed."""
    answer = client.call(client.rules.GetRevision, rules_pb2.GetRevisionRequest())
    features: dict[str, tuple[Type, str]] = {}
    purposes: set[str] = set()
    for file in answer.files:
        if not file.path.endswith((".yaml", ".yml")) or not (
            b"features" in file.content or b"purposes" in file.content
        ):
            continue
        read: Any = YAML(typ="safe", pure=True).load(file.content)
        if not isinstance(read, dict):
            continue
        for name, spec in (read.get("features") or {}).items():
            spec = {"type": spec} if isinstance(spec, str) else spec
            features[str(name)] = Type(spec["type"]), str(spec.get("currency", ""))
        purposes |= set(map(str, read.get("purposes") or {}))
    return Schema(features, frozenset(purposes | {LEARNING}))


class Columns:
    """The columns of one file, in its order; None for those that are left out. Raises CommandError."""

    def __init__(
        self, names: Sequence[str], schema: Schema, customer: str = "", mapped: Mapping[str, str] | None = None
    ) -> None:
        self.names = list(names)
        self.schema = schema
        mapped = mapped or {}
        self._customer = customer or next((name for name in CUSTOMER if name in names), "")
        for name in (*mapped, *([customer] if customer else ())):
            if name not in names:
                hint = did_you_mean(name, names) or _delimiter(names)
                raise CommandError(f"the file has no column '{name}'{f'; {hint}' if hint else ''}", USAGE)
        if not self._customer:
            raise CommandError(
                f"no column is the customer's id: expected one of {', '.join(CUSTOMER)}, or --customer COLUMN. "
                f"The file has {', '.join(names[:12])}{', ..' if len(names) > 12 else ''}"
                + (f"; {hint}" if (hint := _delimiter(names)) else ""),
                USAGE,
            )
        self.columns = [self._column(name, mapped.get(name, name)) for name in names]
        twice = _repeated(c.target for c in self.columns if c is not None)
        if twice:
            raise CommandError(f"two columns are '{twice}': leave one out with --map COLUMN=", USAGE)
        self.used = [c for c in self.columns if c is not None]
        self.of_name = {c.name: c for c in self.used}
        self.customer = next(c for c in self.used if c.part is Part.CUSTOMER)

    def _column(self, name: str, target: str) -> Column | None:
        if name == self._customer:
            return Column(name, Part.CUSTOMER, "", Type.TEXT)
        if not target:
            return None
        if target in self.schema.features:
            return Column(name, Part.FEATURE, target, *self.schema.features[target])
        if target in CONTACT:
            return Column(name, Part.CONTACT, target, CONTACT[target])
        word, _, rest = target.partition(".")
        purpose, _, of = rest.partition(".")
        if word == "consent" and purpose in self.schema.purposes and (not of or of in OF_CONSENT):
            return Column(name, Part.CONTACT, target, OF_CONSENT.get(of, Type.BOOL))
        if word == "consent" and purpose:
            known = [f"consent.{p}" for p in sorted(self.schema.purposes)]
            expected = f"expected {', '.join(known)}, with .changed_at, .source or .wording"
            raise CommandError(f"column '{name}': '{target}' is no consent of the rule set; {expected}", USAGE)
        hint = did_you_mean(target, (*self.schema.features, *CONTACT))
        raise CommandError(
            f"column '{name}': no feature of the rule set is called '{target}'{f'; {hint}' if hint else ''}. "
            f"Name it with --map {name}=FEATURE, or leave it out with --map {name}=",
            USAGE,
        )


def _delimiter(names: Sequence[str]) -> str:
    """A hint where the header is one cell, which another delimiter would take apart."""
    found = next((option for mark, option in _OTHERS.items() if len(names) == 1 and mark in names[0]), "")
    return f"did you mean --delimiter {found}?" if found else ""


def _repeated(targets: Iterable[str]) -> str:
    seen: set[str] = set()
    for target in targets:
        if target in seen:
            return target
        seen.add(target)
    return ""


def mapping_of(options: Iterable[str]) -> dict[str, str]:
    """`--map COLUMN=NAME`. Raises CommandError."""
    found = {}
    for option in options:
        column, equals, name = option.partition("=")
        if not equals or not column:
            raise CommandError(f"--map: found '{option}', expected COLUMN=FEATURE, or COLUMN= to leave it out", USAGE)
        found[column] = name
    return found
