"""Lines, tables and progress bars: on a terminal, and in plain text where the output is none."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest

import rich.table
from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from batcache.errors import visible

_ENDLESS = 100_000  # columns: what a table would take
_WIDEST_CELL = 60  # of a plain table's columns


def _console(stderr: bool = False) -> Console:
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = _ENDLESS
    return console


def say(text: str) -> None:
    """Write one line to stdout: a line break in a name makes no second one, see ``visible``."""
    sys.stdout.write(f"{visible(text)}\n")  # while a bar is drawn, rich puts what comes this way above it


def say_lines(text: str) -> None:
    """Write lines to stdout whose breaks are ours."""
    sys.stdout.write("".join(f"{visible(line)}\n" for line in text.split("\n")))


def warn(text: str) -> None:
    """Write a note to stderr, in one line."""
    sys.stderr.write(f"note: {visible(text)}\n")


@dataclass(frozen=True)
class Table:
    """Rows under a header. Where a terminal is too narrow, ``spare`` columns go, the first of them first.

    What is in it is made ``visible``: a name stays in its cell.
    """

    title: str
    rows: Sequence[tuple[str, ...]]
    header: tuple[str, ...] = ()
    spare: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", visible(self.title))
        object.__setattr__(self, "header", tuple(map(visible, self.header)))
        object.__setattr__(self, "rows", [tuple(map(visible, row)) for row in self.rows])


@dataclass(frozen=True)
class Note:
    """Something that the user should know: a line on stderr."""

    text: str


Block = Table | Note | str


def show(blocks: Iterable[Block]) -> None:
    """Show tables, notes and lines in their order."""
    for block in blocks:
        if isinstance(block, Table):
            show_table(block)
        elif isinstance(block, Note):
            warn(block.text)
        else:
            say(block)


def show_table(table: Table) -> None:
    """Draw a table on a terminal, or write it as plain lines where the output is none."""
    console = _console()
    if not console.is_terminal:
        say_lines("\n".join(_plain(table)))
        return
    left_out: list[str] = []
    drawn = _draw(table, left_out)
    for name in table.spare:
        if console.measure(drawn, options=console.options.update(width=_ENDLESS)).maximum <= console.width:
            break
        left_out.append(name)
        drawn = _draw(table, left_out)
    console.print(drawn)
    if left_out:
        say(f"the terminal is too narrow for {', '.join(left_out)}")


def _draw(table: Table, left_out: Sequence[str]) -> rich.table.Table:
    drawn = rich.table.Table(
        title=Text(table.title),
        title_justify="left",
        box=box.SIMPLE,
        show_header=bool(table.header),
        pad_edge=False,
        collapse_padding=True,
    )
    names = table.header or ("",) * max((len(row) for row in table.rows), default=1)
    shown = [i for i, name in enumerate(names) if name not in left_out]
    for i in shown:
        drawn.add_column(names[i], justify="right" if table.header and i else "left", overflow="fold")
    for row in table.rows:
        drawn.add_row(*(Text(row[i]) for i in shown))
    return drawn


def _plain(table: Table) -> Iterator[str]:
    """Lines for a file or a pipe. A cell that is very long lengthens its own line, not all others."""
    lines = [table.header, *table.rows] if table.header else list(table.rows)
    widths = [
        max((len(cell) for cell in column if len(cell) <= _WIDEST_CELL), default=0)
        for column in zip_longest(*lines, fillvalue="")
    ]
    yield table.title
    for cells in lines:
        padded = (
            cell.rjust(width) if table.header and i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=False))
        )
        yield "  ".join(padded).rstrip()


class _Rate(ProgressColumn):
    """How many a second, once that is known."""

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.1f}/s")


class Bars:
    """A bar for each title that is shown."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def show(self, title: str, done: int = 0, total: int | None = None) -> None:
        """Show how far the bar of this title has come; without ``total`` it moves to and fro."""
        with_total = {task.id for task in self._progress.tasks if task.total is not None}
        if total is None and self._tasks.get(title) in with_total:
            self._progress.remove_task(self._tasks.pop(title))  # rich takes no total away from a bar that has one
        if title not in self._tasks:
            self._tasks[title] = self._progress.add_task(visible(title), total=total)
        self._progress.update(self._tasks[title], completed=done, total=total)

    def show_alone(self, title: str, done: int = 0, total: int | None = None) -> None:
        """Show a bar in the place of those with other titles."""
        for other in [shown for shown in self._tasks if shown != title]:
            self._progress.remove_task(self._tasks.pop(other))
        self.show(title, done, total)


@contextmanager
def progress_bars() -> Iterator[Bars]:
    """Progress bars with rate and time left; nothing where the output is no terminal."""
    console = _console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns,
        console=console,
        transient=True,
        disable=not console.is_terminal,
        redirect_stdout=sys.stdout.isatty(),  # a file gets its lines even while a terminal shows the bar
    ) as progress:
        yield Bars(progress)
