"""Philox against numpy's, which counts up before it draws."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.kernels.philox import uniform30

words = st.integers(0, 2**64 - 1)


@settings(max_examples=50, deadline=None)
@given(st.tuples(words, words), st.integers(0, 2**256 - 1))
def test_equals_numpy(key: tuple[int, int], counter: int) -> None:
    before = (counter - 1) % 2**256
    split = [[(number >> 64 * i) % 2**64 for i in range(4)] for number in (before, counter)]
    generator = np.random.Philox(key=np.array(key, np.uint64), counter=np.array(split[0], np.uint64))
    assert uniform30(*key, *split[1]) == int(generator.random_raw()) >> 34


def test_known_answer() -> None:
    # kat_vectors of Random123: key and counter zero give 16554d9eca36314c first
    assert uniform30(0, 0, 0, 0, 0, 0) == 0x16554D9ECA36314C >> 34
