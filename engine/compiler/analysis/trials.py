"""Trials that compare nothing."""

from __future__ import annotations

from engine.compiler.analysis.report import Report
from engine.compiler.model import Message, Policy, RuleSet


def report_trials(ruleset: RuleSet, report: Report) -> None:
    """Warnings no-comparison."""
    users: dict[str, list[Message]] = {}
    for message in ruleset.messages.values():
        if message.policy is not None:
            users.setdefault(message.policy, []).append(message)
    for policy in ruleset.policies.values():
        if policy.enrols and policy.name in users:
            why = _why(policy, users[policy.name])
            if why:
                report.add("no-comparison", policy.position, f"the trial of '{policy.name}' compares nothing: {why}")


def _why(policy: Policy, messages: list[Message]) -> str:
    part = policy.enrolment.part if policy.enrolment is not None else None
    if part is not None and part.low == part.high:
        return f"its slice of the layer '{part.owner}' is empty"
    fixed = policy.fixed_slice.weights if policy.fixed_slice is not None else {}
    for weights, where in ((policy.weights, "`weights`"), (fixed, "the weights of `trial`")):
        if weights and policy.control is not None and not weights.get(policy.control, 0.0):
            return f"its control '{policy.control}' has no weight in {where}"
    for message in messages:
        live = [name for name in message.variants if policy.weights.get(name, 1.0) > 0.0]
        if len(live) < 2:
            return f"'{message.name}' has one variant to draw"
    return ""
