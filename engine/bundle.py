"""The frozen result of compiling a rule set, and the one that is active.

Swapping is one assignment: whoever took `active.bundle` at the start of a batch keeps it to the end,
so no answer mixes revisions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.compiler.collector import without_collector
from engine.compiler.lowering import lower
from engine.compiler.model import RuleSet
from engine.compiler.program import Program
from engine.compiler.ruleset import load
from engine.plan import StepPlan, plan_step


@dataclass(frozen=True, slots=True)
class Bundle:
    """A compiled rule set: immutable, shared by all batches that began while it was active."""

    ruleset: RuleSet
    program: Program
    steps: StepPlan

    @property
    def revision(self) -> str:
        """Content hash that names it, on every decision."""
        return self.ruleset.revision


@without_collector()
def compile_bundle(files: Mapping[str, bytes]) -> Bundle:
    """Compiles the files of a rule set. Raises RulesInvalid with all findings."""
    ruleset = load(files)
    program = lower(ruleset)
    return Bundle(ruleset, program, plan_step(ruleset, program))


@dataclass(frozen=True, slots=True)
class Pauses:
    """What marketing operations stopped for now."""

    everything: bool = False
    messages: frozenset[str] = frozenset()
    purposes: frozenset[str] = frozenset()

    def targets(self) -> list[str]:
        """As `RuleService.Pause` names them: `message:<name>`, `purpose:<name>`, `all`."""
        named = [f"message:{m}" for m in sorted(self.messages)] + [f"purpose:{p}" for p in sorted(self.purposes)]
        return named + (["all"] if self.everything else [])

    def holds(self, message: str, purpose: str) -> bool:
        """Whether this message may not be said at the moment."""
        return self.everything or message in self.messages or purpose in self.purposes


@dataclass(slots=True)
class Active:
    """What this process serves with. Readers take the attributes once per batch."""

    bundle: Bundle
    pauses: Pauses = field(default_factory=Pauses)
