"""The same methods called by grpc-js, the client of Node, an implementation of gRPC of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.transport.conftest import Served

HERE = Path(__file__).with_name("js")
NODE = shutil.which("node")


@pytest.mark.skipif(NODE is None, reason="node is not here")
@pytest.mark.skipif(
    not (HERE / "node_modules" / "@grpc" / "grpc-js").is_dir(),
    reason="grpc-js is not here: npm install --no-package-lock in tests/transport/js",
)
def test_grpc_js(server: Served) -> None:
    assert NODE is not None
    command = [NODE, str(HERE / "client.js"), server.address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "echo": "hello",
        "large": 1_000_000,
        "many": True,
        "failed": [9, "100 % ☺", True],
        "deadline": 4,
        "metadata": [["x-raw-bin", "00ff"]],
        "chat": [["0", "1", "2", "3", "4"], 0],
    }
