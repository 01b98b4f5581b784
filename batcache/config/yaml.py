"""The sections of a YAML file and the keys under them, each given once."""

from pathlib import Path
from typing import Any

import yaml

from batcache.errors import ConfigError, shorten
from batcache.storage.regular import read_regular

_LARGEST = 1 << 20
_DEEPEST = 32
"""Lists within lists; the scanner takes time that grows with the square of their depth."""


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice in a mapping: YAML would let the later one win, unsaid. Refuses deep nesting."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        first: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            line = key.start_mark.line + 1
            if (key.tag, key.value) in first:
                finding = f"{shorten(key.value)!r} is given twice, first in line {first[key.tag, key.value]}"
                raise ConfigError(f"{self.name} line {line}", finding, "Keep one of them")
            first[key.tag, key.value] = line
        return node

    def fetch_flow_collection_start(self, kind: Any) -> None:
        if self.flow_level >= _DEEPEST:
            line = self.get_mark().line + 1
            raise ConfigError(f"{self.name} line {line}", f"more than {_DEEPEST} brackets in each other", "Correct it")
        super().fetch_flow_collection_start(kind)


def read_sections(path: Path) -> dict[str, Any]:
    """Return the sections of a YAML file.

    Raises:
        ConfigError: the file is missing, is not YAML, gives a key twice, or does not hold sections.
    """
    try:
        content = read_regular(path, _LARGEST + 1)
        if len(content) > _LARGEST:
            raise ConfigError(path, f"larger than {_LARGEST:,} bytes, expected settings", "Pass a config")
        document = _load(content.decode("utf-8-sig"), str(path))
    except OSError as error:
        raise ConfigError.of_disk(path, "cannot be read", error, "Pass an existing YAML file") from None
    except UnicodeDecodeError as error:
        raise _not_yaml(path, error) from None
    if document is None:
        return {}
    if not isinstance(document, dict) or not all(isinstance(v, dict | None) for v in document.values()):
        raise ConfigError(path, "expected sections with keys under them, as training: {epochs: 3}", "Indent keys")
    return {section: values or {} for section, values in document.items()}


def read_values(text: str, place: str) -> list[Any]:
    """Values between commas, as a list in YAML has them between its brackets.

    Raises:
        ConfigError: they are not YAML; names ``place``.

    >>> read_values("max, [16, 32], 5, null", "--over")
    ['max', [16, 32], 5, None]
    """
    values = _load(f"[{text}]", place)
    if not isinstance(values, list):
        raise ConfigError(place, f"{shorten(text)!r}, expected values between commas", "Correct it")
    return values


def _load(text: str, name: str) -> Any:
    try:
        loader = _Loader(text)
        loader.name = name
        return loader.get_single_data()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _not_yaml(name, error) from None


def _not_yaml(place: object, error: Exception) -> ConfigError:
    return ConfigError(place, f"not YAML: {shorten(' '.join(str(error).split()), 400)}", "Correct it")
