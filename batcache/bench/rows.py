"""What a benchmark says: rows of ours beside a peer's, with the mark that this project promises where it does."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Mark:
    """A promise: this value of a row (``ours`` or ``ratio``) is at least, or below, so much."""

    of: Literal["ours", "ratio"]
    sign: Literal[">=", "<"]
    limit: float


@dataclass(frozen=True)
class Row:
    """One figure, and a peer's where there is one.

    ``better`` says which way the unit counts; ``ratio`` is how many times better ours is, so below 1 the peer is.
    ``note`` adds what a number cannot, or says why there is none.
    """

    section: str
    what: str
    ours: float | None = None
    unit: str = ""
    peer: str = ""
    theirs: float | None = None
    better: Literal["more", "less"] = "more"
    mark: Mark | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times better ours is than the peer's; None where one of them is missing."""
        if not self.ours or not self.theirs:
            return None
        return self.ours / self.theirs if self.better == "more" else self.theirs / self.ours

    @property
    def is_met(self) -> bool | None:
        """Whether the mark is reached; None where there is none, or nothing was measured."""
        value = getattr(self, self.mark.of) if self.mark else None
        if self.mark is None or value is None:
            return None
        return bool(value >= self.mark.limit if self.mark.sign == ">=" else value < self.mark.limit)

    def to_plain(self) -> dict[str, Any]:
        """Mappings, lists, texts and numbers, fit for JSON."""
        return asdict(self) | {"ratio": self.ratio, "is_met": self.is_met}


@dataclass(frozen=True)
class Report:
    """All that was measured, on what, by what and with which settings. Fit for JSON by ``to_plain``."""

    machine: dict[str, str | int | float | None]
    versions: dict[str, str | None]
    settings: dict[str, Any]
    rows: tuple[Row, ...]

    def to_plain(self) -> dict[str, Any]:
        """Mappings, lists, texts and numbers, fit for JSON."""
        document = {"format": "batcache bench", "format_version": FORMAT_VERSION}
        return document | asdict(self) | {"rows": [row.to_plain() for row in self.rows]}
