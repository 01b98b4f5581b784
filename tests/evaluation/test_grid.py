"""Which settings may be swept, and what each combination's settings are."""

import re
from pathlib import Path
from typing import Any

import pytest

from batcache.config.load import load_config
from batcache.errors import ConfigError
from batcache.evaluation.sweeps.grid import combine, read_grid


@pytest.fixture
def nowhere(tmp_path: Path) -> dict[str, Any]:
    """Flags of a cache that is not built: a grid needs none."""
    return {"data": {"cache": str(tmp_path / "none.zarr")}}


def test_a_grid_is_read_as_yaml_reads_lists() -> None:
    given = ["model.pooling_type=max, attention", "model.conv_layers=[16, 32],[8]", "data.clips_per_species=5,null"]
    assert read_grid([*given, "training.class_weights={Myotis myotis: 5}"]) == {
        "model.pooling_type": ["max", "attention"],
        "model.conv_layers": [[16, 32], [8]],
        "data.clips_per_species": [5, None],
        "training.class_weights": [{"Myotis myotis": 5}],
    }


def test_every_combination_is_there_once_the_last_key_first(nowhere: dict[str, Any]) -> None:
    grid = {"model.heads": [1, 2], "training.seed": [0, 1, 2]}
    combinations = combine(grid, None, nowhere)
    assert [tuple(c.values.values()) for c in combinations] == [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]
    assert [(c.config.model.heads, c.config.training.seed) for c in combinations] == [
        tuple(c.values.values()) for c in combinations
    ]


def test_each_combination_has_the_defaults_that_go_with_it(nowhere: dict[str, Any], tmp_path: Path) -> None:
    """As if it had been written in the YAML, whose own values stand."""
    (tmp_path / "base.yaml").write_text("training: {epochs: 7}")
    chance, heads = combine({"model.init": ["none", "simulated"]}, tmp_path / "base.yaml", nowhere)
    for combination, init in ((chance, "none"), (heads, "simulated")):
        (tmp_path / "one.yaml").write_text(f"model: {{init: {init}}}\ntraining: {{epochs: 7}}")
        assert combination.config == load_config(tmp_path / "one.yaml", flags=nowhere)
    assert (chance.config.training.scheduler, heads.config.training.scheduler) == ("plateau", "none")


def test_null_is_a_value(nowhere: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("training: {class_weights: balanced}\ndata: {clips_per_species: 3}")
    grid = {"training.class_weights": [None], "data.clips_per_species": [None]}
    (combination,) = combine(grid, tmp_path / "base.yaml", nowhere)
    assert combination.config.training.class_weights is None and combination.config.data.clips_per_species is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("training.sed=0", "--over training.sed: no such setting. Did you mean training.seed?"),
        ("pooling_type=max", "--over pooling_type: no such setting. Did you mean model.pooling_type?"),
        ("data.n_mels=64,128", "--over data.n_mels: belongs to the cache and its clips"),
        ("data.cache=a,b", "--over data.cache: belongs to the cache and its clips"),
        ("wandb.project=a,b", "--over wandb.project: decides nothing that is compared"),
        ("training.run_dir=a,b", "--over training.run_dir: decides nothing that is compared"),
        ("data.bag_size=1,10", "--over data.bag_size: decides nothing that is compared"),
        ("training.epochs=3,0", "--over training.epochs: 0: "),
        ("model.pooling_type=max,median", "--over model.pooling_type: 'median': "),
        ("training.seed=0,1,0", "--over training.seed: a value is given twice"),
        ("training.seed=", "--over training.seed: no value"),
        ("training.seed", "--over: 'training.seed', expected KEY=VALUE,VALUE"),
        ("training.seed=[0", "--over training.seed: not YAML: "),
    ],
)
def test_what_cannot_be_swept_is_refused_by_name(nowhere: dict[str, Any], given: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(said)}"):
        combine(read_grid([given]), None, nowhere)


def test_a_key_that_is_given_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--over training\.seed: given twice"):
        read_grid(["training.seed=0", "training.seed=1"])
