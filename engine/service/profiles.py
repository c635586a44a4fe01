"""ProfileService: what the bank tells the engine about its customers."""

from __future__ import annotations

from engine.answer import to_bytes
from engine.bundle import Active
from engine.decider import Decider
from engine.errors import InvalidInput, NotFound
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

    def __init__(self, decider: Decider, active: Active, limiter: Limiter) -> None:
        self._decider = decider
        self._active = active
        self._limiter = limiter

    def methods(self, guard: Guard) -> list[Method]:
        """The service's part of the method table."""
        return [
            guard.unary(_PATH + "PutProfiles", self.put_profiles),
            guard.unary(_PATH + "GetProfile", self.get_profile),
            guard.unary(_PATH + "EraseCustomer", self.erase_customer),
        ]

    async def put_profiles(self, payload: bytes, call: Call) -> bytes:
        """Up to 1,000 profiles, each with its own result."""
        items = split(payload, "profiles")
        rules = self._active.bundle.ruleset
        results = [pb.PutProfileResult() for _ in items]
        changes: list[ProfileChange] = []
        places: list[int] = []
        for i, item in enumerate(items):
            try:
                message = parse(pb.Profile, item)
                results[i].customer_id = message.customer_id
                changes.append(decode_profile(message, rules))
                places.append(i)
            except InvalidInput as error:
                results[i].error.CopyFrom(item_status(error))
        async with self._limiter.turn(call, len(items)):
            errors = await self._decider.put_profiles(changes) if changes else []
        for place, failed in zip(places, errors, strict=True):
            if failed is not None:
                results[place].error.CopyFrom(item_status(failed))
        return to_bytes(pb.PutProfilesResponse(results=results))

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
