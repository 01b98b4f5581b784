"""What wandb has recorded offline, read without wandb's reader: its files are logs of LevelDB's format."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

_HEADER, _BLOCK = 7, 32_768  # bytes; a record does not straddle blocks, its parts do
_WHOLE, _LAST = 1, 4


def read_records(path: Path) -> Iterator[Record]:
    """The records of a ``.wandb`` file, in order."""
    content, place, parts = path.read_bytes(), _HEADER, []
    while place + _HEADER <= len(content):
        left = _BLOCK - place % _BLOCK
        if left < _HEADER:
            place += left
            continue
        _, size, kind = struct.unpack_from("<IHB", content, place)
        parts.append(content[place + _HEADER : place + _HEADER + size])
        place += _HEADER + size
        if kind in (_WHOLE, _LAST):
            yield Record.FromString(b"".join(parts))
            parts = []


def read_run(path: Path) -> tuple[str, dict[str, Any]]:
    """The id of the run in a file, and its config."""
    (record,) = (record.run for record in read_records(path) if record.HasField("run"))
    return record.run_id, {item.key: json.loads(item.value_json) for item in record.config.update}


def read_rows(path: Path) -> dict[int, dict[str, Any]]:
    """The rows in a file by their step, nested names joined by dots."""
    rows = {}
    for record in read_records(path):
        if record.HasField("history"):
            items = {".".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
            rows[record.history.step.num] = {name: json.loads(value) for name, value in items.items()}
    return rows
