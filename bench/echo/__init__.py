"""Empty gRPC servers to measure beside: each parses the same request and answers with a decision of usual size.

Those that are not in Python are made by `make bench-peers`; one that is not there is left out of a run and named.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import google.rpc

ROOT = Path(__file__).resolve().parents[2]
PROTO = ROOT / "proto"
COMMON_PROTO = Path(next(iter(google.rpc.__path__))).parents[1]  # holds google/rpc/status.proto and others
JS = ROOT / "bench" / "peers" / "js"
CPP = ROOT / "bench" / "peers" / "cpp" / "build" / "echo"


@dataclass(frozen=True, slots=True)
class Echo:
    """`command` starts it, with the store's address behind it where it is `stored`; `missing` says why it cannot run
    here, "" where it can."""

    name: str
    command: tuple[str, ...]
    missing: Callable[[], str] = lambda: ""
    stored: bool = False


def _no_js() -> str:
    if shutil.which("node") is None:
        return "node is not installed"
    there = all((JS / "node_modules" / "@grpc" / package).is_dir() for package in ("grpc-js", "proto-loader"))
    return "" if there else "not installed: `make bench-peers` installs it"


def _no_cpp() -> str:
    return "" if CPP.exists() else "not built: `make bench-peers` builds it where g++ and Debian's libgrpc++-dev are"


_JS_COMMAND = ("node", str(JS / "echo.mjs"), "tact/v1/decision.proto", str(PROTO), str(COMMON_PROTO))
AIO = Echo("grpc.aio echo", (sys.executable, "-m", "bench.echo.grpc_aio"))
CXX = Echo("C++ gRPC echo", (str(CPP),), _no_cpp)
STORED = Echo("our HTTP/2 echo with the store", (sys.executable, "-m", "bench.echo.stored"), stored=True)
ECHOES = (
    AIO,
    Echo("grpcio sync echo", (sys.executable, "-m", "bench.echo.grpc_sync")),
    Echo("grpc-js echo", _JS_COMMAND, _no_js),
    CXX,
    Echo("our HTTP/2 echo", (sys.executable, "-m", "bench.echo.http2")),
    STORED,
)
