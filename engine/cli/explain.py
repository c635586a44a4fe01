"""`tact explain`: why each message was, or would be, said or not."""

from __future__ import annotations

import json
import re
from pathlib import Path

from google.protobuf.json_format import MessageToDict

from engine.cli.client import Client
from engine.cli.funnel import ALL, print_decision, print_funnel
from engine.cli.lines import parse
from engine.cli.output import OK, USAGE, CommandError, out, print_json
from engine.compiler.nodes import Type
from engine.compiler.written import parse_money
from engine.pb.tact.v1 import decision_pb2 as pb
from engine.service.values import encode_value

_MONEY = re.compile(r"-?\d+(\.\d+)? [A-Z]{3}", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d.*")


def run(request: pb.ExplainRequest, why: list[str], target: str, as_json: bool) -> int:
    """Asks the server and shows the decision with every message's way to it; of those in `why` every part."""
    if why and request.HasField("decision_id"):
        raise CommandError("--why is for a what-if: of a past decision the log keeps no parts of conditions", USAGE)
    request.conditions_of.extend(name for name in why if ALL not in why)
    with Client(target) as client:
        answer = client.call(client.decisions.Explain, request)
    if as_json:
        print_json(MessageToDict(answer, preserving_proto_field_name=True))
        return OK
    console = out()
    if answer.HasField("decision"):
        print_decision(console, answer.decision)
    if answer.candidates:
        console.print()
        print_funnel(console, answer.candidates, why=why)
    else:
        console.print("the log no longer holds this decision's candidates")
    return OK


def subject_of(
    decision: str, customer: str, event_type: str, attributes: list[str], file: Path | None, revision: str, locale: str
) -> pb.ExplainRequest:
    """The request that the arguments stand for. Raises CommandError where they do not name exactly one subject."""
    ways = [bool(decision), bool(customer or event_type or attributes), file is not None]
    if sum(ways) != 1:
        raise CommandError(
            "say what to explain in one of three ways: a DECISION_ID, or --request FILE, "
            "or --customer ID --event TYPE [--attribute name=value ..]",
            USAGE,
        )
    request = pb.ExplainRequest(revision=revision, locale=locale)
    if decision:
        request.decision_id = decision
    elif file is not None:
        request.what_if.CopyFrom(_from_file(file))
    else:
        if not (customer and event_type):
            raise CommandError("a what-if needs both --customer ID and --event TYPE", USAGE)
        event = request.what_if.event
        event.event_id, event.customer_id, event.type = "what-if", customer, event_type
        for text in attributes:
            name, equals, written = text.partition("=")
            if not equals or not name:
                raise CommandError(f"--attribute: found '{text}', expected name=value", USAGE)
            event.attributes[name].CopyFrom(attribute(written))
    return request


def attribute(text: str) -> pb.Value:
    """A value by its look: true, 5, 5.0, a time, `12.50 EUR`, `["a", "b"]`.

    Anything else, and what is in double quotes, is a text.
    """
    if _MONEY.fullmatch(text):
        amount, _, currency = text.partition(" ")
        try:
            return encode_value(Type.MONEY.value, parse_money(amount), currency)
        except ValueError:
            return pb.Value(text=text)
    if _TIME.fullmatch(text):
        value = pb.Value()
        try:
            value.time.FromJsonString(text)
        except ValueError:
            return pb.Value(text=text)
        return value
    try:
        read = json.loads(text)
    except ValueError:
        return pb.Value(text=text)
    if isinstance(read, bool):
        return pb.Value(flag=read)
    if isinstance(read, int) and -(2**63) <= read < 2**63:
        return pb.Value(integer=read)
    if isinstance(read, int | float):
        return pb.Value(number=float(read))
    if isinstance(read, list) and all(isinstance(item, str) for item in read):
        return pb.Value(texts=pb.TextList(values=read))
    return pb.Value(text=read if isinstance(read, str) else text)


def _from_file(file: Path) -> pb.DecideRequest:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}", USAGE) from None
    try:
        return parse(data, pb.DecideRequest)
    except ValueError as error:
        raise CommandError(f"{file}: {error}") from None
