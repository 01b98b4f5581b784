"""By an ONNX file, predict says what it says by the checkpoint that the file was written from, without torch."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

import batcache
from batcache.errors import ConfigError, RunError
from batcache.inference.model_file import open_model
from batcache.inference.onnx.export import export_model
from batcache.inference.onnx.model import OnnxFile
from batcache.inference.predict import PredictReport, predict
from batcache.inference.recordings.choose import choose_recordings
from batcache.inference.torch_model import CheckpointFile, open_checkpoint
from batcache.manifest.find_recordings import find_recordings
from batcache.model.checkpoint import save_checkpoint
from batcache.model.provenance import HeldOut
from tests.conftest import noise, tone
from tests.features.whole import WriteWav
from tests.inference.exported import TORCH, assert_alike, draw_model, run_without
from tests.small_world import RATE, SmallWorld


@pytest.fixture(scope="session")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small world's model as an ONNX file. Not to be changed."""
    target = tmp_path_factory.mktemp("exported") / "model.onnx"
    checkpoint = open_model(trained)
    assert isinstance(checkpoint, CheckpointFile)
    export_model(checkpoint, target, RATE)
    return target


def test_it_says_of_files_what_the_checkpoint_says(
    sounds: Path, exported: Path, undisturbed: PredictReport, tmp_path: Path
) -> None:
    """Also of one that cannot be read, and of a copy."""
    report = predict(find_recordings([sounds]), open_model(exported), tmp_path / "out", "cpu", workers=2)
    assert_alike(report, undisturbed)
    assert report.judged == undisturbed.judged and set(report.columns["model"]) == {report.model.name}
    again = predict(find_recordings([sounds]), open_model(exported), tmp_path / "out", "auto")
    assert again.judged == 0 and again.table_file.read_bytes() == report.table_file.read_bytes()


def test_it_judges_a_cache_too(small: SmallWorld, exported: Path, trained: Path, tmp_path: Path) -> None:
    reports = []
    for given in (exported, trained):
        model = open_model(given)
        recordings = choose_recordings([small.store.path], model)
        reports.append(predict(recordings, model, tmp_path / given.name, "cpu"))
    assert_alike(*reports)


def test_recordings_of_every_rate_and_coding_are_judged_by_one_file(write_wav: WriteWav, tmp_path: Path) -> None:
    """Spectra at the recording's own rate, after the sinc kernel, and after soxr; dead bands; samples beyond 1."""
    codings = [(96_000, "PCM_16"), (250_000, "FLOAT"), (312_500, "PCM_24"), (500_000, "PCM_16"), (214_285, "PCM_32")]
    for rate, subtype in codings:
        samples = noise(1.2, rate) + tone(30_000, 1.2, rate, 0.1)
        write_wav(f"wav/{rate}.wav", samples * (20 if subtype == "FLOAT" else 1), rate, subtype)
    write_wav("wav/a.flac", noise(0.6, 192_000), 192_000, format="FLAC")
    model = draw_model(tmp_path / "model.pt")
    export_model(model, tmp_path / "model.onnx")
    reports = [
        predict(find_recordings([tmp_path / "wav"]), open_model(tmp_path / name), tmp_path / f"{name} out", "cpu")
        for name in ("model.onnx", "model.pt")
    ]
    assert_alike(*reports)
    assert len(reports[0].predictions.filenames) == 6 and not reports[0].rejected
    assert any("times full scale" in note for note in reports[0].columns["notes"] if isinstance(note, str))


def test_a_long_recording_is_streamed_as_torch_streams_it(write_wav: WriteWav, tmp_path: Path) -> None:
    path = write_wav("wav/long.wav", noise(33.3, 96_000) + tone(30_000, 33.3, 96_000, 0.02), 96_000)
    model = draw_model(tmp_path / "model.pt")
    export_model(model, tmp_path / "model.onnx")
    names = ("model.onnx", "model.pt")
    reports = [
        predict(find_recordings([path]), open_model(tmp_path / name), tmp_path / name[6:], "cpu") for name in names
    ]
    assert_alike(*reports)
    assert len(reports[0].predictions.evidence) == 67


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"pooling_type": "gated_attention"}])
def test_all_real_recordings_are_judged_alike(real: Path, tmp_path: Path, settings: dict[str, str]) -> None:
    model = draw_model(tmp_path / "model.pt", **settings)
    export_model(model, tmp_path / "model.onnx")
    names = ("model.onnx", "model.pt")
    reports = [
        predict(find_recordings([real]), open_model(tmp_path / name), tmp_path / name[6:], "cpu") for name in names
    ]
    assert_alike(*reports)


def test_judging_and_telling_what_is_known_take_no_torch(sounds: Path, exported: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run_without(TORCH, "predict", str(sounds), "--model", str(exported), "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert "judged now: 25" in done.stdout and done.stdout.splitlines()[-1] == "there:"
    assert {"predictions.csv", "instances.npz", "scored.jsonl"} <= {path.name for path in out.iterdir()}
    told = run_without(TORCH, "info", str(exported))
    assert told.returncode == 0, told.stderr
    assert "3, 3 of them taught" in told.stdout and "ONNX file for recordings of 256,000 Hz" in told.stdout


@pytest.mark.parametrize("command", ["predict", "export-model"])
def test_a_missing_extra_is_one_line_that_names_it(exported: Path, trained: Path, sounds: Path, command: str) -> None:
    given = [str(sounds), "--model", str(exported)] if command == "predict" else [str(trained), "never.onnx"]
    refused = run_without(("onnxruntime",), command, *given)
    assert refused.returncode == 1 and len(refused.stderr.splitlines()) == 1
    assert "takes onnx and onnxruntime, which are not installed. pip install 'batcache[onnx]'." in refused.stderr


def damages(content: bytes) -> Iterator[tuple[str, bytes, str]]:
    """What the file may be instead, and what is said then."""
    middle = len(content) // 2
    yield "empty", b"", "an ONNX file that batcache did not write, or a damaged one"
    yield "text", b"no model at all" * 100, "not readable as an ONNX file"
    yield "cut", content[:middle], "not readable as an ONNX file"
    yield (
        "flipped",
        content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "damaged, or changed since",
    )
    foreign = onnx.load_model_from_string(content)
    del foreign.metadata_props[:]
    yield "foreign", foreign.SerializeToString(), "an ONNX file that batcache did not write"
    for name, key, value, said in (
        ("newer", "format_version", 2, "format version 2, this batcache reads 1. Upgrade batcache."),
        ("other", "checkpoint", {}, "its metadata do not fit"),
        ("list", "summary", 3, "its metadata do not fit"),
    ):
        changed = onnx.load_model_from_string(content)
        document = json.loads(changed.metadata_props[0].value)
        changed.metadata_props[0].value = json.dumps(document | {key: value})
        yield name, changed.SerializeToString(), said


def test_a_damaged_or_foreign_file_is_one_line(exported: Path, tmp_path: Path) -> None:
    for name, content, said in damages(exported.read_bytes()):
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(content)
        with pytest.raises(RunError) as caught:
            open_model(path)
        assert said in str(caught.value) and "\n" not in str(caught.value), name
        assert str(caught.value).startswith(str(path))


def test_a_gpu_is_refused_with_a_remedy(exported: Path, sounds: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--device cuda: an ONNX file is judged by on the CPU\. Pass --device cpu"):
        predict(find_recordings([sounds]), open_model(exported), tmp_path / "out", "cuda")


def test_what_the_checkpoint_says_of_itself_stands_in_the_file(tmp_path: Path) -> None:
    logits = np.array([[0.5, np.nan, -3.25], [1e-30, np.inf, 7.0]], np.float32)
    labels, groups = np.array([[1, -1, 0], [0, 1, 1]], np.int8), np.array([4, 2])
    model = draw_model(tmp_path / "model.pt")
    held_out = HeldOut("folds", logits, labels, groups)
    save_checkpoint(tmp_path / "held.pt", replace(model.checkpoint, held_out=held_out, taught=("Low", "Sweep")))
    export_model(open_checkpoint(tmp_path / "held.pt"), tmp_path / "held.onnx", 250_000)
    opened = open_model(tmp_path / "held.onnx")
    assert isinstance(opened, OnnxFile)
    facts, told = opened.checkpoint, model.checkpoint
    assert facts.held_out is not None and facts.held_out.source == "folds"
    np.testing.assert_array_equal(facts.held_out.logits, logits)
    np.testing.assert_array_equal(facts.held_out.labels, labels)
    np.testing.assert_array_equal(facts.held_out.groups, groups)
    assert (facts.species, facts.features, facts.fingerprint) == (told.species, told.features, told.fingerprint)
    assert facts.is_taught == (True, False, True) and opened.untaught == ("High",) and facts.rate == 250_000
    assert facts.frames_per_instance == 500 and facts.front_end_version == told.front_end_version


def test_from_python_a_model_is_exported_once_and_under_its_name(trained: Path, exported: Path, tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    report = batcache.export_model(trained, target, rate=RATE)
    assert report.target == target and report.size == target.stat().st_size
    assert target.read_bytes() == exported.read_bytes(), "the same bytes every time"
    for given, wanted, said in (
        (trained, target, "is there already"),
        (trained, tmp_path / "model.pb", "expected a name that ends in .onnx"),
        (exported, tmp_path / "copy.onnx", "an ONNX file already"),
    ):
        with pytest.raises(RunError, match=said):
            batcache.export_model(given, wanted)
    batcache.export_model(trained, target, rate=2 * RATE, force=True)
    assert target.read_bytes() != exported.read_bytes()
