"""What is said of reviewed rows that would mislead: scores left as they are, recordings that were learnt from."""

from pathlib import Path

import pytest

from batcache.errors import ManifestError, PredictError
from batcache.inference.calibration.recalibrate import _name_nights, _read_rows
from batcache.inference.calibration.reviewed import read_reviewed

SPECIES = ("Low", "High")


def test_scores_that_were_left_in_the_table_are_told_as_such(tmp_path: Path) -> None:
    table = tmp_path / "reviewed.csv"
    table.write_text("path,verdict,species_group,bat,pulses,Low,High\na.wav,species,,0.9,3,1,0.00057\n")
    with pytest.raises(ManifestError, match=r"line 2: .*0\.00057.*Put 1 or 0 in the place of each score"):
        read_reviewed(table, SPECIES)


def test_a_corrected_table_of_predictions_has_no_site_nights_from_groups_of_species(tmp_path: Path) -> None:
    table = tmp_path / "reviewed.csv"
    table.write_text(
        "path,verdict,species_group,bat,pulses,Low,High\na.wav,group,Both,0.9,3,1,\nb.wav,group,Both,1,3,,0\n"
    )
    rows = read_reviewed(table, SPECIES)
    assert rows.groups == ("", "") and rows.notes == ()
    assert rows.labels.tolist() == [[1, -1], [-1, 0]]


def test_predictions_that_a_spreadsheet_saved_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    table, header = tmp_path / "predictions.csv", "path,site,night,notes\r\n"
    table.write_bytes(f"\ufeff{header}é.wav,mill,2024-05-01,\r\n".encode())
    assert _name_nights(_read_rows(tmp_path)) == {"é.wav": "mill 2024-05-01"}
    table.write_bytes(f"{header}é.wav,mill,2024-05-01,\r\n".encode("cp1252"))
    with pytest.raises(PredictError, match="not readable"):
        _read_rows(tmp_path)
    table.write_text(header.replace(",", ";"))
    with pytest.raises(PredictError, match="lacks night, notes, path, site"):
        _read_rows(tmp_path)
    table.write_text(f"{header}a.wav,mill\r\n")
    with pytest.raises(PredictError, match="another number of cells"):
        _read_rows(tmp_path)
