"""What only the sounds of a manifest's recordings tell: that one sound is there twice, and is told of in two ways."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from batcache.errors import ManifestError, quote
from batcache.manifest.cells import UNKNOWN
from batcache.manifest.manifest import Clip, Manifest, refuse_two_splits


def check_contents(
    manifest: Manifest, content_of: Mapping[str, str], recording_of: Mapping[str, str] | None = None
) -> None:
    """Refuse one content under two names, in two splits or with opposite labels, and two channels of one recording in
    two splits. ``content_of`` gives the content hash of a filename, ``recording_of`` one that its channels share.

    Raises:
        ManifestError: naming both files. Filenames that ``content_of`` lacks are not checked.
    """
    copies = _list_copies(manifest.clips, content_of)
    refuse_two_splits(copies, "content", lambda clip: content_of.get(clip.filename), lambda clip: clip.filename)
    if recording_of and recording_of != content_of:
        channels = "recording, of which another channel is taken,"
        shared = _list_copies(manifest.clips, recording_of)
        refuse_two_splits(shared, channels, lambda clip: recording_of.get(clip.filename), lambda clip: clip.filename)
    _refuse_opposite_labels(copies, manifest.species, content_of)


def _list_copies(clips: Sequence[Clip], content_of: Mapping[str, str]) -> list[Clip]:
    """The clips of recordings whose content other recordings have too."""
    if len(set(content_of.values())) == len(content_of):  # nearly always
        return []
    copied = {content for content, names in Counter(content_of.values()).items() if names > 1}
    return [clip for clip in clips if content_of.get(clip.filename) in copied]


def _refuse_opposite_labels(copies: Iterable[Clip], species: Sequence[str], content_of: Mapping[str, str]) -> None:
    """Refuse 1 and 0 for one species in one span of one sound."""
    said: dict[tuple[str, float, float | None, int], Clip] = {}
    for clip in copies:
        content = content_of[clip.filename]
        for i, label in enumerate(clip.labels):
            if label == UNKNOWN:
                continue
            earlier = said.setdefault((content, clip.start_s or 0.0, clip.duration_s, i), clip)
            if earlier.labels[i] != label:
                finding = (
                    f"{quote(clip.filename)} is the same sound as {quote(earlier.filename)} at {earlier.place}, but "
                    f"{quote(species[i])} is {label} here and {earlier.labels[i]} there"
                )
                raise ManifestError(clip.place, finding, "Correct one of the rows, or delete it")
