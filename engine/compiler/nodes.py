"""The typed expression tree: what the checker makes, and lowering, the twin and explain read.

A leaf module. Nodes compare and hash by meaning, not by position, so equal sub-expressions of
different rules are one node.

Python values of the types, wherever a value appears (constants, inputs, results):

    bool      bool        duration  int, nanoseconds
    integer   int         time      int, nanoseconds since 1970-01-01T00:00:00Z
    number    float       list      tuple of the element's values (constants only)
    text      str
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Type(str, Enum):  # noqa: UP042
    """Static type of an expression."""

    BOOL = "bool"
    INTEGER = "integer"
    NUMBER = "number"
    TEXT = "text"
    TIME = "time"
    DURATION = "duration"
    LIST = "list"  # of constants, only on the right of `in`

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Span:
    """Half-open range of characters in the expression's own text."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Const:
    """A literal. `0.0` and `-0.0` differ, as do `1` and `1.0` and `true`: see `key`."""

    type: Type
    value: object = field(compare=False)
    span: Span = field(compare=False)
    key: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", repr(self.value))


@dataclass(frozen=True, slots=True)
class Ref:
    """An input: `event.x`, `features.x`, `windows.x` or `now`. Facts are inlined by the checker."""

    type: Type
    path: str
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class Op:
    """An operation of the closed list below on typed arguments.

    | op | arguments -> type |
    |---|---|
    | and, or | bool, bool, .. (two or more, flattened) -> bool; errors as CEL says |
    | not | bool -> bool |
    | cond | bool, T, T -> T |
    | eq, ne | T, T -> bool for every scalar T |
    | lt, le, gt, ge | T, T -> bool for integer, number, text, time, duration, bool (false < true) |
    | in | T, list of T constants -> bool |
    | has | Ref -> bool; never an error |
    | add, sub, mul, div, mod | integer, integer -> integer: overflow and division by zero are errors, truncates |
    | add, sub, mul, div | number, number -> number: IEEE 754, never an error |
    | add, sub | duration, duration -> duration; time, duration -> time; (sub) time, time -> duration |
    | neg | integer, number or duration |
    | ratio | number, number -> number; an error where the second is 0 |
    | days_since | time -> integer: calendar days from it to now in the customer's zone |
    | days_until | time -> integer: calendar days from now to it in the customer's zone |
    | to_number | integer -> number |
    | to_integer | number -> integer: truncates; an error out of range or NaN |
    """

    type: Type
    op: str
    args: tuple[Node, ...]
    span: Span = field(compare=False)


Node = Const | Ref | Op
