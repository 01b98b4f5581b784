"""The sections of a YAML file and the keys under them."""

from pathlib import Path
from typing import Any

import yaml

from batcache.errors import ConfigError, shorten

_LARGEST = 1 << 20


def read_sections(path: Path) -> dict[str, Any]:
    """Return the sections of a YAML file.

    Raises:
        ConfigError: the file is missing, is not YAML, or does not hold sections.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise ConfigError(path, f"larger than {_LARGEST:,} bytes, expected settings", "Pass a config")
        document = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(path, f"cannot be read ({error.strerror})", "Pass an existing YAML file") from None
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        finding = f"not YAML: {shorten(' '.join(str(error).split()), 400)}"
        raise ConfigError(path, finding, "Correct the file") from None
    if document is None:
        return {}
    if not isinstance(document, dict) or not all(isinstance(v, dict | None) for v in document.values()):
        raise ConfigError(path, "expected sections with keys under them, as training: {epochs: 3}", "Indent keys")
    return {section: values or {} for section, values in document.items()}
