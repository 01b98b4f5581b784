"""The front end: one recording in, its PCEN-mel or log-mel frames out, in blocks of bounded memory.

    decode -> to the device -> resample -> spans of whole windows -> mel -> compress -> dead bands to 0 -> float16

Most recordings need no resampling (``FeatureConfig.stft_window``). Each stage is a generator that carries its own
state, so the result does not depend on how long the recording is, nor on what else is being processed. On a GPU
recordings of equal length and rate go through together.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from batcache.config.features import FeatureConfig
from batcache.config.settings import Engine
from batcache.features.audio import AudioHeader, read_blocks
from batcache.features.bands import check_bands, dead_bands
from batcache.features.ends import stream_spans
from batcache.features.energy import BandEnergy
from batcache.features.logmel import LogMel
from batcache.features.mel import Mel, choose_engine
from batcache.features.pcen import Pcen
from batcache.features.resample import stream_soxr, uses_sinc
from batcache.features.sinc import SincResampler

_COMPRESSIONS: dict[str, type[Pcen | LogMel]] = {"pcen": Pcen, "log": LogMel}
_FRAMES_A_BLOCK = {"cpu": 1024, "cuda": 65_536}  # a second is near a core's cache; a minute fills a GPU


class FrontEnd(nn.Module):
    """Features by one engine on one device; ``auto`` takes the engine that suits the device.

    Raises:
        ConfigError: mel bands too narrow for the FFT.
    """

    def __init__(self, config: FeatureConfig, device: torch.device | str = "cpu", engine: Engine = "auto") -> None:
        super().__init__()
        check_bands(config)
        self.config = config
        self.device = torch.device(device)
        self.engine = choose_engine(engine, self.device)
        self.compression = _COMPRESSIONS[config.compression](config)
        self.on_gpu = self.device.type == "cuda"
        self.block_frames = _FRAMES_A_BLOCK[self.device.type]
        self.mels, self.resamplers = nn.ModuleDict(), nn.ModuleDict()  # by rate
        self.to(self.device)

    def stream(
        self, path: Path, header: AudioHeader, true_rate: int, energy: BandEnergy | None = None
    ) -> Iterator[NDArray[np.float16]]:
        """Yield the frames of one recording, ``[frames, n_mels]`` float16, in blocks. ``energy`` collects what it can.

        Raises:
            AudioError: from decoding.
        """
        levels = None if energy is None else energy.levels[0]
        blocks = read_blocks(path, header, self.block_samples(true_rate), levels)
        for frames in self.stream_batch((torch.from_numpy(block)[None] for block in blocks), true_rate, energy):
            yield frames[0].cpu().numpy()

    @torch.inference_mode()
    def stream_batch(
        self,
        blocks: Iterable[Tensor],
        true_rate: int,
        energy: BandEnergy | None = None,
    ) -> Iterator[Tensor]:
        """Yield the frames of recordings of equal length, in blocks, on the device.

        Shape: ``[B, samples]`` each, int16, or float32 in -1..1 -> ``[B, frames, n_mels]`` each, float16.
        """
        mel = self.mel_at(true_rate)
        there = (self._to_device(block) for block in blocks)
        samples = self.resample(there if energy is None else _listen(there, energy), true_rate)
        frames = (mel(span, energy) for span in stream_spans(samples, mel.windows.size, mel.windows.hop))
        alive = self.config.n_mels - dead_bands(self.config, true_rate)
        for compressed in self.compress(frames):
            compressed[..., alive:] = 0
            yield compressed.half()

    def block_samples(self, true_rate: int) -> int:
        """How many samples make a block that suits the device."""
        return max(1, self.block_frames * self.config.hop_length * true_rate // self.config.target_sample_rate)

    def resample(self, blocks: Iterable[Tensor], true_rate: int) -> Iterator[Tensor]:
        """Bring blocks, in 16-bit steps, from ``true_rate`` to the rate at which their spectra are taken."""
        target = self.config.stft_window(true_rate).rate
        if true_rate == target:
            return iter(blocks)
        blocks = (block.float() for block in blocks)
        if not uses_sinc(true_rate, target):
            made = stream_soxr((block.cpu().numpy() for block in blocks), true_rate, target)
            return (torch.from_numpy(block).to(self.device) for block in made)
        key = str(true_rate)
        if key not in self.resamplers:
            self.resamplers[key] = SincResampler(true_rate, target).to(self.device)
        resampler = self.resamplers[key]
        assert isinstance(resampler, SincResampler)
        return resampler.stream(blocks)

    def compress(self, frames: Iterable[Tensor]) -> Iterator[Tensor]:
        """Make features of mel frames, in blocks ``[B, frames, n_mels]``, as ``data.compression`` says."""
        return self.compression.stream(frames)

    def mel_at(self, true_rate: int) -> Mel:
        """The mel frames of recordings of this rate, made once."""
        key = str(self.config.stft_window(true_rate).rate)
        if key not in self.mels:
            self.mels[key] = Mel(self.config, true_rate, self.engine).to(self.device)
        mel = self.mels[key]
        assert isinstance(mel, Mel)
        return mel

    def _to_device(self, block: Tensor) -> Tensor:
        """In 16-bit steps."""
        there = block.to(self.device, non_blocking=True)
        return there if block.dtype == torch.int16 else there * 2.0**15


def _listen(blocks: Iterable[Tensor], energy: BandEnergy) -> Iterator[Tensor]:
    """Pass samples on, ``[B, n]`` in 16-bit steps each. Those of 16 bits do not go beyond full scale."""
    for block in blocks:
        if block.is_floating_point() and block.shape[-1]:
            energy.add_peak(block.abs().amax(-1).cpu().numpy())
        yield block
