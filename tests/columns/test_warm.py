"""Filling the cache of kernels: who waits is told why, once."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from engine.columns import warm


def test_a_cache_that_was_never_filled_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(warm, "CACHE", tmp_path)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    with pytest.raises(KeyboardInterrupt), warm._helped():
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())  # the next one begins again
    assert capsys.readouterr().err == "compiling kernels, once: one to three minutes\n"
    for told in ("compiling kernels, once: one to three minutes\n", ""):
        with warm._helped():
            pass
        assert capsys.readouterr() == ("", told)
    assert [path.name for path in tmp_path.iterdir()] == [f"filled-{sys.implementation.cache_tag}"]
