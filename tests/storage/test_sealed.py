"""What carries its digest is read as it was written, or refused; what carries none is read as before."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from batcache.storage import sealed
from batcache.storage.sealed import (
    check_binary,
    check_text,
    check_zip,
    open_json,
    seal_binary,
    seal_json,
    seal_text,
    seal_zip,
    seal_zip_file,
)

DOCUMENT = b'{"format_version": 1, "name": "B\xc3\xa4r", "scores": [0.5, 1e-3]}'
TEXT = b"model:\n  heads: 5\n"
MARK = b"\x72mark"


def archive(stored: bool = True) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED) as file:
        file.writestr("data", bytes(range(256)))
        file.writestr("more", b"12345" * 9)
    return made.getvalue()


def test_an_archive_that_is_sealed_in_its_file_is_the_one_sealed_in_memory(tmp_path: Path) -> None:
    with (tmp_path / "made.zip").open("x+b") as file:
        file.write(archive())
        seal_zip_file(file)
    assert (tmp_path / "made.zip").read_bytes() == seal_zip(archive())


KINDS = {
    "zip": (seal_zip(archive()), lambda content: check_zip(content, 4)),
    "json": (seal_json(DOCUMENT), open_json),
    "text": (seal_text(TEXT), check_text),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_flipped_bit_and_every_cut_is_refused(kind: str) -> None:
    whole, read = KINDS[kind]
    read(whole)
    for at in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[at // 8] ^= 1 << at % 8
        with pytest.raises((ValueError, TypeError)):
            read(bytes(flipped))
    for size in range(len(whole)):
        with pytest.raises((ValueError, TypeError)):
            read(whole[:size])


def test_a_flipped_bit_is_refused_in_what_its_format_reads_beyond_a_field_that_is_ours() -> None:
    """A flip within the mark leaves a file without one: its format has to refuse that, as the ONNX reader does."""
    whole = seal_binary(TEXT, MARK)
    assert check_binary(whole, MARK) and not check_binary(TEXT, MARK)
    for at in (*range(8 * len(TEXT)), *range(8 * (len(TEXT) + len(MARK)), 8 * len(whole))):
        flipped = bytearray(whole)
        flipped[at // 8] ^= 1 << at % 8
        with pytest.raises(ValueError, match="digest"):
            check_binary(bytes(flipped), MARK)


def test_what_earlier_versions_wrote_is_read() -> None:
    assert open_json(DOCUMENT)["name"] == "Bär"
    assert not check_zip(archive(), 4)
    check_text(TEXT)


def test_of_an_old_archive_each_member_is_held_against_its_checksum() -> None:
    damaged = bytearray(archive())
    damaged[60] ^= 1
    with pytest.raises(ValueError, match="checksum"):
        check_zip(bytes(damaged), 4)


def test_other_programs_read_what_is_sealed() -> None:
    made = io.BytesIO()
    torch.save({"weights": torch.arange(5)}, made)
    assert torch.load(io.BytesIO(seal_zip(made.getvalue())), weights_only=True)["weights"].tolist() == [0, 1, 2, 3, 4]
    made = io.BytesIO()
    np.savez_compressed(made, scores=np.arange(3))
    assert np.load(io.BytesIO(seal_zip(made.getvalue())))["scores"].tolist() == [0, 1, 2]


def test_an_archive_that_unpacks_to_far_more_than_it_holds_is_refused_before_it_is_unpacked() -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as file, file.open("zeros.npy", "w") as member:
        for _ in range(300):
            member.write(bytes(1 << 20))
    for content in (made.getvalue(), seal_zip(made.getvalue())):
        with pytest.raises(ValueError, match="unpacks to 315 MB"):
            sealed.check_zip(content, 200)
