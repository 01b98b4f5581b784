"""Whatever the files beside a store hold, readers answer or refuse in a line; and no flipped bit passes unseen."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from batcache.errors import BatcacheError
from batcache.evaluation.evaluate import choose_clips, evaluate
from batcache.model.pretrained import SIMULATED
from batcache.storage.sealed import check_zip
from batcache.training.run_inputs import find_manifest
from batcache.training.runs import BEST
from tests.fuzz.beside import Case, cases
from tests.small_world import CPU, SmallWorld

KINDS = (
    *("run.json", "config.yaml", "metrics.json", "metrics.jsonl", "split.csv", "predictions", "best_model.pt"),
    *("last.pt", "trunk.pt", "profile", "scored.jsonl"),
)
RESUMED = ("run.json", "logs/metrics.jsonl", "checkpoints/last.pt")


@pytest.fixture(scope="module")
def judged(small: SmallWorld, trained: Path) -> Path:
    """A run that has been judged, beside the other one. Not to be changed."""
    run = Path(shutil.copytree(trained, trained.with_name(f"{trained.name}-judged")))
    evaluate(choose_clips(run / BEST, small.store, find_manifest(run), "test", as_trained=True), CPU)
    return run


@pytest.fixture
def case(
    request: pytest.FixtureRequest, small: SmallWorld, judged: Path, trained: Path, tmp_path: Path
) -> Iterator[Case]:
    """A kind of file in a copy of the run, beside the other runs, where its paths lead to what they name."""
    run = Path(shutil.copytree(judged, trained.with_name(f"{trained.name}-{request.param.partition('.')[0]}")))
    yield cases(small, run, tmp_path)[request.param]
    shutil.rmtree(run)


def put_back(place: Path, judged: Path) -> None:
    """What a resumed run writes."""
    for name in RESUMED:
        target = next((folder / name for folder in place.parents if (folder / "split.csv").exists()), None)
        if target:
            shutil.copy(judged / name, target)


@pytest.mark.slow
@pytest.mark.parametrize("case", KINDS, indirect=True)
def test_a_file_that_is_broken_by_its_structure_is_read_or_refused_in_a_line(case: Case, judged: Path) -> None:
    place, break_it, read = case
    read()
    whole, rng, refused = place.read_bytes(), np.random.default_rng(5), 0
    for _ in range(60):
        place.write_bytes(break_it(rng, whole))
        try:
            read()
        except BatcacheError as error:
            refused += 1
            assert "\n" not in str(error) and len(str(error)) < 2000
        put_back(place, judged)
    assert refused > 10


@pytest.mark.slow
@pytest.mark.parametrize("case", [kind for kind in KINDS if kind != "scored.jsonl"], indirect=True)
def test_a_flipped_bit_or_a_cut_anywhere_is_one_line(case: Case, judged: Path) -> None:
    place, _, read = case
    whole, rng = place.read_bytes(), np.random.default_rng(6)
    broken = [whole[: int(at)] for at in (0, 1, len(whole) - 1, *rng.integers(2, len(whole) - 1, 12))]
    for at in (0, 1, 12, 80, len(whole) - 1, len(whole) - 70, *rng.integers(0, len(whole), 60)):
        flipped = bytearray(whole)
        flipped[int(at)] ^= 1 << int(rng.integers(8))
        broken.append(bytes(flipped))
    for content in broken:
        place.write_bytes(content)
        with pytest.raises(BatcacheError) as error:
            read()
        assert "\n" not in str(error.value)
        put_back(place, judged)


def test_the_trunk_that_ships_carries_its_digest() -> None:
    assert check_zip(SIMULATED.read_bytes(), 1.5)
