"""Lines, tables and progress bars: on a terminal, and in plain text where the output is none."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

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
from rich.table import Table
from rich.text import Text

_ENDLESS = 100_000  # columns of a file, so that no path is cut


def _console(stderr: bool = False) -> Console:
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = _ENDLESS
    return console


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")  # while a bar is drawn, rich puts what comes this way above it


def warn(text: str) -> None:
    sys.stderr.write(f"note: {text}\n")


def show_table(
    title: str, rows: Sequence[tuple[str, ...]], header: tuple[str, ...] = (), spare: Sequence[str] = ()
) -> None:
    """Show rows under a header. Where the terminal is too narrow, ``spare`` columns go, the first of them first."""
    console = _console()
    left_out: list[str] = []
    table = _make_table(console, title, rows, header, left_out)
    for name in spare:
        if console.measure(table, options=console.options.update(width=_ENDLESS)).maximum <= console.width:
            break
        left_out.append(name)
        table = _make_table(console, title, rows, header, left_out)
    console.print(table)
    if left_out:
        say(f"the terminal is too narrow for {', '.join(left_out)}")


def _make_table(
    console: Console, title: str, rows: Sequence[tuple[str, ...]], header: tuple[str, ...], left_out: Sequence[str]
) -> Table:
    table = Table(
        title=Text(title),
        title_justify="left",
        box=box.SIMPLE if console.is_terminal else None,
        show_header=bool(header),
        pad_edge=False,
        collapse_padding=console.is_terminal,
    )
    names = header or ("",) * max(len(row) for row in rows)
    shown = [i for i, name in enumerate(names) if name not in left_out]
    for i in shown:
        table.add_column(names[i], justify="right" if header and i else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(row[i]) for i in shown))
    return table


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
        if title not in self._tasks:
            self._tasks[title] = self._progress.add_task(title, total=total)
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
        TextColumn("{task.description}"),
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
