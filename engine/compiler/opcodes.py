"""Which instruction of `kernels.evaluate` does an operation, by the types of its arguments."""

from __future__ import annotations

from engine.compiler.nodes import Type
from engine.compiler.pool import NS
from engine.kernels import operations as k

ARITHMETIC = {
    Type.NUMBER: {"add": k.DBL_ADD, "sub": k.DBL_SUB, "mul": k.DBL_MUL, "div": k.DBL_DIV, "neg": k.DBL_NEG},
    Type.INTEGER: {
        "add": k.INT_ADD,
        "sub": k.INT_SUB,
        "mul": k.INT_MUL,
        "div": k.INT_DIV,
        "mod": k.INT_MOD,
        "neg": k.INT_NEG,
    },
    Type.DURATION: {"add": k.INT_ADD, "sub": k.INT_SUB, "neg": k.INT_NEG},
    Type.TIME: {"add": k.TIME_ADD, "sub": k.TIME_SUB},
    Type.MONEY: {"add": k.MONEY_ADD, "sub": k.MONEY_SUB, "neg": k.MONEY_NEG, "mul": k.MONEY_MUL},
    Type.DATE: {},
}
SIMPLE: dict[tuple[str, Type], int] = {  # of one or two rows, by the type of the first
    ("ratio", Type.NUMBER): k.DBL_RATIO,
    ("to_number", Type.INTEGER): k.TO_NUMBER,
    ("to_number", Type.MONEY): k.MONEY_NUMBER,
    ("to_integer", Type.NUMBER): k.TO_INTEGER,
    ("to_integer", Type.TIME): k.TIME_SECONDS,
    ("to_time", Type.INTEGER): k.TIME_OF,
    ("add_days", Type.DATE): k.ADD_DAYS,
    ("add_months", Type.DATE): k.DATE_MONTHS,
}
ON_CALENDAR: dict[tuple[str, Type], int] = {  # of the customer
    ("to_date", Type.TIME): k.TO_DATE,
    ("add_months", Type.TIME): k.TIME_MONTHS,
}
FROM_NOW: dict[tuple[str, Type], int] = {
    ("days_since", Type.TIME): k.DAYS_SINCE,
    ("days_until", Type.TIME): k.DAYS_UNTIL,
    ("days_since", Type.DATE): k.DATE_SINCE,
    ("days_until", Type.DATE): k.DATE_UNTIL,
}
_PARTS = (
    "full_year", "month", "date", "day_of_month", "day_of_week", "day_of_year",
    "hours", "minutes", "seconds", "milliseconds",
)  # fmt: skip
PART = dict(zip(_PARTS, range(k.FULL_YEAR, k.MILLISECONDS + 1), strict=True))
NS_OF = {"hours": 3600 * NS, "minutes": 60 * NS, "seconds": NS, "milliseconds": 1_000_000}
INT = {"eq": k.INT_EQ, "ne": k.INT_NE, "lt": k.INT_LT, "le": k.INT_LE}
DBL = {"eq": k.DBL_EQ, "ne": k.DBL_NE, "lt": k.DBL_LT, "le": k.DBL_LE}
WIDE = {"eq": k.WIDE_EQ, "ne": k.WIDE_NE, "lt": k.WIDE_LT, "le": k.WIDE_LE}
BOOL = {"eq": k.EQUAL, "ne": k.DIFFER, "lt": k.LESS, "le": k.LESS_EQ}
_CONSTANT = ("eq", "ne", "lt", "le", "gt", "ge")
INT_C = dict(zip(_CONSTANT, range(k.INT_EQ_C, k.INT_GE_C + 1), strict=True))
DBL_C = dict(zip(_CONSTANT, range(k.DBL_EQ_C, k.DBL_GE_C + 1), strict=True))
MIRRORED = {"eq": "eq", "ne": "ne", "lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}
