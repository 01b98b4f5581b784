"""The errors a user meets: one line with the place, what was found there, and what to do about it."""

import difflib
import errno
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Self


class BatcacheError(Exception):
    """Something the user can mend.

    Reads as ``place: finding. remedy``. The finding says what was expected and what stood there instead. Names that it
    repeats show as ``visible`` makes them.

    >>> str(ManifestError("train.csv line 7", "label 'yes', expected 0, 1 or empty", "Correct the cell"))
    "train.csv line 7: label 'yes', expected 0, 1 or empty. Correct the cell."
    """

    def __init__(self, place: object, finding: str, remedy: str = "") -> None:
        super().__init__(str(place), finding, remedy)  # args rebuild the error in another process
        self.place, self.finding, self.remedy = str(place), finding, remedy

    @classmethod
    def of_disk(cls, place: object, finding: str, error: OSError, otherwise: str = "See to the disk") -> Self:
        """The error for what the system refuses; its remedy is that of the reason, or ``otherwise``."""
        return cls(place, f"{finding} ({brief(error)})", remedy_for(error, otherwise))

    @property
    def reason(self) -> str:
        """The error without its place, for where that is said already."""
        return str(self).removeprefix(visible(f"{self.place}: "))

    def __str__(self) -> str:
        ending = f" {self.remedy.rstrip('.')}" if self.remedy else ""
        ending += "" if not ending or ending.endswith("?") else "."
        return visible(f"{self.place}: {self.finding.rstrip('.')}.{ending}")


class ConfigError(BatcacheError):
    """A setting that is unknown, of the wrong type, out of range, or contradicts what is stored."""


class ManifestError(BatcacheError):
    """A CSV, or a set of CSVs, that cannot be trusted. Raised before any work begins."""


Seen = tuple[int, int, float | None, int]
"""Of a file, before it was opened: its size, its time in nanoseconds, and the time expansion and channel of its row."""


class AudioError(BatcacheError):
    """One recording that cannot become features. Rejects the recording, never the build.

    ``seen`` is what was seen of the file that is rejected, where a build looked at it.
    """

    seen: Seen | None = None


class StoreError(BatcacheError):
    """A cache that is missing, damaged, of another format, or built with other settings."""


class ChangedStoreError(StoreError):
    """A cache that was built, pruned or repaired while it was being read. It is whole: opened again, it reads right."""


class UnreachableError(StoreError):
    """A cache, file or folder whose disk or object store does not answer, or refuses: it may be whole."""


class ClusterError(BatcacheError):
    """Workers of a cluster that are not there, lack what they need, or do not see what this machine sees."""


class SynthError(BatcacheError):
    """A simulation that would overwrite what is there, or that the disk has no room for."""


class RunError(BatcacheError):
    """A run folder or checkpoint that is missing, unfinished or unreadable."""


class RanksError(RunError):
    """A training by several processes, of which another has ended."""


class PredictError(BatcacheError):
    """Recordings that are not there, or a folder of predictions that is of others, of another model, or in use."""


class SurveyError(BatcacheError):
    """Predictions that cannot be written as another program wants them, or from which no survey can be made."""


class ReviewError(BatcacheError):
    """Predictions that cannot be reviewed, or an answer that says nothing."""


_SHOWN_RAW = "\u200c\u200d"
"""Joiners of letters and emoji."""
_CONTROLS = ("Cc", "Cf", "Zl", "Zp", "Cs")


def visible(text: str) -> str:
    """A text in one line, in which all that would rule a terminal stands as Python writes it.

    Such are escape sequences, line breaks, and marks that turn or hide what follows: names of files and species, and
    what files hold, may have any of them.

    >>> print(visible("a\\x1b[2Jb.wav"), visible("two\\nlines"), visible("Fran\u00e7ois [red]"))
    a\\x1b[2Jb.wav two\\nlines Fran\u00e7ois [red]
    """
    if text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode()
        if unicodedata.category(char) in _CONTROLS and char not in _SHOWN_RAW
        else char
        for char in text
    )


def count(number: int, thing: str) -> str:
    """A number of things in a sentence.

    >>> count(1, "recording"), count(2000, "recording")
    ('1 recording', '2,000 recordings')
    """
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def list_some(names: Iterable[str], most: int = 3) -> str:
    """Names in a sentence: all of them, or the first and how many more.

    >>> list_some(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    listed = list(names)
    shown = ", ".join(listed[:most])
    return f"{shown} and {len(listed) - most} more" if len(listed) > most else shown or "no recording"


def shorten(text: str, longest: int = 60) -> str:
    """The text, or its beginning and an ellipsis where it is longer than ``longest`` characters."""
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def did_you_mean(name: str, known: Iterable[str], else_do: str = "") -> str:
    """A remedy for a name that is not known, beginning with one that is nearly the same, if there is one.

    >>> did_you_mean("tset", ["train", "test"], "Run `batcache eval` first")
    'Did you mean test? Run `batcache eval` first'
    >>> did_you_mean("val", ["train", "test"], "Run `batcache eval` first")
    'Run `batcache eval` first'
    """
    near = difflib.get_close_matches(name, list(known), n=1)
    return " ".join([*(f"Did you mean {other}?" for other in near), else_do]).rstrip()


@contextmanager
def misfits(kind: type[BatcacheError], place: object, remedy: str) -> Iterator[None]:
    """Turn what values from a file lead to, where they are not what was written, into an error that names the file."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise kind(place, f"holds what does not fit ({brief(error)})", remedy) from error


def brief(error: Exception) -> str:
    """What an error that is not ours says, on one line: it may repeat what a file holds, and the place is said already.

    >>> brief(FileNotFoundError(2, "No such file or directory", "run.json")), brief(KeyError("shape"))
    ('No such file or directory', "lacks 'shape'")
    """
    lacks = "lacks " if isinstance(error, KeyError) else ""
    said = (isinstance(error, OSError) and error.strerror) or f"{lacks}{error}" or type(error).__name__
    return shorten(" ".join(said.split()), 200)


_REMEDIES = {
    errno.ENOSPC: "The disk is full: free some space, or pass a place on another disk",
    errno.EDQUOT: "Your quota is used up: free some space, or pass a place on another disk",
    errno.EFBIG: "No file may be so large here: raise `ulimit -f`, or pass a place on another file system",
    errno.EMFILE: "Too many files are open: raise `ulimit -n`, to 4096 for example",
    errno.ENFILE: "Too many files are open on this machine: close other programs, and try again",
    errno.ENOMEM: "Memory is short: close other programs, or raise `ulimit -v`",
    errno.EROFS: "The disk is read-only: mount it otherwise, or pass a place on another disk",
    errno.EACCES: "You have no right to it: have it given to you, or pass another place",
    errno.EPERM: "You have no right to it: have it given to you, or pass another place",
    errno.ENAMETOOLONG: "The name is too long for the file system: shorten it",
}


def remedy_for(error: OSError, otherwise: str) -> str:
    """What to do about an error of the system: what its reason asks for, or ``otherwise`` where that tells nothing.

    >>> remedy_for(OSError(errno.EROFS, "Read-only file system"), "See to the disk")
    'The disk is read-only: mount it otherwise, or pass a place on another disk'
    """
    return _REMEDIES.get(error.errno or 0, otherwise)


def is_of_the_process(error: OSError) -> bool:
    """Whether an error tells of who asks (no handle left, no memory), and nothing of the file."""
    return error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def quote(text: str) -> str:
    """What was found in a cell, in a sentence."""
    return repr(shorten(text, 160))
