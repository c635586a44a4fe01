"""What a checked rule set says about itself: rules that cannot work, or not as they seem to.

Each pass looks at the whole rule set once and is sound: what it tells is so for every customer and
event. Errors keep the rule set from being used, warnings do not.
"""

from __future__ import annotations

from engine.compiler.analysis.constant import report_constant
from engine.compiler.analysis.contact import report_contact
from engine.compiler.analysis.duplicates import report_duplicates
from engine.compiler.analysis.languages import report_languages
from engine.compiler.analysis.personal import report_personal
from engine.compiler.analysis.reach import report_unreachable
from engine.compiler.analysis.report import Report
from engine.compiler.analysis.slots import report_slots
from engine.compiler.analysis.trials import report_trials
from engine.compiler.analysis.unused import report_unused
from engine.compiler.model import RuleSet
from engine.compiler.source import Finding

PASSES = (
    report_constant,
    report_unreachable,
    report_duplicates,
    report_unused,
    report_personal,
    report_slots,
    report_languages,
    report_contact,
    report_trials,
)


def analyse(ruleset: RuleSet) -> list[Finding]:
    """The findings of all passes, each with its severity; not sorted."""
    report = Report(ruleset)
    for run in PASSES:
        run(ruleset, report)
    return report.findings
