"""Evidence on the instance that holds a call is worth 1, elsewhere 0, everywhere alike what chance is."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from batcache.evaluation.calls import EVENTS, Call, read_calls
from batcache.evaluation.localise import Localisation, localise
from tests.evaluation.judging import chosen, judge, read_metrics
from tests.evaluation.predicted import predicted
from tests.small_world import SmallWorld


def peak_at(instance: int, count: int = 10) -> np.ndarray:
    """Evidence of one species that is highest in one instance. Shape: ``[count, 1]``"""
    return np.where(np.arange(count) == instance, 0.9, 0.2)[:, None]


def located(found: Localisation | None) -> Localisation:
    assert found is not None
    return found


@pytest.mark.parametrize(("instance", "share"), [(3, 1.0), (2, 0.0), (9, 0.0)])
def test_evidence_on_the_instance_of_a_call_is_worth_1_and_elsewhere_0(instance: int, share: float) -> None:
    found = located(localise(predicted([peak_at(instance)], [[1]]), {"0.wav": [Call("Low", 1.6, 1.603)]}))
    assert found.macro == found.all_cells == found.per_species["Low"]
    assert (found.macro.cells, found.macro.on_a_call, found.macro.on_a_call_by_chance) == (1, share, 0.1)
    assert found.macro.on_the_strongest is None


@pytest.mark.parametrize(
    ("start_s", "end_s", "holders"),
    [
        (1.499, 1.502, {2, 3}),  # across a border
        (1.5, 1.503, {3}),
        (1.497, 1.5, {2}),
        (1.5, 1.5, {3}),
        (1.7, 1.7, {3}),
        (0.4, 1.6, {0, 1, 2, 3}),
        (-0.1, 0.1, {0}),
        (4.9, 7.0, {9}),
        (0.0, 5.0, set(range(10))),
    ],
)
def test_a_call_belongs_to_every_instance_that_it_overlaps(start_s: float, end_s: float, holders: set[int]) -> None:
    calls = {"0.wav": [Call("Low", start_s, end_s)]}
    shares = [located(localise(predicted([peak_at(i)], [[1]]), calls)).macro for i in range(10)]
    assert {i for i, share in enumerate(shares) if share.on_a_call == 1} == holders
    assert shares[0].on_a_call_by_chance == len(holders) / 10


def test_chance_is_the_mean_of_random_draws_and_evidence_that_is_alike_everywhere_is_worth_it() -> None:
    rng = np.random.default_rng(0)
    calls = {f"{i}.wav": [Call("Low", t, t + 0.3) for t in rng.uniform(0, 4, 3)] for i in range(4)}
    drawn = [
        located(localise(predicted([rng.random((8, 1)) for _ in range(4)], [[1]] * 4), calls)).all_cells
        for _ in range(400)
    ]
    chance = drawn[0].on_a_call_by_chance
    error = np.sqrt(0.25 / (4 * 400))
    assert np.mean([one.on_a_call for one in drawn]) == pytest.approx(chance, abs=4 * error)
    alike = located(localise(predicted([np.full((8, 1), 0.5)] * 4, [[1]] * 4), calls)).all_cells
    assert alike.on_a_call == pytest.approx(chance) == alike.on_a_call_by_chance


def test_the_strongest_call_is_told_from_others() -> None:
    calls = {"0.wav": [Call("Low", 0.1, 0.2, strength_db=10), Call("Low", 1.1, 1.2, strength_db=30)]}
    weak, strong = (located(localise(predicted([peak_at(i)], [[1]]), calls)).macro for i in (0, 2))
    assert (weak.on_a_call, weak.on_the_strongest) == (1, 0) and (strong.on_a_call, strong.on_the_strongest) == (1, 1)
    assert (weak.on_a_call_by_chance, weak.on_the_strongest_by_chance) == (0.2, 0.1)


def test_one_call_without_a_strength_leaves_it_open_which_is_the_strongest() -> None:
    calls = {"0.wav": [Call("Low", 0.1, 0.2, strength_db=10), Call("Low", 1.1, 1.2)]}
    assert located(localise(predicted([peak_at(0)], [[1]]), calls)).macro.on_the_strongest is None


def test_a_part_of_a_recording_is_judged_by_the_calls_within_it() -> None:
    calls = {"0.wav": [Call("Low", 0.2, 0.21), Call("Low", 7.2, 7.21)]}
    for start, hit in ((7.0, 0), (6.2, 2)):
        found = located(localise(predicted([peak_at(hit, 4)], [[1]], [start]), calls))
        assert (found.macro.on_a_call, found.macro.on_a_call_by_chance) == (1, 0.25)
    assert localise(predicted([peak_at(0, 4)], [[1]], [2.0]), calls) is None, "no call within 2 to 4 s"


@pytest.mark.parametrize(
    ("label", "species", "evidence"), [(0, "Low", 0.5), (-1, "Low", 0.5), (1, "Other", 0.5), (1, "Low", np.nan)]
)
def test_nothing_is_judged_of_species_that_are_absent_unknown_unmarked_or_untaught(
    label: int, species: str, evidence: float
) -> None:
    calls = {"0.wav": [Call(species, 0.1, 0.2)]}
    assert localise(predicted([np.full((4, 1), evidence)], [[label]]), calls) is None


def test_macro_counts_species_alike_and_the_pool_counts_clips_alike() -> None:
    on, off = peak_at(0, 4), peak_at(1, 4)
    found = located(
        localise(
            predicted([np.hstack([on, off])] * 4, [[1, 1], [1, 0], [1, 0], [1, -1]]),
            {f"{i}.wav": [Call(name, 0.1, 0.2) for name in ("Low", "High")] for i in range(4)},
        )
    )
    assert [(name, shares.cells) for name, shares in found.per_species.items()] == [("Low", 4), ("High", 1)]
    assert (found.macro.on_a_call, found.all_cells.on_a_call) == (0.5, 0.8)


def test_an_evaluation_files_it_and_is_done_again_where_calls_are_marked_anew(run: Path, small: SmallWorld) -> None:
    events = small.folder / EVENTS
    assert not any(EVENTS in note for note in judge(chosen(run, small)).notes)
    assert chosen(run, small).is_done() and read_metrics(run)["test"]["evidence"] is None
    try:
        events.write_text("filename,species,start_s,end_s\nnight6/0.wav,Low,0,2\nnight0/0.wav,Low,0,2\n")
        assert not chosen(run, small).is_done()
        report = judge(chosen(run, small))
        assert chosen(run, small).is_done()
        events.write_text("filename,species,start_s,end_s\nnight6/0.wav,Low,0,0.1\n")
        assert not chosen(run, small).is_done()
    finally:
        events.unlink()
    assert report.metrics.evidence is not None
    filed = read_metrics(run)["test"]["evidence"]
    assert filed == json.loads(json.dumps(report.metrics.to_plain()["evidence"]))
    assert filed["per_species"]["Low"]["on_a_call_by_chance"] == 1 and filed["all_cells"]["cells"] == 1


@pytest.mark.parametrize("row", ["night0/0.wav,Low", "night6/0.wav,High", "0.wav,Low"])
def test_a_table_that_marks_nothing_of_what_is_judged_is_noted_once(run: Path, small: SmallWorld, row: str) -> None:
    """A call in another split, of a species that the clip does not hold, under another filename."""
    events = small.folder / EVENTS
    try:
        events.write_text(f"filename,species,start_s,end_s\n{row},0,2\n")
        report = judge(chosen(run, small))
        assert [EVENTS in note for note in report.notes].count(True) == 1 and report.metrics.evidence is None
        events.write_text(f"filename,species,start_s,end_s\n{row},0,2\nnight6/0.wav,Low,0,2\n")
        report = judge(chosen(run, small))
        assert not any(EVENTS in note for note in report.notes) and report.metrics.evidence is not None
    finally:
        events.unlink()


def test_an_experts_marks_of_real_clips_lie_in_the_instances_that_hold_them(real: Path) -> None:
    marked = {name: [c for c in found if c.species == "Plecotus auritus"] for name, found in read_calls(real).items()}
    clips = {name: found for name, found in marked.items() if found}
    counts = [int(max(call.end_s for call in found) / 0.5) + 1 for found in clips.values()]
    first = [int((found[0].start_s + found[0].end_s) / 2 / 0.5) for found in clips.values()]
    evidence = [peak_at(i, count) for i, count in zip(first, counts, strict=True)]
    made = replace(
        predicted(evidence, [[1]] * len(clips)),
        filenames=np.array(list(clips)),
        species=np.array(["Plecotus auritus"]),
    )
    found = located(localise(made, clips)).macro
    assert (found.cells, found.on_a_call) == (2, 1)
