"""Groups of a model's species, on recordings that it judges."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from batcache.inference.calibration.of_groups import calibrate_groups
from batcache.inference.calibration.of_model import calibrate_model
from batcache.inference.calibration.profile import Profile, profile_path, write_profile
from batcache.inference.calibration.thresholds import NOTHING, PROMISED
from batcache.inference.groups import groups_of
from batcache.inference.model_file import ModelFile, open_model
from batcache.inference.predict import PredictReport
from batcache.model.checkpoint import save_checkpoint
from batcache.model.provenance import HeldOut
from tests.inference.conftest import Judge

TONES = {"tones": ("Low", "High", "another that the model does not know")}


def with_groups(model: ModelFile, report: PredictReport, path: Path) -> ModelFile:
    """The model with a group, and with held-out clips that are sure of it from far lower scores on than of its members.

    A quarter of the clips is surely Low and a quarter surely High, at what half of the recordings reach; in a quarter
    both score alike, lower than any recording does, and it is now one, now the other; a quarter holds neither.
    """
    best = torch.from_numpy(report.predictions.scores[:, :2]).logit().max(1).values
    sure, unsure, none = float(best.median()), float(best.min()) - 1, float(best.min()) - 20
    kinds = ([sure, none, none], [none, sure, none], [unsure, unsure, none], [none, none, none])
    rows = [kinds[i % 4] for i in range(160)]
    held = [(i % 4 == 0 or i % 8 == 2, i % 4 == 1 or i % 8 == 6, False) for i in range(160)]
    labels = np.array(held, np.int8)
    settings = replace(model.checkpoint.model, species_groups=TONES)
    held_out = HeldOut("folds", np.array(rows, np.float32), labels, np.arange(160))
    save_checkpoint(path, replace(model.checkpoint, model=settings, held_out=held_out))
    return open_model(path)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_group_is_said_where_no_member_is_and_never_both(
    model: ModelFile, undisturbed: PredictReport, folder: Path, judged: Judge, tmp_path: Path
) -> None:
    report = judged(folder, model=with_groups(model, undisturbed, tmp_path / "grouped.pt"))
    (at,) = report.group_calibration.thresholds
    scores, limits = report.predictions.scores, report.calibration.values
    place = {name: i for i, name in enumerate(report.predictions.filenames.tolist())}
    rows = [row for row in read(report.table_file) if row["verdict"] != "rejected"]
    for row in rows:
        own = scores[place[row["path"]]]
        expected = own[:2].max() >= at.value and not (own >= limits)[:2].any() and at.basis != NOTHING
        assert (row["species_group"] == "tones") == expected
        assert (row["verdict"] == "group") == (expected and not row["species"])
    assert report.found_groups == {"tones": sum(row["species_group"] == "tones" for row in rows)}
    assert {row["species_group"] for row in rows} == {"", "tones"}, (
        "about half of the recordings reach a member's threshold"
    )


def test_thresholds_and_probabilities_of_groups_stand_beside_those_of_species(
    model: ModelFile, undisturbed: PredictReport, folder: Path, judged: Judge, tmp_path: Path
) -> None:
    report = judged(folder, model=with_groups(model, undisturbed, tmp_path / "grouped.pt"))
    *species, group = read(report.thresholds_file)
    assert [row["species"] for row in species] == ["Low", "High", "Sweep"]
    named_in = group["clips"], group["positives"]
    assert (group["species"], *named_in, group["source"]) == ("tones", "80", "40", "folds"), "none of a sure member"
    (platt,) = report.group_calibration.platts
    assert platt is not None and group["basis"] != NOTHING
    for row in read(report.table_file):
        if row["verdict"] != "rejected":
            best = max(float(row["Low"]), float(row["High"]))
            logit = np.log(best / (1 - best))
            assert float(row["probability tones"]) == pytest.approx(platt.probabilities(np.array(logit)), abs=2e-3)


def test_one_threshold_for_all_leaves_no_group_to_say(
    model: ModelFile, undisturbed: PredictReport, folder: Path, judged: Judge, tmp_path: Path
) -> None:
    report = judged(folder, model=with_groups(model, undisturbed, tmp_path / "grouped.pt"), threshold=0.999)
    assert report.found_groups == {"tones": 0}
    assert [row["species"] for row in read(report.thresholds_file)] == ["Low", "High", "Sweep"]


def test_a_model_that_carries_no_clips_says_no_group(
    model: ModelFile, folder: Path, judged: Judge, tmp_path: Path
) -> None:
    settings = replace(model.checkpoint.model, species_groups=TONES)
    save_checkpoint(tmp_path / "bare.pt", replace(model.checkpoint, model=settings, held_out=None))
    report = judged(folder, model=open_model(tmp_path / "bare.pt"))
    assert report.found_groups == {"tones": 0} and set(report.table()["species_group"]) == {""}
    assert "probability tones" not in report.columns


def test_rows_in_which_a_member_is_sure_do_not_speak_for_a_groups_promise(
    model: ModelFile, undisturbed: PredictReport, tmp_path: Path
) -> None:
    """Ten rows in which only the group would be named, all wrong, among sixty in which a member is right."""
    grouped = with_groups(model, undisturbed, tmp_path / "grouped.pt")
    carried = grouped.checkpoint.held_out
    assert carried is not None
    places, labels = [0] * 60 + [2] * 10, np.zeros((70, 3), np.int8)
    labels[:60, 0] = 1
    rows = HeldOut("reviewed", carried.logits[places], labels, np.arange(70))
    species, groups = calibrate_model(grouped), groups_of(grouped.checkpoint)
    (before,) = calibrate_groups(grouped, groups, species).thresholds
    write_profile(profile_path(grouped.path), Profile(grouped.digest, grouped.checkpoint.species, "r.csv", rows))
    (after,) = calibrate_groups(grouped, groups, species).thresholds
    assert before.basis == PROMISED and after.basis != PROMISED
