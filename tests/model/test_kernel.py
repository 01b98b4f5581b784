"""What a kernel says beside heads: of bags whatever their padding, order and level, and how far it is heard."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from batcache.config.settings import ModelConfig
from batcache.errors import RunError
from batcache.model.checkpoint import load_checkpoint, save_checkpoint
from batcache.model.heads import MILHeads
from batcache.model.kernel import KernelHead, scale
from batcache.model.summary import summarise_model
from tests.model.test_transfer import CPU, earlier, scores

DIM, CLASSES = 5, 3
REAL = torch.tensor([[True] * 4, [True, True, False, False]])


def drawn() -> KernelHead:
    """A kernel in which every part has a say."""
    generator = torch.Generator().manual_seed(0)
    kernel = KernelHead(7, DIM, CLASSES)
    for value in (kernel.centres, kernel.weights, kernel.bias):
        value.normal_(generator=generator)
    kernel.centres.copy_(scale(kernel.centres))
    kernel.widths.uniform_(0.3, 0.9, generator=generator)
    kernel.share.copy_(torch.tensor([0.0, 0.5, 1.0]))
    return kernel


def bags() -> torch.Tensor:
    return torch.randn(2, 4, DIM, generator=torch.Generator().manual_seed(1))


def test_padded_instances_and_their_content_change_nothing() -> None:
    kernel, whole = drawn(), bags()
    said = kernel(whole, REAL)
    short = kernel(whole[1:, :2], REAL[1:, :2])
    torch.testing.assert_close(said.bag_logits[1:], short.bag_logits)
    torch.testing.assert_close(said.instance_logits[1:, :2], short.instance_logits)
    assert not said.instance_logits[1, 2:].any() and not said.evidence[1, 2:].any()


def test_neither_order_nor_level_of_instances_matters() -> None:
    """Embeddings of a louder call are longer, not others: the trunk's ReLU leaves their direction."""
    kernel, whole, order = drawn(), bags(), torch.tensor([2, 0, 3, 1])
    real = torch.ones(2, 4, dtype=torch.bool)
    said, turned = kernel(whole, real), kernel(3 * whole[:, order], real)
    torch.testing.assert_close(turned.bag_logits, said.bag_logits)
    torch.testing.assert_close(turned.evidence, said.evidence[:, order])


def test_a_bag_is_judged_by_its_strongest_third_and_its_strongest_instance() -> None:
    kernel, whole = drawn(), bags()[:1]
    said = kernel.regress(whole)
    by_share = said[0, :, :, 0].sort(0, descending=True).values[:2].mean(0)  # a third of 4, rounded up
    expected = (by_share + said[0, :, :, 1].amax(0)) / 2
    torch.testing.assert_close(kernel(whole, REAL[:1]).bag_logits[0], expected)


def test_silence_is_like_every_centre_as_much_and_finite() -> None:
    kernel = drawn()
    kernel.widths.fill_(0.5)
    like = kernel.compare(torch.zeros(1, DIM))
    torch.testing.assert_close(like, torch.exp(torch.tensor(-1 / 0.5)).expand(1, 7))


def test_each_species_hears_the_kernel_in_its_share() -> None:
    torch.manual_seed(0)
    heads = MILHeads(ModelConfig("max", heads=2, head_size=8, rnn_hidden_size=4), DIM, CLASSES).eval()
    alone, kernel = heads(bags(), REAL), drawn()
    own = kernel(bags(), REAL)
    heads.kernel = kernel
    both = heads(bags(), REAL)
    for name in ("bag_logits", "instance_logits", "evidence"):
        one, other, mixed = (getattr(said, name) for said in (alone, own, both))
        assert torch.equal(mixed[..., 0], one[..., 0]), "a share of 0 changes no bit"
        torch.testing.assert_close(mixed[..., 1], (one[..., 1] + other[..., 1]) / 2)
        torch.testing.assert_close(mixed[..., 2], other[..., 2])
    learning = torch.stack([said.bag_logits for said in heads.each(bags(), REAL)])
    torch.testing.assert_close(learning.mean(0), alone.bag_logits, msg="heads learn by what they say themselves")


def test_a_long_bag_is_judged_as_a_short_one_is() -> None:
    """Beyond a thousand instances heads speak one by one."""
    torch.manual_seed(0)
    heads = MILHeads(ModelConfig("max", heads=2, head_size=8, rnn_hidden_size=4), DIM, CLASSES, centres=7).eval()
    heads.kernel = drawn()
    long = torch.randn(1, 1100, DIM, generator=torch.Generator().manual_seed(2))
    said = heads.score_pieces(long[0].split(300))
    torch.testing.assert_close(said.bag_logits, heads(long, torch.ones(1, 1100, dtype=torch.bool)).bag_logits)


def test_a_checkpoint_keeps_it(tmp_path: Path) -> None:
    checkpoint = earlier(centres=6)
    save_checkpoint(tmp_path / "model.pt", checkpoint)
    again = load_checkpoint(tmp_path / "model.pt")
    assert again.centres == 6
    before, after = checkpoint.restore(CPU), again.restore(CPU)
    assert torch.equal(scores(after), scores(before))
    after.heads.kernel = None  # type: ignore[union-attr]
    assert not torch.equal(scores(after), scores(before)), "it has a say"


@pytest.mark.parametrize("name", ["centres", "widths", "weights", "share"])
def test_a_kernel_that_does_not_fit_is_refused(tmp_path: Path, name: str) -> None:
    checkpoint = earlier(centres=6)
    for damaged in (torch.tensor(1.0), checkpoint.weights[f"heads.kernel.{name}"][:-1]):
        weights = {**checkpoint.weights, f"heads.kernel.{name}": damaged}
        save_checkpoint(tmp_path / "model.pt", replace(checkpoint, weights=weights))
        with pytest.raises(RunError, match="does not fit"):
            load_checkpoint(tmp_path / "model.pt")


def test_a_model_s_file_tells_of_it(tmp_path: Path) -> None:
    for centres, told in ((6, "on 6 instances, averaged with heads"), (0, None)):
        save_checkpoint(tmp_path / "model.pt", earlier(centres=centres))
        assert summarise_model(tmp_path / "model.pt").get("kernel") == told
