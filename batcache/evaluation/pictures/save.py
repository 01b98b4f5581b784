"""A figure as a file: PNG, PDF or SVG, by the ending of its name; the same figure gives the same bytes."""

from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from PIL import Image

from batcache.errors import RunError
from batcache.storage.disk import write_file

PNG, PDF, SVG = ".png", ".pdf", ".svg"
VECTORS_DPI = 300
_UNDATED: dict[str, dict[str, Any]] = {PDF: {"CreationDate": None}, SVG: {"Date": None}}


def is_vector(path: Path) -> bool:
    """Whether a picture of this name can be enlarged without end.

    Raises:
        RunError: no PNG, PDF or SVG is named.
    """
    suffix = path.suffix.lower()
    if suffix not in (PNG, *_UNDATED):
        raise RunError(path, "expected a name that ends in .png, .pdf or .svg", "Name the picture so")
    return suffix != PNG


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure; a PNG of 256 colours, which takes a third of the bytes.

    Raises:
        RunError: no PNG, PDF or SVG is named.
    """
    content = BytesIO()
    if is_vector(path):
        kind = path.suffix.lower()
        with mpl.rc_context({"svg.hashsalt": "batcache", "pdf.fonttype": 42}):
            figure.savefig(content, format=kind[1:], metadata=_UNDATED[kind], dpi=VECTORS_DPI)
    else:
        drawn = BytesIO()
        figure.savefig(drawn, format="png")
        picture = Image.open(drawn).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE)
        picture.save(content, format="png", optimize=True)
    write_file(path, content.getvalue())
