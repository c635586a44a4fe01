"""Every message's way to a decision, for people: what stopped it, where that is written, what was read."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.text import Text

from engine.cli.conditions import failing_conditions, print_conditions, print_failing
from engine.cli.output import say
from engine.decision import SHARE_UNIT
from engine.pb.tact.v1 import decision_pb2 as pb

ALL = "all"
_CHOSEN = (pb.Decision.SELECTED, pb.Decision.HOLDOUT)


def outcome_name(decision: pb.Decision) -> str:
    """SEND or NO_MESSAGE."""
    return str(pb.Decision.Outcome.Name(decision.outcome))


def reason_name(reason: int) -> str:
    """The reason's name; of a later version's reason the number."""
    known = pb.Decision.Reason.values()
    return str(pb.Decision.Reason.Name(reason)) if reason in known else str(reason)


def at(time: Timestamp) -> str:
    """A time to the second, UTC."""
    return str(time.ToJsonString()).split(".")[0].removesuffix("Z") + "Z"


def held(details: pb.Details) -> str:
    """How far a cap, gap or suppression is used, and when it or the hours let a message through; "" for neither."""
    parts = [f"{details.count} of {details.limit}"] if details.limit else []
    if details.HasField("frees_at"):
        parts.append(f"frees {at(details.frees_at)}")
    return ", ".join(parts)


def print_decision(console: Console, decision: pb.Decision) -> None:
    """A decision in a few lines."""
    sent = decision.outcome == pb.Decision.SEND
    head = Text.assemble((outcome_name(decision), "bold green" if sent else "bold yellow"), "  ")
    if sent:
        head.append(f"{decision.message} / {decision.variant} by {decision.channel}", "bold")
    else:
        head.append(f"{reason_name(decision.reason)}: {decision.reason_text}")
    say(console, head, hang=4)
    if not sent and held(decision.details):
        say(console, held(decision.details), 4)
    if sent:
        say(console, Text(f'"{decision.text}"', "italic"), 4)
        between = f"send from {at(decision.send_after)} to {at(decision.send_before)}"
        say(console, f"{between}, propensity {decision.propensity:.4g}", 4)
        if decision.confirm_before_sending:
            say(console, "deferred: ask ConfirmSend right before sending", 4)
    if decision.revision:
        say(console, Text(f"revision {decision.revision}", "dim"), 4)


def print_funnel(
    console: Console, candidates: Sequence[pb.Candidate], indent: int = 0, why: Sequence[str] = (), expected: str = ""
) -> None:
    """The messages in the order given: the chosen one, those outranked, those stopped; then the deaf ones.

    Of those named in `why` (`ALL`: of all) every condition is shown part by part, of the one `expected` those
    that failed.
    """
    deaf = []
    for c in candidates:
        if c.stopped_by == pb.Decision.NO_RULE_FOR_EVENT:
            deaf.append(c.message)
            continue
        asked = c.message in why or ALL in why
        failing = failing_conditions(c.conditions) if c.message == expected else []
        _print_candidate(console, c, indent, whole=bool(failing or (asked and c.conditions)))
        if asked:
            print_conditions(console, c.conditions, indent + 2)
        else:
            print_failing(console, failing, indent + 2)
    if deaf:
        say(console, Text("not for this event: " + ", ".join(deaf), "dim"), indent + 2)


def _print_candidate(console: Console, c: pb.Candidate, indent: int, whole: bool) -> None:
    """In a few lines; without what its conditions say too, where they follow as a `whole`."""
    chosen = c.stopped_by in _CHOSEN
    passed = chosen or c.stopped_by == pb.Decision.OUTRANKED
    style = "bold green" if chosen else "" if passed else "yellow"
    head = Text("* " if chosen else "- ")
    head.append(c.message, "bold")
    head.append("  ")
    head.append(reason_name(c.stopped_by), style)
    if not chosen:
        head.append(f"  {c.reason_text}")
    say(console, head, indent, hang=4)
    inner = indent + 2
    if held(c.details):
        say(console, held(c.details), inner)
    told = whole and bool(c.expression)
    if c.HasField("position") and not told:
        p = c.position
        say(console, Text(f"{p.path}:{p.line}:{p.column}", "cyan"), inner)
    if c.expression and not told:
        say(console, c.expression, inner)
    if c.values_read and not whole:
        read = ", ".join(f"{path} = {c.values_read[path]}" for path in sorted(c.values_read))
        say(console, f"read: {read}", inner)
    if passed:
        shares = [f"{v.variant} {v.share / SHARE_UNIT:.1%}" + (f" ({v.unfit})" if v.unfit else "") for v in c.variants]
        parts = [f"rank {c.rank:g}"]
        if c.message_share:
            parts.append(f"share {c.message_share / SHARE_UNIT:.1%}")
        if c.channel:
            parts.append(f"by {c.channel}")
        if c.HasField("send_after"):
            parts.append(f"from {at(c.send_after)}")
        say(console, ", ".join(parts), inner)
        if shares:
            say(console, "variants: " + ", ".join(shares), inner)
