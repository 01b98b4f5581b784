"""Settings as a user writes them."""

from pathlib import Path
from typing import Any

import pytest

from batcache.config.load import load_config
from batcache.config.settings import Config


@pytest.fixture
def load(tmp_path: Path) -> Any:
    """Load the text of a YAML file as a config."""

    def load(text: str, **layers: Any) -> Config:
        path = tmp_path / "experiment.yaml"
        path.write_text(text, encoding="utf-8")
        return load_config(path, **layers)

    return load
