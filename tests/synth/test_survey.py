"""The planned manifest is a fair experiment."""

from pathlib import Path

import pytest

from batcache.synth.plan import LEAST_GROUPS, LEAST_SHARE, manifest_csv, plan_manifest
from batcache.synth.repertoire import SPECIES


@pytest.mark.parametrize("seed", [0, 7, 2025])
def test_every_species_is_in_every_split_often_enough(seed: int) -> None:
    plan = plan_manifest(300, seed)
    for species in SPECIES:
        for split in ("train", "val", "test"):
            clips = sum(row.split == split for row in plan)
            mine = [row for row in plan if row.split == split and species.name in row.species]
            assert len(mine) >= LEAST_SHARE * clips, (species.name, split)
            assert len({row.group for row in mine}) >= LEAST_GROUPS[split], (species.name, split)


def test_a_group_stays_in_one_split_and_names_are_unique() -> None:
    plan = plan_manifest(300, 7)
    assert len({(row.group, row.split) for row in plan}) == len({row.group for row in plan}) == 40
    assert len({row.filename for row in plan}) == len(plan) == 300
    assert max(len(row.species) for row in plan) <= 3


def test_the_same_seed_plans_the_same() -> None:
    assert manifest_csv(plan_manifest(60, 1)) == manifest_csv(plan_manifest(60, 1))
    assert manifest_csv(plan_manifest(60, 1)) != manifest_csv(plan_manifest(60, 2))


def test_a_choice_of_species_is_kept_to() -> None:
    plan = plan_manifest(50, 3, species=["Plecotus auritus", "Myotis myotis"])
    assert frozenset().union(*(row.species for row in plan)) == {"Plecotus auritus", "Myotis myotis"}


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20])
def test_a_species_that_is_in_a_split_is_also_absent_from_a_clip_of_it_however_few_there_are(count: int) -> None:
    names = [species.name for species in SPECIES[:count]]
    for clips in range(5, 61):
        plan = plan_manifest(clips, clips, names)
        for split in ("train", "val", "test"):
            mine = [row.species for row in plan if row.split == split]
            everywhere = frozenset.intersection(*mine)
            assert len(mine) == 1 or not everywhere, (clips, split, everywhere)


def test_few_species_are_each_in_every_split_however_few_clips_there_are() -> None:
    names = {species.name for species in SPECIES[:3]}
    for clips in range(5, 61):
        plan = plan_manifest(clips, clips, sorted(names))
        for split in ("train", "val", "test"):
            assert frozenset().union(*(row.species for row in plan if row.split == split)) == names, (clips, split)


def test_the_demos_manifest_is_the_plan_of_seed_0() -> None:
    there = (Path(__file__).parents[2] / "data_manifest.csv").read_text()
    assert manifest_csv(plan_manifest(700, 0)) == there
