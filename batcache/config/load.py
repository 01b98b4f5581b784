"""Layers of settings merged into one checked config, the later winning.

Defaults, then what the cache was built with (where it exists), then the YAML file, then flags. A key that does not
exist is an error that names the nearest one that does.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from batcache.config.explain import explain
from batcache.config.recipes import find_recipe
from batcache.config.settings import Config, ConvLayer
from batcache.config.yaml import read_sections
from batcache.errors import ConfigError

Layer = Mapping[str, Any]
"""Settings as nested mappings: section, then key. A value of None in a layer of flags means the flag was not given."""


def load_config(
    path: Path | None = None, *, base: Layer | None = None, flags: Layer | None = None, over: Layer | None = None
) -> Config:
    """Merge defaults, ``base``, the YAML file at ``path``, ``flags`` and ``over`` into one checked ``Config``.

    ``over`` stands as if it were written in the file: there a None is a value.

    Raises:
        ConfigError: a file that cannot be read, an unknown section or key, or a value of the wrong type or range.
    """
    for section, keys in (flags or {}).items():
        if not isinstance(keys, Mapping):
            finding = f"{keys!r}, expected settings by name, as {{'epochs': 3}}"
            raise ConfigError(section, finding, "Correct it")
    given_flags = {s: {k: v for k, v in keys.items() if v is not None} for s, keys in (flags or {}).items()}
    merged: dict[str, dict[str, Any]] = {}
    for layer in (base or {}, read_sections(path) if path else {}, given_flags, over or {}):
        for section, keys in layer.items():
            merged[section] = {**merged.get(section, {}), **keys}
    recipe = find_recipe(merged.get("model") or {})
    if merged.get("model", {}).get("conv_layers", ...) is None:
        del merged["model"]["conv_layers"]  # null is what a trunk has; from chance the recipe names them
    try:
        return _adapter().validate_python(
            {**merged, **{s: {**keys, **merged.get(s, {})} for s, keys in recipe.items()}}
        )
    except ValidationError as error:
        raise explain(error, path, _keys_in) from None


_SECTIONS = {f.name: f.default_factory for f in dataclasses.fields(Config)}


@cache
def _adapter() -> TypeAdapter[Config]:
    return TypeAdapter(Config)


def _keys_in(where: Sequence[str]) -> list[str]:
    """The keys there are at a place in the settings."""
    if not where:
        return list(_SECTIONS)
    kind = ConvLayer if where[0] == "model" and len(where) > 1 else _SECTIONS[where[0]]
    return [f.name for f in dataclasses.fields(kind)]  # type: ignore[arg-type]
