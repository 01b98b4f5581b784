"""AOEF: soundevent reads back what was found, in true seconds and at true rates."""

import importlib.util
import json
from pathlib import Path

import pytest

from batcache.catalogue.labels import aoef
from batcache.errors import SurveyError
from batcache.survey.convert import convert
from batcache.survey.formats.aoef import write_aoef
from batcache.survey.judged import Judged, read_judged
from tests.survey.formats.conftest import FOUND, GROUP, NOTHING, SAID, TWO
from tests.survey.predicted_folder import SPECIES, write_reviewed

HAS_SOUNDEVENT = importlib.util.find_spec("soundevent") is not None


@pytest.mark.skipif(not HAS_SOUNDEVENT, reason="soundevent is not installed: pip install 'batcache[formats]'")
def test_soundevent_reads_back_what_was_found(judged: Judged, tmp_path: Path) -> None:
    from soundevent import io

    place = write_aoef(judged, tmp_path / "aoef").place
    read = io.load(place, audio_dir=judged.root, type="prediction_set")
    clips = {one.clip.recording.path.relative_to(judged.root).as_posix(): one for one in read.clip_predictions}
    assert set(clips) == set(SAID)
    found = clips[FOUND]
    assert [(tag.tag.value, tag.tag.term.name) for tag in found.tags] == [
        ("Pipistrellus pipistrellus", "dwc:scientificName")
    ]
    assert found.tags[0].score == pytest.approx(0.9)
    boxes = [one.sound_event.geometry.coordinates for one in found.sound_events]
    assert boxes == [[0.0, 44_500.0, 1.0, 60_250.0], [1.5, 44_500.0, 1.75, 60_250.0]]
    assert [one.score for one in found.sound_events] == pytest.approx([0.8, 0.6], abs=1e-3)
    assert (found.clip.recording.latitude, found.clip.recording.longitude) == (52.5, 13.4)
    assert [tag.tag.value for tag in clips[TWO].tags] == ["Myotis daubentonii", "Pipistrellus pipistrellus"]
    slow = clips[GROUP]
    assert (slow.clip.recording.samplerate, slow.clip.recording.time_expansion, slow.clip.end_time) == (384_000, 10, 2)
    assert [one.tags[0].tag.value for one in slow.sound_events] == ["Myotis sp."]
    assert not clips[NOTHING].tags and not clips[NOTHING].sound_events


@pytest.mark.skipif(not HAS_SOUNDEVENT, reason="soundevent is not installed: pip install 'batcache[formats]'")
def test_the_same_predictions_get_the_same_identifiers(judged: Judged, tmp_path: Path) -> None:
    from soundevent import io

    twice = [io.load(write_aoef(judged, tmp_path / name).place, audio_dir=judged.root) for name in "ab"]
    first, second = ([one.uuid for one in read.clip_predictions] for read in twice)
    assert first == second and len(set(first)) == len(SAID)


@pytest.mark.skipif(not HAS_SOUNDEVENT, reason="soundevent is not installed: pip install 'batcache[formats]'")
def test_what_a_person_found_is_annotated_and_what_the_model_found_stays(predictions: Path, tmp_path: Path) -> None:
    from soundevent import io

    before = write_aoef(read_judged(predictions), tmp_path / "before").place
    assert not before.with_name("annotations.json").exists()
    found = {"Pipistrellus pipistrellus": 1, "Myotis nattereri": 1}
    write_reviewed(predictions, {FOUND: found, NOTHING: dict.fromkeys(SPECIES, 0), TWO: {"Myotis daubentonii": 0}})
    judged = read_judged(predictions)
    place = write_aoef(judged, tmp_path / "after").place
    first, second = (io.load(one, audio_dir=judged.root, type="prediction_set") for one in (before, place))
    assert second.clip_predictions == first.clip_predictions
    content = json.loads(place.with_name("annotations.json").read_text(encoding="utf-8"))
    labels = list(aoef.read(place.with_name("annotations.json"), content))
    assert {(Path(one.file).name, one.names, one.by_program) for one in labels} == {
        (Path(FOUND).name, tuple(found), False),
        (NOTHING, (), False),
    }
    read = io.load(place.with_name("annotations.json"), audio_dir=judged.root, type="annotation_set")
    assert [[note.message for note in one.notes] for one in read.clip_annotations] == [[], ["no bat"]]


@pytest.mark.skipif(HAS_SOUNDEVENT, reason="soundevent is installed")
def test_without_soundevent_it_is_said_before_anything_is_written(predictions: Path, tmp_path: Path) -> None:
    with pytest.raises(SurveyError, match=r"Run pip install 'batcache\[formats\]'"):
        convert(predictions, ["csv", "aoef"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
