"""server.py as a process, for tests that need one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from engine.pb.tact.v1 import decision_pb2 as pb

ROOT = Path(__file__).parents[2]
RULES = """\
events: {deposit: {amount: number}}
purposes: {service: {consent: not_required, if_state_unknown: send}}
channels: {push: {}}
messages:
  thanks: {purpose: service, on: [deposit], value: 1.0, channels: [push], variants: {plain: {en: "Thank you."}}}
"""
WAIT_S = 60


class Server:
    """A server process; stopped with the test."""

    def __init__(
        self, tmp_path: Path, *arguments: str, rules: str = RULES, environment: dict[str, str] | None = None
    ) -> None:
        directory = tmp_path / "rules"
        directory.mkdir(exist_ok=True)
        (directory / "rules.yaml").write_text(rules)
        command = [sys.executable, str(ROOT / "server.py"), "--rules", str(directory), "--data", str(tmp_path / "data")]
        if "--listen" not in arguments:
            arguments = ("--listen", "127.0.0.1:0", *arguments)
        self.errors = tmp_path / "stderr"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*command, *arguments],
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=tmp_path,
                env={k: v for k, v in os.environ.items() if not k.startswith("TACT_")} | (environment or {}),
                start_new_session=True,
            )

    def ready(self) -> dict[str, Any]:
        """The ready line; fails with what the server said where there is none."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.said()
        ready: dict[str, Any] = json.loads(line)
        return ready

    def said(self) -> str:
        return self.errors.read_text()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(WAIT_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def decide(stub: Any, number: int, ready: bool = False) -> pb.DecideResponse:
    event = pb.Event(event_id=f"e{number}", customer_id=f"c{number}", type="deposit")
    answer: pb.DecideResponse = stub.Decide(pb.DecideRequest(event=event), timeout=20, wait_for_ready=ready)
    return answer
