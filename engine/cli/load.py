"""`tact load`: profiles from a file to a running server."""

from __future__ import annotations

from pathlib import Path

from engine.cli.client import Client, status_text
from engine.cli.decide import chunks
from engine.cli.lines import read_items
from engine.cli.output import FAILED, OK, complain, counted, out, print_json, progress
from engine.pb.tact.v1 import profile_pb2 as pb

CHUNK = 500


def run(file: Path, target: str, as_json: bool) -> int:
    """Puts every line's profile; 1 where one was refused."""
    stored = 0
    errors: list[dict[str, object]] = []
    with Client(target) as client, progress(quiet=as_json) as bar:
        task = bar.add_task("loading", total=None)
        for chunk in chunks(read_items(file, pb.Profile), CHUNK):
            wrong = [(item.line, item.problem) for item in chunk if item.message is None]
            good = [(item.line, item.message) for item in chunk if item.message is not None]
            if good:
                request = pb.PutProfilesRequest(profiles=[message for _, message in good])
                results = client.call(client.profiles.PutProfiles, request).results
                for (line, _), result in zip(good, results, strict=True):
                    if result.HasField("error"):
                        wrong.append((line, status_text(result.error)))
                    else:
                        stored += 1
            for line, problem in sorted(wrong):
                complain(f"{file}:{line}", problem)
                errors.append({"line": line, "message": problem})
            bar.update(task, advance=len(chunk))
    if as_json:
        print_json({"stored": stored, "errors": errors})
    else:
        refused = f", {len(errors)} refused" if errors else ""
        out().print(f"{counted(stored, 'profile')} stored{refused}", style="red" if errors else "green")
    return FAILED if errors else OK
