"""Recordings to caches: simulate, build, open_store. Each call imports what it needs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from batcache.face.given import Csv, Settings, layers_of, paths_of
from batcache.progress import OnProgress, ignore_progress

if TYPE_CHECKING:
    from batcache.store.build.report import BuildReport
    from batcache.store.reader import Store
    from batcache.synth.create import SynthReport


def simulate(
    out: str | Path = "simulated",
    clips: int | None = None,
    *,
    manifest: str | Path | None = None,
    species: Sequence[str] = (),
    seed: int = 0,
    force: bool = False,
    on_progress: OnProgress = ignore_progress,
) -> "SynthReport":
    """Simulate bat recordings with known calls: 5 s, 384 kHz, 16 bit, and ``events.csv`` with every call.

    Args:
        out: the folder that the recordings go to.
        clips: make up a manifest of so many clips, written to ``out/manifest.csv``; or give a ``manifest`` to render.
        manifest: a CSV whose rows are rendered: which species call in each file.
        species: with ``clips``: only these, of the twenty that the simulator knows.
        seed: with ``clips``: decides who flies where.
        force: overwrite files of other content.
        on_progress: hears of the stage ``synth``, in recordings.

    Raises:
        ManifestError: a species that the simulator does not know, or rows that are parts of recordings.
        SynthError: another file is in the way, or the disk has no room.
        TypeError: neither ``clips`` nor ``manifest`` is given, or both; or ``species`` without ``clips``.
    """
    from batcache.manifest.manifest import read_manifest
    from batcache.synth.create import create, write_plan

    if (clips is None) == (manifest is None):
        raise TypeError("simulate() takes either clips or manifest")
    if clips is None and species:
        raise TypeError("simulate() takes species with clips only: a manifest names its own")
    listed = Path(manifest) if clips is None else write_plan(Path(out), clips, species, seed, force=force)  # type: ignore[arg-type]
    return create(read_manifest([listed]), Path(out), force=force, on_progress=on_progress)


def build(
    csv: Csv = (),
    cache: str | Path | None = None,
    *,
    data_dir: str | Path | None = None,
    config: Settings = None,
    device: str = "auto",
    rehash: bool = False,
    allow_outside: bool = False,
    scheduler: str | None = None,
    local_workers: int | None = None,
    on_progress: OnProgress = ignore_progress,
) -> "BuildReport":
    """Compute the features of every recording once, into a Zarr store; again, only what is missing or has changed.

    Args:
        csv: one manifest or several; by default those that the config names.
        cache: the store, a path or ``s3://bucket/path``; by default ``features.zarr``.
        data_dir: where the manifest's filenames start from; by default the CSV's folder.
        config: settings.
        device: ``auto``, ``cpu`` or ``cuda``.
        rehash: read every file, whatever its size and time say.
        allow_outside: let filenames lead out of the data dir: only for CSVs that you trust.
        scheduler: address of a Dask scheduler, whose workers do the work in the place of threads of this process.
        local_workers: have so many Dask processes of this machine do it.
        on_progress: hears of ``scan`` and ``build``, in recordings; a ``plan`` between them brings the ``Plan``.

    Returns:
        What was computed, kept and rejected, and why. A recording that cannot be used is no error.

    Raises:
        ManifestError: a CSV that cannot be trusted.
        StoreError: a store that is damaged, has other settings, is being built by another, or has no room.
        ConfigError: a setting that is wrong.
        ClusterError: workers that cannot do it.
    """
    from batcache.cluster import open_cluster
    from batcache.store.build.build import build as build_store
    from batcache.store.settings import choose_manifest, load_settings

    settings = load_settings(*layers_of(config, cache=cache, data_dir=data_dir))
    manifest = choose_manifest(paths_of(csv), settings, allow_outside=allow_outside)
    data = settings.data
    with open_cluster(scheduler, local_workers) as cluster:
        return build_store(manifest, data.place, data, device, rehash=rehash, cluster=cluster, on_progress=on_progress)


def open_store(
    cache: str | Path = "features.zarr",
    *,
    endpoint: str | None = None,
    region: str | None = None,
    local_cache: str | Path | None = None,
    local_cache_gb: float | None = None,
) -> "Store":
    """Open a cache, or a file that ``batcache export`` wrote. It gives frames, bags and its index as plain arrays.

    Args:
        cache: a path or ``s3://bucket/path``, reached at ``endpoint`` and in ``region``.
        local_cache: a folder that keeps what is read from S3, up to ``local_cache_gb``, by default 50 (10^9 bytes).

    Raises:
        ConfigError: one of these is wrong.
        StoreError: missing, damaged, or of a format that this batcache does not know.
    """
    from batcache.store.open import open_store as open_cache
    from batcache.store.settings import reach_cache

    local = {"local_cache": local_cache, "local_cache_gb": local_cache_gb}
    return open_cache(reach_cache(str(cache), endpoint, region, **local))
