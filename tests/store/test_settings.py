"""What a config and a store say together."""

from pathlib import Path

import pytest

from batcache.config.features import FeatureConfig
from batcache.errors import ConfigError, StoreError
from batcache.store.build.target import create, find_layout
from batcache.store.format.layout import Layout
from batcache.store.settings import load_settings, load_with_store


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """An empty store of a PCEN that is not the default."""
    features = FeatureConfig(n_mels=16, pcen_gain=0.9)
    create(tmp_path / "pcen.zarr", features, Layout(500, features.n_mels))
    return tmp_path / "pcen.zarr"


def test_a_stores_pcen_is_taken_unless_another_compression_is_asked_for(cache: Path, tmp_path: Path) -> None:
    """Whoever writes ``compression: log`` has written nothing of PCEN, and is told nothing of it."""
    flags = {"data": {"cache": str(cache)}}
    assert load_settings(None, flags).data.pcen_gain == 0.9
    (tmp_path / "log.yaml").write_text("data: {compression: log}\n")
    settings = load_settings(tmp_path / "log.yaml", flags)
    assert (settings.data.compression, settings.data.n_mels, settings.data.pcen_gain) == ("log", 16, 0.98)
    with pytest.raises(ConfigError, match=r"compression is 'pcen' in .*, 'log' in ") as caught:
        load_with_store(tmp_path / "log.yaml", flags)
    assert "pcen_gain" not in str(caught.value)
    with pytest.raises(StoreError, match="compression is 'pcen', asked for 'log'") as refused:
        find_layout(cache, settings.data)
    assert "pcen_gain" not in str(refused.value)


def test_a_pcen_that_was_written_beside_log_is_still_refused(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "both.yaml").write_text("data: {compression: log, pcen_gain: 0.9}\n")
    with pytest.raises(ConfigError, match=r"data\.pcen_gain: 0\.9, which does nothing"):
        load_settings(tmp_path / "both.yaml", {"data": {"cache": str(cache)}})
