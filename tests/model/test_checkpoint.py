import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from batcache.config.features import FRONT_END_VERSION, FeatureConfig
from batcache.config.renamed import RENAMED
from batcache.config.settings import ConvLayer, ModelConfig
from batcache.errors import RunError
from batcache.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from batcache.model.crnn import BatMILModel
from batcache.model.provenance import HeldOut

CPU = torch.device("cpu")
MODEL = ModelConfig("linear_softmax", (ConvLayer(4, (3, 5), 1, (1, 2)), ConvLayer(8)), 8, 1, 0.25)
SPECIES = ("Nyctalus noctula", "Pipistrellus pygmæus")


@pytest.fixture
def checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    model = BatMILModel(MODEL, 16, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.rand(1, 2, 20, 16), torch.ones(1, 2, dtype=torch.bool)).bag_logits.sum().backward()
    optimizer.step()
    features = FeatureConfig(n_mels=16)
    trainer = {"optimizer": optimizer.state_dict(), "best_score": float("-inf"), "best_epoch": 2}
    return Checkpoint(
        MODEL, SPECIES, features, features.fingerprint, 20, 3, "val_macro_ap", 0.5, model.state_dict(), trainer
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "best_model.pt"


def rewrite(path: Path, **changes: Any) -> None:
    document = torch.load(path, weights_only=True)
    torch.save({key: value for key, value in {**document, **changes}.items() if value is not ...}, path)


def test_what_is_saved_is_loaded(checkpoint: Checkpoint, path: Path) -> None:
    save_checkpoint(path, checkpoint)
    loaded = load_checkpoint(path)
    plain = {"weights": {}, "trainer": {}}
    assert replace(loaded, **plain) == replace(checkpoint, **plain)
    assert loaded.weights.keys() == checkpoint.weights.keys()
    for name, value in loaded.weights.items():
        assert torch.equal(value, checkpoint.weights[name]), name
    assert loaded.trainer["best_score"] == float("-inf")
    state = loaded.trainer["optimizer"]["state"]
    assert torch.equal(state[0]["exp_avg"], checkpoint.trainer["optimizer"]["state"][0]["exp_avg"])


def test_a_restored_model_gives_the_same_scores_in_eval_mode(checkpoint: Checkpoint, path: Path) -> None:
    save_checkpoint(path, checkpoint)
    features, mask = torch.rand(2, 3, 20, 16), torch.ones(2, 3, dtype=torch.bool)
    model, other = checkpoint.restore(CPU), load_checkpoint(path).restore(CPU)
    assert not other.training
    assert torch.equal(model(features, mask).bag_logits, other(features, mask).bag_logits)


def test_a_file_holds_tensors_and_plain_types_only(checkpoint: Checkpoint, path: Path) -> None:
    save_checkpoint(path, checkpoint)
    document = torch.load(path, weights_only=True)
    assert document["format"] == "batcache-checkpoint"
    assert document["format_version"] == 1
    assert document["species"] == list(SPECIES)


class Bomb:
    """Runs code where it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (self.target,)


@pytest.mark.parametrize("how", ["pickle", "torch", "inside"])
def test_code_in_a_checkpoint_is_refused_and_not_run(
    checkpoint: Checkpoint, path: Path, tmp_path: Path, how: str
) -> None:
    bomb = Bomb(tmp_path / "went off")
    if how == "pickle":
        path.write_bytes(pickle.dumps(bomb))
    elif how == "torch":
        torch.save(bomb, path)
    else:
        save_checkpoint(path, checkpoint)
        rewrite(path, trainer={"optimizer": bomb})
    with pytest.raises(RunError, match=r"best_model\.pt: not readable as a checkpoint") as error:
        load_checkpoint(path)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "went off").exists()


def test_a_missing_file_is_said(path: Path) -> None:
    with pytest.raises(RunError, match=r"no such checkpoint. Pass --checkpoint, or train first"):
        load_checkpoint(path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_a_run_error(checkpoint: Checkpoint, path: Path, share: float) -> None:
    save_checkpoint(path, checkpoint)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(RunError, match=r"not readable as a checkpoint .*Restore it from a copy, or train again"):
        load_checkpoint(path)


@pytest.mark.parametrize("content", [b"not a checkpoint", b"\x80\x02}q\x00.", b"PK\x03\x04", b"\0" * 999])
def test_what_is_no_checkpoint_is_a_run_error(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(RunError):
        load_checkpoint(path)


def test_a_folder_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(RunError):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("document", [{}, [1, 2], {"format": "other"}, {"state_dict": {}}, torch.zeros(3)])
def test_somebody_elses_checkpoint_is_a_run_error(path: Path, document: Any) -> None:
    torch.save(document, path)
    with pytest.raises(RunError, match="not a batcache checkpoint"):
        load_checkpoint(path)


@pytest.mark.parametrize("version", [0, 2, None, "1"])
def test_another_version_is_refused_with_both_sides(checkpoint: Checkpoint, path: Path, version: Any) -> None:
    save_checkpoint(path, checkpoint)
    rewrite(path, format_version=version)
    with pytest.raises(RunError, match=f"format version {version}, this batcache reads 1"):
        load_checkpoint(path)


def test_a_model_of_an_earlier_front_end_is_loaded_and_known_as_such(
    checkpoint: Checkpoint, path: Path, monkeypatch
) -> None:
    save_checkpoint(path, checkpoint)
    monkeypatch.setattr("batcache.config.features.FRONT_END_VERSION", 99)
    loaded = load_checkpoint(path)
    assert loaded.front_end_version == FRONT_END_VERSION
    save_checkpoint(path, loaded)
    assert load_checkpoint(path).fingerprint == checkpoint.fingerprint != checkpoint.features.fingerprint


def test_a_model_of_a_later_front_end_is_refused(checkpoint: Checkpoint, path: Path) -> None:
    save_checkpoint(path, replace(checkpoint, fingerprint=checkpoint.features.fingerprint_by(FRONT_END_VERSION + 1)))
    with pytest.raises(RunError, match=r"of a front end that this batcache does not know\. Upgrade batcache"):
        load_checkpoint(path)


@pytest.mark.parametrize("part", ["", "model", "features"])
def test_a_checkpoint_with_keys_of_a_newer_batcache_is_refused_and_not_cut(
    checkpoint: Checkpoint, path: Path, part: str
) -> None:
    save_checkpoint(path, checkpoint)
    document = torch.load(path, weights_only=True)
    (document[part] if part else document)["loudness"] = 3
    torch.save(document, path)
    with pytest.raises(RunError, match=r"keys that this batcache does not know: loudness\. Upgrade batcache"):
        load_checkpoint(path)


def test_a_setting_that_was_renamed_since_does_not_lock_a_checkpoint_out(
    checkpoint: Checkpoint, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(path, checkpoint)
    document = torch.load(path, weights_only=True)
    document["model"]["drop_rate"] = document["model"].pop("dropout")
    document["features"]["lowest_hz"] = document["features"].pop("fmin")
    torch.save(document, path)
    monkeypatch.setitem(RENAMED, ("model", "drop_rate"), "dropout")
    monkeypatch.setitem(RENAMED, ("data", "lowest_hz"), "fmin")
    loaded = load_checkpoint(path)
    assert (loaded.model, loaded.features) == (checkpoint.model, checkpoint.features)


@pytest.mark.parametrize(
    "changes",
    [
        {"species": ["one"]},
        {"species": ...},
        {"species": 3},
        {"weights": ...},
        {"weights": {}},
        {"weights": [1]},
        {"weights": None},
        {"features": {"n_mels": 32}},
        {"features": {"n_mels": 2}},
        {"features": {"n_mels": 16, "fmin": 2e5}},
        {"features": None},
        {"model": {"pooling_type": "median"}},
        {"model": {"pooling_type": "max"}},
        {"model": ...},
        {"epoch": ...},
    ],
    ids=str,
)
def test_what_does_not_fit_together_is_a_run_error(checkpoint: Checkpoint, path: Path, changes: Any) -> None:
    save_checkpoint(path, checkpoint)
    rewrite(path, **changes)
    with pytest.raises(RunError, match="a checkpoint that does not fit") as error:
        load_checkpoint(path)
    assert "\n" not in str(error.value)


def test_weights_of_another_shape_are_a_run_error(checkpoint: Checkpoint, path: Path) -> None:
    weights = {name: value[:1] if value.dim() else value for name, value in checkpoint.weights.items()}
    save_checkpoint(path, replace(checkpoint, weights=weights))
    with pytest.raises(RunError, match="does not fit"):
        load_checkpoint(path)


def test_a_failed_save_leaves_what_was_there(checkpoint: Checkpoint, path: Path) -> None:
    save_checkpoint(path, checkpoint)
    before = path.read_bytes()
    with pytest.raises((pickle.PicklingError, AttributeError)):
        save_checkpoint(path, replace(checkpoint, trainer={"f": lambda: None}))
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_held_out_scores_survive_the_file_and_must_fit_the_species(checkpoint: Checkpoint, path: Path) -> None:
    species = len(checkpoint.species)
    logits, labels = torch.randn(5, species), torch.randint(-1, 2, (5, species), dtype=torch.int8)
    held_out = HeldOut("folds", logits, labels, torch.tensor([0, 0, 1, 2, 2]))
    save_checkpoint(path, replace(checkpoint, held_out=held_out))
    found = load_checkpoint(path).held_out
    assert found is not None and found.source == "folds"
    assert all(torch.equal(getattr(found, name), getattr(held_out, name)) for name in ("logits", "labels", "groups"))
    fewer = HeldOut("folds", logits[:, 1:], labels[:, 1:], held_out.groups)
    save_checkpoint(path, replace(checkpoint, held_out=fewer))
    with pytest.raises(RunError, match=f"held-out scores of {species - 1} species"):
        load_checkpoint(path)
