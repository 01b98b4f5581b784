"""The README says what is so."""

import re
from pathlib import Path

import pytest
import yaml

from batcache.config import Config, load_config, to_plain

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_example_config_is_every_setting_at_its_default() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert yaml.safe_load(text) == to_plain(Config())


def test_the_tree_names_every_module() -> None:
    tree = README.split("## What is where")[1]
    named = set(re.findall(r"\b(\w+\.py)\b", tree))
    there = {path.name for path in (ROOT / "batcache").rglob("*.py")} - {"__init__.py"}
    assert named == there


@pytest.mark.parametrize("pipeline", sorted((ROOT / "pipelines").glob("*.yaml")), ids=lambda path: path.name)
def test_every_pipeline_loads(pipeline: Path) -> None:
    load_config(pipeline)
