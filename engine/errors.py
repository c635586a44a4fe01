"""What can go wrong, as types. `service/` turns them into status codes, and nothing else does.

TactError
 ├── InvalidInput        the caller's request, by field
 ├── RulesInvalid        a rule set with findings
 ├── NotFound            an unknown revision, decision or customer
 ├── Conflict            something else is active than the caller expected
 ├── Unavailable         not done, or not known to be done; the caller may retry
 │    ├── StoreUnavailable   the store could not be reached or answered with an error
 │    └── CommitUnknown      sent, but no reply within the commit budget
 ├── Overloaded          refused at once; carries a retry delay
 ├── TooMany             more than one customer may have
 └── LogFull             the decision log is above its limit and must not drop
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.compiler.source import Finding


class TactError(Exception):
    """Root of all errors that Tact raises on purpose."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One wrong field of a request: where, and what was found and expected."""

    field: str
    description: str


class InvalidInput(TactError):
    """The request is wrong; `violations` names each field."""

    def __init__(self, violations: Sequence[Violation], reason: str = "INVALID_REQUEST") -> None:
        super().__init__("; ".join(f"{v.field}: {v.description}" for v in violations))
        self.violations = tuple(violations)
        self.reason = reason


class RulesInvalid(TactError):
    """A rule set has errors; nothing of it was used. `findings` holds its warnings too."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        self.errors = tuple(f for f in findings if f.severity == "error")
        first = f"; first: {self.errors[0].position}: {self.errors[0].message}" if self.errors else ""
        super().__init__(f"the rule set has {len(self.errors)} finding(s){first}")


class NotFound(TactError):
    """What was named does not exist."""


class Conflict(TactError):
    """The state is not the one the caller expected; nothing was changed."""


class Unavailable(TactError):
    """Not done, or not known to be done. A retry with the same ids is safe."""


class StoreUnavailable(Unavailable):
    """The store cannot be reached, or refused."""


class CommitUnknown(Unavailable):
    """A commit was sent and no reply came within its budget."""


class Overloaded(TactError):
    """Refused at once because too much is under way."""

    def __init__(self, message: str, retry_delay_ms: int) -> None:
        super().__init__(message)
        self.retry_delay_ms = retry_delay_ms


class TooMany(TactError):
    """More than one customer may have; the others are not held up by it."""


class LogFull(TactError):
    """The log is above its limit and `--audit require` forbids dropping."""
