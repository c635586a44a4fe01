"""Contact policy and policies that cannot do what they say."""

from __future__ import annotations

from itertools import combinations

from engine.compiler.analysis.report import Report
from engine.compiler.model import Cap, Gap, Message, Position, RuleSet, Suppression, VolumeCap

KEPT_S_MIN = 90 * 86_400  # outcomes are credited to touches, and the record keeps these at least this long
_WITHIN = {("day", "day"), ("day", "week"), ("day", "month"), ("week", "week"), ("month", "month")}
_LONGEST_S = {"day": 25 * 3600, "week": 169 * 3600, "month": 745 * 3600}  # with the hour of a clock put back


def report_contact(ruleset: RuleSet, report: Report) -> None:
    """Warnings no-timezone, undeclared-channel, cap-never-passes, limit-never-holds, shadowed-cap and more."""
    _zones(ruleset, report)
    _channels(ruleset, report)
    _caps(ruleset, report)
    _topics(ruleset, report)
    spans = [cap.over.span_s for cap in ruleset.caps if cap.over is not None]
    spans += [gap.apart.span_s for gap in ruleset.gaps]
    spans += [s.lasts.span_s + (s.within.span_s if s.within else 0) for s in ruleset.suppressions]
    kept_s = max([KEPT_S_MIN, *spans])
    users: dict[str | None, list[Message]] = {}
    for message in ruleset.messages.values():
        users.setdefault(message.policy, []).append(message)
    for policy in ruleset.policies.values():
        if policy.kind != "fixed" and policy.attribution_s > kept_s:
            report.add(
                "attribution-too-long", policy.position,
                f"'{policy.name}' credits outcomes for longer than a message is remembered",
                found=f"{policy.attribution_s // 86_400} days",
                expected=f"at most {kept_s // 86_400} days",
            )  # fmt: skip
        for message in users.get(policy.name, ()):
            live = sum(policy.weights.get(name, 1.0) > 0 for name in message.variants)
            if live > 1 and live * policy.floor >= 1.0:
                report.add(
                    "floor-too-large", policy.position,
                    f"{live} variants of '{message.name}' with a floor of {policy.floor:g} each leave nothing to learn",
                    expected=f"less than {1 / live:.3g}",
                )  # fmt: skip
                break


def _zones(ruleset: RuleSet, report: Report) -> None:
    if "timezone" in ruleset.features:
        return
    kept = {p.quiet_hours for p in ruleset.purposes.values()}
    for hours in ruleset.quiet_hours.values():
        if hours.zone == "customer" and hours.name in kept and not hours.unknown_zones:
            report.add(
                "no-timezone", hours.position,
                f"'{hours.name}' are hours of the customer's own day, and no feature 'timezone' says which that is",
                expected="`features: {timezone: {type: text, default: Europe/Madrid}}`, or a zone in `zone:`",
            )  # fmt: skip


def _channels(ruleset: RuleSet, report: Report) -> None:
    """Where channels are declared, others may be slips; each is told where it stands first."""
    first: dict[str, Position] = {}
    for message in ruleset.messages.values() if ruleset.channels else ():
        for choice in message.channels:
            first.setdefault(choice.channel, choice.position)
    for name in first.keys() - ruleset.channels.keys():
        report.add(
            "undeclared-channel", first[name], f"the channel '{name}' is not declared",
            hint=f"declare it: `channels: {{{name}: {{}}}}`",
        )  # fmt: skip


def _purposes(ruleset: RuleSet, limit: Cap | Gap | Suppression | VolumeCap) -> frozenset[str]:
    """Those that a limit counts and holds; all but tier 1 where it names none."""
    if limit.purposes is not None:
        return frozenset(limit.purposes)
    return frozenset(name for name, p in ruleset.purposes.items() if p.tier != 1)


def _caps(ruleset: RuleSet, report: Report) -> None:
    said = {m.purpose for m in ruleset.messages.values()}
    limits: list[Cap | Gap | Suppression | VolumeCap] = [
        *ruleset.caps, *ruleset.gaps, *ruleset.suppressions, *ruleset.volumes,
    ]  # fmt: skip
    for limit in limits:
        if said and not said & _purposes(ruleset, limit):
            text = f"'{limit.title}' never holds anything back: no message has such a purpose"
            report.add("limit-never-holds", limit.position, text)
        elif isinstance(limit, Cap | VolumeCap) and limit.at_most == 0:
            text = f"'{limit.title}' lets no message through"
            report.add("cap-never-passes", limit.position, text, hint="`tact pause` stops messages for a while")
    shadowed: set[int] = set()
    for a, b in combinations(range(len(ruleset.caps)), 2):
        for inner, outer in ((b, a), (a, b)):
            if not {inner, outer} & shadowed and _covers(ruleset, ruleset.caps[outer], ruleset.caps[inner]):
                shadowed.add(inner)
                text = f"'{ruleset.caps[outer].title}' always holds back at least what this cap would"
                report.add("shadowed-cap", ruleset.caps[inner].position, text, also=ruleset.caps[outer].position)


def _topics(ruleset: RuleSet, report: Report) -> None:
    """A regime's cap per subject does not hold a message that has none."""
    for cap in ruleset.caps:
        held = _purposes(ruleset, cap) if cap.preset and "topic" in cap.per else frozenset()
        for message in ruleset.messages.values():
            if message.purpose in held and message.topic is None:
                text = f"'{cap.title}' counts by topic, and '{message.name}' has none: it is not held"
                report.add("cap-without-topic", message.position, text, also=cap.position, hint="write `topic: ..`")


def _covers(ruleset: RuleSet, outer: Cap, inner: Cap) -> bool:
    """Whether whatever `inner` holds back is held back by `outer` too."""
    return (
        outer.at_most <= inner.at_most
        and set(outer.per) <= set(inner.per)
        and _purposes(ruleset, outer) == _purposes(ruleset, inner)
        and _spans(outer, inner)
        and ("about" not in inner.per or "about" in outer.per)  # unknown, it holds a message back by itself
    )


def _spans(outer: Cap, inner: Cap) -> bool:
    """Whether the outer span always holds the inner one."""
    if outer.calendar is not None:
        return inner.calendar is not None and (inner.calendar, outer.calendar) in _WITHIN
    assert outer.over is not None
    if outer.over.unit == "month":
        return inner.over == outer.over
    length_s = _LONGEST_S[inner.calendar] if inner.calendar is not None else inner.over.span_s if inner.over else 0
    return outer.over.span_s >= length_s
