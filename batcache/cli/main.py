"""Where the command line begins: it imports hardly anything, so that Ctrl-C and want of memory are a line at once.

SIGTERM, by which systems and schedulers end a process, is heard as Ctrl-C is.
"""

import signal
import sys
from types import FrameType
from typing import NoReturn

from batcache.cli.torchrun import let_traceback_be_shown, silence_others, tell_end
from batcache.storage.memory import keep_freed_memory
from batcache.storage.waiting import WAITING

_AGAIN = "stopped: run the same command again to go on"
_MEMORY = "Close other programs, raise `ulimit -v`, or work on fewer clips at once (training.batch_size, --workers)"
_OF_MEMORY = (
    *("out of memory", "not enough memory", "allocate memory", "can't start new thread", "failed to map segment"),
    *("unable to allocate", "bad_alloc", "bad allocation"),
)
"""What torch, Python and the system say where there is no memory left, in errors of any kind. The word alone is also in
what torch says of tensors that are laid out otherwise than was thought: a mistake of ours."""


class Left(SystemExit):
    """The end of the process, of which has been said what there is to say."""


def main() -> None:
    """Run the command line. What the system refuses is one line, and exit code 1."""
    interrupts = _note_interrupts()
    silence_others()
    try:
        keep_freed_memory()
        from batcache.cli.app import run

        run()
    except Left:
        raise
    except SystemExit as leaving:
        if leaving.code == 130:  # Ctrl-C
            tell_end(_AGAIN)
        raise
    except KeyboardInterrupt:
        leave(_AGAIN, 130)
    except Exception as error:
        if interrupts:
            leave(_AGAIN, 130)
        if said := _describe(error):
            leave(f"error: {said}", 1)
        let_traceback_be_shown()
        raise


def _describe(error: Exception) -> str:
    """An error of the system in a line; nothing where it is none, but a mistake of ours."""
    if isinstance(error, UnicodeEncodeError) and sys.getfilesystemencoding() != "utf-8":
        what = error.object[error.start : error.end].encode(errors="backslashreplace").decode()
        encoding = f"the locale's encoding is {error.encoding}, which has no {what}"
        return f"{encoding}. Set PYTHONUTF8=1, or LC_ALL to C.UTF-8."
    if isinstance(error, MemoryError) or _tells_of_memory(error):
        return f"memory: there is not enough ({type(error).__name__}). {_MEMORY}."
    if isinstance(error, OSError):
        from batcache.errors import remedy_for, visible

        remedy = remedy_for(error, "See to the disk and its permissions, or pass another place")
        return visible(f"{error.filename or 'disk'}: {error.strerror or error}. {remedy}.")
    return ""


def _tells_of_memory(error: Exception) -> bool:
    if isinstance(error, OSError):
        return False
    return isinstance(error, RuntimeError | ImportError) and any(sign in str(error).lower() for sign in _OF_MEMORY)


def _note_interrupts() -> list[int]:
    """A list that each Ctrl-C or SIGTERM joins: compiled libraries (pydantic) may make an error of their own of one."""
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        WAITING.end()  # threads that wait for an object store would keep the process
        signal.default_int_handler(number, frame)

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where a shell has it ignored
        signal.signal(signal.SIGINT, note)
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, note)
    return noted


def leave(message: str, code: int) -> NoReturn:
    """End the process with a line on stderr."""
    tell_end(message)
    raise Left(code)
