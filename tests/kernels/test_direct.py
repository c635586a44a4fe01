"""Calls past numba's dispatcher: the same result, and a mistake is seen where calls are looked at."""

from __future__ import annotations

import numpy as np
import pytest

from engine.kernels import direct
from engine.kernels.contact import rolling_load

_LOADS = np.array([3, 4, 9], np.int64)


def test_the_same_result_with_and_without_being_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    called = direct.direct(rolling_load)
    wanted = rolling_load(_LOADS, 2, 4)
    assert [called(_LOADS, 2, 4), called(_LOADS, 2, 4)] == [wanted, wanted]
    monkeypatch.setattr(direct, "checked", False)
    assert called(_LOADS, 2, 4) == wanted


def test_other_types_are_refused_and_remembered() -> None:
    called = direct.direct(rolling_load)
    called(_LOADS, 2, 4)
    with pytest.raises(TypeError, match="rolling_load was called with"):
        called(_LOADS.astype(np.float64), 2, 4)
    assert len(direct.mistaken) == 1
    direct.mistaken.clear()
