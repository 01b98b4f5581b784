"""Which clips the rows of a review are: what a person found in recordings wins over what other CSVs say of them.

``batcache review`` writes where a recording lay below the folder that was judged, and the hash of its sound. The cache
that a manifest is joined with may know that sound by another name, from another folder; and another CSV may list it.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from msgspec import structs

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

    A clip that another CSV lists, under whatever name, keeps that row's split and group and takes each label that the
    review knows; what no other CSV lists is a clip of its own. Where another CSV lists parts of a recording that was
    reviewed whole, what is not in it is in none of the parts; what is in it says nothing of each.

    Args:
        clips: of all CSVs.
        species: that their labels are of.
        names_of_contents: asked, where there is a review, for the filenames of each content hash in the cache.
        cache: as errors call it.

    Raises:
        ManifestError: a sound that is not in the cache, or a row without its hash; two reviews that contradict each
            other; parts that all lack what a review found in the whole; a recording or group that would come to lie in
            two splits.
    """
    reviewed = [clip for clip in clips if clip.content is not None]
    if not reviewed:
        return Settled(tuple(clips))
    settled = {_span(clip): clip for clip in clips if clip.content is None}
    parts: dict[str, list[_Span]] = {}
    for span in settled:
        parts.setdefault(span[0], []).append(span)
    said: dict[_Span, Clip] = {}
    for clip in _rename(reviewed, parts, names_of_contents(), cache):
        span = _span(clip)
        said[span] = _merge(said[span], clip, species) if span in said else clip
    corrected = 0
    for span, clip in said.items():
        for listed, labels in _labels_of(span, clip, parts.get(span[0], ()), settled, species):
            before = settled[listed].labels
            after = tuple(old if new == UNKNOWN else new for old, new in zip(before, labels, strict=True))
            corrected += sum(old not in (UNKNOWN, new) for old, new in zip(before, after, strict=True))
            settled[listed] = structs.replace(settled[listed], labels=after)
    ours = {span: clip for span, clip in said.items() if not _is_listed(span, parts.get(span[0], ()))}
    outcome = (*settled.values(), *ours.values())
    refuse_leaks(outcome)
    return Settled(outcome, corrected)


def _is_whole(span: _Span) -> bool:
    return not span[1] and span[2] is None


def _is_listed(span: _Span, parts: Sequence[_Span]) -> bool:
    """Whether another CSV lists this clip, or parts of it."""
    return span in parts or (bool(parts) and _is_whole(span))


def _labels_of(
    span: _Span, clip: Clip, parts: Sequence[_Span], listed: Mapping[_Span, Clip], species: Sequence[str]
) -> Iterator[tuple[_Span, tuple[int, ...]]]:
    """What a reviewed clip says of each clip that is listed."""
    if span in parts:
        yield span, clip.labels
    elif parts and _is_whole(span):
        for i, name in enumerate(species):
            if clip.labels[i] == 1 and all(listed[part].labels[i] == 0 for part in parts):
                finding = (
                    f"{quote(name)} is in {quote(clip.filename)}, and in none of its parts at {listed[parts[0]].place}"
                )
                raise ManifestError(clip.place, finding, "Say in these rows in which part it is")
        absent = tuple(0 if label == 0 else UNKNOWN for label in clip.labels)
        yield from ((part, absent) for part in parts)


def leave_cached_reviews(manifest: Manifest, names_of_contents: Callable[[], Mapping[str, Sequence[str]]]) -> Manifest:
    """A manifest whose files a build is to find: without rows of reviews that are in the cache, or listed.

    Where all rows are of reviews, it has no CSVs: the cache stays that of the CSVs that it was built from.
    """
    listed = {clip.filename for clip in manifest.clips if clip.content is None}
    if listed and all(clip.content is None for clip in manifest.clips):
        return manifest
    known = names_of_contents()
    left = tuple(
        clip
        for clip in manifest.clips
        if clip.content is None or (clip.content not in known and clip.filename not in listed)
    )
    return replace(manifest, clips=left, csvs=manifest.csvs if listed else ())


def _rename(
    reviewed: Iterable[Clip], listed: Collection[str], names_of: Mapping[str, Sequence[str]], cache: object
) -> Iterator[Clip]:
    """The rows under the names of the cache: under each that is listed, else that of the same name, else the first."""
    missing = []
    for clip in reviewed:
        if not clip.content:
            finding = f"no hash of the sound of {quote(clip.filename)}"
            remedy = "Answer one question more in its review, which writes the table anew, or delete the row"
            raise ManifestError(clip.place, finding, remedy)
        names = names_of.get(clip.content, ())
        if not names:
            missing.append(clip)
            continue
        best = [name for name in names if name in listed] or [
            min(names, key=lambda name: (name != clip.filename, name))
        ]
        yield from (structs.replace(clip, filename=name) for name in dict.fromkeys(best))
    if missing:
        finding = f"not in {cache}: the sound of {list_some(dict.fromkeys(clip.filename for clip in missing))}"
        remedy = f"Run `batcache predict` on the folder that was judged again, with --cache {cache}"
        raise ManifestError(missing[0].place, finding, remedy)


def _span(clip: Clip) -> _Span:
    return clip.filename, round(clip.start_s or 0.0, 6), None if clip.duration_s is None else round(clip.duration_s, 6)


def _merge(first: Clip, second: Clip, species: Sequence[str]) -> Clip:
    """What two rows of reviews say of one clip."""
    for name, one, other in zip(species, first.labels, second.labels, strict=True):
        if {one, other} == {0, 1}:
            finding = f"{quote(name)} is {other} in {quote(second.filename)} here and {one} at {first.place}"
            raise ManifestError(second.place, finding, "Two reviews contradict each other: correct one of them")
    labels = tuple(one if other == UNKNOWN else other for one, other in zip(first.labels, second.labels, strict=True))
    return structs.replace(first, labels=labels)
