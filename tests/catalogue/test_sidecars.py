"""What lies beside a recording, or in front of its samples."""

from pathlib import Path

import pytest

from batcache.catalogue.sidecars import add_missing, read_sidecar
from batcache.features.metadata import Metadata

XML = """<?xml version="1.0"?>
<BatRecord Model="M"><Firmware>2.3.3</Firmware><SN>1831</SN><Filename>18310643.wav</Filename>
<DateTime>30.04.2018 20:07:37</DateTime><Samplerate>312500 Hz</Samplerate>
<GPS><Valid>{valid}</Valid><Position>45.611915 16.408245</Position><GPSTimestamp>20:07:34{offset}</GPSTimestamp></GPS>
</BatRecord>"""


def beside(folder: Path, text: str, name: str = "18310643.xml") -> Metadata:
    (folder / name).write_text(text, encoding="utf-8")
    (folder / "18310643.wav").write_bytes(b"RIFF")
    return read_sidecar(folder / "18310643.wav")


def test_a_batloggers_xml_tells_time_place_and_recorder(tmp_path: Path) -> None:
    said = beside(tmp_path, XML.format(valid="yes", offset="+2h"))
    assert said == Metadata("2018-04-30T20:07:37+02:00", 45.611915, 16.408245, "Elekon Batlogger M")


def test_no_place_is_told_without_a_fix_and_no_offset_where_none_stands(tmp_path: Path) -> None:
    said = beside(tmp_path, XML.format(valid="no", offset=""), "18310643.XML")
    assert (said.recorded_at, said.latitude, said.longitude) == ("2018-04-30T20:07:37", None, None)


@pytest.mark.parametrize(
    "text",
    [
        "<BatRecord><DateTime>",
        '<!DOCTYPE a [<!ENTITY b "c">]><BatRecord><DateTime>&b;</DateTime></BatRecord>',
        "<BatRecord><DateTime>2018-04-30</DateTime></BatRecord>",
    ],
)
def test_a_damaged_or_hostile_xml_says_nothing_but_that_it_was_not_read(text: str, tmp_path: Path) -> None:
    said = beside(tmp_path, text)
    assert said.recorded_at is None and "18310643.xml" in said.unread


def test_an_xml_of_something_else_says_nothing(tmp_path: Path) -> None:
    assert beside(tmp_path, "<Session/>") == Metadata()


def test_the_head_of_a_d500x_tells_time_and_place(tmp_path: Path) -> None:
    head = bytearray(0x400)
    head[0xE0:0xEF] = b"100826 22:39:50"
    head[0xF0:0xF5] = b"D500X"
    head[0x200:0x230] = b"LAT: 55 30 36 N\r\nLON: 12 15 00 W\r\n".ljust(0x30, b"\0")
    (tmp_path / "M00001.wav").write_bytes(bytes(head))
    said = read_sidecar(tmp_path / "M00001.wav")
    assert said == Metadata("2010-08-26T22:39:50", 55.51, -12.25, "Pettersson D500X")


def test_what_the_file_says_itself_counts() -> None:
    itself = Metadata(recorded_at="2024-04-12T22:10:03+02:00", latitude=1.0, longitude=None)
    more = Metadata("2020-01-01T00:00:00", 2.0, 3.0, "Elekon Batlogger M")
    joined = add_missing(itself, more)
    assert (joined.recorded_at, joined.latitude, joined.longitude) == (itself.recorded_at, 1.0, None)
    assert joined.recorder == "Elekon Batlogger M"
