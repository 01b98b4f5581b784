"""Every CSV that is written is safe to open in a spreadsheet, and reads back to what was written."""

import ast
import csv
import io
from pathlib import Path
from unicodedata import normalize

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import batcache
from batcache.manifest.manifest import read_manifest
from batcache.manifest.table import read_table
from batcache.storage.spreadsheet import as_text, as_written, csv_blocks, to_csv

PACKAGE = Path(batcache.__file__).parent
FORMULAE = [
    "=cmd|' /C calc'!A0", "+1+cmd", "-2+3", "@SUM(1)", "\t=1", "\r=1", "\n=1", "  =1", "\u00a0=1", "\u3000=1", "'=1",
    "' =1", "\uff1d1+1", "\uff0b1", "\uff0d1+1", "\uff20SUM(1)", "\u22121+1", "a;=1", "a\t=1", "a\n=1", "a\r\n=1",
    "b, =1", 'a";=1', "\ufeff=1", "\u200b=1",
]  # fmt: skip
TEXTS = st.text(st.sampled_from("=+-@'\"|;,\t\r\n a1\uff1d\u2212\u00a0\ufeff")) | st.text(max_size=20)
SIGNS = set("=+-@")


def begins_formula(cell: str) -> bool:
    """What a spreadsheet may do: skip what it does not show, and take full-width forms and the minus for ASCII's."""
    shown = cell.lstrip(" \t\r\n\u00a0\u3000\ufeff\u200b")
    return bool(shown) and normalize("NFKC", shown[0].replace("\u2212", "-"))[0] in SIGNS


def test_a_csv_in_pieces_is_the_csv_and_each_piece_has_some_of_its_rows() -> None:
    rows = [(f"=row {i}", i, 'a "cell", of two') for i in range(10_000)]
    pieces = list(csv_blocks(rows))
    assert len(pieces) == 3 and b"".join(pieces) == to_csv(rows)
    assert list(csv.reader(io.StringIO(to_csv(rows).decode())))[9_999] == ["'=row 9999", "9999", 'a "cell", of two']


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@given(
    rows=st.lists(st.lists(TEXTS | st.integers(-9, 9) | st.floats(), min_size=1, max_size=3), min_size=1, max_size=4)
)
def test_a_block_of_rows_is_written_as_each_cell_is_by_itself(delimiter, rows):
    rows = [
        [cell.encode("utf-8", "replace").decode() if isinstance(cell, str) else cell for cell in row] for row in rows
    ]
    alone = [[to_csv([[cell, "="]], delimiter).decode()[: -len(f"{delimiter}'=\n")] for cell in row] for row in rows]
    assert to_csv(rows, delimiter).decode() == "".join(delimiter.join(cells) + "\n" for cells in alone)


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@given(TEXTS.map(lambda text: text.encode("utf-8", "replace").decode()))
@example("'")
@example("''=")
@example("=;=\t=\r\n'=")
def test_a_text_reads_back_as_it_was(text):
    assert as_written(as_text(text)) == text
    assert next(csv.reader(io.StringIO(to_csv([[text, "x"]]).decode(), newline=""))) == [as_text(text), "x"]


@pytest.mark.parametrize("text", FORMULAE)
def test_no_cell_begins_a_formula_whichever_signs_a_spreadsheet_cuts_at(text):
    safe = as_text(text)
    for signs in ("", ";", "\t", "\r\n", ";\t\r\n", ",;\t\r\n"):
        cells = [safe]
        for sign in signs:
            cells = [part for cell in cells for part in cell.split(sign)]
        assert not any(begins_formula(cell) for cell in cells), cells
    assert as_written(safe) == text


@given(TEXTS)
def test_no_text_begins_a_formula_unless_it_is_a_number(text):
    assert not begins_formula(as_text(text)) or is_number(text)


@pytest.mark.parametrize("text", ["-3.5", "-1e-07", "3", "night 1", "it's", "a-b=c", "Myotis sp. (?)"])
def test_numbers_and_plain_names_stay_as_they_are(text):
    assert as_text(text) == text


def test_a_text_of_blanks_is_done_in_no_time():
    long = "\n\t ;'" * 20_000
    assert as_written(as_text(long)) == long


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@given(rows=st.lists(st.lists(TEXTS, min_size=2, max_size=2), min_size=1, max_size=4))
def test_a_table_reads_back_as_it_was(delimiter, rows, tmp_path_factory):
    rows = [[cell.encode("utf-8", "replace").decode().replace("\0", "") for cell in row] for row in rows]
    rows = [row for row in rows if any(cell.strip() for cell in map(as_text, row))]
    place = tmp_path_factory.getbasetemp() / "table.csv"
    place.write_bytes(to_csv([["a", "b", "c"], *([*row, "1"] for row in rows)], delimiter))
    _, found, read = read_table(place)
    assert found == delimiter
    assert [[*map(as_written, cells)] for _, cells in read] == [[*row, "1"] for row in rows]


@pytest.mark.parametrize("name", ["=cmd|x", "-rf/--out.wav", "+a.wav", "@b.wav", "\uff1dc.wav", "d;=e.wav"])
def test_a_manifest_of_such_names_means_them(name, tmp_path):
    place = tmp_path / "labels.csv"
    place.write_bytes(to_csv([["filename", "group", "split", name], [name, name, "train", 1]]))
    assert begins_formula(place.read_text(encoding="utf-8").splitlines()[1]) is False
    manifest = read_manifest([place])
    (clip,) = manifest.clips
    assert (clip.filename, clip.group, manifest.species) == (name, name, (name,))


def test_no_module_writes_a_csv_by_itself() -> None:
    """One that did would forget what is above."""
    for module in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            writes = isinstance(node, ast.Attribute) and node.attr in ("writerow", "writerows", "DictWriter")
            assert not writes, f"{module} line {node.lineno}"
            assert not (isinstance(node, ast.Attribute) and ast.unparse(node) == "csv.writer"), module
