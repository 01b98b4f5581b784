"""A build that is killed by ``SIGKILL`` at any moment, its writers at work side by side, ends as if nothing had been.

In ``test_kill`` a build dies before each of its operations, one writer at a time; here another process kills it,
whatever its threads are doing. Every flush and every block decoded is stretched by up to some milliseconds, so that the
short phases are hit at all.
"""

import os
import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.store.cases import Case
from tests.store.faults import Commander, Fault, build_words
from tests.store.phases import PHASES, Phases
from tests.store.project import assert_equal_trees, snapshot

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has neither SIGKILL nor fork")

KILLS, KILLS_IN_EACH = 100, 10
PAUSE_S = 0.006


def count_phases(case: Case, commander: Commander) -> dict[str, int]:
    """How often an undisturbed build enters each phase."""
    folder = case.begin("counted")
    place = case.project.root / "counted.phases"
    case.run(commander, folder, Fault(phases=str(place), pause_s=PAUSE_S))
    assert_equal_trees(snapshot(folder), case.expected)
    phases = Phases(place)
    assert not any(map(phases.is_in, PHASES))
    return {phase: phases.entered(phase) for phase in PHASES}


def kill(case: Case, folder: Path, phase: str, nth: int, commander: Commander, draw: random.Random) -> list[str]:
    """Kill a build a random moment after it entered the phase for the nth time. Returns the phases it died in."""
    place = folder.with_name(folder.name + ".phases")
    phases = Phases(place)
    fault = Fault(phases=str(place), pause_s=PAUSE_S, seed=draw.getrandbits(32))
    commander.begin(folder, build_words(case.project, folder / "features.zarr"), fault)
    limit = time.monotonic() + 60
    while phases.entered(phase) < nth and time.monotonic() < limit:
        time.sleep(0.0002)
    time.sleep(draw.random() * 1.5 * PAUSE_S)
    assert phases.process, "0 would be this very group of processes"
    os.kill(phases.process, signal.SIGKILL)  # a zombie at worst: its parent answers before it forks again
    outcome = commander.end()
    assert outcome.died or outcome.status == 1, outcome.text
    place.unlink()
    return [phase for phase in PHASES if phases.is_in(phase)] if outcome.died else ["ended"]


@pytest.mark.slow
def test_a_build_killed_at_a_hundred_random_moments_ends_as_if_undisturbed(
    first_build, second_build, commander, record_property
):
    draw = random.Random(20260)
    cases = [(case, count_phases(case, commander)) for case in (first_build, second_build)]
    died_in: Counter[str] = Counter()
    kills = attempts = 0
    while kills < KILLS or min(died_in[phase] for phase in PHASES) < KILLS_IN_EACH:
        attempts += 1
        assert attempts < 2 * KILLS, f"{kills} kills in {attempts} attempts: {dict(died_in)}"
        missing = [phase for phase in PHASES if died_in[phase] < KILLS_IN_EACH] if kills >= KILLS else PHASES
        phase, (case, occurrences) = draw.choice(missing), draw.choice(cases)
        folder = case.begin(f"kill {attempts}")
        died = kill(case, folder, phase, draw.randint(1, occurrences[phase]), commander, draw)
        if died != ["ended"]:
            kills += 1
            died_in.update(died or ["elsewhere"])
        case.assert_goes_on(folder, f"kill {attempts}, aimed at {phase}, died in {died or 'no phase'}")
        shutil.rmtree(folder)
    for phase in (*PHASES, "elsewhere"):
        record_property(f"kills, {phase}", died_in[phase])
    record_property("kills", kills)
