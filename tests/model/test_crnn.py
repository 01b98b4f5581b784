import math
from typing import get_args

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from batcache.config.load import load_config
from batcache.config.settings import ConvLayer, ModelConfig, PoolingType
from batcache.errors import ConfigError
from batcache.model.crnn import CRNN, BatMILModel
from batcache.model.pooling import BagOutput

POOLINGS: tuple[PoolingType, ...] = get_args(PoolingType)
T, M, C = 20, 16, 3
KERNELS = {"rtol": 1e-4, "atol": 1e-5}
"""Float32 rounding through the whole network, where another batch size may choose another convolution kernel."""


def small_model(pooling: PoolingType = "attention", dropout: float = 0.5, seed: int = 0) -> BatMILModel:
    torch.manual_seed(seed)
    return BatMILModel(ModelConfig(pooling, (ConvLayer(4), ConvLayer(8)), 8, 2, dropout), M, C)


def prefix_mask(*lengths: int) -> Tensor:
    return torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)


def features(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def assert_same(output: BagOutput, other: BagOutput) -> None:
    for name, value in vars(output).items():
        torch.testing.assert_close(value, vars(other)[name], **KERNELS, msg=lambda text, name=name: f"{name}: {text}")


def test_shapes_are_as_promised() -> None:
    model, mask = small_model(), prefix_mask(3, 1)
    instance_features = model.crnn(features(2, 3, T, M), mask)
    assert model.crnn.feature_dim == 16
    assert instance_features.shape == (2, 3, 16)
    assert (instance_features[~mask] == 0).all()
    assert model(features(2, 3, T, M), mask).bag_logits.shape == (2, C)


def test_default_features_are_256_wide() -> None:
    assert CRNN(load_config(flags={"model": {"init": "none"}}).model, n_mels=128).feature_dim == 256


def test_a_network_from_chance_needs_layers() -> None:
    with pytest.raises(ConfigError, match=r"conv_layers: not given"):
        CRNN(ModelConfig(), n_mels=128)


@pytest.mark.parametrize("garbage", [1e6, float("nan")])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_padded_instances_change_nothing_in_training(pooling: PoolingType, garbage: float) -> None:
    tight = prefix_mask(3, 1, 2)
    wide = torch.nn.functional.pad(tight, (0, 4))
    x, labels = features(3, 3, T, M), features(3, C, seed=1).round()
    x_wide = torch.nn.functional.pad(x, (0, 0, 0, 0, 0, 4)).masked_fill(~wide[..., None, None], garbage)
    models = small_model(pooling), small_model(pooling)
    losses, logits = [], []
    for model, inputs, mask in zip(models, (x, x_wide), (tight, wide), strict=True):
        torch.manual_seed(5)  # the same dropout: its draws count real instances only
        output = model.train()(inputs, mask)
        losses.append(bce(output.bag_logits, labels))
        losses[-1].backward()
        logits.append(output.bag_logits)
    # Up to the head the same numbers meet the same kernels, so BatchNorm's statistics agree bit by bit. The head sums
    # over N and its layers have B x N rows: another N may add in another order, hence 1e-6 from there on.
    for (name, buffer), other in zip(models[0].named_buffers(), models[1].buffers(), strict=True):
        assert torch.equal(buffer, other), name
    torch.testing.assert_close(logits[1], logits[0], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-6, atol=1e-6)
    for parameter, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(other.grad, parameter.grad, rtol=1e-5, atol=1e-6)


def test_dropout_falls_on_embeddings_between_recurrent_layers_and_on_their_output() -> None:
    crnn, mask = small_model(dropout=0.75).train().crnn, prefix_mask(50, 30)
    assert crnn.rnn.dropout == 0.75
    embeddings = features(80, crnn.feature_dim)
    dropped = (crnn.contextualise(embeddings, mask)[mask] == 0).float().mean()
    assert 0.7 < dropped < 0.8  # 1,280 draws: four standard deviations are 0.05
    heard: list[torch.Tensor] = []
    crnn.rnn.register_forward_pre_hook(lambda _, packed: heard.append(packed[0].data))
    crnn.contextualise(embeddings, mask)
    assert 0.7 < (heard[0] == 0).float().mean() < 0.8
    assert not (crnn.eval().contextualise(embeddings, mask)[mask] == 0).any()


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_bag_scores_the_same_whatever_stands_beside_it(pooling: PoolingType) -> None:
    model, mask = small_model(pooling).eval(), prefix_mask(2, 5, 3)
    x = features(3, 5, T, M)
    together = model(x, mask)
    for bag, length in enumerate((2, 5, 3)):
        alone = model(x[bag : bag + 1, :length], mask[bag : bag + 1, :length])
        torch.testing.assert_close(alone.bag_logits[0], together.bag_logits[bag], **KERNELS)
        torch.testing.assert_close(alone.evidence[0], together.evidence[bag, :length], **KERNELS)


def test_instances_hear_their_neighbours_on_both_sides_but_no_other_bag() -> None:
    crnn, mask = small_model().eval().crnn, prefix_mask(3, 2)
    x = features(2, 3, T, M)
    changed = x.clone()
    changed[0, 1] += 1
    moved = (crnn(x, mask) - crnn(changed, mask)).abs().amax(-1)
    assert (moved[0] > 1e-4).all()
    assert (moved[1] < 1e-6).all()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_judging_pieces_equals_judging_the_whole_bag(pooling: PoolingType, size: int) -> None:
    model, x = small_model(pooling).eval(), features(1, 7, T, M)
    assert_same(model.score_pieces(x[0].split(size)), model(x, prefix_mask(7)))


def test_ten_minutes_pass_through_in_pieces() -> None:
    model = small_model().eval()
    output = model.score_pieces(features(60, T, M, seed=minute) for minute in range(20))
    assert output.evidence.shape == (1, 1200, C)
    assert output.bag_logits.isfinite().all()
    assert not output.bag_logits.requires_grad


def test_judging_pieces_in_training_is_our_mistake() -> None:
    with pytest.raises(AssertionError, match="train mode"):
        small_model().train().score_pieces([features(2, T, M)])


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_gradient_reaches_every_parameter(pooling: PoolingType) -> None:
    model = small_model(pooling, dropout=0.0)
    output = model(features(2, 4, T, M), prefix_mask(4, 3))
    output.bag_logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_the_state_holds_parameters_and_batchnorm_statistics_only() -> None:
    model = small_model()
    state = model.state_dict()
    assert all(type(value) is Tensor for value in state.values())
    surplus = set(state) - {name for name, _ in model.named_parameters()}
    assert {name.rsplit(".")[-1] for name in surplus} == {"running_mean", "running_var", "num_batches_tracked"}
    assert {name.split(".")[0] for name in state} == {"crnn", "head"}


def test_a_state_restores_the_same_scores() -> None:
    model, other = small_model().eval(), small_model(seed=9).eval()
    other.load_state_dict(model.state_dict())
    x, mask = features(2, 3, T, M), prefix_mask(3, 2)
    assert torch.equal(model(x, mask).bag_logits, other(x, mask).bag_logits)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_stays_finite_and_close(dtype: torch.dtype) -> None:
    model, x, mask = small_model().eval(), features(2, 3, T, M), prefix_mask(3, 1)
    with torch.autocast("cpu", dtype):
        half = model(x, mask).bag_logits
    # Some ten layers of bfloat16, 8 bits each, on logits below 1.
    torch.testing.assert_close(half, model(x, mask).bag_logits, rtol=0, atol=0.03)


def test_layers_that_leave_no_mel_bands_are_a_config_error() -> None:
    config = ModelConfig(conv_layers=(ConvLayer(4), ConvLayer(4, stride=(1, 2))))
    with pytest.raises(ConfigError, match=r"layer 2 of 2 leaves nothing of 5 mel bands.*data\.n_mels"):
        BatMILModel(config, n_mels=5, num_classes=C)


def test_layers_that_leave_no_frames_are_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"layer 2 of 2 leaves nothing of 3 frames.*data\.instance_s"):
        small_model()(features(1, 2, 3, M), prefix_mask(2))


@pytest.mark.parametrize("frames", [4, 5, 33])
def test_any_number_of_frames_that_the_layers_need_will_do(frames: int) -> None:
    assert small_model()(features(2, 1, frames, M), prefix_mask(1, 1)).bag_logits.isfinite().all()


@pytest.mark.parametrize(
    "layers",
    [
        (),
        (ConvLayer(4, kernel_size=(5, 3), stride=(2, 1), padding=(2, 0)),),
        (ConvLayer(4, kernel_size=1, padding=0), ConvLayer(6, kernel_size=(2, 4), stride=(1, 2), padding=(0, 3))),
    ],
)
def test_the_projection_fits_what_the_layers_leave(layers: tuple[ConvLayer, ...]) -> None:
    model = BatMILModel(ModelConfig(conv_layers=layers, rnn_hidden_size=4, rnn_layers=1), 21, C)
    assert model(features(2, 2, T, 21), prefix_mask(2, 1)).bag_logits.shape == (2, C)


@pytest.mark.parametrize("mask", [[[True, False, True]], [[True, True, True], [False, False, False]]])
def test_masks_that_cannot_be_are_our_mistake(mask: list[list[bool]]) -> None:
    with pytest.raises(AssertionError):
        small_model()(features(len(mask), 3, T, M), torch.tensor(mask))


def test_a_call_counts_as_much_in_a_long_instance_as_in_a_short_one() -> None:
    crnn = small_model().eval().crnn
    silence = torch.full((1, 500, M), 0.05)
    call = silence.clone()
    call[:, 20:23, 7] = 2.0
    torch.testing.assert_close(crnn.embed(call), crnn.embed(call[:, :48]), **KERNELS)
    assert (crnn.embed(call) - crnn.embed(silence)).abs().max() > 0.01


def bags_with_one_call(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Bags of two 500-ms instances of PCEN-like noise; in one, for 3 of its 1-ms frames, a tone of 45 or 50 kHz.

    Above 1 kHz Slaney's scale is logarithmic: 128 bands have their centres at the inner of 130 points, evenly spaced
    in log frequency from 10 to 100 kHz. The tone strays by up to two of them (2 %), over as many as two poolings of
    frequency join: where in its pool a band lies tells nothing, and a model that averages frequency stays at chance.
    """
    bands = [round(129 * math.log10(kilohertz / 10)) - 1 for kilohertz in (45, 50)]
    features = 0.1 * torch.rand(count, 2, 500, 128, generator=generator)
    species = torch.randint(2, (count,), generator=generator)
    instances = torch.randint(2, (count,), generator=generator)
    starts = torch.randint(498, (count,), generator=generator)
    strays = torch.randint(-2, 2, (count,), generator=generator)
    for bag, (kind, instance, start, stray) in enumerate(zip(species, instances, starts, strays, strict=True)):
        features[bag, instance, start : start + 3, bands[kind] + stray] = 2.0
    labels = torch.nn.functional.one_hot(species, 2).float()
    return features, torch.ones(count, 2, dtype=torch.bool), labels


@pytest.mark.parametrize(
    "pooling", ["max", *(pytest.param(name, marks=pytest.mark.slow) for name in POOLINGS if name != "max")]
)
def test_one_call_of_3_ms_at_45_or_50_khz_is_told_apart(pooling: PoolingType) -> None:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    layers = ConvLayer(8, kernel_size=(5, 3), stride=(4, 1), padding=(2, 1)), ConvLayer(16)
    model = BatMILModel(ModelConfig(pooling, layers, 16, 1, dropout=0.1), 128, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    steps = 60  # BatchNorm's running statistics forget their start by 0.9 a step
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        x, mask, labels = bags_with_one_call(8, generator)
        optimizer.zero_grad()
        bce(model(x, mask).bag_logits, labels).backward()
        optimizer.step()
        schedule.step()
    x, mask, labels = bags_with_one_call(64, generator)
    with torch.no_grad():
        right = (model.eval()(x, mask).bag_logits > 0) == (labels > 0)
    assert right.float().mean() >= 0.95
