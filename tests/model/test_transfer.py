"""What a new model takes from an earlier one: all that fits, and nothing of what does not."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from batcache.config.features import FeatureConfig
from batcache.config.settings import ConvLayer, ModelConfig, PoolingType
from batcache.model.checkpoint import Checkpoint, save_checkpoint
from batcache.model.pretrained import PretrainedMILModel, load_pretrained, save_pretrained
from batcache.model.start import Start, describe_start, extract_trunk, start_model
from batcache.model.transfer import plan_transfer
from batcache.model.trunk import TrunkConfig

FEATURES = FeatureConfig(n_mels=16)
TRUNK = TrunkConfig((ConvLayer(3),), 6, FEATURES)
CONFIG = ModelConfig("attention", heads=2, head_size=8, rnn_hidden_size=4)
SPECIES = ("a", "b", "c")
CPU = torch.device("cpu")
BAGS, MASK = torch.rand(2, 4, 20, 16), torch.tensor([[True] * 4, [True, True, False, False]])


def earlier(
    config: ModelConfig = CONFIG, species: Sequence[str] = SPECIES, *, centres: int = 0, **others: Any
) -> Checkpoint:
    """A model none of whose weights are what a model starts with."""
    torch.manual_seed(3)
    model = PretrainedMILModel(config, TRUNK, FEATURES, len(species), centres=centres)
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5)
    weights = model.state_dict()
    about = (config, tuple(species), FEATURES, FEATURES.fingerprint, 20, 3, "train_loss", 0.5, weights)
    return Checkpoint(*about, **{"trunk": TRUNK, "taught": tuple(species), **others})


def start(folder: Path, checkpoint: Checkpoint, species: Sequence[str], config: ModelConfig = CONFIG) -> Start:
    save_checkpoint(folder / "earlier.pt", checkpoint)
    torch.manual_seed(4)
    begun = start_model(replace(config, init=folder / "earlier.pt"), FEATURES, species)
    begun.model.eval()
    return begun


def scores(model: torch.nn.Module) -> Tensor:
    with torch.no_grad():
        return model.eval()(BAGS, MASK).bag_logits


@pytest.mark.parametrize("pooling", get_args(PoolingType))
def test_a_model_goes_on_where_the_earlier_one_stood(tmp_path: Path, pooling: PoolingType) -> None:
    config = replace(CONFIG, pooling_type=pooling)
    checkpoint = earlier(config)
    begun = start(tmp_path, checkpoint, SPECIES, config)
    assert torch.equal(scores(begun.model), scores(checkpoint.restore(torch.device("cpu"))))
    assert begun.transfer is not None and (begun.transfer.kept, begun.transfer.left) == (SPECIES, ())


def test_a_kernel_goes_on_with_the_species_that_both_know(tmp_path: Path) -> None:
    checkpoint = earlier(centres=5)
    begun = start(tmp_path, checkpoint, ("new", "c", "a"))
    before, after = scores(checkpoint.restore(CPU)), scores(begun.model)
    torch.testing.assert_close(after[:, [2, 1]], before[:, [0, 2]])
    kernel = begun.model.heads.kernel
    assert kernel is not None and len(kernel.moments) == 5
    assert not kernel.share[0] and not kernel.weights[0].any(), "of a new species it says nothing yet"


def test_a_kernel_stays_behind_where_the_trunk_learns(tmp_path: Path) -> None:
    begun = start(tmp_path, earlier(centres=5), SPECIES, replace(CONFIG, train="all"))
    assert begun.model.heads.kernel is None
    assert begun.transfer is not None and begun.transfer.kept == SPECIES, "heads go on all the same"


@pytest.mark.parametrize("pooling", get_args(PoolingType))
def test_order_and_new_species_change_no_score_of_those_that_both_know(tmp_path: Path, pooling: PoolingType) -> None:
    config = replace(CONFIG, pooling_type=pooling)
    checkpoint = earlier(config)
    begun = start(tmp_path, checkpoint, ("new", "c", "a"), config)
    before, after = scores(checkpoint.restore(torch.device("cpu"))), scores(begun.model)
    torch.testing.assert_close(after[:, [2, 1]], before[:, [0, 2]])
    assert begun.transfer is not None and (begun.transfer.kept, begun.transfer.new) == (("c", "a"), ("new",))


def test_a_new_species_starts_from_chance(tmp_path: Path) -> None:
    """Chance draws weights within 1 / sqrt(head_size), 0.35; the earlier ones lie above 0.5."""
    begun = start(tmp_path, earlier(), ("a", "new"))
    rows = torch.stack([head.pool.classifier.weight for head in begun.model.heads.heads])
    assert (rows[:, 0] >= 0.5).all() and (rows[:, 1].abs() < 0.36).all() and rows[0, 1].ne(rows[1, 1]).all()


def test_a_species_that_the_earlier_model_was_not_taught_is_new(tmp_path: Path) -> None:
    begun = start(tmp_path, earlier(taught=("a", "c")), SPECIES)
    assert begun.transfer is not None and (begun.transfer.kept, begun.transfer.new) == (("a", "c"), ("b",))
    told_nothing = start(tmp_path, earlier(taught=None), SPECIES).transfer
    assert told_nothing is not None and told_nothing.kept == SPECIES, "files of earlier versions do not tell"


@pytest.mark.parametrize(
    ("changes", "left", "taken"),
    [
        ({"rnn_hidden_size": 3}, ("recurrent network (rnn_hidden_size 4 there, 3 here)",), {"hidden", "pool"}),
        ({"pooling_type": "max"}, ("pooling (pooling_type attention there, max here)",), {"hidden", "rnn", "context"}),
        ({"heads": 3}, ("every head (heads 2 there, 3 here)",), {"hidden", "rnn", "context", "pool"}),
        ({"heads": 1}, ("every head (heads 2 there, 1 here)",), {"hidden", "rnn", "context", "pool"}),
        ({"dropout": 0.1}, (), {"hidden", "rnn", "context", "pool"}),
    ],
)
def test_where_settings_differ_what_fits_is_taken(
    tmp_path: Path, changes: dict[str, Any], left: tuple[str, ...], taken: set[str]
) -> None:
    checkpoint, config = earlier(), replace(CONFIG, **changes)
    begun = start(tmp_path, checkpoint, SPECIES, config)
    assert begun.transfer is not None and begun.transfer.left == left
    old, new = checkpoint.restore(torch.device("cpu")).heads, begun.model.heads
    assert torch.equal(new.mean, old.mean) and torch.equal(new.std, old.std)
    for one, other in zip(old.heads[: config.heads], new.heads, strict=False):
        before, after = one.state_dict(), other.state_dict()
        same = {name for name in after if after[name].shape == before[name].shape and after[name].equal(before[name])}
        assert taken <= {name.split(".")[0] for name in same}
        assert "pool.classifier.weight" in same
    for head in new.heads[2:]:
        assert not head.context.weight.any(), "from chance"


@pytest.mark.parametrize(
    ("checkpoint", "why"),
    [
        (earlier(replace(CONFIG, head_size=5)), "head_size 5 there, 8 here"),
        (
            Checkpoint(
                ModelConfig("max", (ConvLayer(3),), 3, init="none"), SPECIES, FEATURES, FEATURES.fingerprint, 20, 1,
                "train_loss", 0.5, {},
            ),
            "from chance",
        ),
    ],
    ids=["other heads", "no heads"],
)  # fmt: skip
def test_where_nothing_of_the_heads_fits_the_trunk_alone_is_taken(checkpoint: Checkpoint, why: str) -> None:
    transfer = plan_transfer(checkpoint, CONFIG, SPECIES)
    assert not transfer.takes_heads and transfer.kept == () and why in transfer.left[0]


def test_only_what_was_learnt_from_the_earlier_clips_counts_as_that() -> None:
    other_heads = replace(CONFIG, head_size=5)
    assert plan_transfer(earlier(), CONFIG, SPECIES).has_learnt
    assert not plan_transfer(earlier(other_heads), CONFIG, SPECIES).has_learnt, "a trunk that stayed as it was"
    assert plan_transfer(earlier(replace(other_heads, train="all")), CONFIG, SPECIES).has_learnt


def test_a_trunks_file_brings_no_heads(tmp_path: Path) -> None:
    save_pretrained(tmp_path / "trunk.pt", extract_trunk(earlier(), "by a test"))
    begun = start_model(replace(CONFIG, init=tmp_path / "trunk.pt"), FEATURES, SPECIES)
    assert begun.transfer is None and not begun.model.heads.mean.any()
    assert load_pretrained(tmp_path / "trunk.pt").made == "by a test"


def test_the_digest_is_that_of_all_that_is_taken(tmp_path: Path) -> None:
    def digest(checkpoint: Checkpoint, config: ModelConfig = CONFIG, species: Sequence[str] = SPECIES) -> str:
        save_checkpoint(tmp_path / "model.pt", checkpoint)
        return describe_start(replace(config, init=tmp_path / "model.pt"), species)

    first = digest(earlier())
    assert first == digest(earlier()) == start(tmp_path, earlier(), SPECIES).digest
    moved = earlier()
    moved.weights["heads.heads.1.hidden.1.bias"].add_(1)
    assert digest(moved) != first
    assert digest(earlier(taught=("a", "b"))) != first, "another species starts from chance"
    unlike = replace(CONFIG, head_size=5)
    assert digest(earlier(), unlike) == digest(moved, unlike), "heads that are not taken decide nothing"
    moved.weights["trunk.projection.bias"].add_(1)
    assert digest(moved, unlike) != digest(earlier(), unlike)
