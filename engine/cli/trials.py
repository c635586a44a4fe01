"""`tact test`: the tests that stand beside the rules."""

from __future__ import annotations

from pathlib import Path

from google.protobuf.json_format import MessageToDict
from rich.console import Console
from rich.text import Text

from engine.bundle import compile_bundle
from engine.cli.check import mention, refuse
from engine.cli.funnel import print_funnel
from engine.cli.output import FAILED, OK, USAGE, CommandError, counted, out, print_json, progress, say
from engine.compiler.model import Test
from engine.compiler.ruleset import read_directory
from engine.errors import RulesInvalid
from engine.service.encode import encode_explanation
from engine.trial import TrialResult, run


def run_tests(directory: Path, wanted: str, as_json: bool) -> int:
    """Runs the tests whose name contains `wanted`; 1 where one fails or the rules have findings."""
    try:
        bundle = compile_bundle(read_directory(directory))
    except RulesInvalid as error:
        refuse(directory, error.findings, as_json)
        return FAILED
    mention(directory, bundle.ruleset.warnings)
    tests = [t for t in bundle.ruleset.tests if wanted.lower() in t.name.lower()]
    if wanted and not tests:
        count = counted(len(bundle.ruleset.tests), "test")
        raise CommandError(f"no name of the {count} of {directory} contains '{wanted}'", USAGE)
    results = []
    with progress(quiet=as_json) as bar:
        for test in bar.track(tests, description="testing"):
            results.append((test, run(bundle, test)))
    failed = sum(not result.passed for _, result in results)
    if as_json:
        print_json(
            {
                "revision": bundle.revision,
                "passed": len(results) - failed,
                "failed": failed,
                "tests": [_json(test, result) for test, result in results],
            }
        )
    else:
        _print(out(), results, failed)
    return FAILED if failed else OK


def _print(console: Console, results: list[tuple[Test, TrialResult]], failed: int) -> None:
    for test, result in results:
        if result.passed:
            console.print(Text.assemble(("ok    ", "green"), result.name), soft_wrap=True)
            continue
        console.print(Text.assemble(("FAIL  ", "bold red"), (result.name, "bold")), soft_wrap=True)
        say(console, Text(str(test.position), "cyan"), 6)
        for failure in result.failures:
            say(console, failure, 6)
        candidates = encode_explanation(result.explanation).candidates
        print_funnel(console, candidates, 6, expected=test.expect.send or "")
    summary = f"{counted(len(results) - failed, 'test')} passed, {failed} failed"
    console.print(summary, style="red" if failed else "green")


def _json(test: Test, result: TrialResult) -> dict[str, object]:
    explained = MessageToDict(encode_explanation(result.explanation), preserving_proto_field_name=True)
    return {
        "name": result.name,
        "position": str(test.position),
        "passed": result.passed,
        "failures": result.failures,
        "decision": explained.get("decision"),
        "candidates": explained.get("candidates", []),
    }
