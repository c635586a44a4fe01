"""On which terms a trial is learnt from, as the log keeps them with each decision.

The rule set may be another one when the trial closes, or when the log is folded again: what is learnt follows from the
log alone. A JSON object, what is usual left out: `reward`, the value of each kind of outcome; `pool`; `hours`, the
width of the time buckets; `context`, the meaning of a linear policy's context. Or a word: why there is no learning.
An entry from before the log had this has "": its terms are those of the rule set in use.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import orjson

from engine.compiler.model import Policy

FIXED = "fixed"  # the policy's weights are
OBJECTED = "objected"  # the customer is not to be learnt from


class Terms(NamedTuple):
    """What the fold needs of a policy. `hours`: width of the time buckets, 0: none; `context_key` 0: no context."""

    reward: Mapping[str, float]
    pool: bool = False
    hours: int = 0
    context_key: int = 0


def terms_of(policy: Policy) -> Terms | None:
    """The terms of the decisions that this policy makes; None where it does not learn."""
    if policy.kind == "fixed":
        return None
    return Terms(policy.reward, policy.pool, policy.learning.bucket_h, policy.context_key)


def written(policy: Policy) -> str:
    """The same as the log has it."""
    terms = terms_of(policy)
    if terms is None:
        return FIXED
    words = {"reward": dict(terms.reward), "pool": terms.pool, "hours": terms.hours, "context": terms.context_key}
    return orjson.dumps({word: value for word, value in words.items() if value}).decode()


@lru_cache(4096)
def read(text: str) -> Terms | None:
    """The terms that the log has of a decision; None where it is not learnt from, or by a later version alone."""
    if not text.startswith("{"):
        return None
    try:
        words = orjson.loads(text)
        reward = {str(kind): float(value) for kind, value in words.get("reward", {}).items()}
        return Terms(reward, bool(words.get("pool")), int(words.get("hours", 0)), int(words.get("context", 0)))
    except (AttributeError, TypeError, ValueError):
        return None
