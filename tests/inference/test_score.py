from collections.abc import Iterator

import pytest
import torch

from batcache.config.load import load_config
from batcache.config.settings import ModelConfig, PoolingType
from batcache.errors import RunError
from batcache.inference.bag_scores import BagScores
from batcache.inference.score import score_bags
from batcache.model.crnn import BatMILModel
from batcache.training.clips.bags import Bag, instances_of, join, read_bag
from tests.small_world import SmallWorld

CUT = 50
KERNELS = {"rtol": 1e-4, "atol": 1e-5}
"""Float32 rounding, where another batch size may choose another convolution kernel."""


def model_of(pooling: PoolingType = "attention") -> BatMILModel:
    torch.manual_seed(0)
    config = load_config(base={"model": {"conv_layers": [4, 8], "rnn_hidden_size": 8, "pooling_type": pooling}}).model
    assert isinstance(config, ModelConfig)
    return BatMILModel(config, 64, 3)


@pytest.fixture
def bags(small: SmallWorld) -> tuple[Bag, ...]:
    return join(small.manifest, small.store).bags


def judge(
    small: SmallWorld, model: BatMILModel, bags: tuple[Bag, ...], batch_size: int = 4, max_instances: int = 60
) -> Iterator[BagScores]:
    return score_bags(model, [instances_of(small.store, bag, CUT) for bag in bags], batch_size, max_instances)


@pytest.mark.parametrize("pooling", ["max", "attention", "linear_softmax"])
@pytest.mark.parametrize("max_instances", [1, 7, 10, 15])
def test_a_long_bag_judged_in_pieces_equals_the_whole(
    small: SmallWorld, bags: tuple[Bag, ...], pooling: PoolingType, max_instances: int
) -> None:
    model = model_of(pooling)
    wholes = judge(small, model, bags)
    pieces = judge(small, model, bags, max_instances=max_instances)
    for whole, piece in zip(wholes, pieces, strict=True):
        torch.testing.assert_close(piece.logits, whole.logits, **KERNELS)
        torch.testing.assert_close(piece.evidence, whole.evidence, **KERNELS)


def test_the_order_is_kept_where_long_and_short_bags_alternate(small: SmallWorld, bags: tuple[Bag, ...]) -> None:
    lengths = [bag.instances(CUT) for bag in bags]
    assert min(lengths) < 8 < max(lengths)
    for batch_size in (1, 3, 100):
        scores = list(judge(small, model_of(), bags, batch_size, max_instances=8))
        assert [len(bag_scores.evidence) for bag_scores in scores] == lengths


def test_a_verdict_is_the_models_word_on_the_bag_alone(small: SmallWorld, bags: tuple[Bag, ...]) -> None:
    model = model_of().eval()
    for bag, verdict in zip(bags[:5], judge(small, model, bags[:5]), strict=True):
        features = read_bag(small.store, bag, CUT).float().unsqueeze(0)
        with torch.inference_mode():
            output = model(features, torch.ones(features.shape[:2], dtype=torch.bool))
        torch.testing.assert_close(torch.from_numpy(verdict.logits), output.bag_logits[0], **KERNELS)
        torch.testing.assert_close(torch.from_numpy(verdict.evidence), output.evidence[0], **KERNELS)


def test_judging_is_in_eval_mode_and_changes_nothing(small: SmallWorld, bags: tuple[Bag, ...]) -> None:
    model = model_of().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rng = torch.get_rng_state()
    first, second = ([torch.from_numpy(v.logits) for v in judge(small, model, bags)] for _ in range(2))
    assert not model.training
    assert torch.equal(torch.stack(first), torch.stack(second))
    assert torch.equal(torch.get_rng_state(), rng)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("max_instances", [1, 60])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_scores_that_are_not_finite_are_a_run_error(
    small: SmallWorld, bags: tuple[Bag, ...], bad: float, max_instances: int
) -> None:
    model = model_of()
    with torch.no_grad():
        model.head.classifier.bias[1] = bad
    with pytest.raises(RunError, match=r"night0/0\.wav: the model gives scores that are not finite"):
        list(judge(small, model, bags, max_instances=max_instances))


def test_no_bags_give_no_verdicts(small: SmallWorld) -> None:
    assert list(judge(small, model_of(), ())) == []
