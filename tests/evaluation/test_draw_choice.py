"""Which clips are drawn."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from batcache.errors import RunError
from batcache.evaluation.calls import Call
from batcache.evaluation.evaluate import EvalReport, choose_clips, evaluate
from batcache.evaluation.pictures.panels import choose_telling, panels_of_run, panels_of_store
from batcache.inference.predictions import Predictions
from batcache.training.clips.bags import Bag, join
from batcache.training.runs import BEST
from tests.small_world import CPU, SPECIES, SmallWorld

# Choosing


def predictions(scores: list[list[float]], labels: list[list[int]]) -> Predictions:
    count = len(scores)
    return Predictions(
        filenames=np.array([f"{i}.wav" for i in range(count)]),
        start_s=np.zeros(count),
        duration_s=np.full(count, np.nan),
        species=np.array(["A", "B"]),
        scores=np.array(scores, np.float32),
        labels=np.array(labels, np.int8),
        evidence=np.zeros((count, 2), np.float32),
        evidence_start_s=np.zeros(count),
        evidence_end_s=np.ones(count),
        offsets=np.arange(count + 1),
    )


def test_the_telling_clips_are_the_best_the_worst_and_the_unsure_each_once() -> None:
    chosen = choose_telling(
        predictions(
            [
                [0.99, 0.01],
                [0.98, 0.02],
                [0.03, 0.97],
                [0.01, 0.01],
                [0.5, 0.01],
                [0.02, 0.98],
                [0.9, 0.45],
                [0.1, 0.99],
            ],
            [[1, 0], [1, 0], [0, 1], [0, 0], [1, 0], [1, 0], [1, 0], [1, 1]],
        )
    )
    assert chosen == [(0, "good"), (2, "good"), (5, "bad"), (7, "bad"), (4, "doubtful"), (6, "doubtful")]


def test_one_species_alone_still_fills_the_page_and_an_unlabelled_clip_is_never_chosen() -> None:
    labels = [[-1, -1], [1, -1], [1, -1], [1, -1], [1, -1], [0, -1], [0, -1]]
    scores = [[0.5, 0.5], [0.9, 0.5], [0.8, 0.5], [0.1, 0.5], [0.2, 0.5], [0.4, 0.5], [0.3, 0.5]]
    chosen = choose_telling(predictions(scores, labels))
    assert chosen[:4] == [(1, "good"), (2, "good"), (3, "bad"), (4, "bad")]
    assert sorted(i for i, _ in chosen) == [1, 2, 3, 4, 5, 6]


def test_where_nothing_is_labelled_the_surest_clips_are_chosen() -> None:
    scores = [[0.2, 0.1], [0.4, 0.9], [0.6, 0.1]]
    assert choose_telling(predictions(scores, [[-1, -1]] * 3), 2) == [(1, "likely"), (2, "likely")]


def test_of_few_clips_each_is_chosen_once() -> None:
    chosen = choose_telling(predictions([[0.9, 0.1], [0.2, 0.1]], [[1, 0], [1, 0]]))
    assert sorted(i for i, _ in chosen) == [0, 1]


def test_a_runs_panels_are_the_six_that_tell_most(small: SmallWorld, judged: tuple[list[Bag], Predictions]) -> None:
    bags, found = judged
    panels = panels_of_run(small.store, bags, found, {})
    assert len({panel.name for panel in panels}) == 6
    assert [panel.remark for panel in panels] == ["good"] * 2 + ["bad"] * 2 + ["doubtful"] * 2


def test_named_clips_come_in_the_order_of_their_names_with_what_is_known_of_them(
    small: SmallWorld, judged: tuple[list[Bag], Predictions]
) -> None:
    bags, found = judged
    names, call = ["night7/1.wav", "night6/2.wav"], Call("Low", 0.1, 0.2, 44, 46)
    one, other = panels_of_run(small.store, bags, found, {names[0]: (call,)}, names)
    assert [one.name, other.name] == names and one.remark == ""
    assert one.calls == (call,) and other.calls == ()
    i = found.filenames.tolist().index(names[0])
    assert one.scores is not None and np.array_equal(one.scores.scores, found.scores[i])
    assert len(one.scores.edges_s) == len(one.scores.evidence) + 1
    assert one.present == tuple(np.array(SPECIES)[found.labels[i] == 1])
    plain = panels_of_store(small.store, bags, SPECIES, {}, names)
    assert [panel.name for panel in plain] == names and plain[0].scores is None
    assert np.array_equal(plain[0].frames, one.frames)


def test_every_clip_of_a_named_recording_is_shown(small: SmallWorld) -> None:
    rows = ["late.wav,1,0,0,0.0,0.5", "late.wav,1,0,0,1.0,0.5"]
    bags = join(small.read(rows, "filename,Low,High,Sweep,start_s,duration_s"), small.store).bags
    panels = panels_of_store(small.store, bags, SPECIES, {}, ["late.wav"])
    assert [panel.start_s for panel in panels] == [0.0, 1.0]


def test_two_judged_clips_that_begin_together_are_each_drawn_at_their_own_length(
    small: SmallWorld, trained: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    rows = ["late.wav,1,0,0,0.2,0.5", "late.wav,1,0,0,0.2,1.0", "late.wav,1,0,0,0.2,"]
    manifest = small.read(rows, "filename,Low,High,Sweep,start_s,duration_s")
    report = evaluate(choose_clips(run / BEST, small.store, manifest, "test", as_trained=False), CPU)
    assert isinstance(report, EvalReport)
    bags, found = join(manifest, small.store).bags, report.predictions
    panels = panels_of_run(small.store, bags, found, {}, ["late.wav"])
    assert [len(panel.frames) / 500 for panel in panels] == [0.5, 1.0, 1.3]
    assert [len(panel.scores.evidence) for panel in panels if panel.scores] == [1, 2, 3]


def test_a_store_shows_its_first_clips(small: SmallWorld, judged: tuple[list[Bag], Predictions]) -> None:
    bags, _ = judged
    assert [p.name for p in panels_of_store(small.store, bags, SPECIES, {})] == [b.clip.filename for b in bags[:6]]


def test_an_unknown_clip_is_an_error_that_names_a_near_one(
    small: SmallWorld, judged: tuple[list[Bag], Predictions]
) -> None:
    bags, found = judged
    with pytest.raises(RunError, match=r"night6/11\.wav is not among the judged clips\. Did you mean night6/1\.wav\?"):
        panels_of_run(small.store, bags, found, {}, ["night6/11.wav"])
    with pytest.raises(RunError, match=r"Did you mean night0/1\.wav\?"):
        panels_of_store(small.store, bags, SPECIES, {}, ["night0/11.wav"])
    with pytest.raises(
        RunError,
        match=r"built last\. Give its name as it stands there\.$",
    ):
        panels_of_store(small.store, bags, SPECIES, {}, ["xyz"])


def test_a_judged_clip_that_is_gone_is_an_error(small: SmallWorld, judged: tuple[list[Bag], Predictions]) -> None:
    bags, found = judged
    fewer = [bag for bag in bags if bag.clip.filename != "night6/1.wav"]
    with pytest.raises(RunError, match=r"night6/1\.wav: was judged, and is no longer in the CSV"):
        panels_of_run(small.store, fewer, found, {}, ["night6/1.wav"])
