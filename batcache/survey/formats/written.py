"""What writing a format has made, and how text gets into tables whose cells must stay as they are."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from batcache.errors import SurveyError, quote


@dataclass(frozen=True)
class Written:
    """What a writer has made: a file, or a folder with ``files`` of them; and recordings that it left out, and why."""

    place: Path
    files: int = 1
    left_out: Mapping[str, str] = field(default_factory=dict)


def check_cell(place: Path, cell: str) -> str:
    """The same text, for a table that is cut by tabs and lines.

    Raises:
        SurveyError: it holds one.
    """
    if any(character in cell for character in "\t\r\n"):
        raise SurveyError(place, f"{quote(cell)} holds a tab or a line break, which would cut the table", "Rename it")
    return cell
