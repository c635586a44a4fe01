"""Asks a server for its health, for container health checks: `python -m engine.cli.health [HOST:PORT]`.

Without an address it asks this machine, at the port of TACT_LISTEN. Exit status: 0 SERVING, 1 anything
else, 2 wrong usage.
"""

from __future__ import annotations

import os
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

TIMEOUT_S = 3.0
_PORT = "50051"


def ask(target: str, timeout_s: float = TIMEOUT_S) -> str:
    """The status of the whole server as grpc.health.v1 names it. Raises grpc.RpcError where none answers."""
    with grpc.insecure_channel(target) as channel:
        response = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
    name: str = health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)
    return name


def _here() -> str:
    """This machine, at the port that the server beside us listens on."""
    return f"127.0.0.1:{os.environ.get('TACT_LISTEN', '').rpartition(':')[2] or _PORT}"


def main(arguments: list[str]) -> int:
    """Prints the status; returns the exit status."""
    if len(arguments) > 1 or arguments[:1] in (["-h"], ["--help"]):
        sys.stderr.write(f"{__doc__}\n")
        return 2
    target = arguments[0] if arguments else _here()
    try:
        status = ask(target)
    except grpc.RpcError as error:
        sys.stderr.write(f"{target}: {error.code().name}: {error.details()}\n")
        return 1
    sys.stdout.write(f"{status}\n")
    return 0 if status == "SERVING" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
