"""The README and the example of all settings say what is so."""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
import yaml

from batcache.config.load import load_config
from batcache.config.settings import Config, to_plain

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SETTINGS = (ROOT / "pipelines" / "settings.yaml").read_text(encoding="utf-8")


def test_the_example_config_is_every_setting_at_its_default() -> None:
    assert yaml.safe_load(SETTINGS) == to_plain(Config())


def line_of(section: str, key: str) -> str:
    """The line of the example config that holds a setting."""
    (text,) = re.findall(rf"^{section}:.*\n((?:  .*\n)+)", SETTINGS, re.MULTILINE)
    (line,) = re.findall(rf"^  {key}:.*(?:\n {{10,}}#.*)*", text, re.MULTILINE)  # and lines of nothing but comment
    return line


def choices() -> Iterator[tuple[str, str, str]]:
    """Section, key and value of every setting that is one of a few words."""
    for section in dataclasses.fields(Config):
        hints = get_type_hints(type(getattr(Config(), section.name)))
        for key, hint in hints.items():
            yield from ((section.name, key, word) for word in get_args(hint) if get_origin(hint) is Literal)


ALTERNATIVES = [
    *choices(),
    ("data", "fmax", "120000"),
    ("data", "cache", "s3://bucket/path/features.zarr"),
    ("training", "class_weights", "balanced"),
    ("training", "class_weights", "[1, 2, …]"),
    ("training", "class_weights", "{Myotis myotis: 5}"),
]


@pytest.mark.parametrize(("section", "key", "value"), ALTERNATIVES)
def test_every_alternative_that_the_example_config_names_loads(
    section: str, key: str, value: str, tmp_path: Path
) -> None:
    assert re.search(rf"(?<!\w){re.escape(value)}(?!\w)", line_of(section, key))
    (tmp_path / "other.yaml").write_text(f"{section}: {{{key}: {value.replace(', …', '')}}}", encoding="utf-8")
    loaded = getattr(getattr(load_config(tmp_path / "other.yaml"), section), key)
    assert loaded == value or not isinstance(loaded, str)


def test_the_tree_names_every_module_once_in_its_room() -> None:
    """A line that ends a room's name with a slash says what the room is for; the lines below it name its modules."""
    (tree,) = re.findall(r"```\nbatcache/\n(.*?)\npipelines/", README, re.DOTALL)
    named, rooms = [], [""]
    for line in tree.splitlines():
        indent = len(line) - len(line.lstrip())
        if indent == 22:
            named += [f"{rooms[-1]}{name}.py" for name in line.split()]
        elif opened := re.match(r" +(\w+/)", line):
            rooms = [*rooms[: indent // 2], rooms[indent // 2 - 1] + opened[1]]
    there = [path.relative_to(ROOT / "batcache").as_posix() for path in (ROOT / "batcache").rglob("*.py")]
    assert sorted(named) == sorted(path for path in there if not path.endswith("__init__.py"))


@pytest.mark.parametrize("pipeline", sorted((ROOT / "pipelines").glob("*.yaml")), ids=lambda path: path.name)
def test_every_pipeline_loads(pipeline: Path) -> None:
    load_config(pipeline)
