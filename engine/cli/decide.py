"""`tact decide`: events from a file to a running server, decisions back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Literal, TypeVar

from google.protobuf.json_format import MessageToDict
from rich.table import Table

from engine.cli.client import Client, status_text
from engine.cli.funnel import outcome_name, reason_name
from engine.cli.lines import read_items
from engine.cli.output import FAILED, OK, complain, counted, out, print_json_line, print_table, progress
from engine.pb.tact.v1 import decision_pb2 as pb

T = TypeVar("T")
CHUNK = 200
_COLUMNS = ("customer", "event", "outcome", "message", "variant", "channel", "reason", "propensity")


def run(file: Path, target: str, as_json: bool) -> int:
    """Sends every line in order; 1 where a line or an event was refused."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for column in _COLUMNS:
        # where the terminal is narrow, names and the sentence fold, a reason's own name does not
        width = {"reason": 15, "propensity": 10}.get(column)
        whole = column in ("event", "outcome", "variant", "channel", "propensity")
        right: Literal["left", "right"] = "right" if column == "propensity" else "left"
        table.add_column(column, overflow="fold", no_wrap=whole, min_width=width, justify=right)
    sent = decided = wrong = 0
    with Client(target) as client, progress(quiet=as_json) as bar:
        task = bar.add_task("deciding", total=None)
        for chunk in chunks(read_items(file, pb.DecideRequest), CHUNK):
            good: list[tuple[int, pb.DecideRequest]] = []
            for item in chunk:
                if item.message is None:
                    complain(f"{file}:{item.line}", item.problem)
                    wrong += 1
                else:
                    good.append((item.line, item.message))
            if not good:
                continue
            request = pb.DecideBatchRequest(requests=[message for _, message in good])
            answer = client.call(client.decisions.DecideBatch, request)
            for (line, message), response in zip(good, answer.responses, strict=True):
                decided += 1
                wrong += response.HasField("error")
                sent += any(d.outcome == pb.Decision.SEND for d in response.decisions)
                if as_json:
                    _print_lines(line, response)
                else:
                    _add_rows(table, message, response)
            bar.update(task, advance=len(good))
    if not as_json:
        console = out()
        if table.row_count:
            print_table(console, table)
        refused = f", {wrong} refused" if wrong else ""
        console.print(f"{counted(decided, 'event')}: {sent} with a message{refused}", style="dim")
    return FAILED if wrong else OK


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of at most `size`, in order."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _print_lines(line: int, response: pb.DecideResponse) -> None:
    if response.HasField("error"):
        error = {"code": response.error.code, "message": status_text(response.error)}
        print_json_line({"line": line, "event_id": response.event_id, "error": error})
    for decision in response.decisions:
        print_json_line(MessageToDict(decision, preserving_proto_field_name=True))


def _add_rows(table: Table, request: pb.DecideRequest, response: pb.DecideResponse) -> None:
    event = request.event
    if response.HasField("error"):
        table.add_row(
            event.customer_id, event.event_id, "error", "", "", "", status_text(response.error), "", style="red"
        )
    for d in response.decisions:
        send = d.outcome == pb.Decision.SEND
        reason = reason_name(d.reason)
        if not send:
            detail = _detail(d)
            reason += f": {detail}" if detail else ""
        table.add_row(
            event.customer_id,
            event.event_id,
            outcome_name(d),
            d.message or d.details.message,
            d.variant,
            d.channel,
            reason,
            f"{d.propensity:.4f}" if send else "",
            style="green" if send else "",
        )


def _detail(d: pb.Decision) -> str:
    """What a reason is about, as far as a table has room: whole expressions are left out."""
    what = d.details
    if d.reason == pb.Decision.STATE_UNKNOWN:
        return what.cause
    named = what.condition if d.reason == pb.Decision.NOT_ELIGIBLE else ""
    return what.feature or what.window or what.attribute or named or what.cap or what.gap or what.slot
