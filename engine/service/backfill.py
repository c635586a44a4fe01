"""Past events for the windows: DecisionService.Backfill."""

from __future__ import annotations

from engine.answer import to_bytes
from engine.bundle import Active
from engine.compiler.model import RuleSet
from engine.decider import Decider
from engine.decision import Event
from engine.errors import InvalidInput, TactError, Violation
from engine.pb.tact.v1 import decision_pb2 as pb
from engine.service.codec import decode_event, parse, split
from engine.service.limiter import Limiter
from engine.service.status import item_status
from engine.service.values import Violations, check_id, timestamp_ms
from engine.step.backfill import Backfill
from engine.transport import Call

MAX_EVENTS = 2_000  # of one call: each takes some 60 us, and nothing else is decided meanwhile


async def backfill(decider: Decider, active: Active, limiter: Limiter, payload: bytes, call: Call) -> bytes:
    """Up to 1,000 histories, each with its own result."""
    items = split(payload, "histories")
    rules = active.bundle.ruleset
    results = [pb.BackfillResult() for _ in items]
    messages = []
    for i, item in enumerate(items):
        try:
            messages.append((i, parse(pb.History, item)))
        except InvalidInput as error:
            results[i].error.CopyFrom(item_status(error))
    count = sum(len(message.events) for _, message in messages)
    if count > MAX_EVENTS:
        raise InvalidInput([Violation("histories", f"found {count} events: expected at most {MAX_EVENTS}")])
    places: list[int] = []
    histories: list[tuple[str, Backfill]] = []
    for i, message in messages:
        results[i].customer_id = message.customer_id
        try:
            histories.append((message.customer_id, decode_history(message, rules)))
            places.append(i)
        except InvalidInput as error:
            results[i].error.CopyFrom(item_status(error))
    async with limiter.turn(call, len(items)):
        done = await decider.backfill(histories) if histories else []
    for place, one in zip(places, done, strict=True):
        result = results[place]
        if isinstance(one, TactError):
            result.error.CopyFrom(item_status(one))
        else:
            result.counted, result.known, result.late, result.apart = one.counted, one.known, one.late, one.apart
    return to_bytes(pb.BackfillResponse(results=results))


def decode_history(message: pb.History, rules: RuleSet) -> Backfill:
    """A history whose events fit the schema. Raises InvalidInput with all violations."""
    into = Violations()
    check_id(message.customer_id, "customer_id", into)
    bounds = {"since": 0, "until": 0}
    for name in bounds:
        if message.HasField(name):
            bounds[name] = timestamp_ms(getattr(message, name), name, into) or 0
        else:
            into.add(name, "is missing: expected a time")
    if not into.found and bounds["since"] > bounds["until"]:
        into.add("since", "lies after `until`")
    events: list[Event] = []
    for i, event in enumerate(message.events):
        field = f"events[{i}]"
        if not event.customer_id:
            event.customer_id = message.customer_id
        elif event.customer_id != message.customer_id:
            into.add(f"{field}.customer_id", "is another customer's")
        if not event.HasField("occurred_at"):
            into.add(f"{field}.occurred_at", "is missing: expected when it happened")
        events.append(decode_event(event, rules, field, into))
        into.check()  # one wrong event is enough: there may be thousands
    into.check()
    return Backfill(events, bounds["since"], bounds["until"])
