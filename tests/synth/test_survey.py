"""The planned manifest is a fair experiment."""

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
