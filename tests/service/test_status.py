"""Every error as a status: its code, one ErrorInfo, and nothing that was not meant to be told."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from google.rpc import error_details_pb2

from engine.compiler.model import Position
from engine.compiler.source import Finding
from engine.errors import (
    CommitUnknown,
    Conflict,
    InvalidInput,
    LogFull,
    NotFound,
    Overloaded,
    RulesInvalid,
    StoreUnavailable,
    Unavailable,
    Violation,
)
from engine.service.limiter import Limiter
from engine.service.status import rpc_error
from engine.transport import Code, RpcError, deadline_exceeded


def details(error: RpcError, kind: type[Any]) -> list[Any]:
    found = []
    for packed in error.status().details:
        message = kind()
        if packed.Unpack(message):
            found.append(message)
    return found


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (InvalidInput([Violation("a", "b")]), Code.INVALID_ARGUMENT, "INVALID_REQUEST"),
        (InvalidInput([Violation("a", "b")], "EVENT_ID_REUSED"), Code.INVALID_ARGUMENT, "EVENT_ID_REUSED"),
        (RulesInvalid([]), Code.INVALID_ARGUMENT, "RULES_INVALID"),
        (NotFound("x"), Code.NOT_FOUND, "NOT_FOUND"),
        (Conflict("x"), Code.ABORTED, "CONFLICT"),
        (Unavailable("x"), Code.UNAVAILABLE, "UNAVAILABLE"),
        (StoreUnavailable("x"), Code.UNAVAILABLE, "STORE_UNAVAILABLE"),
        (CommitUnknown("x"), Code.UNAVAILABLE, "COMMIT_UNKNOWN"),
        (Overloaded("x", 250), Code.RESOURCE_EXHAUSTED, "OVERLOADED"),
        (LogFull("x"), Code.RESOURCE_EXHAUSTED, "LOG_FULL"),
        (deadline_exceeded(started=True), Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"),
    ],
)
def test_codes(error: Exception, code: Code, reason: str) -> None:
    told = rpc_error(error)
    assert told.code is code
    assert [(i.reason, i.domain) for i in details(told, error_details_pb2.ErrorInfo)] == [(reason, "tact.v1")]
    retries = details(told, error_details_pb2.RetryInfo)
    assert [r.retry_delay.ToMilliseconds() for r in retries] == ([250] if reason == "OVERLOADED" else [])


def test_what_was_not_foreseen_is_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        told = rpc_error(ZeroDivisionError("the secret"))
    assert told.code is Code.INTERNAL
    assert "secret" not in str(told.status())
    assert "the secret" in caplog.text
    [info] = details(told, error_details_pb2.ErrorInfo)
    assert info.metadata["incident"] in caplog.text


def test_findings_are_violations_by_place() -> None:
    finding = Finding("unknown-name", Position("a.yaml", 3, 7), 4, "no such feature", expected="one", hint="look")
    [bad] = details(rpc_error(RulesInvalid([finding])), error_details_pb2.BadRequest)
    assert [(v.field, v.description) for v in bad.field_violations] == [
        ("a.yaml:3:7", "no such feature [unknown-name]; expected: one; look")
    ]


def test_what_is_listed_is_bounded_and_says_so() -> None:
    told = rpc_error(InvalidInput([Violation(f"field{i}", "x" * 1000) for i in range(500)]))
    assert len(told.status().SerializeToString()) < 5000
    [info] = details(told, error_details_pb2.ErrorInfo)
    [bad] = details(told, error_details_pb2.BadRequest)
    assert info.metadata["violations"] == "500"
    assert info.metadata["violations_listed"] == str(len(bad.field_violations)) == "7"


def test_the_limiter_refuses_what_is_above() -> None:
    limiter = Limiter(3)
    with limiter.take(5):  # larger than all, but alone
        pass
    with limiter.take(2), limiter.take(1):
        with pytest.raises(Overloaded, match="3 items are in flight, at most 3 are taken"), limiter.take():
            pass
        assert limiter.in_flight == 3
    assert limiter.in_flight == 0
