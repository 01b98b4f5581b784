"""How many clips of each split hold each species."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from batcache.manifest.label_counts import count_labels
from batcache.manifest.manifest import Clip

SPECIES = ["Myotis", "Nyctalus", "Plecotus"]
CLIPS = st.lists(
    st.tuples(st.sampled_from(["train", "val", None]), st.tuples(*[st.sampled_from([1, 0, -1])] * len(SPECIES))),
    max_size=40,
)


@given(CLIPS)
def test_every_clip_counts_once_for_every_species_of_which_it_is_known(made: list[tuple[str, tuple[int, ...]]]) -> None:
    clips = [Clip(f"{i}.wav", Path("a.csv"), i, labels, split) for i, (split, labels) in enumerate(made)]
    for i, row in enumerate(count_labels(clips, SPECIES)):
        assert row.species == SPECIES[i]
        for split in ("train", "val", None):
            of_split = [clip.labels[i] for clip in clips if clip.split == split]
            assert row.present[split or ""] == of_split.count(1)
            assert row.absent[split or ""] == of_split.count(0)
