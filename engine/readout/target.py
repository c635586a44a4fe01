"""The policy to be judged: a file in the words of rule sets, and the shares it gives in each logged decision.

    policies:
      opening_words:
        kind: fixed
        weights: {control: 1, success: 3}
        floor: 0.02                                 # as a server would apply it
        reward: {converted: 1, replied: 0.2}        # what the decision earned; a Tact log only
        cases:                                      # the first whose conditions all hold; else `weights`
          - {where: {features.region: [north, east], features.age: {at_least: 30, below: 60}}, weights: {success: 1}}

Whatever else rule sets say is refused: caps, tiers, eligibility and values decide who is in the log at all, and what is
left of tomorrow's caps. Only a trial between customers can judge them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.compiler import document
from engine.compiler.reading import Fields, Reading
from engine.compiler.sections_policies import FLOOR, REWARDS
from engine.compiler.source import sort_findings
from engine.compiler.tree import MapNode, Node, Scalar
from engine.errors import RulesInvalid
from engine.learning.shares import floored
from engine.readout.log import F64, Flags

_ELSE = (
    "caps", "gaps", "quiet_hours", "purposes", "channels", "products", "messages", "holdout", "events", "features",
    "windows", "facts", "arbitration",
)  # fmt: skip
_KEYS = ("kind", "weights", "floor", "reward", "cases")
_SELECTS = ("sticky", "if_unfit", "by", "pool", "attribution", "control")
SERVED_FLOOR = FLOOR  # what a server adds to a fixed policy
_WHY = (
    "the log holds the decisions of other customers and other caps than there would be then; only a trial between "
    "customers can judge it"
)


@dataclass(frozen=True, slots=True)
class Condition:
    """What one value must be: one of `texts`, or a number from `at_least` to below `below`."""

    path: str
    texts: frozenset[str] | None
    at_least: float
    below: float

    def holds(self, values: Sequence[object]) -> Flags:
        """For which of a column's values; a missing one never does."""
        if self.texts is not None:
            return np.array([v is not None and written(v) in self.texts for v in values], np.bool_)
        numbers = np.array([_number(v) for v in values])
        return (numbers >= self.at_least) & (numbers < self.below)


@dataclass(frozen=True, slots=True)
class Case:
    """Weights for the decisions in which all conditions hold."""

    where: tuple[Condition, ...]
    weights: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Target:
    """A checked policy to judge. `floor` None: not written."""

    name: str
    weights: Mapping[str, float]
    floor: float | None
    reward: Mapping[str, float]
    cases: tuple[Case, ...]

    @property
    def paths(self) -> list[str]:
        """The values that its cases ask for."""
        return list(dict.fromkeys(c.path for case in self.cases for c in case.where))

    def probabilities(
        self, variants: Sequence[str], possible: F64, column: Callable[[str], Sequence[object]], floor: float
    ) -> F64:
        """Shares (n, k) over the variants that were left in each decision; a row without any weight left is zero."""
        rules = [(c.weights, c.where) for c in self.cases] + [(self.weights, ())]
        n = len(possible)
        chosen = np.full(n, len(rules) - 1)
        for k in range(len(rules) - 2, -1, -1):
            fits = np.ones(n, np.bool_)
            for condition in rules[k][1]:
                fits &= condition.holds(column(condition.path))
            chosen[fits] = k
        shares = np.zeros((n, len(variants)))
        floor = self.floor if self.floor is not None else floor
        for k, (weights, _) in enumerate(rules):
            rows = np.flatnonzero(chosen == k)
            if not len(rows):
                continue
            wanted = np.array([weights.get(v, 0.0) for v in variants])
            masks, which = np.unique(possible[rows] > 0.0, axis=0, return_inverse=True)
            table = np.array([floored((wanted * mask).tolist(), floor) for mask in masks])
            shares[rows] = table[which.reshape(-1)]
        return shares


def read_target(path: Path, policies: Sequence[str], variants: Sequence[str]) -> Target:
    """The policy in a file. `policies` and `variants` are those of the log; no policies: any name will do.

    Raises RulesInvalid with all findings, OSError.
    """
    with path.open("rb") as stream:
        content = stream.read(document.FILE_BYTES_MAX + 1)
    read = document.read(str(path), content)
    reading = Reading()
    reading.findings = list(read.findings)
    target = _Reader(reading, policies, variants).target(read.root) if read.root is not None else None
    if target is None or reading.findings:
        raise RulesInvalid(sort_findings(reading.findings))
    return target


def written(value: object) -> str:
    """A value as a text in a policy file says it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _number(value: object) -> float:
    """NaN where the value is none."""
    if isinstance(value, bool) or value is None:
        return math.nan
    try:
        return float(str(value))
    except ValueError:
        return math.nan


class _Reader:
    def __init__(self, reading: Reading, policies: Sequence[str], variants: Sequence[str]) -> None:
        self._reading = reading
        self._policies = policies
        self._variants = variants

    def target(self, root: MapNode) -> Target | None:
        for name, (key, _) in root.entries.items():
            if name in _ELSE:
                self._refuse(key, f"'{name}' cannot be judged from a log")
        if self._reading.findings:
            return None
        top = self._reading.fields(root, "the file", ("policies",), ("policies",))
        section = self._reading.map(top["policies"][1], "'policies'") if top and "policies" in top else None
        if section is None:
            return None
        if len(section.entries) != 1:
            told = "one policy is judged at a time"
            self._reading.add("bad-value", section, told, found=f"{len(section.entries)}", expected="one policy")
            return None
        [(name, (key, node))] = section.entries.items()
        if self._policies and name not in self._policies:
            self._reading.unknown("unknown-policy", key, f"the log has no policy '{name[:40]}'", self._policies)
            return None
        return self._policy(name, node)

    def _policy(self, name: str, node: Node) -> Target | None:
        mapping = self._reading.map(node, f"the policy '{name}'")
        for key, (scalar, _) in (mapping.entries if mapping else {}).items():
            if key in _SELECTS:
                self._refuse(scalar, f"'{key}' cannot be judged from a log")
                return None
        fields = self._reading.fields(node, f"the policy '{name}'", _KEYS, ("kind", "weights"))
        if fields is None or "kind" not in fields:
            return None
        kind = self._reading.scalar(fields["kind"][1], "'kind'")
        if kind is not None and kind.value != "fixed":
            told = f"a policy of kind '{kind.value[:40]}' cannot be judged from a log"
            hint = "it would have learnt other things; judge the shares it would end with, as `kind: fixed`"
            self._reading.add("not-evaluable", kind, told, expected="`kind: fixed`", hint=hint)
        floor = self._reading.share(fields["floor"][1], "'floor'") if "floor" in fields else None
        reward = self._numbers(fields, "reward", REWARDS, "unknown-outcome", "no outcome is called")
        weights = self._weights(fields)
        cases = [self._case(n) for n in self._reading.list(fields["cases"][1], "'cases'")] if "cases" in fields else []
        return Target(name, weights, floor, reward, tuple(c for c in cases if c is not None))

    def _case(self, node: Node) -> Case | None:
        fields = self._reading.fields(node, "a case", ("where", "weights"), ("where", "weights"))
        if fields is None or len(fields) < 2:
            return None
        where = self._reading.map(fields["where"][1], "'where'")
        if where is None:
            return None
        conditions = [self._condition(path, value) for path, (_, value) in where.entries.items()]
        return Case(tuple(c for c in conditions if c is not None), self._weights(fields))

    def _condition(self, path: str, node: Node) -> Condition | None:
        if isinstance(node, MapNode):
            fields = self._reading.fields(node, f"the bounds of '{path}'", ("at_least", "below"))
            if fields is None:
                return None
            bounds = {k: self._reading.number(v, f"'{k}'") for k, (_, v) in fields.items()}
            low, high = bounds.get("at_least"), bounds.get("below")
            return Condition(path, None, -np.inf if low is None else low, np.inf if high is None else high)
        items = [node] if isinstance(node, Scalar) else self._reading.list(node, f"'{path}'")
        scalars = [self._reading.scalar(item, f"'{path}'") for item in items]
        return Condition(path, frozenset(s.value for s in scalars if s is not None), 0.0, 0.0)

    def _weights(self, fields: Fields) -> dict[str, float]:
        weights = self._numbers(fields, "weights", self._variants, "unknown-variant", "the log has no variant")
        if "weights" in fields and weights and not any(weights.values()):
            self._reading.add("bad-value", fields["weights"][1], "all weights are zero", expected="one above zero")
        return weights

    def _numbers(self, fields: Fields, name: str, known: Sequence[str], code: str, told: str) -> dict[str, float]:
        found: dict[str, float] = {}
        mapping = self._reading.map(fields[name][1], f"'{name}'") if name in fields else None
        for entry, (key, node) in (mapping.entries if mapping else {}).items():
            if entry not in known:
                self._reading.unknown(code, key, f"{told} '{entry[:40]}'", known)
                continue
            value = self._reading.number(node, f"'{entry}'", 0.0 if name == "weights" else None)
            if value is not None:
                found[entry] = value
        return found

    def _refuse(self, key: Scalar, message: str) -> None:
        self._reading.add("not-evaluable", key, message, expected="`policies` with one fixed policy", hint=_WHY)
