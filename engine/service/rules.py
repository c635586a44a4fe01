"""RuleService: rule sets checked, deployed, activated, rolled back, paused."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from pathlib import PurePosixPath

from engine.answer import timestamp, to_bytes
from engine.compiler.source import ERROR, Finding
from engine.errors import InvalidInput, RulesInvalid, Violation
from engine.pb.tact.v1 import rules_pb2 as pb
from engine.revision_store import Stored
from engine.revisions import Revisions
from engine.service.codec import parse
from engine.service.guard import Guard
from engine.service.values import Violations, check_text, quote
from engine.transport import Call, Method

_PATH = "/tact.v1.RuleService/"
_MAX_FILES = 2000
_MAX_FINDINGS = 1000
_MAX_NOTE_BYTES = 1024
_PAGE, _PAGE_MAX = 50, 500


class RuleService:
    """The methods of tact.v1.RuleService over the deployment's revisions."""

    def __init__(self, revisions: Revisions) -> None:
        self._revisions = revisions

    def methods(self, guard: Guard) -> list[Method]:
        """The service's part of the method table."""
        return [
            guard.unary(_PATH + "Validate", self.validate),
            guard.unary(_PATH + "Deploy", self.deploy),
            guard.unary(_PATH + "Activate", self.activate),
            guard.unary(_PATH + "Rollback", self.rollback),
            guard.unary(_PATH + "ListRevisions", self.list_revisions),
            guard.unary(_PATH + "GetRevision", self.get_revision),
            guard.unary(_PATH + "Pause", self.pause),
        ]

    async def validate(self, payload: bytes, call: Call) -> bytes:
        """Findings are the answer, not an error."""
        files = _files(parse(pb.ValidateRequest, payload).files, Violations())
        try:
            bundle = await self._revisions.validate(files)
        except RulesInvalid as error:
            return to_bytes(pb.ValidateResponse(findings=_findings(error.findings)))
        return to_bytes(pb.ValidateResponse(revision=bundle.revision, findings=_findings(bundle.ruleset.warnings)))

    async def deploy(self, payload: bytes, call: Call) -> bytes:
        """Checks, compiles, keeps and activates."""
        request = parse(pb.DeployRequest, payload)
        into = Violations()
        check_text(request.note, "note", into, _MAX_NOTE_BYTES)
        files = _files(request.files, into)
        stored = await self._revisions.deploy(
            files, request.note, request.expected_active_revision, stage_only=request.stage_only
        )
        warnings = (await self._revisions.bundle(stored.revision)).ruleset.warnings
        return to_bytes(pb.DeployResponse(revision=self._revision(stored), findings=_findings(warnings)))

    async def activate(self, payload: bytes, call: Call) -> bytes:
        """Makes a kept revision the active one."""
        request = parse(pb.ActivateRequest, payload)
        if not request.revision:
            raise InvalidInput([Violation("revision", "is missing: expected a revision that was deployed")])
        stored = await self._revisions.activate(request.revision, request.expected_active_revision)
        return to_bytes(pb.ActivateResponse(revision=self._revision(stored)))

    async def rollback(self, payload: bytes, call: Call) -> bytes:
        """Back to the revision active before."""
        request = parse(pb.RollbackRequest, payload)
        stored = await self._revisions.rollback(request.expected_active_revision)
        return to_bytes(pb.RollbackResponse(revision=self._revision(stored)))

    async def list_revisions(self, payload: bytes, call: Call) -> bytes:
        """A page of revisions, newest activation first."""
        request = parse(pb.ListRevisionsRequest, payload)
        if request.page_size < 0:
            raise InvalidInput([Violation("page_size", f"found {request.page_size}: expected 0 to {_PAGE_MAX}")])
        size = min(request.page_size or _PAGE, _PAGE_MAX)
        rest = await self._revisions.list()
        if request.page_token:
            after = _read_token(request.page_token)
            rest = [s for s in rest if _place(s) < after]
        page = rest[:size]
        token = _write_token(_place(page[-1])) if len(rest) > size else ""
        return to_bytes(pb.ListRevisionsResponse(revisions=[self._revision(s) for s in page], next_page_token=token))

    async def get_revision(self, payload: bytes, call: Call) -> bytes:
        """A revision with its files."""
        revision = parse(pb.GetRevisionRequest, payload).revision or self._revisions.serving
        stored, files = await self._revisions.get(revision), await self._revisions.files(revision)
        return to_bytes(
            pb.GetRevisionResponse(
                revision=self._revision(stored),
                files=[pb.RuleFile(path=path, content=content) for path, content in files.items()],
            )
        )

    async def pause(self, payload: bytes, call: Call) -> bytes:
        """Stops, or lets go, a message, a purpose or everything."""
        request = parse(pb.PauseRequest, payload)
        into = Violations()
        check_text(request.reason, "reason", into, _MAX_NOTE_BYTES)
        target = self._target(request, into)
        into.check()
        pauses = await self._revisions.pause(target, request.reason, resume=request.resume)
        return to_bytes(
            pb.PauseResponse(
                paused_messages=sorted(pauses.messages),
                paused_purposes=sorted(pauses.purposes),
                all_paused=pauses.everything,
            )
        )

    def _target(self, request: pb.PauseRequest, into: Violations) -> str:
        rules = self._revisions.active.bundle.ruleset
        kind = request.WhichOneof("target")
        if kind == "all" and request.all:
            return "all"
        if kind == "message":
            if not request.resume and request.message not in rules.messages:
                into.unknown("message", "message", request.message, rules.messages)
            return f"message:{request.message}"
        if kind == "purpose":
            if not request.resume and request.purpose not in rules.purposes:
                into.unknown("purpose", "purpose", request.purpose, rules.purposes)
            return f"purpose:{request.purpose}"
        into.add("target", "is missing: expected a message, a purpose, or all: true")
        return ""

    def _revision(self, stored: Stored) -> pb.Revision:
        return pb.Revision(
            revision=stored.revision,
            deployed_at=timestamp(stored.deployed_at_ms),
            activated_at=timestamp(stored.activated_at_ms),
            active=stored.revision == self._revisions.serving,
            note=stored.note,
            file_count=stored.file_count,
            message_count=stored.message_count,
        )


def _files(files: Sequence[pb.RuleFile], into: Violations) -> dict[str, bytes]:
    """The files by path. Raises InvalidInput with all violations, those found before included."""
    if not files:
        into.add("files", "is empty: expected the files of a rule set")
    if len(files) > _MAX_FILES:
        into.add("files", f"found {len(files)} files: expected at most {_MAX_FILES}")
        into.check()
    by_path: dict[str, bytes] = {}
    for i, file in enumerate(files):
        path = PurePosixPath(file.path)
        if not file.path or path.is_absolute() or ".." in path.parts or "\\" in file.path or str(path) != file.path:
            into.add(f"files[{i}].path", f"found {quote(file.path)}: expected a relative path with forward slashes")
        elif file.path in by_path:
            into.add(f"files[{i}].path", f"found {quote(file.path)} twice: expected each file once")
        by_path[file.path] = file.content
    into.check()
    return by_path


def _findings(findings: Sequence[Finding]) -> list[pb.Finding]:
    """Errors first where there are too many to tell."""
    told = findings if len(findings) <= _MAX_FINDINGS else sorted(findings, key=lambda f: f.severity != ERROR)
    return [_finding(f) for f in told[:_MAX_FINDINGS]]


def _finding(finding: Finding) -> pb.Finding:
    return pb.Finding(
        code=finding.code,
        severity=pb.Finding.ERROR if finding.severity == ERROR else pb.Finding.WARNING,
        path=finding.position.path,
        line=finding.position.line,
        column=finding.position.column,
        length=finding.length,
        text=finding.message,
        found=finding.found,
        expected=finding.expected,
        hint=finding.hint,
    )


_Place = tuple[int, int, str]


def _place(stored: Stored) -> _Place:
    return stored.activated_at_ms, stored.deployed_at_ms, stored.revision


def _write_token(place: _Place) -> str:
    return base64.urlsafe_b64encode(" ".join(map(str, place)).encode()).decode()


def _read_token(token: str) -> _Place:
    try:
        activated, deployed, revision = base64.urlsafe_b64decode(token.encode()).decode().split(" ")
        return int(activated), int(deployed), revision
    except (ValueError, binascii.Error) as error:
        found = Violation("page_token", f"found {quote(token)}: expected the next_page_token of an answer")
        raise InvalidInput([found]) from error
