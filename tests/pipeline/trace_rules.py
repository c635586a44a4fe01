"""Small rule sets whose conditions are traced, and the check that every step's place is right."""

from __future__ import annotations

from engine.bundle import Bundle, compile_bundle
from engine.step.traces import ConditionTrace
from engine.trial import run

HEAD = """\
events:
  pay:
    amount: {type: money, currency: EUR}
    fee: {type: money, currency: EUR}
    tags: texts
    due: date
    at: time
    n: integer
    secret: {type: text, personal: true}
  ping: {}
features:
  balance: {type: number, default: 3.5}
  salary: {type: number, above: 0}
  rate: {type: money, currency: USD, default: 2}
  limit: {type: money, currency: USD, default: 3}
  first_name: {type: text, personal: true}
  phone: {type: text, personal: true}
purposes: {service: {consent: not_required}}
channels: {push: {when: features.balance < 100.0}, sms: {}}
"""
FACTS = """\
# facts stand in a file of their own
facts:
  months: features.balance / features.salary
  twice: facts.months + facts.months
"""


def bundle_of(message: str, more: dict[str, str] | None = None, channels: str = "[sms]") -> Bundle:
    """A rule set of one message `m` that is said on `pay`, and one for `ping`."""
    rules = f"messages:\n  m:\n    purpose: service\n    on: [pay]\n    channels: {channels}\n{message}"
    rules += "\n    variants: {plain: {en: Hi}}" if "variants" not in message else ""
    rules += "\n  other: {purpose: service, on: [ping], channels: [sms], variants: {plain: {en: Hi}}}\n"
    files = {"head.yaml": HEAD, "facts.yaml": FACTS, "rules.yaml": rules, **(more or {})}
    return compile_bundle({path: text.encode() for path, text in files.items()})


def conditions(bundle: Bundle, event: str = "", features: str = "", name: str = "m") -> list[ConditionTrace]:
    """The message's conditions for one `pay`."""
    test = f"tests:\n  - {{name: t, given: {{features: {{{features}}}}}, event: {{type: pay, {event}}}"
    test += f", expect: {{send: {name}}}}}\n"
    files = {**bundle.ruleset.files, "tests.yaml": test.encode()}
    tested = compile_bundle(files)
    explanation = run(tested, tested.ruleset.tests[0]).explanation
    [view] = [v for v in explanation.candidates if v.message == name]
    for condition in view.conditions:
        check_places(tested, condition)
    return view.conditions


def check_places(bundle: Bundle, condition: ConditionTrace) -> None:
    """At each step's place the file has the step's text, but for line breaks and what YAML escapes."""
    for step in condition.steps:
        path, place = step.position.path, step.position
        if step.text.startswith("no row") or path.endswith(".xlsx"):
            continue
        lines = bundle.ruleset.files[path].decode().split("\n")[place.line - 1 :]
        rest = " ".join("\n".join([lines[0][place.column - 1 :], *lines[1:]]).split())
        text = step.text.split(": ", 1)[1] if step.text.startswith("row ") else step.text
        text = text.removesuffix("..")
        if condition.role == "slot" and rest.startswith(text.removeprefix("features.")):
            continue  # `{first_name}` in a text
        assert rest.startswith(text if "\\" not in rest else text.split()[0]), step


def told(condition: ConditionTrace) -> list[str]:
    """The steps as text: depth, what is written, value."""
    return [f"{'  ' * step.depth}{step.text} = {step.value}" for step in condition.steps]


def when(text: str, event: str = "", features: str = "", more: dict[str, str] | None = None) -> list[str]:
    """The steps of a `when:`."""
    [condition] = conditions(bundle_of(f"    when: {text}", more), event, features)
    assert condition.role == "when"
    return told(condition)
