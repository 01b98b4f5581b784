"""What a person reviewed wins over other CSVs, whatever the recordings are called, and contradictions are errors."""

from pathlib import Path

import pytest

from batcache.errors import ManifestError
from batcache.manifest.manifest import Manifest, read_manifest
from batcache.manifest.reviewed import Settled, leave_cached_reviews, settle_reviews
from tests.manifest.csvs import write

CACHED = {"aa": ["old/a.wav"], "bb": ["old/b.wav", "copies/b.wav"], "cc": ["c.wav"]}
LISTED = (
    "filename,Myotis myotis,Nyctalus noctula,split,group",
    "old/a.wav,0,1,test,mill-1",
    "old/b.wav,1,,train,mill-2",
)


def read(folder: Path, *reviewed: str, second: tuple[str, ...] = ()) -> Manifest:
    csvs = [write(folder, "train.csv", *LISTED), write(folder / "pred", "reviewed.csv", *reviewed)]
    if second:
        csvs.append(write(folder / "more", "reviewed.csv", *second))
    return read_manifest(csvs)


def settle(manifest: Manifest) -> Settled:
    return settle_reviews(manifest.clips, manifest.species, lambda: CACHED, "features.zarr")


def refusal(manifest: Manifest) -> str:
    with pytest.raises(ManifestError) as caught:
        settle(manifest)
    return str(caught.value)


HEADER = "filename,split,group,content,Nyctalus noctula,Myotis myotis"


def test_a_review_may_lie_elsewhere_and_filenames_start_from_the_folder_of_the_other_csvs(tmp_path: Path) -> None:
    manifest = read(tmp_path, HEADER, "x.wav,train,,cc,1,0")
    assert manifest.data_dir == tmp_path
    alone = read_manifest([tmp_path / "pred" / "reviewed.csv"])
    assert alone.data_dir == tmp_path / "pred"
    with pytest.raises(ManifestError, match="not in the folder of"):
        read_manifest([tmp_path / "train.csv", write(tmp_path / "pred", "other.csv", *LISTED)])


def test_a_clip_that_is_listed_keeps_its_split_and_group_and_takes_what_the_review_knows(tmp_path: Path) -> None:
    manifest = read(tmp_path, HEADER, "renamed.wav,train,wood-9,aa,,1", "b.wav,train,wood-9,bb,0,")
    settled = settle(manifest)
    a, b = settled.clips
    assert (a.filename, a.split, a.group, a.labels) == ("old/a.wav", "test", "mill-1", (1, 1))
    assert (b.filename, b.split, b.group, b.labels) == ("old/b.wav", "train", "mill-2", (1, 0))
    assert settled.corrected == 1, "one label was 0 and is 1; one was not known"


def test_what_no_csv_lists_is_a_clip_of_its_own_under_the_caches_name(tmp_path: Path) -> None:
    *_, new = settle(read(tmp_path, HEADER, "card/0001.wav,train,card-1,cc,1,0")).clips
    assert (new.filename, new.split, new.group, new.labels) == ("c.wav", "train", "card-1", (0, 1))


def test_a_name_that_another_recording_has_is_not_taken_for_it(tmp_path: Path) -> None:
    """Recorders number their files anew on each card: old/a.wav of the review is the sound that the cache calls c."""
    settled = settle(read(tmp_path, HEADER, "old/a.wav,train,card-1,cc,0,1"))
    assert [(clip.filename, clip.labels) for clip in settled.clips] == [
        ("old/a.wav", (0, 1)), ("old/b.wav", (1, -1)), ("c.wav", (1, 0))
    ]  # fmt: skip


def test_species_that_only_one_names_are_not_annotated_in_the_other(tmp_path: Path) -> None:
    manifest = read(tmp_path, "filename,split,content,Plecotus auritus,Myotis myotis", "c.wav,train,cc,1,0")
    assert manifest.species == ("Myotis myotis", "Nyctalus noctula", "Plecotus auritus")
    assert [clip.labels for clip in settle(manifest).clips] == [(0, 1, -1), (1, -1, -1), (0, -1, 1)]
    with pytest.raises(ManifestError, match="in other case"):
        read(tmp_path, "filename,split,content,myotis Myotis", "c.wav,train,cc,1")


def test_a_sound_that_is_not_in_the_cache_is_an_error_with_what_to_do(tmp_path: Path) -> None:
    said = refusal(read(tmp_path, HEADER, "old/a.wav,train,,dd,1,0"))
    assert "pred/reviewed.csv line 2" in said and "--cache features.zarr" in said


def test_two_reviews_of_a_clip_are_joined_and_must_not_contradict_each_other(tmp_path: Path) -> None:
    manifest = read(tmp_path, HEADER, "x.wav,train,,cc,1,", second=(HEADER, "y.wav,train,,cc,,0"))
    assert settle(manifest).clips[-1].labels == (0, 1)
    said = refusal(read(tmp_path, HEADER, "x.wav,train,,cc,1,", second=(HEADER, "y.wav,train,,cc,0,0")))
    assert "more/reviewed.csv line 2" in said and "pred/reviewed.csv line 2" in said


def test_a_review_must_not_bring_a_group_into_a_second_split(tmp_path: Path) -> None:
    assert "one group in two splits" in refusal(read(tmp_path, HEADER, "x.wav,train,mill-1,cc,1,0"))


def test_spans_of_one_recording_are_clips_of_their_own(tmp_path: Path) -> None:
    train = write(tmp_path, "train.csv", "filename,start_s,duration_s,Myotis myotis,split", "c.wav,1.0000004,2,0,train")
    rows = ("filename,split,content,start_s,duration_s,Myotis myotis", "c.wav,train,cc,1,2,1", "c.wav,train,cc,5,2,0")
    settled = settle(read_manifest([train, write(tmp_path, "reviewed.csv", *rows)]))
    assert [(clip.start_s, clip.labels) for clip in settled.clips] == [(1.0000004, (1,)), (5.0, (0,))]
    assert settled.corrected == 1


def test_without_a_hash_no_recording_of_that_name_is_taken(tmp_path: Path) -> None:
    said = refusal(read(tmp_path, HEADER, "old/b.wav,train,,,1,"))
    assert "no hash of the sound of 'old/b.wav'" in said and "Answer one question more in its review" in said


def test_a_review_counts_for_every_copy_that_is_listed(tmp_path: Path) -> None:
    rows = ("filename,Myotis myotis,split", "old/b.wav,1,train", "copies/b.wav,1,train")
    csvs = [write(tmp_path, "train.csv", *rows), write(tmp_path / "pred", "reviewed.csv", HEADER, "x.wav,train,,bb,,0")]
    settled = settle(read_manifest(csvs))
    assert [clip.labels for clip in settled.clips] == [(0, -1), (0, -1)] and settled.corrected == 2


def test_of_a_recording_that_is_listed_in_parts_a_review_of_the_whole_says_what_is_in_none(tmp_path: Path) -> None:
    rows = ("filename,start_s,duration_s,Myotis myotis,Nyctalus noctula", "c.wav,0,1,1,0", "c.wav,1,1,,1")
    train = write(tmp_path, "train.csv", *rows)
    header = "filename,split,content,Myotis myotis,Nyctalus noctula"
    settled = settle(read_manifest([train, write(tmp_path / "p", "reviewed.csv", header, "c.wav,train,cc,0,1")]))
    assert [clip.labels for clip in settled.clips] == [(0, 0), (0, 1)] and settled.corrected == 1
    none = write(tmp_path, "none.csv", rows[0], "c.wav,0,1,1,0", "c.wav,1,1,0,0")
    said = refusal(read_manifest([none, tmp_path / "p" / "reviewed.csv"]))
    assert "'Nyctalus noctula' is in 'c.wav', and in none of its parts" in said


def test_without_a_review_nothing_is_asked_of_the_cache_and_the_clips_stay(tmp_path: Path) -> None:
    manifest = read_manifest([write(tmp_path, "train.csv", *LISTED)])
    assert settle_reviews(manifest.clips, manifest.species, dict, "x") == Settled(manifest.clips)
    assert leave_cached_reviews(manifest, dict) is manifest


def test_a_build_leaves_out_reviewed_sounds_that_it_has(tmp_path: Path) -> None:
    rows = ("x.wav,train,,cc,1,0", "y.wav,train,,dd,1,0", "old/b.wav,train,,ee,1,0")
    manifest = read(tmp_path, HEADER, *rows)
    left = leave_cached_reviews(manifest, lambda: CACHED)
    assert [clip.filename for clip in left.clips] == ["old/a.wav", "old/b.wav", "y.wav"] and left.csvs == manifest.csvs
    alone = leave_cached_reviews(read_manifest([tmp_path / "pred" / "reviewed.csv"]), lambda: CACHED)
    assert [clip.filename for clip in alone.clips] == ["y.wav", "old/b.wav"] and not alone.csvs
