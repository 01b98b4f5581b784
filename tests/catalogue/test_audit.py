"""What is wrong with a manifest is found, and what is not wrong is not."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

import batcache
from batcache.catalogue.audit.audit import audit
from batcache.catalogue.audit.sketches import Sketches, find_near
from batcache.catalogue.audit.tell_apart import tell_apart, weighted_area
from batcache.manifest.manifest import read_manifest
from batcache.progress import ignore_progress
from batcache.store.open import open_store

RATE = 256_000


def chirps(seed: int, seconds: float = 0.6) -> np.ndarray:
    """Calls at random moments under noise."""
    generator = np.random.default_rng(seed)
    sound = 0.003 * generator.standard_normal(round(seconds * RATE))
    time = np.arange(round(0.005 * RATE)) / RATE
    for start in generator.integers(0, len(sound) - len(time), 6):
        sound[start : start + len(time)] += 0.3 * np.sin(
            2 * np.pi * (generator.uniform(30e3, 80e3) - 2e6 * time) * time
        )
    return sound


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-six recordings: two hold the same samples, one is louder and finer, one has another rate."""
    folder = tmp_path_factory.mktemp("audit")
    rows = ["filename,split,group,Bat"]
    for i in range(22):
        soundfile.write(folder / f"{i:02d}.wav", chirps(i), RATE)
        rows.append(f"{i:02d}.wav,{'train' if i < 11 else 'test'},night {i},{int(i in (0, 11))}")
    soundfile.write(folder / "same.wav", chirps(0), RATE)
    soundfile.write(folder / "louder.wav", 2 * chirps(1), RATE, subtype="PCM_24")
    soundfile.write(folder / "slower.wav", chirps(2)[::2] / 2, RATE // 2)
    rows += ["same.wav,test,night 30,1", "louder.wav,test,night 1,0", "slower.wav,train,,0"]
    (folder / "data.csv").write_text("\n".join(rows))
    (folder / "built.csv").write_text("\n".join(row.replace("test", "train") for row in rows))
    batcache.build(folder / "built.csv", folder / "features.zarr", device="cpu")
    return folder


@pytest.mark.slow
def test_leaks_and_copies_are_all_listed_with_and_without_a_cache(project: Path) -> None:
    for cache in (None, project / "features.zarr"):
        report = batcache.audit(project / "data.csv", cache)
        leaks = {leak.kind: leak for leak in report.leaks}
        assert leaks.keys() == {"content", "group"} and leaks["group"].name == "night 1"
        assert leaks["group"].clips == {"train": 1, "test": 1}
        assert report.copies == (("00.wav", "same.wav"),) == (leaks["content"].files,)
        assert (report.clips, report.groups, report.ungrouped) == (25, 23, 1)
        assert {(few.split, few.groups) for few in report.few} == {("train", 1), ("test", 2)}
    assert not batcache.audit(project / "built.csv").leaks


@pytest.mark.slow
def test_a_sound_saved_again_is_a_near_duplicate_and_others_are_not(project: Path) -> None:
    report = batcache.audit(project / "data.csv", project / "features.zarr")
    assert {frozenset((pair.one, pair.other)) for pair in report.near} == {frozenset(("01.wav", "louder.wav")),
                                                                       frozenset(("02.wav", "slower.wav"))}  # fmt: skip
    assert {pair.one if pair.leaks else "" for pair in report.near} == {"01.wav", ""}
    assert (report.cached, report.sketched) == (25, 24)


@pytest.mark.slow
def test_a_file_that_is_gone_is_told_and_a_recording_that_is_not_cached_is_left_out(project: Path) -> None:
    other = project / "other.csv"
    other.write_text("filename,Bat\n00.wav,1\ngone.wav,0\n")
    assert batcache.audit(other).unreadable == ("gone.wav",)
    report = audit(read_manifest([other]), open_store(project / "features.zarr"))
    assert (report.recordings, report.cached) == (2, 1)


def test_pairs_are_those_that_a_comparison_of_all_finds() -> None:
    generator = np.random.default_rng(0)
    sketches = generator.standard_normal((3000, 8)).astype(np.float32)
    sketches /= np.linalg.norm(sketches, axis=1, keepdims=True)
    durations = generator.choice([1.0, 1.02, 2.0], 3000)
    pairs = find_near(Sketches(sketches, sketches, durations), 0.9, ignore_progress)
    like = np.triu(sketches @ sketches.T >= 0.9, 1) & (np.abs(np.subtract.outer(durations, durations)) < 0.5)
    assert {tuple(sorted((p.one, p.other))) for p in pairs} == set(
        zip(*map(np.ndarray.tolist, np.nonzero(like)), strict=True)
    )
    assert [p.cosine for p in pairs] == sorted((p.cosine for p in pairs), reverse=True)


@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_splits_are_told_apart_where_they_differ_and_only_there(shift: float) -> None:
    generator = np.random.default_rng(1)
    groups = np.repeat(np.arange(40), 5)
    means = generator.standard_normal((200, 12)) + generator.standard_normal((40, 12))[groups]
    splits = np.where(groups < 20, "train", "test")
    means[splits == "test", 0] += shift
    (told,) = tell_apart(means.astype(np.float32), splits.tolist(), [f"night {g}" for g in groups], seed=0)
    assert told.groups == (20, 20) and told.differ == (shift > 0)
    assert told.low is not None and told.auc is not None and told.high is not None and told.low < told.auc < told.high


def test_of_few_groups_nothing_is_said() -> None:
    (told,) = tell_apart(np.zeros((8, 3), np.float32), ["train"] * 4 + ["val"] * 4, list("aabbccdd"), seed=0)
    assert told.auc is None and told.groups == (2, 2)


def test_the_area_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import roc_auc_score

    generator = np.random.default_rng(2)
    scores, there = generator.integers(0, 9, 99).astype(float), generator.random(99) < 0.3
    weights = generator.integers(0, 4, 99).astype(float)
    expected = roc_auc_score(there, scores, sample_weight=weights)
    assert weighted_area(scores, there, weights) == pytest.approx(expected, abs=1e-12)
