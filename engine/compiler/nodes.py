"""The typed expression tree: what the checker makes, and lowering, the twin and explain read.

A leaf module. Nodes compare and hash by meaning, not by position, so equal sub-expressions of
different rules are one node.

Python values of the types, wherever a value appears (constants, inputs, results):

    bool      bool        duration  int, nanoseconds
    integer   int         time      int, nanoseconds since 1970-01-01T00:00:00Z
    number    float       date      int, days since 1970-01-01
    text      str         money     int, billionths of the currency's unit (as google.type.Money, whole)
    lists     tuple of the element's values
"""

from __future__ import annotations

from dataclasses import field
from enum import Enum

from engine.compiler.frozen import frozen


class Type(str, Enum):  # noqa: UP042
    """Static type of an expression. The plural ones are lists of the scalar."""

    BOOL = "bool"
    INTEGER = "integer"
    NUMBER = "number"
    TEXT = "text"
    TIME = "time"
    DURATION = "duration"
    DATE = "date"
    MONEY = "money"  # its currency is a unit: see `Attribute.unit`; mixing currencies is refused by the checker
    BOOLS = "bools"
    INTEGERS = "integers"
    NUMBERS = "numbers"
    TEXTS = "texts"
    TIMES = "times"
    DURATIONS = "durations"
    DATES = "dates"

    __hash__ = str.__hash__  # Enum's own is written in Python, and every node hashes its type

    def __str__(self) -> str:
        return self.value

    @property
    def element(self) -> Type | None:
        """The type of a list's elements, None for a scalar."""
        return _ELEMENTS.get(self)

    @property
    def listed(self) -> Type:
        """The type of a list of this scalar. Raises KeyError for money and for lists."""
        return _LISTED[self]


_ELEMENTS = {
    Type.BOOLS: Type.BOOL,
    Type.INTEGERS: Type.INTEGER,
    Type.NUMBERS: Type.NUMBER,
    Type.TEXTS: Type.TEXT,
    Type.TIMES: Type.TIME,
    Type.DURATIONS: Type.DURATION,
    Type.DATES: Type.DATE,
}
_LISTED = {element: listed for listed, element in _ELEMENTS.items()}
SCALARS = (*_LISTED, Type.MONEY)


@frozen
class Span:
    """Half-open range of characters in the expression's own text."""

    start: int
    end: int


@frozen
class Const:
    """A literal. `0.0` and `-0.0` differ, as do `1` and `1.0` and `true`: see `key`."""

    type: Type
    value: object = field(compare=False)
    span: Span = field(compare=False)
    key: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", repr(self.value))


@frozen
class Ref:
    """An input: `event.x`, `features.x`, `windows.x` or `now`."""

    type: Type
    path: str
    span: Span = field(compare=False)


@frozen
class Var:
    """The element a macro runs over.

    `level` counts the macros around the one that binds it, from 0; in a fact's tree it counts anew.
    """

    type: Type
    level: int
    name: str = field(compare=False)
    span: Span = field(compare=False)


@frozen
class Fact:
    """A named expression where it is used: its tree, shared by all uses, whose spans are in the fact's own text.

    `path` is `facts.x`, or `facts.table.output` for a decision table. It means just what its tree means.
    """

    type: Type
    path: str
    node: Node = field(hash=False)  # facts of facts: hashing through them all takes forever
    span: Span = field(compare=False)


@frozen
class Op:
    """An operation of the closed list below on typed arguments.

    "strict" is the rule where nothing else is said: an argument that is an error makes the result one.

    | op | arguments -> type |
    |---|---|
    | and, or | bool, bool, .. (two or more, flattened) -> bool; errors as CEL says |
    | not | bool -> bool |
    | cond | bool, T, T -> T |
    | switch | bool, T, bool, T, .., T -> T: the value after the first condition that is true, else the last; an error
      where a condition before it is an error |
    | fail | text constant -> T: always an error, with this cause |
    | fails | T -> bool: whether the argument is an error; never one itself |
    | eq, ne | T, T -> bool for every T |
    | lt, le, gt, ge | T, T -> bool for every scalar T (false < true) |
    | in | T, list of T -> bool |
    | has | Ref -> bool; never an error |
    | add, sub, mul, div, mod | integer, integer -> integer: overflow and division by zero are errors, truncates |
    | add, sub, mul, div | number, number -> number: IEEE 754, never an error |
    | add, sub | duration, duration -> duration; time, duration -> time; (sub) time, time -> duration;
      money, money -> money |
    | mul | money, integer -> money |
    | add_days | date, integer -> date |
    | add_months | time or date, integer -> the same, on the customer's calendar; the day is cut to the month's last |
    | neg | integer, number, duration or money |
    | ratio | number, number -> number; an error where the second is 0 |
    | days_since | time or date -> integer: calendar days from it to now in the customer's zone |
    | days_until | time or date -> integer: calendar days from now to it in the customer's zone |
    | full_year, month, date, day_of_month, day_of_week, day_of_year, hours, minutes, seconds, milliseconds | time
      [, text: zone] -> integer, as CEL counts them (UTC where no zone is given): an unknown zone is an error;
      hours, minutes, seconds, milliseconds also of a duration: the whole of it |
    | to_number | integer, text, money -> number |
    | to_integer | number, text, time (seconds since 1970), duration (seconds) -> integer: NaN and out of range are
      errors |
    | to_text | any scalar -> text |
    | to_bool | text -> bool |
    | to_time | text, integer (seconds since 1970) -> time |
    | to_duration | text -> duration |
    | to_date | text, time (the customer's calendar) -> date |
    | size | text (code points), list -> integer |
    | concat | text, text -> text; list, list -> list |
    | contains, starts_with, ends_with | text, text -> bool |
    | matches | text, text constant -> bool: RE2, anywhere in the text |
    | char_at, index_of, last_index_of, lower_ascii, upper_ascii, replace, reverse, split, join, substring, trim,
      quote | CEL's string extensions, on texts, integers and lists of texts |
    | list | T, T, .. -> list of T (where all are constants it is a Const) |
    | index | list of T, integer -> T; an error outside |
    | all, exists, exists_one | list of T, bool (reads the Var) -> bool: all and exists as a chain of && and ||,
      exists_one strict over the elements |
    | filter | list of T, bool -> list of T |
    | map | list of T, [bool,] U -> list of U |
    | collect | bool, T, bool, T, .. -> list of T: the values whose condition is true; strict in the conditions |
    """

    type: Type
    op: str
    args: tuple[Node, ...]
    span: Span = field(compare=False)


Node = Const | Ref | Var | Fact | Op
