"""Builds that a test disturbs, with what they are when undisturbed, and the law that another build ends them so."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from unittest import mock

import numpy as np

from batcache.errors import StoreError
from batcache.features.frontend import FrontEnd
from batcache.store.reader import Store
from tests.store.faults import COUNTED, NO_FAULT, Commander, Fault, Operation, Outcome, build_words
from tests.store.project import Project, assert_equal_trees, copy, let_an_hour_pass, snapshot


@dataclass(frozen=True)
class Case:
    """A build of ``project`` into a copy of ``start``, or into nothing, that ends as ``end`` after ``operations``."""

    project: Project
    start: Path | None
    end: Path
    operations: tuple[Operation, ...]

    @property
    def names(self) -> list[str]:
        return [" ".join(operation) for operation in self.operations]

    @property
    def deaths(self) -> list[int]:
        """The operations, counted from 1, before which a death leaves something else than before the previous one."""
        before = [("", ""), *self.operations]
        return [at for at, (operation, _) in enumerate(before[:-1], 1) if operation != "flush"]

    def begin(self, name: str) -> Path:
        """A new folder, as deep as all others, that holds the cache before the build."""
        folder = self.project.root / "builds" / name
        folder.mkdir(parents=True)
        return copy(self.start, folder) if self.start else folder

    def run(self, commander: Commander, folder: Path, fault: Fault = NO_FAULT, *more: str) -> Outcome:
        """Build into a folder by the command line."""
        return commander.run(folder, [*build_words(self.project, folder / "features.zarr"), *more], fault)

    @cached_property
    def expected(self) -> dict[str, bytes]:
        return snapshot(self.end)

    @cached_property
    def truth(self) -> dict[tuple[str, int], np.ndarray]:
        """The frames of every recording before and after, by content and true rate."""
        stores = [Store(folder / "features.zarr") for folder in (self.end, self.start) if folder]
        return {
            row.key: store.read_frames(row) for store in stores for row in store.index.recordings if not row.failure
        }

    @cached_property
    def to_compute(self) -> dict[str, tuple[str, int]]:
        """The recordings that the build computes, copies of one another too, with their keys."""
        begun = {row.key for row in Store(self.start / "features.zarr").index.recordings} if self.start else set()
        rows = {path: rows[-1].key for path, rows in Store(self.end / "features.zarr").index.by_path.items()}
        return {path: key for path, key in rows.items() if key not in begun}

    def assert_goes_on(self, folder: Path, said: str) -> None:
        """What the store holds reads right, and another build ends it, computing nothing that is there, nothing twice.

        ``said`` tells what happened before.
        """
        cache = folder / "features.zarr"
        committed = {row.key for row in Store(cache).index.recordings} if cache.exists() else set()
        self._assert_reads_true(cache)
        again, computed = Project(self.project.root), []
        again.cache = cache
        stream = FrontEnd.stream

        def stream_seen(front_end: FrontEnd, path: Path, *rest: object) -> object:
            computed.append(path.relative_to(self.project.root).as_posix())
            return stream(front_end, path, *rest)  # type: ignore[arg-type]

        let_an_hour_pass(folder)
        flushing = mock.patch("os.fsync")  # not flushed, for speed
        with flushing, mock.patch.object(FrontEnd, "stream", stream_seen):
            again.build(workers=2)
        keys = [self.to_compute[path] for path in computed]
        assert len(set(keys)) == len(keys), f"{said}: computed twice, {computed}"
        assert set(keys) == set(self.to_compute.values()) - committed, f"{said}: computed {computed}"
        assert_equal_trees(snapshot(folder), self.expected, said)

    def _assert_reads_true(self, cache: Path) -> None:
        """Every recording is right, or not there, or refused as one that is just being replaced."""
        if not cache.exists():
            return
        store = Store(cache)
        for row in store.index.recordings:
            if not row.failure:
                np.testing.assert_array_equal(store.read_frames(row), self.truth[row.key])
        for path in Store(self.end / "features.zarr").index.by_path:
            try:
                found = store.find(path)
            except StoreError as error:
                assert "a build was stopped while it replaced" in str(error)
            else:
                assert found is None or found.key in self.truth

    def die_at(self, points: Sequence[int], commander: Commander) -> None:
        """The law, for builds that die before these operations."""
        for at in points:
            said = f"dead before operation {at} of {len(self.names)}, {self.names[at - 1]}"
            folder = self.begin(f"{at}")
            assert self.run(commander, folder, Fault(at)).died, said
            self.assert_goes_on(folder, said)
            shutil.rmtree(folder)


def undisturbed(commander: Commander, project: Project, start: Path | None, name: str = "undisturbed") -> Case:
    """Build as the command line does, and count its operations."""
    end = Case(project, start, Path(), ()).begin(name)
    outcome = Case(project, start, end, ()).run(commander, end, COUNTED)
    assert outcome.status == 1 and "rejected, listed in" in outcome.text, outcome.text
    assert not [*end.rglob("*.partial*"), *end.rglob("building.json")]
    return Case(project, start, end, tuple(outcome.operations))


def firsts(operations: Sequence[Operation], which: Sequence[str]) -> list[int]:
    """The operations, counted from 1, that are the first of their kind: done to a file whose name has other digits."""
    kinds = [re.sub(r"\d+", "N", " ".join(operation)) for operation in operations]
    new = (at for at, kind in enumerate(kinds) if kind not in kinds[:at])
    return [at + 1 for at in new if operations[at][0] in which]
