"""Pages of clips, drawn from a run, a store or what a guide says."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from batcache.config.features import FeatureConfig
from batcache.errors import RunError, did_you_mean
from batcache.evaluation.calls import Call, read_calls
from batcache.evaluation.judged import read_judged
from batcache.evaluation.pictures.draw import draw_page
from batcache.evaluation.pictures.panels import Panel, panels_of_run, panels_of_store
from batcache.evaluation.pictures.view import View
from batcache.inference.predictions import Predictions
from batcache.manifest.manifest import read_manifest
from batcache.progress import ignore_progress
from batcache.storage.place import Place
from batcache.store.format.last_build import require_there
from batcache.store.open import open_store
from batcache.store.reader import Store
from batcache.synth.calls import HEARD_SHARE
from batcache.synth.guide import GuideCall, find_voices, read_guide
from batcache.synth.render import DURATION_S, RATE_HZ, render
from batcache.synth.species import Species
from batcache.training.clips.bags import Bag, join, whole_recordings
from batcache.training.clips.simulated import hear
from batcache.training.run_inputs import find_manifest

_OF_VOICES = FeatureConfig(target_sample_rate=RATE_HZ, n_fft=1536, hop_length=384, fmax=180_000)
"""As features are by default, and higher: to what any bat calls."""
_OF_A_VOICE_S = 0.4
_NIGHTS = 4


def draw_run(
    run: Path,
    cache: Place,
    output: Path,
    name: str = "test",
    clips: Sequence[str] = (),
    data_dir: Path | None = None,
    view: View | None = None,
) -> None:
    """Draw clips of what a run judged under this name into a PNG, PDF or SVG; without ``clips``, those that tell most.

    ``cache`` is where its features lie now, ``data_dir`` where its filenames start from, if not where they did.

    Raises:
        RunError: nothing was judged under this name, or not these clips, or they hold nothing of what is asked for.
        StoreError, ManifestError: the cache or the CSVs are gone or damaged.
    """
    about, predictions = read_judged(run, name)
    store = open_store(cache)
    manifest = find_manifest(run, data_dir, about)
    calls = read_calls(manifest.data_dir)
    panels = panels_of_run(store, join(manifest, store).bags, predictions, calls, clips)
    draw_page(output, panels, store.features, view)


def draw_telling(
    folder: Path, store: Store, bags: Sequence[Bag], predictions: Predictions, data_dir: Path
) -> dict[Path, str]:
    """Draw a clip that a model judged well, one badly and one with doubt, a PNG each; returns them with captions.

    Raises:
        ManifestError: an ``events.csv`` in the data dir that holds no numbers where they belong.
    """
    panels = panels_of_run(store, bags, predictions, read_calls(data_dir), count=3)
    drawn = {folder / f"{number}.png": panel for number, panel in enumerate(panels, 1)}
    for path, panel in drawn.items():
        draw_page(path, [panel], store.features)
    return {path: f"{panel.remark}: {panel.name}" for path, panel in drawn.items()}


def draw_store(
    cache: Place,
    output: Path,
    clips: Sequence[str] = (),
    data_dir: Path | None = None,
    view: View | None = None,
) -> None:
    """Draw clips of a store into a PNG, PDF or SVG; without ``clips``, its first six.

    Raises:
        RunError: a clip that the CSVs of the last build do not list, or that holds nothing of what is asked for.
        StoreError, ManifestError: the cache or these CSVs are gone or damaged.
    """
    store = open_store(cache)
    last = store.last_build()
    if last.csvs:
        require_there(store.path, last, data_dir)
        manifest = read_manifest(last.csvs, data_dir or last.data_dir, split_of=last.split_of, allow_outside=True)
        bags, species = join(manifest, store).bags, manifest.species
        calls = read_calls(manifest.data_dir)
    else:
        bags, species, calls = whole_recordings(store), (), {}
    draw_page(output, panels_of_store(store, bags, species, calls, clips), store.features, view)


def draw_guide(
    guide: Path, output: Path, names: Sequence[str] = (), view: View | None = None
) -> tuple[tuple[Species, GuideCall], ...]:
    """Draw some search calls of each row of a guide into a PNG, PDF or SVG, or of those of the species named.

    Returns the voice of each row. Of ``view`` the duration, 0.4 s if it has none, and the size of the page count.

    Raises:
        ManifestError: see ``read_guide``.
        RunError: a name that the guide does not hold, or a row of which nothing would be heard.
    """
    calls = read_guide(guide)
    known = [call.species for call in calls]
    for name in names:
        if name not in known:
            finding = f"{name} is no species of {guide}"
            raise RunError("--clip", finding, did_you_mean(name, known, "Give its name as it stands there"))
    rows = [call for call in calls if not names or call.species in names]
    voices = [replace(find_voices([call])[call.species], buzz=0.0) for call in rows]
    seconds = view.duration_s if view else None
    panels = [_panel_of(voice, call, guide, seconds) for voice, call in zip(voices, rows, strict=True)]
    draw_page(output, panels, _OF_VOICES, View(size_in=view.size_in if view else None))
    return tuple(zip(voices, rows, strict=True))


def _panel_of(voice: Species, call: GuideCall, guide: Path, duration_s: float | None) -> Panel:
    """The part around the clearest call of some simulated clips of a species."""
    clips = [render(f"{voice.name} {night}", [voice], f"{voice.name} {night}") for night in range(_NIGHTS)]
    heard = [(event, clip) for clip in clips for event in clip.events]
    if not heard or voice.types[0].knee_khz.mean > HEARD_SHARE * RATE_HZ / 2000:
        finding = f"nothing of {voice.name} is heard at {RATE_HZ // 1000} kHz"
        raise RunError(guide, finding, "Correct its frequencies, or name others by --clip")
    best, clip = max(heard, key=lambda pair: pair[0].snr_db)
    (frames,) = hear([lambda _: clip.samples], [clip.rate_hz], _OF_VOICES, ignore_progress)
    calls = tuple(Call(e.species, e.start_s, e.end_s, e.low_khz, e.high_khz, e.snr_db) for e in clip.events)
    whole = Panel(f"simulated, {call.shape}", "", 0.0, frames.numpy(), (voice.name,), calls, None)
    seconds = duration_s or _OF_A_VOICE_S
    start_s = min(max((best.start_s + best.end_s - seconds) / 2, 0.0), max(DURATION_S - seconds, 0.0))
    return View(start_s, seconds).cut(whole, _OF_VOICES.frames_per_second)
