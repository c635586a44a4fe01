"""A compiled message with everything the step needs at hand: hashes, limits, roots, what it reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.compiler.frozen import frozen
from engine.compiler.model import Condition, Expression, Message, Policy, Purpose, QuietHours, RuleSet
from engine.compiler.nodes import Const, Fact, Node, Op, Ref, Type
from engine.compiler.program import Program
from engine.compiler.reference import inputs_of
from engine.compiler.written import is_currency
from engine.contact.caps import KEPT_MS_MIN, Limits, limits_of
from engine.contact.suppression import Suppressions, suppressions_of
from engine.contact.volume import VolumePlan, volumes_of
from engine.identity import name_hash
from engine.windows import WindowPlan, plan_window


def optional_hash(name: str | None) -> int:
    """Hash of a name, 0 for none."""
    return name_hash(name) if name else 0


@frozen
class SlotPlan:
    """A slot's root in the rules plan, the type of its value, and how it is written."""

    root: int
    type: Type
    shape: str
    currency: str | None


@frozen
class ChannelPlan:
    """A channel a message may take; every root must be true."""

    name: str
    key: int
    conditions: tuple[tuple[int, Expression], ...]


@frozen
class MessageStep:
    """One message, ready for the step. `reads` are the non-personal inputs of its conditions: type and unit."""

    index: int
    message: Message
    purpose: Purpose
    quiet_hours: QuietHours | None
    policy: Policy | None
    limits: Limits
    suppressions: Suppressions
    volumes: tuple[VolumePlan, ...]
    keys: frozenset[int]  # hashes of its present and former names
    key: int
    topic: int
    former_topics: frozenset[int]
    product: int
    stage: int
    value: int  # root
    constant: float | None  # where the value is one
    about: int | None  # root
    by: tuple[int, ...]  # roots
    context: tuple[int, ...]  # roots
    report_by: tuple[tuple[str, int], ...]  # as written, and root
    eligible: tuple[Condition, ...]
    otherwise: Mapping[str, str]
    channels: tuple[ChannelPlan, ...]
    slots: Mapping[str, SlotPlan]
    variant_keys: Mapping[str, int]
    reads: Mapping[str, tuple[Type, str | None]]


@frozen
class KpiPlan:
    """What an event adds to a KPI: the root of its value, and its type."""

    name: str
    root: int
    type: Type


@dataclass(frozen=True, slots=True)
class StepPlan:
    """A rule set, ready for the step.

    `windows` are what rules read, by name; `stored` what is kept for them, by key; `windows_of` what an event of
    a type is added to, with the roots of its `where` and value.
    """

    messages: tuple[MessageStep, ...]
    by_name: Mapping[str, MessageStep]
    windows: Mapping[str, WindowPlan]
    windows_of: Mapping[str, tuple[tuple[WindowPlan, int | None, int | None], ...]]  # event type -> ...
    stored: Mapping[int, WindowPlan]
    touches_kept_ms: int
    features: Mapping[str, tuple[str, str]]  # type and, of money, currency: what a profile declares
    kpis_of: Mapping[str, tuple[KpiPlan, ...]]  # event type -> ..


def unit_of(path: str, on: tuple[str, ...] | None, ruleset: RuleSet) -> str | None:
    """The declared unit of an input; None where it has none or event types of `on` (None: all) differ in it."""
    root, _, name = path.partition(".")
    units: set[str | None] = set()
    if root == "features":
        units = {ruleset.features[name].unit}
    elif root == "windows":
        units = {ruleset.windows[name].unit}
    elif root == "event":
        types = [e for e in ruleset.events.values() if on is None or e.name in on]
        units = {e.attributes[name].unit for e in types if name in e.attributes}
    return units.pop() if len(units) == 1 else None


def _currency(node: Node, on: tuple[str, ...] | None, inputs: _Inputs) -> str | None:
    """The currency of a plain reference, or of money: all that an expression adds up is in the same one."""
    node = _bare(node)
    if isinstance(node, Op) and node.type is Type.MONEY:
        found = (_currency(arg, on, inputs) for arg in node.args if arg.type is Type.MONEY)
        return next((currency for currency in found if currency is not None), None)
    unit = inputs.unit(node.path, on) if isinstance(node, Ref) else None
    return unit if unit is not None and is_currency(unit) else None


def _bare(node: Node) -> Node:
    """What stands behind the names of facts."""
    while isinstance(node, Fact):
        node = node.node
    return node


def _constant(node: Node) -> float | None:
    node = _bare(node)
    return float(node.value) + 0.0 if isinstance(node, Const) and isinstance(node.value, int | float) else None


def _conditions(message: Message, ruleset: RuleSet) -> list[Node]:
    product = ruleset.products[message.product] if message.product else None
    nodes = [c.expression.node for c in product.eligible] if product else []
    nodes += [e.node for e in (message.when, message.unless) if e is not None]
    return [*nodes, message.value.node, *(c.when.node for c in message.channels if c.when is not None)]


class _Inputs:
    """What is asked of the same inputs for message after message."""

    def __init__(self, ruleset: RuleSet) -> None:
        self.ruleset = ruleset
        self.units: dict[tuple[str, tuple[str, ...] | None], str | None] = {}
        features = {f"features.{f.name}" for f in ruleset.features.values() if f.personal}
        attributes = (a for event in ruleset.events.values() for a in event.attributes.values())
        self.personal = features | {f"event.{a.name}" for a in attributes if a.personal}

    def unit(self, path: str, on: tuple[str, ...] | None) -> str | None:
        key = (path, on if path.startswith("event.") else None)
        if key not in self.units:
            self.units[key] = unit_of(path, on, self.ruleset)
        return self.units[key]

    def public(self, nodes: list[Node], on: tuple[str, ...] | None) -> dict[str, tuple[Type, str | None]]:
        """Type and unit of the inputs that are not personal, in the order in which the nodes read them."""
        return {
            path: (kind, self.unit(path, on))
            for path, kind in inputs_of(nodes).items()
            if path != "now" and path not in self.personal
        }


def _message_step(
    index: int, message: Message, ruleset: RuleSet, program: Program, inputs: _Inputs, limits: Limits,
    suppressions: Suppressions,
) -> MessageStep:  # fmt: skip
    root_of = program.root_of
    purposes = dict(ruleset.purposes)
    purpose = purposes[message.purpose]
    product = ruleset.products[message.product] if message.product else None
    policy = ruleset.policies[message.policy] if message.policy else None
    channels = []
    for choice in message.channels:
        declared = ruleset.channels.get(choice.channel)
        conditions = []
        if choice.when is not None:
            conditions.append((root_of["message.channel:" + message.name, choice.channel], choice.when))
        if declared is not None and declared.when is not None:
            conditions.append((root_of["channel.when", choice.channel], declared.when))
        channels.append(ChannelPlan(choice.channel, name_hash(choice.channel), tuple(conditions)))
    return MessageStep(
        index=index,
        message=message,
        purpose=purpose,
        quiet_hours=ruleset.quiet_hours[purpose.quiet_hours] if purpose.quiet_hours else None,
        policy=policy,
        limits=limits,
        suppressions=suppressions,
        volumes=volumes_of(message, purposes, ruleset.volumes),
        keys=frozenset(name_hash(n) for n in (message.name, *message.was)),
        key=name_hash(message.name),
        topic=optional_hash(message.topic),
        former_topics=frozenset(map(name_hash, message.former_topics)),
        product=optional_hash(message.product),
        stage=optional_hash(message.stage),
        value=program.messages[index].value,
        constant=_constant(message.value.node),
        about=root_of["message.about", message.name] if message.about is not None else None,
        by=tuple(root_of["policy.by:" + policy.name, str(k)] for k in range(len(policy.by))) if policy else (),
        context=tuple(root_of["policy.context:" + policy.name, str(k)] for k in range(len(policy.context)))
        if policy
        else (),
        report_by=tuple(
            (e.text, root_of["policy.report_by:" + policy.name, str(k)]) for k, e in enumerate(policy.report_by)
        )
        if policy
        else (),
        eligible=product.eligible if product else (),
        otherwise=product.otherwise if product else {},
        channels=tuple(channels),
        slots={
            name: SlotPlan(
                root_of["message.slot:" + message.name, name],
                slot.expression.node.type,
                slot.shape,
                _currency(slot.expression.node, message.on, inputs),
            )
            for name, slot in message.slots.items()
        },
        variant_keys={name: name_hash(name) for name in message.variants},
        reads=inputs.public(_conditions(message, ruleset), message.on),
    )


def plan_step(ruleset: RuleSet, program: Program) -> StepPlan:
    """Everything about a rule set that the step would otherwise work out per event."""
    inputs = _Inputs(ruleset)
    purposes = dict(ruleset.purposes)
    limits: dict[str, Limits] = {}
    suppressions: dict[str, Suppressions] = {}
    for m in ruleset.messages.values():
        if m.purpose not in limits:
            limits[m.purpose] = limits_of(m, purposes, ruleset.caps, ruleset.gaps)
            suppressions[m.purpose] = suppressions_of(m, purposes, ruleset.suppressions)
    messages = tuple(
        _message_step(i, m, ruleset, program, inputs, limits[m.purpose], suppressions[m.purpose])
        for i, m in enumerate(ruleset.messages.values())
    )
    windows = {name: plan_window(w) for name, w in ruleset.windows.items()}
    windows_of: dict[str, list[tuple[WindowPlan, int | None, int | None]]] = {name: [] for name in ruleset.events}
    stored: dict[int, WindowPlan] = {}
    for window in (part for declared in ruleset.windows.values() for part in declared.stored):
        where = program.root_of["window.where", window.name] if window.where is not None else None
        value = program.root_of["window.value", window.name] if window.value is not None else None
        plan = plan_window(window)
        if plan.key not in stored:  # twins share what is counted
            stored[plan.key] = plan
            windows_of[window.event].append((plan, where, value))
    longest = max((c.over.span_s for c in ruleset.caps if c.over is not None), default=0)
    left = max((s.lasts.span_s + (s.within.span_s if s.within else 0) for s in ruleset.suppressions), default=0)
    apart = max((g.apart.span_s for g in ruleset.gaps), default=0)
    return StepPlan(
        messages,
        {m.message.name: m for m in messages},
        windows,
        {name: tuple(plans) for name, plans in windows_of.items()},
        stored,
        max(KEPT_MS_MIN, longest * 1000, apart * 1000, left * 1000),
        {f.name: (f.type.value, f.unit or "" if f.type is Type.MONEY else "") for f in ruleset.features.values()},
        {
            event: tuple(
                KpiPlan(k.name, program.root_of["kpi", k.name], k.value.node.type)
                for k in ruleset.kpis.values()
                if k.event == event
            )
            for event in ruleset.events
        },
    )
