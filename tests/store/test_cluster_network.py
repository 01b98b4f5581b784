"""Workers on hosts of their own, in network namespaces, and the cache in a bucket: a link that is cut loses nothing."""

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from batcache.store.build.target import create, layout_of
from tests.store import on_s3
from tests.store.bucket import ENVIRONMENT, serve
from tests.store.dask_cluster import ROOT, TTL_S, DaskCluster, free_port
from tests.store.on_s3 import NEEDED, assert_equal_stores, somewhere
from tests.store.project import CONFIG, SMALL, Project, few_a_shard

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(map(importlib.util.find_spec, (*NEEDED, "distributed"))), reason="pip install 'batcache[cluster,dev]'"
    ),
]
_LIMIT_S = 240


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@dataclass(frozen=True)
class Host:
    """A network namespace and the end of its link on this machine."""

    name: str
    link: str

    @property
    def within(self) -> tuple[str, ...]:
        """What is put before a command that is to run there."""
        return "ip", "netns", "exec", self.name

    def set(self, state: str) -> None:
        """Cut the link, ``down``, or restore it, ``up``."""
        ip("link", "set", "dev", self.link, state)


@contextmanager
def two_hosts(gateway: str, mark: str) -> Iterator[list[Host]]:
    """Two hosts that reach this one, which they know as the gateway."""
    bridge, hosts = f"bcb{mark}", [Host(f"bcn{mark}{i}", f"bcv{mark}{i}") for i in range(2)]
    try:
        ip("link", "add", bridge, "type", "bridge")
        ip("addr", "add", f"{gateway}/24", "dev", bridge)
        ip("link", "set", "dev", bridge, "up")
        for i, host in enumerate(hosts):
            ip("netns", "add", host.name)
            ip("link", "add", host.link, "type", "veth", "peer", "name", "eth0", "netns", host.name)
            ip("link", "set", "dev", host.link, "master", bridge, "up")
            address = f"{gateway.rpartition('.')[0]}.{i + 2}/24"
            for change in (
                ("addr", "add", address, "dev", "eth0"),
                ("link", "set", "eth0", "up"),
                ("link", "set", "lo", "up"),
            ):
                ip("-n", host.name, *change)
        yield hosts
    finally:
        for host in hosts:
            subprocess.run(["ip", "netns", "del", host.name], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", bridge], check=False, capture_output=True)


@pytest.fixture
def network() -> Iterator[tuple[str, list[Host]]]:
    number = os.getpid() % 250
    gateway = f"10.231.{number}.1"
    if not shutil.which("ip"):
        pytest.skip("needs ip of iproute2")
    try:
        with two_hosts(gateway, str(number)) as hosts:
            yield gateway, hosts
    except subprocess.CalledProcessError as error:
        pytest.skip(f"network namespaces cannot be made here: {error.stderr.decode().strip()}")


def test_a_worker_whose_link_is_cut_and_restored_leaves_the_store_of_one_machine(
    network: tuple[str, list[Host]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway, hosts = network
    names = [f"{i:02d}.wav" for i in range(48)]
    local = Project(tmp_path / "project")
    for name in names:
        local.record(name, 0.35)
    local.list(*names)
    (local.root / "small.yaml").write_text(CONFIG)
    local.build()
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    cluster = DaskCluster(tmp_path, port=free_port(gateway), host=gateway)
    with serve(gateway) as endpoint:
        there = somewhere(endpoint)
        with few_a_shard():
            create(there, SMALL.features, layout_of(SMALL))
        try:
            cluster.start_scheduler()
            for host in hosts:
                cluster.start_worker(*host.within)
            command = [
                sys.executable,
                "-c",
                "from batcache.cli.main import main; main()",
                "build",
                "--csv",
                "clips.csv",
            ]
            options = ["--config", "small.yaml", "--cache", str(there), "--endpoint", endpoint]
            build = subprocess.Popen(
                [*command, *options, "--scheduler", cluster.address],
                cwd=local.root,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )
            until = time.monotonic() + _LIMIT_S
            while not any(name.startswith("commits/") for name in there.sizes()):
                assert build.poll() is None and time.monotonic() < until, build.communicate()
                time.sleep(0.02)
            hosts[0].set("down")
            time.sleep(2 * TTL_S)
            hosts[0].set("up")
            _, err = build.communicate(timeout=_LIMIT_S)
        finally:
            cluster.stop()
        assert build.returncode == 0, err
        assert "Traceback" not in err
        assert_equal_stores(there, local.cache)


quick = on_s3.quick
