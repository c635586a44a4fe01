"""What the rules read: event attributes, features, windows, by path. Missing values carry their reason."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from engine.compiler.model import Feature, RuleSet
from engine.compiler.nodes import Type
from engine.compiler.reference import Absent, Defaulted
from engine.decision import Event
from engine.state.model import Cell, Profile, Record
from engine.windows import WindowPlan, value_of

MISSING = Absent("DATA_MISSING")
STALE = Absent("DATA_STALE")


def stored(feature: Feature, value: object, as_of_ms: int) -> Cell:
    """The cell that keeps a value of a feature; money keeps its currency."""
    unit = feature.unit or "" if feature.type is Type.MONEY else ""
    return Cell(feature.type.value, value, as_of_ms, unit)


def feature_value(feature: Feature, profile: Profile, now_ms: int) -> object:
    """A feature as the rules see it: its value, or its default, or Absent.

    Absent or defaulted where nothing was written, the type or the currency has changed since, the value
    is out of the declared range (DATA_MISSING) or older than its maximum age (DATA_STALE).
    """
    cell = profile.cells.get(feature.name)
    absent = MISSING
    if cell is not None and cell.type == feature.type and (not cell.unit or cell.unit == feature.unit):
        value = cell.value
        age_s = (now_ms - cell.as_of_ms) / 1000 if cell.as_of_ms else 0  # 0: unknown (a replay's)
        if feature.max_age_s is not None and age_s > feature.max_age_s:
            absent = STALE
        elif _in_range(feature, value):
            return value
    return absent if feature.default is None else Defaulted(feature.default)


def _in_range(feature: Feature, value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return True
    if feature.above is not None and not value > feature.above:
        return False
    if feature.at_least is not None and not value >= feature.at_least:
        return False
    return feature.at_most is None or value <= feature.at_most


def text_feature(ruleset: RuleSet, profile: Profile, name: str, now_ms: int) -> str | None:
    """A text feature with a meaning of its own (`timezone`, `language`), or None."""
    feature = ruleset.features.get(name)
    if feature is None:
        return None
    value = feature_value(feature, profile, now_ms)
    if isinstance(value, Defaulted):
        value = value.value
    return value if isinstance(value, str) else None


@lru_cache(maxsize=4096)
def _split(paths: tuple[str, ...]) -> tuple[tuple[str, str, str], ...]:
    """(path, root, name) of each path; the same few sets come with every event."""
    return tuple((path, *path.partition(".")[::2]) for path in paths)


def gather(
    paths: tuple[str, ...],
    ruleset: RuleSet,
    windows: Mapping[str, WindowPlan],
    event: Event,
    occurred_at_ns: int,
    profile: Profile,
    record: Record,
    now_ms: int,
    zone: str | None,
    given_windows: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """The values of `paths` for one event: path -> Python value, Absent or Defaulted.

    `given_windows`, where present, takes the place of what is stored (`tact test`).
    """
    values: dict[str, object] = {}
    features, attributes = ruleset.features, event.attributes
    for path, root, name in _split(paths):
        if root == "features":
            values[path] = feature_value(features[name], profile, now_ms)
        elif root == "event":
            if name == "occurred_at":
                values[path] = occurred_at_ns
            elif name == "type":
                values[path] = event.type
            else:
                values[path] = attributes.get(name, MISSING)
        elif root == "windows":
            if given_windows is not None and name in given_windows:
                values[path] = given_windows[name]
            else:
                values[path] = value_of(windows[name], record.windows, now_ms, zone)
    return values
