"""What is told of a model's file."""

from dataclasses import replace
from pathlib import Path

import pytest

from batcache.config.features import FeatureConfig
from batcache.errors import RunError
from batcache.model.checkpoint import load_checkpoint, save_checkpoint
from batcache.model.pretrained import SIMULATED, load_pretrained, save_pretrained
from batcache.model.provenance import TrainedOn
from batcache.model.start import extract_trunk
from batcache.model.summary import summarise_model
from batcache.model.torch_file import read_torch, write_torch
from tests.model.test_transfer import CONFIG, TRUNK, earlier


def test_a_checkpoint_tells_its_species_and_what_it_stands_on(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "model.pt", earlier(taught=("a", "c")))
    save_pretrained(tmp_path / "trunk.pt", extract_trunk(earlier(), "by a test"))
    facts, trunk = summarise_model(tmp_path / "model.pt"), summarise_model(tmp_path / "trunk.pt")
    assert (facts["kind"], facts["species"]) == ("checkpoint", "3, 2 of them taught")
    assert [facts[f"  {name}"] for name in "abc"] == ["taught", "not taught", "taught"]
    assert (facts["epoch"], facts["train_loss"], facts["instances"]) == ("3", "0.5000", "of 0.02 s")
    assert facts["features"] == trunk["features"] == "16 mel bands, 10 to 100 kHz, PCEN; 1000 frames a second"
    assert facts["layers"] == trunk["layers"] == "convolutions of 3 filters, 6 features an instance"
    assert (trunk["kind"], trunk["made"]) == ("trunk", "by a test")
    assert "attention" in facts["heads"]


def test_a_checkpoint_of_before_does_not_tell_what_it_was_validated_on(tmp_path: Path) -> None:
    clips = TrainedOn(4, 3, (2, 1, 4), (2, 3, 0), contents=(5, 9), validated=(2, 7))
    save_checkpoint(tmp_path / "model.pt", earlier(trained_on=clips))
    document, _ = read_torch(tmp_path / "model.pt")
    del document["trained_on"]["validated"]
    write_torch(tmp_path / "before.pt", document)
    assert load_checkpoint(tmp_path / "model.pt").trained_on == clips
    assert load_checkpoint(tmp_path / "before.pt").trained_on == replace(clips, validated=())
    document["trained_on"]["validated"] = [7, 2]
    write_torch(tmp_path / "odd.pt", document)
    with pytest.raises(RunError, match="contents of clips that are none"):
        load_checkpoint(tmp_path / "odd.pt")


def test_a_checkpoint_tells_in_words_what_it_was_trained_on(tmp_path: Path) -> None:
    clips = TrainedOn(1200, 31, (900, 4, 0), (300, 1196, 1200))
    save_checkpoint(tmp_path / "model.pt", earlier(trained_on=clips))
    assert load_checkpoint(tmp_path / "model.pt").trained_on == clips
    told = summarise_model(tmp_path / "model.pt")
    assert told["trained on"].startswith("1,200 clips of 31 groups")
    assert [told[f"  {name}"] for name in "abc"] == [f"in {held} of 1,200 clips" for held in (900, 4, 0)]
    save_checkpoint(tmp_path / "older.pt", earlier())
    assert "not said" in summarise_model(tmp_path / "older.pt")["trained on"]


def test_models_of_pcen_and_of_log_mel_are_told_apart_as_caches_are(tmp_path: Path) -> None:
    for compression, said in (("pcen", "PCEN"), ("log", "logarithm")):
        features = FeatureConfig(n_mels=16, compression=compression)  # type: ignore[arg-type]
        trunk = replace(TRUNK, features=features)
        model = replace(earlier(trunk=trunk), features=features, fingerprint=features.fingerprint)
        save_checkpoint(tmp_path / "model.pt", model)
        told = summarise_model(tmp_path / "model.pt")["features"]
        assert told == features.in_words == f"16 mel bands, 10 to 100 kHz, {said}; 1000 frames a second"


def test_a_model_on_the_trunk_that_ships_says_so(tmp_path: Path) -> None:
    shipped = load_pretrained(SIMULATED)
    assert summarise_model(SIMULATED)["trunk"].endswith(", the one that ships")
    save_pretrained(tmp_path / "copy.pt", replace(shipped, made="a copy"))
    assert summarise_model(tmp_path / "copy.pt")["trunk"] == summarise_model(SIMULATED)["trunk"]
    save_checkpoint(tmp_path / "own.pt", earlier(replace(CONFIG, train="all")))
    assert summarise_model(tmp_path / "own.pt")["trunk"].startswith("learnt with the heads, digest ")
    assert "ships" not in summarise_model(tmp_path / "own.pt")["trunk"]
    save_checkpoint(tmp_path / "own.pt", earlier(replace(CONFIG, adapt=0.25)))
    assert summarise_model(tmp_path / "own.pt")["trunk"].startswith(
        "as it was given but for its statistics (adapt 0.25)"
    )


@pytest.mark.parametrize("content", [None, b"", b"no model", b"PK\3\4 torn"])
def test_a_file_that_is_no_model_is_one_line_of_ours(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "model.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RunError, match="no such file" if content is None else "not readable as a model"):
        summarise_model(path)
