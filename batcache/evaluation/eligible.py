"""Which clips a model may be judged on: those of its species, in splits that it has not learnt from."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from msgspec import structs

from batcache.errors import RunError, count, list_some
from batcache.evaluation.calls import Call
from batcache.evaluation.outcomes import FOLDS, read_outcomes
from batcache.manifest.manifest import Manifest
from batcache.training.clips.bags import Bag
from batcache.training.clips.splits import ClipKey, SplitRow, clip_key
from batcache.training.lineage import OTHER_NIGHTS, Heard


def in_order(manifest: Manifest, species: Sequence[str]) -> Manifest:
    """The manifest with its species in the model's order.

    Raises:
        RunError: they are others than the model's.
    """
    if set(manifest.species) != set(species):
        only_csv, only_model = set(manifest.species) - set(species), set(species) - set(manifest.species)
        finding = f"species differ: only in the CSV {_listed(only_csv)}; only in the model {_listed(only_model)}"
        raise RunError(manifest.csvs[0], finding, "Pass the CSV that the model was trained with, or train again")
    place = [manifest.species.index(name) for name in species]
    clips = tuple(structs.replace(clip, labels=tuple(clip.labels[i] for i in place)) for clip in manifest.clips)
    return replace(manifest, species=tuple(species), clips=clips)


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def with_splits(bags: Sequence[Bag], splits: Mapping[ClipKey, SplitRow]) -> tuple[Bag, ...]:
    """Give bags the split that the run gave them; clips that it did not know keep their own."""
    return tuple(bag.with_split(splits[clip_key(bag)].split) if clip_key(bag) in splits else bag for bag in bags)


def refuse_folds(split: str, manifest: Manifest, run: Path) -> None:
    """See that the folds of a cross-validation, which are no split of a CSV, are not to be judged as one.

    Raises:
        RunError: they are.
    """
    if split != FOLDS or FOLDS in manifest.splits:
        return
    finding = "folds are no split: `batcache train --folds 5` judges each by a model of the others, while it trains"
    again = f"`batcache report {run} --split {FOLDS}` writes what they came to"
    remedy = again if FOLDS in read_outcomes(run) else f"Train so; then {again}. Or name a split of the CSV"
    raise RunError(run, finding, remedy)


def refuse_trained(bags: Sequence[Bag], heard: Heard, checkpoint_path: Path) -> None:
    """See that a model has learnt from none of these clips, nor from others of their groups.

    Raises:
        RunError: it has.
    """
    if seen := heard.among(bags):
        names = list_some(bag.clip.filename for bag in seen)
        finding = f"trained on {len(seen):,} of {count(len(bags), 'clip')}, or on others of the same groups: {names}"
        raise RunError(checkpoint_path, finding, f"Judge it on clips of other groups, {OTHER_NIGHTS}")


def marks_any(calls: Mapping[str, Sequence[Call]], bags: Sequence[Bag], species: Sequence[str]) -> bool:
    """Whether a call is known of a species in a clip that holds it; also where no clip is known to hold any."""
    present = {
        (bag.clip.filename, name) for bag in bags for name, y in zip(species, bag.clip.labels, strict=True) if y == 1
    }
    return not present or not present.isdisjoint(
        (name, call.species) for name, found in calls.items() for call in found
    )
