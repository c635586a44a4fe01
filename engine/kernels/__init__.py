"""Kernels: loops over arrays, compiled by numba. Nothing outside this room knows numba.

Numba keeps what it compiled, and looks at one file to see whether that is still good; it does not see that a
kernel which was compiled into another has changed. So all that is compiled lies in a directory named by a
hash of all kernels' sources. Processes that compile at once write there one after the other: without that, numba
gives what two of them keep of one function the same file, and one is taken for the other.
"""

from __future__ import annotations

import fcntl
import hashlib
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import IndexDataCacheFile

_HERE = Path(__file__).parent


def _sources() -> str:
    """A hash of all kernels' sources."""
    held = hashlib.blake2b(digest_size=8)
    for path in sorted(_HERE.glob("*.py")):
        held.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return held.hexdigest()


_config: Any = numba.config  # its settings are made at run time
_BASE = Path(_config.CACHE_DIR) if _config.CACHE_DIR else _HERE / "__pycache__"
CACHE = _BASE / f"kernels-{_sources()}"  # what is compiled
_config.CACHE_DIR = str(CACHE)

_kept: Any = IndexDataCacheFile
_save = _kept.save


def _save_alone(kept: Any, key: Any, data: Any) -> None:
    with Path(kept._cache_path, "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _save(kept, key, data)


_kept.save = _save_alone
