"""What a store keeps of learning, read as of one moment, and corrected while learners go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from itertools import chain
from typing import Any, NamedTuple

import orjson

from engine.errors import StoreUnavailable
from engine.learning.posteriors import ArmKey, ArmState
from engine.learning.sums import arms_of, fields_of
from engine.state.log import ElsewhereEntry, encode
from engine.state.redis import RedisStore

_SCRIPT = resources.files("engine.state").joinpath("lua/correct.lua").read_text()
_NAMES = ("learn:offsets", "learn:sums", "learn:version", "learn:corrections", "learn:elsewhere")
Fields = dict[bytes, int]


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What was learnt elsewhere and given to a policy, under a name. `source` and `worth` (0: all) are for people."""

    policy: str
    source: str
    worth: int
    given_ms: int
    sums: Fields

    def encode(self) -> bytes:
        """As it is kept."""
        sums = {name.decode(): value for name, value in self.sums.items()}
        return orjson.dumps([self.policy, self.source, self.worth, self.given_ms, sums])

    @classmethod
    def decode(cls, blob: bytes) -> Elsewhere:
        """The same back."""
        policy, source, worth, given_ms, sums = orjson.loads(blob)
        return cls(policy, source, worth, given_ms, {name.encode(): value for name, value in sums.items()})


@dataclass(frozen=True, slots=True)
class Stored:
    """`offsets`: the last id folded of each bucket's log; `elsewhere` by name; `corrections`: how many were made."""

    now_ms: int = 0
    version: int = 0
    corrections: int = 0
    offsets: Mapping[int, str] = field(default_factory=dict)
    sums: Fields = field(default_factory=dict)
    elsewhere: Mapping[str, Elsewhere] = field(default_factory=dict)


class Move(NamedTuple):
    """A bucket's offset, set from one id to another."""

    bucket: int
    before: str
    after: str


async def read_stored(store: RedisStore) -> Stored:
    """Everything of one moment. Raises StoreUnavailable."""
    offsets, sums, version, corrections, elsewhere = (store.key(name) for name in _NAMES)
    *_, found = await _pipeline(
        store,
        ("MULTI",),
        ("TIME",),
        ("HGETALL", offsets),
        ("HGETALL", sums),
        ("GET", version),
        ("GET", corrections),
        ("HGETALL", elsewhere),
        ("EXEC",),
    )
    time, offset, fields, at, made, given = found
    return Stored(
        int(time[0]) * 1000 + int(time[1]) // 1000,
        int(at or 0),
        int(made or 0),
        {int(bucket): log_id.decode() for bucket, log_id in _pairs(offset)},
        {name: int(value) for name, value in _pairs(fields)},
        {name.decode(): Elsewhere.decode(blob) for name, blob in _pairs(given)},
    )


async def correct(
    store: RedisStore,
    stored: Stored,
    right: Fields,
    moves: Sequence[Move] = (),
    given: tuple[str, Elsewhere | None] | None = None,
) -> bool:
    """Turns the sums that were read into the right ones, whatever learners added since.

    `given`: what was learnt elsewhere is known by a name from now on (None: no more), of which the log tells. False:
    somebody was faster (another correction, or a learner with one of these offsets), and nothing was written.
    Raises StoreUnavailable.
    """
    changes = [
        (name, right.get(name, 0) - stored.sums.get(name, 0), int(name in right))
        for name in sorted(right.keys() | stored.sums.keys())
        if right.get(name) != stored.sums.get(name)
    ]
    arguments: list[Any] = [stored.corrections, *_told(stored, given)]
    arguments += [len(moves), *chain.from_iterable(moves), len(changes), *chain.from_iterable(changes)]
    [version] = await _pipeline(
        store, ("EVAL", _SCRIPT, 6, *(store.key(name) for name in (*_NAMES, "log")), *arguments)
    )
    return bool(version != -1)


def _told(stored: Stored, given: tuple[str, Elsewhere | None] | None) -> tuple[str | bytes, ...]:
    if given is None:
        return "", "", ""
    name, one = given
    policy = one.policy if one is not None else stored.elsewhere[name].policy
    entry = encode(ElsewhereEntry(stored.now_ms, bytes(16), name, policy))
    return name, one.encode() if one is not None else b"", entry


def fields_of_all(arms: Mapping[ArmKey, ArmState]) -> Fields:
    """The sums of arms by name, as the store keeps them."""
    return {name: value for arm, state in arms.items() for name, value in fields_of(arm, state)}


def added(sums: Fields, more: Fields, times: int = 1) -> Fields:
    """Both together; what is zero and needs not be there is left out."""
    total = {**sums, **{name: sums.get(name, 0) + times * value for name, value in more.items()}}
    arms = arms_of(total)
    return fields_of_all({arm: state for arm, state in arms.items() if state.trials})


def _pairs(flat: Any) -> Any:
    return zip(flat[::2], flat[1::2], strict=True)


async def _pipeline(store: RedisStore, *commands: Any) -> Any:
    replies = await store.side.pipeline(list(commands))
    for reply in replies:
        if isinstance(reply, Exception):
            raise StoreUnavailable(f"the store refused: {reply}")
    return replies
