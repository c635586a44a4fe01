"""Why a message's own rules said no: asked of the reference twin, which names the condition and the input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.compiler.model import Expression, Message, Position
from engine.compiler.reference import Failure, Inputs, evaluate
from engine.decision import Details, Reason
from engine.plan import MessageStep
from engine.state.log import RankEntry

# Filters in their order; a message stops at its first failure. The first three are the kernel's.
ELIGIBILITY, WHEN, UNLESS, PAUSE, CONSENT, SUPPRESSION, CHANNEL, HOURS, LIMITS, VOLUME = range(1, 11)
TRIAL, TEXT, RANK, RESERVE = range(11, 15)


@dataclass(frozen=True, slots=True)
class Stop:
    """Where a message stopped and why."""

    stage: int
    reason: Reason
    details: Details
    text: str = ""  # words that a customer may be told, where the rules have them
    position: Position | None = None
    expression: str = ""
    rank: float = 0.0  # of one below its reserve
    made_of: RankEntry | None = None  # that rank, where it is learnt


def _failed(stage: int, expression: Expression, failure: Failure, message: str) -> Stop:
    details = Details(message=message, cause=failure.cause)
    root, _, name = failure.path.partition(".")
    if root == "features":
        details.feature = name
    elif root == "windows":
        details.window = name
    elif root == "event":
        details.attribute = name
    return Stop(stage, Reason[failure.reason], details, "", expression.position, expression.text)


def said(texts: Mapping[str, str], language: str) -> str:
    """The words of a language, else of its base, else any."""
    base = language.split("-")[0]
    return texts.get(language) or texts.get(base) or next(iter(texts.values()), "")


def stopped_by_rules(
    step: MessageStep,
    inputs: Inputs,
    language: str,
    stage: int = ELIGIBILITY,
    facts: dict[int, object] | None = None,
) -> Stop | None:
    """What eligibility, `when` and `unless` say, or None where the message passes all three.

    Of several eligibility conditions one that is false decides, else the first that is an error.
    `stage`: where to begin, as the kernel has passed what lies before. `facts`: see `evaluate`.
    """
    name = step.message.name
    failed: Stop | None = None
    for condition in step.eligible if stage == ELIGIBILITY else ():
        verdict = evaluate(condition.expression.node, inputs, facts=facts)
        if verdict is False:
            details = Details(message=name, condition=condition.name)
            text = said(condition.because or step.otherwise, language)
            where = condition.expression
            return Stop(ELIGIBILITY, Reason.NOT_ELIGIBLE, details, text, where.position, where.text)
        if isinstance(verdict, Failure) and failed is None:
            failed = _failed(ELIGIBILITY, condition.expression, verdict, name)
    if failed is not None:
        return failed
    when, unless = step.message.when, step.message.unless
    if when is not None and stage <= WHEN:
        verdict = evaluate(when.node, inputs, facts=facts)
        if isinstance(verdict, Failure):
            return _failed(WHEN, when, verdict, name)
        if verdict is False:
            return Stop(
                WHEN, Reason.NOT_IN_AUDIENCE, Details(message=name, condition=when.text), "", when.position, when.text
            )
    if unless is not None:
        verdict = evaluate(unless.node, inputs, facts=facts)
        if isinstance(verdict, Failure):
            return _failed(UNLESS, unless, verdict, name)
        if verdict is True:
            details = Details(message=name, condition=unless.text)
            return Stop(UNLESS, Reason.LEFT_ALONE, details, "", unless.position, unless.text)
    return None


def below_reserve(message: Message, rank: float) -> Stop:
    """A message whose rank is below its reserve."""
    assert message.reserve is not None
    cause = f"its rank is {rank:.6g}, its reserve {message.reserve.least:g}"
    details = Details(message=message.name, cause=cause)
    return Stop(RESERVE, Reason.BELOW_RESERVE, details, position=message.reserve.position, rank=rank)


_SENTENCES = {
    Reason.SELECTED: "selected",
    Reason.NO_RULE_FOR_EVENT: "no message listens to this type of event",
    Reason.NOT_IN_AUDIENCE: "the customer is not in the audience of '{message}'",
    Reason.NOT_ELIGIBLE: "the customer is not eligible for what '{message}' offers{condition}",
    Reason.DATA_MISSING: "'{message}' needs data that is missing: {cause}",
    Reason.DATA_STALE: "'{message}' needs data that is too old: {cause}",
    Reason.WINDOW_INCOMPLETE: "'{message}' needs a longer history: {cause}",
    Reason.LEFT_ALONE: "'{message}' leaves this customer alone",
    Reason.CAP_REACHED: "a cap is reached{cap}",
    Reason.VOLUME_REACHED: "enough was said to all customers{cap}",
    Reason.GAP_NOT_ELAPSED: "too soon after the last message{gap}",
    Reason.BELOW_RESERVE: "'{message}' is not worth saying: {cause}",
    Reason.HOLDOUT: "the customer is in the holdout",
    Reason.EVENT_TOO_OLD: "the event is older than answers are kept",
    Reason.STATE_UNKNOWN: "the customer's state is not known: {cause}",
    Reason.LOG_FULL: "the decision log is full",
    Reason.PAUSED: "'{message}' is paused",
    Reason.OUTRANKED: "another message ranks higher",
}


def sentence(reason: Reason, details: Details) -> str:
    """The reason in English, for staff."""
    template = _SENTENCES.get(reason)
    if template is None:
        return details.cause or reason.name.lower().replace("_", " ")
    return template.format(
        message=details.message,
        condition=f": {details.condition}" if details.condition else "",
        cause=details.cause,
        cap=f": {details.cap or details.cause}" if details.cap or details.cause else "",
        gap=f": {details.gap}" if details.gap else "",
    )
