"""Numbers of the operations that `evaluate` knows; the tens are the kernel that runs them.

`out, a, b, c` of an instruction are rows, planes or ranges. Kernels are compiled with these numbers in
them: touch `evaluate.py` when changing one.
"""

from __future__ import annotations

CONST = 0  # out <- imm
INT_ADD, INT_SUB, INT_MUL, INT_DIV, INT_MOD, INT_NEG, ADD_DAYS = 10, 11, 12, 13, 14, 15, 16
DBL_ADD, DBL_SUB, DBL_MUL, DBL_DIV, DBL_NEG, DBL_RATIO, TO_NUMBER, TO_INTEGER = 20, 21, 22, 23, 24, 25, 26, 27
# wide: a value of two rows, time or money
TIME_ADD, TIME_SUB, TIME_DIFF, TIME_SECONDS, TIME_OF = 30, 31, 32, 33, 34
MONEY_ADD, MONEY_SUB, MONEY_NEG, MONEY_MUL, MONEY_NUMBER = 35, 36, 37, 38, 39
# SELECT: plane a ? row b : row c; RANK: order of a text code; FAIL: an error; CELL: plane a as a row
SELECT, SELECT_WIDE, RANK, FAIL, CELL = 40, 41, 42, 43, 44
# SWITCH: lits[b : b + 2 c] are plane and row by turns, lits[b + 2 c] is the last row
SWITCH, SWITCH_WIDE = 45, 46
INT_EQ, INT_NE, INT_LT, INT_LE = 50, 51, 52, 53  # rows a, b -> plane
INT_EQ_C, INT_NE_C, INT_LT_C, INT_LE_C, INT_GT_C, INT_GE_C = 54, 55, 56, 57, 58, 59  # row a, imm
DBL_EQ, DBL_NE, DBL_LT, DBL_LE = 60, 61, 62, 63
DBL_EQ_C, DBL_NE_C, DBL_LT_C, DBL_LE_C, DBL_GT_C, DBL_GE_C = 64, 65, 66, 67, 68, 69
# IN: row a among pool[b : b + c], ascending; FAILS: whether row a is an error
WIDE_EQ, WIDE_NE, WIDE_LT, WIDE_LE, INT_IN, DBL_IN, FLAG, HAS, FAILS = 70, 71, 72, 73, 74, 75, 76, 77, 78
# AND, OR: of the c planes lits[b : b + c]; AND_2, OR_2: of the planes a, b
AND_2, OR_2, FAIL_PLANE, FAILS_PLANE, SWITCH_PLANE = 80, 81, 82, 83, 84
AND, OR, NOT, COND, EQUAL, DIFFER, LESS, LESS_EQ, NO_ERROR, CONST_PLANE = 90, 91, 92, 93, 94, 95, 96, 97, 98, 99
# row a: a time or date; row b: now (a time) or months; on the customer's calendar
DAYS_SINCE, DAYS_UNTIL, DATE_SINCE, DATE_UNTIL, TO_DATE, TIME_MONTHS, DATE_MONTHS = 100, 101, 102, 103, 104, 105, 106
# row a: a time; row b: the number of a zone
FULL_YEAR, MONTH, DATE, DAY_OF_MONTH, DAY_OF_WEEK, DAY_OF_YEAR = 110, 111, 112, 113, 114, 115
HOURS, MINUTES, SECONDS, MILLISECONDS = 116, 117, 118, 119

TIME_MIN_S, TIME_MAX_S = -62_135_596_800, 253_402_300_799  # years 1 to 9999, as in CEL
DAY_MIN, DAY_MAX = TIME_MIN_S // 86_400, TIME_MAX_S // 86_400
