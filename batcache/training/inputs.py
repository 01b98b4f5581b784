"""What a run trains on: its clips, and a digest of all that decides its outcome."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from batcache.config.features import digest, digest_with_rows, settings_to_hash
from batcache.config.settings import AugmentationConfig, Config, ConvLayer, ModelConfig, TrainingConfig
from batcache.config.unused import drop_unused
from batcache.errors import count
from batcache.manifest.manifest import Manifest
from batcache.manifest.split_names import nearest_split
from batcache.model.provenance import TrainedOn, shorten_content
from batcache.model.start import describe_start
from batcache.storage.listing import is_there
from batcache.storage.memory import no_garbage
from batcache.store.reader import Store
from batcache.synth.guide import GuideCall, read_guide
from batcache.training.clips.bags import Bag, Joined, join
from batcache.training.clips.known_species import SimulatedClip, check_names, list_strangers
from batcache.training.clips.splits import clip_key, require_split, share_groups
from batcache.training.clips.subset import draw_subset
from batcache.training.runs import LAST, list_runs

TRAINING_VERSION = 2
"""Raised whenever code changes what a training makes of the same inputs: finished runs are then not up to date."""
HEADS_VERSION = 11
"""Raised in its stead where the code changes for heads on a trunk."""
LEFT_OUT = "left out"
"""The split of training clips from which a run does not learn, as it was told to learn from few."""
_HARMLESS_NAMES = "run_dir", "workers", "keep_on_gpu", "guide"
_HARMLESS: dict[str, Any] = {name: getattr(TrainingConfig(), name) for name in _HARMLESS_NAMES}
"""Settings that decide nothing of the outcome, as their defaults, which enter no digest. What a guide holds does."""
_FIRST_KEYS = {
    "model": {"pooling_type", "conv_layers", "rnn_hidden_size", "rnn_layers", "dropout"},
    "conv_layers": {"filters", "kernel_size", "stride", "padding"},
    "training": {
        "batch_size",
        "epochs",
        "learning_rate",
        "weight_decay",
        "class_weights",
        "scheduler",
        "patience",
        "grad_clip",
        "max_instances",
        "validation_share",
        "seed",
    },
    "augmentation": {
        "time_masking",
        "time_mask_param",
        "freq_masking",
        "freq_mask_param",
        "noise_injection",
        "noise_std",
    },
}
"""The settings that enter every digest, by section; a setting added later does not belong to them."""


@dataclass(frozen=True)
class Split:
    """The bags of a run, what is simulated to learn from beside them, and what to tell about how they were chosen.

    ``guide`` is what the user tells the simulator, who knows more species by it.
    """

    train: tuple[Bag, ...]
    val: tuple[Bag, ...]
    others: tuple[Bag, ...]
    notes: tuple[str, ...] = field(default=())
    simulated: tuple[SimulatedClip, ...] = ()
    guide: tuple[GuideCall, ...] = ()

    @property
    def labels(self) -> list[tuple[int, ...]]:
        """What is known of each training clip. Shape: ``[B, C]``"""
        return [bag.clip.labels for bag in self.train]

    @property
    def trained_on(self) -> TrainedOn:
        """How many clips there are to learn from, in all and of each species, and what is validated on."""
        by_species = list(zip(*self.labels, strict=True))
        return TrainedOn(
            clips=len(self.train),
            groups=len({bag.clip.group_or_recording for bag in self.train}),
            present=tuple(labels.count(1) for labels in by_species),
            absent=tuple(labels.count(0) for labels in by_species),
            contents=_shorten_contents(self.train),
            validated=_shorten_contents(self.val),
            simulated=tuple(labels.count(1) for labels in zip(*(clip.labels for clip in self.simulated), strict=True)),
        )


def _shorten_contents(bags: Iterable[Bag]) -> tuple[int, ...]:
    """The contents of the recordings of these bags, each once and sorted, as a checkpoint keeps them."""
    return tuple(sorted({shorten_content(bag.row.content) for bag in bags}))


def choose_split(joined: Joined, manifest: Manifest, config: Config) -> Split:
    """Take splits from the CSV; without validation clips, draw groups of the training clips.

    Heads on a frozen trunk learn from all training clips: no epoch is chosen, so nothing has to choose it. Clips that
    ``data.clips_per_species`` leaves out get a split of their own.

    Args:
        joined: the manifest's bags.
        manifest: where they come from, for errors.
        config: ``training.validation_share`` says how much to draw, ``training.seed`` decides which.

    Raises:
        ManifestError: no training clips, no second group to validate on, or a guide that cannot be used.
    """
    train, val = joined.split("train"), joined.split("val")
    others = tuple(bag for bag in joined.bags if bag.clip.split not in ("train", "val"))
    notes = joined.notes()
    unused = Counter(bag.clip.split or "none" for bag in others if bag.clip.split != "test")
    notes += [
        f"not used: {count(clips, 'clip')} of split {name}, which is neither train, val nor test"
        f"{f': did you mean {near}?' if (near := nearest_split(name)) else ''}"
        for name, clips in unused.items()
    ]
    require_split(train, manifest, "train")
    if not val and not config.model.trains_heads_alone:
        train, val = share_groups(train, config.training.validation_share, config.training.seed)
        units = " or ".join(sorted({"group" if bag.clip.group else "recording" for bag in val}))
        drawn = count(len({bag.clip.group_or_recording for bag in val}), units)
        notes.append(f"no clip of split val: validated on {count(len(val), 'training clip')} of {drawn}, drawn by seed")
    if most := config.data.clips_per_species:
        is_kept = draw_subset(train, most, config.training.seed)
        out = [bag for bag, kept in zip(train, is_kept, strict=True) if not kept]
        few = tuple(bag for bag, kept in zip(train, is_kept, strict=True) if kept)
        whole = f"{len(out):,} of {count(len(train), 'training clip')} left out (data.clips_per_species {most})"
        lost = [name for i, name in enumerate(manifest.species) if _holds(train, i) and not _holds(few, i)]
        notes.append(whole + (f", among them all with {', '.join(lost)}" if lost else ""))
        train = few
        others += tuple(bag.with_split(LEFT_OUT) for bag in out)
    return Split(train, val, others, tuple(notes), guide=read_given_guide(config))


def read_given_guide(config: Config) -> tuple[GuideCall, ...]:
    """The guide that the settings name, where heads may learn from it.

    Raises:
        ManifestError: see ``read_guide`` and ``check_names``.
    """
    place = drop_unused(config).training.guide
    if place is None:
        return ()
    guide = read_guide(place)
    check_names(guide, place)
    return guide


def split_settings(config: Config) -> tuple[object, ...]:
    """The settings by which ``choose_split`` chooses among the same clips: where they are the same, so is the split."""
    share = None if config.model.trains_heads_alone else config.training.validation_share
    most = config.data.clips_per_species
    return share, most, None if share is None and most is None else config.training.seed


def _holds(bags: Sequence[Bag], species: int) -> bool:
    return any(bag.clip.labels[species] == 1 for bag in bags)


def find_run(config: Config, store: Store, manifest: Manifest) -> Path | None:
    """The newest run in ``training.run_dir`` on just these settings, clips and code that can be judged or resumed.

    Raises:
        ManifestError: see ``join`` and ``choose_split``.
    """
    split = choose_split(join(manifest, store), manifest, config)
    inputs = describe_inputs(config, store, split, manifest.species)
    found = [
        (about["started"], run)
        for run, about in list_runs(config.training.run_dir).items()
        if about["inputs"] == inputs and is_there(run / LAST)
    ]
    return max(found)[1] if found else None


def describe_inputs(
    config: Config,
    store: Store,
    split: Split,
    species: Sequence[str],
    start: str | None = None,
    *,
    clips: str | None = None,
) -> str:
    """Digest of all that decides a training's outcome, to tell whether a run is up to date.

    ``start`` is the digest of what a run began with, where that is known, or may have gone since; ``clips`` what
    ``describe_clips`` gives, where the caller has it: a million clips take seconds.
    """
    clips = clips or describe_clips(config, store, split, species)
    layers = [
        settings_to_hash(ConvLayer, layer, _FIRST_KEYS["conv_layers"]) for layer in config.model.conv_layers or ()
    ]
    config = drop_unused(config)
    training = replace(config.training, **_HARMLESS)
    model = replace(config.model, init="auto")  # what it names, the digest of the start tells
    settings = {
        "model": settings_to_hash(ModelConfig, model, _FIRST_KEYS["model"]) | {"conv_layers": layers},
        "training": settings_to_hash(TrainingConfig, training, _FIRST_KEYS["training"]),
        "augmentation": settings_to_hash(AugmentationConfig, config.augmentation, _FIRST_KEYS["augmentation"]),
    }
    begun = [start or describe_start(config.model, species), HEADS_VERSION] if config.model.starts_from_trunk else []
    strangers = list_strangers(split.guide, species)
    told = [call.cells for call in split.guide if call.species not in strangers]
    begun += [told] if told else []
    return digest([TRAINING_VERSION, settings, clips, *begun])


@no_garbage()
def describe_clips(config: Config, store: Store, split: Split, species: Sequence[str]) -> str:
    """Digest of what is learnt from: features, clips, labels and splits. A run is resumed only where it is the same."""
    bags = sorted(
        (*clip_key(bag), bag.row.content, bag.row.true_rate, bag.clip.split or "", bag.clip.labels)
        for bag in (*split.train, *split.val)
    )
    cut = [store.attributes["fingerprint"], config.data.frames_per_instance]
    return digest_with_rows([cut, list(species)], bags)
