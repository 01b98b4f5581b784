"""The command line on a project of made-up recordings: what a user types, and what comes of it."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from tests.cli.conftest import CONFIG
from tests.command import batcache
from tests.conftest import noise
from tests.documents import read_document, write_document


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
    assert read_document(run / "metrics.json")["test"]["clips"] == 2
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
    about = read_document(run / "run.json")
    write_document(run / "run.json", about | {"finished": False})
    again = batcache("run", "small.yaml", "--csv", "train.csv", cwd=fresh)
    assert again.returncode == 0, again.stderr
    assert list((fresh / "runs").iterdir()) == [run]
    assert read_document(run / "run.json")["finished"]


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


def test_species_that_call_above_the_features_are_a_note_of_the_build(fresh: Path) -> None:
    (fresh / "one.csv").write_text("filename,Rhinolophus hipposideros\nwav/00.wav,1\n")
    built = batcache("build", "--csv", "one.csv", cwd=fresh)
    assert built.returncode == 0
    assert "note: the features end at 100 kHz, and horseshoe bats (Rhinolophus hipposideros)" in built.stderr
    (fresh / "checklist.csv").write_text("filename,Rhinolophus hipposideros,Forty-five\nwav/00.wav,0,1\n")
    built = batcache("build", "--csv", "checklist.csv", cwd=fresh)
    assert built.returncode == 0 and "horseshoe" not in built.stderr, "no clip holds one"
    (fresh / "unknown.csv").write_text("filename,Rhinolophus hipposideros\nwav/00.wav,\n")
    built = batcache("build", "--csv", "unknown.csv", cwd=fresh)
    assert built.returncode == 0 and "horseshoe" in built.stderr, "a clip may hold one"
    (fresh / "high.yaml").write_text("data: {fmax: 120000}")
    built = batcache("build", "--csv", "one.csv", "--config", "high.yaml", "--cache", "high.zarr", cwd=fresh)
    assert built.returncode == 0 and "horseshoe" not in built.stderr, built.stderr


def test_a_misspelt_split_is_a_note_of_the_build(fresh: Path) -> None:
    rows = (fresh / "train.csv").read_text()
    (fresh / "typo.csv").write_text(rows.replace(",train,", ",trian,"))
    built = batcache("build", "--csv", "typo.csv", cwd=fresh)
    assert built.returncode == 0
    said = "note: typo.csv line 2: split 'trian', of 8 clips, is neither train, val nor test: did you mean train?"
    assert said in built.stderr.splitlines(), built.stderr
    assert "did you mean" not in batcache("build", "--csv", "train.csv", cwd=fresh).stderr


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


def test_rows_without_a_group_are_told_by_split_with_what_follows(fresh: Path) -> None:
    rows = [f"wav/{i:02d}.wav,{'night ' + str(i // 3) if i < 9 else ''},{i % 2}" for i in range(12)]
    (fresh / "data.csv").write_text("\n".join(["filename,group,Forty-five", *rows]))
    drawn = batcache("split", "data.csv", "-o", "drawn.csv", cwd=fresh)
    said = "note: 3 of 12 rows have no group, the first at data.csv line 11: each recording was drawn by itself, "
    assert drawn.returncode == 0 and drawn.stderr.startswith(said), drawn.stderr
    (fresh / "data.csv").write_text("\n".join(["filename,group,Forty-five", *rows[:9]]))
    assert not batcache("split", "data.csv", "-o", "drawn.csv", "--force", cwd=fresh).stderr


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


def test_a_guide_is_drawn_and_what_it_was_taken_for_is_said(tmp_path: Path) -> None:
    (tmp_path / "guide.csv").write_text("species,shape,peak_khz,duration_ms\nA,FM-QCF,40-44,\nB,CF,60,10\n")
    drawn = batcache("show", "guide.csv", "-o", "a.png", cwd=tmp_path)
    assert drawn.returncode == 0, drawn.stderr
    (line,) = (line for line in drawn.stdout.splitlines() if line.startswith("A "))
    assert "40 to 44" in line and (tmp_path / "a.png").exists()
    refused = batcache("show", "guide.csv", "-o", "a.png", "--start", "1", cwd=tmp_path)
    assert refused.returncode == 2 and "a guide's clips are simulated" in refused.stderr
