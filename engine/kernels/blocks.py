"""Comparisons of eight lanes at a time, as eight bits; and the lowest bit of a word.

Written as instructions of LLVM, which makes one comparison of vectors of them: a loop that shifts one bit
after the other into a word takes seven times as long (37 ns for 64 lanes against 5.6 ns).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_LANES = 8
_WORD, _PLACE = ir.IntType(64), ir.IntType(32)


def _loaded(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    """Eight cells of an array in C order, from the one numbered `at` on."""
    item = context.get_value_type(kind.dtype)
    data = context.make_array(kind)(context, builder, array).data
    vector = ir.VectorType(item, _LANES)
    return builder.load(builder.bitcast(builder.gep(data, [at]), vector.as_pointer()), align=1)


def _spread(builder: Any, value: Any) -> Any:
    """A vector of the same value eight times."""
    vector = ir.VectorType(value.type, _LANES)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(_PLACE, 0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(_PLACE, _LANES), [0] * _LANES))


def _compared(builder: Any, predicate: str, kind: Any, x: Any, y: Any) -> Any:
    """Eight bits; a NaN differs from everything and compares with nothing."""
    if not isinstance(kind.dtype, types.Float):
        result = builder.icmp_signed(predicate, x, y)
    else:
        result = (builder.fcmp_unordered if predicate == "!=" else builder.fcmp_ordered)(predicate, x, y)
    return builder.zext(builder.bitcast(result, ir.IntType(_LANES)), _WORD)


def _with_constant(predicate: str) -> Any:
    def typed(_: Any, cells: Any, at: Any, constant: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kind = signature.args[0]
            x = _loaded(context, builder, kind, args[0], args[1])
            return _compared(builder, predicate, kind, x, _spread(builder, args[2]))

        return types.uint64(cells, types.int64, cells.dtype), generate

    return intrinsic(typed)


def _with_column(predicate: str) -> Any:
    def typed(_: Any, cells: Any, at: Any, other: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kind = signature.args[0]
            x, y = (_loaded(context, builder, kind, args[0], place) for place in args[1:])
            return _compared(builder, predicate, kind, x, y)

        return types.uint64(cells, types.int64, types.int64), generate

    return intrinsic(typed)


# (cells, place of the first of eight, place of the first of eight others) -> bits
EQ, NE, LT, LE = (_with_column(predicate) for predicate in ("==", "!=", "<", "<="))
# (cells, place of the first of eight, constant) -> bits
EQ_C, NE_C, LT_C, LE_C, GT_C, GE_C = (_with_constant(predicate) for predicate in ("==", "!=", "<", "<=", ">", ">="))


def _bit() -> Any:
    def typed(_: Any, states: Any, at: Any, mask: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            x = _loaded(context, builder, signature.args[0], args[0], args[1])
            found = builder.and_(x, _spread(builder, args[2]))
            result = builder.icmp_unsigned("!=", found, _spread(builder, ir.Constant(ir.IntType(8), 0)))
            return builder.zext(builder.bitcast(result, ir.IntType(_LANES)), _WORD)

        return types.uint64(states, types.int64, types.uint8), generate

    return intrinsic(typed)


BIT = _bit()  # (bytes, place of the first of eight, mask) -> bits: where any bit of the mask is set


def _lowest() -> Any:
    def typed(_: Any, word: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

        return types.int64(types.uint64), generate

    return intrinsic(typed)


LOWEST = _lowest()  # (word that is not 0) -> place of its lowest bit
