"""Copies with GUANO: all but the guan chunk and the head's size is as it was; the originals are never written to."""

import hashlib
import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from shutil import copy

import numpy as np
import pytest
import soundfile
from guano import GuanoFile

from batcache.errors import SurveyError
from batcache.features.audio import content_hash, read_header
from batcache.features.metadata import read_metadata
from batcache.manifest.find_recordings import find_recordings
from batcache.survey.convert import convert
from batcache.survey.formats.guano_copies import AUTO_ID, MANUAL_ID, copy_with_guano, edit_guano
from batcache.survey.formats.wav_copy import read_layout
from batcache.survey.judged import Judged, read_judged
from tests.survey.formats.conftest import FOUND, GROUP, NOTHING, SAID, TWO
from tests.survey.predicted_folder import write_predicted, write_reviewed

LINES = {AUTO_ID: "PIPPIP,MYODAU"}
NOTE = b"GUANO|Version: 1.0\nSpecies Auto ID: MYLU\nNote: caf\xe9 \\n two\nWA|Song Meter|Prefix: X\n\n"


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack("<4sI", name, len(content)) + content + b"\0" * (len(content) & 1)


def wav(form: bytes, samples: bytes, *others: bytes, tail: bytes = b"") -> bytes:
    body = b"WAVE" + chunk(b"fmt ", form) + others[0] + chunk(b"data", samples) + b"".join(others[1:])
    return b"RIFF" + struct.pack("<I", len(body)) + body + tail


def form(tag: int, bits: int, extra: bytes = b"") -> bytes:
    return struct.pack("<HHIIHH", tag, 1, 384_000, 384_000 * bits // 8, bits // 8, bits) + extra


SAMPLES = np.random.default_rng(0).integers(-2000, 2000, 4001).astype("<i2").tobytes()
FLOATS = np.random.default_rng(0).normal(0, 0.1, 4000).astype("<f4").tobytes()
PCM = form(1, 16)
EXTENSIBLE = form(0xFFFE, 16, struct.pack("<HHI", 22, 16, 4) + b"\x01\0\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71")
FLOAT = form(3, 32, struct.pack("<H", 0))
WAMD, BEXT = chunk(b"wamd", b"\0\0\x02\0\0\0\1\0"), chunk(b"bext", b"B" * 602)
LIST = chunk(b"LIST", b"INFO" + chunk(b"ICMT", b"by a recorder\0"))


def rf64(samples: bytes, *others: bytes) -> bytes:
    body = chunk(b"fmt ", PCM) + struct.pack("<4sI", b"data", 0xFFFFFFFF) + samples + b"".join(others)
    size = 4 + 36 + len(body)
    return (
        b"RF64\xff\xff\xff\xffWAVE"
        + chunk(b"ds64", struct.pack("<QQQI", size, len(samples), len(samples) // 2, 0))
        + body
    )


FILES = {
    "plain": wav(PCM, SAMPLES, b""),
    "wamd, LIST and bext": wav(PCM, SAMPLES, BEXT, WAMD, LIST),
    "GUANO before the samples": wav(PCM, SAMPLES, chunk(b"guan", NOTE), WAMD),
    "GUANO behind all": wav(PCM, SAMPLES, LIST, WAMD, chunk(b"guan", NOTE)),
    "extensible": wav(EXTENSIBLE, SAMPLES, b"", WAMD),
    "float": wav(FLOAT, FLOATS, LIST),
    "odd 24 bit": wav(form(1, 24), SAMPLES[:3003], b"", WAMD),
    "an odd end without its pad": wav(form(1, 8), SAMPLES[:3003], b"")[:-1],
    "RF64": rf64(SAMPLES),
    "RF64 with GUANO": rf64(SAMPLES, chunk(b"guan", NOTE), WAMD),
    "bytes behind the last chunk": wav(PCM, SAMPLES, b"", WAMD, tail=b"\0" * 7),
    "a recorder lost power": wav(PCM, SAMPLES, b"")[:40] + b"\0\0\0\0" + SAMPLES,
    "odd chunks without their pads": wav(PCM, SAMPLES, struct.pack("<4sI", b"bext", 603) + b"B" * 603, WAMD),
    "a wrong size in its head": b"RIFF\0\0\0\0" + wav(PCM, SAMPLES, b"", WAMD)[8:],
}


def parts(content: bytes) -> tuple[dict[str, bytes], bytes]:
    """Every chunk but GUANO and ds64, and what follows the last."""
    file = BytesIO(content)
    layout = read_layout(file)
    named = {
        f"{i} {one.name.decode()}": content[one.start - 8 : one.end]
        for i, one in enumerate(one for one in layout.chunks if one.name not in (b"guan", b"ds64"))
    }
    return named, content[layout.end_of(layout.chunks[-1]) :]


def guano_of(content: bytes) -> bytes:
    layout = read_layout(BytesIO(content))
    assert layout.guano is not None
    return content[layout.guano.start : layout.guano.end]


@pytest.fixture
def copied(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    def copy(content: bytes, lines: dict[str, str] = LINES) -> tuple[Path, Path]:
        source, target = tmp_path / "a.wav", tmp_path / "copies" / "a.wav"
        source.write_bytes(content)
        source.chmod(0o444)
        copy_with_guano(source, target, lines)
        return source, target

    return copy


@pytest.mark.parametrize("content", FILES.values(), ids=FILES.keys())
def test_all_but_the_guano_is_as_it_was(content: bytes, copied: Callable[..., tuple[Path, Path]]) -> None:
    source, target = copied(content)
    made = target.read_bytes()
    before, after = (parts(one) for one in (content, made))
    assert after == before
    assert source.read_bytes() == content
    assert source.stat().st_mtime_ns == target.stat().st_mtime_ns
    assert content_hash(target, read_header(target)) == content_hash(source, read_header(source))


@pytest.mark.parametrize("species", ["PIPPIP", "NYCNOC1"], ids=["odd", "even"])
@pytest.mark.parametrize("content", FILES.values(), ids=FILES.keys())
def test_its_sizes_are_right_and_its_chunks_lie_at_even_places(
    content: bytes, species: str, copied: Callable[..., tuple[Path, Path]]
) -> None:
    _, target = copied(content, {AUTO_ID: species})
    made = target.read_bytes()
    layout = read_layout(BytesIO(made))
    assert all(one.start % 2 == 0 for one in layout.chunks) or content == FILES["odd chunks without their pads"]
    end = layout.end_of(layout.chunks[-1])
    said = struct.unpack_from("<Q", made, 20)[0] if layout.is_rf64 else struct.unpack_from("<I", made, 4)[0]
    assert said == end - 8
    assert len(guano_of(made)) % 2 == 0


@pytest.mark.parametrize("content", FILES.values(), ids=FILES.keys())
def test_guanos_own_library_reads_the_species(content: bytes, copied: Callable[..., tuple[Path, Path]]) -> None:
    _, target = copied(content)
    text = guano_of(target.read_bytes()).decode("utf-8", "replace")
    assert text.startswith("GUANO|Version: 1.0\n")
    read = GuanoFile.from_string(text)
    assert read["Species Auto ID"] in (["PIPPIP", "MYODAU"], "PIPPIP,MYODAU")
    if b"guan" in content:
        assert read["WA|Song Meter|Prefix"] == "X"
    assert read_metadata(target, read_header(target)).species_auto == "PIPPIP,MYODAU"


def test_guanos_own_library_opens_a_plain_copy(copied: Callable[..., tuple[Path, Path]]) -> None:
    """It opens no extensible and no float file, whoever wrote it."""
    _, target = copied(FILES["wamd, LIST and bext"])
    assert GuanoFile(str(target))["Species Auto ID"] in (["PIPPIP", "MYODAU"], "PIPPIP,MYODAU")


def test_lines_that_are_not_ours_stand_as_they_are_byte_for_byte() -> None:
    edited = edit_guano(NOTE, LINES | {MANUAL_ID: "PIPNAT"})
    assert edited == (
        b"GUANO|Version: 1.0\nSpecies Auto ID: PIPPIP,MYODAU\nNote: caf\xe9 \\n two\nWA|Song Meter|Prefix: X\n"
        b"Species Manual ID: PIPNAT\n"
    )


def test_writing_the_same_lines_again_changes_nothing(copied: Callable[..., tuple[Path, Path]], tmp_path: Path) -> None:
    _, target = copied(FILES["GUANO before the samples"])
    copy_with_guano(target, tmp_path / "again.wav", LINES)
    assert (tmp_path / "again.wav").read_bytes() == target.read_bytes()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"fLaC" + b"\0" * 100, "no WAV"),
        (wav(PCM, SAMPLES, chunk(b"guan", NOTE), chunk(b"guan", NOTE)), "2 guan chunks"),
        (b"RF64\xff\xff\xff\xffWAVE" + chunk(b"fmt ", PCM) + chunk(b"data", SAMPLES), "without a ds64"),
    ],
)
def test_what_cannot_be_written_again_is_said_and_leaves_nothing(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(ValueError, match=said):
        copy_with_guano(tmp_path / "a.wav", tmp_path / "copies" / "a.wav", LINES)
    assert not list(tmp_path.glob("copies/*"))


def hashes(folder: Path) -> dict[str, tuple[str, int]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in files
    }


def test_the_originals_are_as_they_were_and_each_copy_says_what_was_found(predictions: Path, tmp_path: Path) -> None:
    root = tmp_path / "recordings"
    before = hashes(root)
    write_reviewed(predictions, {FOUND: {"Myotis nattereri": 1}})
    report = convert(predictions, ["guano"], tmp_path / "out")
    assert hashes(root) == before
    assert report.written["guano"].files == len(SAID) and not report.written["guano"].left_out
    read = {name: GuanoFile(str(tmp_path / "out/guano" / name)) for name in SAID}
    said = {name: guano["Species Auto ID"] for name, guano in read.items()}
    said = {name: ids if isinstance(ids, str) else ",".join(ids) for name, ids in said.items()}
    assert said == {FOUND: "PIPPIP", TWO: "MYODAU,PIPPIP", GROUP: "NoID", NOTHING: "Noise"}
    assert "MYONAT" in read[FOUND]["Species Manual ID"] and "Species Manual ID" not in read[TWO]
    assert read[TWO]["batcache|Scores"] == "0.8000,0.6000"


def test_a_copy_never_takes_a_recordings_place(predictions: Path, tmp_path: Path) -> None:
    (tmp_path / "guano").symlink_to(tmp_path / "recordings", target_is_directory=True)
    before = hashes(tmp_path / "recordings")
    with pytest.raises(SurveyError, match="would be replaced by its own copy"):
        convert(predictions, ["guano"], tmp_path)
    assert hashes(tmp_path / "recordings") == before


def test_copies_below_the_recordings_are_not_judged_as_recordings(predictions: Path, tmp_path: Path) -> None:
    root = tmp_path / "recordings"
    before = find_recordings([root]).names
    convert(predictions, ["guano"], root / "predictions")
    assert (root / "predictions" / "guano" / FOUND).stat().st_size
    assert find_recordings([root]).names == before


def test_recordings_of_ones_own_are_found_where_copies_were_put_beside_them(predictions: Path, tmp_path: Path) -> None:
    own = tmp_path / "out" / "guano" / "mine.wav"
    own.parent.mkdir(parents=True)
    copy(tmp_path / "recordings" / FOUND, own)
    convert(predictions, ["guano"], tmp_path / "out")
    convert(predictions, ["guano"], tmp_path / "out")
    assert "guano/mine.wav" in find_recordings([tmp_path / "out"]).names


def test_recordings_that_were_moved_are_found_where_they_are_now(predictions: Path, tmp_path: Path) -> None:
    (tmp_path / "recordings").rename(tmp_path / "moved")
    with pytest.raises(SurveyError, match="Pass --recordings"):
        convert(predictions, ["guano"], tmp_path / "out")
    report = convert(predictions, ["guano"], tmp_path / "out", recordings=tmp_path / "moved")
    assert report.written["guano"].files == len(SAID)


def test_a_flac_is_left_out_and_named(judged: Judged, tmp_path: Path) -> None:
    root = tmp_path / "flac"
    root.mkdir()
    soundfile.write(root / "a.flac", np.zeros(4000), 96_000)
    folder = write_predicted(tmp_path / "of_flac", root, {"a.flac": SAID[FOUND]})
    written = convert(folder, ["guano"], tmp_path / "out").written["guano"]
    assert written.files == 0 and "GUANO has its place in a WAV" in written.left_out["a.flac"]


@pytest.mark.slow
def test_real_recordings_are_as_they_were_but_for_their_guano(real: Path, tmp_path: Path) -> None:
    for source in sorted((real / "audio").iterdir())[:40]:
        copy_with_guano(source, tmp_path / source.name, LINES)
        content, made = source.read_bytes(), (tmp_path / source.name).read_bytes()
        assert parts(made) == parts(content), source.name
        assert read_metadata(tmp_path / source.name, read_header(tmp_path / source.name)).species_auto == LINES[AUTO_ID]


def test_read_judged_refuses_what_is_no_path_below_the_folder(predictions: Path) -> None:
    table = predictions / "predictions.csv"
    table.write_bytes(table.read_bytes().replace(b"quiet.wav", b"../../quiet.wav"))
    with pytest.raises(Exception, match="leads out of the folder"):
        read_judged(predictions)
