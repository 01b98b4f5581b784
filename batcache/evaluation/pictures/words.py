"""What stands beside pictures, in as much room as there is."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from batcache.evaluation.pictures.panels import Panel

_LONGEST = 26
_MOST_NAMED = 3


def abbreviate(species: str) -> str:
    """Two-word names as field workers write them; what is still long loses its middle.

    >>> abbreviate("Myotis myotis")
    'M. myotis'
    """
    genus, _, rest = species.partition(" ")
    return shorten(f"{genus[0]}. {rest}" if genus and rest else species, _LONGEST)


def shorten(text: str, longest: int) -> str:
    """A text of at most so many letters: the middle goes, since names of files differ at both ends.

    >>> shorten("recorder-7_20240412_221003.wav", 16)
    'recorde…1003.wav'
    """
    if len(text) <= longest:
        return text
    ending = longest // 2
    return f"{text[: max(1, longest - ending - 1)]}…{text[len(text) - ending :]}"


def describe_labels(panel: Panel, *, short: bool = False) -> str:
    """Which species are marked in a clip, and of which nobody has said whether they are there."""
    name = abbreviate if short else str
    if not panel.is_labelled:
        return "not labelled"
    unknown = panel.unlabelled
    few = not short and len(unknown) <= _MOST_NAMED
    rest = f"not labelled: {', '.join(map(name, unknown)) if few else f'{len(unknown)} species'}" if unknown else ""
    return "; ".join(filter(None, (", ".join(map(name, panel.present)) or "no species marked", rest)))


def reserve_title(axes: Axes) -> Text:
    """Room for two lines above a picture; a line that is wider than the picture would press the layout."""
    return axes.set_title("-\n-", loc="left", fontsize=7, parse_math=False)


def write_titles(figure: Figure, titles: Sequence[tuple[Text, Panel]]) -> None:
    """The clips' names and labels above their pictures, as much of them as there is room for."""
    figure.draw_without_rendering()  # so that every picture has its width
    for title, panel in titles:
        assert title.axes is not None
        width = title.axes.get_window_extent().width
        name = f"{panel.remark}: {panel.name}" if panel.remark else panel.name
        labels = describe_labels(panel)
        if _width(title, labels) > width:
            labels = describe_labels(panel, short=True)
        title.set_text("\n".join(_fit(title, line, width) for line in (name, labels)))


def _fit(title: Text, line: str, width: float) -> str:
    letters = len(line)
    while letters > 1 and _width(title, shorten(line, letters)) > width:
        letters -= max(1, round(letters * 0.03))
    return shorten(line, letters)


def _width(title: Text, line: str) -> float:
    title.set_text(line)
    return float(title.get_window_extent().width)
