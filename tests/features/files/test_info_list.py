"""The laws of AudioMoth's comment: what it says is read, whatever firmware wrote it."""

import struct

import pytest

from batcache.features.audio import read_header
from batcache.features.files.info_list import AudioMothComment, read_audiomoth
from batcache.features.metadata import Metadata, read_metadata
from tests.features.test_audio import DATA, chunk, pcm, riff, save

DEVICE = "AudioMoth 0123456789ABCDEF"


def info(comment: str, artist: str = "", size: int = 384) -> bytes:
    fields = [(b"ICMT", comment.encode().ljust(size, b"\0")), (b"IART", artist.encode().ljust(32, b"\0"))]
    return b"INFO" + b"".join(name + struct.pack("<I", len(text)) + text for name, text in fields if text.strip(b"\0"))


@pytest.mark.parametrize(
    "comment, said",
    [
        (
            f"Recorded at 22:10:00 12/04/2024 (UTC) by {DEVICE} at medium gain while battery was 4.1V and temperature "
            "was 11.2C.",
            AudioMothComment(DEVICE, "2024-04-12T22:10:00+00:00", "medium", 4.1, 11.2),
        ),
        (
            f"Recorded at 19:17:30 17/04/2018 (UTC-5) by {DEVICE} at gain setting 2 while battery state was 3.6V",
            AudioMothComment(DEVICE, "2018-04-17T19:17:30-05:00", "2", 3.6),
        ),
        (
            f"Recorded at 05:00:00.250 01/05/2022 (UTC+5:30) during deployment 00AA11 using external microphone at "
            f"low-medium gain while battery was greater than 4.9V and temperature was -3.5C. ({DEVICE})",
            AudioMothComment(DEVICE, "2022-05-01T05:00:00.250000+05:30", "low-medium", 4.9, -3.5),
        ),
        (
            f"Recorded at 05:00:00 01/05/2022 by {DEVICE} at high gain while battery was less than 2.5V",
            AudioMothComment(DEVICE, "2022-05-01T05:00:00", "high", 2.5),
        ),
        (f"Recorded at 25:00:00 41/05/2022 (UTC) by {DEVICE}", AudioMothComment(DEVICE)),
    ],
)
def test_the_comment_of_each_firmware_is_read(comment, said) -> None:
    assert read_audiomoth(info(comment, DEVICE)) == said
    assert read_audiomoth(info(comment, size=len(comment) | 1)) == said  # odd, without a pad byte, and no artist


@pytest.mark.parametrize("content", [b"", b"INFO", b"adtlICMT", info("Recorded in the rain", "A. Person"), info("x")])
def test_what_no_audiomoth_wrote_says_nothing(content) -> None:
    assert read_audiomoth(content) is None


def test_guano_counts_before_the_comment(tmp_path) -> None:
    comment = f"Recorded at 22:10:00 12/04/2024 (UTC) by {DEVICE} at medium gain while battery was 4.1V."
    guano = chunk(b"guan", b"GUANO|Version: 1.0\nMake: Open Acoustic Devices\n")
    path = save(tmp_path, riff(pcm(), chunk(b"LIST", info(comment, DEVICE)), DATA, guano))
    assert read_metadata(path, read_header(path)) == Metadata(
        recorder="Open Acoustic Devices", recorded_at="2024-04-12T22:10:00+00:00", gain_setting="medium", battery_v=4.1
    )
