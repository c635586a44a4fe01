"""`tact deploy`, `activate`, `rollback`, `revisions`, `pause`, `resume`: a running server's rule sets."""

from __future__ import annotations

from pathlib import Path

from google.protobuf.json_format import MessageToDict
from rich.table import Table

from engine.cli.check import compiled, refuse
from engine.cli.client import Client
from engine.cli.funnel import at
from engine.cli.output import (
    FAILED,
    OK,
    USAGE,
    CommandError,
    counted,
    finding_json,
    out,
    print_findings,
    print_json,
    print_table,
)
from engine.errors import RulesInvalid
from engine.pb.tact.v1 import rules_pb2 as pb


def deploy(directory: Path, target: str, note: str, stage_only: bool, expect: str, as_json: bool) -> int:
    """Checks here first, then deploys; findings are shown as `tact check` shows them."""
    try:
        ruleset = compiled(directory)
    except RulesInvalid as error:
        refuse(directory, error.findings, as_json)
        return FAILED
    if ruleset.warnings and not as_json:
        print_findings(ruleset.warnings)
        out().print()
    request = pb.DeployRequest(
        files=[pb.RuleFile(path=path, content=content) for path, content in ruleset.files.items()],
        note=note,
        stage_only=stage_only,
        expected_active_revision=expect,
    )
    with Client(target) as client:
        revision = client.call(client.rules.Deploy, request).revision
    if as_json:
        found = {"findings": [finding_json(f) for f in ruleset.warnings]}
        print_json(MessageToDict(revision, preserving_proto_field_name=True) | found)
        return OK
    warned = f", {counted(len(ruleset.warnings), 'warning')}" if ruleset.warnings else ""
    kept = "kept, and active already" if revision.active else "kept, not active"
    return _told(revision, (kept if stage_only else "deployed and active") + warned, as_json)


def activate(revision: str, target: str, expect: str, as_json: bool) -> int:
    """Makes a kept revision the active one."""
    request = pb.ActivateRequest(revision=revision, expected_active_revision=expect)
    with Client(target) as client:
        return _told(client.call(client.rules.Activate, request).revision, "active", as_json)


def rollback(target: str, expect: str, as_json: bool) -> int:
    """Back to the revision that was active before."""
    with Client(target) as client:
        answer = client.call(client.rules.Rollback, pb.RollbackRequest(expected_active_revision=expect))
    return _told(answer.revision, "active again", as_json)


def _told(revision: pb.Revision, what: str, as_json: bool) -> int:
    if as_json:
        print_json(MessageToDict(revision, preserving_proto_field_name=True))
    else:
        messages = counted(revision.message_count, "message")
        out().print(f"revision {revision.revision} is {what}: {messages}", style="green")
    return OK


def revisions(target: str, limit: int, as_json: bool) -> int:
    """The revisions that the server keeps, newest activation first."""
    found: list[pb.Revision] = []
    with Client(target) as client:
        token = ""
        while len(found) < limit:
            size = min(500, limit - len(found))
            page = client.call(client.rules.ListRevisions, pb.ListRevisionsRequest(page_size=size, page_token=token))
            found += page.revisions
            token = page.next_page_token
            if not token:
                break
    if as_json:
        print_json({"revisions": [MessageToDict(r, preserving_proto_field_name=True) for r in found]})
        return OK
    table = Table("", "revision", "activated", "deployed", "messages", "note", box=None, pad_edge=False)
    for r in found:
        activated = at(r.activated_at) if r.HasField("activated_at") else "-"
        deployed = at(r.deployed_at) if r.HasField("deployed_at") else "-"
        style = "bold green" if r.active else ""
        mark = "*" if r.active else ""
        table.add_row(mark, r.revision, activated, deployed, str(r.message_count), r.note, style=style)
    print_table(out(), table)
    return OK


def pause(target: str, message: str, purpose: str, everything: bool, reason: str, resume: bool, as_json: bool) -> int:
    """Stops, or lets go again, one message, one purpose or everything."""
    if [bool(message), bool(purpose), everything].count(True) != 1:
        raise CommandError("say what: exactly one of --message NAME, --purpose NAME and --all", USAGE)
    request = pb.PauseRequest(resume=resume, reason=reason)
    if message:
        request.message = message
    elif purpose:
        request.purpose = purpose
    else:
        request.all = True
    with Client(target) as client:
        answer = client.call(client.rules.Pause, request)
    if as_json:
        shown = {
            "paused_messages": list(answer.paused_messages),
            "paused_purposes": list(answer.paused_purposes),
            "all_paused": answer.all_paused,
        }
        print_json(shown)
        return OK
    held = ["everything"] if answer.all_paused else []
    held += [f"message {m}" for m in answer.paused_messages] + [f"purpose {p}" for p in answer.paused_purposes]
    out().print("paused now: " + (", ".join(held) or "nothing"))
    return OK
