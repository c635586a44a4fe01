"""Bandit libraries in a child process, with a Python that has them: `.venv-peers`, made by `make bench-peers`.

`TACT_PEERS_PYTHON` names another one. They are not installed beside Tact: they bring a numpy of their own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

_ROOT = Path(__file__).resolve().parents[2]
_SCRIPT = Path(__file__).parent / "py" / "measure.py"
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
LIBRARIES = ("vowpalwabbit", "mabwiser", "contextualbandits")


def python() -> str:
    """The interpreter that is asked for the libraries."""
    made = _ROOT / ".venv-peers" / "bin" / "python"
    return os.environ.get("TACT_PEERS_PYTHON") or (str(made) if made.exists() else sys.executable)


class Bandits:
    """The libraries, trained on `work` (`py/measure.py` has its keys); `available`: their versions by name."""

    def __init__(self, work: Mapping[str, object]) -> None:
        self._child = subprocess.Popen(
            [python(), str(_SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**{k: v for k, v in os.environ.items() if k != "PYTHONPATH"}, **_ONE_THREAD},
        )
        self.available: dict[str, str] = json.loads(self._ask(work))["available"]

    def us(self, name: str, how: str, seconds: float) -> float:
        """Microseconds of processor time a decision, `how` being "one" or "batch", over about so many seconds."""
        return float(self._ask([name, how, seconds]))

    def _ask(self, what: object) -> str:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps(what) + "\n")
        self._child.stdin.flush()
        answer = self._child.stdout.readline()
        if not answer:
            raise RuntimeError(f"{python()} {_SCRIPT.name} ended with status {self._child.wait()}")
        return answer

    def __enter__(self) -> Bandits:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.close()
        self._child.wait()
        self._child.stdout.close()
