"""Samples at the target rate to mel frames: one definition, two engines.

Hann window of ``n_fft`` samples, zeros beyond the ends, magnitude (power 1), triangles on the Slaney mel scale, each
of area 1. Frame *i* is centred on sample ``i * hop_length``; a recording has ``floor(samples / hop_length)`` frames.

``FftMel`` is the faster on CPUs; ``NnAudioMel`` does the same as convolutions, the faster on CUDA devices.
"""

from collections.abc import Iterable, Iterator

import torch
from nnAudio.features import MelSpectrogram
from torch import Tensor, nn
from torchaudio.functional import melscale_fbanks

from batcache.config import FeatureConfig
from batcache.errors import ConfigError


def band_edges_hz(config: FeatureConfig) -> Tensor:
    """Lower edge, centre and upper edge of each mel band. Shape: ``[n_mels, 3]``, Hz.

    The Slaney scale is linear to 1 kHz (15 mel) and above it has 27 mel for each factor of 6.4.
    """
    per_factor = torch.log(torch.tensor(6.4, dtype=torch.float64)) / 27

    def to_mel(hz: float) -> Tensor:
        f = torch.tensor(hz, dtype=torch.float64)
        return torch.where(f < 1000, f * 3 / 200, 15 + torch.log(f.clamp(min=1) / 1000) / per_factor)

    mel = torch.linspace(float(to_mel(config.fmin)), float(to_mel(config.fmax)), config.n_mels + 2, dtype=torch.float64)
    hz = torch.where(mel < 15, mel * 200 / 3, 1000 * torch.exp((mel - 15) * per_factor))
    return hz.unfold(0, 3, 1)


def dead_bands(config: FeatureConfig, true_rate: int) -> int:
    """Number of bands, counted from the top, that a recording of this rate cannot fill.

    A band is dead where its upper edge lies above 0.95 of the recording's Nyquist frequency: recorders' anti-aliasing
    filters leave nothing trustworthy above.
    """
    return int((band_edges_hz(config)[:, 2] > 0.95 * true_rate / 2).sum())


class FftMel(nn.Module):
    """Mel frames by FFT, using only the bins that the bands use."""

    window: Tensor
    bank: Tensor

    def __init__(self, config: FeatureConfig) -> None:
        super().__init__()
        self.n_fft, self.hop = config.n_fft, config.hop_length
        bank = melscale_fbanks(
            config.n_fft // 2 + 1,
            config.fmin,
            config.fmax,
            config.n_mels,
            config.target_sample_rate,
            norm="slaney",
            mel_scale="slaney",
        )
        used = bank.any(1).nonzero().flatten()
        self.first, self.last = int(used[0]), int(used[-1]) + 1
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)
        self.register_buffer("bank", bank[self.first : self.last].contiguous(), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """Shape: ``[(frames - 1) * hop + n_fft]`` -> ``[frames, n_mels]``."""
        spectrum = torch.fft.rfft(samples.unfold(0, self.n_fft, self.hop) * self.window)
        return torch.mm(spectrum[:, self.first : self.last].abs(), self.bank)


class NnAudioMel(nn.Module):
    """Mel frames by nnAudio's convolutions."""

    def __init__(self, config: FeatureConfig) -> None:
        super().__init__()
        self.mel = MelSpectrogram(
            sr=config.target_sample_rate,
            n_fft=config.n_fft,
            hop_length=config.hop_length,
            n_mels=config.n_mels,
            fmin=config.fmin,
            fmax=config.fmax,
            center=False,  # the stream has placed the zeros
            power=1.0,
            verbose=False,
        )

    def forward(self, samples: Tensor) -> Tensor:
        """Shape: ``[(frames - 1) * hop + n_fft]`` -> ``[frames, n_mels]``.

        TF32 would keep 10 of float32's 23 bits: off here, whatever the caller has set.
        """
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            return self.mel(samples)[0].T  # type: ignore[no-any-return]


ENGINES: dict[str, type[FftMel | NnAudioMel]] = {"fft": FftMel, "nnaudio": NnAudioMel}


def check_bands(config: FeatureConfig) -> None:
    """Raise where some mel band is too narrow to hold an FFT bin: it would be 0 for every recording.

    Raises:
        ConfigError: names how many bands, and the settings that would mend it.
    """
    spacing = config.target_sample_rate / config.n_fft
    edges = (band_edges_hz(config) / spacing).round(decimals=6)  # an edge that falls on a bin does not hold it
    inside = torch.ceil(edges[:, 2]) - torch.floor(edges[:, 0]) - 1  # bins strictly between
    empty = int((inside < 1).sum())
    if empty:
        raise ConfigError(
            "data.n_mels",
            f"{empty} of {config.n_mels} mel bands from {config.fmin:g} to {config.fmax:g} Hz hold no FFT bin "
            f"(bins are {spacing:g} Hz apart)",
            "Lower n_mels or raise n_fft",
        )


def stream_spans(blocks: Iterable[Tensor], n_fft: int, hop: int) -> Iterator[Tensor]:
    """Re-cut samples into spans that hold whole windows: ``(frames - 1) * hop + n_fft`` samples each.

    Half a window of zeros stands before the first sample, and as many behind the last as the last frame needs.
    """
    held, total, made = None, 0, 0
    for block in blocks:
        total += len(block)
        held = torch.cat([block.new_zeros(n_fft // 2) if held is None else held, block])
        frames = min((len(held) - n_fft) // hop + 1, total // hop - made)
        if frames > 0:
            yield held[: (frames - 1) * hop + n_fft]
            held, made = held[frames * hop :], made + frames
    frames = total // hop - made
    if held is not None and frames > 0:
        needed = (frames - 1) * hop + n_fft
        yield torch.cat([held, held.new_zeros(max(0, needed - len(held)))])[:needed]
