"""Lines of protobuf JSON: what is told of one that cannot be read."""

from __future__ import annotations

import json

import pytest

from engine.cli.lines import parse
from engine.pb.tact.v1 import decision_pb2 as pb
from engine.pb.tact.v1 import profile_pb2


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (5, 'found 5, expected {"number": 5} or {"integer": 5}'),
        (5.5, 'found 5.5, expected {"number": 5.5}'),
        (True, 'found true, expected {"flag": true}'),
        ("Zoë", 'found "Zoë", expected {"text": "Zoë"}'),
        ("x" * 100, 'found .., expected {"text": ..}'),
        (["a"], 'found ["a"], expected {"texts": {"values": ["a"]}}'),
        (None, 'found null, expected an object such as {"number": 5}'),
    ],
)
def test_a_value_without_its_kind(value: object, told: str) -> None:
    right = {"number": 1}
    event = {"event": {"event_id": "e", "attributes": {"right": right, "amount": value}}}
    with pytest.raises(ValueError) as caught:
        parse(json.dumps(event).encode(), pb.DecideRequest)
    assert str(caught.value) == f"event.attributes.amount: {told}"
    with pytest.raises(ValueError) as caught:
        parse(json.dumps({"customerId": "c", "features": {"age": value}}).encode(), profile_pb2.Profile)
    assert str(caught.value) == f"features.age: {told}"
    with pytest.raises(ValueError) as caught:
        parse(json.dumps({"histories": [{"events": [{}, event["event"]]}]}).encode(), pb.BackfillRequest)
    assert str(caught.value) == f"histories[0].events[1].attributes.amount: {told}"


def test_other_mistakes_are_told_as_before() -> None:
    with pytest.raises(ValueError, match="did you mean 'number'"):
        parse(b'{"event": {"attributes": {"amount": {"nomber": 5}}}}', pb.DecideRequest)
    with pytest.raises(ValueError, match="Failed to parse event field"):
        parse(b'{"event": 5}', pb.DecideRequest)
