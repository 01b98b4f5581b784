"""What to know before a training starts: what it cannot learn, and what its validation cannot see."""

from collections.abc import Sequence

from batcache.config.settings import Config
from batcache.errors import count
from batcache.manifest.call_range import warn_of_cut_calls
from batcache.manifest.label_counts import SpeciesCounts
from batcache.store.reader import Store
from batcache.training.inputs import Split


def list_notes(config: Config, store: Store, split: Split, species: Sequence[SpeciesCounts]) -> list[str]:
    """Name, in a sentence each, what clips, labels and features keep a model from learning."""
    notes = [*split.notes]
    if not any(bag.clip.group for bag in (*split.train, *split.val, *split.others)):
        notes.append(
            "no clip has a group: where clips of one night lie on both sides of a split, scores are too good and "
            "nobody sees it. Name site and night in a group column"
        )
    untaught = [f"{row.species} ({_what_lacks(row)})" for row in species if not row.is_taught]
    if untaught:
        names = ", ".join(untaught)
        notes.append(f"not taught, and without scores afterwards, as one label alone teaches nothing: {names}")
    most, frames = config.training.max_instances, config.data.frames_per_instance
    cropped = sum(bag.instances(frames) > most for bag in split.train)
    if cropped:
        seconds = most * frames / store.features.frames_per_second
        notes.append(
            f"{cropped:,} of {count(len(split.train), 'training clip')} last longer than {seconds:g} s: each epoch "
            f"sees another {seconds:g} s of them, which may lack the call (training.max_instances {most})"
        )
    cut = warn_of_cut_calls([row.species for row in species], store.features.fmax)
    return [*notes, cut] if cut else notes


def _what_lacks(row: SpeciesCounts) -> str:
    lacking = [name for name, counts in (("with it", row.present), ("without it", row.absent)) if not counts["train"]]
    return f"no training clip known to be {' or '.join(lacking)}"
