"""Simulated clips of species that the simulator knows, for those of which few clips are labelled.

What field guides say of a species' calls teaches it from the first clip on: the simulator's own repertoire of European
bats, and of others a guide of the user's (``training.guide``), which wins over the repertoire. Of a species with as
many clips of its own as ``training.simulated_clips`` none are simulated.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from msgspec import Struct
from torch import Tensor

from batcache.config.features import FeatureConfig
from batcache.errors import ManifestError, quote
from batcache.manifest.label_counts import SpeciesCounts
from batcache.model.trunk import FrozenTrunk
from batcache.progress import OnProgress
from batcache.species.resolve import shipped_names
from batcache.synth.calls import HEARD_SHARE
from batcache.synth.guide import GuideCall, find_voices
from batcache.synth.repertoire import BY_NAME
from batcache.synth.species import Species
from batcache.training.clips.embeddings import embed_frames
from batcache.training.clips.simulated import KNOWN_RATES_HZ, draw_rate, hear, render_part


class SimulatedClip(Struct, frozen=True):
    """The ``number``-th clip of a species, and its labels: 1 its own, 0 others, -1 what is no single known species."""

    voice: Species
    number: int
    rate_hz: int
    labels: tuple[int, ...]

    @property
    def text(self) -> str:
        """What ``recall_clips`` makes it again from."""
        return f"{self.rate_hz} {self.number} {self.voice.name}"


def plan_clips(
    species: Sequence[SpeciesCounts],
    least: int,
    features: FeatureConfig,
    rates_hz: Sequence[int],
    kept: Collection[str] = (),
    guide: Sequence[GuideCall] = (),
) -> tuple[SimulatedClip, ...]:
    """What to simulate so that each taught species that simulator or ``guide`` know has ``least`` training clips.

    Columns, and the guide, may name a species in Latin, in English or by a code that no other species has; what has no
    such name they have to spell alike. None of those ``kept`` from an earlier model is simulated, nor any that calls
    above or below what the features hold. Of ``rates_hz``, the recorders', those count that the simulator knows.

    >>> from collections import Counter
    >>> names = "Myotis myotis", "Myotis sp.", "common pipistrelle"
    >>> one, genus, many = (SpeciesCounts(name, Counter(train=n), Counter(train=9)) for n, name in enumerate(names, 1))
    >>> [clip.text for clip in plan_clips([one, genus, many], 2, FeatureConfig(), [384_000])]
    ['384000 0 Myotis myotis']
    """
    rates = tuple(rate for rate in rates_hz if KNOWN_RATES_HZ[0] <= rate <= KNOWN_RATES_HZ[1])
    voices = known_voices(guide)
    names = _names([row.species for row in species], voices)
    present: dict[str, int] = {}
    for name, row in zip(names, species, strict=True):
        if name is not None and name in voices and row.is_taught and row.species not in kept:
            present[name] = min(row.present["train"], present.get(name, least))
    heard_at = {name: tuple(rate for rate in rates if _is_heard(voices[name], features, rate)) for name in present}
    return tuple(
        SimulatedClip(voices[name], number, draw_rate(f"{name} {number}", heard_at[name]), _label(name, names))
        for name, there in present.items()
        if heard_at[name]
        for number in range(least - there)
    )


def check_names(guide: Sequence[GuideCall], place: Path) -> None:
    """See that each row names a species: of a genus, nobody would know which of its species calls so.

    Raises:
        ManifestError: a name of several.
    """
    for call in guide:
        if _is_group(call.species):
            finding = f"{quote(call.species)} is the name of a group, or of several species"
            raise ManifestError(place, finding, "Name one species, or one that nothing else is called")


def known_voices(guide: Sequence[GuideCall]) -> Mapping[str, Species]:
    """The voices of simulator and guide, by Latin name where they have one."""
    return BY_NAME | find_voices(replace(call, species=_name(call.species)) for call in guide)


def list_twins(species: Sequence[str]) -> list[tuple[str, ...]]:
    """The columns that name one species by several of its names, as by its Latin and its English one."""
    named: dict[str, list[str]] = {}
    for column in species:
        if latin := shipped_names().latin(column):
            named.setdefault(latin, []).append(column)
    return [tuple(columns) for columns in named.values() if len(columns) > 1]


def list_strangers(guide: Sequence[GuideCall], species: Sequence[str]) -> list[str]:
    """The species of a guide that none of these columns names."""
    there = set(_names(species, known_voices(guide)))
    return [name for name in dict.fromkeys(call.species for call in guide) if _name(name) not in there]


def list_described(guide: Sequence[GuideCall], clips: Sequence[SimulatedClip]) -> list[str]:
    """The species of a guide of which there are clips."""
    return sorted({_name(call.species) for call in guide} & {clip.voice.name for clip in clips})


def list_unknown(guide: Sequence[GuideCall], species: Sequence[str]) -> list[str]:
    """The columns of which neither simulator nor guide know how they call, and which a guide could tell."""
    voices = known_voices(guide)
    return [name for name in species if _name(name) not in voices and not _is_group(name)]


def list_known(guide: Sequence[GuideCall], species: Sequence[str]) -> list[str]:
    """The columns of which simulator or guide know how they call."""
    voices = known_voices(guide)
    return [name for name in species if _name(name) in voices]


def _is_heard(voice: Species, features: FeatureConfig, rate_hz: int) -> bool:
    """Whether features and a recorder of this rate hold the frequencies that its kinds of calls linger at."""
    knees = [kind.knee_khz for kind in voice.types]
    lowest = 1000 * max(knee.mean for knee in knees)  # of one kind at least
    highest = 1000 * max(knee.mean + 2 * knee.sd for knee in knees)
    return features.fmin < lowest and highest < min(features.fmax, HEARD_SHARE * rate_hz / 2)


def recall_clips(
    texts: Sequence[str], species: Sequence[str], guide: Sequence[GuideCall] = ()
) -> tuple[SimulatedClip, ...]:
    """The clips that these texts tell, with labels for these species.

    Raises:
        ValueError: a text is none of a clip.
    """
    voices, clips = known_voices(guide), []
    names = _names(species, voices)
    for text in texts:
        rate, number, name = text.split(" ", 2)
        if name not in voices or not KNOWN_RATES_HZ[0] <= int(rate) <= KNOWN_RATES_HZ[1]:
            raise ValueError(f"{text} is no clip that can be simulated")
        clips.append(SimulatedClip(voices[name], int(number), int(rate), _label(name, names)))
    return tuple(clips)


def _is_group(name: str) -> bool:
    """Whether several species are called so."""
    return bool(shipped_names().find(name)) and shipped_names().latin(name) is None


def _name(text: str) -> str:
    return shipped_names().latin(text) or text


def _names(columns: Sequence[str], voices: Collection[str]) -> list[str | None]:
    """The name of each column's species; None where it is none, or several."""
    return [name if (name := _name(column)) in voices else shipped_names().latin(column) for column in columns]


def _label(name: str, columns: Sequence[str | None]) -> tuple[int, ...]:
    """What is known of each column where this species calls. A name of the user's own may mean any kind of call."""
    is_species = shipped_names().latin(name) is not None
    return tuple(
        1 if column == name else 0 if is_species and column and shipped_names().latin(column) else -1
        for column in columns
    )


def embed_clips(
    clips: Sequence[SimulatedClip],
    trunk: FrozenTrunk,
    features: FeatureConfig,
    frames_per_instance: int,
    device: torch.device,
    on_progress: OnProgress,
) -> tuple[Tensor, ...]:
    """Simulate clips and keep what a trunk makes of each, by steps: the same for the same arguments.

    The last instance of a clip is padded, as that of a bag is. Shape: as of ``embed_frames``

    Raises:
        RunError: see ``embed_frames``.
    """
    embedded = []
    for clip, frames in zip(clips, _simulate(clips, features, on_progress), strict=True):
        count = -(-len(frames) // frames_per_instance)
        padded = torch.nn.functional.pad(frames, (0, 0, 0, count * frames_per_instance - len(frames)))
        cut = padded.view(count, frames_per_instance, -1)
        embedded.append(embed_frames(trunk, cut, device, f"a simulated clip of {clip.voice.name}", by_steps=True))
    return tuple(embedded)


_kept: dict[tuple[Species, int, int, FeatureConfig], Tensor] = {}
"""Clips of these features and these voices, for trainings that follow. At most some 1.3 MB a clip."""


def _simulate(clips: Sequence[SimulatedClip], features: FeatureConfig, on_progress: OnProgress) -> list[Tensor]:
    """The features of each clip. Shape: ``[F, M]`` float16 each"""
    keys = [(clip.voice, clip.number, clip.rate_hz, features) for clip in clips]
    voices = {clip.voice.name: clip.voice for clip in clips}
    for other in [key for key in _kept if key[3] != features or voices.get(key[0].name, key[0]) != key[0]]:
        del _kept[other]
    missing = [i for i, key in enumerate(keys) if key not in _kept]
    draws = [partial(render_part, f"{clips[i].voice.name} {clips[i].number}", [clips[i].voice]) for i in missing]
    heard = hear(draws, [clips[i].rate_hz for i in missing], features, on_progress)
    _kept.update(zip((keys[i] for i in missing), heard, strict=True))
    return [_kept[key] for key in keys]
