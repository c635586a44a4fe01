"""Compiling in a process of its own gives what compiling here gives."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
from pathlib import Path

import pytest

from bench import generate
from engine import apart, revisions
from engine.apart import compile_apart
from engine.bundle import Bundle, compile_bundle
from engine.compiler.ruleset import read_directory
from engine.errors import RulesInvalid
from engine.revisions import Revisions
from engine.state.redis import RedisStore

SHIPPED = read_directory(Path(__file__).resolve().parents[2] / "rules")


def sent(pieces: list[object]) -> object:
    """What arrives of these pieces."""

    async def receive() -> object:
        stream = asyncio.StreamReader()
        out = io.BytesIO()
        apart._give_out(pieces, out)
        stream.feed_data(out.getvalue())
        return await apart._taken_in(stream, await stream.readexactly(apart._LENGTH.size))

    return asyncio.run(receive())


def decided(bundle: Bundle) -> list[list[int]]:
    """Which messages some generated events could hear."""
    happened = generate.events(40)
    who = generate.customers(40, consent=1.0)
    inputs = [
        {f"features.{k}": v for k, v in c.features.items()} | {f"event.{k}": v for k, v in e.attributes.items()}
        for c, e in zip(who, happened, strict=True)
    ]
    batch = bundle.program.rules.batch([e.type for e in happened], inputs, [0] * 40, [None] * 40)
    return [bundle.program.funnel(batch).candidates(i) for i in range(40)]


@pytest.mark.parametrize("files", [SHIPPED, generate.rules(120).files], ids=["shipped", "generated"])
def test_a_bundle_arrives_whole(files: dict[str, bytes]) -> None:
    made = compile_bundle(files)
    arrived = sent(list(apart._pieces(made)))
    assert isinstance(arrived, Bundle)
    assert arrived.ruleset == made.ruleset
    assert arrived.steps == made.steps
    assert arrived.program.root_of == made.program.root_of
    assert arrived.program.messages == made.program.messages
    step, message = arrived.steps.messages[0], next(iter(arrived.ruleset.messages.values()))
    assert step.message is message  # one object, as where it was made
    assert message.position == next(iter(made.ruleset.messages.values())).position


def test_an_arrived_bundle_decides_alike() -> None:
    made = compile_bundle(generate.rules(120).files)
    arrived = sent(list(apart._pieces(made)))
    assert isinstance(arrived, Bundle)
    assert decided(arrived) == decided(made)
    assert any(decided(made))


def test_no_piece_is_large() -> None:
    bundle = compile_bundle(generate.rules(120).files)
    *parts, whole = apart._pieces(bundle)
    assert whole is bundle
    assert len(parts) > 120 / apart._AT_ONCE
    assert all(isinstance(part, list) and len(part) <= apart._AT_ONCE for part in parts)


def test_another_process_compiles() -> None:
    bundle = asyncio.run(compile_apart(SHIPPED))
    here = compile_bundle(SHIPPED)
    assert bundle.ruleset == here.ruleset
    assert bundle.steps == here.steps


def test_findings_come_back() -> None:
    files = {"a.yaml": b"messages:\n  a: {purpose: nothing}\n"}
    with pytest.raises(RulesInvalid) as here:
        compile_bundle(files)
    with pytest.raises(RulesInvalid) as there:
        asyncio.run(compile_apart(files))
    assert there.value.findings == here.value.findings


def _children() -> set[int]:
    """Processes that this one started; the store of other tests may be among them."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(status.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.add(int(status.parent.name))
    return found


def test_a_compiler_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "TIME_MAX_S", 0.0)
    before = _children()
    with pytest.raises(RulesInvalid) as caught:
        asyncio.run(compile_apart(SHIPPED))
    (finding,) = caught.value.findings
    assert (finding.code, finding.message) == (
        "too-large",
        "the compiler gave no answer: it has 0 s and 4 GiB of memory",
    )
    assert _children() <= before  # nothing is left of it


def test_a_large_rule_set_is_compiled_apart_once_something_is_served(
    runner: asyncio.Runner, store: RedisStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[int] = []

    async def counted(files: dict[str, bytes]) -> Bundle:
        compiled.append(len(files))
        return compile_bundle(files)

    monkeypatch.setattr(revisions, "compile_apart", counted)
    monkeypatch.setattr(revisions, "SMALL_BYTES", 1000)
    (tmp_path / "rules").mkdir()
    for path, content in SHIPPED.items():
        (tmp_path / "rules" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "rules" / path).write_bytes(content)

    async def scenario() -> str:
        served = Revisions(store.side, store.key, tmp_path / "last_good")
        await served.start(tmp_path / "rules")
        assert compiled == []
        other = await served.validate({**SHIPPED, "more.yaml": b"# more\n"})
        return other.revision

    assert runner.run(scenario())
    assert compiled == [len(SHIPPED) + 1]
