"""Which clips the rows of a review are: what a person found in recordings wins over what other CSVs say of them.

``batcache review`` writes where a recording lay below the folder that was judged, and the hash of its sound. The cache
that a manifest is joined with may know that sound by another name, from another folder; and another CSV may list it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from batcache.errors import ManifestError, list_some, quote
from batcache.manifest.cells import UNKNOWN
from batcache.manifest.manifest import Clip, Manifest, refuse_leaks

_Span = tuple[str, float, float | None]


@dataclass(frozen=True)
class Settled:
    """Clips of which each is given once; ``corrected`` counts labels of other CSVs that a review said otherwise."""

    clips: tuple[Clip, ...]
    corrected: int = 0


def settle_reviews(
    clips: Sequence[Clip],
    species: Sequence[str],
    names_of_contents: Callable[[], Mapping[str, Sequence[str]]],
    cache: object,
) -> Settled:
    """Give each row of a review the name by which a cache knows its sound, and its labels to the clip that it is.

    A clip that another CSV lists keeps that row's split and group and takes each label that the review knows; what no
    other CSV lists is a clip of its own.

    Args:
        clips: of all CSVs.
        species: that their labels are of.
        names_of_contents: asked, where there is a review, for the filenames of each content hash in the cache.
        cache: as errors call it.

    Raises:
        ManifestError: a sound that is not in the cache; two reviews that contradict each other; a recording or group
            that would come to lie in two splits.
    """
    reviewed = [clip for clip in clips if clip.content is not None]
    if not reviewed:
        return Settled(tuple(clips))
    listed = {_span(clip): clip for clip in clips if clip.content is None}
    said: dict[_Span, Clip] = {}
    for clip in _rename(reviewed, listed, names_of_contents(), cache):
        span = _span(clip)
        said[span] = _merge(said[span], clip, species) if span in said else clip
    settled, corrected = dict(listed), 0
    for span, clip in said.items():
        if span in listed:
            before = listed[span].labels
            labels = tuple(old if new == UNKNOWN else new for old, new in zip(before, clip.labels, strict=True))
            corrected += sum(old not in (UNKNOWN, new) for old, new in zip(before, labels, strict=True))
            settled[span] = replace(listed[span], labels=labels)
        else:
            settled[span] = clip
    outcome = tuple(settled.values())
    refuse_leaks(outcome)
    return Settled(outcome, corrected)


def leave_cached_reviews(manifest: Manifest, names_of_contents: Callable[[], Mapping[str, Sequence[str]]]) -> Manifest:
    """A manifest without the rows of reviews whose sound is in the cache: a build need not find their files."""
    if all(clip.content is None for clip in manifest.clips):
        return manifest
    known = names_of_contents()
    return replace(
        manifest, clips=tuple(clip for clip in manifest.clips if not clip.content or clip.content not in known)
    )


def _rename(
    reviewed: Iterable[Clip], listed: Iterable[_Span], names_of: Mapping[str, Sequence[str]], cache: object
) -> list[Clip]:
    """The rows under the names of the cache: of several copies that which is listed, else that of the same name."""
    known = {name for name, _, _ in listed}
    renamed, missing = [], []
    for clip in reviewed:
        names = names_of.get(clip.content or "", ())
        if not clip.content:  # of before there was the column, or of a recording that is not known by its sound
            names = (clip.filename,)
        if not names:
            missing.append(clip)
            continue
        best = min(names, key=lambda name: (name not in known, name != clip.filename, name))
        renamed.append(replace(clip, filename=best))
    if missing:
        finding = f"not in {cache}: the sound of {list_some(dict.fromkeys(clip.filename for clip in missing))}"
        remedy = f"Run `batcache predict` on the folder that was judged again, with --cache {cache}"
        raise ManifestError(missing[0].place, finding, remedy)
    return renamed


def _span(clip: Clip) -> _Span:
    return clip.filename, round(clip.start_s or 0.0, 6), None if clip.duration_s is None else round(clip.duration_s, 6)


def _merge(first: Clip, second: Clip, species: Sequence[str]) -> Clip:
    """What two rows of reviews say of one clip."""
    for name, one, other in zip(species, first.labels, second.labels, strict=True):
        if {one, other} == {0, 1}:
            finding = f"{quote(name)} is {other} in {quote(second.filename)} here and {one} at {first.place}"
            raise ManifestError(second.place, finding, "Two reviews contradict each other: correct one of them")
    labels = tuple(one if other == UNKNOWN else other for one, other in zip(first.labels, second.labels, strict=True))
    return replace(first, labels=labels)
