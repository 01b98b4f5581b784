from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from batcache.config.features import FeatureConfig
from batcache.config.settings import ConvLayer, ModelConfig
from batcache.errors import ConfigError, RunError
from batcache.features.bands import band_edges_hz
from batcache.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from batcache.model.heads import MILHeads
from batcache.model.pretrained import SIMULATED, Pretrained, PretrainedMILModel, load_pretrained, save_pretrained
from batcache.model.start import extract_trunk, find_trunk, start_model
from batcache.model.trunk import FrozenTrunk, Trunk, TrunkConfig, interpolate_bands

CPU = torch.device("cpu")
WIDE = FeatureConfig(fmax=120_000.0, n_mels=32)
TRUNK = TrunkConfig((ConvLayer(4), ConvLayer(6)), 12, WIDE)
SMALL = ModelConfig("max", heads=2, head_size=8, rnn_hidden_size=4)


def made_trunk(seed: int = 0) -> Pretrained:
    torch.manual_seed(seed)
    return Pretrained(TRUNK, Trunk(TRUNK.conv_layers, WIDE.n_mels, TRUNK.feature_dim).state_dict(), "by a test")


def model_on(features: FeatureConfig, config: ModelConfig = SMALL) -> PretrainedMILModel:
    torch.manual_seed(1)
    model = PretrainedMILModel(config, TRUNK, features, 3)
    model.trunk.load_state_dict(dict(made_trunk().weights))
    return model.eval()


def mask_of(*lengths: int) -> Tensor:
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def centres_of(features: FeatureConfig) -> Tensor:
    """Of the mel bands, in Hz."""
    return torch.from_numpy(band_edges_hz(features)[:, 1].copy())


@pytest.mark.parametrize("features", [FeatureConfig(), FeatureConfig(fmin=15_000.0, n_mels=64), WIDE])
def test_a_band_is_read_at_its_own_frequency(features: FeatureConfig) -> None:
    centres, wanted = centres_of(features), centres_of(WIDE)
    read = centres.log().float() @ interpolate_bands(features, WIDE)
    within = (wanted > centres[0]) & (wanted < centres[-1])
    assert within.sum() > 20
    torch.testing.assert_close(read[within], wanted.log().float()[within], rtol=1e-5, atol=1e-5)


def test_bands_that_a_cache_has_not_are_dead() -> None:
    weights, wanted = interpolate_bands(FeatureConfig(fmin=20_000.0, fmax=80_000.0), WIDE), centres_of(WIDE)
    assert (weights[:, (wanted > 82_000) | (wanted < 19_000)] == 0).all()
    inside = weights[:, (wanted > 21_000) & (wanted < 79_000)].sum(0)
    torch.testing.assert_close(inside, torch.ones_like(inside))


def test_a_trunk_that_stays_as_it_is_keeps_its_statistics_in_training_too() -> None:
    trunk = FrozenTrunk(TRUNK, WIDE)
    before = {name: value.clone() for name, value in trunk.state_dict().items()}
    instances = torch.rand(5, 40, 32)
    in_training = trunk.train().embed(instances)
    assert torch.equal(in_training, trunk.eval().embed(instances))
    assert all(torch.equal(value, before[name]) for name, value in trunk.state_dict().items())


@pytest.mark.parametrize(
    ("features", "finding"),
    [
        (FeatureConfig(hop_length=512), r"data\.hop_length: 0\.002 in this cache, 0\.001 in what the trunk"),
        (FeatureConfig(n_fft=512), r"data\.n_fft: 0\.002 in this cache, 0\.004"),
        (FeatureConfig(pcen_gain=0.5), r"data\.pcen_gain: 0\.5 in this cache, 0\.98"),
        (
            FeatureConfig(compression="log"),
            r"data\.compression: log in this cache, pcen in what the trunk was taught with\. Pass --init none",
        ),
    ],
)
def test_features_of_another_kind_are_refused(features: FeatureConfig, finding: str) -> None:
    with pytest.raises(ConfigError, match=finding):
        FrozenTrunk(TRUNK, features)


def test_a_trunk_of_log_mel_frames_reads_those_and_no_others() -> None:
    taught = replace(TRUNK, features=replace(WIDE, compression="log"))
    FrozenTrunk(taught, FeatureConfig(compression="log"))
    with pytest.raises(ConfigError, match=r"data\.compression: pcen in this cache, log in what the trunk"):
        FrozenTrunk(taught, FeatureConfig(pcen_gain=0.5))


def test_windows_as_long_at_another_rate_are_read() -> None:
    FrozenTrunk(TRUNK, FeatureConfig(target_sample_rate=512_000, n_fft=2048, hop_length=512))


def test_the_recurrent_network_adds_nothing_before_it_has_learnt() -> None:
    torch.manual_seed(2)
    heads, embeddings, mask = MILHeads(SMALL, 12, 3).eval(), torch.rand(1, 4, 1, 12), mask_of(4)
    together = heads(embeddings, mask).instance_logits
    alone = torch.cat([heads(embeddings[:, i : i + 1], mask_of(1)).instance_logits for i in range(4)], 1)
    torch.testing.assert_close(together, alone)
    torch.nn.init.constant_(heads.heads[0].context.weight, 0.5)
    assert not torch.allclose(heads(embeddings, mask).instance_logits, alone)


def test_what_heads_say_is_the_mean_of_what_each_says() -> None:
    heads, embeddings, mask = MILHeads(SMALL, 12, 3).eval(), torch.rand(2, 4, 1, 12), mask_of(4, 2)
    one, other = heads.each(embeddings, mask)
    assert not torch.allclose(one.bag_logits, other.bag_logits), "each has a start of its own"
    torch.testing.assert_close(heads(embeddings, mask).bag_logits, (one.bag_logits + other.bag_logits) / 2)


def test_embeddings_are_standardised_and_a_dead_feature_stays() -> None:
    heads, embeddings = MILHeads(SMALL, 3, 2), torch.randn(500, 3) * torch.tensor([5.0, 0.1, 0.0]) + 7
    heads.standardise_by(embeddings)
    scaled = (embeddings - heads.mean) / heads.std
    torch.testing.assert_close(scaled.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(scaled.std(0, correction=0), torch.tensor([1.0, 1.0, 0.0]), atol=1e-3, rtol=0)


def test_padding_and_pieces_change_no_score() -> None:
    model, mask = model_on(WIDE), mask_of(5, 2)
    features = torch.rand(2, 5, 40, 32)
    output = model(features, mask)
    for i, length in enumerate((5, 2)):
        whole = model.score_pieces([features[i, :length]])
        pieces = model.score_pieces(features[i, :length].split(2))
        torch.testing.assert_close(whole.bag_logits[0], output.bag_logits[i])
        torch.testing.assert_close(pieces.bag_logits, whole.bag_logits)


def test_heads_that_run_one_after_the_other_along_a_long_bag_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model, embeddings = model_on(WIDE), torch.randn(50, 2, TRUNK.feature_dim)
    together = model.heads.score_pieces(embeddings.split(20))
    monkeypatch.setattr("batcache.model.heads._LONG", 50)
    one_by_one = model.heads.score_pieces(embeddings.split(20))
    for part in ("bag_logits", "instance_logits", "evidence"):
        torch.testing.assert_close(getattr(one_by_one, part), getattr(together, part))


def test_a_trunk_is_read_as_it_was_written_but_for_half_precision(tmp_path: Path) -> None:
    trunk = made_trunk()
    save_pretrained(tmp_path / "trunk.pt", trunk)
    read = load_pretrained(tmp_path / "trunk.pt")
    assert (read.config, read.made) == (TRUNK, "by a test")
    assert read.weights.keys() == trunk.weights.keys()
    for name, value in read.weights.items():
        torch.testing.assert_close(value, trunk.weights[name], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"format": "other"}, "not a trunk of batcache"),
        ({"format_version": 9}, "format version 9"),
        ({"weights": {}}, "does not fit"),
        ({"config": {"feature_dim": 3}}, "does not fit"),
        ({"made": ...}, "does not fit"),
    ],
)
def test_what_is_no_trunk_is_refused(tmp_path: Path, changes: dict[str, object], finding: str) -> None:
    path = tmp_path / "trunk.pt"
    save_pretrained(path, made_trunk())
    document = {**torch.load(path, weights_only=True), **changes}
    torch.save({name: value for name, value in document.items() if value is not ...}, path)
    with pytest.raises(RunError, match=finding):
        find_trunk(path)


@pytest.mark.parametrize("content", [b"", b"no trunk", b"PK\3\4 torn"])
def test_a_damaged_trunk_is_one_line_of_ours(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "trunk.pt"
    path.write_bytes(content)
    with pytest.raises(RunError, match="not readable as a trunk"):
        find_trunk(path)
    with pytest.raises(RunError, match="no such trunk"):
        find_trunk(tmp_path / "none.pt")


def checkpoint_of(model: torch.nn.Module, config: ModelConfig, trunk: TrunkConfig | None) -> Checkpoint:
    weights = model.state_dict()
    return Checkpoint(
        config, ("a", "b", "c"), WIDE, WIDE.fingerprint, 40, 3, "train_loss", 0.5, weights, trunk=trunk
    )  # fmt: skip


def test_a_model_on_a_trunk_is_whole_in_its_checkpoint(tmp_path: Path) -> None:
    model, features, mask = model_on(WIDE), torch.rand(2, 3, 40, 32), mask_of(3, 3)
    save_checkpoint(tmp_path / "model.pt", checkpoint_of(model, SMALL, TRUNK))
    restored = load_checkpoint(tmp_path / "model.pt").restore(CPU)
    assert torch.equal(restored(features, mask).bag_logits, model(features, mask).bag_logits)


def test_the_trunk_of_any_model_starts_another(tmp_path: Path) -> None:
    config = ModelConfig("max", (ConvLayer(4), ConvLayer(6)), 6, 1, init="none")
    start = start_model(config, WIDE, "abc")
    model = start.model
    assert start.trunk is None
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    save_checkpoint(run / "checkpoints" / "best_model.pt", checkpoint_of(model, config, None))
    instances = torch.rand(3, 40, 32)
    for place in (run, run / "checkpoints" / "best_model.pt"):
        start = start_model(replace(SMALL, init=place), WIDE, "ab")
        started, there = start.model, start.trunk
        assert there == TRUNK
        torch.testing.assert_close(started.trunk.embed(instances), model.eval().crnn.embed(instances))
        again = extract_trunk(checkpoint_of(started, SMALL, there))
        assert all(torch.equal(value, again.weights[name]) for name, value in find_trunk(place).weights.items())


def test_layers_beside_a_trunk_are_refused() -> None:
    with pytest.raises(ConfigError, match="whose trunk has layers of its own"):
        start_model(ModelConfig(conv_layers=(ConvLayer(4),), init="simulated"), FeatureConfig(), "ab")


def test_the_trunk_that_ships_is_small_and_reads_the_default_features() -> None:
    assert SIMULATED.stat().st_size < 4_000_000
    start = start_model(ModelConfig(), FeatureConfig(), "abcd")
    model, trunk = start.model, start.trunk
    assert trunk is not None and trunk.features.fmax == 120_000
    silence = model.trunk.embed(torch.zeros(1, 500, 128))
    assert silence.isfinite().all()
