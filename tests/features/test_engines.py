"""The laws of ``data.engine``: it reaches the front end, changes no number that counts, and needs a bounded memory."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from batcache.config.features import FeatureConfig
from batcache.config.settings import DataConfig
from batcache.features.frontend import FrontEnd
from batcache.features.mel import NnAudioMagnitude, choose_engine
from batcache.manifest.manifest import read_manifest
from batcache.store.build.build import build
from batcache.store.reader import Store
from tests.conftest import noise

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
CONFIG = DataConfig(n_mels=32, sample_rate=256_000)


def test_auto_is_nnaudio_on_a_gpu_and_the_fft_on_a_cpu() -> None:
    assert [choose_engine("auto", torch.device(name)) for name in ("cuda", "cpu")] == ["nnaudio", "fft"]
    assert [choose_engine("fft", torch.device(name)) for name in ("cuda", "cpu")] == ["fft", "fft"]
    assert [choose_engine("nnaudio", torch.device(name)) for name in ("cuda", "cpu")] == ["nnaudio", "nnaudio"]
    assert FrontEnd(FeatureConfig()).engine == "fft"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many samples nnAudio was given, span by span."""
    seen: list[int] = []
    forward = NnAudioMagnitude.forward

    def spy(self: NnAudioMagnitude, samples: torch.Tensor) -> torch.Tensor:
        seen.append(samples.shape[-1])
        return forward(self, samples)

    monkeypatch.setattr(NnAudioMagnitude, "forward", spy)
    return seen


def test_a_build_computes_by_the_engine_that_the_settings_name(
    write_wav: Callable[..., Path], spans: list[int]
) -> None:
    wav = write_wav("a.wav", noise(1.3, 256_000, 0.02) + 0.01, 256_000)
    (wav.parent / "a.csv").write_text("filename,Bat\na.wav,1\n")
    manifest = read_manifest([wav.parent / "a.csv"])
    stores = {}
    for engine in ("fft", "nnaudio"):
        assert not spans, "only nnAudio's turn is left"
        cache = wav.parent / f"{engine}.zarr"
        build(manifest, cache, replace(CONFIG, engine=engine), "cpu", workers=1)
        stores[engine] = Store(cache)
    assert len(spans) > 1, "it came in blocks"
    made, expected = (stores[engine].read_instances(0, 3).astype(float) for engine in ("nnaudio", "fft"))
    # A step of float16, and in quiet bins what float32 sums in another order leave of an offset.
    np.testing.assert_allclose(made, expected, rtol=2.0**-10, atol=6e-3)
    assert stores["fft"].features.fingerprint == stores["nnaudio"].features.fingerprint


@needs_cuda
@pytest.mark.gpu
@pytest.mark.parametrize("engine", ["nnaudio", "fft"])
def test_a_batch_of_34_clips_of_5_s_takes_less_than_six_gigabytes_of_a_gpu(engine) -> None:
    front_end = FrontEnd(FeatureConfig(), "cuda", engine)
    samples = torch.randint(-300, 300, (34, 5 * 384_000), dtype=torch.int16)
    torch.cuda.reset_peak_memory_stats()
    blocks = torch.split(samples, front_end.block_samples(384_000), 1)
    assert sum(block.shape[1] for block in front_end.stream_batch(blocks, 384_000)) == 5000
    assert torch.cuda.max_memory_allocated() < 6e9
