"""The command line: every command, and what becomes of our errors."""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from batcache.cli.commands import (
    cache,
    catalogue,
    comparison,
    models,
    pictures,
    prediction,
    reviewing,
    simulation,
    surveys,
    sweep,
)
from batcache.cli.main import leave
from batcache.cli.resumable import Stopped
from batcache.cli.terminal import say, say_lines, warn
from batcache.cli.torchrun import processes
from batcache.errors import BatcacheError, visible
from batcache.storage.waiting import WAITING

_DAY = """batcache trains bat call classifiers from weak labels, with features that are computed once.

    batcache build --csv train.csv     recordings to features, once
    batcache train                     features and labels to a model
    batcache eval --split test         how good it is, species by species
    batcache predict night --model RUN new recordings to species

batcache --help lists every command, batcache COMMAND --help explains one."""


class _Commands(TyperGroup):
    """Shows words that a user gave, or that a pattern of the shell made of the names of files, as errors show them."""

    def make_context(self, *arguments: Any, **named: Any) -> Any:
        with _visible_usage():
            return super().make_context(*arguments, **named)

    def invoke(self, *arguments: Any, **named: Any) -> Any:
        with _visible_usage():
            return super().invoke(*arguments, **named)


@contextmanager
def _visible_usage() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if hasattr(error, "format_message") and isinstance(getattr(error, "message", None), str):
            error.message = visible(error.message)  # type: ignore[attr-defined]
        raise


app = typer.Typer(
    cls=_Commands,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (catalogue, cache, models, pictures, prediction, surveys, reviewing, comparison, sweep, simulation):
    for command in group.COMMANDS:
        app.command(command.__name__.removesuffix("_").replace("_", "-"))(command)


def run() -> None:
    """Run the command line; our errors are one line and exit code 1.

    Raises:
        KeyboardInterrupt: Ctrl-C before a command began, or that has nothing of its own to say of it.
    """
    try:
        _let_every_name_be_shown()
        WAITING.tell(warn)
        app(prog_name="batcache")
    except Stopped as stopped:
        leave(visible(str(stopped)), stopped.code)
    except BatcacheError as error:
        leave(visible(f"error: {error}"), 1)


def _let_every_name_be_shown() -> None:
    """Where the output has no Unicode (a file, on Windows), show ``\\u0141`` for a letter that it lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _say_version(asked: bool) -> None:
    from importlib.metadata import version

    if asked:
        say(f"batcache {version('batcache')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _batcache(
    context: typer.Context,
    _: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Train bat call classifiers from weak labels, with features that are computed once."""
    if processes() > 1 and context.invoked_subcommand not in (None, "train"):
        what = f"`batcache {context.invoked_subcommand}` is one process, train alone is several"
        raise typer.BadParameter(f"{what}. Run it without torchrun")
    if context.invoked_subcommand is None:
        say_lines(_DAY)
