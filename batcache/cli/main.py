"""The command line: every command, and what becomes of an error."""

import io
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from batcache.cli.commands import cache, catalogue, comparison, models, pictures, prediction, simulation, sweep
from batcache.cli.terminal import say, say_lines, warn
from batcache.errors import BatcacheError, visible
from batcache.storage.memory import keep_freed_memory
from batcache.storage.waiting import WAITING

_AGAIN = "stopped: run the same command again to go on"
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
for group in (catalogue, cache, models, pictures, prediction, comparison, sweep, simulation):
    for command in group.COMMANDS:
        app.command(command.__name__.removesuffix("_").replace("_", "-"))(command)


def main() -> None:
    """Run the command line; our errors are one line and exit code 1."""
    interrupts = _note_interrupts()
    try:
        keep_freed_memory()
        _let_every_name_be_shown()
        WAITING.tell(warn)
        app(prog_name="batcache")
    except SystemExit as leaving:
        if leaving.code == 130:  # Ctrl-C
            typer.echo(_AGAIN, err=True)
        raise
    except KeyboardInterrupt:  # before the command began
        _leave(_AGAIN, 130)
    except models.Stopped as stopped:
        _leave(f"stopped {stopped}", 130)
    except BatcacheError as error:
        _leave(f"error: {error}", 1)
    except OSError as error:
        place, finding = error.filename or "disk", error.strerror or error
        _leave(f"error: {place}: {finding}. See to the disk and its permissions, or pass another place.", 1)
    except Exception:
        if not interrupts:
            raise
        _leave(_AGAIN, 130)


def _note_interrupts() -> list[int]:
    """A list that each Ctrl-C joins: compiled libraries (pydantic) may make an error of their own of one."""
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        WAITING.end()  # threads that wait for an object store would keep the process
        signal.default_int_handler(number, frame)

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where a shell has it ignored
        signal.signal(signal.SIGINT, note)
    return noted


def _let_every_name_be_shown() -> None:
    """Where the output has no Unicode (a file, on Windows), show ``\\u0141`` for a letter that it lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _leave(message: str, code: int) -> None:
    typer.echo(visible(message), err=True)
    sys.exit(code)


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
    if context.invoked_subcommand is None:
        say_lines(_DAY)
