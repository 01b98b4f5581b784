"""Cells that mean the same in a spreadsheet as in the file."""

import numpy as np

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes a cell for a formula by."""


def as_text(value: str) -> str:
    """A text that a spreadsheet would take for a formula gets an apostrophe before it.

    >>> as_text("=1+1"), as_text("night 1")
    ("'=1+1", 'night 1')
    """
    return f"'{value}" if value.startswith(_FORMULA) else value


def as_written(cell: str) -> str:
    """The text of a cell without the apostrophe that ``as_text`` puts before it.

    >>> as_written("'=1+1"), as_written("night 1")
    ('=1+1', 'night 1')
    """
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell


TINY = 1e-4
"""Smaller scores are written with three digits, as 5.41e-13: no threshold lies among them."""


def as_number(value: float) -> str:
    """With as many digits as tell it from the next float32, so that no score is rounded across a threshold; NaN is "".

    >>> as_number(0.49996), as_number(float("nan"))
    ('0.49996', '')
    """
    if 0 < abs(value) < TINY:
        return f"{value:.3g}"
    return "" if np.isnan(value) else np.format_float_positional(np.float32(value), trim="-")
