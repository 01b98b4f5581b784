"""Tables of labels that other programs write: what each is known by, and what to do with it.

None of them is read as it is: a CSV of clips has a row for each clip and a column for each species. `batcache manifest`
makes one of most of them.
"""

from collections.abc import Sequence

_CALLS = "Make a CSV of clips of it: `batcache manifest FOLDER -o data.csv --labels FILE`"
_KNOWN: tuple[tuple[str, frozenset[str], str], ...] = tuple(
    (program, frozenset(columns.split("|")), remedy)
    for program, columns, remedy in (
        ("an id.csv of Kaleidoscope", "indir|in file", _CALLS),
        ("an id.csv of Kaleidoscope", "folder|in file|manual id", _CALLS),
        ("a selection table of Raven", "selection|begin time (s)|end time (s)", _CALLS),
        ("a table of BirdNET", "start (s)|end (s)|scientific name", _CALLS),
        ("detections of BatDetect2", "det_prob|start_time|end_time", _CALLS),
        ("detections of DeepSqueak", "label|begin time (s)|end time (s)", _CALLS),
        ("a table of SonoBat", "filename|sppaccp", _CALLS),
        ("a table of the BTO Acoustic Pipeline", "original file name|species", _CALLS),
        ("a table of Tadarida", "tadarida_taxon", _CALLS),
        ("a table of Anabat Insight or AnaLook", "filename|folder|species", _CALLS),
        ("labels of opensoundscape", "file|start_time|end_time", "Rename these columns: filename, start_s, duration_s"),
        (
            "predictions of batcache",
            "path|verdict",
            "Rename path to filename, and keep of the other columns the species alone, each 0, 1 or empty",
        ),
        ("calls of batcache", "filename|start_s|end_s|species", _CALLS),
    )
)
_LONG = ("species", "label", "labels", "class", "taxon", "scientific name", "species code", "art", "esp\u00e8ce")


def recognise(names: Sequence[str]) -> tuple[str, str] | None:
    """Whose table has such a header, and what to do; None where it may be a CSV of clips.

    >>> recognise(["Selection", "View", "Begin Time (s)", "End Time (s)", "Species"])[0]
    'a selection table of Raven'
    >>> recognise(["filename", "split", "Myotis myotis"])
    """
    folded = [name.strip().strip("*~").lower() for name in names]
    for program, columns, remedy in _KNOWN:
        if columns <= {*folded}:
            return program, remedy
    if len(names) >= 2 and folded[:2] == ["", "filename"]:
        return "a table whose first column has no name", "Delete that column; pandas leaves it out with index=False"
    if len(names) >= 3 and all(map(_is_number, names[:2])) and float(names[0]) <= float(names[1]):
        return "a label track of Audacity", _CALLS
    if len(names) == 1 and any(f"{sign}" in names[0] for sign in ",;\t") and "filename" in folded[0]:
        return "a table with each whole line in quotes", "Remove the quotes at both ends of every line"
    return None


def names_species(column: str) -> bool:
    """Whether a column is named as one is that holds names of species, a row for each.

    >>> names_species("Species"), names_species("Myotis myotis")
    (True, False)
    """
    return column.lower() in _LONG


def recognise_bytes(head: bytes) -> tuple[str, str] | None:
    """What a file is that is no text of a CSV, by its first bytes; None where it may be one.

    >>> recognise_bytes(b"PK\\x03\\x04...")[0]
    'a workbook of a spreadsheet, or another archive'
    """
    return next(((kind, remedy) for magic, kind, remedy in _MAGIC if head.startswith(magic)), None)


_MAGIC = (
    (b"PK\x03\x04", "a workbook of a spreadsheet, or another archive", "Save it as CSV UTF-8"),
    (b"\xd0\xcf\x11\xe0", "a workbook of a spreadsheet", "Save it as CSV UTF-8"),
    (b"\xff\xfe", "text in UTF-16", "Save it as CSV UTF-8"),
    (b"\xfe\xff", "text in UTF-16", "Save it as CSV UTF-8"),
    (b"SQLite format 3", "a database", "Export its table as CSV UTF-8"),
    (b"\x1f\x8b", "packed by gzip", "Unpack it"),
    (b"%PDF", "a PDF", "Save the table as CSV UTF-8"),
    (b"RIFF", "a recording", "Pass the CSV that lists it"),
    (b"<", "HTML or XML", "Save the table as CSV UTF-8"),
    (b"{", "JSON", "Pass a CSV"),
)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
