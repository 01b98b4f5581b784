"""Splits drawn by whole groups: near their shares, with every species on each side, the same for the same seed."""

import csv
import random
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batcache.errors import ManifestError
from batcache.manifest.call_range import warn_of_cut_calls
from batcache.manifest.draw_splits import draw_names, draw_splits, find_units, write_with_splits
from batcache.manifest.label_counts import count_labels
from batcache.manifest.manifest import Clip, read_manifest

TWO = {"train": 0.85, "val": 0.15}
THREE = {"train": 0.7, "val": 0.15, "test": 0.15}


def clip(number: int, group: str | None, labels: tuple[int, ...] = (1,), split: str | None = None) -> Clip:
    return Clip(f"{number}.wav", Path("a.csv"), number + 2, labels, split, group)


def nights(*sizes: int) -> list[Clip]:
    names = [name for name, size in enumerate(sizes) for _ in range(size)]
    return [clip(i, f"night {name}") for i, name in enumerate(names)]


def test_one_large_group_does_not_take_the_share_with_it() -> None:
    clips = nights(600, *[20] * 20)
    for seed in range(10):
        names = draw_names(clips, TWO, seed)
        assert Counter(names)["val"] in (140, 160)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 30), min_size=3, max_size=9), st.integers(0, 99))
def test_the_share_is_as_near_as_whole_groups_allow(sizes: list[int], seed: int) -> None:
    """Of one species in every clip, so that its balance asks for nothing else: no choice of groups is nearer."""
    val = Counter(draw_names(nights(*sizes), TWO, seed))["val"]
    choices = (sum(chosen) for n in range(1, len(sizes)) for chosen in combinations(sizes, n))
    nearest = min(abs(choice / sum(sizes) - 0.15) for choice in choices)
    assert abs(val / sum(sizes) - 0.15) == pytest.approx(nearest)


def test_a_species_of_one_night_in_twenty_is_never_lost_from_training() -> None:
    clips = [clip(i, f"night {i // 10}", (int(i % 2), int(i // 10 == 7))) for i in range(200)]
    for seed in range(50):
        names = draw_names(clips, THREE, seed)
        assert {name for name, c in zip(names, clips, strict=True) if c.labels[1]} == {"train"}
        assert Counter(names) == {"train": 140, "val": 30, "test": 30}


def test_a_species_of_as_many_nights_as_splits_is_in_each() -> None:
    """Of clips with several species, known and unknown."""
    rare = {3: 1, 11: 1, 17: 1}
    clips = [
        clip(i, f"night {i // 10}", (rare.get(i // 10, 0), int(i % 3 == 0), (-1, 0, 1)[i % 7 % 3])) for i in range(300)
    ]
    for seed in range(20):
        drawn = [
            Clip(c.filename, c.csv, c.line, c.labels, name, c.group)
            for c, name in zip(clips, draw_names(clips, THREE, seed), strict=True)
        ]
        for row in count_labels(drawn, ["rare", "common", "patchy"]):
            assert all(row.present[name] and row.absent[name] for name in THREE), (seed, row)


@pytest.mark.parametrize("seed", range(4))
def test_rows_in_another_order_are_drawn_alike(seed: int) -> None:
    clips = [clip(i, f"night {i // 5}" if i < 40 else None, (i % 2, i // 10 % 2)) for i in range(60)]
    expected = dict(zip([c.filename for c in clips], draw_names(clips, THREE, seed), strict=True))
    random.Random(seed).shuffle(clips)
    assert dict(zip([c.filename for c in clips], draw_names(clips, THREE, seed), strict=True)) == expected


def test_seeds_differ() -> None:
    clips = nights(*[5] * 40)
    assert len({tuple(draw_names(clips, THREE, seed)) for seed in range(10)}) == 10


def test_copies_and_clips_of_one_recording_stay_together() -> None:
    clips = nights(*[4] * 12)
    spans = [Clip("0.wav", Path("a.csv"), 99, (1,), None, "night 11"), *clips]  # of the recording of night 0
    contents = {c.filename: c.filename for c in clips} | {"9.wav": "same", "21.wav": "same"}
    for seed in range(20):
        names = draw_names(spans, TWO, seed, contents)
        of = {c.group: name for c, name in zip(clips, names[1:], strict=True)}
        assert names[0] == of["night 0"] == of["night 11"]
        assert of["night 2"] == of["night 5"], "copies"


def test_rows_that_have_a_split_keep_it_and_take_their_group_along() -> None:
    clips = [clip(0, "a", split="test"), clip(1, "a"), clip(2, "odd", split="unused"), *nights(*[2] * 30)[3:]]
    names = draw_names(clips, THREE, 0)
    assert names[:3] == ["test", "test", "unused"]
    assert Counter(names[3:])["test"] < 10, "those that were given count for the share"
    with pytest.raises(ManifestError, match=r"1\.wav is in val, others of its groups and recordings in test"):
        draw_names([clip(0, "a", split="test"), clip(1, "a", split="val")], TWO, 0)


def test_fewer_groups_than_splits_are_refused() -> None:
    with pytest.raises(ManifestError, match=r"only 2 groups for train and val and test"):
        draw_names(nights(5, 5), THREE, 0)
    with pytest.raises(ManifestError, match=r"only one group \(night 0\) for train and val"):
        draw_names(nights(5), TWO, 0)


def test_a_hundred_thousand_recordings_are_drawn_near_their_shares_too() -> None:
    draw = random.Random(0)
    clips = [clip(i, None, tuple(int(draw.random() < p) for p in (0.3, 0.01, 0.0001))) for i in range(100_000)]
    names = draw_names(clips, THREE, 0)
    assert all(abs(Counter(names)[name] / 1e5 - share) < 0.001 for name, share in THREE.items())
    rare = [name for name, c in zip(names, clips, strict=True) if c.labels[2]]
    assert {"train", "val", "test"} == set(rare)


# The CSV


def write(path: Path, text: str, mark: bytes = b"") -> Path:
    path.write_bytes(mark + text.encode())
    return path


def test_the_csv_is_written_again_cell_by_cell_with_a_split(tmp_path: Path) -> None:
    rows = [f'n/{i}.wav;{i % 2};;"night {i // 2}";"a;b, ""c"""' for i in range(20)]
    path = write(tmp_path / "train.csv", "filename;Bat;Other bat;group;meta_said\n" + "\n".join(rows), b"\xef\xbb\xbf")
    manifest = read_manifest([path], split_of={path: ""})
    drawn = draw_splits(manifest, THREE, 3)
    write_with_splits(drawn, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    with (tmp_path / "out.csv").open(encoding="utf-8-sig", newline="") as file:
        header, *written = csv.reader(file, delimiter=";")
    assert header == ["filename", "Bat", "Other bat", "group", "meta_said", "split"]
    assert [row[:-1] for row in written] == [
        [f"n/{i}.wav", str(i % 2), "", f"night {i // 2}", 'a;b, "c"'] for i in range(20)
    ]
    again = read_manifest([tmp_path / "out.csv"])
    assert [c.split for c in again.clips] == [c.split for c in drawn.clips]
    assert again.splits in ({"train": 14, "val": 2, "test": 4}, {"train": 14, "val": 4, "test": 2})


def test_a_split_column_in_the_middle_is_filled_where_it_is_empty(tmp_path: Path) -> None:
    rows = [f"{i}.wav,{'test' if i < 2 else ''},{i % 2}" for i in range(20)]
    path = write(tmp_path / "some.csv", "filename,split,Bat\n" + "\n".join(rows))
    drawn = draw_splits(read_manifest([path]), THREE, 0)
    write_with_splits(drawn, tmp_path / "out.csv")
    again = read_manifest([tmp_path / "out.csv"])
    assert [c.split for c in again.clips[:2]] == ["test", "test"]
    assert again.splits == {"train": 14, "val": 3, "test": 3}
    assert [c.labels for c in again.clips] == [c.labels for c in drawn.clips]
    with pytest.raises(ManifestError, match=r"every row has a split already\. Empty the split column"):
        draw_splits(again, THREE, 0)


@pytest.mark.parametrize(
    ("species", "fmax", "warned"),
    [
        ("Rhinolophus hipposideros", 100_000, True),
        ("rhinolophus_euryale", 100_000, True),
        ("Lesser horseshoe bat", 96_000, True),
        ("Rhinolophus hipposideros", 120_000, False),
        ("Rhinolophus ferrumequinum", 100_000, False),  # 77 to 83 kHz
        ("Myotis myotis", 100_000, False),
    ],
)
def test_horseshoe_bats_above_the_features_are_told_by_the_species_list_alone(
    species: str, fmax: float, warned: bool
) -> None:
    assert (warn_of_cut_calls(["Nyctalus noctula", species], fmax) is not None) == warned


def test_clips_of_one_night_stay_together_however_its_name_is_spelt() -> None:
    names = ("Fran\u00e7ois", "FRANC\u0327OIS", "other")
    clips = [Clip(f"{i}.wav", Path("clips.csv"), i + 2, (1,), None, name) for i, name in enumerate(names)]
    first, second, other = find_units(clips, {})
    assert first == second != other
