"""Names of others, to those of a list."""

import pytest

from batcache.species.cell import split_names
from batcache.species.listed import names_of

LISTED = ("Common pipistrelle", "Pippip", "Mausohr", "Myotis sp.", "noise", "Made up", "MYDA")


@pytest.mark.parametrize("name", LISTED)
def test_what_is_listed_is_found_as_it_is_listed(name: str) -> None:
    for text in (name, name.upper(), f" {name} "):
        assert [(entry.name, entry.kind) for entry in names_of(LISTED).find(text)] == [(name, "species")]


def test_other_names_of_a_listed_species_find_it_as_it_is_listed() -> None:
    names = names_of(("Common pipistrelle", "Mausohr", "Myotis mystacinus"))
    found = {
        text: sorted(entry.name for entry in names.find(text)) for text in ("PIPI", "Myotis myotis", "MYMY", "Nycnoc")
    }
    assert found == {
        "PIPI": ["Common pipistrelle"],
        "Myotis myotis": ["Mausohr"],
        "MYMY": ["Mausohr", "Myotis mystacinus"],
        "Nycnoc": ["Nyctalus noctula"],
    }
    (group,) = names.find("Mausohren")
    assert {"Mausohr", "Myotis myotis", "Myotis blythii"} <= group.members
    assert names.nearest("Comon pipistrele") == "Common pipistrelle"


def test_a_cell_holds_several_names_or_none() -> None:
    assert split_names("PIPPIP, MYODAU; Nyctalus noctula") == ("PIPPIP", "MYODAU", "Nyctalus noctula")
    assert split_names(" none ") == split_names("") == ()
