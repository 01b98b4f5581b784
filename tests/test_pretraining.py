"""The pipeline that teaches a trunk, small, and a training that starts from what it made."""

from pathlib import Path

import pytest
import yaml

import batcache
from batcache.errors import ConfigError
from batcache.model.checkpoint import load_checkpoint
from batcache.model.pretrained import load_pretrained
from batcache.pipeline import PretrainReport, run_pipeline
from batcache.training.runs import BEST

ROOT = Path(__file__).parents[1]


def settings_in(folder: Path, **synth: object) -> Path:
    out = str(folder / "recordings")
    settings = {
        "synth": {"out": out, "clips": 6, "virtual_species": 1, "instance_labels": True, **synth},
        "data": {
            "train_csv": f"{out}/instances.csv",
            "data_dir": out,
            "cache": str(folder / "features.zarr"),
            "n_mels": 32,
            "bag_size": 1,
        },
        "model": {"init": "none", "conv_layers": [4, 6], "rnn_hidden_size": 6, "rnn_layers": 1},
        "training": {"epochs": 1, "batch_size": 16, "run_dir": str(folder / "runs")},
    }
    file = folder / "pretrain.yaml"
    file.write_text(yaml.safe_dump(settings))
    return file


@pytest.mark.slow
def test_a_taught_trunk_starts_a_training(tmp_path: Path) -> None:
    report = run_pipeline(settings_in(tmp_path), device="cpu")
    assert isinstance(report, PretrainReport)
    trunk = load_pretrained(report.trunk)
    assert (trunk.config.features.n_mels, trunk.config.feature_dim) == (32, 12)
    assert trunk.made == "6 simulated clips, 1 virtual species, seed 0"
    again = run_pipeline(settings_in(tmp_path), device="cpu")
    assert again.run == report.run, "nothing is taught twice"
    trained = batcache.train(
        tmp_path / "recordings" / "instances.csv",
        tmp_path / "features.zarr",
        data_dir=tmp_path / "recordings",
        config={
            "model": {"init": report.trunk},
            "training": {"epochs": 1, "run_dir": tmp_path / "heads", "simulated_sounds": 0},
        },
        device="cpu",
    )
    assert load_checkpoint(trained.run / BEST).trunk == trunk.config


@pytest.mark.slow
def test_the_recipe_of_the_trunk_gives_the_same_weights_each_time_and_other_ones_by_another_seed(
    tmp_path: Path,
) -> None:
    """``pipelines/pretrain.yaml`` with fewer clips, species, epochs and filters, rendered, built and taught twice."""

    def teach(folder: Path, seed: int = 0) -> Path:
        settings = yaml.safe_load((ROOT / "pipelines" / "pretrain.yaml").read_text())
        small = yaml.safe_load(settings_in(folder, rates=[192_000, 384_000]).read_text())
        for section in ("synth", "data", "training"):
            settings[section] |= small[section]
        settings["training"] |= {"epochs": 2, "seed": seed}
        settings["model"] |= {"conv_layers": [4, 6], "rnn_hidden_size": 6}
        (folder / "recipe.yaml").write_text(yaml.safe_dump(settings))
        report = run_pipeline(folder / "recipe.yaml", device="cpu")
        assert isinstance(report, PretrainReport)
        return report.trunk

    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    first, second = teach(tmp_path / "one"), teach(tmp_path / "other")
    assert first.read_bytes() == second.read_bytes()
    assert load_pretrained(first).made.endswith("recorders of 192, 384 kHz")
    third = teach(tmp_path / "one", seed=1)
    assert third.read_bytes() != first.read_bytes()


@pytest.mark.parametrize("synth", [{"clips": None, "manifest": "data_manifest.csv"}])
def test_instance_labels_go_with_clips_and_a_training_from_chance(tmp_path: Path, synth: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"synth\.instance_labels: teaches a trunk"):
        run_pipeline(settings_in(tmp_path, **synth), device="cpu")
