"""Logs to judge a policy by: Tact's own, or a table of context, action, reward and propensity from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from engine.decision import OutcomeKind
from engine.errors import TactError
from engine.readout.log import F64, I64
from engine.readout.offpolicy import Logged
from engine.readout.target import written
from engine.readout.trials import TrialLog, kinds_of

LEVELS_MAX = 30  # of a context column of texts; rarer ones are one together
Columns = Callable[[str], Sequence[object]]


@dataclass(frozen=True, slots=True)
class Mapped:
    """Which columns of a table mean what. `customer` "": every row is another customer."""

    action: str
    reward: str
    propensity: str
    context: tuple[str, ...]
    customer: str
    separator: str


@dataclass(frozen=True, slots=True)
class Ready:
    """A log to judge by, and its columns by name for the target's cases."""

    log: Logged
    column: Columns


def policies_of(log: TrialLog) -> dict[str, list[str]]:
    """The variants that each policy of the log had to draw from."""
    names = log.names.texts
    found: dict[str, list[str]] = {}
    for code in np.unique(log.policy).tolist():
        if code:
            inside = np.isin(log.variants.row, np.flatnonzero(log.policy == code))
            found[names[code]] = sorted(names[c] for c in np.unique(log.variants.name[inside]).tolist())
    return found


def from_trials(
    log: TrialLog, policy: str, reward: Mapping[str, float], days: float, context: Sequence[str], message: str = ""
) -> Ready:
    """The decisions of one policy whose horizon has passed. Raises TactError: slates, nothing there, unknown outcomes.

    Sticky repetitions, and decisions outside of the trial, are left out: nothing was drawn. Actions are variants,
    message by message.
    """
    names = log.names.texts
    which = (log.policy == names.index(policy)) & ~log.withheld & ~log.sticky & log.closed(days) & log.in_trial
    if message:
        which &= np.array([n == message for n in names])[log.message]
    rows = np.flatnonzero(which)
    if not len(rows):
        about = f" of the message '{message}'" if message else ""
        raise TactError(f"no decision of the policy '{policy}'{about} is older than {days:g} days")
    _refuse_slates(log, rows)
    kinds = {k.name.lower(): k for k in kinds_of(log)}
    if unknown := [k for k in reward if k not in kinds]:
        raise TactError(f"the log has no outcome '{unknown[0]}'; it has: {', '.join(kinds) or 'none'}")
    earned = np.zeros(len(log))
    for kind, value in reward.items():
        earned += value * log.rewards(days, int(OutcomeKind(kinds[kind])))
    codes = sorted(np.unique(log.variants.name[np.isin(log.variants.row, rows)]).tolist(), key=lambda c: names[c])
    shares, offered = log.shares(rows, codes), log.offered(rows, codes)
    messages = np.unique(log.message[rows]).tolist()
    place = np.searchsorted(messages, log.message[rows])
    k = len(codes)
    wide, possible = np.zeros((2, len(rows), k * len(messages)))
    for m in range(len(messages)):
        wide[place == m, m * k : (m + 1) * k] = shares[place == m]
        possible[place == m, m * k : (m + 1) * k] = offered[place == m]
    action = place * k + np.array([codes.index(c) for c in log.variant[rows].tolist()])

    def column(path: str) -> Sequence[object]:
        own = {"segment": log.segment, "message": log.message}.get(path)
        return [names[c] for c in own[rows].tolist()] if own is not None else log.read_value(rows, path)

    _known_paths(context, column)
    ready = Logged(
        [f"{names[m]}/{names[c]}" if len(messages) > 1 else names[c] for m in messages for c in codes],
        action,
        earned[rows],
        wide[np.arange(len(rows)), action],
        log.customer[rows],
        encoded([column(path) for path in ("segment", *context)]),
        possible,
        wide,
    )
    if (ready.propensity <= 0.0).any():
        raise TactError("the log has draws of probability zero: `tact verify` tells which")
    return Ready(ready, column)


def from_table(path: Path, mapped: Mapped) -> Ready:
    """A CSV or Parquet table. Raises TactError: unreadable, no such column, a propensity that is none."""
    table = read_table(path, mapped.separator)
    wanted = [mapped.action, mapped.reward, mapped.propensity, *mapped.context]
    wanted += [mapped.customer] if mapped.customer else []
    if missing := [c for c in wanted if c not in table.column_names]:
        raise TactError(f"{path}: no column '{missing[0]}'; expected one of {', '.join(table.column_names)}")
    if not len(table):
        raise TactError(f"{path}: no rows")
    reward, propensity = numbers_in(path, table, mapped.reward), numbers_in(path, table, mapped.propensity)
    bad = np.flatnonzero(~((propensity > 0.0) & (propensity <= 1.0)))
    if len(bad):
        found = f"row {bad[0] + 1}: the propensity {propensity[bad[0]]:g}"
        raise TactError(f"{path}: {found} is none; expected one above 0 and at most 1")
    taken = [written(v) for v in table[mapped.action].to_pylist()]
    actions = sorted(set(taken))
    places = {a: k for k, a in enumerate(actions)}
    if mapped.customer:
        _, customer = np.unique([written(v) for v in table[mapped.customer].to_pylist()], return_inverse=True)
    else:
        customer = np.arange(len(table))
    columns = {c: table[c].to_pylist() for c in mapped.context}

    def column(name: str) -> Sequence[object]:
        if name not in table.column_names:
            raise TactError(f"{path}: no column '{name}'; expected one of {', '.join(table.column_names)}")
        found: Sequence[object] = columns.get(name) or table[name].to_pylist()
        return found

    log = Logged(
        actions,
        np.array([places[a] for a in taken]),
        reward,
        propensity,
        customer.astype(np.int64),
        encoded(list(columns.values())) if columns else np.zeros((len(table), 0)),
        np.ones((len(table), len(actions))),
    )
    return Ready(log, column)


def encoded(columns: Sequence[Sequence[object]]) -> F64:
    """Context as numbers (n, d): numbers as they are with a flag where one is missing, texts one column a level."""
    n = len(columns[0]) if columns else 0
    parts = [np.zeros((n, 0))]
    for values in columns:
        if all(v is None or (isinstance(v, int | float) and not isinstance(v, bool)) for v in values):
            numbers = np.array([np.nan if v is None else float(v) for v in values])  # type: ignore[arg-type]
            missing = ~np.isfinite(numbers)
            known = float(numbers[~missing].mean()) if not missing.all() else 0.0
            parts.append(np.where(missing, known, numbers)[:, None])
            if missing.any():
                parts.append(missing.astype(np.float64)[:, None])
            continue
        texts = np.array(["" if v is None else written(v) for v in values])
        levels, place, counts = np.unique(texts, return_inverse=True, return_counts=True)
        common = np.argsort(-counts, kind="stable")[:LEVELS_MAX]
        if len(levels) > 1:
            parts.append((place[:, None] == common[None, :]).astype(np.float64))
    return np.concatenate(parts, axis=1)


def _known_paths(context: Sequence[str], column: Columns) -> None:
    for path in context:
        if all(v is None for v in column(path)):
            raise TactError(f"no decision read '{path}': only values that conditions read are logged")


def _refuse_slates(log: TrialLog, rows: I64) -> None:
    """Several messages for one event depend on each other; their probabilities are of a sequence of draws."""
    later = np.flatnonzero(log.slot > 0)
    if not len(later):
        return
    key = np.stack([log.customer.astype(np.uint64), log.event], axis=1)
    slates = {tuple(k) for k in key[later].tolist()}
    count = sum(tuple(k) in slates for k in key[rows].tolist())
    if count:
        raise TactError(
            f"{count:,} of the decisions are parts of slates (several messages for one event): what one of them earns "
            "depends on the others, so they cannot be judged one by one; compare customers with `tact report`"
        )


def read_table(path: Path, separator: str) -> pa.Table:
    """A CSV or Parquet file; `separator` of CSV, `tab` is a tab. Raises TactError."""
    try:
        if path.suffix == ".parquet":
            return pq.read_table(path)
        options = pc.ParseOptions(delimiter="\t" if separator == "tab" else separator)
        return pc.read_csv(path, parse_options=options)
    except (pa.ArrowException, OSError) as error:
        raise TactError(f"{path}: {error}") from None


def numbers_in(path: Path, table: pa.Table, name: str) -> F64:
    """A column of finite numbers. Raises TactError."""
    try:
        numbers: F64 = table[name].cast(pa.float64()).to_numpy()
    except pa.ArrowException:
        raise TactError(f"{path}: the column '{name}' holds {table[name].type}; expected numbers") from None
    if not np.isfinite(numbers).all():
        row = int(np.flatnonzero(~np.isfinite(numbers))[0]) + 1
        raise TactError(f"{path}: row {row}: no number in the column '{name}'")
    return numbers
