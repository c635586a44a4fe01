"""How the kernels of a batch are compiled: without counting references to arrays.

These kernels pass tuples of some twenty arrays from function to function. Numba counts the references to every one
of them at every call that is not inlined, which took half of their time; none of them allocates or keeps an array,
so there is nothing to count. The option is numba's own (`_nrt`), not documented; what is called is compiled alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

kernel: Callable[[Callable[..., Any]], Callable[..., Any]] = njit(  # type: ignore[call-overload]
    cache=True, error_model="numpy", nogil=True, no_cfunc_wrapper=True, _nrt=False
)
# Of kernels alone: it has no entry for Python, to call it from there ends the process.
part: Callable[[Callable[..., Any]], Callable[..., Any]] = njit(  # type: ignore[call-overload]
    cache=True, error_model="numpy", nogil=True, no_cfunc_wrapper=True, no_cpython_wrapper=True, _nrt=False
)
# Put into its caller, always. Left to the compiler, a function that takes arrays is mostly called, and a call hands
# over seven words for each of them: 50 to 200 ns for what kernels of a batch pass on.
inlined: Callable[[Callable[..., Any]], Callable[..., Any]] = njit(  # type: ignore[call-overload]
    cache=True, error_model="numpy", nogil=True, no_cfunc_wrapper=True, no_cpython_wrapper=True, forceinline=True,
    _nrt=False,
)  # fmt: skip
