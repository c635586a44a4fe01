"""Commands run as users run them: real arguments, real files, a real server where one is asked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from engine.cli.main import main

ROOT = Path(__file__).parents[2]

RULES = Path(__file__).parent / "small_rules.yaml"


class Ran(NamedTuple):
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Tact = Callable[..., Ran]


@pytest.fixture
def tact(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tact:
    """Runs `tact` with these arguments in this process, as in a pipe."""
    for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR", "TACT_TARGET"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["tact", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return Ran(int(ended.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """A small rule set of one file, rules.yaml."""
    directory = tmp_path / "rules"
    directory.mkdir()
    shutil.copy(RULES, directory / "rules.yaml")
    return directory


@pytest.fixture(scope="session")
def target(serve: Callable[[Path], str]) -> str:
    """The address of a server with the small rule set; whoever changes it puts it back."""
    return serve(RULES)


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path], str]]:
    """Starts a server with a rule set of one file; its address."""
    with ExitStack() as servers:
        yield lambda file: servers.enter_context(_serving(tmp_path_factory.mktemp("server"), file))


@contextmanager
def _serving(directory: Path, file: Path) -> Iterator[str]:
    (directory / "rules").mkdir()
    shutil.copy(file, directory / "rules" / "rules.yaml")
    command = [sys.executable, str(ROOT / "server.py"), "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(
        [*command, "--rules", str(directory / "rules"), "--data", str(directory / "data")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={k: v for k, v in os.environ.items() if not k.startswith("TACT_")},
        start_new_session=True,
    )
    assert process.stdout is not None
    with process.stdout:
        try:
            yield json.loads(process.stdout.readline())["address"]
        finally:
            process.terminate()
            process.wait(60)
