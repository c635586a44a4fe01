"""`tact check --watch`: one check per change, whatever happens to the directory. No clock is read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from engine.cli import watch
from engine.cli.check import View
from engine.cli.watch import Snapshot


def seen(*names: str) -> list[Snapshot]:
    """Snapshots told apart by a letter."""
    return [((name, 0, 0),) for name in names]


def test_one_check_for_several_steps_of_writing() -> None:
    a, b, c = seen("a", "b", "c")
    assert list(watch.settled([a, a, a])) == [a]
    assert list(watch.settled([a, b, b, b])) == [a, b]
    assert list(watch.settled([a, b, c, c, a, a])) == [a, c, a]
    assert list(watch.settled([a, b, a, b])) == [a], "never still, never checked"
    assert list(watch.settled([a, b, a, a])) == [a], "what was put back needs no check"


def test_a_snapshot_knows_times_sizes_and_names(tmp_path: Path) -> None:
    assert watch.snapshot(tmp_path / "nowhere") == ()
    file = tmp_path / "a.yaml"
    file.write_text("caps: []\n")
    first = watch.snapshot(tmp_path)
    os.utime(file, ns=(1, 1))
    second = watch.snapshot(tmp_path)
    file.rename(tmp_path / "b.yaml")
    assert len({first, second, watch.snapshot(tmp_path), ()}) == 4
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "index").write_text("")
    assert len(watch.snapshot(tmp_path)) == 1


def test_it_polls_between_sleeps(tmp_path: Path) -> None:
    slept: list[float] = []
    (tmp_path / "a").write_text("")
    assert [len(s) for s in islice(watch.polled(tmp_path, slept.append), 3)] == [1, 1, 1]
    assert slept == [watch.POLL_S] * 2


def test_it_survives_half_written_files_and_a_deleted_directory(
    rules: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def changes() -> Iterator[Snapshot]:
        def now() -> list[Snapshot]:
            return [watch.snapshot(rules)] * 2

        file = rules / "rules.yaml"
        whole = file.read_text().replace("product: fund", "product: fnd")
        file.write_text(whole)
        yield from now()
        file.write_text(whole + "holdout: {share: 5%")
        yield from now()
        file.write_bytes(b"\xff\x00")
        yield from now()
        shutil.rmtree(rules)
        yield from now()
        rules.mkdir()
        file.write_text(whole)
        yield from now()
        raise KeyboardInterrupt

    assert watch.run(rules, View(), changes()) == 0
    rounds = capsys.readouterr().out.split("watching for changes; Ctrl-C ends it\n")
    assert [text.split("error[")[1].split("]")[0] for text in rounds[:-1]] == [
        "unknown-product", "yaml-syntax", "not-utf8", "no-rules", "unknown-product",
    ]  # fmt: skip
    assert rounds[-1] == ""
