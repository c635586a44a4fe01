"""DecisionService and ProfileService over the wire: a real server, store and pipeline."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from engine.pb.tact.v1 import decision_pb2 as pb
from engine.pb.tact.v1 import decision_pb2_grpc, profile_pb2
from engine.service import decision
from engine.state.log import OutcomeEntry, decode
from engine.state.redis import RedisStore


def reason_of(status: status_pb2.Status) -> str:
    """The reason of the one ErrorInfo a status must carry."""
    infos = []
    for packed in status.details:
        info = error_details_pb2.ErrorInfo()
        if packed.Unpack(info):
            infos.append(info)
    [info] = infos
    assert info.domain == "tact.v1"
    return str(info.reason)


def violations_of(status: status_pb2.Status) -> list[tuple[str, str]]:
    for packed in status.details:
        bad = error_details_pb2.BadRequest()
        if packed.Unpack(bad):
            return [(v.field, v.description) for v in bad.field_violations]
    return []


async def failure(call: Any) -> tuple[grpc.StatusCode, status_pb2.Status]:
    """How a call fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    trailer = dict(caught.value.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    return caught.value.code(), status_pb2.Status.FromString(trailer)


def test_a_decision_and_its_retry_are_the_same_bytes(
    runner: asyncio.Runner, store: RedisStore, tmp_path: Path, kit: SimpleNamespace
) -> None:
    async def scenario() -> None:
        async with kit.serving(store, tmp_path) as s:
            request = kit.deposit(amount={"number": 5}, channel={"text": "branch"})
            first = await s.decisions.Decide(request)
            [decision] = first.decisions
            assert decision.outcome == pb.Decision.SEND
            assert (decision.reason, decision.message, decision.text) == (pb.Decision.SELECTED, "thanks", "Thank you.")
            assert (decision.event_id, decision.customer_id, first.event_id) == ("e1", "c1", "e1")
            assert decision.revision == s.revisions.serving
            assert decision.propensity == 1.0
            assert decision.message_share == decision.variant_share == 1 << 30
            assert decision.send_before.seconds > decision.send_after.seconds > 1_600_000_000
            raw = s.channel.unary_unary("/tact.v1.DecisionService/Decide")
            again = [await raw(request.SerializeToString()) for _ in range(2)]
            assert again[0] == again[1] == first.SerializeToString(deterministic=True)
            code, status = await failure(s.decisions.Decide(kit.deposit(amount={"number": 6})))
            assert (code, reason_of(status)) == (grpc.StatusCode.INVALID_ARGUMENT, "EVENT_ID_REUSED")

    runner.run(scenario())


def test_refusals_name_the_fields(
    runner: asyncio.Runner, store: RedisStore, tmp_path: Path, kit: SimpleNamespace
) -> None:
    async def scenario() -> None:
        async with kit.serving(store, tmp_path) as s:
            code, status = await failure(s.decisions.Decide(kit.deposit("", amont={"text": "x"})))
            assert (code, reason_of(status)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
            assert violations_of(status) == [
                ("event.event_id", "is missing: expected 1 to 256 characters"),
                (
                    'event.attributes["amont"]',
                    "deposit attribute \"amont\" is not in the rule set; did you mean 'amount'?",
                ),
            ]
            raw = s.channel.unary_unary("/tact.v1.DecisionService/Decide")
            code, status = await failure(raw(b"\xff\xff"))
            assert (code, reason_of(status)) == (grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_REQUEST")
            ahead = kit.deposit()
            ahead.event.occurred_at.CopyFrom(Timestamp(seconds=253_402_300_799))
            code, status = await failure(s.decisions.Decide(ahead))
            assert code is grpc.StatusCode.INVALID_ARGUMENT
            assert [field for field, _ in violations_of(status)] == ["event.occurred_at"]
            many = kit.deposit(**{f"x{i}" * 20: {"flag": True} for i in range(200)})
            code, status = await failure(s.decisions.Decide(many))  # the details fit a client's limits
            assert code is grpc.StatusCode.INVALID_ARGUMENT
            assert 5 < len(violations_of(status)) < 200
            code, _ = await failure(raw(b"\x00" * (21 << 20)))
            assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
            unknown = s.channel.unary_unary("/tact.v1.DecisionService/Guess")
            code, status = await failure(unknown(b""))
            assert (code, reason_of(status)) == (grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED")

    runner.run(scenario())


@pytest.mark.parametrize("seconds", [-62_135_596_800, 253_402_300_799])
def test_the_farthest_times_are_values_like_others(
    runner: asyncio.Runner, store: RedisStore, tmp_path: Path, kit: SimpleNamespace, seconds: int
) -> None:
    async def scenario() -> None:
        async with kit.serving(store, tmp_path) as s:
            answer = await s.decisions.Decide(kit.deposit(due={"time": Timestamp(seconds=seconds)}))
            assert answer.decisions[0].message == "thanks"

    runner.run(scenario())


def test_one_bad_event_costs_that_event_only(
    runner: asyncio.Runner, store: RedisStore, tmp_path: Path, kit: SimpleNamespace
) -> None:
    async def scenario() -> None:
        async with kit.serving(store, tmp_path) as s:
            good = [kit.deposit(f"e{i}", f"c{i}").SerializeToString() for i in range(3)]
            bad = kit.deposit("bad", "c", amount={"number": float("nan")}).SerializeToString()
            payload = b""
            for item in (good[0], bad, b"\x0a\xff", good[1], good[1], good[2]):
                payload += b"\x0a" + bytes([len(item)]) + item
            raw = s.channel.unary_unary("/tact.v1.DecisionService/DecideBatch")
            answer = pb.DecideBatchResponse.FromString(await raw(payload))
            assert [r.request_index for r in answer.responses] == [0, 1, 2, 3, 4, 5]
            assert [r.event_id for r in answer.responses] == ["e0", "bad", "", "e1", "e1", "e2"]
            assert [len(r.decisions) for r in answer.responses] == [1, 0, 0, 1, 1, 1]
            assert answer.responses[3].decisions == answer.responses[4].decisions
            assert violations_of(answer.responses[1].error) == [
                ('event.attributes["amount"]', "found number nan: expected a finite number")
            ]
            assert reason_of(answer.responses[2].error) == "MALFORMED_REQUEST"
            assert [r.HasField("error") for r in answer.responses] == [False, True, True, False, False, False]
            assert not (await s.decisions.DecideBatch(pb.DecideBatchRequest())).responses
            code, status = await failure(raw(b"\x0a\x00" * 1001))
            assert code is grpc.StatusCode.INVALID_ARGUMENT
            assert violations_of(status) == [("requests", "found 1001 items: expected at most 1000")]

    runner.run(scenario())


def test_caps_hold_in_order_within_a_batch(
    runner: asyncio.Runner, store: RedisStore, tmp_path: Path, kit: SimpleNamespace
) -> None:
    async def scenario() -> None:
        async with kit.serving(store, tmp_path) as s:
            requests = [kit.deposit(f"e{i}") for i in range(5)]
            answer = await s.decisions.DecideBatch(pb.DecideBatchRequest(requests=requests))
            reasons = [r.decisions[0].reason for r in answer.responses]
            assert reasons == [pb.Decision.SELECTED] * 3 + [pb.Decision.CAP_REACHED] * 2
            details = answer.responses[4].decisions[0].details
            assert (details.message, details.count, details.limit) == ("thanks", 3, 3)
            assert details.frees_at.seconds > 0

    runner.run(scenario())


def test_a_stream_answers_everything_by_index(
    runner: asyncio.Runner, store: RedisStore, tmp_path: Path, kit: SimpleNamespace
) -> None:
    async def scenario() -> None:
        async with kit.serving(store, tmp_path) as s:

            async def requests() -> AsyncIterator[pb.DecideRequest]:
                for i in range(600):  # more than may be under way at once
                    request = kit.deposit("" if i == 7 else f"e{i}", f"c{i}")
                    if i == 9:
                        request.event.type = "nonsense"
                    yield request

            answers = {a.request_index: a async for a in s.decisions.DecideStream(requests())}
            assert sorted(answers) == list(range(600))
            assert reason_of(answers.pop(7).error) == "INVALID_REQUEST"
            wrong = answers.pop(9)
            assert (reason_of(wrong.error), wrong.event_id) == ("INVALID_REQUEST", "e9")
            assert all(a.decisions[0].customer_id == f"c{i}" for i, a in answers.items())

    runner.run(scenario())


@pytest.mark.parametrize("broken", ["encode_response", "decode_request", "content_fingerprint"])
def test_an_unforeseen_error_gives_its_place_back(
    runner: asyncio.Runner,
    store: RedisStore,
    tmp_path: Path,
    kit: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    async def scenario() -> None:
        async with kit.serving(store, tmp_path) as s:
            request = kit.deposit()
            if broken == "content_fingerprint":  # asked for where a request no longer fits the schema
                request.event.type = "nonsense"
            with monkeypatch.context() as patch:
                patch.setattr(decision, broken, fail)
                code, _ = await failure(s.decisions.Decide(request, timeout=5))
                assert code is grpc.StatusCode.INTERNAL
                batch = await s.decisions.DecideBatch(pb.DecideBatchRequest(requests=[request] * 2), timeout=5)
                assert [reason_of(r.error) for r in batch.responses] == ["INTERNAL"] * 2
                stream = s.decisions.DecideStream()
                await stream.write(request)
                async with asyncio.timeout(5):
                    answer = await stream.read()
                assert (reason_of(answer.error), answer.event_id) == ("INTERNAL", "e1")
                stream.cancel()
            assert s.table._decisions._limiter.in_flight == 0
            await s.decisions.Decide(kit.deposit("e2"))

    runner.run(scenario())


def test_an_open_stream_ends_with_the_server(
    runner: asyncio.Runner, store: RedisStore, tmp_path: Path, kit: SimpleNamespace
) -> None:
    async def scenario() -> None:
        async with kit.serving(store, tmp_path) as s:
            stream = s.decisions.DecideStream()
            await stream.write(kit.deposit())
            assert (await stream.read()).decisions[0].message == "thanks"
            s.table.close_streams()
            assert await stream.code() is grpc.StatusCode.UNAVAILABLE

    runner.run(scenario())


def test_a_cancelled_stream_leaves_nothing_behind(
    runner: asyncio.Runner, store: RedisStore, tmp_path: Path, kit: SimpleNamespace
) -> None:
    async def scenario() -> None:
        async with kit.serving(store, tmp_path) as s:
            for _ in range(20):
                stream = s.decisions.DecideStream()
                await stream.write(kit.deposit())
                await stream.read()
                stream.cancel()
            assert (await s.decisions.Decide(kit.deposit())).decisions[0].message == "thanks"

    runner.run(scenario())
    assert not asyncio.all_tasks(runner.get_loop())


def test_deadlines(runner: asyncio.Runner, store: RedisStore, tmp_path: Path, kit: SimpleNamespace) -> None:
    async def scenario() -> None:
        async with kit.serving(store, tmp_path) as s:
            code, _ = await failure(s.decisions.Decide(kit.deposit(), timeout=0.000001))
            assert code is grpc.StatusCode.DEADLINE_EXCEEDED
            await s.decisions.Decide(kit.deposit("e2"), timeout=5)

    runner.run(scenario())


def test_above_the_limit_is_refused_at_once(
    runner: asyncio.Runner, store: RedisStore, tmp_path: Path, kit: SimpleNamespace
) -> None:
    async def scenario() -> None:
        async with kit.serving(store, tmp_path, max_items_in_flight=2) as s:
            calls = [s.decisions.Decide(kit.deposit(f"e{i}", f"c{i}")) for i in range(50)]
            results = await asyncio.gather(*calls, return_exceptions=True)
            refused = [r for r in results if isinstance(r, grpc.aio.AioRpcError)]
            assert {r.code() for r in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
            assert 0 < len(refused) < 50
            trailer = dict(refused[0].trailing_metadata() or ())["grpc-status-details-bin"]
            status = status_pb2.Status.FromString(trailer)
            assert reason_of(status) == "OVERLOADED"
            assert any(d.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for d in status.details)
            await s.decisions.Decide(kit.deposit("later", "later"))

    runner.run(scenario())


def test_outcomes_confirmation_and_explain(
    runner: asyncio.Runner, store: RedisStore, tmp_path: Path, kit: SimpleNamespace
) -> None:
    async def scenario() -> None:
        async with kit.serving(store, tmp_path) as s:
            decision = (await s.decisions.Decide(kit.deposit())).decisions[0]
            report = pb.OutcomeReport(decision_id=decision.decision_id, kind=pb.OutcomeReport.DELIVERED)
            reports = [report, pb.OutcomeReport(decision_id="x", kind=pb.OutcomeReport.OPENED), report]
            replied = pb.OutcomeReport.REPLIED
            reports += [pb.OutcomeReport(decision_id=decision.decision_id, kind=replied, category="fees")]
            *results, reply = (await s.decisions.RecordOutcomes(pb.RecordOutcomesRequest(outcomes=reports))).results
            assert not reply.repeated
            keys = [key async for key in store.admin.scan_iter(match=f"{store.prefix}*log")]
            rows = [row for key in keys for _, row in await store.admin.xrange(key)]
            entries = [e for e in (decode(row[b"d"]) for row in rows) if isinstance(e, OutcomeEntry)]
            assert [(e.kind, e.category) for e in entries] == [(pb.OutcomeReport.DELIVERED, ""), (replied, "fees")]
            assert [r.repeated for r in results] == [False, False, True]
            assert violations_of(results[1].error) == [
                ("decision_id", 'found "x": expected a decision_id as a Decision gave it')
            ]
            confirmed = await s.decisions.ConfirmSend(pb.ConfirmSendRequest(decision_id=decision.decision_id))
            assert confirmed.outcome in (pb.Decision.SEND, pb.Decision.NO_MESSAGE)
            code, status = await failure(s.decisions.ConfirmSend(pb.ConfirmSendRequest(decision_id="x")))
            assert (code, reason_of(status)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
            unknown = f"{0:032x}-{0:016x}-0"
            code, status = await failure(s.decisions.ConfirmSend(pb.ConfirmSendRequest(decision_id=unknown)))
            assert (code, reason_of(status)) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
            what_if = await s.decisions.Explain(pb.ExplainRequest(what_if=kit.deposit("e9", "c9")))
            [candidate] = what_if.candidates
            assert (candidate.message, candidate.stopped_by) == ("thanks", pb.Decision.SELECTED)
            assert what_if.decision.message == "thanks"
            code, status = await failure(s.decisions.Explain(pb.ExplainRequest()))
            assert violations_of(status) == [("subject", "is missing: expected a decision_id or a what_if")]
            code, status = await failure(
                s.decisions.Explain(pb.ExplainRequest(what_if=kit.deposit(), revision="0123456789abcdef"))
            )
            assert (code, reason_of(status)) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")

    runner.run(scenario())


def test_profiles(runner: asyncio.Runner, store: RedisStore, tmp_path: Path, kit: SimpleNamespace) -> None:
    async def scenario() -> None:
        async with kit.serving(store, tmp_path) as s:
            good = profile_pb2.Profile(customer_id="c1", features={"balance": pb.Value(number=2)})
            bad = profile_pb2.Profile(customer_id="c2", features={"balanc": pb.Value(number=2)})
            results = (await s.profiles.PutProfiles(profile_pb2.PutProfilesRequest(profiles=[good, bad]))).results
            assert [(r.customer_id, r.HasField("error")) for r in results] == [("c1", False), ("c2", True)]
            assert reason_of(results[1].error) == "INVALID_REQUEST"
            found = await s.profiles.GetProfile(profile_pb2.GetProfileRequest(customer_id="c1"))
            assert found.profile == good
            code, status = await failure(s.profiles.GetProfile(profile_pb2.GetProfileRequest(customer_id="c2")))
            assert (code, reason_of(status)) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
            erase = profile_pb2.EraseCustomerRequest(customer_id="c1")
            assert (await s.profiles.EraseCustomer(erase)).existed
            assert not (await s.profiles.EraseCustomer(erase)).existed
            code, status = await failure(s.profiles.GetProfile(profile_pb2.GetProfileRequest()))
            assert violations_of(status) == [("customer_id", "is missing: expected 1 to 256 characters")]

    runner.run(scenario())


def test_health(runner: asyncio.Runner, store: RedisStore, tmp_path: Path, kit: SimpleNamespace) -> None:
    async def scenario() -> None:
        async with kit.serving(store, tmp_path) as s:
            stub = health_pb2_grpc.HealthStub(s.channel)
            response = health_pb2.HealthCheckResponse
            for name in ("", "tact.v1.DecisionService", "tact.v1.ProfileService", "tact.v1.RuleService"):
                assert (await stub.Check(health_pb2.HealthCheckRequest(service=name))).status == response.SERVING
            code, _ = await failure(stub.Check(health_pb2.HealthCheckRequest(service="x")))
            assert code is grpc.StatusCode.NOT_FOUND
            unknown = stub.Watch(health_pb2.HealthCheckRequest(service="x"))
            assert (await unknown.read()).status == response.SERVICE_UNKNOWN
            watch = stub.Watch(health_pb2.HealthCheckRequest())
            assert (await watch.read()).status == response.SERVING
            s.table.lame_duck()
            assert (await watch.read()).status == response.NOT_SERVING
            assert await watch.read() is grpc.aio.EOF
            assert (await stub.Check(health_pb2.HealthCheckRequest())).status == response.NOT_SERVING
            assert (await s.decisions.Decide(kit.deposit())).decisions

    runner.run(scenario())


def test_reflection_describes_every_service(
    runner: asyncio.Runner, store: RedisStore, tmp_path: Path, kit: SimpleNamespace
) -> None:
    async def scenario() -> None:
        async with kit.serving(store, tmp_path) as s:
            await asyncio.to_thread(look, s.address)

            async def ask() -> AsyncIterator[bytes]:
                yield reflection_pb2.ServerReflectionRequest(file_containing_symbol="no.Such").SerializeToString()
                yield reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()

            v1 = s.channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
            answers = [reflection_pb2.ServerReflectionResponse.FromString(a) async for a in v1(ask())]
            assert answers[0].error_response.error_code == 5
            assert len(answers[1].list_services_response.service) == 5

    def look(address: str) -> None:
        with grpc.insecure_channel(address) as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            names = set(database.get_services())
            file = database.FindFileContainingSymbol("tact.v1.DecisionService")
            health = database.FindFileContainingSymbol("grpc.health.v1.Health")
        assert names == {
            "tact.v1.DecisionService",
            "tact.v1.ProfileService",
            "tact.v1.RuleService",
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
        }
        assert "DecideStream" in {m.name for s in file.service for m in s.method}
        assert [s.name for s in health.service] == ["Health"]

    runner.run(scenario())


def test_accepted_calls_finish_when_the_server_stops(
    runner: asyncio.Runner, store: RedisStore, tmp_path: Path, kit: SimpleNamespace
) -> None:
    async def scenario() -> None:
        async with kit.serving(store, tmp_path) as s:
            stub = decision_pb2_grpc.DecisionServiceStub(s.channel)
            calls = [stub.Decide(kit.deposit(f"e{i}", f"c{i}")) for i in range(100)]
            await asyncio.gather(*calls[:10])
            s.table.lame_duck()
            s.table.close_streams()
            await s.transport.stop(10)
            results = await asyncio.gather(*calls, return_exceptions=True)
            failed = [r for r in results if isinstance(r, BaseException)]
            # Whatever failed was never accepted: clients retry that by themselves.
            assert {r.code() for r in failed if isinstance(r, grpc.aio.AioRpcError)} <= {grpc.StatusCode.UNAVAILABLE}
            assert len(failed) < 90

    runner.run(scenario())


def test_a_plain_blocking_client(
    runner: asyncio.Runner, store: RedisStore, tmp_path: Path, kit: SimpleNamespace
) -> None:
    async def scenario() -> None:
        async with kit.serving(store, tmp_path) as s:
            assert await asyncio.to_thread(ask, s.address) == "thanks"

    def ask(address: str) -> str:
        assert threading.current_thread() is not threading.main_thread()
        with grpc.insecure_channel(address) as channel:
            answer = decision_pb2_grpc.DecisionServiceStub(channel).Decide(kit.deposit())
        return str(answer.decisions[0].message)

    runner.run(scenario())


WHY_RULES = {
    "rules.yaml": b"""\
    when: facts.months >= 6.0 && facts.level.name == "high"
    channels: [push]
    slots: {who: features.first_name}
    variants: {plain: {en: "Thank you, {who}."}}
""",
    "facts.yaml": b"""\
facts:
  months: features.balance / features.salary
  level: {table: tables/level.csv, hit: first, default: {name: low}}
""",
    "tables/level.csv": b"features.visits,out: name\n> 10,high\n> 5,middle\n",
}


def test_explain_tells_the_parts_of_conditions(
    runner: asyncio.Runner, store: RedisStore, tmp_path: Path, kit: SimpleNamespace
) -> None:
    head, _, _ = kit.rules.partition(b"    channels: [push]\n    variants")
    head = head.replace(
        b"  visits: integer", b"  visits: {type: integer, default: 7}\n  salary: {type: number, above: 0}"
    )
    files = {**WHY_RULES, "rules.yaml": head + WHY_RULES["rules.yaml"]}

    async def scenario() -> None:
        async with kit.serving(store, tmp_path, files=files) as s:
            known = {"balance": pb.Value(number=9000), "first_name": pb.Value(text="Ana")}
            profile = profile_pb2.Profile(customer_id="c9", features=known)
            await s.profiles.PutProfiles(profile_pb2.PutProfilesRequest(profiles=[profile]))
            asked = pb.ExplainRequest(what_if=kit.deposit("e9", "c9"))
            answer = await s.decisions.Explain(asked)
            [candidate] = answer.candidates
            when, slot = candidate.conditions
            assert (when.role, when.value, when.failed, when.truncated) == ("when", "false", False, False)
            assert when.expression == 'facts.months >= 6.0 && facts.level.name == "high"'
            assert [(s.depth, s.fact, s.text, s.value, s.failed) for s in when.steps[1:]] == [
                (1, "", "facts.months >= 6.0", "error: features.salary is missing", True),
                (2, "", "facts.months", "error: features.salary is missing", True),
                (3, "facts.months", "features.balance / features.salary", "error: features.salary is missing", True),
                (4, "facts.months", "features.balance", "9000", False),
                (4, "facts.months", "features.salary", "error: features.salary is missing", True),
                (1, "", 'facts.level.name == "high"', "false", False),
                (2, "", "facts.level.name", '"middle"', False),
                (3, "facts.level.name", "features.visits", "7 (default)", False),
                (3, "facts.level.name", "row 3: > 5,middle", '"middle"', False),
            ]
            for step in when.steps:
                line = files[step.position.path].decode().split("\n")[step.position.line - 1]
                written = step.text.partition(": ")[2] if step.text.startswith("row ") else step.text
                assert line[step.position.column - 1 :].startswith(written)
            assert (slot.role, slot.name, slot.value) == ("slot", "who", "personal")
            assert "Ana" not in str(answer)
            asked.conditions_of.append("thanks")
            assert await s.decisions.Explain(asked) == answer
            asked.conditions_of.append("thank")
            _, status = await failure(s.decisions.Explain(asked))
            hint = "found 'thank', which is no message; did you mean 'thanks'?"
            assert violations_of(status) == [("conditions_of[1]", hint)]

    runner.run(scenario())


def test_explain_of_a_thousand_messages_fits_a_client(
    runner: asyncio.Runner, store: RedisStore, tmp_path: Path, kit: SimpleNamespace
) -> None:
    head, _, _ = kit.rules.partition(b"  thanks:")
    long = b" || ".join(b"event.items == %d" % i for i in range(25))
    one = b"""\
  m%d:
    purpose: service
    on: [deposit]
    when: event.items > %d || facts.long
    value: features.balance
    channels: [push]
    variants: {plain: {en: "Thank you."}}
"""
    files = {"rules.yaml": head + b"".join(one % (i, i) for i in range(1000)) + b"facts:\n  long: " + long}

    async def scenario() -> None:
        async with kit.serving(store, tmp_path, files=files) as s:
            asked = pb.ExplainRequest(what_if=kit.deposit(items={"integer": 500}))
            answer = await s.decisions.Explain(asked)  # the client takes 4 MiB, as it comes
            assert len(answer.candidates) == 1000
            assert 3 << 19 < answer.ByteSize() < 4 << 20
            cut = [any(c.truncated for c in candidate.conditions) for candidate in answer.candidates]
            assert not cut[0]
            assert cut[-1]
            assert all(c.conditions[0].value in ("true", "false") for c in answer.candidates)
            name = answer.candidates[-1].message
            asked.conditions_of.append(name)
            answer = await s.decisions.Explain(asked)
            [told] = [c for c in answer.candidates if c.conditions]
            assert told.message == name
            assert not told.conditions[0].truncated

    runner.run(scenario())
