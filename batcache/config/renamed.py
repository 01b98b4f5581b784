"""Settings that have another name since: files of before keep opening, and users are told."""

from collections.abc import Mapping
from typing import Any

RENAMED = {("training", "resident"): "keep_on_gpu"}
"""The present names, by section and former name."""


def rename_keys(section: str, keys: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a section under their present names; where a setting is given under both, the present one wins."""
    present_name = {old: new for (where, old), new in RENAMED.items() if where == section}
    renamed = {present_name[key]: value for key, value in keys.items() if key in present_name}
    return renamed | {key: value for key, value in keys.items() if key not in present_name}
