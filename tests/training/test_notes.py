"""What is said before a training starts."""

from pathlib import Path

from batcache.manifest.manifest import Manifest
from batcache.training.events import RunStarted
from tests.small_world import SmallWorld, train_fully, tweak


def notes(small: SmallWorld, manifest: Manifest, runs: Path, **training: int) -> tuple[str, ...]:
    config = tweak(small.config, training={"epochs": 1, **training})
    _, (started, *_) = train_fully(config, small.store, manifest, runs)
    assert isinstance(started, RunStarted)
    return started.notes


def test_clips_of_each_species_are_counted_by_split(small: SmallWorld, tmp_path: Path) -> None:
    _, (started, *_) = train_fully(tweak(small.config, training={"epochs": 1}), small.store, small.manifest, tmp_path)
    assert isinstance(started, RunStarted)
    labels = {name: [clip.labels for clip in small.manifest.clips if clip.split == name] for name in ("val", "test")}
    for i, row in enumerate(started.species):
        for name, rows in labels.items():
            column = [labels[i] for labels in rows]
            assert (row.present[name], row.absent[name]) == (column.count(1), column.count(0))
        assert row.present["train"] + row.absent["train"] <= started.train_clips, "without what the build rejected"


def test_a_species_that_no_training_clip_holds_is_named(small: SmallWorld, tmp_path: Path) -> None:
    rows = [row + (",0" if ",train," in row else ",1") for row in small.rows()]
    manifest = small.read(rows, "filename,Low,High,Sweep,split,group,Never")
    said = [note for note in notes(small, manifest, tmp_path) if "not taught" in note]
    assert [note.rpartition(": ")[2] for note in said] == ["Never (no training clip known to be with it)"]


def test_a_missing_group_column_is_noted(small: SmallWorld, tmp_path: Path) -> None:
    rows = [row.rpartition(",")[0] for row in small.rows()]
    manifest = small.read(rows, "filename,Low,High,Sweep,split")
    assert any(note.startswith("no clip has a group") for note in notes(small, manifest, tmp_path))
    assert not any(note.startswith("no clip has a group") for note in notes(small, small.manifest, tmp_path))


def test_bags_that_are_cropped_are_counted(small: SmallWorld, tmp_path: Path) -> None:
    (note,) = (note for note in notes(small, small.manifest, tmp_path, max_instances=2) if "last longer" in note)
    assert "of 12 training clips last longer than 1 s" in note
    assert not any("last longer" in note for note in notes(small, small.manifest, tmp_path))


def test_horseshoe_bats_above_the_features_are_noted(small: SmallWorld, tmp_path: Path) -> None:
    manifest = small.read(small.rows(), "filename,Low,High,Rhinolophus hipposideros,split,group")
    (note,) = (note for note in notes(small, manifest, tmp_path) if "horseshoe" in note)
    assert (
        "end at 100 kHz" in note and "`batcache build --config wide.yaml --cache wide.zarr` with the same --csv" in note
    )


def test_a_horseshoe_bat_that_no_clip_holds_is_not_noted(small: SmallWorld, tmp_path: Path) -> None:
    """A column of a checklist, 0 throughout."""
    rows = [row + ",0" for row in small.rows()]
    manifest = small.read(rows, "filename,Low,High,Sweep,split,group,Rhinolophus hipposideros")
    assert not any("horseshoe" in note for note in notes(small, manifest, tmp_path))
