"""The laws of ``inference.score_file``: what is added comes back, and evidence is held on the disk."""

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from batcache.errors import RunError
from batcache.inference.bag_scores import BagScores
from batcache.inference.score_file import ScoreFile

SPECIES = 20


def said(number: int, instances: int) -> BagScores:
    rng = np.random.default_rng(number)
    evidence = rng.random((instances, SPECIES), np.float32)
    return BagScores(evidence.max(0), evidence, None if number % 2 else number / 7)


def test_what_is_added_comes_back_in_order(tmp_path: Path) -> None:
    counts = [3, 1, 2, 70]
    bags = [said(i, count) for i, count in enumerate(counts)]
    with ScoreFile(4, [False] * SPECIES, tmp_path) as kept:
        for bag in bags:
            kept.add(bag)
        evidence = kept.evidence()
    np.testing.assert_array_equal(kept.logits, [bag.logits for bag in bags])
    np.testing.assert_array_equal(evidence, np.concatenate([bag.evidence for bag in bags]))
    np.testing.assert_array_equal(kept.bats, np.array([0, np.nan, 2 / 7, np.nan], np.float32))
    assert kept.counts.tolist() == counts and evidence.dtype == np.float32


def test_of_a_species_that_was_not_taught_nothing_is_kept(tmp_path: Path) -> None:
    bag = said(0, 5)
    with ScoreFile(1, [True] + [False] * (SPECIES - 1), tmp_path) as kept:
        kept.add(bag)
        evidence = kept.evidence()
    assert np.isnan(kept.logits[:, 0]).all() and np.isnan(evidence[:, 0]).all()
    np.testing.assert_array_equal(evidence[:, 1:], bag.evidence[:, 1:])
    assert np.isfinite(bag.evidence).all(), "what was given is not written to"


def test_memory_does_not_grow_with_the_evidence(tmp_path: Path) -> None:
    bags = 200
    tracemalloc.start()
    try:
        with ScoreFile(bags, [False] * SPECIES, tmp_path) as kept:
            for i in range(bags):
                kept.add(said(i, 1000))
            evidence = kept.evidence()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert evidence.nbytes == bags * 1000 * SPECIES * 4 == 16e6
    assert peak < 2e6, "one bag's 80 kB, a few times"


def test_nothing_is_left_beside_what_is_written_elsewhere(tmp_path: Path) -> None:
    with ScoreFile(1, [False] * SPECIES, tmp_path) as kept:
        kept.add(said(0, 5))
        evidence = kept.evidence()
    assert list(tmp_path.iterdir()) == [] and evidence.shape == (5, SPECIES) and np.isfinite(evidence).all()


def test_a_folder_that_cannot_hold_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot hold the evidence") as error:
        ScoreFile(1, [False], tmp_path / "gone")
    assert str(tmp_path / "gone") in str(error.value)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no bound on the size of files")
def test_a_disk_without_room_is_told_by_its_folder(tmp_path: Path) -> None:
    """The file may hold 20 kB: what a buffer still holds then is refused too."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with (
            pytest.raises(RunError, match="cannot hold the evidence") as error,
            ScoreFile(9, [False] * SPECIES, tmp_path) as kept,
        ):
            for i in range(9):
                kept.add(said(i, 70))
            kept.evidence()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(tmp_path) in str(error.value)


def test_evidence_may_lie_in_any_order_in_memory(tmp_path: Path) -> None:
    bag = said(0, 5)
    turned = BagScores(bag.logits, np.asfortranarray(bag.evidence), bag.bat)
    with ScoreFile(1, [False] * SPECIES, tmp_path) as kept:
        kept.add(turned)
        np.testing.assert_array_equal(kept.evidence(), bag.evidence)
