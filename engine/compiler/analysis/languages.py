"""Languages in which something is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain

from engine.compiler.analysis.report import Report
from engine.compiler.model import Message, Position, RuleSet, Text


def report_languages(ruleset: RuleSet, report: Report) -> None:
    """Warnings missing-language.

    A language is expected of a text where most messages speak it, where it is the default, or where
    another variant of the same message has it.
    """
    messages = ruleset.messages.values()
    written = [_shape(message) for message in messages]
    shapes = Counter(written)
    counts: Counter[str] = Counter()
    for shape, count in shapes.items():
        counts.update(dict.fromkeys(_languages(shape), count))
    expected = [language for language, count in counts.items() if 2 * count > len(messages)]
    default = ruleset.default_language
    if messages and default not in counts:
        first = next(iter(messages))
        hint = "name the language of the texts in `defaults: {language: ..}`"
        text = f"no message speaks '{default}', the default language"
        report.add("missing-language", first.position, text, hint=hint)
    elif messages:
        expected = list(dict.fromkeys((default, *expected)))
    complete = {shape for shape in shapes if all(list(languages) == expected for languages in shape)}
    for message, shape in zip(messages, written, strict=True):
        if shape not in complete or len(expected) > 1:
            _message(message, expected, _languages(shape), report)
    for product in ruleset.products.values():
        _texts(f"'otherwise' of '{product.name}'", product.otherwise, expected, product.position, report)
        for condition in product.eligible:
            what = f"'because' of '{condition.name or product.name}'"
            _texts(what, condition.because, expected, condition.expression.position, report)


def _shape(message: Message) -> tuple[tuple[str, ...], ...]:
    """The languages of each variant."""
    return tuple([tuple(variant.texts) for variant in message.variants.values()])


def _languages(shape: Iterable[Iterable[str]]) -> list[str]:
    return list(dict.fromkeys(chain.from_iterable(shape)))


def _message(message: Message, expected: list[str], spoken: Iterable[str], report: Report) -> None:
    for variant in message.variants.values():
        wanted = expected if set(spoken) <= set(expected) else [*dict.fromkeys((*expected, *spoken))]
        what = f"the variant '{variant.name}' of '{message.name}'"
        _texts(what, variant.texts, wanted, variant.position, report)
        if len(variant.texts) > 1:
            _parts(what, variant.texts, report)


def _parts(what: str, texts: Mapping[str, Text], report: Report) -> None:
    """Replies and texts for a channel that one language has and another has not."""
    channels = {channel for text in texts.values() for channel in text.channels}
    replies = any(text.replies for text in texts.values())
    for language, text in texts.items():
        missing = sorted(channels - text.channels.keys())
        parts = [*(["no replies"] if replies and not text.replies else []), *(f"no text for {c}" for c in missing)]
        if parts:
            message = f"{what} has {' and '.join(parts)} in '{language}', but in another language"
            report.add("missing-language", text.position, message)


def _texts(what: str, texts: Mapping[str, object], wanted: Iterable[str], position: Position, report: Report) -> None:
    """Nothing written at all is a choice, not a gap."""
    missing = [w for w in wanted if texts and w not in texts and w.partition("-")[0] not in texts]
    if missing:
        listed = " and ".join(f"'{language}'" for language in missing)
        report.add("missing-language", position, f"{what} has no text in {listed}", found=", ".join(texts))
