"""While calls are refused nothing is lost, and others are served."""

from __future__ import annotations

import pytest

from engine.transport import Code
from tests.transport.conftest import Served
from tests.transport.raw import Client, message


@pytest.mark.parametrize("kind", ["http2-uvloop", "http2-asyncio"], indirect=True)
def test_thousands_of_refused_calls_are_all_answered_and_others_are_served(server: Served) -> None:
    with Client(server.host_port) as many, Client(server.host_port) as other:
        many.call("Echo")  # its limits are known
        server.methods.full = True
        for _ in range(3):
            streams = [many.request("Gated", message(bytes(100))) for _ in range(900)]
            assert other.call("Echo", message(b"x")).body == message(b"x")
            assert {many.result(stream).status for stream in streams} == {Code.RESOURCE_EXHAUSTED}
        server.methods.full = False
        assert many.call("Gated", message(b"x")).body == message(b"x")
        assert many.call("Large", message(b"500000")).status == Code.OK
