"""Immutable data that is made by the hundred thousand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def frozen(kind: type[T]) -> type[T]:
    """A dataclass with slots that compares and hashes by its fields.

    The type checker takes it for frozen. It is not at run time: setting fields past a frozen class's guard
    makes its objects take 0.74 us each instead of 0.21.
    """
    return dataclass(slots=True, unsafe_hash=True)(kind)
