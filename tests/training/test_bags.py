import shutil
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import soundfile
import torch
from msgspec import structs

from batcache.errors import ManifestError
from batcache.manifest.manifest import Manifest
from batcache.store.build.build import build
from batcache.store.format.commit import CachedRecording
from batcache.store.reader import Store
from batcache.training.clips.bags import Bag, join, read_bag
from tests.small_world import FRAMES_PER_SECOND, SmallWorld

SPANS = "filename,Low,start_s,duration_s"


def row_of(small: SmallWorld, name: str) -> CachedRecording:
    row = small.store.find(name)
    assert row is not None
    return row


def test_every_clip_is_a_bag_except_those_whose_recording_was_rejected(small: SmallWorld) -> None:
    joined = join(small.manifest, small.store)
    assert len(joined.bags) == 24
    assert [bag.clip for bag in joined.bags] == [c for c in small.manifest.clips if c.filename != "broken.wav"]
    assert list(joined.left_out) == ["broken.wav"]
    assert "not audio" in joined.left_out["broken.wav"]


def test_a_split_is_the_bags_of_its_name(small: SmallWorld) -> None:
    joined = join(small.manifest, small.store)
    assert [len(joined.split(name)) for name in ("train", "val", "test", "none")] == [12, 6, 6, 0]


def test_a_recording_that_was_never_built_is_an_error_with_the_command(small: SmallWorld) -> None:
    manifest = small.read([*small.rows(), "new/a.wav,1,0,0,train,", "new/b.wav,1,0,0,train,"])
    with pytest.raises(ManifestError) as error:
        join(manifest, small.store)
    assert error.value.place == manifest.clips[25].place
    assert "new/a.wav, new/b.wav" in error.value.finding
    command = f"batcache build --csv {manifest.csvs[0]} --data-dir {small.folder} --cache {small.store.path}"
    assert command in error.value.remedy


def test_a_store_of_another_time_expansion_is_an_error(small: SmallWorld) -> None:
    manifest = small.read(["night0/0.wav,1,10"], "filename,Low,time_expansion")
    with pytest.raises(ManifestError, match=r"time_expansion of night0/0\.wav is not the one"):
        join(manifest, small.store)
    join(small.read(["night0/0.wav,1,1"], "filename,Low,time_expansion"), small.store)


def test_a_clip_without_a_time_expansion_takes_the_one_that_the_build_found(small: SmallWorld) -> None:
    manifest = small.read(["night0/0.wav,1"], "filename,Low")
    slowed = structs.replace(row_of(small, "night0/0.wav"), time_expansion=10.0, expansion_source="guano TE")
    with mock.patch.object(Store, "find", return_value=slowed):
        assert join(manifest, small.store).bags[0].row == slowed


def test_one_content_in_two_splits_is_an_error(small: SmallWorld) -> None:
    manifest = small.read(["night0/0.wav,1,0,0,train,a", "copy.wav,1,0,0,test,b"])
    with pytest.raises(ManifestError, match=r"one content in two splits: 'copy\.wav' is in 'test'"):
        join(manifest, small.store)


def test_a_copy_reads_the_frames_of_its_twin(small: SmallWorld) -> None:
    twin, copy = row_of(small, "night0/0.wav"), row_of(small, "copy.wav")
    assert (copy.content, copy.first_instance, copy.frames) == (twin.content, twin.first_instance, twin.frames)


def test_a_span_gives_the_frames_of_its_seconds(small: SmallWorld) -> None:
    manifest = small.read(["late.wav,1,0.25,0.5", "late.wav,1,1.2,5", "late.wav,1,,", "late.wav,1,0.5,"], SPANS)
    whole = small.store.read_frames(row_of(small, "late.wav"))
    assert len(whole) == 1.5 * FRAMES_PER_SECOND
    spans = [(bag.start, bag.stop) for bag in join(manifest, small.store).bags]
    assert spans == [(125, 375), (600, 750), (0, 750), (250, 750)]
    for bag, (start, stop) in zip(join(manifest, small.store).bags, spans, strict=True):
        instances = read_bag(small.store, bag, 50).numpy()
        assert bag.instances(50) == len(instances)
        np.testing.assert_array_equal(instances.reshape(-1, 64)[: stop - start], whole[start:stop])


def test_a_tone_from_1_to_1_25_s_lies_in_the_clip_of_these_seconds_alone(small: SmallWorld) -> None:
    rows = ["late.wav,0,0,0.95", "late.wav,1,1.0,0.25", "late.wav,0,1.3,0.2"]
    before, within, after = (
        float(read_bag(small.store, bag, 25).float().amax()) for bag in join(small.read(rows, SPANS), small.store).bags
    )
    assert within > 2 * max(before, after)


def test_the_shortest_span_is_one_frame(small: SmallWorld) -> None:
    (bag,) = join(small.read(["late.wav,1,0.2,0.0001"], SPANS), small.store).bags
    assert (bag.start, bag.stop, bag.instances(250)) == (100, 101, 1)
    instance = read_bag(small.store, bag, 250)
    assert instance.shape == (1, 250, 64)
    assert instance[0, 1:].count_nonzero() == 0


@pytest.mark.parametrize("start", [1.5, 99.0])
def test_a_clip_that_starts_behind_the_end_is_an_error(small: SmallWorld, start: float) -> None:
    manifest = small.read([f"late.wav,1,{start},"], SPANS)
    with pytest.raises(ManifestError, match=r"start_s [\d.]+ lies behind the end of late.wav \(1.500 s\)"):
        join(manifest, small.store)


def all_bags(small: SmallWorld) -> tuple[Bag, ...]:
    return join(small.manifest, small.store).bags


@pytest.mark.parametrize("frames_per_instance", [125, 250, 500, 77, 1, 10_000])
def test_cutting_again_keeps_every_frame_in_order(small: SmallWorld, frames_per_instance: int) -> None:
    """The store's instances are 250 frames; a bag of any other length is the same frames, cut elsewhere."""
    for bag in all_bags(small)[:6]:
        instances = read_bag(small.store, bag, frames_per_instance)
        assert instances.shape == (bag.instances(frames_per_instance), frames_per_instance, 64)
        frames = instances.reshape(-1, 64)
        np.testing.assert_array_equal(frames[: bag.row.frames], small.store.read_frames(bag.row))
        assert frames[bag.row.frames :].count_nonzero() == 0


def test_cut_again_a_mask_counts_real_instances_not_the_stores_padding(small: SmallWorld) -> None:
    """0.6 s is two instances of 0.5 s with 0.4 s of padding, but three of 0.25 s, not four."""
    bag = next(bag for bag in all_bags(small) if bag.row.frames == 300)
    assert bag.row.instances == 2
    assert [bag.instances(size) for size in (250, 125, 500)] == [2, 3, 1]


def test_labels_come_from_the_csv_not_from_the_store(small: SmallWorld) -> None:
    flipped = [row.replace("night0/0.wav,1,0,0", "night0/0.wav,0,,1") for row in small.rows()]
    assert join(small.manifest, small.store).bags[0].clip.labels == (1, 0, 0)
    assert join(small.read(flipped), small.store).bags[0].clip.labels == (0, -1, 1)


def test_a_part_of_a_bag_is_that_part(small: SmallWorld) -> None:
    bag = next(bag for bag in all_bags(small) if bag.row.frames == 800)
    bag = structs.replace(bag, start=13)
    whole = read_bag(small.store, bag, 60)
    assert len(whole) == 14
    for first, count in [(0, 3), (5, 4), (11, 3), (12, 9), (0, None), (13, None)]:
        part = read_bag(small.store, bag, 60, first, count)
        assert torch.equal(part, whole[first : None if count is None else first + count])


def build_rows(small: SmallWorld, rows: list[str]) -> Manifest:
    manifest = small.read(rows)
    build(manifest, small.folder / "features.zarr", small.config.data, "cpu", workers=1)
    return manifest


def test_a_recording_that_is_rejected_now_is_left_out_though_older_frames_of_it_are_there(
    small: SmallWorld, tmp_path: Path
) -> None:
    for name in ("all.csv", "features.zarr"):
        place = small.folder / name
        (shutil.copytree if place.is_dir() else shutil.copy)(place, tmp_path / name)
    manifest = replace(small.read(["late.wav,1,0,0,,"]), data_dir=tmp_path)
    build(manifest, tmp_path / "features.zarr", small.config.data, "cpu", workers=1)
    joined = join(manifest, Store(tmp_path / "features.zarr"))
    assert joined.bags == ()
    assert list(joined.left_out) == ["late.wav"]


def test_a_file_rejected_of_one_csv_is_left_out_of_it_after_another_csv_was_built(
    small: SmallWorld, tmp_path: Path
) -> None:
    """Neither called never built, nor, where it was sound once, trained on as it was."""
    world = replace(small, folder=Path(shutil.copytree(small.folder, tmp_path / "world")))
    (world.folder / "late.wav").write_bytes(b"RIFF, cut short")
    (world.folder / "broken.wav").write_bytes(b"RIFF, but no more")
    trained = build_rows(world, ["late.wav,1,0,0,,", "broken.wav,1,0,0,,"])
    soundfile.write(world.folder / "new.wav", np.full(50_000, 0.1), 256_000, subtype="PCM_16")
    later = build_rows(world, ["new.wav,1,0,0,,"])
    store = Store(world.folder / "features.zarr")
    joined = join(trained, store)
    assert joined.bags == () and list(joined.left_out) == ["late.wav", "broken.wav"]
    assert store.find("late.wav") is not None, "as it was"
    assert len(join(later, store).bags) == 1
