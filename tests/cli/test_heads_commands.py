"""Heads are trained on a model that the user has, judged in folds, and told of by the command line."""

import json
from pathlib import Path

import pytest

from batcache.cli.commands.cache import info
from batcache.storage import sealed
from batcache.storage.sealed import digest_of
from batcache.training.runs import BEST
from tests.cli.conftest import run_of
from tests.command import batcache


def test_a_training_goes_on_from_an_earlier_model(done: Path) -> None:
    first = f"runs/{run_of(done).name}"
    trained = batcache("train", "--init", first, "--epochs", "1", "--run-dir", "second", cwd=done)
    assert trained.returncode == 0, trained.stderr
    assert f"note: starts on the trunk of {first}. Not taken: heads (it was trained from chance" in trained.stderr
    (second,) = (done / "second").iterdir()
    again = batcache("train", "--init", f"second/{second.name}", "--epochs", "1", "--run-dir", "third", cwd=done)
    assert again.returncode == 0, again.stderr
    said = f"goes on from second/{second.name}: kept 2 species (Forty-five, Sixty), 0 are new"
    assert f"note: {said}" in again.stderr
    refused = batcache("train", "--init", f"second/{second.name}", "--folds", "2", "--run-dir", "none", cwd=done)
    assert refused.returncode == 1 and "clips to judge" in refused.stderr and not (done / "none").exists()
    assert len(refused.stderr.splitlines()) == 1


def test_test_clips_that_the_first_model_has_learnt_from_are_found_before_any_training(done: Path) -> None:
    """What taught the first model is here to judge the second."""
    rows = (done / "train.csv").read_text()
    for one, other in (("train", "first"), ("test", "train"), ("first", "test")):
        rows = rows.replace(f",{one},", f",{other},")
    (done / "swapped.csv").write_text(rows)
    model = f"model: {{init: runs/{run_of(done).name}}}"
    (done / "second.yaml").write_text(f"{model}\ntraining: {{run_dir: second, epochs: 1}}\n")
    refused = batcache("run", "second.yaml", "--csv", "swapped.csv", cwd=done)
    assert refused.returncode == 1 and not (done / "second").exists(), refused
    said = refused.stderr.splitlines()[-1]
    assert "has learnt from 8 of 8 clips to judge" in said and "or give their groups other names" in said


def test_folds_judge_all_clips_but_those_of_test(done: Path) -> None:
    judged = batcache("train", "--folds", "2", "--config", "small.yaml", "--epochs", "1", "--run-dir", "out", cwd=done)
    assert judged.returncode == 0, judged.stderr
    assert "2 folds, 10 clips" in judged.stdout and "model of all clips out/" in judged.stdout.replace("\\", "/")
    (run,) = (done / "out").iterdir()
    assert json.loads((run / "metrics.json").read_text())["folds"]["clips"] == 10
    assert (run / "logs" / "folds_predictions.npz").exists() and len(list((run / "folds").iterdir())) == 2


def test_a_models_file_is_told_of(finished: Path) -> None:
    run = run_of(finished)
    shown = batcache("info", f"runs/{run.name}/checkpoints/best_model.pt", cwd=finished)
    assert shown.returncode == 0 and "2, 2 of them taught" in shown.stdout and "from chance" in shown.stdout
    assert "  Forty-five" in shown.stdout and "  Sixty" in shown.stdout


def test_a_models_digest_is_checked_once_and_is_told(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, checked = run_of(finished) / BEST, []

    def check(content: memoryview) -> bytes:
        checked.append(len(content))
        return digest_of(content)

    monkeypatch.setattr(sealed, "digest_of", check)
    info(str(model))
    assert "its SHA-256, which it carries" in capsys.readouterr().out
    assert checked.count(model.stat().st_size - 64) == 1, "64 digits are not in it"


@pytest.mark.parametrize(
    ("command", "sought"),
    [
        (["info", "{}"], "cache, run or model"),
        (["show", "{}", "-o", "a.png"], "cache or run"),
        (["train", "--init", "{}"], "trunk, model or run"),
        (["train", "--resume", "{}"], "run"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, list) else "",
)
def test_a_path_at_which_there_is_nothing_is_told_with_what_stands_near_it(
    finished: Path, command: list[str], sought: str
) -> None:
    name = run_of(finished).name
    for missing, near in ((f"runs/{name}e", f"runs/{name}"), (f"ruins/{name}", "runs"), ("zz/zz", None)):
        refused = batcache(*(part.format(missing) for part in command), cwd=finished)
        assert refused.returncode == 1 and len(refused.stderr.splitlines()) == 1
        meant = f" Did you mean {near}? Pass" if near else " Pass"
        assert refused.stderr.startswith(f"error: {missing}: no such {sought}.{meant}"), refused.stderr


def test_a_word_that_init_knows_is_suggested(finished: Path) -> None:
    refused = batcache("train", "--init", "simulatd", cwd=finished)
    assert refused.stderr.startswith("error: simulatd: no such trunk, model or run. Did you mean simulated? Pass a run")


def test_species_that_do_not_exist_are_simulated(tmp_path: Path) -> None:
    command = ("synth", "--clips", "5", "--species", "Myotis myotis", "--virtual", "2", "--out", "bats")
    made = batcache(*command, cwd=tmp_path)
    assert made.returncode == 0 and "5 clips in bats, 5 written" in made.stdout, made.stderr
    header, *rows = (tmp_path / "bats" / "manifest.csv").read_text().splitlines()
    species = header.split(",")[3:]
    assert species[0] == "Myotis myotis" and len(species) == 3 and len(rows) == 5
