"""What the calls of the Python face take, as the library wants it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Paths = str | Path | Sequence[str | Path]
"""One path or several."""
Csv = Paths
"""One manifest or several."""
Settings = str | Path | Mapping[str, Mapping[str, Any]] | None
"""A YAML file, or its sections."""


def paths_of(given: Paths) -> list[Path]:
    """One path or several, as a list."""
    return [Path(given)] if isinstance(given, str | Path) else [Path(one) for one in given]


def layers_of(config: Settings, **data: object) -> tuple[Path | None, Mapping[str, Mapping[str, Any]]]:
    """A config file, and what wins over it."""
    given = {name: str(value) for name, value in data.items() if value is not None}
    if config is None or isinstance(config, str | Path):
        return (None if config is None else Path(config)), {"data": given}
    return None, {**config, "data": {**(config.get("data") or {}), **given}}
