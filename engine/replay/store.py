"""The store of a replay: records, answers and log as in production, profiles from the rows.

A profile is worth what the table says in the moment of the row, so it is laid over what is read instead
of being written and read back: a round trip less per row, and cells are as old as the row.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from engine.compiler.model import RuleSet
from engine.identity import CustomerKey
from engine.state.log import DecisionEntry
from engine.state.model import (
    Commit,
    CommitStatus,
    ConsentEntry,
    Contact,
    Profile,
    ReadBatch,
    ReadEntry,
    ReadRequest,
)
from engine.state.profile import encode as encode_profile
from engine.state.profile import new_version
from engine.state.redis import RedisStore
from engine.step.inputs import stored

_GRANTED_MS = 1  # `consent:` holds from the beginning
_ENCODED_MAX = 20_000


class RowProfiles:
    """Implements `state.model.Store` over a RedisStore; `lay` says which profile a customer has now."""

    def __init__(self, store: RedisStore, rules: RuleSet, consent: Sequence[str]) -> None:
        self._store = store
        self._features = rules.features
        self._contact = Contact([ConsentEntry(p, True, _GRANTED_MS, "replay", "") for p in consent])
        self._laid: dict[CustomerKey, bytes] = {}
        self._encoded: OrderedDict[tuple[object, ...], bytes] = OrderedDict()

    def lay(self, profiles: Mapping[CustomerKey, tuple[Mapping[str, object], int]]) -> None:
        """The features of customers, as of a time in ms; whoever was laid before is forgotten."""
        self._laid = {key: self._encode(features, at_ms) for key, (features, at_ms) in profiles.items()}

    def _encode(self, features: Mapping[str, object], at_ms: int) -> bytes:
        known = (at_ms, *((n, type(v), v) for n, v in features.items()))
        blob = self._encoded.get(known)
        if blob is None:
            cells = {name: stored(self._features[name], value, at_ms) for name, value in features.items()}
            contact = self._contact if self._contact.consents else None
            blob = self._encoded[known] = encode_profile(Profile(new_version(), cells, contact))
            if len(self._encoded) > _ENCODED_MAX:
                self._encoded.popitem(last=False)
        return blob

    async def read(self, requests: Sequence[ReadRequest]) -> ReadBatch:
        """See `Store`; with the profiles laid over."""
        batch = await self._store.read(requests)
        entries = [
            ReadEntry(self._laid.get(request.customer, b""), entry.record, entry.spilled)
            for request, entry in zip(requests, batch.entries, strict=True)
        ]
        return ReadBatch(batch.now_ms, entries)

    async def commit(self, commits: Sequence[Commit], not_after_ms: int) -> list[CommitStatus]:
        """See `Store`; no profile is stored, so none can have moved."""
        stored = [replace(c, profile_version=b"", profile=None) for c in commits]
        return await self._store.commit(stored, not_after_ms)

    async def find_decision(self, customer: CustomerKey, event: int, slot: int) -> DecisionEntry | None:
        """See `Store`."""
        return await self._store.find_decision(customer, event, slot)
