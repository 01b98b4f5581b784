from collections.abc import Callable
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from batcache.config.settings import PoolingType
from batcache.model.pooling import BagOutput, MILPoolingHead

POOLINGS: tuple[PoolingType, ...] = get_args(PoolingType)
D, C = 6, 3
SUM_ORDER = {"rtol": 1e-5, "atol": 1e-6}
"""Float32 rounding of sums over a dozen numbers near 1, added in another order or by another kernel."""


@pytest.fixture(params=POOLINGS)
def head(request: pytest.FixtureRequest) -> MILPoolingHead:
    torch.manual_seed(0)
    return MILPoolingHead(D, C, request.param)


def prefix_mask(*lengths: int) -> Tensor:
    return torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)


def features(mask: Tensor, seed: int = 0) -> Tensor:
    return torch.randn(*mask.shape, D, generator=torch.Generator().manual_seed(seed))


def test_shapes_are_as_promised(head: MILPoolingHead) -> None:
    mask = prefix_mask(4, 2)
    output = head(features(mask), mask)
    assert output.bag_logits.shape == (2, C)
    assert output.instance_logits.shape == output.evidence.shape == (2, 4, C)


def test_attention_has_one_weight_an_instance_or_one_for_each_species() -> None:
    mask = prefix_mask(4, 2)
    attention = {pooling: MILPoolingHead(D, C, pooling)(features(mask), mask).attention for pooling in POOLINGS}
    assert attention["max"] is None
    assert attention["attention"].shape == (2, 4)
    assert attention["linear_softmax"].shape == (2, 4, C)


@pytest.mark.parametrize("pooling", ["attention", "linear_softmax"])
def test_attention_sums_to_one_over_real_instances(pooling: PoolingType) -> None:
    mask = prefix_mask(5, 1, 3)
    attention = MILPoolingHead(D, C, pooling)(features(mask), mask).attention
    assert (attention[~mask] == 0).all()
    assert (attention >= 0).all()
    torch.testing.assert_close(attention.sum(1), torch.ones_like(attention[:, 0]), **SUM_ORDER)


def test_padded_instances_hold_zero(head: MILPoolingHead) -> None:
    mask = prefix_mask(4, 1)
    output = head(features(mask), mask)
    assert (output.instance_logits[~mask] == 0).all()
    assert (output.evidence[~mask] == 0).all()


@pytest.mark.parametrize("garbage", [1e6, float("nan"), float("inf")])
def test_padded_instances_change_neither_logits_nor_gradients(head: MILPoolingHead, garbage: float) -> None:
    tight, wide = prefix_mask(3, 2), torch.nn.functional.pad(prefix_mask(3, 2), (0, 4))
    x = features(tight)
    padded = torch.nn.functional.pad(x, (0, 0, 0, 4)).masked_fill(~wide.unsqueeze(-1), garbage)
    results = []
    for inputs, mask in ((x, tight), (padded, wide)):
        head.zero_grad()
        output = head(inputs, mask)
        output.bag_logits.square().sum().backward()
        gradients = [parameter.grad.clone() for parameter in head.parameters()]
        results.append([output.bag_logits, output.instance_logits[mask], output.evidence[mask], *gradients])
    torch.testing.assert_close(results[0], results[1], **SUM_ORDER)


@settings(max_examples=30, deadline=None)
@given(order=st.permutations(range(7)), pooling=st.sampled_from(POOLINGS))
def test_the_order_of_instances_does_not_matter(order: list[int], pooling: PoolingType) -> None:
    torch.manual_seed(1)
    head, mask = MILPoolingHead(D, C, pooling), prefix_mask(7, 4)
    x = features(mask)
    straight, shuffled = head(x, mask), head(x[:, order], mask[:, order])
    torch.testing.assert_close(shuffled.bag_logits, straight.bag_logits, **SUM_ORDER)
    torch.testing.assert_close(shuffled.instance_logits, straight.instance_logits[:, order], **SUM_ORDER)
    torch.testing.assert_close(shuffled.evidence, straight.evidence[:, order], **SUM_ORDER)
    if straight.attention is not None:
        torch.testing.assert_close(shuffled.attention, straight.attention[:, order], **SUM_ORDER)


def test_max_pooling_takes_the_strongest_real_instance() -> None:
    mask = prefix_mask(5, 2)
    head = MILPoolingHead(D, C, "max")
    torch.nn.init.constant_(head.classifier.bias, -9.0)  # real logits below the padding's 0
    output = head(features(mask), mask)
    expected = [logits[:n].amax(0) for logits, n in zip(output.instance_logits, (5, 2), strict=True)]
    assert torch.equal(output.bag_logits, torch.stack(expected))
    assert (output.bag_logits < 0).all()


def test_attention_classifies_the_weighted_feature() -> None:
    mask = prefix_mask(5, 2)
    x, head = features(mask), MILPoolingHead(D, C, "attention")
    output = head(x, mask)
    weighted = torch.einsum("bn,bnd->bd", output.attention, x)
    torch.testing.assert_close(output.bag_logits, head.classifier(weighted), **SUM_ORDER)


def test_linear_softmax_weighs_instance_logits_for_each_species() -> None:
    mask = prefix_mask(5, 2)
    output = MILPoolingHead(D, C, "linear_softmax")(features(mask), mask)
    expected = torch.einsum("bnc,bnc->bc", output.attention, output.instance_logits)
    torch.testing.assert_close(output.bag_logits, expected, **SUM_ORDER)


def pooled(pooling: PoolingType) -> tuple[Tensor, list[Tensor], MILPoolingHead]:
    """The probabilities of two bags, those of their real instances, and the head that gave them."""
    mask = prefix_mask(5, 2)
    head = MILPoolingHead(D, C, pooling)
    output = head(3 * features(mask), mask)
    instances = [logits[:n].double().sigmoid() for logits, n in zip(output.instance_logits, (5, 2), strict=True)]
    return output.bag_logits.double().sigmoid(), instances, head


def test_poolings_of_probabilities_are_their_formulas() -> None:
    formulas: dict[PoolingType, Callable[[Tensor], Tensor]] = {
        "mean": lambda p: p.mean(0),
        "exponential_softmax": lambda p: (p * p.exp()).sum(0) / p.exp().sum(0),
        "self_weighted": lambda p: (p * p).sum(0) / p.sum(0),
        "noisy_or": lambda p: 1 - (1 - p).prod(0),
        "autopool": lambda p: (p * (2.5 * p).exp()).sum(0) / (2.5 * p).exp().sum(0),
    }
    for pooling, formula in formulas.items():
        torch.manual_seed(4)
        if pooling == "autopool":
            _, _, head = pooled(pooling)
            torch.nn.init.constant_(head.pooling.sharpness, 2.5)
            mask = prefix_mask(5, 2)
            output = head(3 * features(mask), mask)
            bags, instances = output.bag_logits.double().sigmoid(), output.instance_logits.double().sigmoid()
            expected = torch.stack([formula(instances[0]), formula(instances[1, :2])])
        else:
            bags, real, _ = pooled(pooling)
            expected = torch.stack([formula(p) for p in real])
        torch.testing.assert_close(bags, expected, rtol=1e-4, atol=1e-5, msg=pooling)


def test_the_top_share_is_the_mean_of_the_strongest_third() -> None:
    mask = prefix_mask(5, 2)
    output = MILPoolingHead(D, C, "top_share")(features(mask), mask)
    five, two = output.instance_logits[0], output.instance_logits[1, :2]
    expected = torch.stack([five.topk(2, 0).values.mean(0), two.amax(0)])
    torch.testing.assert_close(output.bag_logits, expected, **SUM_ORDER)


def test_gated_attention_is_attention_where_the_gates_stand_open() -> None:
    mask = prefix_mask(5, 2)
    gated, plain = MILPoolingHead(D, C, "gated_attention"), MILPoolingHead(D, C, "attention")
    torch.nn.init.zeros_(gated.pooling.gate.weight)
    torch.nn.init.constant_(gated.pooling.gate.bias, 30.0)
    shared = {name: value for name, value in gated.state_dict().items() if "gate" not in name}
    plain.load_state_dict(shared)
    torch.testing.assert_close(
        gated(features(mask), mask).bag_logits, plain(features(mask), mask).bag_logits, **SUM_ORDER
    )


@pytest.mark.parametrize("pooling", POOLINGS)
def test_scores_that_are_sure_stay_finite_and_so_do_their_gradients(pooling: PoolingType) -> None:
    mask = prefix_mask(5, 2)
    for scale in (-200.0, 200.0):
        head = MILPoolingHead(D, C, pooling)
        output = head(scale * features(mask), mask)
        output.bag_logits.sum().backward()
        assert output.bag_logits.isfinite().all()
        assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in head.parameters())


def expected_evidence(output: BagOutput) -> Tensor:
    if output.attention is None:
        return output.instance_logits.sigmoid()
    attention = output.attention if output.attention.ndim == 3 else output.attention.unsqueeze(-1)
    return output.instance_logits.sigmoid() * attention / attention.max(1, keepdim=True).values


def test_evidence_is_probability_times_relative_attention(head: MILPoolingHead) -> None:
    mask = prefix_mask(5, 2)
    output = head(features(mask), mask)
    assert ((output.evidence >= 0) & (output.evidence <= 1)).all()
    torch.testing.assert_close(output.evidence[mask], expected_evidence(output)[mask], **SUM_ORDER)


def test_a_bag_of_one_instance_is_that_instance(head: MILPoolingHead) -> None:
    mask = prefix_mask(3, 1)
    output = head(features(mask), mask)
    torch.testing.assert_close(output.bag_logits[1], output.instance_logits[1, 0], **SUM_ORDER)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gives_finite_float32(head: MILPoolingHead, dtype: torch.dtype) -> None:
    mask = prefix_mask(1200, 1)
    with torch.autocast("cpu", dtype):
        output = head(features(mask), mask)
    for tensor in (output.bag_logits, output.instance_logits, output.evidence):
        assert tensor.dtype == torch.float32
        assert tensor.isfinite().all()
    whole = head(features(mask), mask)
    # bfloat16 keeps 8 bits: logits near 1 are off by up to 1/128, and by a little more after two layers. Noisy-or adds
    # up 1,200 of them to some 700: their errors mostly cancel.
    torch.testing.assert_close(output.bag_logits, whole.bag_logits, rtol=1e-3, atol=0.03)


def test_a_bag_without_real_instances_is_our_mistake(head: MILPoolingHead) -> None:
    mask = torch.tensor([[True, True], [False, False]])
    with pytest.raises(AssertionError, match="without real instances"):
        head(features(mask), mask)
