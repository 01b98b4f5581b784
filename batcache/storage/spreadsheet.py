"""Cells that mean the same in a spreadsheet as in the file."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes a cell for a formula by."""


def as_text(value: str) -> str:
    """A text that a spreadsheet would take for a formula gets an apostrophe before it.

    >>> as_text("=1+1"), as_text("night 1")
    ("'=1+1", 'night 1')
    """
    return f"'{value}" if value.startswith(_FORMULA) else value
