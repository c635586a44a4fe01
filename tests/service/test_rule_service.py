"""RuleService over the wire, and the revisions behind it: on a real store, with two workers where it matters."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from engine import bundle
from engine.compiler import ruleset
from engine.compiler.model import Position, RuleSet
from engine.compiler.source import WARNING, Finding
from engine.errors import Conflict, NotFound, RulesInvalid, StoreUnavailable
from engine.pb.tact.v1 import decision_pb2, rules_pb2
from engine.revision_store import pack, unpack
from engine.revisions import Revisions
from engine.state.redis import RedisStore

BROKEN = b"messages:\n  a: {purpose: nothing}\n"


def files(content: bytes, path: str = "rules.yaml") -> list[rules_pb2.RuleFile]:
    return [rules_pb2.RuleFile(path=path, content=content)]


async def failure(call: Any) -> tuple[grpc.StatusCode, dict[str, str]]:
    """The code and the field violations of a call that fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    trailer = dict(caught.value.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    bad = error_details_pb2.BadRequest()
    for packed in status_pb2.Status.FromString(trailer).details:
        packed.Unpack(bad)
    return caught.value.code(), {v.field: v.description for v in bad.field_violations}


def worker(store: RedisStore, tmp_path: Path) -> Revisions:
    """Another worker's view of the same deployment."""
    return Revisions(store.side, store.key, tmp_path / "last_good")


def directory(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "rules"
    path.mkdir(exist_ok=True)
    (path / "rules.yaml").write_bytes(content)
    return path


def test_warnings_are_told_and_stop_nothing(
    runner: asyncio.Runner,
    store: RedisStore,
    tmp_path: Path,
    kit: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    warning = Finding("unused", Position("rules.yaml", 3, 1), 4, "nothing reads it", severity=WARNING)

    def load(files: Mapping[str, bytes]) -> RuleSet:
        return replace(ruleset.load(files), warnings=(warning,))

    monkeypatch.setattr(bundle, "load", load)

    async def scenario() -> None:
        async with kit.serving(store, tmp_path) as s:
            told = [
                await s.rules.Validate(rules_pb2.ValidateRequest(files=files(kit.rules))),
                await s.rules.Deploy(rules_pb2.DeployRequest(files=files(kit.rules + b"# new\n"))),
            ]
            for answer in told:
                (finding,) = answer.findings
                assert (finding.code, finding.severity) == ("unused", rules_pb2.Finding.WARNING)
            assert told[0].revision
            assert told[1].revision.active
            keeper = worker(store, tmp_path)
            await keeper.follow(tmp_path / "rules")
            assert keeper.serving == s.revisions.serving

    with caplog.at_level(logging.WARNING, logger="engine.revisions"):
        runner.run(scenario())
    counted = [r.getMessage() for r in caplog.records if "1 warning(s)" in r.getMessage()]
    assert len(counted) == 2, "once for each revision served"


def test_validate_answers_findings(
    runner: asyncio.Runner, store: RedisStore, tmp_path: Path, kit: SimpleNamespace
) -> None:
    async def scenario() -> None:
        async with kit.serving(store, tmp_path) as s:
            good = await s.rules.Validate(rules_pb2.ValidateRequest(files=files(kit.rules)))
            assert good.revision == s.revisions.serving
            assert [f.text for f in good.findings if f.severity != rules_pb2.Finding.WARNING] == []
            bad = await s.rules.Validate(rules_pb2.ValidateRequest(files=files(BROKEN)))
            assert bad.revision == ""
            assert bad.findings
            for finding in bad.findings:
                assert finding.code
                assert finding.text
                assert finding.severity == rules_pb2.Finding.ERROR
                assert (finding.path, finding.line > 0, finding.column > 0) == ("rules.yaml", True, True)
            paths = [
                rules_pb2.RuleFile(path="../a"),
                rules_pb2.RuleFile(path="/a"),
                rules_pb2.RuleFile(path="b"),
                rules_pb2.RuleFile(path="b"),
            ]
            code, violations = await failure(s.rules.Validate(rules_pb2.ValidateRequest(files=paths)))
            assert code is grpc.StatusCode.INVALID_ARGUMENT
            assert violations == {
                "files[0].path": 'found "../a": expected a relative path with forward slashes',
                "files[1].path": 'found "/a": expected a relative path with forward slashes',
                "files[3].path": 'found "b" twice: expected each file once',
            }

    runner.run(scenario())


def test_deploy_activate_and_roll_back(
    runner: asyncio.Runner, store: RedisStore, tmp_path: Path, kit: SimpleNamespace
) -> None:
    async def scenario() -> None:
        async with kit.serving(store, tmp_path) as s:
            first = s.revisions.serving
            code, violations = await failure(s.rules.Deploy(rules_pb2.DeployRequest(files=files(BROKEN))))
            assert code is grpc.StatusCode.INVALID_ARGUMENT
            assert violations
            assert all(field.startswith("rules.yaml:") for field in violations)
            assert s.revisions.serving == first

            request = rules_pb2.DeployRequest(files=files(kit.other_rules), note="warmer", stage_only=True)
            staged = (await s.rules.Deploy(request)).revision
            assert (staged.active, staged.note, staged.file_count, staged.message_count) == (False, "warmer", 1, 1)
            assert not staged.HasField("activated_at")
            assert s.revisions.serving == first

            activate = rules_pb2.ActivateRequest(revision=staged.revision, expected_active_revision="other")
            assert (await failure(s.rules.Activate(activate)))[0] is grpc.StatusCode.ABORTED
            activate.expected_active_revision = first
            active = (await s.rules.Activate(activate)).revision
            assert (active.revision, active.active) == (staged.revision, True)
            answer = await s.decisions.Decide(kit.deposit())
            assert (answer.decisions[0].text, answer.decisions[0].revision) == ("Many thanks.", staged.revision)

            unknown = rules_pb2.ActivateRequest(revision="0123456789abcdef")
            assert (await failure(s.rules.Activate(unknown)))[0] is grpc.StatusCode.NOT_FOUND

            third = kit.rules.replace(b"Thank you.", b"Cheers.")
            last = (await s.rules.Deploy(rules_pb2.DeployRequest(files=files(third)))).revision.revision
            listed = (await s.rules.ListRevisions(rules_pb2.ListRevisionsRequest())).revisions
            assert [(r.revision, r.active) for r in listed] == [
                (last, True),
                (staged.revision, False),
                (first, False),
            ]
            wrong = rules_pb2.RollbackRequest(expected_active_revision=first)
            assert (await failure(s.rules.Rollback(wrong)))[0] is grpc.StatusCode.ABORTED
            back = [(await s.rules.Rollback(rules_pb2.RollbackRequest())).revision.revision for _ in range(2)]
            assert back == [staged.revision, first]
            assert (await failure(s.rules.Rollback(rules_pb2.RollbackRequest())))[0] is grpc.StatusCode.ABORTED

            found = await s.rules.GetRevision(rules_pb2.GetRevisionRequest())
            assert (found.revision.revision, found.revision.active) == (first, True)
            assert list(found.files) == files(kit.rules)

    runner.run(scenario())


def test_lists_are_paged(runner: asyncio.Runner, store: RedisStore, tmp_path: Path, kit: SimpleNamespace) -> None:
    async def scenario() -> None:
        async with kit.serving(store, tmp_path) as s:
            for i in range(4):
                content = kit.rules.replace(b"Thank you.", f"Thank you {i}.".encode())
                await s.rules.Deploy(rules_pb2.DeployRequest(files=files(content)))
            pages = []
            token = ""
            while True:
                request = rules_pb2.ListRevisionsRequest(page_size=2, page_token=token)
                page = await s.rules.ListRevisions(request)
                pages.append([r.revision for r in page.revisions])
                token = page.next_page_token
                if not token:
                    break
            assert [len(p) for p in pages] == [2, 2, 1]
            whole = (await s.rules.ListRevisions(rules_pb2.ListRevisionsRequest())).revisions
            assert [r for p in pages for r in p] == [r.revision for r in whole]
            bad = rules_pb2.ListRevisionsRequest(page_token="x")
            code, violations = await failure(s.rules.ListRevisions(bad))
            assert (code, list(violations)) == (grpc.StatusCode.INVALID_ARGUMENT, ["page_token"])

    runner.run(scenario())


def test_pauses(
    runner: asyncio.Runner,
    store: RedisStore,
    tmp_path: Path,
    kit: SimpleNamespace,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        async with kit.serving(store, tmp_path) as s:
            other = worker(store, tmp_path)
            await other.start(tmp_path / "rules")
            paused = await s.rules.Pause(rules_pb2.PauseRequest(message="thanks", reason="a typo"))
            assert (list(paused.paused_messages), paused.all_paused) == (["thanks"], False)
            answer = await s.decisions.Decide(kit.deposit())
            assert answer.decisions[0].reason == decision_pb2.Decision.PAUSED
            await other.refresh()
            assert other.active.pauses.messages == {"thanks"}
            await s.rules.Pause(rules_pb2.PauseRequest(purpose="marketing"))
            everything = await s.rules.Pause(rules_pb2.PauseRequest(all=True))
            assert (list(everything.paused_purposes), everything.all_paused) == (["marketing"], True)
            assert caplog.messages[-1] == "paused: message:thanks, purpose:marketing, all"
            for target in ({"message": "thanks"}, {"purpose": "marketing"}, {"all": True}):
                left = await s.rules.Pause(rules_pb2.PauseRequest(resume=True, **target))
            assert left == rules_pb2.PauseResponse()
            assert caplog.messages[-1] == "paused: nothing"
            answer = await s.decisions.Decide(kit.deposit("e2"))
            assert answer.decisions[0].message == "thanks"
            code, violations = await failure(s.rules.Pause(rules_pb2.PauseRequest(message="thank")))
            assert code is grpc.StatusCode.INVALID_ARGUMENT
            assert violations == {"message": "message \"thank\" is not in the rule set; did you mean 'thanks'?"}
            _, violations = await failure(s.rules.Pause(rules_pb2.PauseRequest()))
            assert violations == {"target": "is missing: expected a message, a purpose, or all: true"}

    with caplog.at_level(logging.INFO, logger="engine.revisions"):
        runner.run(scenario())


def test_other_workers_follow_and_a_bad_revision_leaves_the_old_one(
    runner: asyncio.Runner, store: RedisStore, tmp_path: Path, kit: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        one, two = worker(store, tmp_path), worker(store, tmp_path)
        rules = directory(tmp_path, kit.rules)
        await one.start(rules)
        active = await two.start(rules)
        deployed = await one.deploy({"rules.yaml": kit.other_rules}, "", "", stage_only=False)
        before = active.bundle
        await two.refresh()
        assert (two.serving, active.bundle.revision) == (deployed.revision, deployed.revision)
        assert before.revision != deployed.revision
        # Damaged in the store: still the one before, and said so once.
        await store.admin.set(store.key("files:bad"), b"damaged")
        await store.admin.hset(store.key("control"), "active", "bad")
        with caplog.at_level(logging.ERROR):
            await two.refresh()
            await two.refresh()
        assert two.serving == deployed.revision
        assert caplog.text.count("revision bad is active but cannot be used") == 1
        await store.admin.set(store.key("files:worse"), pack({"rules.yaml": BROKEN}))
        await store.admin.hset(store.key("control"), "active", "worse")
        await two.refresh()
        assert two.serving == deployed.revision
        assert "rules.yaml:2:" in caplog.text

    runner.run(scenario())


def test_a_deployed_revision_survives_a_restart_until_the_directory_changes(
    runner: asyncio.Runner, store: RedisStore, tmp_path: Path, kit: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        rules = directory(tmp_path, kit.rules)
        one = worker(store, tmp_path)
        await one.start(rules)
        deployed = await one.deploy({"rules.yaml": kit.other_rules}, "", one.serving, stage_only=False)
        again = worker(store, tmp_path)
        await again.start(rules)
        assert again.serving == deployed.revision
        directory(tmp_path, kit.rules.replace(b"Thank you.", b"Cheers."))
        changed = worker(store, tmp_path)
        await changed.start(rules)
        assert changed.serving not in (deployed.revision, one.serving)
        assert [s.note for s in await changed.list()] == ["from the rules directory", "", "from the rules directory"]
        directory(tmp_path, BROKEN)
        broken = worker(store, tmp_path)
        with caplog.at_level(logging.ERROR):
            await broken.start(rules)
        assert broken.serving == changed.serving
        assert "rules.yaml:2:" in caplog.text

    runner.run(scenario())


def test_a_broken_directory_and_nothing_else_cannot_serve(
    runner: asyncio.Runner, store: RedisStore, tmp_path: Path
) -> None:
    with pytest.raises(RulesInvalid) as caught:
        runner.run(worker(store, tmp_path).start(directory(tmp_path, BROKEN)))
    assert caught.value.findings


def test_without_a_store_the_directory_serves_and_is_taken_over_later(
    runner: asyncio.Runner, store: RedisStore, tmp_path: Path, kit: SimpleNamespace
) -> None:
    async def scenario() -> None:
        down = RedisStore(f"unix://{tmp_path}/nobody.sock", store.prefix)
        rules = directory(tmp_path, kit.rules)
        one = worker(down, tmp_path)
        active = await one.start(rules)
        assert (one.connected, active.bundle.revision) == (False, one.serving)
        with pytest.raises(StoreUnavailable):
            await one.refresh()
        with pytest.raises(StoreUnavailable):
            await one.deploy({"rules.yaml": kit.other_rules}, "", "", stage_only=False)
        directory(tmp_path, BROKEN)
        last_good = worker(down, tmp_path)
        await last_good.start(rules)
        assert last_good.serving == one.serving
        directory(tmp_path, kit.rules)
        one._store = worker(store, tmp_path)._store  # the store is back
        await one.refresh()
        assert one.connected
        assert [s.revision for s in await one.list()] == [one.serving]
        assert one.active is active
        await down.close()

    runner.run(scenario())


def test_two_deploys_at_once_expecting_the_same_revision(
    runner: asyncio.Runner, store: RedisStore, tmp_path: Path, kit: SimpleNamespace
) -> None:
    async def scenario() -> None:
        workers = [worker(store, tmp_path) for _ in range(4)]
        rules = directory(tmp_path, kit.rules)
        for one in workers:
            await one.start(rules)
        expected = workers[0].serving
        calls = [
            w.deploy({"rules.yaml": kit.rules + f"# {i}\n".encode()}, "", expected, stage_only=False)
            for i, w in enumerate(workers)
        ]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(r, Conflict) for r in results) == 3
        assert len(await workers[0].list()) == 2  # nothing of the others was kept

    runner.run(scenario())


def test_old_revisions_are_forgotten_but_never_those_needed(
    runner: asyncio.Runner, store: RedisStore, tmp_path: Path, kit: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.revision_store.KEPT_REVISIONS", 2)

    async def scenario() -> None:
        one = worker(store, tmp_path)
        await one.start(directory(tmp_path, kit.rules))
        first = one.serving
        staged = [
            await one.deploy({"rules.yaml": kit.rules + f"# {i}\n".encode()}, "", "", stage_only=True) for i in range(3)
        ]
        assert {s.revision for s in await one.list()} == {first, staged[-1].revision}
        with pytest.raises(NotFound):
            await one.files(staged[0].revision)

    runner.run(scenario())


def test_packed_files_come_back() -> None:
    content = {"a.yaml": b"x: 1\n", "b/c.yaml": bytes(range(256))}
    assert unpack(pack(content)) == content
    for damaged in (b"", b"x", pack(content)[:-5]):
        with pytest.raises(ValueError, match="a stored rule set is"):
            unpack(damaged)
