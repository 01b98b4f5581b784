"""A build that is killed by ``SIGKILL`` at any moment, its writers at work side by side, ends as if nothing had been.

``test_kill`` stops a build before each of its operations, one writer at a time; here another process kills it, whatever
its threads are doing. Every flush and every block decoded is stretched by up to some milliseconds, so that the short
phases are hit at all.
"""

import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from batcache.features.frontend import FrontEnd
from batcache.store.reader import Store
from tests.store.faulty_build import PHASES, Commander, Injection, Phases, commander
from tests.store.project import Project, assert_equal_trees, copy, let_an_hour_pass, snapshot

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has neither SIGKILL nor fork")

KILLS, KILLS_IN_EACH = 100, 10
PAUSE_S = 0.006


@pytest.fixture(scope="module")
def running() -> Iterator[Commander]:
    with commander() as started:
        yield started


@dataclass(frozen=True)
class Case:
    """A build of ``project`` into a copy of ``start``, or into nothing, that ends as ``end``."""

    project: Project
    start: Path | None
    end: Path
    occurrences: dict[str, int]

    def begin(self, name: str) -> Path:
        """A new folder, as deep as all others."""
        folder = self.project.root / "builds" / name
        folder.mkdir(parents=True)
        return copy(self.start, folder) if self.start else folder


def undisturbed(running: Commander, project: Project, start: Path | None, name: str) -> Case:
    end = Case(project, start, Path(), {}).begin(name)
    place = project.root / f"{name}.phases"
    outcome = running.build(project, end / "features.zarr", Injection(phases=str(place), pause_s=PAUSE_S))
    assert outcome.status == 1 and "Traceback" not in outcome.text, outcome.text  # 1: it rejects two
    phases = Phases(place)
    assert not any(map(phases.is_in, PHASES))
    return Case(project, start, end, {phase: phases.entered(phase) for phase in PHASES})


@pytest.fixture(scope="module")
def cases(running: Commander, tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    """A first build, and one that adds to its store."""
    project = Project(tmp_path_factory.mktemp("random") / "project")
    names = [f"{i}.wav" for i in range(14)]
    for i, name in enumerate(names):
        project.record(name, 0.1 + 0.04 * (i % 5))
    project.record("long.wav", 0.93)
    project.record("nan.wav", samples=[0.1] * 20_000 + [np.nan] * 1000)
    project.list("missing.wav", *names[:7], "nan.wav", "long.wav")
    first = undisturbed(running, project, None, "first")
    later = Project(copy(project.root, project.root.with_name("later"), [*names, "long.wav", "nan.wav"]))
    later.record("3.wav", 0.3, seed=1)
    later.record("longer.wav", 0.6)
    later.list("missing.wav", *names[:7], "longer.wav", "nan.wav", "long.wav", *names[7:])
    return [first, undisturbed(running, later, first.end, "second")]


def kill_in(phase: str, case: Case, folder: Path, running: Commander, draw: random.Random) -> list[str]:
    """Kill a build a random moment after it entered the phase for a random time. Returns the phases it died in."""
    place = folder.with_name(folder.name + ".phases")
    phases, nth = Phases(place), draw.randint(1, case.occurrences[phase])
    seed = draw.getrandbits(32)
    running.begin(case.project, folder / "features.zarr", Injection(phases=str(place), pause_s=PAUSE_S, seed=seed))
    limit = time.monotonic() + 60
    while phases.entered(phase) < nth and time.monotonic() < limit:
        time.sleep(0.0002)
    time.sleep(draw.random() * 1.5 * PAUSE_S)
    os.kill(phases.process, signal.SIGKILL)  # a zombie at worst: its parent answers before it forks again
    outcome = running.end()
    assert outcome.status in (-signal.SIGKILL, 1), outcome.text
    place.unlink()
    return [phase for phase in PHASES if phases.is_in(phase)] if outcome.status == -signal.SIGKILL else ["ended"]


@pytest.mark.slow
def test_a_build_killed_at_a_hundred_random_moments_ends_as_if_undisturbed(
    cases, running, monkeypatch, record_property
):
    draw = random.Random(20260)
    computed: list[str] = []
    stream = FrontEnd.stream

    def stream_seen(self, path, *rest):
        computed.append(path.name)
        return stream(self, path, *rest)

    monkeypatch.setattr(FrontEnd, "stream", stream_seen)
    monkeypatch.setattr("os.fsync", lambda handle: None)  # for speed; a kill leaves what was written
    expected = [snapshot(case.end) for case in cases]
    truth = {
        row.key: store.read_frames(row)
        for store in (Store(c.end / "features.zarr") for c in cases)
        for row in store.index.recordings
        if not row.failure
    }
    died_in: Counter[str] = Counter()
    kills = attempts = 0
    while kills < KILLS or min(died_in[phase] for phase in PHASES) < KILLS_IN_EACH:
        attempts += 1
        assert attempts < 2 * KILLS, f"{kills} kills in {attempts} attempts: {dict(died_in)}"
        missing = [phase for phase in PHASES if died_in[phase] < KILLS_IN_EACH] if kills >= KILLS else PHASES
        phase, which = draw.choice(missing), draw.randrange(2)
        case = cases[which]
        folder = case.begin(f"kill {attempts}")
        died = kill_in(phase, case, folder, running, draw)
        said = f"kill {attempts}, aimed at {phase}, died in {died or 'no phase'}, build {which}"
        if died != ["ended"]:
            kills += 1
            died_in.update(died or ["elsewhere"])
        cache = folder / "features.zarr"
        rows = list(Store(cache).index.recordings) if cache.exists() else []
        for row in rows:
            if not row.failure:
                np.testing.assert_array_equal(Store(cache).read_frames(row), truth[row.key], said)
        committed = {row.key for row in rows if not row.failure}
        again = Project(case.project.root)
        again.cache = cache
        computed.clear()
        let_an_hour_pass(folder)
        built = again.build(workers=2)
        keys = {placed.file.key for task in built.plan.tasks for placed in task.recordings}
        assert not keys & committed, f"{said}: computed again"
        assert sorted(computed) == sorted(built.computed), f"{said}: computed what was not planned, or twice"
        assert_equal_trees(snapshot(folder), expected[which], said)
        assert not [*folder.rglob("*.partial"), *folder.rglob("building.json")], said
        shutil.rmtree(folder)
    for phase in (*PHASES, "elsewhere"):
        record_property(f"kills, {phase}", died_in[phase])
    record_property("kills", kills)
    print(f"{kills} kills: {dict(died_in)}")  # noqa: T201 (pytest -rP shows it)
    assert kills >= KILLS and all(died_in[phase] >= KILLS_IN_EACH for phase in PHASES), dict(died_in)
