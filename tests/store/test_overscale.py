"""Float samples beyond full scale: taken as they are, kept in the index, told by every build."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from batcache.cli.tables import describe
from batcache.config.settings import DataConfig
from batcache.manifest.manifest import read_manifest
from batcache.store.build.build import build
from batcache.store.hdf5.export import export
from batcache.store.open import open_store
from tests.conftest import noise

CONFIG = DataConfig(n_mels=16, sample_rate=256_000)


def test_float_samples_beyond_full_scale_are_noted_by_each_build_and_in_the_index(
    write_wav: Callable[..., Path], tmp_path: Path
) -> None:
    unit = noise(0.3, 256_000, 0.1)
    unit[0] = 1.0
    write_wav("unit.wav", unit, 256_000, "FLOAT")
    write_wav("integers.wav", np.round(unit * 32_767), 256_000, "FLOAT")
    write_wav("usual.wav", unit, 256_000)
    (tmp_path / "clips.csv").write_text("filename,Bat\nunit.wav,1\nintegers.wav,1\nusual.wav,0\n")
    manifest, cache = read_manifest([tmp_path / "clips.csv"]), tmp_path / "f.zarr"
    for computed in (3, 0):
        report = build(manifest, cache, CONFIG, "cpu", workers=1)
        assert report.computed == computed and report.overscale == {"integers.wav": 32_770}  # four digits
        said = [text for block in describe(report) if "full scale" in (text := str(block))]
        assert len(said) == 1 and "in 1 recording: " in said[0] and "integers.wav (up to 32,770)" in said[0]
    export(cache, tmp_path / "f.h5")
    for place in (cache, tmp_path / "f.h5"):
        rows = open_store(place).index.by_path
        assert {path: row.overscale for path, (row,) in rows.items()} == {
            "unit.wav": 0,
            "integers.wav": 32_770,
            "usual.wav": 0,
        }
