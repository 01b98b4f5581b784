"""What to know before a training starts: what it cannot learn, and what its validation cannot see."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from batcache.config.features import FeatureConfig
from batcache.config.settings import Config
from batcache.config.unused import list_unused
from batcache.errors import count, did_you_mean, list_some
from batcache.manifest.call_range import warn_of_cut_calls
from batcache.manifest.label_counts import SpeciesCounts
from batcache.model.transfer import Transfer
from batcache.store.reader import Store
from batcache.training.clips.known_species import list_described, list_known, list_strangers, list_twins, list_unknown
from batcache.training.inputs import Split
from batcache.training.kernel import LEAST_KNOWN


def list_notes(
    config: Config,
    store: Store,
    split: Split,
    species: Sequence[SpeciesCounts],
    transfer: Transfer | None = None,
    kept: Collection[str] = (),
) -> list[str]:
    """Name, in a sentence each, what a run goes on from, and what clips, labels and features keep it from learning.

    ``kept`` are the species that have scores from an earlier model, whether or not they are taught here.
    """
    notes = [] if transfer is None else [_describe_transfer(config.model.init, transfer)]
    notes += split.notes
    if not any(bag.clip.group for bag in (*split.train, *split.val, *split.others)):
        notes.append(
            "no clip has a group: where clips of one night lie on both sides of a split, scores are too good and "
            "nobody sees it. Name site and night in a group column"
        )
    notes += [
        f"{' and '.join(columns)} are one species, taught and scored as if they were several. Make one column of them"
        for columns in list_twins([row.species for row in species])
    ]
    lacking = [row for row in species if not row.is_taught]
    untaught = [f"{row.species} ({_what_lacks(row)})" for row in lacking if row.species not in kept]
    if untaught:
        names = ", ".join(untaught)
        notes.append(f"not taught, and without scores afterwards, as one label alone teaches nothing: {names}")
    remembered = [row.species for row in lacking if row.species in kept]
    if remembered:
        notes.append(
            f"not taught here, where the clips hold one label alone: {', '.join(remembered)}. Their scores are those "
            "of the model before, and may become worse while the others learn"
        )
    most, frames = config.training.max_instances, config.data.frames_per_instance
    cropped = sum(bag.instances(frames) > most for bag in split.train)
    if cropped:
        seconds = most * frames / store.features.frames_per_second
        notes.append(
            f"{cropped:,} of {count(len(split.train), 'training clip')} last longer than {seconds:g} s: each epoch "
            f"sees another {seconds:g} s of them, which may lack the call (training.max_instances {most})"
        )
    if config.model.trains_heads_alone and (sounds := config.training.simulated_sounds):
        notes.append(
            f"{sounds:,} simulated sounds, a third of them with bats, teach beside the clips what is no bat at all "
            "(training.simulated_sounds)"
        )
    if strangers := list_strangers(split.guide, [row.species for row in species]):
        meant = " ".join(filter(None, (did_you_mean(name, [row.species for row in species]) for name in strangers)))
        where = f"{config.training.guide}: no column is {list_some(strangers)}; those rows are not used"
        notes.append(f"{where}. {meant}" if meant else where)
    known = sum(1 in labels for labels in split.labels)
    if config.model.trains_heads_alone and transfer is None and known < LEAST_KNOWN:
        notes.append(
            f"{count(known, 'training clip')} with a species, fewer than {LEAST_KNOWN}, cannot tell how far bats may "
            "differ: those of other species are not doubted, and may get one of these names"
        )
    if unused := list_unused(config):
        where = "on heads alone" if config.model.trains_heads_alone else "where convolutions learn"
        notes.append(f"without effect {where}: {', '.join(unused)}")
    cut = warn_of_cut_calls([row.species for row in species if any(row.present.values())], store.features.fmax)
    return [*notes, cut] if cut else notes


def _describe_transfer(init: str | Path, transfer: Transfer) -> str:
    """What is taken of an earlier model, and what is not."""
    left = f". Not taken: {', '.join(transfer.left)}" if transfer.left else ""
    if not transfer.takes_heads:
        return f"starts on the trunk of {init}{left}"
    kept, new = transfer.kept, transfer.new
    named = [f" ({list_some(names)})" if names else "" for names in (kept, new)]
    are = "is" if len(new) == 1 else "are"
    return f"goes on from {init}: kept {len(kept)} species{named[0]}, {len(new)} {are} new{named[1]}{left}"


def list_simulated(
    split: Split, species: Sequence[SpeciesCounts], kept: Collection[str], least: int, features: FeatureConfig
) -> Iterator[str]:
    """How many clips are simulated, and which species have fewer clips than ``least`` and none of these."""
    helped = [any(clip.labels[i] == 1 for clip in split.simulated) for i in range(len(species))]
    if split.simulated:
        clips, told = count(len(split.simulated), "simulated clip"), len(list_described(split.guide, split.simulated))
        by_guide = f", {told} of them as your guide says," if told else ""
        yield f"{clips} of {sum(helped)} species with fewer than {least}{by_guide} teach too (training.simulated_clips)"
    few = [row.is_taught and row.present["train"] < least and row.species not in kept for row in species]
    without = [row.species for row, is_few, is_helped in zip(species, few, helped, strict=True) if is_few > is_helped]
    if unknown := list_unknown(split.guide, without):
        yield (
            f"fewer than {least} training clips hold {list_some(unknown)}, and none are simulated, as the simulator "
            "knows none by that name: --guide tells it how species call (training.guide)"
        )
    if unheard := list_known(split.guide, without):
        yield (
            f"fewer than {least} training clips hold {list_some(unheard)}, and none are simulated: features from "
            f"{features.fmin / 1000:g} to {features.fmax / 1000:g} kHz, or your recorders, do not hold where they call"
        )


def _what_lacks(row: SpeciesCounts) -> str:
    lacking = [name for name, counts in (("with it", row.present), ("without it", row.absent)) if not counts["train"]]
    return f"no training clip known to be {' or '.join(lacking)}"
