"""A sample of the damaged rule sets; `python tests/faults/mutate_rules.py --count 100000` makes them all."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

_SPEC = importlib.util.spec_from_file_location("mutate_rules", Path(__file__).with_name("mutate_rules.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
mutate_rules = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(mutate_rules)


@pytest.mark.parametrize("seed", [1, 2])
def test_damaged_rules_are_refused_or_work(seed: int) -> None:
    failures = mutate_rules.run(seed, range(150), patient=True)
    assert failures == [], failures[0].detail


def test_damage_is_done_and_repeats_itself() -> None:
    files = mutate_rules.sets()
    cases = [mutate_rules.damaged(files, 1, case) for case in range(50)]
    assert cases == [mutate_rules.damaged(files, 1, case) for case in range(50)]
    assert sum(case not in files for case in cases) > 40
