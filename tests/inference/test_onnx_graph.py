"""The graph of an exported model says what torch says, of any recording of its rate."""

import csv
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from batcache.config.features import FeatureConfig
from batcache.config.settings import ConvLayer, PoolingType
from batcache.errors import ConfigError
from batcache.inference.model_file import ModelFile
from batcache.inference.onnx.export import make_onnx
from batcache.inference.onnx.model import Functions
from batcache.inference.predict import predict
from batcache.inference.predictions import Predictions
from batcache.inference.torch_model import CheckpointFile, open_checkpoint
from batcache.manifest.find_recordings import find_recordings
from batcache.model.checkpoint import save_checkpoint
from batcache.model.heads import BAT_HEADS
from tests.conftest import noise, tone
from tests.features.whole import WriteWav
from tests.inference.exported import CPU, draw_model, judge_by_graph, open_graph, say_by_torch

RATE = 384_000
FROM_CHANCE = {"init": "none", "conv_layers": [ConvLayer(8, (5, 3), (2, 1), (2, 1)), ConvLayer(12)], "rnn_layers": 2}
LENGTHS_S = (0.013, 0.5, 1.234, 2.0, 3.7)


def predicted(model: ModelFile, paths: list[Path], out: Path) -> Predictions:
    """What torch says, in the order of names."""
    return predict(find_recordings(paths), model, out, "cpu", workers=1).predictions


def assert_says(session: onnxruntime.InferenceSession, paths: list[Path], expected: Predictions) -> None:
    """The graph gives these scores, and that of a bat where the model hears it, within 1e-4."""
    names = [value.name for value in session.get_outputs()]
    said = [dict(zip(names, judge_by_graph(session, path), strict=True)) for path in paths]
    np.testing.assert_allclose([one["scores"][0] for one in said], expected.scores, rtol=0, atol=1e-4)
    bats = [one["bat"][0] if "bat" in names else np.nan for one in said]
    np.testing.assert_allclose(bats, expected.bats, rtol=0, atol=1e-4)


@pytest.mark.parametrize("pooling", ["top_share", "max", "attention", "gated_attention"])
def test_it_scores_real_recordings_of_any_length_as_torch_does(real: Path, tmp_path: Path, pooling: str) -> None:
    with (real / "recordings.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["true_sample_rate"] == str(RATE) and row["channels"] == "1"]
    rows.sort(key=lambda row: float(row["duration_s"]))
    chosen = sorted(real / row["filename"] for row in rows[:: len(rows) // 4])
    assert len({path.stat().st_size for path in chosen}) >= 4
    model = draw_model(tmp_path / "model.pt", pooling_type=pooling)
    session, expected = open_graph(model, RATE), predicted(model, chosen, tmp_path / "out")
    assert np.ptp(expected.scores) > 0.01 < np.ptp(expected.bats), "the recordings are told apart"
    assert_says(session, chosen, expected)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"hears_bats": False},
        FROM_CHANCE,
        {"rnn_layers": 2, "heads": 2},
        {"features": FeatureConfig(fmax=120_000.0, n_mels=100)},
    ],
    ids=["heads", "heads that hear no bats", "from chance", "two layers", "other bands"],
)
@pytest.mark.parametrize("rate", [RATE, 250_000, 96_000])
def test_it_scores_made_up_recordings_of_any_length_as_torch_does(
    write_wav: WriteWav, tmp_path: Path, settings: dict, rate: int
) -> None:
    """Also of a rate that leaves bands dead, with an offset, and of a constant."""
    paths = [
        write_wav(f"wav/{i}.wav", noise(seconds, rate) + tone(30_000 + 2000 * i, seconds, rate, 0.02) + i / 10, rate)
        for i, seconds in enumerate(LENGTHS_S)
    ]
    paths.append(write_wav("wav/flat.wav", np.full(rate + rate // 5, 0.9), rate))
    model = draw_model(tmp_path / "model.pt", **settings)
    session, expected = open_graph(model, rate), predicted(model, [tmp_path / "wav"], tmp_path / "out")
    assert_says(session, paths, expected)


def test_a_model_of_log_mel_frames_is_the_same_too(write_wav: WriteWav, tmp_path: Path) -> None:
    path = write_wav("wav/a.wav", noise(1.1, RATE) + tone(45_000, 1.1, RATE, 0.01), RATE)
    model = draw_model(tmp_path / "model.pt", FeatureConfig(compression="log"), **FROM_CHANCE)
    expected = predicted(model, [path], tmp_path / "out")
    assert_says(open_graph(model, RATE), [path], expected)


def test_recordings_of_equal_length_go_through_together_as_each_alone(tmp_path: Path) -> None:
    session = open_graph(draw_model(tmp_path / "model.pt"), RATE)
    samples = np.stack([noise(1.3, RATE, deviation, seed=i) for i, deviation in enumerate([0.003, 0.03, 0.3])])
    together = session.run(None, {"samples": samples.astype(np.float32)})
    for i in range(3):
        alone = session.run(None, {"samples": samples[i : i + 1].astype(np.float32)})
        for all_of_them, one in zip(together, alone, strict=True):
            np.testing.assert_allclose(all_of_them[i], one[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", get_args(PoolingType))
@pytest.mark.parametrize("instances", [1, 7, 24])
def test_a_bag_of_any_length_is_scored_as_by_torch_with_every_pooling(
    tmp_path: Path, pooling: PoolingType, instances: int
) -> None:
    model = draw_model(tmp_path / "model.pt", pooling_type=pooling)
    features = np.random.default_rng(instances).gamma(0.3, 1, (instances, 500, 128)).astype(np.float16)
    functions = Functions(make_onnx(model, RATE))
    held = [part[None] for part in functions.run("embed", features.astype(np.float32))]
    logits, evidence, bat = functions.run("score", *held)
    expected_logits, expected_evidence, expected_bat = say_by_torch(model, [features])
    np.testing.assert_allclose(logits, expected_logits, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(evidence, expected_evidence, rtol=0, atol=1e-4)
    np.testing.assert_allclose(bat, expected_bat, rtol=1e-3, atol=1e-3)


def run_both(model: CheckpointFile, features: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """What the functions that embed and score make of one bag."""
    functions = Functions(make_onnx(model, RATE))
    return functions.run("score", *(part[None] for part in functions.run("embed", features)))


def test_doubt_of_a_bat_is_doubt_of_every_species_in_the_graph_as_in_torch(tmp_path: Path) -> None:
    """The heads of bats, made sure one way and the other; a model without them gives what it says of species alone.

    Where these hear bats that are far from all centres, species that the kernel knows are doubted besides.
    """
    model = draw_model(tmp_path / "model.pt")
    features = np.random.default_rng(0).gamma(0.3, 1, (9, 500, 128)).astype(np.float32)
    bare = {name: value for name, value in model.checkpoint.weights.items() if not name.startswith("heads.bats.")}
    save_checkpoint(tmp_path / "bare.pt", replace(model.checkpoint, weights=bare))
    of_species = run_both(open_checkpoint(tmp_path / "bare.pt"), features)
    assert len(of_species) == 2
    for bias, strangeness in product((-6.0, 6.0), (0.0, 10.0)):
        weights = dict(model.checkpoint.weights)
        weights |= {
            n: torch.full_like(v, bias) for n, v in weights.items() if n.endswith("classifier.bias") and ".bats." in n
        }
        weights["heads.kernel.strangeness"] = torch.full_like(weights["heads.kernel.strangeness"], strangeness)
        save_checkpoint(tmp_path / "sure.pt", replace(model.checkpoint, weights=weights))
        logits, _, bat = run_both(open_checkpoint(tmp_path / "sure.pt"), features)
        assert bat.shape == (1,) and (bat[0] > 0) == (bias > 0)
        strange = logits - (of_species[0] + min(0, bat[0]))
        np.testing.assert_allclose(strange[0, 2], 0, atol=1e-5, err_msg="of which the kernel knows nothing")
        if not strangeness:
            np.testing.assert_allclose(strange, 0, atol=1e-5)
            continue
        expected = replace(model.checkpoint, weights=weights).restore(CPU).score_pieces([torch.from_numpy(features)])
        assert (strange[0, :2] < -1).all()
        np.testing.assert_allclose(logits, expected.bag_logits, rtol=1e-3, atol=1e-3)


def gates_of(made: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for function in made.functions for node in function.node if node.op_type == "GRU"]


def test_every_recurrent_layer_resets_after_its_product_and_it_matters(tmp_path: Path) -> None:
    """The attribute whose absence has shipped elsewhere: another network, off by little."""
    model = draw_model(tmp_path / "model.pt", rnn_layers=2)
    made = make_onnx(model, RATE)
    features = np.random.default_rng(0).gamma(0.3, 1, (9, 500, 128)).astype(np.float32)
    held = [part[None] for part in Functions(make_onnx(model, RATE)).run("embed", features)]
    right = Functions(made).run("score", *held)[0]
    attributes = [attribute for node in gates_of(made) for attribute in node.attribute]
    resets = [attribute for attribute in attributes if attribute.name == "linear_before_reset"]
    assert len(gates_of(made)) == len(resets) == (5 + BAT_HEADS) * 2 and all(attribute.i == 1 for attribute in resets)
    assert all(attribute.s == b"bidirectional" for attribute in attributes if attribute.name == "direction")
    for attribute in resets:
        attribute.i = 0
    assert np.abs(Functions(made).run("score", *held)[0] - right).max() > 1e-3


def test_the_file_is_valid_and_any_version_of_the_runtime_since_2024_reads_it(tmp_path: Path) -> None:
    made = make_onnx(draw_model(tmp_path / "model.pt"), RATE)
    onnx.checker.check_model(made, full_check=True)
    assert made.ir_version <= 9 and {opset.version for opset in made.opset_import} == {18, 1}
    session = onnxruntime.InferenceSession(made.SerializeToString())
    assert [value.shape for value in session.get_inputs()] == [["batch", "length"]]
    assert [value.name for value in session.get_outputs()] == ["scores", "logits", "evidence", "bat"]


def test_species_that_were_not_taught_have_no_scores(tmp_path: Path) -> None:
    model = draw_model(tmp_path / "model.pt")
    save_checkpoint(tmp_path / "two.pt", replace(model.checkpoint, taught=("Low", "Sweep")))
    session = open_graph(open_checkpoint(tmp_path / "two.pt"), RATE)
    scores, logits, evidence, _ = session.run(None, {"samples": noise(0.7, RATE)[None].astype(np.float32)})
    assert np.isnan(scores).tolist() == [[False, True, False]] and np.isnan(evidence[..., 1]).all()
    assert np.isfinite(logits).all()


@pytest.mark.parametrize(("rate", "said"), [(312_500, "no whole number of samples"), (16_000, "below 2 x fmin")])
def test_a_rate_that_needs_resampling_is_refused(tmp_path: Path, rate: int, said: str) -> None:
    model = draw_model(tmp_path / "model.pt")
    with pytest.raises(ConfigError, match=rf"{rate:,} Hz, .*{said}.*\. Pass another, such as 256000"):
        make_onnx(model, rate)
