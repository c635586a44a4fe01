"""The interop cases again, by clients that share no code with grpcio's Python: grpc-js, and C++ as Debian ships it.

`make conformance` installs and builds what they need, where node and g++ are.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.transport.conftest import Served

HERE = Path(__file__).parent
BUILD_S, RUN_S = 180, 60
EXPECTED = {
    "empty_unary": 0,
    "large_unary": True,
    "compressed_unary": True,
    "many": True,
    "client_streaming": str(27182 + 8 + 1828 + 45904),
    "server_streaming": 1000,
    "ping_pong": True,
    "empty_stream": True,
    "cancel_after_begin": 1,
    "cancel_after_first_response": 1,
    "timeout": 4,
    "status": [9, "no"],
    "details": True,
    "special_status_message": [2, "\t100 % ☺ 😈\n"],
    "unimplemented_method": 12,
    "unimplemented_service": 12,
}


def _node() -> list[str]:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not here")
    if not (HERE / "js" / "node_modules" / "@grpc" / "grpc-js").is_dir():
        pytest.skip("grpc-js is not here: make conformance")
    return [node, str(HERE / "js" / "client.js")]


def _cpp() -> list[str]:
    source, built = HERE / "cpp" / "client.cc", HERE / "cpp" / "build" / "client"
    if built.is_file() and built.stat().st_mtime > source.stat().st_mtime:
        return [str(built)]
    compiler, config = shutil.which("g++"), shutil.which("pkg-config")
    if compiler is None or config is None:
        pytest.skip("g++ or pkg-config is not here")
    flags = subprocess.run([config, "--cflags", "--libs", "grpc++"], capture_output=True, text=True, check=False)
    if flags.returncode:
        pytest.skip("gRPC for C++ is not here: libgrpc++-dev")
    built.parent.mkdir(exist_ok=True)
    fresh = built.with_suffix(f".{os.getpid()}")  # others may be building it too
    command = [compiler, "-std=c++17", "-O0", str(source), "-o", str(fresh), *flags.stdout.split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_S, check=False)
    assert done.returncode == 0, done.stderr
    fresh.replace(built)
    return [str(built)]


CLIENTS = {"grpc-js": _node, "c++": _cpp}


@pytest.mark.parametrize("client", CLIENTS)
def test_interop(server: Served, client: str) -> None:
    command = [*CLIENTS[client](), server.address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_S, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    seen = dict(pair for pair in found.pop("metadata")["metadata"] if pair[0].startswith("x-"))
    assert seen == {"x-text": "a, b", "x-raw-bin": "00ff"}
    assert found == EXPECTED
    for begun, ended in (("sleeping", "sleep ended"), ("hanging", "hang ended")):
        server.methods.reached(ended, server.methods.count(begun))
