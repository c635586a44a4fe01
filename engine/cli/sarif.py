"""Findings for code review: a SARIF 2.1.0 log (OASIS), and the annotations of GitHub's workflow commands."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

from engine import __version__
from engine.compiler.codes import Code, codes
from engine.compiler.model import Position
from engine.compiler.source import ERROR, WARNING, Finding

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {ERROR: "error", WARNING: "warning"}


def log(directory: Path, findings: Sequence[Finding]) -> dict[str, object]:
    """The log of one run over a rule set; places are relative to the working directory."""
    named = list(dict.fromkeys(f.code for f in findings))
    driver = {
        "name": "tact",
        "semanticVersion": __version__,
        "rules": [_rule(name, codes().get(name)) for name in named],
    }
    prints = fingerprints(findings)
    results = [
        _result(directory, finding, named.index(finding.code), mark)
        for finding, mark in zip(findings, prints, strict=True)
    ]
    run = {"tool": {"driver": driver}, "columnKind": "utf16CodeUnits", "results": results}
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(name: str, code: Code | None) -> dict[str, object]:
    if code is None:
        return {"id": name}
    return {
        "id": name,
        "shortDescription": {"text": f"{code.title}."},
        "fullDescription": {"text": code.text},
        "help": {"text": code.text, "markdown": code.text},
        "defaultConfiguration": {"level": _LEVELS[code.severity]},
    }


def _result(directory: Path, finding: Finding, rule: int, fingerprint: str) -> dict[str, object]:
    end = finding.position.column + finding.length
    result: dict[str, object] = {
        "ruleId": finding.code,
        "ruleIndex": rule,
        "level": _LEVELS[finding.severity],
        "message": {"text": message(finding)},
        "locations": [_location(directory, finding.position, finding.line_text, end)],
        "partialFingerprints": {"tactFinding/v1": fingerprint},
    }
    if finding.also is not None:
        other = _location(directory, finding.also, finding.also_text, None)
        result["relatedLocations"] = [{**other, "id": 1, "message": {"text": "also at"}}]
    return result


def message(finding: Finding) -> str:
    """All that a finding says, in sentences."""
    parts = [finding.message, *(f"{label}: {text}" for label, text in _notes(finding))]
    return "; ".join(parts)


def _notes(finding: Finding) -> Iterable[tuple[str, str]]:
    notes = (("found", finding.found), ("expected", finding.expected), ("hint", finding.hint))
    return [(label, text) for label, text in notes if text]


def _location(directory: Path, at: Position, line: str, end: int | None) -> dict[str, object]:
    region = {"startLine": at.line, "startColumn": _utf16(line, at.column)}
    if end is not None:
        region["endColumn"] = _utf16(line, end)
    uri = quote(os.fsencode(shown_path(directory, at.path)))  # of the bytes: a name need not be UTF-8
    artifact = {"uri": uri, "uriBaseId": "%SRCROOT%"}
    return {"physicalLocation": {"artifactLocation": artifact, "region": region}}


def _utf16(line: str, column: int) -> int:
    """The column in UTF-16 code units, from 1."""
    before = line[: column - 1]
    return column + sum(char > "\uffff" for char in before)


def shown_path(directory: Path, path: str) -> str:
    """The file from the working directory, with forward slashes; from the rule set where it lies elsewhere."""
    relative = Path(os.path.relpath(directory / path)).as_posix()
    return path.lstrip("/") if relative.startswith("../") else relative


def fingerprints(findings: Sequence[Finding]) -> list[str]:
    """For each finding a name that stays when lines move: of its code, file and marked text, counted up."""
    seen: Counter[bytes] = Counter()
    result: list[str] = []
    for f in findings:
        begin = f.position.column - 1
        marked = f.line_text[begin : begin + f.length]
        digest = hashlib.blake2b("\0".join((f.code, f.position.path, marked, f.message)).encode("utf-8", "replace"))
        seen[digest.digest()] += 1
        result.append(f"{digest.hexdigest()[:16]}:{seen[digest.digest()]}")
    return result


def annotation(directory: Path, finding: Finding) -> str:
    """The finding as a workflow command, which GitHub shows beside the line."""
    f = finding
    place = {
        "file": shown_path(directory, f.position.path),
        "line": f.position.line,
        "col": f.position.column,
        "endColumn": f.position.column + f.length,
        "title": f.code,
    }
    properties = ",".join(f"{name}={_escaped(str(value), ':,')}" for name, value in place.items())
    line = f"::{f.severity} {properties}::{_escaped(message(f), '')}"
    return line.encode("utf-8", "backslashreplace").decode()


def _escaped(text: str, more: str) -> str:
    for char in "%\r\n" + more:
        text = text.replace(char, f"%{ord(char):02X}")
    return text
