"""Generates engine/pb from proto/: `make proto`. A test checks that doing so changes nothing."""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

PROTOS = ("tact/v1/decision.proto", "tact/v1/profile.proto", "tact/v1/rules.proto")


def generate(root: Path, out: Path) -> None:
    """Writes `<out>/tact/v1/*_pb2.py`, `.pyi` and `*_pb2_grpc.py` from `<root>/proto`.

    Raises RuntimeError where protoc fails. Needs grpcio-tools.
    """
    from grpc_tools import protoc

    well_known = files("grpc_tools") / "_proto"
    out.mkdir(parents=True, exist_ok=True)
    import google.type

    common = Path(next(iter(google.type.__path__))).parent.parent
    arguments = [
        "protoc",
        f"-I{root / 'proto'}",
        f"-I{well_known}",
        f"-I{common}",
        f"--python_out={out}",
        f"--pyi_out={out}",
        f"--grpc_python_out={out}",
        *PROTOS,
    ]
    if protoc.main(arguments) != 0:
        raise RuntimeError("protoc failed")
    for generated in sorted(out.rglob("*_pb2*.py*")):
        text = generated.read_text()
        # protoc writes imports relative to the proto root; ours live under engine.pb
        text = text.replace("from tact.v1 import", "from engine.pb.tact.v1 import")
        generated.write_text(text)
    for package in (out, out / "tact", out / "tact" / "v1"):
        (package / "__init__.py").touch()


if __name__ == "__main__":
    top = Path(__file__).resolve().parents[2]
    generate(top, top / "engine" / "pb")
    sys.stdout.write("engine/pb is up to date\n")
