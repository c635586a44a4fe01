"""Topics that customers name: known to the rule set, of no rule set yet, or misspelt.

A topic needs no declaration, so a customer may block one that no message has so far. A misspelt one would be a
message to somebody who refused it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from engine.compiler.model import RuleSet

_SHORTEST = 4  # of fewer letters one more or less makes another word
_APART = re.compile(r"\d+|(?<![^\W\d_])[^\W\d_](?![^\W\d_])")  # numbers, single letters


class Topics:
    """A rule set's topics, by their present and former names: `known`."""

    def __init__(self, rules: RuleSet) -> None:
        self.known = frozenset(topic for message in rules.messages.values() for topic in message.topics)
        self._near = {key: topic for topic in sorted(self.known, reverse=True) for key in _keys(topic)}

    def meant(self, name: str) -> str:
        """The known topic that `name` misspells; "" where it is one itself, or another topic.

        Misspelt is what differs in capitals and punctuation, or in one letter: missing, too many, wrong or elsewhere.
        """
        if name in self.known:
            return ""
        return next((self._near[key] for key in _keys(name) if key in self._near), "")


def _keys(name: str) -> Iterator[tuple[str, ...]]:
    """The name's letters, and these without each one of them; beside what tells topics apart (fund_a, fund_b)."""
    folded = name.casefold()
    apart = _APART.findall(folded)
    letters = "".join(filter(str.isalnum, folded))
    yield letters, *apart
    for k in range(len(letters) if len(letters) >= _SHORTEST else 0):
        yield letters[:k] + letters[k + 1 :], *apart
