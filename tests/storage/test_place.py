"""What names a place, and reading from one on a disk. A bucket's side is in ``tests/store/test_s3.py``."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from batcache.config.load import load_config
from batcache.config.settings import to_plain
from batcache.errors import ConfigError
from batcache.storage.place import parse_place, read_files, read_range, sizes_under, suggest_path
from batcache.storage.s3 import S3Path
from batcache.store.format.last_build import locate_cache, portable
from tests.store.bucket import SECRETS


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(ConfigError) as caught:
        act()
    return str(caught.value)


@pytest.mark.parametrize("url", ["s3://", "s3://bats", "s3://bats/", "s3:///x", "s3://bats//x", "s3://bats/../x"])
def test_an_incomplete_url_is_refused(url):
    assert "s3://bucket/path/features.zarr" in refusal(lambda: parse_place(url))


def test_other_kinds_of_urls_are_refused_and_windows_paths_are_not():
    assert "gs://" in refusal(lambda: parse_place("gs://bats/x"))
    assert parse_place("C:\\caches\\x.zarr") == Path("C:\\caches\\x.zarr")
    assert parse_place("s3://bats/a/b.zarr/") == S3Path("bats", "a/b.zarr")


@pytest.mark.parametrize(
    "data",
    [
        {"endpoint": f"https://user:{SECRETS['AWS_SECRET_ACCESS_KEY']}@example.org"},
        {"endpoint": f"https://{SECRETS['AWS_ACCESS_KEY_ID']}@example.org"},
        {"endpoint": "example.org:9000"},
        {"endpoint": ""},
        {"cache": f"s3://{SECRETS['AWS_ACCESS_KEY_ID']}:x@bats/x"},
    ],
)
def test_credentials_in_a_url_are_refused_and_not_repeated(data):
    said = refusal(lambda: load_config(flags={"data": data}))
    assert not any(secret in said for secret in SECRETS.values())


def test_settings_keep_the_url_and_how_it_is_reached(tmp_path):
    data = {"cache": "s3://bats/x.zarr", "endpoint": "http://localhost:9000/", "region": "eu-central-1"}
    config = load_config(flags={"data": data})
    assert config.data.place == S3Path("bats", "x.zarr", "http://localhost:9000", "eu-central-1")
    assert to_plain(config)["data"]["cache"] == "s3://bats/x.zarr"
    assert load_config(base=to_plain(config)) == config
    assert locate_cache(portable(config.data.place, tmp_path), tmp_path) == S3Path("bats", "x.zarr")


@pytest.mark.parametrize(("start", "count", "found"), [(0, 3, b"012"), (8, 5, b"89"), (20, 5, b""), (3, 0, b"")])
def test_a_range_ends_where_the_file_does(tmp_path, start, count, found):
    (tmp_path / "file").write_bytes(b"0123456789")
    assert bytes(read_range(tmp_path / "file", start, count)) == found


def test_of_many_files_each_gives_its_content_or_says_why_not(tmp_path):
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "folder").mkdir()
    content, missing, folder, again = read_files([tmp_path / name for name in ("a", "gone", "folder", "a")])
    assert content == again == b"a"
    assert isinstance(missing, FileNotFoundError) and isinstance(folder, OSError)


def test_a_missing_file_has_no_size(tmp_path):
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "0").write_bytes(bytes(7))
    size_of = sizes_under(tmp_path)
    assert (size_of("3/0"), size_of("3/1"), size_of("4/0"), size_of("3/0/0")) == (7, None, None, None)


def test_a_drive_that_is_not_there_has_no_near_name_and_ends_the_search() -> None:
    class OnNoDrive(type(Path())):  # type: ignore[misc]
        """Of Windows, where not even the root of a path need exist."""

        def exists(self) -> bool:
            return False

        def iterdir(self) -> Iterator[Path]:
            raise FileNotFoundError

    assert suggest_path(OnNoDrive("/card/night"), "Pass another") == "Pass another"
