"""Runs language-neutral cases of contact policy (see contact/README.md) against the engine on a real store.

Both ways: the step in Python alone, and with the lane in front of it. The store's clock stands where the case says.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml

from engine.bundle import Active, Bundle, compile_bundle
from engine.columns.lane import Lane
from engine.decider import DeciderSettings, create_decider
from engine.errors import TactError
from engine.pb.tact.v1 import decision_pb2 as pb
from engine.pb.tact.v1 import profile_pb2
from engine.replay.manual_store import ManualStore
from engine.revisions import Revisions
from engine.service.decision import DecisionService
from engine.service.limiter import Limiter
from engine.service.profiles import ProfileService
from engine.transport import Call, Code, RpcError, awaited

HERE = Path(__file__).parent / "contact"
_BEFORE_MS = 60_000  # how long before the first step what is `given` was written
_KEPT_MS = 400 * 86_400_000  # messages have always been remembered for so long
Json = Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """One case of a file, its policy filled in from the file's."""

    file: str
    name: str
    policy: Json
    given: Json
    timeline: tuple[Json, ...]

    def __str__(self) -> str:
        return f"{self.file}: {self.name}"


class _Plain(yaml.SafeLoader):
    """YAML 1.2 as far as cases go: times stay text."""


_Plain.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if not tag.endswith(":timestamp")]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read(path: Path) -> Any:
    """A file as plain data."""
    return yaml.load(path.read_text(), _Plain)


def load(directory: Path = HERE) -> Iterator[Case]:
    """All cases, in the order of files and of cases in them."""
    for path in sorted(directory.glob("*.yaml")):
        text = read(path)
        for case in text["cases"]:
            policy = {**text.get("policy", {}), **case.get("policy", {})}
            given = case.get("given", text.get("given", {}))
            yield Case(path.stem, case["name"], policy, given, tuple(case["timeline"]))


def schema() -> Any:
    """The JSON Schema of a file."""
    return json.loads((HERE / "schema.json").read_text())


def bundle_of(policy: Json) -> Bundle:
    """The policy as a rule set: its sections are those of rule files, and what only they need is added."""
    messages, events, channels, products = {}, set(), set(), set()
    for name, said in policy["messages"].items():
        message = {"channels": ["push"], **said, "variants": {"plain": {"en": name}}}
        message["on"] = message.pop("events", [name])
        events |= set(message["on"])
        channels |= set(message["channels"])
        products |= {message["product"]} if "product" in message else set()
        if message.pop("about", False):
            message["about"] = "event.about"
        messages[name] = message
    text: dict[str, Any] = {key: policy[key] for key in ("purposes", "quiet_hours", "caps", "gaps") if key in policy}
    text["events"] = {name: {"about": "text"} for name in sorted(events)}
    text["features"] = {"timezone": {"type": "text"}, "open": {"type": "bool", "default": True}}
    text["channels"] = {name: {} for name in sorted(channels)}
    if products:
        text["products"] = {name: {"eligible": "features.open"} for name in sorted(products)}
    text["messages"] = messages
    return compile_bundle({"policy.yaml": yaml.safe_dump(text, sort_keys=False).encode()})


async def play_all(cases: Sequence[Case], store_of: Callable[[str], ManualStore]) -> tuple[list[str], int, int]:
    """(what failed, events decided with the lane, those that the lane took) of cases, each played by both ways.

    `store_of` a name: a store with nothing in it.
    """
    failed: list[str] = []
    decided = taken = 0
    for number, (_, same) in enumerate(groupby(cases, key=lambda case: json.dumps(case.policy))):
        bundle = bundle_of((group := list(same))[0].policy)
        for fast in (False, True):
            store = store_of(f"{number}-{fast}")
            # by its own clock the store would hold that it has not been here in the cases' time
            await store.admin.set(store.key("kept"), f"{_KEPT_MS} 0")
            runner = Runner(store, bundle, fast)
            for case in group:
                try:
                    await runner.play(case)
                except AssertionError as error:
                    failed.append(f"{'lane' if fast else 'step'}: {error}")
            await runner.decider.drain()
            await store.close()
            if fast:
                decided, taken = decided + runner.decided, taken + runner.by_lane
    return failed, decided, taken


def ms(at: str) -> int:
    """Milliseconds since 1970 of a moment as written, with its offset."""
    moment = datetime.fromisoformat(at)
    assert moment.tzinfo is not None, f"{at}: without an offset"
    return round(moment.timestamp() * 1000)


def written(at_ms: int) -> str:
    """For people."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()


class _Counting(DecisionService):
    """Counts what the lane hands back."""

    handed = 0

    def begin(self, item: Any, ahead: bool) -> None:
        self.handed += 1
        super().begin(item, ahead)


@dataclass
class Runner:
    """The engine with one policy on a store, by the lane or without. Plays cases one after the other.

    Customers are told apart by their case, so that each begins with nobody known.
    """

    store: ManualStore
    bundle: Bundle
    fast: bool
    case: str = ""
    decisions: dict[tuple[str, str], pb.DecideResponse] = field(default_factory=dict)
    decided: int = 0

    def __post_init__(self) -> None:
        active = Active(self.bundle)
        self.decider = create_decider(active, self.store, DeciderSettings(commit_budget_ms=60_000))
        limiter = Limiter(100_000, window=(100_000, 100_000))
        lane = Lane(self.decider, self.store) if self.fast else None
        revisions = Revisions(self.store.side, self.store.key)
        self.service = _Counting(self.decider, active, revisions, limiter, lane)
        self.profiles = ProfileService(self.decider, active, limiter)

    @property
    def by_lane(self) -> int:
        """How many events the lane decided."""
        return self.decided - self.service.handed

    async def play(self, case: Case) -> None:
        """Raises AssertionError where an answer is not what the case expects, with the step."""
        self.case, self.decisions = str(case), {}
        if case.given:
            self.store.at_ms = ms(case.timeline[0]["at"]) - _BEFORE_MS
            for customer, profile in case.given.items():
                await self._profile({"customer": customer, "profile": profile})
        for number, step in enumerate(case.timeline, 1):
            self.store.at_ms = ms(step["at"])
            kind, act = next((k, act) for k, act in self._acts().items() if k in step)
            found = await act(step)
            wanted = self._wanted(kind, step)
            told = {key: found.get(key) for key in wanted}
            assert told == wanted, f"{case}, step {number} ({kind} at {step['at']}): {told}, expected {wanted}"

    def _who(self, step: Json) -> str:
        return f"{self.case}/{step.get('customer', 'ana')}".replace(" ", "_")

    def _acts(self) -> dict[str, Callable[[Json], Any]]:
        return {"event": self._event, "outcome": self._outcome, "confirm": self._confirm, "profile": self._profile}

    def _wanted(self, kind: str, step: Json) -> dict[str, Any]:
        """What is expected, with what is meant where nothing is said."""
        wanted = dict(step.get("expect", {}))
        if kind == "event" and ("send" in wanted or "sends" in wanted):
            wanted = {"at": step["at"], "confirm": "at" in wanted, **wanted}
        if kind == "profile":
            wanted = {"error": None, **wanted}
        if kind == "outcome" and "error" not in wanted:
            wanted = {"repeated": False, "cancelled": [], "exceeded": "", **wanted}
        for key in ("at", "until", "frees_at"):
            if key in wanted:
                wanted[key] = written(ms(wanted[key]))
        return wanted

    async def _event(self, step: Json) -> dict[str, Any]:
        event = pb.Event(event_id=step["event"], customer_id=self._who(step), type=step["type"])
        if "about" in step:
            event.attributes["about"].text = step["about"]
        if "occurred_at" in step:
            event.occurred_at.FromMilliseconds(ms(step["occurred_at"]))
        request = pb.DecideRequest(event=event, max_messages=step.get("messages", 0))
        self.decided += 1
        try:
            answer = pb.DecideResponse.FromString(
                await awaited(self.service.decide)(request.SerializeToString(), Call())
            )
        except RpcError as error:
            return {"error": error.code.name}
        who = event.customer_id, event.event_id
        same = self.decisions.setdefault(who, answer) == answer
        first = answer.decisions[0]
        found: dict[str, Any] = {"same": same}
        if first.outcome == pb.Decision.SEND:
            found |= {
                "send": first.message,
                "sends": [d.message for d in answer.decisions],
                "channel": first.channel,
                "at": written(first.send_after.ToMilliseconds()),
                "until": written(first.send_before.ToMilliseconds()),
                "confirm": first.confirm_before_sending,
            }
        else:
            details = first.details
            found |= {
                "silent": pb.Decision.Reason.Name(first.reason),
                "cap": details.cap,
                "gap": details.gap,
                "count": details.count,
                "limit": details.limit,
                "frees_at": written(details.frees_at.ToMilliseconds()) if details.HasField("frees_at") else "never",
            }
        return found

    def _decision_id(self, step: Json, of: str) -> str:
        return self.decisions[self._who(step), of].decisions[0].decision_id

    async def _outcome(self, step: Json) -> dict[str, Any]:
        report = pb.OutcomeReport(
            decision_id=self._decision_id(step, step["of"]),
            kind=pb.OutcomeReport.Kind.Value(step["outcome"]),
            outcome_id=step.get("id", ""),
        )
        payload = pb.RecordOutcomesRequest(outcomes=[report]).SerializeToString()
        [result] = pb.RecordOutcomesResponse.FromString(await self.service.record_outcomes(payload, Call())).results
        if result.HasField("error"):
            return {"error": result.error.message}
        events = {r.decisions[0].decision_id: event for (_, event), r in self.decisions.items()}
        return {
            "repeated": result.repeated,
            "cancelled": [events[d] for d in result.cancelled_decision_ids],
            "exceeded": result.exceeded,
        }

    async def _confirm(self, step: Json) -> dict[str, Any]:
        request = pb.ConfirmSendRequest(decision_id=self._decision_id(step, step["confirm"]))
        try:
            body = await self.service.confirm_send(request.SerializeToString(), Call())
        except TactError as error:
            return {"error": type(error).__name__}
        answer = pb.ConfirmSendResponse.FromString(body)
        if answer.outcome == pb.Decision.SEND:
            return {"send": True}
        return {"silent": pb.Decision.Reason.Name(answer.reason)}

    async def _profile(self, step: Json) -> dict[str, Any]:
        said = step["profile"]
        profile = profile_pb2.Profile(customer_id=self._who(step))
        if "timezone" in said:
            profile.features["timezone"].text = said["timezone"]
        if said.keys() - {"timezone"}:
            contact = profile.contact
            contact.SetInParent()
            for consent in said.get("consents", ()):
                entry = contact.consents.add(purpose=consent["purpose"])
                entry.state = profile_pb2.Consent.State.Value(consent["state"])
                if "changed_at" in consent:
                    entry.changed_at.FromMilliseconds(ms(consent["changed_at"]))
            contact.blocked_topics.extend(said.get("blocked_topics", ()))
            contact.blocked_channels.extend(said.get("blocked_channels", ()))
            if "preferred_hours" in said:
                hours = said["preferred_hours"]
                setattr(contact.preferred_hours, "from", hours["from"])
                contact.preferred_hours.to = hours["to"]
        payload = profile_pb2.PutProfilesRequest(profiles=[profile]).SerializeToString()
        [result] = profile_pb2.PutProfilesResponse.FromString(await self.profiles.put_profiles(payload, Call())).results
        return {"error": Code(result.error.code).name} if result.HasField("error") else {}
