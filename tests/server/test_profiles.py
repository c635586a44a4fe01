"""Partial updates of profiles from many connections to several workers: none is lost, and no withdrawal is cleared."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from engine.pb.tact.v1 import decision_pb2, profile_pb2, profile_pb2_grpc
from tests.server.process import Server

WRITERS, OWN, ROUNDS = 8, 6, 3
FEATURES = "\n".join(f"  f{w}_{k}: integer" for w in range(WRITERS) for k in range(OWN))
RULES = f"""\
events: {{deposit: {{amount: number}}}}
features:
{FEATURES}
  old: text
purposes:
  service: {{consent: not_required, if_state_unknown: send}}
  marketing: {{consent: required, if_state_unknown: silent}}
channels: {{push: {{}}}}
messages:
  thanks: {{purpose: service, on: [deposit], value: 1.0, channels: [push], variants: {{plain: {{en: "Thank you."}}}}}}
"""


def stub_of(address: str) -> Any:
    # a channel of its own is a connection of its own: workers share the port
    channel = grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
    return profile_pb2_grpc.ProfileServiceStub(channel)


def put(stub: Any, *profiles: profile_pb2.Profile) -> None:
    """Puts them, again where that is not known to be done."""
    for _ in range(20):
        results = stub.PutProfiles(profile_pb2.PutProfilesRequest(profiles=profiles), timeout=30).results
        left = [p for p, r in zip(profiles, results, strict=True) if r.HasField("error")]
        refused = [r.error.message for r in results if r.HasField("error") and r.error.code != 14]
        assert refused == []
        if not left:
            return
        profiles = tuple(left)
    raise AssertionError("a profile was not put in twenty turns")


@pytest.mark.parametrize("workers", [1, 2])
def test_partial_updates_of_one_customer_are_not_lost(tmp_path: Path, workers: int) -> None:
    """Each writer sets features of its own, plainly and with a feature to clear (which goes another way inside)."""
    server = Server(tmp_path, "--workers", str(workers), rules=RULES)
    try:
        address = server.ready()["address"]
        put(stub_of(address), profile_pb2.Profile(customer_id="ana", features={"old": decision_pb2.Value(text="x")}))

        def write(writer: int) -> None:
            stub = stub_of(address)
            for turn in range(ROUNDS):
                for k in range(OWN):
                    value = decision_pb2.Value(integer=100 * turn + k)
                    ana = profile_pb2.Profile(customer_id="ana", features={f"f{writer}_{k}": value})
                    if k == 0:
                        ana.clear_features.append("old")
                    if k == 1 and writer == 0 and turn == 2:
                        ana.contact.consents.add(purpose="marketing", state=profile_pb2.Consent.WITHDRAWN)
                    if k == 2:  # says what stood before
                        ana.contact.consents.add(purpose="marketing", state=profile_pb2.Consent.GRANTED)
                    others = [
                        profile_pb2.Profile(customer_id=f"c{c}", features={f"f{writer}_{k}": value}) for c in range(20)
                    ]
                    put(stub, *others[:7], ana, *others[7:])

        with ThreadPoolExecutor(WRITERS) as pool:
            for done in [pool.submit(write, writer) for writer in range(WRITERS)]:
                done.result()

        stub = stub_of(address)
        last = {f"f{w}_{k}": 100 * (ROUNDS - 1) + k for w in range(WRITERS) for k in range(OWN)}
        for customer in ("ana", *(f"c{c}" for c in range(20))):
            profile = stub.GetProfile(profile_pb2.GetProfileRequest(customer_id=customer)).profile
            assert {name: value.integer for name, value in profile.features.items()} == last
            if customer == "ana":
                assert [(c.purpose, c.state) for c in profile.contact.consents] == [
                    ("marketing", profile_pb2.Consent.WITHDRAWN)
                ]
            else:
                assert not profile.HasField("contact")
        put(stub, profile_pb2.Profile(customer_id="c1", contact={"blocked_channels": ["push"]}))
        put(stub, profile_pb2.Profile(customer_id="c1", features={"old": decision_pb2.Value(text="y")}))
        profile = stub.GetProfile(profile_pb2.GetProfileRequest(customer_id="c1")).profile
        assert list(profile.contact.blocked_channels) == ["push"]  # absent: unchanged
        put(stub, profile_pb2.Profile(customer_id="c1", contact={}))
        profile = stub.GetProfile(profile_pb2.GetProfileRequest(customer_id="c1")).profile
        assert list(profile.contact.blocked_channels) == []  # present: replaced
        assert server.end() == 0
        assert "Traceback" not in server.said()
    finally:
        server.close()


def test_a_misspelt_topic_is_refused_alone(tmp_path: Path) -> None:
    """Beside profiles that kernels take, whether its topic is blocked or spoken of by a consent."""
    server = Server(tmp_path, rules=RULES.replace("thanks: {", "thanks: {topic: savings, "))
    try:
        stub = stub_of(server.ready()["address"])
        contacts: list[Any] = [
            {"blocked_topics": ["savings", "gardens"]},
            {"blocked_topics": ["gardens", "svaings"]},
            {"consents": [{"purpose": "marketing", "state": "WITHDRAWN", "topic": "Savings"}]},
        ]
        profiles = [profile_pb2.Profile(customer_id=f"c{k}", contact=contact) for k, contact in enumerate(contacts)]
        results = stub.PutProfiles(profile_pb2.PutProfilesRequest(profiles=profiles), timeout=30).results
        assert [r.customer_id for r in results] == ["c0", "c1", "c2"]
        assert [r.error.message for r in results] == [
            "",
            "contact.blocked_topics[1]: topic \"svaings\" is not in the rule set; did you mean 'savings'?",
            "contact.consents[0].topic: topic \"Savings\" is not in the rule set; did you mean 'savings'?",
        ]
    finally:
        server.close()
