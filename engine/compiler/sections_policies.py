"""How a variant is chosen, and who is held out."""

from __future__ import annotations

from collections.abc import Mapping

from engine.compiler.model import Expression, Holdout, Message, Policy, Slice
from engine.compiler.nodes import Type
from engine.compiler.reading import Fields, Reading
from engine.compiler.scopes import Expressions, On, canonical
from engine.compiler.sections_learning import LEARNS, LINEAR, ONLY, read_context, read_learning
from engine.compiler.sections_schema import Section
from engine.compiler.sections_trials import LEAVE_OUT, TRIAL_KEYS, read_enrolment, read_fixed_slice
from engine.compiler.source import closest
from engine.compiler.tree import MapNode, Node, Scalar
from engine.identity import name_hash

REWARDS = ("delivered", "opened", "clicked", "replied", "converted", "opted_out", "declined", "complained")
_KEYS = (
    "kind", "reward", "attribution", "floor", "control", "by", "weights", "sticky", "pool", "if_unfit",
    "report_by", "model", "epsilon", "temperature", "prior", "shrink", "forget", "values",
    "context", "explore", "hybrid", *TRIAL_KEYS,
)  # fmt: skip
_KINDS = ("fixed", *LEARNS)
ATTRIBUTION_S = 48 * 3600
FLOOR = 0.02


def read_policies(
    reading: Reading,
    section: Section,
    expressions: Expressions,
    served: Mapping[str, On],
    users: Mapping[str, list[Message]],
    slices: Mapping[str, Slice],
    zone: str,
) -> dict[str, Policy]:
    """Policies. `served`: event types of the messages that use one; `users`: these messages, if readable.

    `slices`: of layers, by policy; `zone`: whose days dates are.
    """
    policies: dict[str, Policy] = {}
    for name, (key, node) in section.items():
        if reading.named(key, "a policy"):
            policy = _policy(reading, key, node, expressions, served.get(name), slices.get(name), zone)
            if policy is not None:
                policies[name] = policy
                _check_variants(reading, policy, node, users.get(name, []))
    return policies


def _policy(
    reading: Reading, key: Scalar, node: Node, expressions: Expressions, on: On, part: Slice | None, zone: str
) -> Policy | None:
    what = f"the policy '{key.value}'"
    fields = reading.fields(node, what, _KEYS, ("kind",))
    if fields is None or "kind" not in fields:
        return None
    scalar = reading.scalar(fields["kind"][1], "'kind'")
    if scalar is None:
        return None
    kind = scalar.value
    if kind not in _KINDS:
        reading.unknown("bad-value", scalar, f"no kind of policy is called '{kind[:40]}'", _KINDS)
        return None
    for name, only in ONLY.items():
        if name in fields and kind not in only:
            reading.add("unknown-key", fields[name][0], f"'{name}' is for policies of kind {' or '.join(only)}")
            return None
    before = len(reading.findings)
    reward = _numbers(reading, fields, "reward", REWARDS)
    if kind != "fixed" and not reward and len(reading.findings) == before:
        expected = "`reward: {replied: 1.0}`"
        reading.add("missing-key", fields["kind"][0], f"{what} learns from rewards and has none", expected=expected)
    if kind in LINEAR and "context" not in fields:
        expected = "`context: [features.age / 50.0]`"
        reading.add("missing-key", fields["kind"][0], f"{what} looks at a context and has none", expected=expected)
    context = read_context(reading, fields, expressions, on)
    attribution = reading.period(fields["attribution"][1], "'attribution'") if "attribution" in fields else None
    floor = reading.share(fields["floor"][1], "'floor'") if "floor" in fields else None
    control = reading.name(fields["control"][1], "'control'") if "control" in fields else None
    weights = _numbers(reading, fields, "weights", None)
    if weights and not any(weights.values()):
        reading.add("bad-value", fields["weights"][1], "all weights are zero", expected="one above zero")
    sticky = "sticky" in fields and reading.choice(fields["sticky"][1], "'sticky'", ("customer",)) is not None
    pool = reading.flag(fields["pool"][1], "'pool'") if "pool" in fields else None
    if_unfit = (
        reading.choice(fields["if_unfit"][1], "'if_unfit'", ("leave_out", "drop")) if "if_unfit" in fields else None
    )
    by, report_by = (_segments(reading, fields, name, expressions, on) for name in ("by", "report_by"))
    return Policy(
        key.value,
        kind,
        reward,
        attribution.span_s if attribution else ATTRIBUTION_S,
        FLOOR if floor is None else floor,
        control,
        by,
        weights,
        sticky,
        bool(pool),
        if_unfit or ("leave_out" if kind == "fixed" else "drop"),
        key.position,
        read_learning(reading, fields),
        context,
        name_hash("context:" + "\n".join(canonical(e.node) for e in context)) if context else 0,
        read_enrolment(reading, fields, what, part, zone),
        read_fixed_slice(reading, fields, key.value, kind),
        report_by,
    )


def _numbers(reading: Reading, fields: Fields, name: str, known: tuple[str, ...] | None) -> dict[str, float]:
    """A map from names to numbers; weights (with no closed list of names) are not negative."""
    result: dict[str, float] = {}
    mapping = reading.map(fields[name][1], f"'{name}'") if name in fields else None
    for entry, (key, node) in (mapping.entries if mapping else {}).items():
        if known is not None and entry not in known:
            reading.unknown("unknown-outcome", key, f"no outcome is called '{entry[:40]}'", known)
            continue
        value = reading.number(node, f"'{entry}'", minimum=None if known is not None else 0.0)
        if value is not None:
            result[entry] = value
    return result


_SEGMENT_TYPES = {
    "by": ((Type.TEXT, Type.BOOL, Type.INTEGER), "text, bool or integer: each value learns on its own"),
    "report_by": ((Type.TEXT, Type.BOOL, Type.INTEGER, Type.NUMBER), "text, bool, integer or number"),
}


def _segments(reading: Reading, fields: Fields, name: str, expressions: Expressions, on: On) -> tuple[Expression, ...]:
    """What customers are split by: for the state (`by`) or in the readout (`report_by`)."""
    types, expected = _SEGMENT_TYPES[name]
    found: list[Expression] = []
    for node in reading.list(fields[name][1], f"'{name}'") if name in fields else ():
        scalar = reading.scalar(node, f"an entry of '{name}'")
        expression = expressions.expression(scalar, on, None) if scalar is not None else None
        if expression is not None and expression.node.type not in types:
            reading.add("wrong-type", node, f"'{name}' cannot be a {expression.node.type}", expected=expected)
        elif expression is not None:
            found.append(expression)
    return tuple(found)


def _check_variants(reading: Reading, policy: Policy, node: Node, messages: list[Message]) -> None:
    """Control, fallbacks and weights must name variants of the messages that use the policy."""
    if not isinstance(node, MapNode) or not messages:
        return
    for word in ("control", "outside", "then"):
        named_one = node.get(word)
        if not isinstance(named_one, Scalar) or (word != "control" and named_one.value == LEAVE_OUT):
            continue
        for message in messages:
            if named_one.value and named_one.value not in message.variants:
                text = f"the message '{message.name}' has no variant '{named_one.value}'"
                reading.unknown("unknown-variant", named_one, text, message.variants)
    variants = {v: None for m in messages for v in m.variants}
    beside = node.get("trial")
    beside_weights = beside.get("weights") if isinstance(beside, MapNode) else None
    for named in (node.get("weights"), node.get("values"), beside_weights):
        for name, (key, _) in (named.entries if isinstance(named, MapNode) else {}).items():
            if name not in variants:
                text = f"no message of this policy has a variant '{name[:40]}'"
                reading.unknown("unknown-variant", key, text, variants)
    for weights in (node.get("weights"), beside_weights):
        if not isinstance(weights, MapNode) or not weights.entries:
            continue
        meant = {closest(name, variants) for name in weights.entries if name not in variants}
        for message in messages:
            for name in message.variants:
                if name not in weights.entries and name not in meant:
                    text = f"no weight for the variant '{name}' of the message '{message.name}'"
                    hint = f"add `{name}: 1`, or `{name}: 0` to leave it out"
                    reading.add("missing-weight", weights, text, hint=hint)


def read_holdout(reading: Reading, node: Node) -> Holdout | None:
    """`{share: 5%, salt: "2026-H2"}`."""
    fields = reading.fields(node, "holdout", ("share", "salt"), ("share", "salt"))
    if fields is None or len(fields) < 2:
        return None
    share, salt = reading.share(fields["share"][1], "'share'"), reading.text(fields["salt"][1], "'salt'")
    return None if share is None or salt is None else Holdout(share, salt, node.position)
