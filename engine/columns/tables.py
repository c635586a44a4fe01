"""A rule set as the arrays that kernels choose by and write with. Built once for each bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.bundle import Bundle
from engine.columns.inputs import Paths
from engine.compiler.model import LEARNING
from engine.compiler.nodes import Type
from engine.compiler.plan import Output
from engine.contact.holdout import threshold
from engine.decision import Reason
from engine.identity import name_hash
from engine.kernels import consent as k_consent
from engine.kernels import hours as k_hours
from engine.kernels import limits as k_limits
from engine.kernels import messages as c
from engine.kernels import suppression as k_suppression
from engine.kernels.messages import Messages
from engine.kernels.write import Labels
from engine.learning.linear import context_of
from engine.learning.terms import written
from engine.plan import MessageStep
from engine.step.render import slots_used

VARIANTS_MAX = 32
_REASONS = {
    (c.PAUSE, 0): Reason.PAUSED,
    (c.CONSENT, k_consent.SAID_STOP): Reason.OPTED_OUT,
    (c.CONSENT, k_consent.WITHDRAWN): Reason.OPTED_OUT,
    (c.CONSENT, k_consent.NOT_GIVEN): Reason.NO_CONSENT,
    (c.CONSENT, k_consent.TOPIC_BLOCKED): Reason.TOPIC_BLOCKED,
    (c.SUPPRESSION, k_suppression.CONVERTED): Reason.ALREADY_CONVERTED,
    (c.SUPPRESSION, k_suppression.DECLINED): Reason.ALREADY_DECLINED,
    (c.SUPPRESSION, k_suppression.IGNORED): Reason.REPEATEDLY_IGNORED,
    (c.CHANNEL, c.NO_CHANNEL): Reason.NO_CHANNEL,
    (c.CHANNEL, c.BLOCKED_CHANNEL): Reason.CHANNEL_BLOCKED,
    (c.HOURS, k_hours.QUIET_ZONE): Reason.QUIET_HOURS,
    (c.HOURS, k_hours.OWN_ZONE): Reason.OUTSIDE_PREFERRED_HOURS,
    (c.HOURS, k_hours.QUIET): Reason.QUIET_HOURS,
    (c.HOURS, k_hours.OUTSIDE): Reason.OUTSIDE_PREFERRED_HOURS,
    (c.HOURS, k_hours.NO_HOUR): Reason.QUIET_HOURS,
    (c.LIMITS, k_limits.FULL): Reason.CAP_REACHED,
    (c.LIMITS, k_limits.CAP): Reason.CAP_REACHED,
    (c.LIMITS, k_limits.GAP): Reason.GAP_NOT_ELAPSED,
    (c.LIMITS, k_limits.CAP_FORGETS): Reason.CAP_REACHED,
    (c.LIMITS, k_limits.GAP_FORGETS): Reason.GAP_NOT_ELAPSED,
    (c.TRIAL, c.NOT_FIT): Reason.NOT_IN_TRIAL,
    (c.TRIAL, c.ASSIGNED_UNFIT): Reason.VARIANT_UNAVAILABLE,
    (c.TRIAL, c.NO_WEIGHT): Reason.VARIANT_UNAVAILABLE,
    **{(c.TRIAL, c.LEFT_OUT + how): Reason.NOT_IN_TRIAL for how in range(c.OUTSIDE, c.OVER + 1)},
    (c.TEXT, c.NOT_FIT): Reason.TEXT_UNAVAILABLE,
    (c.RANK, 0): Reason.DATA_MISSING,
    (c.RESERVE, 0): Reason.BELOW_RESERVE,
}


def reason_of(stage: int, code: int) -> Reason:
    """The reason of a stop that a kernel noted, by its filter and code."""
    return _REASONS[stage, code]


class Words:
    """Names end to end, each once."""

    def __init__(self) -> None:
        self._spans: dict[str, tuple[int, int]] = {}
        self._bytes = bytearray()

    def span(self, word: str) -> tuple[int, int]:
        """Where a word lies."""
        found = self._spans.get(word)
        if found is None:
            begin = len(self._bytes)
            self._bytes += word.encode()
            found = self._spans[word] = begin, len(self._bytes)
        return found

    def array(self) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
        """All of them."""
        return np.frombuffer(bytes(self._bytes) or b"\0", np.uint8).copy()


@dataclass(frozen=True, slots=True)
class Said:
    """What a row of `Messages.texts` says: which variant, language and channel of which message."""

    step: MessageStep
    variant: str
    language: str
    channel: str


@dataclass(frozen=True, slots=True)
class RuleTables:
    """`sets`: the sets of languages that variants have, sorted; `variants`: number -> (message, name)."""

    messages: Messages
    labels: Labels
    sets: tuple[tuple[str, ...], ...]
    variants: tuple[tuple[int, str], ...]
    held_below: int  # a hash below it is in the holdout; 0: nobody is, 2^64: everybody

    def said(self, m: int, variant: int, channel: int, text: int, steps: Sequence[MessageStep]) -> Said:
        """What stands in a row of `texts`, of a variant (its place in the message) and a row of `channels`."""
        table = self.messages.table[m]
        step = steps[m]
        number = int(table[c.VARIANT_AT]) + variant
        width = int(table[c.CHANNEL_END] - table[c.CHANNEL_AT])
        place = (text - int(self.messages.variants[number, 2])) // width
        language = self.sets[int(self.messages.variants[number, 1])][place]
        return Said(step, self.variants[number][1], language, step.channels[channel - int(table[c.CHANNEL_AT])].name)


def _hash(value: int) -> int:
    """A 64-bit hash by its bits, as int64."""
    return value - (1 << 64) if value >= 1 << 63 else value


class _Builder:
    """Gathers the rows of `Messages`."""

    def __init__(self, bundle: Bundle, words: Words) -> None:
        self.bundle = bundle
        self.words = words
        self.outputs = bundle.program.rules.outputs
        self.sets: dict[tuple[str, ...], int] = {}
        self.channels: list[tuple[int, ...]] = []
        self.conditions: list[int] = []
        self.variants: list[tuple[int, int, int]] = []
        self.variant_names: list[tuple[int, str]] = []
        self.texts: list[tuple[int, int]] = []
        self.slots: list[tuple[int, int]] = []
        self.contexts: list[tuple[int, int, int]] = []
        self.known_contexts: dict[tuple[int, ...], tuple[int, int]] = {}
        self.known_slots: dict[tuple[tuple[int, int], ...], tuple[int, int]] = {}

    def channel_rows(self, step: MessageStep) -> tuple[int, int]:
        begin = len(self.channels)
        for channel in step.channels:
            first = len(self.conditions)
            self.conditions += [self.outputs[root].column for root, _ in channel.conditions]
            self.channels.append((first, len(self.conditions), _hash(channel.key), *self.words.span(channel.name)))
        return begin, len(self.channels)

    def variant_rows(self, m: int, step: MessageStep) -> tuple[int, int, bool]:
        """(begin, end, whether all that their texts need is what kernels know)."""
        begin, known = len(self.variants), True
        for name, variant in step.message.variants.items():
            languages = tuple(sorted(variant.texts))
            number = self.sets.setdefault(languages, len(self.sets))
            self.variants.append((_hash(step.variant_keys[name]), number, len(self.texts)))
            self.variant_names.append((m, name))
            for language in languages:
                text = variant.texts[language]
                for channel in step.channels:
                    span = self._slot_rows(step, text.channels.get(channel.name, text.text))
                    known &= span[0] >= 0
                    self.texts.append(span)
        return begin, len(self.variants), known

    def context_rows(self, step: MessageStep) -> tuple[int, int]:
        """Where what a linear policy looks at lies."""
        span = self.known_contexts.get(step.context)
        if span is None:
            begin = len(self.contexts)
            for output in (self.outputs[root] for root in step.context):
                kind, column = _slot(output)
                constant = context_of([output.constant])[1] if kind in (c.ALWAYS, c.NEVER) else 0
                self.contexts.append((c.ALWAYS if kind == c.NEVER else kind, column, constant))
            span = self.known_contexts[step.context] = begin, len(self.contexts)
        return span

    def _slot_rows(self, step: MessageStep, template: str) -> tuple[int, int]:
        used = slots_used(template)
        if not used:
            return 0, 0
        rows = tuple(_slot(self.outputs[step.slots[name].root]) for name in used)
        if any(kind < 0 for kind, _ in rows):
            return -1, -1
        span = self.known_slots.get(rows)
        if span is None:
            begin = len(self.slots)
            self.slots += rows
            span = self.known_slots[rows] = begin, len(self.slots)
        return span


def _slot(output: Output) -> tuple[int, int]:
    """Kind and column of a slot; -1 as kind where kernels do not know it."""
    if output.type is Type.BOOL:
        return c.CONDITION, output.column
    if output.type.element:
        return -1, 0
    if output.constant is not None:
        finite = not isinstance(output.constant, float) or bool(np.isfinite(output.constant))
        return (c.ALWAYS if finite else c.NEVER), 0
    return (c.FLOATING if output.type is Type.NUMBER else c.PLAIN), output.column


def _columns(rows: Sequence[Sequence[int]], width: int) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    return np.array(rows, np.int64).reshape(-1, width)


def rule_tables(bundle: Bundle, paths: Paths) -> RuleTables:
    """The tables of a bundle. `paths`: what its rules read."""
    ruleset, steps, program = bundle.ruleset, bundle.steps.messages, bundle.program
    words = Words()
    built = _Builder(bundle, words)
    funnel = program.tables
    purposes = {name: n for n, name in enumerate(ruleset.purposes)}
    hours = {name: n for n, name in enumerate(ruleset.quiet_hours)}
    table = np.zeros((len(steps), c.MESSAGE_COLUMNS), np.int64)
    reads_at, reads, readable = _reads(steps, program.rules.paths, paths)
    for m, step in enumerate(steps):
        channel_at, channel_end = built.channel_rows(step)
        variant_at, variant_end, known = built.variant_rows(m, step)
        policy, plan = step.policy, program.messages[m]
        enrols = policy is not None and policy.enrols
        own = enrols or (policy is not None and bool(policy.by))
        leave = (
            not known
            or step.about is not None
            or bool(step.volumes)
            or bool(step.former_topics)
            or not readable[m]
            or variant_end - variant_at > VARIANTS_MAX
            or (policy is not None and policy.sticky and len(step.keys) > 1)
            or ruleset.arbitration.kind != "best"
            or (step.message.learned and bool(step.context))
        )
        topic = words.span(step.message.topic) if step.message.topic is not None else (0, 0)
        unless = program.rules.outputs[plan.unless].column if plan.unless is not None else -1
        first, end, when, value, tier, by_name = funnel.messages[m].tolist()
        table[m] = (
            tier, purposes[step.purpose.name], _hash(step.topic), _hash(step.product), _hash(step.stage),
            _hash(step.key), hours[step.quiet_hours.name] if step.quiet_hours else -1, value,
            first, end, when, unless, channel_at, channel_end, variant_at, variant_end,
            _hash(name_hash(policy.name)) if policy else 0, policy is not None and policy.sticky,
            policy is not None and policy.kind == "fixed" and policy.if_unfit == "leave_out", own,
            *topic, step.purpose.holdout, leave, by_name, step.suppressions.outcomes, step.suppressions.ignored,
            enrols, step.message.learned, *built.context_rows(step),
        )  # fmt: skip
    consents = [*((p.name, p.consent_required) for p in ruleset.purposes.values()), (LEARNING, False)]
    messages = Messages(
        table=table,
        constant=funnel.constant,
        reserve=np.array([s.message.reserve.least if s.message.reserve else -np.inf for s in steps], np.float64),
        eligible=funnel.eligible.astype(np.int64),
        channels=_columns(built.channels, 5),
        conditions=np.array(built.conditions, np.int64),
        variants=_columns(built.variants, 3),
        texts=_columns(built.texts, 2),
        slots=_columns(built.slots, 2),
        contexts=_columns(built.contexts, 3),
        purposes=_columns([(_hash(name_hash(n)), *words.span(n), required) for n, required in consents], 4),
        names=np.zeros(0, np.uint8),
    )
    labels = _labels(bundle, words, built.variant_names, paths, reads_at, reads)
    names = words.array()
    return RuleTables(
        messages._replace(names=names),
        labels._replace(names=names),
        tuple(built.sets),
        tuple(built.variant_names),
        threshold(ruleset.holdout),
    )


def _reads(
    steps: Sequence[MessageStep], gathered: Mapping[str, tuple[str, ...]], paths: Paths
) -> tuple[list[int], list[int], list[bool]]:
    """What each message's conditions read, by number; whether it is there for every event type it listens to."""
    there = {kind: frozenset(known) for kind, known in gathered.items()}
    everywhere = frozenset.intersection(*there.values()) if there else frozenset()
    reads_at, reads, readable = [0], [], []
    for step in steps:
        fine = True
        for path, (kind, unit) in step.reads.items():
            number = paths.number(path, kind, unit)
            fine &= number >= 0
            on = step.message.on
            fine &= path in everywhere if on is None else all(path in there[name] for name in on)
            reads.append(number)
        reads_at.append(len(reads))
        readable.append(fine)
    return reads_at, reads, readable


def _labels(
    bundle: Bundle,
    words: Words,
    variants: Sequence[tuple[int, str]],
    paths: Paths,
    reads_at: list[int],
    reads: list[int],
) -> Labels:
    steps = bundle.steps.messages
    reasons = np.zeros((c.STAGES, 8), np.int64)
    for (stage, code), reason in _REASONS.items():
        reasons[stage, code] = int(reason)
    units: list[tuple[int, int]] = []
    inputs = []
    for path in paths.known:
        unit = -1
        if path.unit and path.money:
            unit = len(units)
            units.append(words.span(path.unit))
        inputs.append((path.source, path.type, unit))
    missing = [words.span(f"?{reason}") for reason in ("DATA_MISSING", "DATA_STALE", "WINDOW_INCOMPLETE")]
    messages = _columns([words.span(s.message.name) for s in steps], 2)
    spoken = _columns([words.span(name) for _, name in variants], 2)
    read, units_of = _columns([words.span(p.path) for p in paths.known], 2), _columns(units, 2)
    terms = _columns([words.span(written(s.policy)) if s.policy else (0, 0) for s in steps], 2)
    return Labels(
        names=np.zeros(0, np.uint8),
        messages=messages,
        variants=spoken,
        policies=_columns([words.span(s.policy.name) if s.policy else (0, 0) for s in steps], 2),
        kinds=_columns([words.span(name) for name in bundle.ruleset.events], 2),
        revision=np.array(words.span(bundle.revision), np.int64),
        missing=_columns(missing, 2),
        paths=read,
        reads_at=np.array(reads_at, np.int64),
        reads=np.array(reads, np.int64),
        inputs=_columns(inputs, 3),
        places=paths.places,
        units=units_of,
        reasons=reasons,
        attribution_s=np.array([s.policy.attribution_s if s.policy else 0 for s in steps], np.int64),
        terms=terms,
        longest=(_longest(messages), _longest(spoken), _longest(read), _longest(units_of), _longest(terms)),
    )


def _longest(spans: np.ndarray[tuple[int, int], np.dtype[np.int64]]) -> int:
    """The most bytes that one of the names takes, with its head."""
    return int((spans[:, 1] - spans[:, 0]).max(initial=0)) + 5
