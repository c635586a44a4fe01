"""From a directory of rule files to a checked rule set, with everything that is wrong told at once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from engine.compiler import document
from engine.compiler.analysis import analyse
from engine.compiler.collector import without_collector
from engine.compiler.model import COUNTING, Arbitration, Holdout, Layer, Message, Policy, Position, RuleSet
from engine.compiler.reading import Reading
from engine.compiler.scopes import Expressions, On
from engine.compiler.sections_arbitration import check_ranks, read_arbitration
from engine.compiler.sections_contact import (
    is_zone,
    read_caps,
    read_channels,
    read_gaps,
    read_purposes,
    read_quiet_hours,
)
from engine.compiler.sections_kpis import read_kpis
from engine.compiler.sections_limits import read_suppressions, read_topics, read_volumes
from engine.compiler.sections_messages import Known, copied, events_of, read_messages
from engine.compiler.sections_policies import read_holdout, read_policies
from engine.compiler.sections_products import read_products
from engine.compiler.sections_schema import read_events, read_features
from engine.compiler.sections_tests import Schema, read_tests
from engine.compiler.sections_trials import read_layers, slices_of
from engine.compiler.sections_windows import read_windows
from engine.compiler.source import ERROR, SURE, WARNING, Finding, closest, sort_findings, with_other_lines
from engine.compiler.tables.section import TABLES, is_table, read_table
from engine.compiler.tables.table import Table
from engine.compiler.tree import Document, MapNode, Node, Scalar
from engine.errors import RulesInvalid

FORMAT = "tact-rules-1"  # part of every revision: another meaning of the same files is another revision
FILES_MAX = 200
_MAPS = (
    "events", "features", "windows", "facts", "products", "messages", "purposes", "channels", "quiet_hours",
    "topics", "policies", "layers", "kpis",
)  # fmt: skip
_LISTS = ("caps", "gaps", "suppress", "tests")
_SINGLE = ("holdout", "defaults", "arbitration")
_SECTIONS = (*_MAPS, *_LISTS, *_SINGLE)
_MAY_BE_EMPTY = (*_MAPS, *_LISTS, "defaults")
_SKIPPED_DIRECTORIES = ("samples", "examples")
_REPLAY_FILE = "mapping.yaml"  # for `tact replay`: says how columns become events, no rules


def read_directory(path: Path) -> dict[str, bytes]:
    """The rule files below `path` by relative path, sorted; decision tables are those in directories called tables.

    Left out: hidden names, directories called samples or examples, and mapping.yaml (for replays).
    Raises RulesInvalid where there is nothing to read.
    """
    files: dict[str, bytes] = {}
    if not path.is_dir():
        raise _refused(str(path), "no-rules", "there is no such directory")
    try:
        for root, directories, names in os.walk(path):
            directories[:] = [d for d in directories if d not in _SKIPPED_DIRECTORIES and not d.startswith(".")]
            for name in names:
                file = Path(root, name)
                table = TABLES in file.relative_to(path).parts[:-1] and is_table(name)
                rules = table or (name.endswith((".yaml", ".yml")) and name != _REPLAY_FILE)
                if rules and not name.startswith((".", "~$")) and file.is_file():  # ~$: open in a spreadsheet
                    files[file.relative_to(path).as_posix()] = _content(file)
    except OSError as error:
        raise _refused(str(error.filename or path), "unreadable", f"cannot be read: {error.strerror}") from error
    if not files:
        raise _refused(str(path), "no-rules", "no rule files here: *.yaml or *.yml")
    return dict(sorted(files.items()))


def _content(file: Path) -> bytes:
    """At most one byte more than the limit: enough to be refused by it."""
    with file.open("rb") as stream:
        return stream.read(document.FILE_BYTES_MAX + 1)


def _refused(path: str, code: str, message: str) -> RulesInvalid:
    return RulesInvalid([Finding(code, Position(path, 1, 1), 1, message)])


def revision_of(files: Mapping[str, bytes]) -> str:
    """The content hash that names a rule set: 16 hex digits over the sorted paths and contents."""
    digest = hashlib.blake2b(FORMAT.encode(), digest_size=8)
    for path in sorted(files):
        for part in (path.encode("utf-8", "surrogateescape"), files[path]):
            digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


@without_collector()
def load(files: Mapping[str, bytes]) -> RuleSet:
    """The checked rule set that `files` (relative path -> content) hold.

    Where a file cannot be read to its end only what is wrong with the YAML is told: names defined in
    that file would seem to be missing everywhere else. Raises RulesInvalid with all findings.
    """
    rules = {p: files[p] for p in sorted(files) if PurePosixPath(p).name != _REPLAY_FILE}
    if not rules:
        raise _refused("", "no-rules", "no rule files")
    if len(rules) > FILES_MAX:
        raise _refused(list(rules)[FILES_MAX], "too-large", f"{len(rules)} files; at most {FILES_MAX} are read")
    reads = [document.read(path, content) for path, content in rules.items() if not is_table(path)]
    findings = [f for read in reads for f in read.findings]
    roots = [read.root for read in reads if read.root is not None]
    if len(roots) < len(reads):
        raise RulesInvalid(sort_findings(with_other_lines(findings, files)))
    reading = Reading()
    reading.findings = findings
    sections = _merge(reading, roots)
    ruleset = _assemble(reading, sections, files)
    _tell_empty(reading, roots, sections)
    found = reading.findings
    if all(f.severity != ERROR for f in found):
        found = [*found, *_without(sections, next(iter(rules))), *analyse(ruleset)]
    told = sort_findings(with_other_lines(found, files))
    if any(f.severity == ERROR for f in told):
        raise RulesInvalid(told)
    return replace(ruleset, warnings=(*ruleset.warnings, *told)) if told else ruleset


class _Sections:
    """The sections of all files, merged."""

    def __init__(self) -> None:
        self.maps: dict[str, dict[str, tuple[Scalar, Node]]] = {name: {} for name in _MAPS}
        self.lists: dict[str, list[Node]] = {name: [] for name in _LISTS}
        self.single: dict[str, tuple[Scalar, Node]] = {}
        self.empty: list[tuple[str, Scalar]] = []  # with nothing written below their key

    def names(self, section: str) -> frozenset[str]:
        return frozenset(self.maps[section])


def _merge(reading: Reading, roots: Iterable[MapNode]) -> _Sections:
    """Maps merge by name, lists append in the order of paths, a name in two files is a finding."""
    sections = _Sections()
    for root in roots:
        for name, (key, node) in root.entries.items():
            if name not in _SECTIONS:
                reading.unknown("unknown-key", key, f"no section is called '{name[:60]}'", _SECTIONS)
                name = closest(name, _SECTIONS, SURE)  # and read as that: one mistake is one finding
            if name in _MAY_BE_EMPTY and isinstance(node, Scalar) and node.absent:
                sections.empty.append((name, key))
            if name in sections.maps:
                target = sections.maps[name]
                mapping = reading.map(node, f"'{name}'")
                for entry, (entry_key, value) in (mapping.entries if mapping else {}).items():
                    if entry in target:
                        message = f"'{entry}' is defined twice in {name}"
                        reading.add("duplicate-name", entry_key, message, also=target[entry][0].position)
                    else:
                        target[entry] = (entry_key, value)
            elif name in sections.lists:
                sections.lists[name].extend(reading.list(node, f"'{name}'"))
            elif name in _SINGLE:
                if name in sections.single:
                    message = f"'{name}' is written in two files"
                    reading.add("duplicate-name", key, message, also=sections.single[name][0].position)
                else:
                    sections.single[name] = (key, node)
    return sections


def _tell_empty(reading: Reading, roots: Iterable[MapNode], sections: _Sections) -> None:
    """Files and sections in which nothing is written: something may have been lost from them."""
    for root in roots:
        if not root.entries:
            hint = "remove the file, or bring back what stood in it"
            reading.add("empty-file", root, "nothing is written in this file", hint=hint, severity=WARNING)
    for name, key in sections.empty:
        if name != "messages" or sections.maps["messages"]:  # else see _without
            hint = "remove the key, or bring back what stood below it"
            reading.add("empty-section", key, f"nothing is written below '{name}'", hint=hint, severity=WARNING)


def _without(sections: _Sections, path: str) -> list[Finding]:
    """What a set lacks that has no errors. `path`: its first file, where nothing else can be pointed at."""
    reading = Reading()
    whole = MapNode(Document(path, ""), 0)
    if not sections.maps["messages"]:
        key = next((key for name, key in sections.empty if name == "messages"), None)
        text = "the rule set has no message: nothing will be said to anybody"
        reading.add("no-messages", key or whole, text, severity=WARNING)
    elif not sections.maps["events"]:
        text = "the rule set has no event type: every event will be refused"
        reading.add("no-events", whole, text, hint="declare them under `events:`", severity=WARNING)
    return reading.findings


def _facts(
    reading: Reading, sections: _Sections, expressions: Expressions, files: Mapping[str, bytes]
) -> tuple[dict[str, Scalar], dict[str, tuple[Scalar, Table]]]:
    """The facts that are expressions, and those that are decision tables."""
    facts: dict[str, Scalar] = {}
    tables: dict[str, tuple[Scalar, Table]] = {}
    for name, (key, node) in sections.maps["facts"].items():
        if not reading.named(key, "a fact", identifier=True) or _absent(reading, key, node):
            pass
        elif isinstance(node, MapNode):
            table = read_table(reading, name, node, files)
            if table is not None:
                tables[name] = (key, table)
                continue
        elif (scalar := reading.scalar(node, f"the fact '{name}'")) is not None:
            facts[name] = scalar
            continue
        expressions.broken.add(f"facts.{name}")
    return facts, tables


def _absent(reading: Reading, key: Scalar, node: Node) -> bool:
    if isinstance(node, Scalar) and node.absent:
        reading.add("missing-value", key, f"'{key.value}' has no value")
        return True
    return False


def _served(users: Mapping[str, Sequence[On]], events: Iterable[str]) -> dict[str, On]:
    """For each product or policy the event types of the messages that name it; None for all."""
    result: dict[str, On] = {}
    for name, ons in users.items():
        union = {o for on in ons for o in on or ()}
        result[name] = None if any(on is None for on in ons) else tuple(e for e in events if e in union)
    return result


def _users(maps: Mapping[str, tuple[Scalar, MapNode]], ons: Mapping[str, On], key: str) -> dict[str, list[On]]:
    result: dict[str, list[On]] = {}
    for name, (_, mapping) in maps.items():
        node = mapping.get(key)
        if isinstance(node, Scalar):
            result.setdefault(node.value, []).append(ons[name])
    return result


def _policies(
    reading: Reading, sections: _Sections, expressions: Expressions,
    maps: Mapping[str, tuple[Scalar, MapNode]], ons: Mapping[str, On], messages: Mapping[str, Message],
    layers: Mapping[str, Layer], zone: str,
) -> dict[str, Policy]:  # fmt: skip
    served = _served(_users(maps, ons, "policy"), expressions.events)
    users: dict[str, list[Message]] = {}
    for message in messages.values():
        if message.policy is not None:
            users.setdefault(message.policy, []).append(message)
    slices = slices_of(layers)
    return read_policies(reading, sections.maps["policies"], expressions, served, users, slices, zone)


def _single(reading: Reading, sections: _Sections) -> tuple[Holdout | None, str, str]:
    """Holdout, the default language, and the zone of the rule set's dates."""
    holdout = read_holdout(reading, sections.single["holdout"][1]) if "holdout" in sections.single else None
    language, zone = "en", "UTC"
    if "defaults" in sections.single:
        fields = reading.fields(sections.single["defaults"][1], "'defaults'", ("language", "zone"))
        if fields and "language" in fields:
            language = reading.name(fields["language"][1], "'language'") or language
        written = reading.scalar(fields["zone"][1], "'zone'") if fields and "zone" in fields else None
        if written is not None and is_zone(reading, written):
            zone = written.value
    return holdout, language, zone


def _arbitration(reading: Reading, sections: _Sections) -> Arbitration:
    found = sections.single.get("arbitration")
    return read_arbitration(reading, found[1]) if found is not None else Arbitration()


def _assemble(reading: Reading, sections: _Sections, files: Mapping[str, bytes]) -> RuleSet:
    """Every section, in the order in which they need each other."""
    maps = sections.maps
    broken: set[str] = set()
    events = read_events(reading, maps["events"], broken)
    features = read_features(reading, maps["features"], broken)
    expressions = Expressions(reading, events, features)
    expressions.broken |= broken
    windows = read_windows(reading, maps["windows"], expressions)
    counts = frozenset(w.name for w in windows.values() if w.kind in COUNTING)
    facts = expressions.declare_facts(*_facts(reading, sections, expressions, files), counts)
    message_maps = copied(reading, maps["messages"])
    ons = {name: events_of(reading, mapping, events, told=False) for name, (_, mapping) in message_maps.items()}
    products = read_products(
        reading, maps["products"], expressions, _served(_users(message_maps, ons, "product"), events)
    )
    quiet_hours = read_quiet_hours(reading, maps["quiet_hours"])
    purposes = read_purposes(reading, maps["purposes"], sections.names("quiet_hours"))
    channels = read_channels(reading, maps["channels"], expressions)
    kinds = {
        "product": "products",
        "purpose": "purposes",
        "policy": "policies",
        "channel": "channels",
        "message": "messages",
    }
    declared = {kind: sections.names(section) for kind, section in kinds.items()}
    messages = read_messages(reading, message_maps, Known(products, purposes, channels, declared, expressions))
    topics = read_topics(reading, maps["topics"], {m.topic for m in messages.values() if m.topic is not None})
    messages = {
        name: replace(m, former_topics=topics[m.topic]) if m.topic in topics else m for name, m in messages.items()
    }
    holdout, language, zone = _single(reading, sections)
    layers = read_layers(reading, maps["layers"], sections.names("policies"))
    policies = _policies(reading, sections, expressions, message_maps, ons, messages, layers, zone)
    arbitration = _arbitration(reading, sections)
    check_ranks(reading, arbitration, messages, message_maps, policies, purposes, events)
    schema = Schema(events, features, expressions.windows, expressions.broken, declared, messages, products)
    return RuleSet(
        revision=revision_of(files),
        files=dict(files),
        events=events,
        features=features,
        windows=windows,
        facts=facts,
        products=products,
        messages=messages,
        purposes=purposes,
        channels=channels,
        quiet_hours=quiet_hours,
        caps=read_caps(reading, sections.lists["caps"], declared["purpose"]),
        gaps=read_gaps(reading, sections.lists["gaps"], declared["purpose"]),
        policies=policies,
        holdout=holdout,
        default_language=language,
        tests=read_tests(reading, sections.lists["tests"], schema),
        suppressions=read_suppressions(reading, sections.lists["suppress"], declared["purpose"]),
        volumes=read_volumes(reading, sections.lists["caps"], declared["purpose"]),
        layers=layers,
        kpis=read_kpis(reading, maps["kpis"], expressions),
        arbitration=arbitration,
    )
