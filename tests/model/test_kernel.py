"""What a kernel says beside heads: of bags whatever their padding, order and level, and how far it is heard."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from batcache.config.settings import ModelConfig
from batcache.errors import RunError
from batcache.model.checkpoint import load_checkpoint, save_checkpoint
from batcache.model.heads import MILHeads
from batcache.model.kernel import STEEPNESS, KernelHead, join_neighbours, scale, weigh_by_level
from batcache.model.summary import summarise_model
from tests.model.test_transfer import CPU, earlier, scores

DIM, CLASSES, STEPS = 5, 3, 3
REAL = torch.tensor([[True] * 4, [True, True, False, False]])


def drawn() -> KernelHead:
    """A kernel in which every part has a say."""
    generator = torch.Generator().manual_seed(0)
    kernel = KernelHead(7, DIM, CLASSES)
    for value in (kernel.moments, kernel.weights, kernel.bias):
        value.normal_(generator=generator)
    kernel.moments.copy_(scale(kernel.moments))
    kernel.widths.uniform_(0.3, 0.9, generator=generator)
    kernel.share.copy_(torch.tensor([0.0, 0.5, 1.0]))
    return kernel


def bags() -> torch.Tensor:
    return torch.randn(2, 4, STEPS, DIM, generator=torch.Generator().manual_seed(1))


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
    said = kernel.listen(whole).said
    by_share = said[0, :, :, 0].sort(0, descending=True).values[:2].mean(0)  # a third of 4, rounded up
    expected = (by_share + said[0, :, :, 1].amax(0)) / 2
    torch.testing.assert_close(kernel(whole, REAL[:1]).bag_logits[0], expected)


def test_an_instance_is_its_strongest_moment_wherever_in_it() -> None:
    kernel, whole = drawn(), bags()[0]
    single = [kernel.listen(moment.unsqueeze(-2)).said for moment in join_neighbours(whole).unbind(-2)]
    torch.testing.assert_close(kernel.listen(whole).said, torch.stack(single).amax(0))


def test_a_call_that_two_steps_share_is_heard_whole() -> None:
    """Whatever part of it each of them holds; steps that are not neighbours are never heard together."""
    first, second = torch.tensor([3.0, 0, 0, 2, 0]), torch.tensor([0, 4.0, 0, 0, 1])
    silence, call = torch.zeros(DIM), torch.maximum(first, second)
    assert torch.equal(join_neighbours(torch.stack([silence, first, second]))[1], call)
    parted = join_neighbours(torch.stack([first, silence, second]))
    assert not (parted == call).all(-1).any()
    assert torch.equal(join_neighbours(call[None]), call[None]), "a single step stays"


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


def test_bats_that_are_strange_are_doubted_and_the_more_the_farther_they_are() -> None:
    """One instance lies at a centre, one at a right angle to it; only where bats are heard counts."""
    kernel = KernelHead(1, DIM, CLASSES)
    kernel.moments[0, 0] = 1
    kernel.share.copy_(torch.tensor([0.0, 0.5, 0.5]))
    bag = torch.eye(DIM)[None, :2, None]
    at_both, at_one, at_other = torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    assert not kernel.doubt(kernel.listen(bag).strangeness, at_other).any(), "by default nothing is strange"
    kernel.strangeness.fill_(2)  # squared distances: 0 and 2
    strange = kernel.listen(bag).strangeness
    torch.testing.assert_close(strange, torch.tensor([[0.0, 4.0]]))
    assert not kernel.doubt(strange, at_one).any()
    torch.testing.assert_close(kernel.doubt(strange, at_other), -STEEPNESS * 3 * torch.tensor([[0.0, 1.0, 1.0]]))
    torch.testing.assert_close(kernel.doubt(strange, at_both), -STEEPNESS * 1 * torch.tensor([[0.0, 1.0, 1.0]]))
    assert not kernel.doubt(strange, torch.zeros(1, 2)).any(), "where no bat is heard, another doubt holds"


def test_a_call_tells_how_strange_an_instance_is_and_the_hiss_around_it_hardly() -> None:
    kernel = KernelHead(1, DIM, CLASSES)
    kernel.moments[0, 0], kernel.strangeness[:] = 1, 1
    call, hiss, silence = 10 * torch.eye(DIM)[0], torch.eye(DIM)[1], torch.zeros(DIM)
    heard = [kernel.listen(torch.stack(steps)).strangeness for steps in ([call, silence, hiss], [hiss, silence, hiss])]
    assert heard[0] < 0.05 and heard[1] == 2
    assert kernel.listen(silence[None]).strangeness == 0, "nothing is not strange"
    torch.testing.assert_close(
        weigh_by_level(torch.tensor([3.0, 8.0]), torch.tensor([[2.0, 0.0], [0.0, 1.0]])), torch.tensor(4.0)
    )


def test_heads_that_hear_strange_bats_doubt_species_and_not_that_there_are_bats() -> None:
    torch.manual_seed(0)
    heads = MILHeads(ModelConfig("max", heads=2, head_size=8, rnn_hidden_size=4), DIM, CLASSES, hears_bats=True).eval()
    heads.kernel = drawn()
    near = heads(bags(), REAL)
    heads.kernel.strangeness.fill_(100)
    far = heads(bags(), REAL)
    assert near.bat_logits is not None and far.bat_logits is not None
    assert torch.equal(far.bat_logits, near.bat_logits) and torch.equal(far.evidence, near.evidence)
    assert torch.equal(far.bag_logits[:, 0], near.bag_logits[:, 0]), "of which the kernel knows nothing"
    assert (far.bag_logits[:, 1:] < near.bag_logits[:, 1:] - 1).all()
    padded = bags()
    padded[1, 2:] = 100.0
    torch.testing.assert_close(heads(padded, REAL).bag_logits, far.bag_logits)


def test_a_checkpoint_keeps_it(tmp_path: Path) -> None:
    checkpoint = earlier(centres=6)
    save_checkpoint(tmp_path / "model.pt", checkpoint)
    again = load_checkpoint(tmp_path / "model.pt")
    assert again.centres == 6
    before, after = checkpoint.restore(CPU), again.restore(CPU)
    assert torch.equal(scores(after), scores(before))
    after.heads.kernel = None  # type: ignore[union-attr]
    assert not torch.equal(scores(after), scores(before)), "it has a say"


@pytest.mark.parametrize("name", ["moments", "widths", "strangeness", "weights", "share"])
def test_a_kernel_that_does_not_fit_is_refused(tmp_path: Path, name: str) -> None:
    checkpoint = earlier(centres=6)
    for damaged in (torch.tensor(1.0), checkpoint.weights[f"heads.kernel.{name}"][:-1]):
        weights = {**checkpoint.weights, f"heads.kernel.{name}": damaged}
        save_checkpoint(tmp_path / "model.pt", replace(checkpoint, weights=weights))
        with pytest.raises(RunError, match="does not fit"):
            load_checkpoint(tmp_path / "model.pt")


def test_a_model_s_file_tells_of_it(tmp_path: Path) -> None:
    for centres, told in ((6, "on 6 moments, averaged with heads"), (0, None)):
        save_checkpoint(tmp_path / "model.pt", earlier(centres=centres))
        assert summarise_model(tmp_path / "model.pt").get("kernel") == told


def test_a_kernel_of_half_seconds_is_told_by_what_it_is(tmp_path: Path) -> None:
    checkpoint = earlier(centres=6)
    weights = {name.replace("kernel.moments", "kernel.centres"): value for name, value in checkpoint.weights.items()}
    save_checkpoint(tmp_path / "model.pt", replace(checkpoint, weights=weights))
    with pytest.raises(RunError, match="its kernel compares half seconds, as an earlier version's did"):
        load_checkpoint(tmp_path / "model.pt")
