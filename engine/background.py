"""How a process beside those that serve gives way to them on a machine that both fill."""

from __future__ import annotations

import ctypes
import os
import platform
from contextlib import suppress

_NICE = 10
_SLICE_NS = 100_000_000  # the longest there is
_BATCH = 3  # SCHED_BATCH: is not woken for latency's sake
_CALLS = {"x86_64": 314, "aarch64": 274}  # sched_setattr, which Python does not have


class _Attributes(ctypes.Structure):
    """Linux' struct sched_attr, as it was first."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    )


def give_way() -> None:
    """A small share of the processor, and none that somebody waits for; threads begun later have it likewise.

    `nice` alone says how much in all, not when: Linux let such a process run on for a millisecond or more when one
    that serves woke up. A long time slice (since Linux 6.12; ignored before) is interrupted at once by those with
    shorter ones. What the system does not have is left out.
    """
    with suppress(OSError):
        os.nice(_NICE)
    number = _CALLS.get(platform.machine())
    if number is None or platform.system() != "Linux":
        return
    wanted = _Attributes(ctypes.sizeof(_Attributes), _BATCH, 0, os.getpriority(os.PRIO_PROCESS, 0), 0, _SLICE_NS, 0, 0)
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).syscall(number, 0, ctypes.byref(wanted), 0)
