"""What a user of a cache on S3 sees: every command works, and what is wrong is one line without credentials."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from batcache.errors import UnreachableError
from batcache.storage import s3_client
from batcache.storage.s3 import S3Path
from batcache.store.reader import Store
from tests.cli import conftest as cli_tests
from tests.command import batcache
from tests.store import on_s3
from tests.store.bucket import SECRETS, proxy
from tests.store.on_s3 import at, contents, refusal, somewhere

pytestmark = on_s3.pytestmark
server = on_s3.server
quick = on_s3.quick
between = on_s3.between
local = on_s3.local


# What a user gets wrong.


def test_a_bucket_that_is_not_there_is_named(server, local):
    project = at(S3Path("bast", "x.zarr", server), local)
    for act in (project.build, project.store):
        assert "there is no bucket bast" in refusal(act) or "no cache here" in refusal(act)
    assert "there is no bucket bast" in refusal(project.build)


def test_a_cache_that_is_not_there_is_named(server):
    cache = somewhere(server)
    assert refusal(lambda: Store(cache)).startswith(f"{cache}: no cache here")


def test_nobody_at_the_endpoint_is_said(local):
    with proxy("http://127.0.0.1:1") as closed:
        pass
    project = at(somewhere(closed.endpoint), local)
    for act in (project.build, project.store):
        assert f"{closed.endpoint} cannot be reached" in refusal(act, UnreachableError)


def test_refused_credentials_are_said_and_not_repeated(between, local):
    between.fault = lambda *_: "403"
    project = at(somewhere(between.endpoint), local)
    for act in (project.build, project.store, lambda: (project.cache / "x").write_bytes(b"x")):
        assert "refuses (403 Forbidden" in refusal(act, UnreachableError)


def test_missing_credentials_are_said(server, local, monkeypatch):
    s3_client.connect.cache_clear()
    for name in SECRETS:
        monkeypatch.delenv(name)
    assert "AWS_ACCESS_KEY_ID" in refusal(lambda: Store(somewhere(server)), UnreachableError)


@pytest.mark.parametrize("package", ["obstore", "boto3"])
def test_missing_packages_are_named_by_how_to_install_them(server, monkeypatch, package):
    s3_client.connect.cache_clear()
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    assert "pip install 'batcache[s3]'" in refusal(lambda: Store(somewhere(server)))


# The command line.


wavs = cli_tests.project
MAIN = "from batcache.cli.main import main; main()"


@pytest.mark.slow
def test_every_command_works_on_a_url_and_tells_nobody_the_credentials(server, tmp_path, wavs):
    folder = Path(shutil.copytree(wavs, tmp_path / "project"))
    cache = somewhere(server)
    at_cache = ["--endpoint", server, "--region", "eu-central-1"]
    said = []

    def run(*arguments: str) -> None:
        outcome = batcache(*arguments, cwd=folder)
        said.extend([outcome.stdout, outcome.stderr])
        assert outcome.returncode == 0, outcome.stderr

    settings = ["--csv", "train.csv", "--config", "small.yaml", "--cache", str(cache), *at_cache]
    run("build", *settings, "--device", "cpu")
    run("info", str(cache), *at_cache)
    run("train", *settings[2:], "--device", "cpu")
    run("eval", "--device", "cpu")
    made = cli_tests.run_of(folder)
    run("show", str(cache), *at_cache, "-o", "clips.png")
    run("show", f"runs/{made.name}", "-o", "page.png")
    run("run", "small.yaml", "--csv", "train.csv", "--cache", str(cache), *at_cache, "--device", "cpu")
    assert "train: up to date" in said[-2]
    assert str(cache) in (made / "run.json").read_text() and str(cache) in (made / "config.yaml").read_text()
    nobody = ["info", str(cache), "--endpoint", "http://127.0.0.1:1"]
    code = f"from batcache.storage import s3_client as s; s.PATIENCE = s.Patience(2, 2, 1, 3); {MAIN}"
    outcome = subprocess.run(
        [sys.executable, "-c", code, *nobody], cwd=folder, capture_output=True, text=True, check=False
    )
    told, error = outcome.stderr.splitlines()
    assert outcome.returncode == 1 and told.startswith("note: s3://") and "asking again for up to" in told
    assert error.startswith("error: s3://") and "cannot be reached" in error
    said.append(outcome.stderr)
    written = [*said, *(place.read_bytes().decode("latin-1") for place in folder.rglob("*") if place.is_file())]
    written += [content.decode("latin-1") for content in contents(cache.parent).values()]
    assert not any(secret in text for text in written for secret in SECRETS.values())


@pytest.mark.slow
def test_commands_read_from_copies_on_this_disk_what_was_read_before(server, between, tmp_path, wavs):
    folder = Path(shutil.copytree(wavs, tmp_path / "project"))
    cache = str(somewhere(server))
    copies = ["--local-cache", "copies", "--local-cache-gb", "0.5"]
    reached = ["--cache", cache, "--endpoint", between.endpoint]

    def run(*arguments: str) -> int:
        between.requests.clear()
        outcome = batcache(*arguments, "--device", "cpu", cwd=folder)
        assert outcome.returncode == 0, outcome.stderr
        return between.count_shards()

    run("build", "--csv", "train.csv", "--config", "small.yaml", *reached)
    assert run("train", "--config", "small.yaml", *reached, *copies) == 1, "one shard, however many epochs"
    (kept,) = (folder / "copies").iterdir()
    assert run("eval") == 0, "the run's folder"
    judge = ["predict", cache, "--endpoint", between.endpoint, "--model", f"runs/{cli_tests.run_of(folder).name}"]
    assert run(*judge, *copies) == 0
    assert run(*judge, "--out", "again") > 1, "without copies, as ever"
    assert list((folder / "copies").iterdir()) == [kept]
    for wrong, said in (
        (["train", "--cache", "features.zarr", *copies], "data.local_cache: given, but features.zarr lies on a disk"),
        (["predict", "wav", *judge[4:], *copies], "data.local_cache: given, but wav lies on a disk"),
        (["train", *reached, "--local-cache-gb", "3"], "data.local_cache_gb: given without data.local_cache"),
    ):
        outcome = batcache(*wrong, cwd=folder)
        assert outcome.returncode == 1 and said in outcome.stderr
