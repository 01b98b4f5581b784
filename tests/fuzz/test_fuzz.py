"""Whatever a file holds, readers answer or refuse in our own words, in bounded time and in memory that no header sets.

``mutations.py`` breaks sound files at random, in a process that limits its own memory; Hypothesis builds files that are
sound in form and wrong in what they claim. What has been found is kept as a test of its own beside each reader's laws.
"""

import json
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from batcache.config.settings import Config, to_plain
from batcache.errors import AudioError, BatcacheError, ConfigError, ManifestError
from tests.features.test_audio import DATA, WAV, chunk, pcm
from tests.features.test_metadata import GUANO, WAMD
from tests.fuzz.mutations import STORE_FILES, make_store, read_audio, read_csv, read_yaml, sealed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="bounds memory as Linux does")

ROOT = Path(__file__).parents[2]
CASES = {"audio": 11_000, "csv": 5_000, "yaml": 4_000, "store": 1_000}


def break_files(kind: str, cases: int, seed: int, folder: Path, real: Path | None = None) -> dict[str, object]:
    command = [sys.executable, "-W", "error", "-m", "tests.fuzz.mutations", kind, str(cases), str(seed), str(folder)]
    command += [str(real)] if real else []
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    outcome: dict[str, object] = json.loads(done.stdout)
    assert outcome["cases"] == cases and not outcome["failures"], outcome["failures"]
    return outcome


@pytest.mark.parametrize("kind", CASES)
def test_hundreds_of_broken_files_are_read_or_refused(kind: str, tmp_path: Path) -> None:
    outcome = break_files(kind, 300, 0, tmp_path)
    assert 0 < outcome["refused"] < 300, "some are still sound"


@pytest.mark.slow
@pytest.mark.parametrize("kind", CASES)
def test_twenty_thousand_broken_files_are_read_or_refused(kind: str, tmp_path: Path) -> None:
    break_files(kind, CASES[kind], 1, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["audio", "csv"])
def test_real_files_with_broken_headers_are_read_or_refused(kind: str, tmp_path: Path, real: Path) -> None:
    break_files(kind, 4_000, 2, tmp_path, real)


WITH_FAULTS = """
import sys, time
from pathlib import Path
from tests.fuzz import mutations

def greedy(path):
    bytes(1 << 29)

def slow(path):
    began = time.process_time()
    while time.process_time() < began + 0.3:
        pass

def foreign(path):
    [][0]

def faulty(fault):  # sound at first, as a reader is
    return lambda path: path.read_bytes() != b"seed" and fault(path)

mutations.LONGEST_S = 0.1
for fault in (slow, foreign, greedy):
    outcome = mutations.run(faulty(fault), Path(sys.argv[1]) / "case", [b"seed"], [b"scrap"], 3, 0)
    print(outcome["failures"][0][1].split()[-1])
"""


def test_the_fuzzer_notices_what_is_slow_raises_its_own_or_allocates(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITH_FAULTS, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.split() == ["s", "range", "MemoryError"], done.stderr


# Sound in form, wrong in what it claims.

SIZES = st.integers(0, 80) | st.sampled_from([0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF])
NAMES = st.sampled_from([b"fmt ", b"data", b"ds64", b"fact", b"guan", b"wamd", b"LIST", b"junk", b"\0\0\0\0"])
FORMATS = st.builds(
    struct.pack,
    st.just("<HHIIHH"),
    st.sampled_from([1, 3, 6, 17, 0xFFFE, 0xFFFF]),
    *(st.integers(0, 0xFFFF), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
    *(st.integers(0, 0xFFFF), st.sampled_from([0, 1, 8, 12, 16, 24, 32, 64, 65535])),
)
BODIES = st.binary(max_size=80) | FORMATS | st.sampled_from([GUANO.encode(), WAMD, pcm()[8:], DATA[8:]])
CHUNKS = st.builds(lambda name, size, body: name + struct.pack("<I", size) + body, NAMES, SIZES, BODIES)
HONEST = st.builds(chunk, NAMES, BODIES)
LINES = st.sampled_from(GUANO.splitlines()) | st.text(max_size=40) | st.just(":") | st.just("TE:" + "9" * 400)
FIELDS = st.builds(
    lambda number, size, body: struct.pack("<HI", number, len(body) if size is None else size) + body,
    st.integers(0, 0x14) | st.integers(0, 0xFFFF),
    st.none() | SIZES,
    st.binary(max_size=40) | st.just(b"WGS84,1,N,2,W") | st.just(b"WGS84,,,,"),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
SECTIONS = st.sampled_from([(section, key) for section, keys in to_plain(Config()).items() for key in keys])


def answers(read: Callable[[Path], None], path: Path, content: bytes, kind: type[Exception]) -> None:
    path.write_bytes(content)
    try:
        read(path)
    except kind as error:
        assert "\n" not in str(error) and len(str(error)) < 2000


@settings(max_examples=300, deadline=2000)
@given(kind=st.sampled_from([b"RIFF", b"RF64"]), chunks=st.lists(CHUNKS | HONEST, max_size=6))
def test_any_chunks_are_read_or_refused(kind, chunks, tmp_path_factory) -> None:
    content = kind + struct.pack("<I", 0xFFFFFFFF) + b"WAVE" + b"".join(chunks)
    answers(read_audio, tmp_path_factory.getbasetemp() / "chunks.wav", content, AudioError)


@settings(max_examples=200, deadline=2000)
@given(lines=st.lists(LINES, max_size=8), fields=st.lists(FIELDS, max_size=8))
def test_any_metadata_leave_a_sound_recording_sound(lines, fields, tmp_path_factory) -> None:
    path = tmp_path_factory.getbasetemp() / "tags.wav"
    text = "\n".join(lines).encode("utf-8", "surrogatepass")
    path.write_bytes(WAV + chunk(b"guan", text) + chunk(b"wamd", b"".join(fields)))
    read_audio(path)


@settings(max_examples=300, deadline=2000)
@given(blocks=st.lists(st.tuples(st.integers(0, 255), SIZES, st.binary(max_size=80)), max_size=5))
def test_any_flac_blocks_are_read_or_refused(blocks, tmp_path_factory) -> None:
    content = b"fLaC" + b"".join(
        bytes([kind]) + (size % 2**24).to_bytes(3, "big") + body for kind, size, body in blocks
    )
    answers(read_audio, tmp_path_factory.getbasetemp() / "blocks.flac", content, AudioError)


@settings(max_examples=300, deadline=2000)
@given(place=SECTIONS, value=VALUES)
def test_any_value_of_a_setting_is_taken_or_refused(place, value, tmp_path_factory) -> None:
    content = yaml.safe_dump({place[0]: {place[1]: value}}).encode("utf-8", "surrogatepass")
    answers(read_yaml, tmp_path_factory.getbasetemp() / "value.yaml", content, ConfigError)


WRONG = VALUES | st.sampled_from(
    [-1, 10**13, 2**31, 2**63, 10**400, 1e308, float("inf"), float("nan"), True, "640", "-1"]
)


@settings(max_examples=600, deadline=2000)
@given(data=st.data())
def test_any_value_of_a_stores_json_is_taken_or_refused(data, tmp_path_factory) -> None:
    """Each of a store's JSON files with one value replaced or removed; a record with its digest made right again."""
    cache = tmp_path_factory.getbasetemp() / "hostile" / "features.zarr"
    if not cache.exists():
        make_store(cache)
    name = data.draw(st.sampled_from(sorted(STORE_FILES)))
    before = (cache / name).read_bytes()
    document = json.loads(before)
    inner, key = data.draw(st.sampled_from([*places_in(document)]))
    if data.draw(st.booleans()):
        inner[key] = data.draw(WRONG)
    else:
        del inner[key]
    text = json.dumps(document, default=str, separators=(",", ":")).encode()
    if "commits" in name:
        text = sealed(b"\n" + text.removeprefix(b'{"digest":').partition(b",")[2])
    try:
        (cache / name).write_bytes(text)
        STORE_FILES[name](cache)
    except BatcacheError as error:
        assert "\n" not in str(error) and len(str(error)) < 2000
    finally:
        (cache / name).write_bytes(before)


def places_in(document: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a JSON document: what it lies in, and its key or number there."""
    entries = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in entries:
        yield document, key
        if isinstance(value, dict | list):
            yield from places_in(value)


@settings(max_examples=300, deadline=2000)
@given(name=st.text(max_size=30) | st.sampled_from(["..", "a/../..", "/etc/passwd", "C:x", r"\\host\x", r"..\x", "~"]))
def test_any_filename_stays_in_the_data_dir_or_is_refused(name, tmp_path_factory) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    content = f"filename,a\n{quoted},1\n".encode("utf-8", "surrogatepass")
    answers(read_csv, tmp_path_factory.getbasetemp() / "names.csv", content, ManifestError)
