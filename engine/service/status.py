"""Domain errors become gRPC statuses here, and nowhere else.

Every error carries exactly one google.rpc.ErrorInfo (AIP-193): its `reason` is what programs branch
on. Details travel in a trailer, and clients refuse trailers of 8 KiB, so what is listed is bounded.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence

from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

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
    TactError,
    TooMany,
    Unavailable,
    Violation,
)
from engine.transport import Code, RpcError, error_info

logger = logging.getLogger(__name__)

MAX_DETAIL_BYTES = 3072  # base64 and the message beside it stay under the 8 KiB that clients take
MAX_MESSAGE_CHARACTERS = 400

# The first class that fits: subclasses stand above their bases.
_CODES: tuple[tuple[type[TactError], Code, str], ...] = (
    (NotFound, Code.NOT_FOUND, "NOT_FOUND"),
    (Conflict, Code.ABORTED, "CONFLICT"),
    (StoreUnavailable, Code.UNAVAILABLE, "STORE_UNAVAILABLE"),
    (CommitUnknown, Code.UNAVAILABLE, "COMMIT_UNKNOWN"),
    (Unavailable, Code.UNAVAILABLE, "UNAVAILABLE"),
    (Overloaded, Code.RESOURCE_EXHAUSTED, "OVERLOADED"),
    (TooMany, Code.RESOURCE_EXHAUSTED, "TOO_MANY_EVENTS"),
    (LogFull, Code.RESOURCE_EXHAUSTED, "LOG_FULL"),
)


def rpc_error(error: BaseException) -> RpcError:
    """The status of any error. What was not raised on purpose is INTERNAL: logged, not told."""
    if isinstance(error, RpcError):
        return error
    if isinstance(error, InvalidInput):
        return _with_violations(str(error), error.reason, error.violations)
    if isinstance(error, RulesInvalid):
        return _with_violations(str(error), "RULES_INVALID", [_violation(f) for f in error.errors])
    for kind, code, reason in _CODES:
        if isinstance(error, kind):
            details: list[Message] = [error_info(reason)]
            if isinstance(error, Overloaded):
                retry = error_details_pb2.RetryInfo()
                retry.retry_delay.FromMilliseconds(error.retry_delay_ms)
                details.append(retry)
            return RpcError(code, _cut(str(error)) or reason, details)
    incident = secrets.token_hex(4)
    logger.error("internal error, incident %s", incident, exc_info=error)
    message = f"internal error, incident {incident}: see the server's log"
    return RpcError(Code.INTERNAL, message, [error_info("INTERNAL", incident=incident)])


def item_status(error: BaseException) -> status_pb2.Status:
    """What was wrong with one item of a batch or stream."""
    return rpc_error(error).status()


def _cut(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE_CHARACTERS else text[: MAX_MESSAGE_CHARACTERS - 1] + "…"


def _violation(finding: Finding) -> Violation:
    parts = [f"{finding.message} [{finding.code}]"]
    parts += [f"expected: {finding.expected}"] if finding.expected else []
    parts += [finding.hint] if finding.hint else []
    return Violation(str(finding.position), "; ".join(parts))


def _with_violations(message: str, reason: str, violations: Sequence[Violation]) -> RpcError:
    bad = error_details_pb2.BadRequest()
    size = 0
    for violation in violations:
        field, description = _cut(violation.field), _cut(violation.description)
        size += len(field.encode()) + len(description.encode()) + 8
        if size > MAX_DETAIL_BYTES and bad.field_violations:
            break
        bad.field_violations.add(field=field, description=description)
    info = error_info(reason)
    if len(bad.field_violations) < len(violations):
        info.metadata["violations"] = str(len(violations))
        info.metadata["violations_listed"] = str(len(bad.field_violations))
    return RpcError(Code.INVALID_ARGUMENT, _cut(message), [info, bad])
