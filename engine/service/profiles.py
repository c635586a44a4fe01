"""ProfileService: what the bank tells the engine about its customers."""

from __future__ import annotations

from engine.answer import to_bytes
from engine.bundle import Active
from engine.columns.put_lane import PutLane
from engine.compiler.model import RuleSet
from engine.contact.topics import Topics
from engine.decider import Decider
from engine.errors import InvalidInput, NotFound, Unavailable
from engine.pb.tact.v1 import profile_pb2 as pb
from engine.service.codec import parse, split
from engine.service.guard import Guard
from engine.service.limiter import Limiter
from engine.service.profile_codec import decode_profile, encode_profile
from engine.service.status import item_status
from engine.service.values import Violations, check_id
from engine.step.operations import ProfileChange
from engine.transport import Call, Method

_PATH = "/tact.v1.ProfileService/"


class ProfileService:
    """The methods of tact.v1.ProfileService over one decider."""

    def __init__(self, decider: Decider, active: Active, limiter: Limiter, puts: PutLane | None = None) -> None:
        """`puts`: takes what is plain, in columns; without it everything goes the ordinary way."""
        self._decider = decider
        self._active = active
        self._limiter = limiter
        self._puts = puts
        self._topics: tuple[RuleSet, Topics] | None = None

    def methods(self, guard: Guard) -> list[Method]:
        """The service's part of the method table."""
        return [
            guard.unary(_PATH + "PutProfiles", self.put_profiles),
            guard.unary(_PATH + "GetProfile", self.get_profile),
            guard.unary(_PATH + "EraseCustomer", self.erase_customer),
        ]

    async def put_profiles(self, payload: bytes, call: Call) -> bytes:
        """Up to 1,000 profiles, each with its own result."""
        spans = None if self._puts is None else self._puts.find(payload)
        if self._puts is None or spans is None:
            items = split(payload, "profiles")
            async with self._limiter.turn(call, len(items)):
                return b"".join(await self._put(items))
        async with self._limiter.turn(call, len(spans)):
            results = await self._puts.put(payload, spans)
            left = [payload[begin:end] for (begin, end), r in zip(spans.tolist(), results, strict=True) if r is None]
            others = iter(await self._put(left) if left else ())
        parts = []
        for result, (begin, end) in zip(results, spans.tolist(), strict=True):
            if isinstance(result, Unavailable):
                failed = pb.PutProfileResult(customer_id=parse(pb.Profile, payload[begin:end]).customer_id)
                failed.error.CopyFrom(item_status(result))
                result = to_bytes(pb.PutProfilesResponse(results=[failed]))
            parts.append(next(others) if result is None else result)
        return b"".join(parts)

    async def _put(self, items: list[bytes]) -> list[bytes]:
        """The ordinary way: the part of the answer that belongs to each item."""
        rules = self._active.bundle.ruleset
        topics = self._topics_of(rules)
        results = [pb.PutProfileResult() for _ in items]
        changes: list[ProfileChange] = []
        places: list[int] = []
        for i, item in enumerate(items):
            try:
                message = parse(pb.Profile, item)
                results[i].customer_id = message.customer_id
                changes.append(decode_profile(message, rules, topics))
                places.append(i)
            except InvalidInput as error:
                results[i].error.CopyFrom(item_status(error))
        errors = await self._decider.put_profiles(changes) if changes else []
        for place, failed in zip(places, errors, strict=True):
            if failed is not None:
                results[place].error.CopyFrom(item_status(failed))
        return [to_bytes(pb.PutProfilesResponse(results=[r])) for r in results]

    def _topics_of(self, rules: RuleSet) -> Topics:
        if self._topics is None or self._topics[0] is not rules:
            self._topics = rules, Topics(rules)
        return self._topics[1]

    async def get_profile(self, payload: bytes, call: Call) -> bytes:
        """What the bank wrote of a customer."""
        customer_id = _checked(parse(pb.GetProfileRequest, payload).customer_id)
        async with self._limiter.turn(call):
            profile = await self._decider.get_profile(customer_id)
        if profile is None:
            raise NotFound("no profile is kept of this customer")
        return to_bytes(pb.GetProfileResponse(profile=encode_profile(customer_id, profile)))

    async def erase_customer(self, payload: bytes, call: Call) -> bytes:
        """Deletes all that is kept of a customer."""
        customer_id = _checked(parse(pb.EraseCustomerRequest, payload).customer_id)
        async with self._limiter.turn(call):
            existed = await self._decider.erase(customer_id)
        return to_bytes(pb.EraseCustomerResponse(existed=existed))


def _checked(customer_id: str) -> str:
    into = Violations()
    check_id(customer_id, "customer_id", into)
    into.check()
    return customer_id
