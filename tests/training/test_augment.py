from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor

from batcache.config.settings import AugmentationConfig
from batcache.training.clips.augment import augment

OFF = AugmentationConfig(time_masking=False, freq_masking=False, noise_injection=False)
TIME = replace(OFF, time_masking=True)
FREQ = replace(OFF, freq_masking=True)
NOISE = replace(OFF, noise_injection=True)


def ones(*shape: int) -> Tensor:
    return torch.ones(*(shape or (4, 5, 60, 32)))


def drawn(features: Tensor, config: AugmentationConfig, seed: int = 0) -> Tensor:
    return augment(features, config, Generator().manual_seed(seed))


def spans(hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Width of what is hidden in each row ``[K, size]``, and the number of runs it is made of."""
    edges = torch.nn.functional.pad(hidden.int(), (1, 1)).diff(dim=-1)
    return hidden.sum(-1), (edges == 1).sum(-1)


def test_switched_off_nothing_changes() -> None:
    features = torch.rand(2, 3, 20, 16)
    assert torch.equal(drawn(features, OFF), features)


@pytest.mark.parametrize(
    "config",
    [replace(TIME, time_mask_param=0), replace(FREQ, freq_mask_param=0), replace(NOISE, noise_std=0.0)],
    ids=["time", "freq", "noise"],
)
def test_a_strength_of_zero_changes_nothing(config: AugmentationConfig) -> None:
    features = torch.rand(2, 3, 20, 16)
    assert torch.equal(drawn(features, config), features)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 70), st.integers(0, 2**31))
def test_time_masks_are_one_span_an_instance_over_all_bands_no_wider_than_asked(widest: int, seed: int) -> None:
    result = drawn(ones(), replace(TIME, time_mask_param=widest), seed)
    assert torch.equal(result.amin(-1), result.amax(-1))
    widths, runs = spans((result[..., 0] == 0).reshape(20, 60))
    assert widths.max() <= min(widest, 60)
    assert runs.max() <= 1


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 70), st.integers(0, 2**31))
def test_frequency_masks_are_one_span_an_instance_over_all_frames_no_wider_than_asked(widest: int, seed: int) -> None:
    result = drawn(ones(), replace(FREQ, freq_mask_param=widest), seed)
    assert torch.equal(result.amin(-2), result.amax(-2))
    widths, runs = spans((result[..., 0, :] == 0).reshape(20, 32))
    assert widths.max() <= min(widest, 32)
    assert runs.max() <= 1


def test_masks_reach_every_width_and_every_place_and_differ_between_instances() -> None:
    hidden = drawn(ones(1, 3000, 30, 4), replace(TIME, time_mask_param=5))[0, :, :, 0] == 0
    widths, _ = spans(hidden)
    assert sorted(set(widths.tolist())) == [0, 1, 2, 3, 4, 5]
    assert widths.bincount().min() > 400  # 500 each are expected, give or take 20
    assert hidden.any(0).all()


def test_noise_is_of_the_deviation_asked_for_and_no_result_is_negative() -> None:
    config = replace(NOISE, noise_std=0.1)
    loud = drawn(5 * ones(), config)
    assert loud.std().item() == pytest.approx(0.1, rel=0.03)  # of 38,400 draws: 0.4 % is one standard error
    assert loud.mean().item() == pytest.approx(5, abs=0.003)
    silent = drawn(0 * ones(), config)
    assert silent.min() == 0
    assert 0.45 < (silent > 0).float().mean() < 0.55


def test_what_is_masked_is_silence_even_where_noise_is_added() -> None:
    config = AugmentationConfig(noise_std=1.0, freq_masking=False)
    result = drawn(5 * ones(), config)
    assert ((result == 0).all(-1).sum(-1) > 0).any()


def test_a_generator_decides_all_and_nothing_else_is_drawn_from() -> None:
    features, config = torch.rand(2, 3, 40, 16), AugmentationConfig()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = drawn(features, config, 5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(drawn(features, config, 5), first)
    assert not torch.equal(drawn(features, config, 6), first)


def test_the_batch_itself_is_left_as_it_was() -> None:
    features = torch.rand(2, 3, 40, 16)
    before = features.clone()
    drawn(features, AugmentationConfig())
    assert torch.equal(features, before)


def test_upper_bands_vanish_from_a_share_of_the_instances_as_slow_recorders_leave_them() -> None:
    quiet = AugmentationConfig(
        time_masking=False, freq_masking=False, noise_injection=False, bandwidth_masking=0.3
    )  # fmt: skip
    features = torch.ones(2000, 3, 40)
    left = augment(features, quiet, torch.Generator().manual_seed(0))[:, 0]
    kept = left.sum(1).long()
    assert torch.equal(left, (torch.arange(40) < kept[:, None]).float()), "bands vanish from the top down, all frames"
    assert set(kept.tolist()) == set(range(20, 41))
    assert abs((kept < 40).float().mean() - 0.3) < 0.05
