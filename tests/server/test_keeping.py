"""The log's keeper: where half of it ends, all of it does, so that its parent starts it again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from engine import keeping
from engine.learning.learner import Learner
from engine.settings import parse
from engine.state.embedded import EmbeddedStore
from tests.server.process import RULES


async def _breaks(learner: Learner, every_s: float, now_ms: object) -> None:
    raise ValueError("an entry nobody thought of")


@pytest.mark.parametrize("broken", [True, False])
def test_a_keeper_ends_with_its_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: bool) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "rules.yaml").write_text(RULES)
    settings = parse(["--rules", str(rules), "--data", str(tmp_path / "data")], {})
    settings.data.mkdir()
    stop = asyncio.Event()
    if broken:
        monkeypatch.setattr(keeping, "keep_learning", _breaks)
    else:
        stop.set()
    embedded = EmbeddedStore(settings.data)
    try:
        work = asyncio.wait_for(keeping.keep(settings, embedded.start(), stop), 30)
        if broken:
            with pytest.raises(ValueError, match="nobody thought of"):
                asyncio.run(work)
        else:
            asyncio.run(work)
    finally:
        embedded.stop()
