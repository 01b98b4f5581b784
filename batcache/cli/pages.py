"""Pages of clips, drawn from a run or a store."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from batcache.cli.resolve import find_cache, find_manifest

if TYPE_CHECKING:  # all else is imported by the command that needs it, so that --help answers at once
    from batcache.storage.place import Place


def draw_run(
    run: Path,
    output: Path,
    name: str,
    clips: Sequence[str],
    endpoint: str | None = None,
    region: str | None = None,
) -> None:
    """BatchPlan clips of what was judged under this name; without ``clips``, six that tell most."""
    from batcache.evaluation.draw import draw_page
    from batcache.evaluation.evaluate import read_judged
    from batcache.evaluation.panels import panels_of_run, read_calls
    from batcache.store.open import open_store
    from batcache.training.bags import join

    about, predictions = read_judged(run, name)
    store = open_store(find_cache(run, about, None, endpoint, region))
    manifest = find_manifest(run, about)
    calls = read_calls(manifest.data_dir / "events.csv")
    panels = panels_of_run(store, join(manifest, store).bags, predictions, calls, clips)
    draw_page(output, panels, store.features)


def draw_store(cache: "Place", output: Path, clips: Sequence[str]) -> None:
    """BatchPlan clips of a store; without ``clips``, its first six."""
    from batcache.evaluation.draw import draw_page
    from batcache.evaluation.panels import panels_of_store, read_calls
    from batcache.manifest.manifest import read_manifest
    from batcache.store.format.last_build import require_there
    from batcache.store.open import open_store
    from batcache.training.bags import join, whole_recordings

    store = open_store(cache)
    last = store.last_build()
    if last.csvs:
        require_there(store.path, last)
        manifest = read_manifest(last.csvs, last.data_dir, split_of=last.split_of, allow_outside=True)
        bags, species = join(manifest, store).bags, manifest.species
        calls = read_calls(manifest.data_dir / "events.csv")
    else:
        bags, species, calls = whole_recordings(store), (), {}
    draw_page(output, panels_of_store(store, bags, species, calls, clips), store.features)
