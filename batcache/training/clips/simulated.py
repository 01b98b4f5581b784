"""Sounds that are simulated beside the user's clips, with bats and without: they teach what is no bat at all.

Users label recordings with bats, and few without. What a model never heard it takes for one of its species.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from batcache.config.features import FeatureConfig
from batcache.errors import SynthError, list_some
from batcache.features.frontend import FrontEnd
from batcache.progress import OnProgress, Progress, ignore_progress
from batcache.storage.ahead import map_ahead
from batcache.store.reader import Store
from batcache.synth.no_bats import draw_no_bats
from batcache.synth.render import DURATION_S, generator, render
from batcache.synth.species import Species
from batcache.synth.virtual import MOST, draw_species, virtual_name

KNOWN_RATES_HZ = 192_000, 1_000_000
"""Between these lie the rates that the simulator knows."""
_BATS_EVERY = 3
_SHORTEST_S = 0.5


@dataclass(frozen=True)
class Sound:
    """Frames of a simulated sound, and whether bats are in it. Shape: ``[F, M]`` float16"""

    frames: Tensor
    has_bats: bool

    def cut(self, frames_per_instance: int) -> Tensor:
        """Its whole instances, or all frames as a padded one where it is shorter. Shape: ``[N, T, M]`` float16"""
        count = max(1, len(self.frames) // frames_per_instance)
        kept = self.frames[: count * frames_per_instance]
        padded = torch.nn.functional.pad(kept, (0, 0, 0, count * frames_per_instance - len(kept)))
        return padded.view(count, frames_per_instance, -1)


_last: dict[tuple[int, FeatureConfig, tuple[int, ...]], tuple[Sound, ...]] = {}


def simulate_sounds(
    count: int, features: FeatureConfig, rates_hz: tuple[int, ...], on_progress: OnProgress = ignore_progress
) -> tuple[Sound, ...]:
    """Simulate sounds and compute their features: every third holds bats of virtual species, the others no bats.

    The same ones for the same arguments; the last ones asked for are kept, some 50 MB, for trainings that follow.
    ``rates_hz`` are those of the user's recorders, one of which is drawn for each sound; one that the simulator does
    not know gives way to the nearest it does.
    """
    if (asked := (count, features, rates_hz)) not in _last:
        made = tuple(_simulate(count, features, rates_hz, on_progress))
        _last.clear()
        _last[asked] = made
    on_progress(Progress("simulate", count, count))
    return _last[asked]


def _simulate(
    count: int, features: FeatureConfig, rates_hz: tuple[int, ...], on_progress: OnProgress
) -> Iterator[Sound]:
    rates = [draw_rate(str(number), rates_hz) for number in range(count)]
    heard = hear([partial(_draw, number) for number in range(count)], rates, features, on_progress)
    for number, frames in enumerate(heard):
        yield Sound(frames, _has_bats(number))


def hear(
    draws: Sequence[Callable[[int], NDArray[np.int16]]],
    rates_hz: Sequence[int],
    features: FeatureConfig,
    on_progress: OnProgress,
) -> Iterator[Tensor]:
    """Draw samples, each at its rate in Hz, in threads, and compute their features. Shape: ``[F, M]`` float16 each"""
    front_end = FrontEnd(features)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        drawn = map_ahead(pool, lambda i: draws[i](rates_hz[i]), range(len(draws)), 8)
        for number, samples in enumerate(drawn):
            on_progress(Progress("simulate", number, len(draws)))
            blocks = iter([torch.from_numpy(samples)[None]])
            yield torch.cat([block[0] for block in front_end.stream_batch(blocks, rates_hz[number])])


def _has_bats(number: int) -> bool:
    return number % _BATS_EVERY == 0


def draw_rate(name: str, rates_hz: tuple[int, ...]) -> int:
    """The rate of a simulated sound's recorder, in Hz: one of these, or the nearest that the simulator knows."""
    rate = rates_hz[int(generator("part", f"rate {name}").integers(len(rates_hz)))]
    return min(max(rate, KNOWN_RATES_HZ[0]), KNOWN_RATES_HZ[1])


def _draw(number: int, rate_hz: int) -> NDArray[np.int16]:
    name = f"sound {number}"
    rng = generator("part", name)
    seconds = _draw_seconds(rng)
    if _has_bats(number):
        chosen = rng.choice(MOST, int(rng.integers(1, 3)), replace=False)
        voices = [draw_species(virtual_name(int(i))) for i in chosen]
        return _cut_part(name, voices, rate_hz, seconds, rng)
    samples, moment = draw_no_bats(number - 1 - number // _BATS_EVERY, rate_hz), float(rng.uniform(0, DURATION_S))
    return _cut(samples, moment, seconds, rate_hz, rng)


def render_part(name: str, voices: Sequence[Species], rate_hz: int) -> NDArray[np.int16]:
    """Half a second to five of these species, around the clearest call. Shape: ``[samples]``"""
    rng = generator("part", name)
    return _cut_part(name, voices, rate_hz, _draw_seconds(rng), rng)


def _draw_seconds(rng: np.random.Generator) -> float:
    """Of sounds with bats and without alike: lengths must not tell of bats."""
    return float(np.exp(rng.uniform(np.log(_SHORTEST_S), np.log(DURATION_S))))


def _cut_part(
    name: str, voices: Sequence[Species], rate_hz: int, seconds: float, rng: np.random.Generator
) -> NDArray[np.int16]:
    clip = render(name, voices, name, rate_hz)
    if not clip.events:
        names = list_some(voice.name for voice in voices)
        raise SynthError("guide", f"nothing of {names} is heard at {rate_hz / 1000:g} kHz", "Correct its frequencies")
    return _cut(clip.samples, max(clip.events, key=lambda event: event.snr_db).start_s, seconds, rate_hz, rng)


def _cut(
    samples: NDArray[np.int16], moment: float, seconds: float, rate_hz: int, rng: np.random.Generator
) -> NDArray[np.int16]:
    begin = min(max(moment - seconds * float(rng.uniform(0.1, 0.9)), 0.0), DURATION_S - seconds)
    return samples[int(begin * rate_hz) :][: int(seconds * rate_hz)]


def list_rates(store: Store) -> tuple[int, ...]:
    """The true rates in a cache, each that a twentieth of its recordings has, or else the most frequent.

    Of the whole cache, so that all folds are taught by the same sounds, which are then simulated once.
    """
    rates = [row.true_rate for row in store.index.recordings if not row.failure]
    counts = Counter(rates)
    often = sorted(rate for rate, recordings in counts.items() if recordings >= len(rates) / 20)
    return tuple(often) or (counts.most_common(1)[0][0],)
