"""A run is found, stopped, resumed, judged and drawn by the command line."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from batcache import evaluate
from batcache.cli.options import Device
from batcache.cli.resumable import Stopped, resumable
from batcache.evaluation.cross_validate import cross_validate
from batcache.model.checkpoint import load_checkpoint
from batcache.progress import Progress
from batcache.training.loop import train
from batcache.training.runs import BEST, LAST
from tests.cli.conftest import CONFIG, run_of
from tests.command import batcache
from tests.documents import read_document, write_document
from tests.small_world import CPU, SmallWorld, tweak


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "checkpoint"),
    [
        ("runs/RUN/checkpoints", "best_model.pt"),
        ("runs/RUN", "checkpoints/last.pt"),
        ("runs", "RUN/checkpoints/../checkpoints/best_model.pt"),
        ("wav", "../runs/RUN/checkpoints/best_model.pt"),
    ],
)
def test_a_checkpoint_is_found_from_any_folder(done: Path, folder: str, checkpoint: str) -> None:
    run = run_of(done)
    (run / "metrics.json").unlink()
    here = done / folder.replace("RUN", run.name)
    judged = batcache("eval", "--checkpoint", checkpoint.replace("RUN", run.name), cwd=here)
    assert judged.returncode == 0, judged.stderr
    name = "test" if "best" in checkpoint else "test-last"
    assert read_document(run / "metrics.json")[name]["checkpoint"] == Path(checkpoint).name


@pytest.mark.slow
def test_a_run_that_is_passed_over_for_its_record_is_named(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(done)
    newest = Path(shutil.copytree(run, run.with_name("99991231T000000Z-max")))
    (newest / "run.json").write_bytes((newest / "run.json").read_bytes().replace(b'"finished"', b'"finishes"'))
    said = f"passed over runs/{newest.name}: its run.json is not a run's record (damaged, "
    judged = batcache("eval", cwd=done)
    assert judged.returncode == 0 and f"judging runs/{run.name}/" in judged.stdout
    (line,) = [line for line in judged.stderr.splitlines() if "passed over" in line]
    assert line.startswith(f"note: {said}")
    monkeypatch.chdir(done)
    assert evaluate(device="cpu").notes[0].startswith(said)
    shutil.rmtree(run)
    again = batcache("run", "small.yaml", "--csv", "train.csv", "--device", "cpu", cwd=done)
    assert again.returncode == 0 and f"note: {said}" in again.stderr, "what was trained is trained again"


@pytest.mark.slow
def test_a_stopped_run_is_resumed_to_the_end_of_its_settings(done: Path) -> None:
    run = run_of(done)
    about = read_document(run / "run.json")
    write_document(run / "run.json", about | {"finished": False})
    resumed = batcache("train", "--resume", f"runs/{run.name}", "--device", "cpu", cwd=done)
    assert resumed.returncode == 0, resumed.stderr
    assert read_document(run / "run.json")["finished"]
    assert len((run / "logs" / "metrics.jsonl").read_text().splitlines()) == 2


@pytest.mark.slow
def test_a_finished_run_goes_on_to_more_epochs(done: Path) -> None:
    run = run_of(done)
    resumed = batcache("train", "--resume", f"runs/{run.name}", "--epochs", "3", "--device", "cpu", cwd=done)
    assert resumed.returncode == 0, resumed.stderr
    assert [json.loads(line)["epoch"] for line in (run / "logs" / "metrics.jsonl").read_text().splitlines()] == [
        1,
        2,
        3,
    ]


def train_until(awaited: str, *arguments: str, cwd: Path, number: int = signal.SIGINT) -> tuple[int, str]:
    """Train, and send a signal once a line begins so. Returns the exit code, and what was said last."""
    command = [sys.executable, "-uc", "from batcache.cli.main import main; main()", "train", *arguments]
    environment = os.environ | {"PYTHONUTF8": "1", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith(awaited):
            assert process.poll() is None, process.communicate()
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    return process.returncode, said


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows knows none of these signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_training_that_is_stopped_names_the_command_that_goes_on_with_it(done: Path, number: int) -> None:
    shutil.rmtree(done / "runs")
    (done / "long.yaml").write_text(CONFIG.replace("epochs: 2", "epochs: 9999, patience: 9999"))
    code, said = train_until("epoch   2 ", "--config", "long.yaml", "--device", "cpu", cwd=done, number=number)
    assert code == 130
    kept = load_checkpoint(run_of(done) / LAST).epoch
    (command,) = re.findall("`batcache train (.*?)`", said)
    assert kept >= 2 and said.startswith(f"stopped after epoch {kept}: ") and len(said.splitlines()) == 1
    code, said = train_until(f"epoch {kept + 1:3d} ", *command.split(), cwd=done)
    assert code == 130 and f"`batcache train {command}`" in said
    assert load_checkpoint(run_of(done) / LAST).epoch > kept


def test_a_training_stopped_in_its_first_epoch_says_that_nothing_is_kept(small: SmallWorld, tmp_path: Path) -> None:
    config = tweak(small.config, training={"run_dir": tmp_path})

    def interrupt(progress: Progress) -> None:
        listener(progress)
        if progress.stage == "epoch 1" and progress.done:
            raise KeyboardInterrupt

    said = r"before its first epoch was over: nothing of .*-attention is kept"
    with pytest.raises(Stopped, match=said), resumable(Device.cpu) as listener:
        train(config, small.store, small.manifest, CPU, on_progress=interrupt)
    assert not [*tmp_path.glob("*-attention")]


@pytest.mark.parametrize("finished", [False, True], ids=["before the model of all clips", "while a fold is trained"])
def test_stopped_folds_say_that_they_begin_anew_and_which_model_is_kept(
    small: SmallWorld, tmp_path: Path, finished: bool
) -> None:
    config = tweak(small.config, training={"run_dir": tmp_path})

    def interrupt(progress: Progress) -> None:
        listener(progress)
        if progress.stage == ("fold 1" if finished else "epoch 2"):
            raise KeyboardInterrupt

    with pytest.raises(Stopped) as stopped, resumable(Device.cpu, in_folds=True) as listener:
        cross_validate(config, small.store, small.manifest, CPU, 2, on_progress=interrupt)
    said = str(stopped.value)
    (run,) = tmp_path.glob("*-attention")
    assert stopped.value.code == 130 and "begins anew" in said and "goes on" not in said
    assert (f"the model of all clips is kept in {run}, no fold is" in said) == finished
    assert (run / BEST).is_file()


def test_a_store_that_was_moved_says_so_and_is_cured_by_a_build_that_computes_nothing(done: Path) -> None:
    told_wrong = batcache("train", "--data-dir", "nowhere", cwd=done)
    assert told_wrong.returncode == 1 and "nowhere: not a folder" in told_wrong.stderr, told_wrong.stderr
    (done / "away").mkdir()
    (done / "features.zarr").rename(done / "away" / "features.zarr")
    cache = ("--cache", "away/features.zarr")
    for command in (("train", *cache), ("show", "away/features.zarr", "-o", "x.png")):
        refused = batcache(*command, cwd=done)
        assert refused.returncode == 1 and "what it was last built from is not there" in refused.stderr, refused.stderr
        assert len(refused.stderr.splitlines()) == 1
    built = batcache("build", "--csv", "train.csv", *cache, cwd=done)
    assert built.returncode == 0 and "12 up to date" in built.stdout, built.stdout
    assert batcache("show", "away/features.zarr", "-o", "x.png", cwd=done).returncode == 0


def test_the_csvs_that_labels_are_taken_from_are_named_before_they_fail(done: Path) -> None:
    """As of new nights, built later, that are in no split to train on."""
    (done / "new.csv").write_text("filename,split,Forty-five,Sixty\nwav/00.wav,new,0,0\nwav/01.wav,new,1,0\n")
    assert batcache("build", "--csv", "new.csv", cwd=done).returncode == 0
    trained = batcache("train", "--config", "small.yaml", cwd=done)
    assert trained.returncode == 1 and len(trained.stderr.splitlines()) == 1
    assert re.search(r"^labels from \S*new\.csv, which features\.zarr was last built from; --csv", trained.stdout)
    assert re.search(r"^error: \S*new\.csv: no clip of split train \(there are: new \(2\)\)", trained.stderr)
    told = batcache("train", "--csv", "new.csv", "--config", "small.yaml", cwd=done)
    assert told.returncode == 1 and "labels from" not in told.stdout


def test_a_run_tells_of_itself(trained: Path, small: SmallWorld, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    about = read_document(run / "run.json")
    for finished, said in ((True, "yes"), (False, "no: `batcache train --resume run` goes on")):
        write_document(run / "run.json", about | {"finished": finished})
        shown = batcache("info", "run", cwd=tmp_path)
        assert shown.returncode == 0, shown.stderr
        title, *lines = shown.stdout.splitlines()
        facts = dict(re.split(r" {2,}", line, maxsplit=1) for line in lines)
        assert title == "run" and facts["started"] == about["started"] and facts["finished"] == said
        assert facts["species"] == "Low, High, Sweep" and facts["pooling"] == small.config.model.pooling_type
        assert facts["best model"].startswith("run/checkpoints/best_model.pt (epoch ")
    (run / LAST).unlink()
    assert "no: it has no epoch to go on from" in batcache("info", "run", cwd=tmp_path).stdout


@pytest.mark.slow
def test_where_recordings_were_moved_show_names_a_flag_that_it_has_and_that_helps(done: Path) -> None:
    """Recordings of a folder of their own, which has another name since."""
    (done / "nights").mkdir()
    (done / "wav").rename(done / "nights" / "wav")
    built = batcache("build", "--csv", "train.csv", "--data-dir", "nights", cwd=done)
    assert built.returncode == 0 and "12 up to date" in built.stdout, built.stderr
    run = run_of(done)
    for record in (run / "run.json", run / "metrics.json"):
        text = json.dumps(read_document(record)).replace('"data_dir": "../.."', '"data_dir": "../../nights"')
        write_document(record, json.loads(text))
    (done / "nights").rename(done / "moved")
    for target in ("features.zarr", f"runs/{run.name}"):
        command = ("show", target, "-o", f"{Path(target).name}.png")
        refused = batcache(*command, cwd=done)
        assert refused.returncode == 1 and len(refused.stderr.splitlines()) == 1 and "nights" in refused.stderr
        assert set(re.findall(r"--[a-z-]+", refused.stderr)) == {"--data-dir"}
        shown = batcache(*command, "--data-dir", "moved", cwd=done)
        assert shown.returncode == 0 and (done / command[-1]).exists(), shown.stderr


@pytest.mark.slow
def test_a_cache_and_a_run_can_be_drawn(done: Path) -> None:
    run = f"runs/{run_of(done).name}"
    assert (done / run / "test_page.png").read_bytes().startswith(b"\x89PNG")
    for arguments in (
        ["features.zarr", "--clip", "wav/03.wav", "--clip", "wav/01.wav", "--output", "new/two.png"],
        [run, "-o", "run.png"],
    ):
        shown = batcache("show", *arguments, cwd=done)
        assert shown.returncode == 0 and shown.stdout == f"drawn: {arguments[-1]}\n", shown.stderr
        assert (done / arguments[-1]).read_bytes().startswith(b"\x89PNG")
    zoom = ("--start", "0.2", "--duration", "0.1", "--size", "9x7")
    for name, begin in (("zoom.pdf", b"%PDF"), ("zoom.svg", b"<?xml")):
        shown = batcache("show", run, *zoom, "-o", name, cwd=done)
        assert shown.returncode == 0 and (done / name).read_bytes().startswith(begin), shown.stderr
    for size in ("9", "0x7", "9x700", "axb"):
        wrong = batcache("show", run, "--size", size, "-o", "no.png", cwd=done)
        assert wrong.returncode == 2 and f"--size {size}: expected inches as in 12x5" in wrong.stderr
    wrong = batcache("show", run, "--start", "9", "-o", "no.png", cwd=done)
    assert wrong.returncode == 1 and "lies from 0 to 0.6 s, and nothing of it in what is asked for" in wrong.stderr
    wrong = batcache("show", run, "--clip", "wav/1.wav", "-o", "no.png", cwd=done)
    assert wrong.returncode == 1 and "wav/1.wav is not among the judged clips. Did you mean wav/11.wav?" in wrong.stderr
    wrong = batcache("show", run, "--split", "val", "-o", "no.png", cwd=done)
    assert wrong.returncode == 1 and "val has not been judged (there is: test)" in wrong.stderr
    assert not (done / "no.png").exists()


@pytest.mark.slow
def test_judging_another_csv_leaves_the_runs_own_outcome_and_can_be_drawn(done: Path) -> None:
    run = run_of(done)
    before = read_document(run / "metrics.json")
    rows = (done / "train.csv").read_text().splitlines()
    (done / "other.csv").write_text("\n".join(row for row in rows if "split" in row or "wav/11" in row))
    judged = batcache("eval", "--csv", "other.csv", cwd=done)
    assert judged.returncode == 0, judged.stderr
    after = read_document(run / "metrics.json")
    assert after["test"] == before["test"] and after["test-other"]["clips"] == 1
    assert (run / "logs" / "test-other_predictions.npz").exists()
    shown = batcache("show", str(run), "--split", "test-other", "-o", "other.png", cwd=done)
    assert shown.returncode == 0 and (done / "other.png").exists(), shown.stderr
