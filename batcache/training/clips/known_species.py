"""Simulated clips of species that the simulator knows, for those of which few clips are labelled.

What field guides say of a species' calls teaches it from the first clip on. Of a species with as many clips of its own
as ``training.simulated_clips`` none are simulated.
"""

from collections.abc import Collection, Sequence
from functools import partial

import torch
from msgspec import Struct
from torch import Tensor

from batcache.config.features import FeatureConfig
from batcache.manifest.label_counts import SpeciesCounts
from batcache.model.trunk import FrozenTrunk
from batcache.progress import OnProgress
from batcache.species.resolve import shipped_names
from batcache.synth.repertoire import BY_NAME
from batcache.training.clips.embeddings import embed_frames
from batcache.training.clips.simulated import KNOWN_RATES_HZ, draw_rate, hear, render_part


class SimulatedClip(Struct, frozen=True):
    """The ``number``-th clip of a species, and its labels: 1 its own, 0 others, -1 what is no single known species."""

    latin: str
    number: int
    rate_hz: int
    labels: tuple[int, ...]

    @property
    def text(self) -> str:
        """What ``recall_clips`` makes it again from."""
        return f"{self.rate_hz} {self.number} {self.latin}"


def plan_clips(
    species: Sequence[SpeciesCounts],
    least: int,
    features: FeatureConfig,
    rates_hz: Sequence[int],
    kept: Collection[str] = (),
) -> tuple[SimulatedClip, ...]:
    """What to simulate so that each taught species that the simulator knows has ``least`` training clips.

    Columns may name a species in Latin, in English or by a code that no other species has. None of those ``kept`` from
    an earlier model is simulated, nor any that calls above what the features hold. Of ``rates_hz``, the recorders',
    those count that the simulator knows.

    >>> from collections import Counter
    >>> names = "Myotis myotis", "Myotis sp.", "common pipistrelle"
    >>> one, genus, many = (SpeciesCounts(name, Counter(train=n), Counter(train=9)) for n, name in enumerate(names, 1))
    >>> [clip.text for clip in plan_clips([one, genus, many], 2, FeatureConfig(), [384_000])]
    ['384000 0 Myotis myotis']
    """
    rates = tuple(rate for rate in rates_hz if KNOWN_RATES_HZ[0] <= rate <= KNOWN_RATES_HZ[1])
    latin = _latin([row.species for row in species])
    present: dict[str, int] = {}
    for name, row in zip(latin, species, strict=True):
        if name in BY_NAME and row.is_taught and row.species not in kept:
            present[name] = min(row.present["train"], present.get(name, least))
    heard_at = {
        name: tuple(rate for rate in rates if _highest_hz(name) < min(features.fmax, rate / 2)) for name in present
    }
    return tuple(
        SimulatedClip(name, number, draw_rate(f"{name} {number}", heard_at[name]), _label(name, latin))
        for name, there in present.items()
        if heard_at[name]
        for number in range(least - there)
    )


def _highest_hz(latin: str) -> float:
    """The highest of the frequencies that its kinds of calls linger at."""
    return 1000 * max(kind.knee_khz.mean for kind in BY_NAME[latin].types)


def recall_clips(texts: Sequence[str], species: Sequence[str]) -> tuple[SimulatedClip, ...]:
    """The clips that these texts tell, with labels for these species.

    Raises:
        ValueError: a text is none of a clip.
    """
    latin, clips = _latin(species), []
    for text in texts:
        rate, number, name = text.split(" ", 2)
        if name not in BY_NAME or not KNOWN_RATES_HZ[0] <= int(rate) <= KNOWN_RATES_HZ[1]:
            raise ValueError(f"{text} is no clip that can be simulated")
        clips.append(SimulatedClip(name, int(number), int(rate), _label(name, latin)))
    return tuple(clips)


def _latin(species: Sequence[str]) -> list[str | None]:
    return [shipped_names().latin(name) for name in species]


def _label(latin: str, columns: Sequence[str | None]) -> tuple[int, ...]:
    return tuple(-1 if column is None else int(column == latin) for column in columns)


def embed_clips(
    clips: Sequence[SimulatedClip],
    trunk: FrozenTrunk,
    features: FeatureConfig,
    frames_per_instance: int,
    device: torch.device,
    on_progress: OnProgress,
    *,
    by_steps: bool = False,
) -> tuple[Tensor, ...]:
    """Simulate clips and keep what a trunk makes of each: the same for the same arguments.

    The last instance of a clip is padded, as that of a bag is. Shape: as of ``embed_frames``

    Raises:
        RunError: see ``embed_frames``.
    """
    embedded = []
    for clip, frames in zip(clips, _simulate(clips, features, on_progress), strict=True):
        count = -(-len(frames) // frames_per_instance)
        padded = torch.nn.functional.pad(frames, (0, 0, 0, count * frames_per_instance - len(frames)))
        cut = padded.view(count, frames_per_instance, -1)
        embedded.append(embed_frames(trunk, cut, device, f"a simulated clip of {clip.latin}", by_steps=by_steps))
    return tuple(embedded)


_kept: dict[tuple[str, int, int, FeatureConfig], Tensor] = {}
"""What was asked for last, for trainings that follow. At most some 1.3 MB a clip."""


def _simulate(clips: Sequence[SimulatedClip], features: FeatureConfig, on_progress: OnProgress) -> list[Tensor]:
    """The features of each clip. Shape: ``[F, M]`` float16 each"""
    keys = [(clip.latin, clip.number, clip.rate_hz, features) for clip in clips]
    for other in [key for key in _kept if key[3] != features]:
        del _kept[other]
    missing = [i for i, key in enumerate(keys) if key not in _kept]
    draws = [partial(render_part, f"{clips[i].latin} {clips[i].number}", [BY_NAME[clips[i].latin]]) for i in missing]
    heard = hear(draws, [clips[i].rate_hz for i in missing], features, on_progress)
    _kept.update(zip((keys[i] for i in missing), heard, strict=True))
    return [_kept[key] for key in keys]
