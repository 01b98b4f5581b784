"""What labels of a recording make of its cells."""

import pytest

from batcache.catalogue.fill import Columns, Said, choose_columns, fill
from batcache.species.resolve import Names
from batcache.species.table import read_entries

NAMES = Names(read_entries())
COLUMNS = Columns(("Myotis myotis", "Myotis nattereri", "Nyctalus noctula"), {})


def said(*texts: str) -> Said:
    whole = Said()
    for text in texts:
        whole.add(NAMES.find(text)[0])
    return whole


@pytest.mark.parametrize(
    ("labels", "absent", "unknown"),
    [
        (["Myotis myotis"], (1, 0, 0), (1, -1, -1)),
        (["Myotis myotis", "Nycnoc"], (1, 0, 1), (1, -1, 1)),
        (["Myotis sp."], (-1, -1, 0), (-1, -1, -1)),
        (["Myotis sp.", "Myotis myotis"], (1, -1, 0), (1, -1, -1)),
        (["Nycnoc", "NoID"], (-1, -1, 1), (-1, -1, 1)),
        (["NoID"], (-1, -1, -1), (-1, -1, -1)),
        (["Noise"], (0, 0, 0), (0, 0, 0)),
        (["Noise", "Nycnoc"], (0, 0, 1), (-1, -1, 1)),
        (["Noise", "NoID"], (-1, -1, -1), (-1, -1, -1)),
        (["LowF"], (-1, -1, -1), (-1, -1, -1)),
        ([], (-1, -1, -1), (-1, -1, -1)),
    ],
)
def test_what_is_said_fills_the_cells(labels: list[str], absent: tuple, unknown: tuple) -> None:
    assert fill(said(*labels), COLUMNS, "absent") == absent
    assert fill(said(*labels), COLUMNS, "unknown") == unknown


def test_a_group_without_a_species_of_its_own_has_a_column() -> None:
    heard = [said("Myotis myotis"), said("Plecotus sp."), said("HighF"), said("Myotis sp.")]
    columns = choose_columns(heard, ["Nyctalus noctula"], {})
    assert columns.names == ("Nyctalus noctula", "Myotis myotis", "Plecotus sp.")
    assert [fill(one, columns, "absent") for one in heard] == [(0, 1, 0), (0, 0, 1), (-1, -1, -1), (0, -1, 0)]


def test_bat_is_a_column_where_nothing_more_is_named() -> None:
    for named in ([], ["Myotis myotis"]):
        heard = [said("Bat"), said("Noise"), *map(said, named)]
        columns = choose_columns(heard, [], {})
        assert columns.names == (tuple(named) or ("Bat",))
        assert [fill(one, columns, "absent") for one in heard][:2] == [(-1,) if named else (1,), (0,)]


def test_groups_that_share_species_are_never_absent_from_each_other() -> None:
    heard = [said("Myotis sp."), said("Mbart"), said("Myotis myotis/nattereri")]
    columns = choose_columns(heard, [], {})
    assert columns.names == ("Bartfledermäuse", "Myotis myotis/nattereri", "Myotis sp.")
    assert [fill(one, columns, "absent") for one in heard] == [(-1, -1, 1), (1, 0, 1), (0, 1, 1)]
