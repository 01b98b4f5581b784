"""Columns of an HDF5 file: a plain row of numbers or texts each, checked before it is read.

Numbers are int64 or float64. Text is UTF-8 of variable length. Where a column may lack values, an empty text or NaN is
a value that is not there; its attribute ``empty`` lists the rows (from 0) that hold an empty text indeed.
"""

import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, get_args

import h5py
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Kind:
    """How a column is stored. ``optional``: it may hold None."""

    value: type
    optional: bool = False

    @classmethod
    def of(cls, annotation: Any) -> Self:
        """The kind of a field of this type: ``str``, ``int``, ``float``, ``str | None`` or ``float | None``."""
        optional = isinstance(annotation, types.UnionType) or bool(get_args(annotation))
        (value,) = {*(get_args(annotation) or (annotation,))} - {types.NoneType}
        assert value in (str, float) or (value is int and not optional), f"no column for {annotation}"
        return cls(value, optional)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The HDF5 type of the column's cells."""
        text: np.dtype[Any] = h5py.string_dtype()
        return text if self.value is str else np.dtype("<i8" if self.value is int else "<f8")


TEXT, INTEGER = Kind(str), Kind(int)
_TEXT_BYTES = 16  # what HDF5 keeps in a text's place: its length, and where it lies


def write_column(group: h5py.Group, name: str, kind: Kind, values: Sequence[Any]) -> None:
    """Write a column.

    Raises:
        ValueError: a text with a NUL character, which HDF5's text cannot hold.
    """
    empty = [row for row, value in enumerate(values) if value == ""] if kind.optional else []
    if kind.value is str:
        nothing: Any = ""
        if any("\0" in value for value in values if value):
            raise ValueError(f"{name} of a recording holds a NUL character, which HDF5's text cannot")
    else:
        nothing = np.nan
    stored = [nothing if value is None else value for value in values]
    data = np.array(stored, object if kind.value is str else kind.dtype)
    column = group.create_dataset(name, data=data, dtype=kind.dtype, track_times=False)
    if empty:
        column.attrs["empty"] = np.array(empty, "<i8")


def read_column(group: h5py.Group, name: str, kind: Kind, rows: int, file_bytes: int) -> list[Any]:
    """Read what ``write_column`` wrote.

    Raises:
        Exception: anything else is there.
    """
    column = find_dataset(group, name)
    data = read_row(column, file_bytes, kind.dtype, rows)
    if kind.value is not str:
        values = data.tolist()
        return [None if np.isnan(value) else value for value in values] if kind.optional else values
    shared: dict[bytes, str] = {}
    texts = [shared[text] if text in shared else shared.setdefault(text, text.decode()) for text in data]
    if not kind.optional:
        return texts
    empty = {*column.attrs["empty"].tolist()} if "empty" in column.attrs else set()
    return [text if text or row in empty else None for row, text in enumerate(texts)]


def read_row(data: h5py.Dataset, file_bytes: int, dtype: np.dtype[Any], length: int) -> NDArray[Any]:
    """All of a dataset that is one plain row of numbers or texts, as big as it says, and in this file."""
    properties = data.id.get_create_plist()
    plain = properties.get_layout() == h5py.h5d.CONTIGUOUS and not properties.get_external_count()
    text = h5py.check_string_dtype(dtype)
    typed = h5py.check_string_dtype(data.dtype) == text if text else data.dtype == dtype
    stored = length * (_TEXT_BYTES if text else dtype.itemsize)
    if not plain or not typed or data.shape != (length,) or data.id.get_storage_size() != stored or stored > file_bytes:
        raise ValueError(f"{data.name} is {data.dtype} {data.shape}, expected a plain row of {length} {dtype}")
    read: NDArray[Any] = data[()]
    return read


def count_rows(group: h5py.Group) -> int:
    """Rows of a group of columns, as its first column has it."""
    shape = find_dataset(group, next(iter(group))).shape
    if shape is None or len(shape) != 1:
        raise ValueError(f"{group.name} holds no columns")
    return int(shape[0])


def find_dataset(group: h5py.Group, name: str) -> h5py.Dataset:
    """The data set of this name. Raises ValueError where there is none."""
    found = _find(group, name)
    if not isinstance(found, h5py.Dataset):
        raise ValueError(f"{name} is no dataset")
    return found


def find_group(file: h5py.File, name: str) -> h5py.Group:
    """The group of this name. Raises ValueError where there is none."""
    found = _find(file, name)
    if not isinstance(found, h5py.Group):
        raise ValueError(f"{name} is no group")
    return found


def _find(group: h5py.Group, name: str) -> Any:
    """What lies in a group, and not behind a link to somewhere else."""
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"no {name}")
    return group[name]
