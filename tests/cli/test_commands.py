"""The command line on a project of made-up recordings: what a user types, sees, and is told."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from batcache.cli.commands import models
from batcache.cli.options import Device
from batcache.model.checkpoint import load_checkpoint
from batcache.progress import Progress
from batcache.training.loop import train
from batcache.training.runs import LAST
from tests.command import batcache
from tests.conftest import noise, tone
from tests.small_world import CPU, SmallWorld, tweak

RATE = 256_000
CONFIG = """
data: {sample_rate: 256000}
model: {conv_layers: [{filters: 4, stride: [4, 2]}, {filters: 8}], rnn_hidden_size: 8, dropout: 0.1}
training: {epochs: 2, batch_size: 4}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of two "species", 45 and 60 kHz, and a train.csv with splits."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "wav").mkdir()
    rows = []
    for i in range(12):
        at_45, at_60 = i % 2, (i // 2) % 2
        samples = noise(0.6, RATE, seed=i) + at_45 * tone(45e3, 0.6, RATE) + at_60 * tone(60e3, 0.6, RATE)
        soundfile.write(folder / "wav" / f"{i:02d}.wav", samples, RATE)
        split = ("train", "train", "val", "test")[i // 4 if i < 8 else 2 + (i >= 10)]
        rows.append([f"wav/{i:02d}.wav", split, f"night {i // 2}", at_45, at_60])
    with (folder / "train.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["filename", "split", "group", "Forty-five", "Sixty"], *rows])
    (folder / "small.yaml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="module")
def finished(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project that is built, trained and judged. Not to be changed."""
    folder = Path(shutil.copytree(project, tmp_path_factory.mktemp("finished") / "project"))
    outcome = batcache("run", "small.yaml", "--csv", "train.csv", "--device", "cpu", cwd=folder)
    assert outcome.returncode == 0, outcome.stderr
    return folder


@pytest.fixture
def done(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished project to spoil."""
    return Path(shutil.copytree(finished, tmp_path / "done"))


def run_of(folder: Path) -> Path:
    (run,) = (folder / "runs").iterdir()
    return run


@pytest.fixture
def fresh(project: Path, tmp_path: Path) -> Path:
    """A copy of the project to spoil."""
    return Path(shutil.copytree(project, tmp_path / "project"))


def test_the_three_commands_work_in_a_row(fresh: Path) -> None:
    built = batcache("build", "--csv", "train.csv", cwd=fresh)
    assert built.returncode == 0, built.stderr
    assert "12 to compute" in built.stdout
    shutil.rmtree(fresh / "wav")  # training never opens a WAV
    trained = batcache("train", "--pooling", "max", "--config", "small.yaml", cwd=fresh)
    assert trained.returncode == 0, trained.stderr
    judged = batcache("eval", "--split", "test", cwd=fresh)
    assert judged.returncode == 0, judged.stderr
    (run,) = (fresh / "runs").iterdir()
    assert f"judging runs/{run.name}/checkpoints/best_model.pt" in judged.stdout
    assert "Forty-five" in judged.stdout and "macro average" in judged.stdout
    assert json.loads((run / "metrics.json").read_text())["test"]["clips"] == 2
    assert "\x1b" not in built.stdout + trained.stdout + judged.stdout, "no colours where there is no terminal"
    with np.load(run / "logs" / "test_predictions.npz") as predictions:
        assert predictions["scores"].shape == (2, 2)


def test_a_pipeline_runs_once_and_then_has_nothing_to_do(fresh: Path) -> None:
    first = batcache("run", "small.yaml", "--csv", "train.csv", cwd=fresh)
    assert first.returncode == 0, first.stderr
    again = batcache("run", "small.yaml", "--csv", "train.csv", cwd=fresh)
    assert again.returncode == 0, again.stderr
    assert (
        "12 up to date" in again.stdout and "train: up to date" in again.stdout and "eval: up to date" in again.stdout
    )
    flags = ("--pooling", "max", "--epochs", "1")
    other = batcache("run", "small.yaml", "--csv", "train.csv", *flags, cwd=fresh)
    assert "train: up to date" not in other.stdout and other.returncode == 0, other.stderr
    (run,) = (fresh / "runs").glob("*-max")
    assert len((run / "logs" / "metrics.jsonl").read_text().splitlines()) == 1


def test_a_pipeline_without_clips_to_judge_on_ends_before_it_trains(fresh: Path) -> None:
    rows = (fresh / "train.csv").read_text().splitlines()
    (fresh / "train.csv").write_text("\n".join(row for row in rows if ",test," not in row))
    outcome = batcache("run", "small.yaml", "--csv", "train.csv", cwd=fresh)
    assert outcome.returncode == 1 and "no clip of split test" in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1
    assert not (fresh / "runs").exists()


def test_a_stopped_pipeline_is_resumed(fresh: Path) -> None:
    batcache("run", "small.yaml", "--csv", "train.csv", cwd=fresh)
    (run,) = (fresh / "runs").iterdir()
    about = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(about | {"finished": False}))
    again = batcache("run", "small.yaml", "--csv", "train.csv", cwd=fresh)
    assert again.returncode == 0, again.stderr
    assert list((fresh / "runs").iterdir()) == [run]
    assert json.loads((run / "run.json").read_text())["finished"]


def test_a_reject_does_not_stop_the_build_but_ends_it_with_1(fresh: Path) -> None:
    (fresh / "wav" / "03.wav").write_bytes(b"")
    built = batcache("build", "--csv", "train.csv", cwd=fresh)
    assert built.returncode == 1
    assert "wav/03.wav" in built.stdout and "empty file" in built.stdout
    assert (fresh / "features.zarr.rejected.csv").read_text().splitlines()[1].startswith("wav/03.wav,empty file")
    trained = batcache("train", "--config", "small.yaml", cwd=fresh)
    assert trained.returncode == 0 and "left out, rejected by build: wav/03.wav" in trained.stderr


@pytest.mark.parametrize("absolute", [True, False])
def test_recordings_elsewhere_are_built_only_with_leave_and_used_without_more_words(
    fresh: Path, tmp_path: Path, absolute: bool
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (fresh / "train.csv").rename(elsewhere / "train.csv")
    text = (elsewhere / "train.csv").read_text()
    (elsewhere / "train.csv").write_text(text.replace("wav/", f"{fresh}/wav/" if absolute else "../project/wav/"))
    refused = batcache("build", "--csv", "train.csv", cwd=elsewhere)
    assert refused.returncode == 1 and "--allow-outside" in refused.stderr
    assert not (elsewhere / "features.zarr").exists()
    built = batcache("build", "--csv", "train.csv", "--allow-outside", cwd=elsewhere)
    assert built.returncode == 0 and "12 to compute" in built.stdout, built.stderr
    pruned = batcache("prune", "--csv", "train.csv", "--dry-run", cwd=elsewhere)
    assert pruned.returncode == 0 and re.search(r"recordings would be dropped +0 *\n", pruned.stdout), pruned.stderr
    (elsewhere / "small.yaml").write_text(CONFIG.replace("epochs: 2", "epochs: 1"))
    trained = batcache("train", "--config", "small.yaml", cwd=elsewhere)
    assert trained.returncode == 0, trained.stderr
    judged = batcache("eval", cwd=elsewhere)
    assert judged.returncode == 0, judged.stderr


def test_a_doubtful_time_expansion_is_a_note_with_the_remedy(fresh: Path) -> None:
    soundfile.write(fresh / "wav" / "slow.wav", noise(0.5, 38_400), 38_400)
    (fresh / "slow.csv").write_text("filename,Myotis\nwav/slow.wav,1\nwav/00.wav,0\n")
    built = batcache("build", "--csv", "slow.csv", cwd=fresh)
    assert built.returncode == 0
    assert "time expansion of 1 recording is doubtful: wav/slow.wav (taken as 1: " in built.stderr
    assert "time_expansion column" in built.stderr
    shown = batcache("info", cwd=fresh)
    assert "full-spectrum rate (1)" in shown.stdout and "1: wav/slow.wav (taken as 1: " in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["build"], "--csv: no CSV is given"),
        (["build", "--csv", "none.csv"], "none.csv"),
        (["build", "--csv", "train.csv", "--config", "none.yaml"], "none.yaml"),
        (["train"], "features.zarr: no cache here"),
        (["eval"], "runs: no run with a best model here"),
        (["eval", "--checkpoint", "train.csv"], "not a run's record"),
        (["info", "wav"], "wav: not empty, and no batcache store"),
        (["train", "--resume", "runs/none"], "run.json"),
        (["show", "features.zarr", "-o", "a.png"], "features.zarr: no cache here"),
        (["synth", "none.csv"], "none.csv"),
        (["synth", "train.csv"], "the simulator does not know Forty-five, Sixty. It knows: Barbastella"),
        (["synth", "--clips", "5", "--species", "Canis lupus"], "does not know Canis lupus. It knows: Barbastella"),
        (["synth", "--clips", "5", "--species", "Myotis myots"], "Did you mean Myotis myotis? It knows: Barbastella"),
        (["synth", "--clips", "5", "--out", "train.csv/below"], "train.csv"),
    ],
)
def test_an_error_is_one_line_and_exit_code_1(project: Path, arguments: list[str], said: str) -> None:
    outcome = batcache(*arguments, cwd=project)
    assert outcome.returncode == 1
    assert outcome.stderr.startswith("error: ") and said in outcome.stderr, outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1 and "Traceback" not in outcome.stderr


def test_a_name_that_the_output_cannot_write_is_shown_escaped(tmp_path: Path) -> None:
    """As on Windows, where a file gets cp1252."""
    (tmp_path / "night.csv").write_text("filename,Myotis\nŁąka/0412.wav,1\n", encoding="utf-8")
    command = [sys.executable, "-c", "from batcache.cli.main import main; main()", "build", "--csv", "night.csv"]
    environment = os.environ | {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    outcome = subprocess.run(command, cwd=tmp_path, capture_output=True, env=environment, timeout=300, check=False)
    assert outcome.returncode == 1 and b"Traceback" not in outcome.stderr, outcome.stderr.decode("cp1252")
    assert rb"\u0141\u0105ka/0412.wav" in outcome.stdout


def test_wrong_usage_is_exit_code_2(project: Path) -> None:
    assert batcache("train", "--pooling", "mean", cwd=project).returncode == 2
    assert batcache("fly", cwd=project).returncode == 2
    assert batcache("synth", cwd=project).returncode == 2
    assert batcache("synth", "train.csv", "--clips", "5", cwd=project).returncode == 2
    assert batcache("synth", "--clips", "4", cwd=project).returncode == 2
    assert batcache("show", "features.zarr", cwd=project).returncode == 2, "without -o"
    drawn = batcache("show", "features.zarr", "-o", "page.jpg", cwd=project)
    assert drawn.returncode == 2 and "page.jpg: a PNG is written, expected a name that ends in .png" in drawn.stderr
    assert batcache("build", "--device", "tpu", cwd=project).returncode == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["build", "--from", "none.h5", "--dry-run"],
        ["build", "--from", "none.h5", "--rehash"],
        ["build", "--from", "none.h5", "--allow-outside"],
        ["build", "--from", "none.h5", "--device", "auto"],
        ["build", "--from", "none.h5", "--csv", "train.csv"],
        ["train", "--resume", "runs/none", "--seed", "3"],
        ["eval", "--checkpoint", "none.pt", "--run-dir", "runs"],
        ["show", "none.zarr", "-o", "none.png", "--split", "test"],
        ["synth", "none.csv", "--seed", "0"],
        ["synth", "none.csv", "--species", "Myotis myotis"],
        ["bench", "--data-dir", "."],
        ["verify", "none.zarr", "--sample", "16"],
        ["verify", "none.zarr", "--repair", "--seed", "0"],
        ["verify", "none.zarr", "--data-dir", "."],
        ["prune", "none.zarr", "--data-dir", "."],
    ],
    ids=" ".join,
)
def test_an_option_that_would_be_ignored_is_refused_even_at_its_default(tmp_path: Path, arguments: list[str]) -> None:
    outcome = batcache(*arguments, cwd=tmp_path)
    option = next(word for word in reversed(arguments) if word.startswith("--"))
    assert outcome.returncode == 2 and option in outcome.stderr, outcome.stderr
    assert list(tmp_path.iterdir()) == []


def test_settings_that_contradict_the_store_are_an_error(fresh: Path) -> None:
    assert batcache("build", "--csv", "train.csv", cwd=fresh).returncode == 0
    (fresh / "other.yaml").write_text("data: {n_mels: 64}")
    trained = batcache("train", "--config", "other.yaml", cwd=fresh)
    assert trained.returncode == 1 and "n_mels is 128 in features.zarr, 64 in other.yaml" in trained.stderr
    built = batcache("build", "--csv", "train.csv", "--config", "other.yaml", cwd=fresh)
    assert built.returncode == 1 and "n_mels is 128, asked for 64" in built.stderr


def test_training_takes_the_features_from_the_store(fresh: Path) -> None:
    (fresh / "fewer.yaml").write_text("data: {n_mels: 64, sample_rate: 256000}")
    assert batcache("build", "--csv", "train.csv", "--config", "fewer.yaml", cwd=fresh).returncode == 0
    assert batcache("build", "--csv", "train.csv", cwd=fresh).returncode == 0
    trained = batcache("train", "--config", "small.yaml", cwd=fresh)
    assert trained.returncode == 0, trained.stderr


def test_a_missing_split_names_the_csv_lying_beside(fresh: Path) -> None:
    rows = (fresh / "train.csv").read_text().splitlines()
    (fresh / "train.csv").write_text("\n".join(row for row in rows if ",test," not in row))
    (fresh / "test.csv").write_text("\n".join(row for row in rows if ",train," not in row and ",val," not in row))
    batcache("build", "--csv", "train.csv", cwd=fresh)
    batcache("train", "--config", "small.yaml", cwd=fresh)
    judged = batcache("eval", "--split", "test", cwd=fresh)
    assert judged.returncode == 1
    assert "no clip of split test (there are: train (8), val (2))" in judged.stderr and "test.csv" in judged.stderr


@pytest.mark.parametrize(
    "command",
    ["build", "train", "split", "eval", "run", "show", "synth", "bench", "info", "export", "verify", "prune"],
)
def test_every_help_has_an_example(command: str, tmp_path: Path) -> None:
    shown = batcache(command, "--help", cwd=tmp_path)
    assert shown.returncode == 0 and f"Example: batcache {command}" in " ".join(shown.stdout.split())


def test_help_says_what_is_taken_where_an_option_is_not_given(tmp_path: Path) -> None:
    """A judged run keeps its own places; training takes a cache of the usual name."""

    def defaults(command: str) -> dict[str, str]:
        shown = " ".join(batcache(command, "--help", cwd=tmp_path).stdout.split())
        parts = re.split(r" (--[a-z-]+) ", shown.split("Options:")[1])
        texts = [re.sub(r".*\[default: (.*)\].*", r"\1", text) for text in parts[2::2]]
        return dict(zip(parts[1::2], texts, strict=True))

    judging, training = defaults("eval"), defaults("train")
    assert judging["--cache"] == judging["--csv"] == "the run's" and training["--cache"] == "features.zarr"
    assert judging["--endpoint"] == defaults("show")["--endpoint"] == "the run's, else AWS"
    assert training["--endpoint"] == "AWS"


@pytest.mark.parametrize("command", ["verify", "info", "prune"])
def test_usage_shows_a_cache_that_may_be_left_out_in_one_pair_of_brackets(command: str, tmp_path: Path) -> None:
    assert batcache(command, "--help", cwd=tmp_path).stdout.splitlines()[0].endswith("[OPTIONS] [CACHE]")


@pytest.mark.slow
def test_every_place_can_be_named(project: Path, tmp_path: Path) -> None:
    """An empty folder is a place for a cache; the CSV need not lie beside the recordings."""
    (tmp_path / "lists").mkdir()
    shutil.copy(project / "train.csv", tmp_path / "lists")
    (tmp_path / "cache").mkdir()
    named = ("--data-dir", str(project), "--cache", "cache")
    built = batcache("build", "--csv", "lists/train.csv", *named, "--device", "cpu", cwd=tmp_path)
    assert built.returncode == 0, built.stderr
    trained = batcache(
        "train", "--config", str(project / "small.yaml"), *named, "--run-dir", "elsewhere", "--epochs", "1",
        "--seed", "7", "--device", "cpu", cwd=tmp_path,
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    (run,) = (tmp_path / "elsewhere").iterdir()
    settings = yaml.safe_load((run / "config.yaml").read_text())["training"]
    assert (settings["epochs"], settings["seed"]) == (1, 7)
    assert len((run / "logs" / "metrics.jsonl").read_text().splitlines()) == 1
    judged = batcache("eval", "--run-dir", "elsewhere", "--device", "cpu", cwd=tmp_path)
    assert judged.returncode == 0, judged.stderr
    assert not (tmp_path / "runs").exists() and not (tmp_path / "features.zarr").exists()


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
    assert json.loads((run / "metrics.json").read_text())[name]["checkpoint"] == Path(checkpoint).name


@pytest.mark.slow
def test_a_stopped_run_is_resumed_to_the_end_of_its_settings(done: Path) -> None:
    run = run_of(done)
    about = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(about | {"finished": False}))
    resumed = batcache("train", "--resume", f"runs/{run.name}", "--device", "cpu", cwd=done)
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads((run / "run.json").read_text())["finished"]
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


def test_splits_are_drawn_beside_a_csv_without_them(fresh: Path) -> None:
    rows = (fresh / "train.csv").read_text().splitlines()
    place = rows[0].split(",").index("split")
    bare = [",".join(cell for i, cell in enumerate(row.split(",")) if i != place) for row in rows]
    (fresh / "data.csv").write_text("\n".join(bare))
    drawn = batcache("split", "data.csv", "-o", "drawn.csv", "--val", "0.25", "--test", "0.25", cwd=fresh)
    assert drawn.returncode == 0, drawn.stderr
    assert "Forty-five" in drawn.stdout and "in drawn.csv" in drawn.stdout
    header, *lines = (fresh / "drawn.csv").read_text().splitlines()
    assert header.endswith(",split") and sorted({line.rpartition(",")[2] for line in lines}) == ["test", "train", "val"]
    refused = batcache("split", "data.csv", "-o", "drawn.csv", cwd=fresh)
    assert refused.returncode == 2 and "--force" in refused.stderr
    refused = batcache("split", "drawn.csv", "-o", "again.csv", cwd=fresh)
    assert refused.returncode == 1 and "every row has a split already" in refused.stderr


def train_until(awaited: str, *arguments: str, cwd: Path) -> tuple[int, str]:
    """Train, and press Ctrl-C once a line begins so. Returns the exit code, and what was said last."""
    command = [sys.executable, "-uc", "from batcache.cli.main import main; main()", "train", *arguments]
    environment = os.environ | {"PYTHONUTF8": "1", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith(awaited):
            assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    return process.returncode, said


def test_a_training_stopped_by_ctrl_c_names_the_command_that_goes_on_with_it(done: Path) -> None:
    shutil.rmtree(done / "runs")
    (done / "long.yaml").write_text(CONFIG.replace("epochs: 2", "epochs: 9999, patience: 9999"))
    code, said = train_until("epoch   2 ", "--config", "long.yaml", "--device", "cpu", cwd=done)
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
    with pytest.raises(models.Stopped, match=said), models._resumable(Device.cpu) as listener:
        train(config, small.store, small.manifest, CPU, on_progress=interrupt)
    assert not [*tmp_path.glob("*-attention")]


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
    wrong = batcache("show", run, "--clip", "wav/1.wav", "-o", "no.png", cwd=done)
    assert wrong.returncode == 1 and "wav/1.wav is not among the judged clips. Did you mean wav/11.wav?" in wrong.stderr
    wrong = batcache("show", run, "--split", "val", "-o", "no.png", cwd=done)
    assert wrong.returncode == 1 and "val has not been judged (there is: test)" in wrong.stderr
    assert not (done / "no.png").exists()


@pytest.mark.slow
def test_judging_another_csv_leaves_the_runs_own_outcome_and_can_be_drawn(done: Path) -> None:
    run = run_of(done)
    before = json.loads((run / "metrics.json").read_text())
    rows = (done / "train.csv").read_text().splitlines()
    (done / "other.csv").write_text("\n".join(row for row in rows if "split" in row or "wav/11" in row))
    judged = batcache("eval", "--csv", "other.csv", cwd=done)
    assert judged.returncode == 0, judged.stderr
    after = json.loads((run / "metrics.json").read_text())
    assert after["test"] == before["test"] and after["test-other"]["clips"] == 1
    assert (run / "logs" / "test-other_predictions.npz").exists()
    shown = batcache("show", str(run), "--split", "test-other", "-o", "other.png", cwd=done)
    assert shown.returncode == 0 and (done / "other.png").exists(), shown.stderr


def test_files_of_the_same_names_in_another_folder_are_refused(done: Path, project: Path) -> None:
    """They would take each other's place in the cache, and each other's labels."""
    other = done / "other"
    shutil.copytree(project / "wav", other / "wav")
    shutil.copy(project / "train.csv", other)
    built = batcache("build", "--csv", "other/train.csv", cwd=done)
    assert built.returncode == 1 and "files of the same names" in built.stderr, built.stderr
    trained = batcache("train", "--csv", "other/train.csv", "--config", "small.yaml", cwd=done)
    assert trained.returncode == 1 and "filenames start from other" in trained.stderr, trained.stderr
    assert len(list((done / "runs").iterdir())) == 1


def test_each_cache_of_a_folder_has_its_own_list_of_rejects(fresh: Path) -> None:
    (fresh / "rejected.csv").write_text("name,why\nmine,keep\n")
    (fresh / "wav" / "03.wav").write_bytes(b"")
    built = batcache("build", "--csv", "train.csv", "--cache", "a.zarr", cwd=fresh)
    assert built.returncode == 1 and "listed in a.zarr.rejected.csv" in built.stderr, built.stderr
    listed = (fresh / "a.zarr.rejected.csv").read_text()
    assert "wav/03.wav" in listed
    sound = [row for row in (fresh / "train.csv").read_text().splitlines() if "03.wav" not in row]
    (fresh / "sound.csv").write_text("\n".join(sound) + "\n")
    assert batcache("build", "--csv", "sound.csv", "--cache", "b.zarr", cwd=fresh).returncode == 0
    assert (fresh / "a.zarr.rejected.csv").read_text() == listed
    assert not (fresh / "b.zarr.rejected.csv").exists()
    assert (fresh / "rejected.csv").read_text() == "name,why\nmine,keep\n"


def test_bats_are_simulated_from_a_manifest_once(tmp_path: Path) -> None:
    (tmp_path / "two.csv").write_text("filename,Myotis myotis\na.wav,1\nb/c.wav,0\n")
    first = batcache("synth", "two.csv", "--out", "bats", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("simulated: 2 clips in bats, 2 written, 0 there already; ")
    calls = len((tmp_path / "bats" / "events.csv").read_text().splitlines()) - 1
    assert f"; {calls} calls in bats/events.csv" in first.stdout.replace("\\", "/") and calls > 5
    again = batcache("synth", "two.csv", "--out", "bats", cwd=tmp_path)
    assert again.stdout.startswith("simulated: 2 clips in bats, 0 written, 2 there already; ")
    (tmp_path / "bats" / "a.wav").write_bytes(b"mine")
    refused = batcache("synth", "two.csv", "--out", "bats", cwd=tmp_path)
    assert refused.returncode == 1 and len(refused.stderr.splitlines()) == 1
    assert "a.wav: another file is there. Pass another --out, or --force" in refused.stderr
    assert (tmp_path / "bats" / "a.wav").read_bytes() == b"mine"
    assert batcache("synth", "two.csv", "--out", "bats", "--force", cwd=tmp_path).returncode == 0
    assert (tmp_path / "bats" / "a.wav").stat().st_size > 3_000_000


def test_bats_are_simulated_without_a_manifest(tmp_path: Path) -> None:
    command = ("synth", "--clips", "5", "--species", "Myotis myotis", "--species", "Plecotus auritus")
    made = batcache(*command, "--seed", "3", "--out", "bats", cwd=tmp_path)
    assert made.returncode == 0 and "simulated: 5 clips in bats, 5 written" in made.stdout, made.stderr
    header, *rows = (tmp_path / "bats" / "manifest.csv").read_text().splitlines()
    assert header == "filename,split,group,Myotis myotis,Plecotus auritus"
    assert {row.split(",")[0] for row in rows} == {path.name for path in (tmp_path / "bats").glob("*.wav")}
    other = batcache(*command, "--seed", "4", "--out", "bats", cwd=tmp_path)
    assert other.returncode == 1 and "another manifest is there" in other.stderr


@pytest.mark.slow
def test_a_pipeline_simulates_its_recordings_first(tmp_path: Path) -> None:
    rows = [
        f"{i}.wav,{split},night {i // 2},{i % 2},{1 - i % 2}"
        for i, split in enumerate(["train"] * 4 + ["val"] * 2 + ["test"] * 2)
    ]
    (tmp_path / "eight.csv").write_text(
        "\n".join(["filename,split,group,Myotis myotis,Nyctalus noctula", *rows]) + "\n"
    )
    synth = "synth: {manifest: eight.csv, out: bats}\n"
    data = "data: {train_csv: eight.csv, data_dir: bats, cache: out/features.zarr, fmax: 120000}\n"
    model = CONFIG[CONFIG.index("model:") :].replace("batch_size: 4", "batch_size: 4, run_dir: out/runs")
    (tmp_path / "demo.yaml").write_text(synth + data + model)
    first = batcache("run", "demo.yaml", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "simulated: 8 clips in bats, 8 written" in first.stdout
    assert "where everything lies" in first.stdout and "batcache build --csv train.csv" in first.stdout
    (run,) = (tmp_path / "out" / "runs").iterdir()
    assert (run / "test_page.png").read_bytes().startswith(b"\x89PNG")
    (run / "test_page.png").unlink()
    again = batcache("run", "demo.yaml", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "0 written, 8 there already" in again.stdout and "8 up to date" in again.stdout
    assert "train: up to date" in again.stdout
    assert (run / "test_page.png").exists(), "a page that is gone is drawn again"


def test_a_cache_is_verified_repaired_and_pruned(project: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(project, tmp_path / "project"))
    assert batcache("build", "--csv", "train.csv", "--config", "small.yaml", cwd=folder).returncode == 0
    outcome = batcache("verify", "--deep", "--sample", "3", cwd=folder)
    assert outcome.returncode == 0, outcome.stderr
    assert re.search(r"computed anew, equal bit by bit +3 *\n", outcome.stdout)
    assert re.search(r"damages +0 *\n", outcome.stdout)
    shard = folder / "features.zarr" / "instances" / "c" / "0" / "0" / "0"
    content = bytearray(shard.read_bytes())
    content[5] ^= 1
    shard.write_bytes(content)
    outcome = batcache("verify", "features.zarr", cwd=folder)
    assert outcome.returncode == 1 and outcome.stderr == ""
    line = next(line for line in outcome.stdout.splitlines() if "instances/c/0/0/0" in line)
    assert "wav/00.wav" in line and "its checksum does not match" in line and "verify --repair" in line
    outcome = batcache("verify", "--repair", cwd=folder)
    assert outcome.returncode == 0, outcome.stdout
    assert re.search(r"recordings computed again +1 *\n", outcome.stdout)
    assert batcache("verify", cwd=folder).returncode == 0
    text = (folder / "train.csv").read_text().splitlines()
    (folder / "fewer.csv").write_text("\n".join(text[:7]) + "\n")
    size = shard.stat().st_size
    outcome = batcache("prune", "--csv", "fewer.csv", "--dry-run", cwd=folder)
    assert outcome.returncode == 0 and re.search(r"recordings would be dropped +6 *\n", outcome.stdout), outcome
    assert shard.stat().st_size == size
    outcome = batcache("prune", "--csv", "fewer.csv", cwd=folder)
    assert outcome.returncode == 0 and re.search(r"recordings dropped +6 *\n", outcome.stdout), outcome
    assert not shard.exists()
    assert batcache("verify", cwd=folder).returncode == 0
    (folder / "features.zarr" / "zarr.json").write_text("{")
    assert batcache("verify", cwd=folder).returncode == 1
