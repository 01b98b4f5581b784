"""A cache of log-mel frames, from its settings to a model."""

import json
import re
from pathlib import Path

from tests.cli.conftest import CONFIG
from tests.command import batcache

LOG = CONFIG.replace("data: {", "data: {compression: log, ")


def refused(folder: Path, *arguments: str) -> str:
    """What a command says in the one line that it ends with."""
    outcome = batcache(*arguments, cwd=folder)
    assert outcome.returncode == 1 and len(outcome.stderr.splitlines()) == 1, outcome
    return outcome.stderr


def test_a_log_cache_is_built_shown_trained_on_from_chance_and_judged(fresh: Path) -> None:
    (fresh / "log.yaml").write_text(LOG)
    built = batcache("build", "--csv", "train.csv", "--config", "log.yaml", cwd=fresh)
    assert built.returncode == 0, built.stderr
    assert re.search(
        r"features +128 mel bands, 10 to 100 kHz, logarithm; 1000 frames", batcache("info", cwd=fresh).stdout
    )
    assert batcache("verify", "--deep", cwd=fresh).returncode == 0
    for name in ("log.yaml", "small.yaml"):  # the second takes the features from the cache
        trained = batcache("train", "--config", name, cwd=fresh)
        assert trained.returncode == 0, trained.stderr
    assert batcache("eval", cwd=fresh).returncode == 0
    for run in (fresh / "runs").iterdir():
        assert "compression: log" in (run / "config.yaml").read_text()
        first, last = map(json.loads, (run / "logs" / "metrics.jsonl").read_text().splitlines())
        assert last["train_loss"] < first["train_loss"]
    drawn = batcache("show", "features.zarr", "-o", "page.png", cwd=fresh)
    assert drawn.returncode == 0 and (fresh / "page.png").stat().st_size > 0, drawn.stderr


def test_what_does_not_fit_a_log_cache_is_one_line(fresh: Path) -> None:
    (fresh / "log.yaml").write_text(LOG)
    (fresh / "pcen.yaml").write_text("data: {compression: pcen}\n")
    (fresh / "both.yaml").write_text("data: {compression: log, pcen_gain: 0.9}\n")
    (fresh / "trunk.yaml").write_text("data: {compression: log}\n")
    trunk = "data.compression: log in this cache, pcen in what the trunk was taught with. Pass --init none"
    assert trunk in refused(fresh, "run", "trunk.yaml", "--csv", "train.csv")
    assert "data.pcen_gain: 0.9" in refused(fresh, "build", "--csv", "train.csv", "--config", "both.yaml")
    assert not (fresh / "features.zarr").exists(), "refused before anything was built"
    assert batcache("build", "--csv", "train.csv", "--config", "log.yaml", cwd=fresh).returncode == 0
    assert trunk in refused(fresh, "train")
    for command in ("build", "train"):
        said = refused(fresh, command, "--csv", "train.csv", "--config", "pcen.yaml")
        assert "compression is 'log'" in said and "'pcen'" in said
