"""Builds the echo in C++: `python -m bench.echo.build`. Says what is missing where it cannot, with status 0.

Needs g++, protoc and gRPC's C++ library: on Debian g++, libgrpc++-dev and protobuf-compiler-grpc.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.echo import COMMON_PROTO, CPP, PROTO

_FILES = ("tact/v1/decision.proto", "google/rpc/status.proto", "google/type/money.proto")
_TOOLS = ("g++", "protoc", "grpc_cpp_plugin", "pkg-config")
_SOURCE = CPP.parents[1] / "echo.cc"


def main() -> int:
    """Returns the exit status: 1 where the compiler fails."""
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if not missing and subprocess.run(["pkg-config", "--exists", "grpc++"], check=False).returncode:
        missing = ["libgrpc++-dev"]
    if missing:
        sys.stderr.write(f"the C++ echo is not built: {', '.join(missing)} not found\n")
        return 0
    if CPP.exists() and CPP.stat().st_mtime > max(f.stat().st_mtime for f in (_SOURCE, PROTO / _FILES[0])):
        return 0
    with tempfile.TemporaryDirectory(prefix="tact-echo-") as name:
        try:
            _build(Path(name))
        except subprocess.CalledProcessError as error:
            sys.stderr.write(f"the C++ echo is not built: {error.cmd[0]} failed\n")
            return 1
    return 0


def _build(directory: Path) -> None:
    plugin = f"--plugin=protoc-gen-grpc={shutil.which('grpc_cpp_plugin')}"
    out = [f"--cpp_out={directory}", f"--grpc_out={directory}", plugin]
    _run(["protoc", f"-I{PROTO}", f"-I{COMMON_PROTO}", *out, *_FILES])
    generated = [str(path) for path in directory.rglob("*.cc") if "grpc" not in path.name or "tact" in path.parts]
    flags = _run(["pkg-config", "--cflags", "--libs", "grpc++", "protobuf"]).split()
    CPP.parent.mkdir(exist_ok=True)
    made = directory / "echo"  # moved at the end: what stands there is whole
    _run(["g++", "-std=c++17", "-O2", f"-I{directory}", str(_SOURCE), *generated, *flags, "-o", str(made)])
    shutil.move(made, CPP)


def _run(command: list[str]) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
