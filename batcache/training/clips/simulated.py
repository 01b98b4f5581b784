"""Sounds that are simulated beside the user's clips, with bats and without: they teach what is no bat at all.

Users label recordings with bats, and few without. What a model never heard it takes for one of its species.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from batcache.config.features import FeatureConfig
from batcache.features.frontend import FrontEnd
from batcache.storage.ahead import map_ahead
from batcache.synth.no_bats import draw_no_bats
from batcache.synth.render import DURATION_S, generator, render
from batcache.synth.virtual import MOST, virtual_name

_RATES_HZ = 192_000, 1_000_000
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


@lru_cache(1)
def simulate_sounds(count: int, features: FeatureConfig, rates_hz: tuple[int, ...]) -> tuple[Sound, ...]:
    """Simulate sounds and compute their features: every third holds bats of virtual species, the others no bats.

    The same ones for the same arguments; the last ones asked for are kept, some 50 MB, for trainings that follow.
    ``rates_hz`` are those of the user's recorders, one of which is drawn for each sound; one that the simulator does
    not know gives way to the nearest it does.
    """
    rates = [min(max(rate, _RATES_HZ[0]), _RATES_HZ[1]) for rate in rates_hz]
    drawn = [rates[int(generator("part", f"rate {number}").integers(len(rates)))] for number in range(count)]
    front_end = FrontEnd(features)
    sounds: list[Sound] = []
    draw: Callable[[int], NDArray[np.int16]] = lambda number: _draw(number, drawn[number])  # noqa: E731
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for number, samples in enumerate(map_ahead(pool, draw, range(count), 8)):
            blocks = iter([torch.from_numpy(samples)[None]])
            frames = torch.cat([block[0] for block in front_end.stream_batch(blocks, drawn[number])])
            sounds.append(Sound(frames, _has_bats(number)))
    return tuple(sounds)


def _has_bats(number: int) -> bool:
    return number % _BATS_EVERY == 0


def _draw(number: int, rate_hz: int) -> NDArray[np.int16]:
    """Half a second to five of a sound, of one with bats around its clearest call. Lengths must not tell of bats."""
    name, has_bats = f"sound {number}", _has_bats(number)
    rng = generator("part", name)
    seconds = float(np.exp(rng.uniform(np.log(_SHORTEST_S), np.log(DURATION_S))))
    if has_bats:
        species = [virtual_name(int(i)) for i in rng.choice(MOST, int(rng.integers(1, 3)), replace=False)]
        clip = render(name, species, name, rate_hz)
        samples, moment = clip.samples, max(clip.events, key=lambda event: event.snr_db).start_s
    else:
        samples, moment = draw_no_bats(number - 1 - number // _BATS_EVERY, rate_hz), float(rng.uniform(0, DURATION_S))
    begin = min(max(moment - seconds * float(rng.uniform(0.1, 0.9)), 0.0), DURATION_S - seconds)
    return samples[int(begin * rate_hz) :][: int(seconds * rate_hz)]
