"""A repair that dies at any point has lost nothing, and ends when it is run again."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from batcache.errors import StoreError
from batcache.store.format.commit import commit_path
from tests.store import damages
from tests.store.damages import DAMAGES, check, mend, rewrite_chunk
from tests.store.faults import COUNTED, Fault, Outcome
from tests.store.project import Project, assert_equal_trees, copy, flip, snapshot

sound = damages.sound
expected = damages.expected
project = damages.project


BEFORE_KILLS = [
    "flipped byte amid a long recording",
    "missing shard",
    "flipped byte of a recording that failed",
    "garbage for metadata of the array",
]


def damage_for_kills(cache: Path, *, records: bool) -> None:
    """Shards to be written again; then records that are withdrawn, or numbers that were never right."""
    for name in BEFORE_KILLS:
        DAMAGES[name][0](cache)
    if records:
        flip(commit_path(cache, 4), 200)
        commit_path(cache, 2).unlink()
    else:
        rewrite_chunk(cache, 4, 2)


@pytest.mark.skipif(os.name == "nt", reason="Windows has neither SIGKILL nor fork")
@pytest.mark.parametrize("records", [False, True])
@pytest.mark.parametrize("others", [pytest.param(True, marks=pytest.mark.slow), False])
def test_a_repair_that_dies_at_any_point_leaves_right_numbers_or_our_error_and_ends_when_run_again(
    project, expected, records, others, commander, monkeypatch
):
    """Before every 31st operation on the disk; then before all others."""
    truth = {row.path: project.frames(row.path) for row in project.store().index.recordings if not row.failure}
    damaged = copy(project.root, project.root.parent / "damaged" / "project")
    damage_for_kills(damaged / "features.zarr", records=records)

    def begin(name: str) -> Project:
        return Project(copy(damaged, project.root.parent / name / "project"))

    def repair_by_command(of: Project, fault: Fault) -> Outcome:
        return commander.run(of.root, ["verify", str(of.cache), "--deep", "--sample", "100", "--repair"], fault)

    whole = begin("whole")
    outcome = repair_by_command(whole, COUNTED)
    assert outcome.status == 0, outcome.text
    assert_equal_trees(snapshot(whole.cache), expected)
    operations = outcome.operations
    assert len(operations) > 50 and "rename" in dict(operations)
    monkeypatch.setattr("os.fsync", lambda handle: None)
    for at in range(1, len(operations) + 1):
        if (at % 31 == 1) == others:
            continue
        said = f"dead before operation {at}, {operations[at - 1]}"
        again = begin("again")
        assert repair_by_command(again, Fault(at)).died, said
        try:
            store = again.store()
        except StoreError:
            store = None
        for name, frames in truth.items() if store else ():
            try:
                row = store.find(name)
                if row is not None and (name != "d.wav" or records):  # whose numbers were wrong to begin with
                    np.testing.assert_array_equal(store.read_frames(row), frames)
            except StoreError:
                pass
        report = mend(again.cache, check(again.cache, sample=100))
        assert not report.left and not report.impossible, said
        if records:
            again.build()  # the killed one may have removed a shard whose record it had withdrawn before
        assert_equal_trees(snapshot(again.cache), expected, said)
        shutil.rmtree(again.root)
