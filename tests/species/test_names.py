"""Names as people write them, to species, groups, noise and nothing."""

import unicodedata
from pathlib import Path

import pytest

from batcache.errors import ManifestError
from batcache.species.codes import european_code, nabat_code, six_letter_code
from batcache.species.resolve import Names
from batcache.species.table import read_entries

ENTRIES = read_entries()
NAMES = Names(ENTRIES)
SPECIES = [entry for entry in ENTRIES if entry.kind == "species"]


def name_of(text: str) -> str:
    (entry,) = NAMES.find(text)
    return entry.name


def resolve(*texts: str, at_hand: tuple[str, ...] = ()) -> dict[str, str]:
    resolved = NAMES.resolve({text: f"labels.csv line {i + 2}" for i, text in enumerate(texts)}, at_hand)
    return {text: entry.name for text, entry in resolved.entries.items()}


def test_europe_and_north_america_are_there() -> None:
    latin = {entry.name for entry in SPECIES}
    assert len(latin) == len(SPECIES) >= 100
    assert {"Myotis alcathoe", "Plecotus kolombatovici", "Eptesicus fuscus", "Perimyotis subflavus"} <= latin


def test_codes_of_six_letters_are_all_different() -> None:
    codes = [six_letter_code(entry.name) for entry in SPECIES]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("entry", SPECIES, ids=lambda entry: entry.name)
def test_every_name_of_a_species_finds_it(entry) -> None:
    codes = six_letter_code(entry.name), nabat_code(entry.name), european_code(entry.name)
    for word in (entry.name, *entry.words, *codes):
        assert entry.name in [found.name for found in NAMES.find(word)], word
    for word in (entry.name, codes[0]):
        assert [found.name for found in NAMES.find(word)] == [entry.name], word


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("PIPPIP", "Pipistrellus pipistrellus"),
        ("Pippip", "Pipistrellus pipistrellus"),
        ("EPFU", "Eptesicus fuscus"),
        ("Mdau", "Myotis daubentonii"),
        ("PPYG", "Pipistrellus pygmaeus"),
        ("MYAR", "Myotis auriculus"),
        ("MYAU", "Myotis austroriparius"),
        ("P. pygmaeus", "Pipistrellus pygmaeus"),
        ("Myotis daubentoni", "Myotis daubentonii"),
        ("Pipistrellus savii", "Hypsugo savii"),
        ("pipistrellus_nathusii", "Pipistrellus nathusii"),
        ("Daubenton’s bat", "Myotis daubentonii"),
        ("Daubentons Bat", "Myotis daubentonii"),
        ("Grosses Mausohr", "Myotis myotis"),
        ("GROẞES MAUSOHR", "Myotis myotis"),
        ("Murin a moustaches", "Myotis mystacinus"),
        ("Noctule", "Nyctalus noctula"),
    ],
)
def test_a_name_of_any_kind_is_known(text: str, name: str) -> None:
    assert name_of(text) == name
    for form in ("NFC", "NFD", "NFKD"):
        for cased in (text, text.upper(), text.lower()):
            assert name_of(f" {unicodedata.normalize(form, cased)} ") == name


@pytest.mark.parametrize(
    ("text", "kind", "members"),
    [
        ("Plecotus auritus/austriacus", "group", {"Plecotus auritus", "Plecotus austriacus"}),
        ("LABOLASE", "group", {"Lasiurus borealis", "Lasiurus seminolus"}),
        ("Mbart", "group", {"Myotis mystacinus", "Myotis brandtii"}),
        ("NoID", "no id", None),
        ("Unknown", "no id", None),
        ("40k", "no id", None),
        ("LowF", "no id", None),
        ("NOISE", "noise", set()),
        ("No bat", "noise", set()),
        ("piaf", "noise", set()),
    ],
)
def test_groups_noise_and_what_could_not_be_named_are_no_species(text: str, kind: str, members: set | None) -> None:
    (entry,) = NAMES.find(text)
    assert entry.kind == kind and members in (None, entry.members)


@pytest.mark.parametrize("text", ["Myotis", "Myotis sp.", "Myotis spec.", "MYOSP", "40kMyo"])
def test_a_genus_has_all_its_species(text: str) -> None:
    (entry,) = NAMES.find(text)
    assert entry.kind == "group"
    assert entry.members == {s.name for s in SPECIES if s.name.startswith("Myotis ")}


def test_a_site_called_pond_is_no_pond_bat() -> None:
    assert not NAMES.find("Pond") and name_of("Pond bat") == "Myotis dasycneme"


def test_all_names_that_are_not_known_are_told_at_once_with_the_nearest() -> None:
    with pytest.raises(ManifestError) as raised:
        resolve("Pipistrelus", "Nycnoc", "Myotis daubentoniii", "xyzzy")
    told = str(raised.value)
    assert "3 names not known" in told and "Nycnoc" not in told
    assert "'Pipistrelus' (labels.csv line 2: did you mean Pipistrellus sp.?)" in told
    assert "'Myotis daubentoniii' (labels.csv line 4: did you mean Myotis daubentonii?)" in told
    assert "'xyzzy' (labels.csv line 5: nothing is like it)" in told


def test_a_code_of_several_species_is_decided_by_those_at_hand() -> None:
    assert resolve("MYMY", at_hand=("Myotis myotis",))["MYMY"] == "Myotis myotis"
    assert resolve("MYMY", "Kleine Bartfledermaus")["MYMY"] == "Myotis mystacinus"
    resolved = NAMES.resolve({"MYMY": "a"}, ["Myotis myotis"])
    assert resolved.decided == {"MYMY": "Myotis myotis"}
    for others in ((), ("Myotis myotis", "Myotis mystacinus")):
        with pytest.raises(ManifestError, match=r"MYMY.*either of Myotis myotis, Myotis mystacinus.*--species"):
            resolve("MYMY", *others)


def test_a_table_of_ones_own_adds_names(tmp_path: Path) -> None:
    own = tmp_path / "own.csv"
    own.write_text("kind,name,codes\nspecies,Chalinolobus tuberculatus,LT;Pip\nnoise,Cicada,\n", encoding="utf-8")
    names = Names(read_entries([own]))
    assert [names.find(text)[0].name for text in ("LT", "Pip", "CHATUB", "cicada")] == [
        "Chalinolobus tuberculatus"
    ] * 3 + ["Cicada"]


@pytest.mark.parametrize(
    ("content", "finding"),
    [
        ("kind,name,code\nspecies,A b,x\n", "'code' is not known. Did you mean codes?"),
        ("kind,english\nspecies,x\n", "no column name"),
        ("kind,name\nspecie,A b\n", "kind 'specie'"),
        ("kind,name\nspecies,Abc\n", "name 'Abc'"),
    ],
)
def test_a_damaged_table_of_names_is_refused(content: str, finding: str, tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text(content, encoding="utf-8")
    with pytest.raises(ManifestError, match=r"own\.csv") as raised:
        read_entries([tmp_path / "own.csv"])
    assert finding in str(raised.value)
