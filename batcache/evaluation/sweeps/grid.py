"""The combinations of settings that a sweep compares."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from typing import Any

from batcache.config.load import Layer
from batcache.config.settings import Config
from batcache.config.yaml import read_values
from batcache.errors import ConfigError, did_you_mean
from batcache.store.settings import load_settings

SEED = "training.seed"
_SECTIONS = ("model", "training", "augmentation")
_CUTS = ("instance_s", "clips_per_species")
"""The settings of ``data`` that a training is free to choose: no cached number depends on them."""
_WITHOUT_EFFECT = ("data.bag_size", "model.species_groups", "training.run_dir")


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, whole ones where both are, of which a search tries some."""

    low: float
    high: float

    @property
    def is_wide(self) -> bool:
        """Whether the ends differ tenfold or more: then numbers are tried evenly by their logarithm."""
        return self.low > 0 and self.high >= 10 * self.low


@dataclass(frozen=True)
class Combination:
    """Values by dotted key, ``model.pooling_type``, and all settings together with them."""

    values: Mapping[str, Any]
    config: Config


def read_grid(given: Iterable[str]) -> dict[str, list[Any] | Range]:
    """Read ``model.pooling_type=max,attention``: values by key, as a YAML list between its brackets has them.

    ``training.learning_rate=1e-4..1e-2`` is a range.

    Raises:
        ConfigError: no key, no value, no YAML, or a key that is given twice.
    """
    grid: dict[str, list[Any] | Range] = {}
    for text in given:
        key, equals, values = text.partition("=")
        if not equals or not key:
            raise ConfigError("--over", f"{text!r}, expected KEY=VALUE,VALUE", "Pass --over training.seed=0,1,2")
        if key in grid:
            raise ConfigError(f"--over {key}", "given twice", f"Pass --over {key}={values},... once")
        grid[key] = read_range(values) or read_values(values, f"--over {key}")
    return grid


def read_range(text: str) -> Range | None:
    """The range that a text like ``16..128`` or ``1e-4..1e-2`` names; None where it names none.

    >>> read_range("16..128"), read_range("1e-4..1e-2"), read_range("../runs/one")
    (Range(low=16, high=128), Range(low=0.0001, high=0.01), None)
    """
    ends = text.split("..")
    for number in (int, float):
        try:
            low, high = map(number, ends)
        except ValueError:
            continue
        return Range(low, high)
    return None


def combine(grid: Mapping[str, Sequence[Any] | Range], path: Path | None, flags: Layer) -> tuple[Combination, ...]:
    """Every combination of the values, each as if it were written in the YAML file at ``path``.

    The last key changes first. Defaults that follow from a value, as those of ``model.init``, are each one's own.

    Raises:
        ConfigError: a key that is unknown or must not differ within a sweep, a value that is wrong or given twice.
    """
    if not grid:
        raise ConfigError("--over", "no setting to compare", "Pass --over training.seed=0,1,2")
    listed: dict[str, Sequence[Any]] = {}
    for key, values in grid.items():
        if isinstance(values, Range):
            raise ConfigError(f"--over {key}", "a range, expected values", "Pass --trials 50 to search it")
        check_values(key, values)
        listed[key] = values
    drawn = (dict(zip(listed, values, strict=True)) for values in product(*listed.values()))
    return tuple(Combination(values, _load(values, path, flags)) for values in drawn)


def check_values(key: str, values: Sequence[Any]) -> None:
    """See that a key names a setting that may differ within a sweep, and that there are values, each given once.

    Raises:
        ConfigError: it is not so.
    """
    if not values or any(value in values[:i] for i, value in enumerate(values)):
        finding = "a value is given twice" if values else "no value"
        raise ConfigError(f"--over {key}", finding, "Name each value once")
    kinds = {section.name: section.type for section in fields(Config)}
    known = [f"{section}.{setting.name}" for section, kind in kinds.items() for setting in fields(kind)]  # type: ignore[arg-type]
    if key not in known:
        raise ConfigError(
            f"--over {key}", "no such setting", did_you_mean(key, known, "Known: section.key of the YAML")
        )
    section, _, name = key.partition(".")
    if section not in ("data", *_SECTIONS) or key in _WITHOUT_EFFECT:
        raise ConfigError(f"--over {key}", "decides nothing that is compared", "Leave it out")
    if section == "data" and name not in _CUTS:
        finding = "belongs to the cache and its clips, which are the same for a whole sweep"
        raise ConfigError(f"--over {key}", finding, "Build another cache, and sweep there into another --out")


def _load(values: Mapping[str, Any], path: Path | None, flags: Layer) -> Config:
    over: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        section, _, name = key.partition(".")
        over.setdefault(section, {})[name] = value
    try:
        return load_settings(path, flags, over)
    except ConfigError as error:
        raise ConfigError(f"--over {error.place.rpartition(': ')[2]}", error.finding, error.remedy) from None
