"""AOEF, the format of soundevent and Whombat: a prediction set and, where a person has looked, an annotation set.

Both are written by soundevent itself.

A recording is a clip with its species and their scores as tags; where a species is found is a sound event, a box where
its frequencies are known and an interval of time where not. Times, rates and frequencies are true ones: AOEF knows time
expansion. The same predictions get the same identifiers. Of a recording that a person has looked at, the clip is
annotated with the species that are in it, and with a note where that is no bat.
"""

from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from batcache.errors import SurveyError
from batcache.storage.disk import write_file
from batcache.survey.formats.codes import NO_ID
from batcache.survey.formats.spans import Span, find_spans
from batcache.survey.formats.written import Written
from batcache.survey.judged import Judged, Recording


def require_soundevent() -> None:
    """Check that what writes the format is there.

    Raises:
        SurveyError: it is not installed.
    """
    try:
        import soundevent.io.aoef  # noqa: F401
    except ImportError:
        remedy = "Run pip install 'batcache[formats]', or leave aoef out"
        raise SurveyError("aoef", "soundevent, which writes it, is not installed", remedy) from None


def write_aoef(judged: Judged, folder: Path) -> Written:
    """Write ``predictions.json`` and, where a person has looked at recordings, ``annotations.json``.

    Paths in them start from the folder that was judged.

    Raises:
        SurveyError: soundevent is not installed.
        OSError: the disk refuses.
    """
    require_soundevent()
    from soundevent import data
    from soundevent.io.aoef import to_aeof

    root = Path(judged.root).absolute()
    clips = {one.path: _clip(judged, root, one) for one in judged.recordings}
    predictions = data.PredictionSet(
        uuid=_name(judged, "predictions"),
        name=f"batcache: {judged.folder.name}",
        description=f"Species by {judged.model}, each at and above its own threshold",
        clip_predictions=[_predict(judged, clips[one.path], one) for one in judged.recordings],
    )
    looked_at = [_annotate(judged, clips[one.path], one) for one in judged.recordings if one.manual is not None]
    annotations = data.AnnotationSet(
        uuid=_name(judged, "annotations"),
        name=f"batcache: {judged.folder.name}",
        description=f"What a person found in recordings that {judged.model} had judged",
        clip_annotations=looked_at,
    )
    place = folder / "predictions.json"
    write_file(place, to_aeof(predictions, audio_dir=root).model_dump_json(exclude_none=True).encode())
    if looked_at:
        content = to_aeof(annotations, audio_dir=root).model_dump_json(exclude_none=True)
        write_file(folder / "annotations.json", content.encode())
    return Written(place)


def _clip(judged: Judged, root: Path, recording: Recording) -> Any:
    from soundevent import data

    heard = data.Recording(
        uuid=_name(judged, recording.path),
        path=root / recording.path,
        duration=recording.duration_s,
        channels=recording.channels,
        samplerate=round(recording.rate),
        time_expansion=recording.time_expansion,
        date=None if recording.time is None else recording.time.date(),
        time=None if recording.time is None else recording.time.time(),
        latitude=recording.latitude,
        longitude=recording.longitude,
    )
    return data.Clip(
        uuid=_name(judged, recording.path, "clip"), recording=heard, start_time=0, end_time=recording.duration_s
    )


def _annotate(judged: Judged, clip: Any, recording: Recording) -> Any:
    from soundevent import data

    manual = recording.manual or ()
    note = data.Note(uuid=_name(judged, recording.path, "note"), message="no bat")
    return data.ClipAnnotation(
        uuid=_name(judged, recording.path, "annotation"),
        clip=clip,
        tags=[_tag(name) for name in manual],
        notes=[] if manual else [note],
    )


def _predict(judged: Judged, clip: Any, recording: Recording) -> Any:
    from soundevent import data

    spans = [span for span in find_spans(judged, recording) if not span.is_manual and span.label != NO_ID]
    said = [(name, judged.score(recording, name)) for name in recording.species]
    return data.ClipPrediction(
        uuid=_name(judged, recording.path, "prediction"),
        clip=clip,
        tags=[data.PredictedTag(tag=_tag(name), score=score) for name, score in said],
        sound_events=[_event(judged, clip.recording, recording, number, span) for number, span in enumerate(spans)],
    )


def _event(judged: Judged, heard: Any, recording: Recording, number: int, span: Span) -> Any:
    """What is found in a span, by its evidence; a group, of which no evidence is known, by 1."""
    from soundevent import data

    geometry: Any = data.TimeInterval(coordinates=[span.start_s, span.end_s])
    if span.low_hz is not None and span.high_hz is not None:
        geometry = data.BoundingBox(coordinates=[span.start_s, span.low_hz, span.end_s, span.high_hz])
    event = data.SoundEvent(uuid=_name(judged, recording.path, f"event {number}"), geometry=geometry, recording=heard)
    score = 1.0 if span.evidence is None else min(max(span.evidence, 0.0), 1.0)
    return data.SoundEventPrediction(
        uuid=_name(judged, recording.path, f"found {number}"),
        sound_event=event,
        score=score,
        tags=[data.PredictedTag(tag=_tag(span.label), score=score)],
    )


def _tag(label: str) -> Any:
    from soundevent import data, terms

    assert label != NO_ID, "an unknown bat has no name"
    return data.Tag(term=terms.scientific_name, value=label)


def _name(judged: Judged, *parts: str) -> UUID:
    return uuid5(NAMESPACE_URL, "\n".join(("batcache", judged.model, *parts)))
