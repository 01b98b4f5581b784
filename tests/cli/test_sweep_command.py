"""Settings are compared by the command line."""

from pathlib import Path

import pytest

from tests.command import batcache


@pytest.mark.slow
def test_a_sweep_is_shown_and_the_same_command_goes_on(done: Path) -> None:
    over = ("--over", "model.pooling_type=max,mean", "--over", "training.seed=0,1")
    command = ("sweep", *over, "--config", "small.yaml", "--folds", "2", "--device", "cpu", "--out", "compared")
    first, again = batcache(*command, cwd=done), batcache(*command, cwd=done)
    assert first.returncode == again.returncode == 0, first.stderr + again.stderr
    assert "4 combinations; each is judged on 10 clips in 2 folds" in first.stdout
    assert "4 combinations, 4 of them done already" in again.stdout
    table = first.stdout[first.stdout.index("macro average precision in 2 folds, over 2 seeds") :]
    assert table in again.stdout
    header = table.splitlines()[1].split()
    assert header[:5] == ["model.pooling_type", "mean", "lowest", "highest", "species"]
    assert {line.split()[0] for line in table.splitlines()[2:4]} == {"max", "mean"}
    assert {"sweep.csv", "sweep.png"} <= {path.name for path in (done / "compared").iterdir()}


def test_a_key_that_cannot_be_swept_is_named(fresh: Path) -> None:
    built = batcache("build", "--csv", "train.csv", "--device", "cpu", cwd=fresh)
    assert built.returncode == 0, built.stderr
    for key, said in (("training.sed", "Did you mean training.seed?"), ("data.n_mels", "belongs to the cache")):
        refused = batcache("sweep", "--over", f"{key}=1,2", "--out", "compared", cwd=fresh)
        assert refused.returncode == 1 and f"--over {key}: " in refused.stderr and said in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
    assert not (fresh / "compared").exists()
