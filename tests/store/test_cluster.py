"""A build by the workers of a cluster: whatever becomes of them, the store is that of one machine, byte for byte."""

import errno
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from batcache import cluster as cluster_module
from batcache.cluster import Cluster, open_cluster
from batcache.errors import BatcacheError, ClusterError, ConfigError, StoreError
from batcache.manifest.manifest import read_manifest
from batcache.store.build.build import build, plan_build
from batcache.store.build.hands import _run
from batcache.store.build.plan import Task
from batcache.store.build.target import create, layout_of
from batcache.store.build.task import Job
from batcache.store.format.commit import write_commit
from batcache.store.format.lock import LOCK, hold, require_held
from batcache.store.reader import Store
from tests.store.dask_cluster import ROOT, TTL_S, DaskCluster, dask_cluster, free_port
from tests.store.project import CONFIG, SMALL, Project, assert_equal_trees, few_a_shard, snapshot

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="pip install 'batcache[cluster]'"),
    pytest.mark.skipif(os.name == "nt", reason="Windows stops no process by a signal"),
]
LENGTHS = {**{f"night/{i:02d}.wav": 0.3 + 0.01 * i for i in range(40)}, "long.wav": 2.3}
_LIMIT_S = 240


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Built on this machine: some forty shards, of which a long recording fills several. Not to be changed."""
    project = Project(tmp_path_factory.mktemp("local"))
    for name, seconds in LENGTHS.items():
        project.record(name, seconds)
    (project.root / "broken.wav").write_bytes(b"RIFF no audio")
    project.list(*LENGTHS, "broken.wav")
    (project.root / "small.yaml").write_text(CONFIG)
    with few_a_shard():
        project.build()
    return project


class Running:
    """``batcache build --scheduler`` of copies of the local project's recordings into a store of its own."""

    def __init__(self, project: Project, address: str) -> None:
        self.project = project
        command = [sys.executable, "-c", "from batcache.cli.main import main; main()", "build", "--csv", "clips.csv"]
        options = ["--config", "small.yaml", "--cache", str(project.cache), "--scheduler", address]
        self.process = subprocess.Popen(
            [*command, *options],
            cwd=project.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )

    def wait_for_commits(self, count: int = 1) -> None:
        commits = self.project.cache / "commits"
        self.wait(lambda: commits.is_dir() and len(list(commits.glob("*.json"))) >= count)

    def wait(self, condition: Callable[[], bool]) -> None:
        until = time.monotonic() + _LIMIT_S
        while not condition():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < until
            time.sleep(0.001)

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=_LIMIT_S)
        return self.process.returncode, out, err


@pytest.fixture
def project(local: Project, tmp_path: Path) -> Project:
    """The same recordings, and a store that is empty yet, with as few instances a shard."""
    made = Project(local.root)
    made.cache = tmp_path / "features.zarr"
    with few_a_shard():
        create(made.cache, SMALL.features, layout_of(SMALL))
    return made


@pytest.fixture
def started(tmp_path: Path) -> Iterator[tuple[DaskCluster, list["subprocess.Popen[bytes]"]]]:
    with dask_cluster(tmp_path / "dask", 2) as cluster:
        yield cluster


def assert_as_undisturbed(project: Project, local: Project) -> None:
    """All but where the CSV lies, seen from the store, and the hold, is the same."""
    one, other = snapshot(project.cache), snapshot(local.cache)
    assert one.pop("last_build.json") and other.pop("last_build.json")
    assert_equal_trees(one, other)


def test_two_local_workers_give_the_store_of_one_machine_and_a_second_build_nothing(
    project: Project, local: Project
) -> None:
    with open_cluster(None, 2) as workers:
        manifest = read_manifest([project.csv])
        report = build(manifest, project.cache, SMALL, device="cpu", cluster=workers)
        assert report.computed == len(LENGTHS) and list(report.rejected) == ["broken.wav"]
        assert_as_undisturbed(project, local)
        before = snapshot(project.cache)
        assert build(manifest, project.cache, SMALL, device="cpu", cluster=workers).computed == 0
        assert snapshot(project.cache) == before


def test_the_workers_of_a_scheduler_give_the_store_of_one_machine(project, local, started) -> None:
    cluster, _ = started
    code, out, err = Running(project, cluster.address).end()
    assert code == 1 and "broken.wav" in out + err, "one recording is rejected"
    assert_as_undisturbed(project, local)


@pytest.mark.slow
def test_a_worker_that_is_killed_loses_its_task_only(project, local, started) -> None:
    cluster, (first, _) = started
    running = Running(project, cluster.address)
    running.wait_for_commits()
    first.kill()
    assert running.end()[0] == 1
    assert_as_undisturbed(project, local)


@pytest.mark.slow
def test_a_worker_that_is_frozen_is_done_without_and_harms_nothing_when_it_wakes(project, local, started) -> None:
    cluster, (first, _) = started
    running = Running(project, cluster.address)
    running.wait_for_commits()
    first.send_signal(signal.SIGSTOP)
    assert running.end()[0] == 1
    assert_as_undisturbed(project, local)
    first.send_signal(signal.SIGCONT)
    time.sleep(TTL_S)
    assert_as_undisturbed(project, local)


@pytest.mark.slow
def test_a_scheduler_that_is_started_anew_is_found_again(project, local, started) -> None:
    cluster, _ = started
    running = Running(project, cluster.address)
    running.wait_for_commits()
    cluster.stop()
    cluster.start_scheduler()
    for _ in range(2):
        cluster.start_worker()
    code, _, err = running.end()
    assert code == 1 and "Traceback" not in err
    assert_as_undisturbed(project, local)


@pytest.mark.slow
def test_work_that_feeds_other_work_outlasts_a_scheduler_that_goes_while_nobody_waits_for_it(started) -> None:
    """As in predict, where what is looked at is judged: each of the two finds out at a time of its own."""
    cluster, _ = started
    with Cluster(cluster.address) as workers:
        lengths = workers.map(abs, workers.map(len, ["x" * i for i in range(80)]))
        found = [next(lengths) for _ in range(7)]
        cluster.stop()
        time.sleep(2)
        cluster.start_scheduler()
        cluster.start_worker()
        time.sleep(4)
        assert [*found, *lengths] == list(range(80))


@pytest.mark.slow
def test_a_build_that_is_killed_is_finished_by_the_next_while_workers_go_on(project, local, started) -> None:
    cluster, _ = started
    for count in (1, 12):
        running = Running(project, cluster.address)
        running.wait_for_commits(count)
        running.process.kill()
        running.process.communicate()
    assert Running(project, cluster.address).end()[0] == 1
    assert_as_undisturbed(project, local)


@pytest.mark.slow
def test_ctrl_c_stops_a_build_in_a_line_and_leaves_no_worker(project, local, tmp_path) -> None:
    command = [sys.executable, "-c", "from batcache.cli.main import main; main()", "build", "--csv", "clips.csv"]
    options = ["--config", "small.yaml", "--cache", str(project.cache), "--local-workers", "2"]
    process = subprocess.Popen(
        [*command, *options], cwd=project.root, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, start_new_session=True,
    )  # fmt: skip
    until = time.monotonic() + _LIMIT_S
    while not (project.cache / "commits" / "0.json").exists():
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all processes
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err and "stopped" in out + err, (out, err)
    until = time.monotonic() + 20
    while subprocess.run(["pgrep", "-g", str(process.pid)], capture_output=True, check=False).returncode == 0:
        assert time.monotonic() < until, "a worker is left"
        time.sleep(0.1)
    project.build()
    assert_as_undisturbed(project, local)


def test_no_scheduler_is_one_line_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "PATIENCE_S", 2.0)
    told: list[str] = []
    address = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(ClusterError, match="no scheduler answers") as caught, Cluster(address, tell=told.append):
        pass
    assert address in str(caught.value) and "\n" not in str(caught.value)
    assert len(told) == 1 and "asking again" in told[0]
    with pytest.raises(ClusterError, match="tcp://host:8786"), Cluster("nonsense://x"):
        pass
    with pytest.raises(ConfigError, match="--local-workers"), open_cluster(address, 2):
        pass


def test_a_worker_that_does_not_see_the_recordings_or_the_store_says_so(project: Project, tmp_path: Path) -> None:
    job = Job(project.cache, tmp_path / "elsewhere", SMALL, layout_of(SMALL), "cpu")
    for blind in (job, Job(tmp_path / "no.zarr", project.root, SMALL, job.layout, "cpu")):
        with pytest.raises(ClusterError, match=r"sees no .* Mount the same folders"):
            _run(blind, Task(0, 1, ()))


def test_what_one_worker_does_not_find_though_it_is_here_is_no_reject(project: Project, tmp_path: Path) -> None:
    """A worker whose share is not mounted sees an empty folder at the same path."""
    mounted = ["unshare", "--mount", "--map-root-user", "sh", "-c", f'mount -t tmpfs none {project.root} && "$@"', "-"]
    if subprocess.run([*mounted, "true"], capture_output=True, check=False).returncode:
        pytest.skip("mounts cannot be hidden from a process here")
    with dask_cluster(tmp_path / "dask", 0) as (cluster, _):
        cluster.start_worker(*mounted)
        code, _, err = Running(project, cluster.address).end()
    assert code == 1 and "is here, but a worker does not see it" in err and err.count("\n") == 1, err
    assert not list((project.cache / "commits").glob("*.json"))


def test_no_shard_appears_once_the_build_that_asked_for_it_has_ended(project: Project) -> None:
    with hold(project.cache) as token:
        require_held(project.cache, token)
        with pytest.raises(StoreError, match="has ended"):
            require_held(project.cache, "another")
    assert not (project.cache / LOCK).exists()
    (task, *_) = plan_build(read_manifest([project.csv]), project.cache, SMALL).tasks
    job = Job(project.cache, project.root, SMALL, Store(project.cache).layout, "cpu", token)
    with pytest.raises(BatcacheError, match="the build that asked for this has ended"):
        _run(job, task)
    assert not list((project.cache / "instances").rglob("c/*/*/*"))
    with hold(project.cache) as token:
        job = Job(project.cache, project.root, SMALL, job.layout, "cpu", token)
        (written,) = _run(job, task)[1]
        write_commit(project.cache, written)
        with pytest.raises(BatcacheError, match="another worker was quicker"):
            _run(job, task)


def test_an_error_of_the_work_comes_home_as_it_is(tmp_path: Path) -> None:
    with open_cluster(None, 1) as workers:
        assert workers is not None
        with pytest.raises(StoreError, match="a place: a finding"):
            list(workers.map(_fail, ["a place"]))
        with pytest.raises(OSError, match="No space left"):
            list(workers.map(_fill, ["disk"]))
        assert list(workers.map(len, ["a", "bb", "ccc"])) == [1, 2, 3]


def _fail(place: str) -> None:
    raise StoreError(place, "a finding", "A remedy")


def _fill(place: str) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", place)
