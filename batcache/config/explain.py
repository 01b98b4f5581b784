"""What pydantic finds wrong with settings, as one line of ours."""

import reprlib
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from batcache.config.renamed import RENAMED
from batcache.errors import ConfigError, did_you_mean, shorten

_VALUES = reprlib.Repr()
"""Shows a value in a line: with a few anchors, a YAML of a kilobyte stands for lists of a gigabyte."""
_VALUES.maxlevel, _VALUES.maxlist, _VALUES.maxstring, _VALUES.maxlong = 2, 10, 160, 160


def explain(error: ValidationError, path: Path | None, known_in: Callable[[list[str]], list[str]]) -> ConfigError:
    """Say the most telling of the findings, a misspelt key or else the deepest.

    ``known_in`` gives the keys there are at a place: ``["training"]``, ``["model", "conv_layers", "0"]``.
    """
    findings = error.errors(include_url=False)
    first = min(findings, key=lambda found: (found["type"] != "unexpected_keyword_argument", -len(found["loc"])))
    where = [shorten(" ".join(str(part).split())) for part in first["loc"] if not _names_alternative(part)]
    place = f"{path or 'configuration'}: {'.'.join(where)}"
    if first["type"] == "unexpected_keyword_argument":
        if len(where) == 2 and (name := RENAMED.get((where[0], where[1]))):
            return ConfigError(place, "no such setting", f"It is {name} now")
        known = known_in(where[:-1])
        return ConfigError(place, "no such setting", did_you_mean(where[-1], known, f"Known: {', '.join(known)}"))
    finding = first["msg"].lower().removeprefix("value error, ").replace("tuple", "list")
    return ConfigError(place, f"{_VALUES.repr(first['input'])}: {finding}", "Correct the value")


def _names_alternative(part: int | str) -> bool:
    """Whether pydantic put this part into a place to say which of several types it tried, as ``tuple[...]``."""
    return isinstance(part, str) and part.startswith(("constrained-", "function-", "tuple[", "dict[", "literal["))
