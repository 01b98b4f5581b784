"""Learning from few clips of each species: how few, which, and what stays as it is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcache.config.load import load_config
from batcache.manifest.manifest import Clip
from batcache.training.clips.bags import Bag, join
from batcache.training.clips.splits import read_splits
from batcache.training.clips.subset import draw_subset
from batcache.training.inputs import choose_split, describe_inputs
from batcache.training.loop import resume
from tests.small_world import CPU, SmallWorld, drawing, train_fully, tweak
from tests.training.same_run import assert_same_run, stop_after

LABELS = st.lists(st.tuples(*[st.sampled_from([-1, 0, 0, 1])] * 4), min_size=1, max_size=60)
MOST = st.integers(1, 12)


def bags_of(labels: list[tuple[int, ...]]) -> list[Bag]:
    clips = (Clip(f"{i}.wav", Path("a.csv"), i + 2, row) for i, row in enumerate(labels))
    return [Bag(clip, None, 0, 1) for clip in clips]  # type: ignore[arg-type]


def positives(labels: list[tuple[int, ...]], kept: list[bool]) -> np.ndarray:
    return (np.array(labels)[np.array(kept)] == 1).sum(0)


@given(LABELS, MOST, st.integers(0, 5))
def test_no_species_has_more_clips_than_it_may(labels: list[tuple[int, ...]], most: int, seed: int) -> None:
    assert (positives(labels, draw_subset(bags_of(labels), most, seed)) <= most).all()


@given(LABELS, MOST, MOST, st.integers(0, 5))
def test_a_smaller_subset_lies_within_a_larger(labels: list[tuple[int, ...]], one: int, other: int, seed: int) -> None:
    small, large = (np.array(draw_subset(bags_of(labels), most, seed)) for most in sorted((one, other)))
    assert (small <= large).all()


@given(LABELS, MOST, st.randoms())
def test_the_order_of_the_clips_does_not_matter(labels: list[tuple[int, ...]], most: int, random: object) -> None:
    bags = bags_of(labels)
    kept = dict(zip(bags, draw_subset(bags, most, 0), strict=True))
    random.shuffle(bags)  # type: ignore[attr-defined]
    assert draw_subset(bags, most, 0) == [kept[bag] for bag in bags]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), MOST)
def test_of_clips_with_one_species_each_there_are_just_so_many(species: list[int], most: int) -> None:
    labels = [tuple(int(i == one) for i in range(4)) for one in species]
    there = positives(labels, [True] * len(labels))
    assert (positives(labels, draw_subset(bags_of(labels), most, 0)) == np.minimum(there, most)).all()


def test_the_seed_decides_which_and_rare_species_are_kept() -> None:
    labels = [(1, int(i == 7), 0, 0) for i in range(40)] + [(0, 0, 0, 0)] * 20
    drawn = {seed: tuple(draw_subset(bags_of(labels), 4, seed)) for seed in range(3)}
    assert len(set(drawn.values())) == 3
    assert all(kept[7] and sum(kept[:40]) == 4 for kept in drawn.values())
    assert all(sum(kept[40:]) == 2 for kept in drawn.values()), "clips without a species: 4 of 40, so 2 of 20"


def test_a_species_that_always_calls_beside_others_may_be_lost_and_is_named(small: SmallWorld) -> None:
    """High calls beside Low and Sweep alone, each of which has its one clip from rarer species, which come first."""
    labels = ["1,0,0,1,0", "0,0,1,0,1", "1,1,0,0,0", "0,1,1,0,0"]
    rows = [f"night0/{i}.wav" if i < 3 else "night1/0.wav" for i in range(4)]
    header = "filename,Low,High,Sweep,Rare,Scarce,split,group"
    manifest = small.read([f"{name},{row},train,{name}" for name, row in zip(rows, labels, strict=True)], header)
    config = load_config(flags={"data": {"clips_per_species": 1}})
    split = choose_split(join(manifest, small.store), manifest, config)
    assert split.notes == ("2 of 4 training clips left out (data.clips_per_species 1), among them all with High",)


@pytest.mark.parametrize("share", [0.15, 0.3])
def test_what_validates_stays_whole_and_the_notes_say_how_many_were_left_out(small: SmallWorld, share: float) -> None:
    joined = join(small.manifest, small.store)
    bags = tuple(bag.with_split("train") for bag in joined.bags)
    whole = choose_split(replace(joined, bags=bags), small.manifest, drawing(share))
    part = choose_split(
        replace(joined, bags=bags), small.manifest, tweak(drawing(share), data={"clips_per_species": 2})
    )
    assert part.val == whole.val and set(part.train) < set(whole.train)
    assert positives([bag.clip.labels for bag in part.train], [True] * len(part.train)).max() <= 2
    out = len(whole.train) - len(part.train)
    assert f"{out} of {len(whole.train)} training clips left out (data.clips_per_species 2)" in part.notes
    assert len(part.others) == len(whole.others) + out


def test_without_the_setting_no_digest_and_no_fingerprint_is_another(small: SmallWorld) -> None:
    """With it, the digest is that of the clips that are left."""
    few = tweak(small.config, data={"clips_per_species": 2})
    assert few.data.features.fingerprint == small.config.data.features.fingerprint
    joined = join(small.manifest, small.store)
    split = choose_split(joined, small.manifest, few)
    species = small.manifest.species
    assert describe_inputs(few, small.store, split, species) == describe_inputs(
        small.config, small.store, split, species
    )
    assert describe_inputs(few, small.store, split, species) != describe_inputs(
        few, small.store, choose_split(joined, small.manifest, small.config), species
    )


def test_a_run_on_few_clips_that_was_stopped_goes_on_with_the_same(small: SmallWorld, tmp_path: Path) -> None:
    few = tweak(small.config, data={"clips_per_species": 2})
    whole, _ = train_fully(few, small.store, small.manifest, tmp_path / "whole")
    stopped = stop_after(few, small, small.manifest, tmp_path / "stopped", 1)
    resume(stopped, small.store, small.manifest, CPU)
    assert_same_run(whole, stopped)
    assert "left out" in {row.split for row in read_splits(stopped / "split.csv").values()}


def test_none_and_whole_numbers_from_1_are_taken() -> None:
    assert load_config().data.clips_per_species is None
    with pytest.raises(Exception, match=r"data\.clips_per_species"):
        load_config(flags={"data": {"clips_per_species": 0}})
