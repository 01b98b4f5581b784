"""A manifest made up for the simulator."""

from pathlib import Path

import pytest

from batcache.errors import ManifestError, SynthError
from batcache.manifest.manifest import read_manifest
from batcache.synth.create import write_plan
from tests.synth.rendered import MYO, PLE


def test_a_made_up_manifest_has_only_the_species_asked_for_and_whole_nights_in_splits(tmp_path: Path) -> None:
    manifest = read_manifest([write_plan(tmp_path, 60, [PLE, MYO], 0, force=False)])  # refuses a night in two splits
    assert manifest.csvs == (tmp_path / "manifest.csv",)
    assert set(manifest.species) == {MYO, PLE}
    assert len(manifest.clips) == 60
    assert manifest.splits.keys() == {"train", "val", "test"}
    assert manifest.splits["train"] > max(manifest.splits["val"], manifest.splits["test"])
    assert {clip.group for clip in manifest.clips if clip.filename.startswith(clip.group or "?")} == {
        clip.group for clip in manifest.clips
    }
    assert {sum(clip.labels) for clip in manifest.clips} <= {0, 1, 2}


def test_all_species_where_none_is_named(tmp_path: Path) -> None:
    assert len(read_manifest([write_plan(tmp_path, 5, [], 0, force=False)]).species) == 20


def test_the_seed_decides_the_manifest(tmp_path: Path) -> None:
    one, again, other = (
        write_plan(tmp_path / name, 30, [], seed, force=False).read_text()
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert one == again != other


def test_another_made_up_manifest_needs_force(tmp_path: Path) -> None:
    place = write_plan(tmp_path, 20, [], 0, force=False)
    before = place.read_bytes()
    assert write_plan(tmp_path, 20, [], 0, force=False).read_bytes() == before
    with pytest.raises(SynthError, match=r"manifest\.csv: another manifest is there"):
        write_plan(tmp_path, 20, [], 1, force=False)
    assert place.read_bytes() == before
    assert write_plan(tmp_path, 20, [], 1, force=True).read_bytes() != before


def test_a_made_up_manifest_of_an_unknown_species_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="does not know Canis lupus"):
        write_plan(tmp_path, 20, ["Canis lupus"], 0, force=False)
    assert not list(tmp_path.iterdir())
