"""A server to ask: one channel, and its errors in words."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what the core logs is told in our own words

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from engine.cli.output import CommandError
from engine.pb.tact.v1 import decision_pb2_grpc, profile_pb2_grpc, rules_pb2_grpc

_R = TypeVar("_R")
_TIMEOUT_S = 60.0
_MAX_BYTES = 64 << 20


class ServerRefused(CommandError):
    """The server said no; `violations` are (field, what is wrong)."""

    def __init__(self, message: str, violations: list[tuple[str, str]]) -> None:
        lines = [message, *(f"  {field}: {what}" if field else f"  {what}" for field, what in violations)]
        super().__init__("\n".join(lines))
        self.violations = violations


class Client:
    """The three services of one server, as a context."""

    def __init__(self, target: str) -> None:
        self.target = target
        self._channel = grpc.insecure_channel(target, options=[("grpc.max_receive_message_length", _MAX_BYTES)])
        self.decisions: Any = decision_pb2_grpc.DecisionServiceStub(self._channel)
        self.profiles: Any = profile_pb2_grpc.ProfileServiceStub(self._channel)
        self.rules: Any = rules_pb2_grpc.RuleServiceStub(self._channel)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._channel.close()

    def call(self, method: Callable[..., _R], request: object) -> _R:
        """The answer. Raises CommandError where there is no server, ServerRefused where it refuses."""
        try:
            return method(request, timeout=_TIMEOUT_S)
        except grpc.RpcError as error:
            raise self.told(error) from None

    def unary(self, path: str) -> Any:
        """A method that takes and gives bytes."""
        return self._channel.unary_unary(path)

    def told(self, error: Any) -> CommandError:
        """What grpc raised, in words."""
        code, details = error.code(), error.details() or ""
        status = _status(error)
        if code is grpc.StatusCode.UNAVAILABLE and status is None:
            return CommandError(
                f"no server answers at {self.target} ({details.split(': ')[-1].strip() or 'unavailable'}). "
                "Start one with `make serve`, or say where it is with --target HOST:PORT."
            )
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return CommandError(f"the server at {self.target} did not answer within {_TIMEOUT_S:.0f} seconds")
        violations = violations_of(status) if status is not None else []
        text = f"the server at {self.target} refused ({code.name})"
        return ServerRefused(text + (":" if violations else f": {details}"), violations)


def _status(error: Any) -> status_pb2.Status | None:
    try:
        found: status_pb2.Status | None = rpc_status.from_call(error)
    except ValueError:  # a proxy's word against the server's
        return None
    return found


def violations_of(status: status_pb2.Status) -> list[tuple[str, str]]:
    """What a status says of single fields, as (field, description)."""
    found = []
    for detail in status.details:
        bad = error_details_pb2.BadRequest()
        if detail.Is(bad.DESCRIPTOR) and detail.Unpack(bad):
            found += [(v.field, v.description) for v in bad.field_violations]
    return found


def status_text(status: status_pb2.Status) -> str:
    """One item's error in words: its fields, else its message."""
    violations = violations_of(status)
    return "; ".join(f"{field}: {what}" for field, what in violations) or status.message
