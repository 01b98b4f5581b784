"""Bats are simulated by the command line, alone or first in a pipeline."""

from pathlib import Path

import pytest

from tests.cli.conftest import CONFIG
from tests.command import batcache


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
