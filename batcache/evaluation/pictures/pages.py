"""Pages of clips, drawn from a run or a store."""

from collections.abc import Sequence
from pathlib import Path

from batcache.evaluation.calls import read_calls
from batcache.evaluation.judged import read_judged
from batcache.evaluation.pictures.draw import draw_page
from batcache.evaluation.pictures.panels import panels_of_run, panels_of_store
from batcache.evaluation.pictures.view import View
from batcache.inference.predictions import Predictions
from batcache.manifest.manifest import read_manifest
from batcache.storage.place import Place
from batcache.store.format.last_build import require_there
from batcache.store.open import open_store
from batcache.store.reader import Store
from batcache.training.clips.bags import Bag, join, whole_recordings
from batcache.training.run_inputs import find_manifest


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
