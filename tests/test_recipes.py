"""The launch recipes of clusters: run as they stand where that can be, Slurm's by a stand-in that runs jobs here."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from batcache.store.build.target import create, layout_of
from tests.store.dask_cluster import ROOT
from tests.store.project import CONFIG, SMALL, Project, assert_equal_trees, few_a_shard, snapshot

pytestmark = pytest.mark.slow
RECIPES = ROOT / "pipelines" / "cluster"
SBATCH = """#!/usr/bin/env bash
export SLURM_NTASKS=3 SLURM_CPUS_PER_TASK=1 SLURM_JOB_ID=17 SLURM_SUBMIT_DIR=$PWD
exec bash "$@"
"""
SRUN = """#!/usr/bin/env bash
count=1
while [[ $1 == --* ]]; do [[ $1 == --ntasks=* ]] && count=${1#*=}; shift; done
for _ in $(seq "$count"); do "$@" & done
wait
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path / "project")
    for i in range(12):
        made.record(f"{i}.wav", 0.3)
    made.list(*(f"{i}.wav" for i in range(12)))
    (made.root / "small.yaml").write_text(CONFIG)
    made.build()
    return made


def build_by(project: Project, *command: str, tools: Path | None = None) -> Path:
    """Build into another store by a recipe, of so many instances a shard as the first."""
    cache = project.root / "other.zarr"
    with few_a_shard():
        create(cache, SMALL.features, layout_of(SMALL))
    path = [*([str(tools)] if tools else []), str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = os.environ | {"PATH": os.pathsep.join(path), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    given = ("--csv", "clips.csv", "--config", "small.yaml", "--cache", "other.zarr")
    done = subprocess.run(
        [*command, *given], cwd=project.root, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return cache


def assert_same(one: Path, other: Path) -> None:
    assert_equal_trees(snapshot(one), snapshot(other))


@pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="pip install 'batcache[cluster]'")
@pytest.mark.skipif(os.name == "nt" or not shutil.which("bash"), reason="needs bash")
def test_two_workers_of_this_machine_build_the_same_store(project: Project) -> None:
    assert_same(project.cache, build_by(project, str(RECIPES / "laptop.sh")))


@pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="pip install 'batcache[cluster]'")
@pytest.mark.skipif(os.name == "nt" or not shutil.which("bash"), reason="needs bash")
def test_slurms_recipe_builds_the_same_store_and_leaves_nothing(project: Project, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in (("sbatch", SBATCH), ("srun", SRUN)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    before = set(project.root.iterdir())
    cache = build_by(project, "sbatch", str(RECIPES / "slurm.sh"), tools=tools)
    assert_same(project.cache, cache)
    left = {path.name for path in set(project.root.iterdir()) - before}
    assert left <= {"other.zarr", "other.zarr.log"}, left


def test_kubernetes_recipe_is_yaml_of_the_kinds_that_it_names() -> None:
    documents = list(yaml.safe_load_all((RECIPES / "kubernetes.yaml").read_text()))
    assert [document["kind"] for document in documents] == ["DaskCluster", "Job"]
