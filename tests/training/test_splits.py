from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from batcache.errors import ManifestError, RunError
from batcache.manifest.manifest import Clip, read_manifest
from batcache.store.format.commit import CachedRecording
from batcache.training.clips.bags import Bag, join
from batcache.training.clips.splits import SplitRow, clip_key, describe_splits, read_splits, require_split, share_groups
from batcache.training.inputs import choose_split
from tests.small_world import SmallWorld, drawing

ROW = CachedRecording("", 0, 0, "", 1, 1, 1.0, "", 1, 0.5, 1.0, 0, 1, 500, 0, 0.0, 0.0, "")


def bag(number: int, group: str | None, content: str, split: str | None = "train") -> Bag:
    clip = Clip(f"{number}.wav", Path("a.csv"), number + 2, (1,), split, group)
    return Bag(clip, structs.replace(ROW, path=clip.filename, content=content), 0, 500)


GROUPS_AND_CONTENTS = st.lists(
    st.tuples(st.none() | st.sampled_from("abcdef"), st.integers(0, 30).map(str)), min_size=2, max_size=30
)


@settings(deadline=None, max_examples=50)
@given(GROUPS_AND_CONTENTS, st.floats(0.01, 0.99), st.integers(0, 2**32))
def test_a_draw_parts_no_group_and_no_content(rows: list[tuple[str | None, str]], share: float, seed: int) -> None:
    bags = [bag(i, group, content) for i, (group, content) in enumerate(rows)]
    try:
        train, val = share_groups(bags, share, seed)
    except ManifestError as error:
        assert "only one group" in str(error)
        return
    assert train and val
    assert len(train) + len(val) == len(bags)
    assert {b.clip.split for b in val} == {"val"}
    assert {b.clip.split for b in train} == {"train"}
    for key in (lambda b: b.clip.group_or_recording, lambda b: b.row.content):
        assert {key(b) for b in train}.isdisjoint(key(b) for b in val)


@settings(deadline=None, max_examples=50)
@given(GROUPS_AND_CONTENTS, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_move_the_draw(rows: list[tuple[str | None, str]], random: object) -> None:
    bags = [bag(i, group, content) for i, (group, content) in enumerate(rows)]
    shuffled = list(bags)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    try:
        _, val = share_groups(bags, 0.3, 7)
    except ManifestError:
        return
    _, other = share_groups(shuffled, 0.3, 7)
    assert {b.clip.filename for b in val} == {b.clip.filename for b in other}


def test_the_share_is_about_what_was_asked_for_and_the_seed_decides_which() -> None:
    bags = [bag(i, f"night {i // 2}", str(i)) for i in range(100)]
    draws = {seed: share_groups(bags, 0.15, seed)[1] for seed in range(20)}
    assert all(14 <= len(val) <= 16 for val in draws.values())
    assert len({tuple(b.clip.filename for b in val) for val in draws.values()}) > 15
    assert draws[3] == share_groups(bags, 0.15, 3)[1]


@pytest.mark.parametrize("seed", range(8))
def test_what_is_drawn_to_validate_on_heeds_the_size_of_groups_and_leaves_every_species_to_learn(seed: int) -> None:
    """A group of 600 clips and twenty of 20, in one of which alone a second species is."""
    nights = [*["night 0"] * 600, *(f"night {i // 20 + 1}" for i in range(400))]
    bags = [bag(i, night, str(i)) for i, night in enumerate(nights)]
    bags = [structs.replace(b, clip=structs.replace(b.clip, labels=(1, int(b.clip.group == "night 7")))) for b in bags]
    train, val = share_groups(bags, 0.15, seed)
    assert len(val) in (140, 160)
    assert sum(b.clip.labels[1] for b in train) == 20


def test_groups_that_share_a_copy_move_together() -> None:
    bags = [bag(0, "a", "x"), bag(1, "b", "x"), bag(2, "b", "y"), bag(3, "c", "y"), bag(4, "d", "z")]
    sides = {
        tuple(sorted(b.clip.filename[0] for b in val)) for val in (share_groups(bags, 0.2, s)[1] for s in range(9))
    }
    assert sides == {("4",)}, "the one that is nearest to the share"


def test_without_validation_clips_a_share_of_groups_is_drawn_and_said(small: SmallWorld) -> None:
    manifest = small.read([row.replace(",val,", ",train,") for row in small.rows()])
    joined = join(manifest, small.store)
    split = choose_split(joined, manifest, drawing(0.15))
    assert len(split.train) + len(split.val) == 18
    assert len(split.val) == 3
    assert {b.clip.group for b in split.train}.isdisjoint(b.clip.group for b in split.val)
    assert {b.clip.split for b in split.others} == {"test"}
    assert split.notes[-1] == "no clip of split val: validated on 3 training clips of 1 group, drawn by seed"
    assert choose_split(joined, manifest, drawing(0.15)) == split


def test_with_validation_clips_the_csv_decides_and_nothing_is_said_but_rejects(small: SmallWorld) -> None:
    split = choose_split(join(small.manifest, small.store), small.manifest, drawing(0.5))
    assert [len(part) for part in (split.train, split.val, split.others)] == [12, 6, 6]
    (note,) = split.notes
    assert note.startswith("1 recording left out, rejected by build: broken.wav (not audio")


def test_one_group_alone_cannot_validate_itself(small: SmallWorld) -> None:
    manifest = small.read([row for row in small.rows() if row.endswith("night 0")])
    with pytest.raises(ManifestError, match=r"only one group \(night 0\) to take some from. Add rows of split val"):
        choose_split(join(manifest, small.store), manifest, drawing(0.15))


def test_a_missing_split_names_those_there_are(small: SmallWorld) -> None:
    manifest = small.read([row.replace(",train,", ",spring,") for row in small.rows()])
    finding = r"no clip of split train \(there are: spring \(13\), test \(6\), val \(6\)\)"
    with pytest.raises(ManifestError, match=finding):
        choose_split(join(manifest, small.store), manifest, drawing(0.15))


@pytest.mark.parametrize("name", ["trian", "training"])
def test_a_misspelt_split_is_named_by_its_row_whatever_csv_lies_beside(tmp_path: Path, name: str) -> None:
    (tmp_path / "train.csv").write_text("filename,Low\n9.wav,1\n")
    rows = ["filename,split,Low", "0.wav,val,1", f"1.wav,{name},1", f"2.wav,{name},0"]
    (tmp_path / "clips.csv").write_text("\n".join(rows))
    with pytest.raises(ManifestError) as error:
        require_split((), read_manifest([tmp_path / "clips.csv"]), "train")
    said = f"line 3: split '{name}', but no clip of split train (there are: {name} (2), val (1)). Did you mean train? "
    assert str(error.value) == f"{tmp_path / 'clips.csv'} {said}Correct the split of these 2 rows."


def test_a_split_that_is_not_used_and_nearly_one_of_the_three_is_asked_about(small: SmallWorld) -> None:
    for name, asked in (("vall", ": did you mean val?"), ("val2", ""), ("summer", "")):
        manifest = small.read([row.replace(",val,", f",{name},") for row in small.rows()])
        notes = choose_split(join(manifest, small.store), manifest, drawing(0.15)).notes
        assert f"not used: 6 clips of split {name}, which is neither train, val nor test{asked}" in notes


def test_a_missing_split_whose_csv_lies_beside_names_it(tmp_path: Path) -> None:
    for name in ("train.csv", "val.csv", "test.csv"):
        (tmp_path / name).write_text(f"filename,Low\n{name}.wav,1\n")
    manifest = read_manifest([tmp_path / "train.csv", tmp_path / "test.csv"])
    with pytest.raises(
        ManifestError, match=rf"no clip of split val .*val\.csv lies beside .*--csv {tmp_path}/val\.csv"
    ):
        require_split((), manifest, "val")
    with pytest.raises(ManifestError) as error:
        require_split((), manifest, "train")
    assert "beside" not in str(error.value)


def test_what_is_written_is_read(small: SmallWorld, tmp_path: Path) -> None:
    spans = small.read(
        ["late.wav,1,,,,n", "late.wav,1,0.5,0.5,test,n", "late.wav,1,1.0,0.25,test,n", "night0/0.wav,0,0,,train,"],
        "filename,Low,start_s,duration_s,split,group",
    )
    bags = join(spans, small.store).bags
    (tmp_path / "split.csv").write_bytes(describe_splits(bags))
    rows = read_splits(tmp_path / "split.csv")
    assert list(rows) == [clip_key(b) for b in bags]
    assert list(rows.values()) == [SplitRow(b.row.content, b.clip.group or "", b.clip.split or "") for b in bags]


@pytest.mark.parametrize("starts", [(None, 0.5), (10_000.01, 10_000.02), (0.1, 0.1 + 1e-9), (1e6, 1e6 + 0.5)])
def test_different_spans_have_different_keys_in_a_recording_of_days_too(starts: tuple[float | None, float]) -> None:
    one, other = (
        structs.replace(bag(0, None, "x"), clip=structs.replace(bag(0, None, "x").clip, start_s=s)) for s in starts
    )
    assert clip_key(one) != clip_key(other)


def test_names_with_commas_quotes_and_line_breaks_survive(tmp_path: Path) -> None:
    odd = [bag(i, name, "x") for i, name in enumerate(["a,b", 'a "b"', "a\nb", "ü", " a "])]
    (tmp_path / "split.csv").write_bytes(describe_splits(odd))
    assert [row.group for row in read_splits(tmp_path / "split.csv").values()] == [b.clip.group for b in odd]


@pytest.mark.parametrize(
    "content", [None, b"", b"a,b\n1,2\n", b"\xff\xff", b"filename,start_s,duration_s,content,group,split\na\n"]
)
def test_what_is_no_split_csv_is_a_run_error(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "split.csv").write_bytes(content)
    with pytest.raises(RunError, match=r"split\.csv: cannot be read .*\)\. Restore it from a copy, or train again\."):
        read_splits(tmp_path / "split.csv")
