"""The laws of the whole benchmark: what is measured on, what a row says, and that its report is whole."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from msgspec import structs

from batcache.bench import memory, suite, timing, training
from batcache.bench.machine import PACKAGES, describe_machine, describe_versions
from batcache.bench.memory import build_once, import_torch, measure_disk, measure_memory
from batcache.bench.recordings import Sample, choose, write_long, write_short
from batcache.bench.rows import Mark, Report, Row
from batcache.bench.starting import measure_start
from batcache.bench.subprocess_cost import Cost, run_apart
from batcache.bench.suite import Effort, bench
from batcache.bench.timing import take_turns, threads
from batcache.bench.training import FULL, SMALL, measure_training, train_briefly
from batcache.config.load import load_config
from batcache.config.settings import DataConfig
from batcache.errors import BatcacheError, ConfigError, ManifestError
from batcache.manifest.manifest import read_manifest
from batcache.progress import Progress
from batcache.store.format.layout import Layout
from batcache.store.reader import Store

ROOT = Path(__file__).parents[2]


def test_contestants_take_turns() -> None:
    order: list[str] = []
    taken = take_turns({name: lambda name=name: order.append(name) for name in "AB"}, rounds=3)
    assert order == list("ABABAB") and set(taken) == {"A", "B"}
    take_turns({"A": lambda: order.append("A")}, rounds=1, seconds=1e-3)
    assert len(order) > 7, "more rounds, until the time is spent"


def test_what_comes_before_a_task_is_done_each_time_and_off_the_clock(monkeypatch) -> None:
    now, done = [0.0], []

    def take(name: str, seconds: float) -> None:
        done.append(name)
        now[0] += seconds

    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    taken = take_turns({"A": lambda: take("A", 1)}, rounds=2, before={"A": lambda: take("clear", 100)})
    assert done == ["clear", "A", "clear", "A"] and taken == {"A": 1}


def test_the_number_of_threads_is_given_back() -> None:
    before = torch.get_num_threads()
    with threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_a_ratio_above_one_is_always_ours() -> None:
    assert Row("", "", 6, "bags/s", "peer", 2).ratio == 3
    assert Row("", "", 2, "s", "peer", 6, "less").ratio == 3
    assert Row("", "", 6, "bags/s").ratio is None


@pytest.mark.parametrize(
    ("mark", "met"),
    [
        (Mark("ratio", ">=", 3), True),
        (Mark("ratio", ">=", 3.1), False),
        (Mark("ours", "<", 6), False),
        (Mark("ours", "<", 6.1), True),
        (None, None),
    ],
)
def test_a_mark_is_kept_or_not(mark, met) -> None:
    assert Row("", "", 6, "", "peer", 2, mark=mark).is_met is met
    assert Row("", "", None, "", "peer", None, mark=mark).is_met is None


def test_recordings_are_spread_over_the_manifest_each_content_once(sample) -> None:
    assert len(sample) == 6 and sample.wav_bytes == sum(file.size for file in sample.files)
    assert {clip.split for clip in sample.manifest.clips} == {"train"}, "the trainer draws who validates"
    csv = sample.manifest.csvs[0]
    spread = choose(read_manifest([csv]), 3, load_config().data)
    assert [file.path for file in spread.files] == ["0.wav", "2.wav", "5.wav"]
    assert [clip.filename for clip in sample.first(2).manifest.clips] == ["0.wav", "1.wav"]


def test_a_manifest_without_a_usable_recording_is_an_error(tmp_path) -> None:
    (tmp_path / "all.csv").write_text("filename,Bat\nnone.wav,1\n")
    with pytest.raises(ManifestError, match=r"no recording can be used \(.*none.wav: no such file"):
        choose(read_manifest([tmp_path / "all.csv"]), 5, load_config().data)


def test_a_long_recording_is_as_long_as_asked(tmp_path) -> None:
    long = write_long(tmp_path, 1 / 20, load_config().data)
    assert len(long) == 1 and long.seconds == 3


def test_short_recordings_are_many_each_of_another_content(tmp_path) -> None:
    short = choose(write_short(tmp_path, 12), 12, load_config().data)
    assert len(short) == 12 and short.seconds == pytest.approx(12 * 0.02)


def test_memory_is_that_of_few_and_of_many_short_recordings_beside_each_other(
    sample, config, tmp_path, monkeypatch
) -> None:
    def weigh(work, *arguments) -> Cost[None]:
        recordings = len(arguments[0].clips) if arguments else 0
        return Cost(None, 1.0, round(1e9 + 1e7 * recordings))

    monkeypatch.setattr(memory, "run_apart", weigh)
    whole, few, many, flat = measure_memory(sample, config.data, "cpu", tmp_path / "memory", 2, 12, 0)
    assert [whole.ours, few.ours, many.ours] == pytest.approx([0.06, 0.02, 0.12])
    assert flat.ours == pytest.approx(1.12 / 1.02) and flat.what == "12 to 2" and flat.mark.limit == 1.25
    assert not (tmp_path / "memory").exists()


def test_by_default_a_build_has_several_shards_to_write_and_other_parts_are_bounded(
    sample, config, tmp_path, monkeypatch
) -> None:
    layout = Layout(DataConfig().frames_per_instance, DataConfig().n_mels)
    assert Effort().clips * layout.instances(5_000) > 2 * layout.instances_per_shard
    given: dict[str, int] = {}
    for name in ("measure_builds", "measure_reading", "measure_epoch_data", "measure_training", "measure_memory"):
        monkeypatch.setattr(suite, name, lambda sample, *_, name=name: given.update({name: len(sample)}) or iter(()))
    many = Sample(sample.manifest, sample.files * 32)
    for part in ("whole builds", "reading bags", "data of an epoch", "training", "memory"):
        list(suite._parts(many, config, Effort(), "cpu", tmp_path)[part]())
    assert given.pop("measure_builds") == 192 and set(given.values()) == {64} and len(given) == 4


def test_the_full_model_is_the_one_that_is_trained_from_chance() -> None:
    assert load_config(base={"model": {"init": "none"}}).model == FULL


def test_training_says_its_speed_and_its_waiting(sample, built, config, tmp_path) -> None:
    speed, waiting = measure_training(sample, built, config, SMALL, "cpu", tmp_path, epochs=1)
    assert speed.ours and 0 < waiting.ours < 100 and waiting.mark.limit == 3
    assert not (tmp_path / "runs").exists()


def test_training_is_measured_on_clips_that_all_bear_one_label_too(sample, built, config, tmp_path) -> None:
    clips = tuple(structs.replace(clip, labels=(1,)) for clip in sample.manifest.clips)
    alike = dataclasses.replace(sample, manifest=dataclasses.replace(sample.manifest, clips=clips))
    assert train_briefly(alike, Store(built), config, SMALL, torch.device("cpu"), tmp_path, 1).bags_per_s > 0


def test_training_is_measured_on_bags_from_the_store_on_a_gpu_too(sample, built, config, tmp_path, monkeypatch) -> None:
    given = []
    monkeypatch.setattr(training.loop, "train", lambda config, *_, **__: given.append(config.training))
    with pytest.raises(ValueError, match="not enough values"):  # nothing was trained
        train_briefly(sample, Store(built), config, SMALL, torch.device("cpu"), tmp_path, 1)
    assert given[0].keep_on_gpu == "off"


@pytest.mark.parametrize("steps", [1, 2])
def test_a_profiler_that_is_started_is_stopped(monkeypatch, steps) -> None:
    calls = []
    fake = SimpleNamespace(
        start=lambda: calls.append("start"), stop=lambda: calls.append("stop"), key_averages=lambda: []
    )
    monkeypatch.setattr(torch.profiler, "profile", lambda **_: fake)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    busy = training._GpuShare()
    for done in range(1, steps + 1):
        busy.observe(Progress("epoch 2", done, steps))
    assert calls.count("start") == calls.count("stop") == steps - 1
    assert busy.share == (None if steps == 1 else 0)


@pytest.mark.slow
def test_memory_is_that_of_a_process_of_its_own(sample, config, tmp_path) -> None:
    torch_alone = run_apart(import_torch).peak_bytes
    assert torch_alone is None or torch_alone > 1e8
    peak = run_apart(build_once, sample.first(1).manifest, tmp_path / "features.zarr", config.data, "cpu").peak_bytes
    assert torch_alone is None or (peak and peak > torch_alone)
    assert not (tmp_path / "features.zarr").exists()


def test_work_in_a_process_of_its_own_is_timed_and_gives_back_what_it_returned() -> None:
    cost = run_apart(sorted, [2, 1])
    assert cost.result == [1, 2] and cost.seconds > 0


def test_a_process_that_dies_is_an_error_of_ours() -> None:
    with pytest.raises(BatcacheError, match="a process died in _exit"):
        run_apart(os._exit, 1)


def test_where_the_system_does_not_tell_its_memory_a_row_says_so(sample, config, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(memory, "run_apart", lambda *_: Cost(None, 1.0, None))
    (row,) = measure_memory(sample, config.data, "cpu", tmp_path / "memory", 2, 3, 0)
    assert row.ours is None and "does not tell" in row.note


def test_disk_space_counts_every_file_of_the_store(sample, built) -> None:
    (row,) = measure_disk(sample, built)
    whole = sum(path.stat().st_size for path in built.rglob("*") if path.is_file())
    assert row.ours * 1e6 * len(sample) == pytest.approx(whole)
    assert row.theirs * 1e6 * len(sample) == pytest.approx(sample.wav_bytes)


def test_help_is_timed_and_imports_no_torch() -> None:
    (row,) = measure_start(1)
    assert row.ours and row.theirs and row.note == "torch is not imported" and row.mark.limit == 0.4


def test_machine_and_versions_name_no_host_and_no_folder() -> None:
    machine, versions = describe_machine(), describe_versions()
    assert machine["cores"] == os.cpu_count() and set(versions) == set(PACKAGES) and versions["torch"]
    said = json.dumps([machine, versions])
    assert os.uname().nodename not in said if len(os.uname().nodename) > 3 else True
    assert str(Path.home()) not in said


@pytest.fixture(scope="module")
def measured(sample, config) -> tuple[list[Progress], Report]:
    effort = Effort(clips=6, rounds=1, read_seconds=0, epochs=1, few=2, many=3, long_minutes=0.02, planned=300)
    told: list[Progress] = []
    return told, bench(sample.manifest, config, effort, "cpu", on_progress=told.append)


@pytest.mark.slow
def test_the_report_is_whole_and_is_json(measured, sample) -> None:
    told, report = measured
    assert report.rows == tuple(row for progress in told for row in progress.result or ())
    document = json.loads(json.dumps(report.to_plain(), allow_nan=False))
    assert set(document) == {"format", "format_version", "machine", "versions", "settings", "rows"}
    keys = {"section", "what", "ours", "unit", "peer", "theirs", "better", "mark", "note", "ratio", "is_met"}
    assert all(set(row) == keys for row in document["rows"])
    assert document["settings"]["count"] == 6 and document["settings"]["features"]["n_fft"] == 1024
    assert str(sample.manifest.data_dir) not in json.dumps(document)


@pytest.mark.slow
def test_every_promise_is_measured(measured) -> None:
    """The marks that this project sets itself, each with its limit."""
    promised = sorted((row.mark.of, row.mark.sign, row.mark.limit) for row in measured[1].rows if row.mark)
    peaks = [*[("ours", "<", 1.5)] * 4, ("ours", "<", 1.25)]
    values = [("ours", "<", 0.4), *peaks, ("ours", "<", 3), ("ours", ">=", 20), ("ours", "<", 1)]
    ratios = [("ratio", ">=", limit) for limit in (0.4, 3, 4, 5, 100)]
    assert promised == sorted(values + ratios)
    assert all(row.is_met is not None for row in measured[1].rows if row.mark)


@pytest.mark.slow
def test_every_part_is_announced_in_its_turn(measured) -> None:
    announced = [progress for progress in measured[0] if progress.total and progress.result is None]
    assert [progress.done for progress in announced] == list(range(len(announced)))
    assert {progress.total for progress in announced} == {len(announced)}


def test_without_a_gpu_one_row_says_so(sample, config, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (row,) = suite._parts(sample, config, Effort(), "auto", tmp_path)["GPU"]()
    assert row.note == "no CUDA device is usable here"
    (row,) = suite._parts(sample, config, Effort(), "cpu", tmp_path)["GPU"]()
    assert row.note == "--device cpu was given"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_with_a_gpu_its_rows_are_there(sample, config, tmp_path) -> None:
    effort = Effort(clips=6, rounds=1, read_seconds=0, epochs=1, many=0, long_minutes=0, planned=0)
    rows = bench(sample.manifest, config, effort).rows
    assert {"whole build on cuda", "mel + PCEN of decoded samples, cuda", "training on cuda"} <= {
        row.section for row in rows
    }
    assert all(0 < row.ours <= 100 for row in rows if "GPU computing" in row.what)


@pytest.mark.slow
@pytest.mark.parametrize("as_json", [True, False])
def test_the_command_measures_simulated_recordings(tmp_path, as_json) -> None:
    command = "from batcache.cli.main import main; main()"
    options = [
        "--clips",
        "6",
        "--long-minutes",
        "0",
        "--planned",
        "0",
        "--device",
        "cpu",
        *(["--json"] if as_json else []),
    ]
    done = subprocess.run(
        [sys.executable, "-c", command, "bench", *options],
        cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False, env=os.environ | {"PYTHONUTF8": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir()), "nothing is left behind"
    if as_json:
        document = json.loads(done.stdout)
        assert document["settings"]["recordings"] == "simulated" and document["settings"]["count"] == 6
    else:
        assert "whole build" in done.stdout and "zarr-python" in done.stdout and ">= 5x" in done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_said_before_anything_is_measured() -> None:
    with pytest.raises(ConfigError, match="cuda"):
        bench(None, load_config(), device="cuda")
