"""Nothing compiles once the cache is warm."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
from engine.kernels.warm import warm
from engine.kernels import calendar, contact, evaluate, funnel, philox
warm()
for kernel in (calendar.local_day, contact.rolling_load, evaluate.evaluate, funnel.funnel, philox.uniform30):
    assert not kernel.stats.cache_misses, kernel
    assert kernel.stats.cache_hits, kernel
"""


def test_a_second_process_only_loads() -> None:
    root = Path(__file__).parents[2]
    for program in ("import engine.kernels.warm", PROGRAM):
        done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
