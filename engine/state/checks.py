"""What is asked of a server before it is trusted with customers' state, and what is wrong with its answers."""

from __future__ import annotations

from collections.abc import Sequence

from engine.state.connection import Command, Reply

QUESTIONS: tuple[Command, ...] = (
    ("INFO", "server", "replication", "cluster"),
    ("CONFIG", "GET", "maxmemory-policy"),
    ("CONFIG", "GET", "maxmemory"),
    ("CONFIG", "GET", "appendonly"),
)


def clustered(answers: Sequence[Reply]) -> bool:
    """Whether it is a node of a cluster."""
    return isinstance(answers[0], bytes) and b"cluster_enabled:1" in answers[0]


def findings(answers: Sequence[Reply], replicated: bool) -> list[str]:
    """Sentences: `refused: ..` must stop a server, `warning: ..` not. `replicated`: replicas are to confirm writes."""
    info, policy, memory, appendonly = answers
    found = []
    if isinstance(info, bytes) and b"role:slave" in info:
        found.append("refused: the store is a replica")
    if replicated and isinstance(info, bytes) and b"connected_slaves:0" in info:
        found.append("warning: the store has no replica, so with --durability replica nothing is confirmed")
    if not isinstance(policy, list) or not isinstance(memory, list) or len(policy) != 2:
        found.append("warning: the store does not show its configuration; it must run with noeviction")
    elif policy[1] != b"noeviction":
        limited = memory[1:] != [b"0"]
        found.append(
            f"{'refused' if limited else 'warning'}: maxmemory-policy is {policy[1].decode()}, "
            "which would evict caps; it must be noeviction"
        )
    if isinstance(appendonly, list) and appendonly[1:] == [b"no"]:
        found.append("warning: the store keeps no append-only file, so a restart loses all state")
    return found
