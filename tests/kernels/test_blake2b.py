"""The hash kernel against hashlib's."""

import hashlib

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.kernels import blake2b


def hashed(size: int, key: bytes, person: bytes, before: bytes, message: bytes, after: bytes = b"") -> bytes:
    """The kernel's digest of a message that lies between others."""
    out = np.empty(8, np.uint64)
    buffer = np.frombuffer(before + message + after, np.uint8)
    blake2b.digest(blake2b.start(size, key, person), buffer, len(before), len(before) + len(message), out)
    return out.tobytes()[:size]


@settings(max_examples=500, deadline=None)
@given(
    st.integers(1, 64), st.binary(max_size=64), st.binary(max_size=16), st.binary(max_size=9), st.binary(max_size=300)
)
@example(64, b"", b"", b"", b"")
def test_equals_hashlib(size: int, key: bytes, person: bytes, before: bytes, message: bytes) -> None:
    if key and not message:
        message = b"\0"
    expected = hashlib.blake2b(message, digest_size=size, key=key, person=person).digest()
    assert hashed(size, key, person, before, message, b"behind") == expected


@pytest.mark.parametrize("key", [b"", b"secret", b"k" * 64])
def test_every_length_to_three_blocks(key: bytes) -> None:
    message = bytes(np.random.default_rng(7).integers(0, 256, 400, np.uint8))
    for length in range(1 if key else 0, 400):
        expected = hashlib.blake2b(message[:length], digest_size=16, key=key, person=b"tact-customer").digest()
        assert hashed(16, key, b"tact-customer", b"", message[:length]) == expected


@pytest.mark.parametrize(
    ("size", "key", "person"), [(0, b"", b""), (65, b"", b""), (8, b"k" * 65, b""), (8, b"", b"p" * 17)]
)
def test_what_the_standard_does_not_know_is_refused(size: int, key: bytes, person: bytes) -> None:
    with pytest.raises(ValueError, match="no BLAKE2b of"):
        blake2b.start(size, key, person)
