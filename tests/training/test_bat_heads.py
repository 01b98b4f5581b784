"""Whether there is a bat at all: what the heads of bats are taught, and what species make of it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from batcache.config.features import FeatureConfig
from batcache.config.settings import Config, ModelConfig
from batcache.inference.score import Instances, score_bags
from batcache.model.checkpoint import load_checkpoint
from batcache.model.heads import MILHeads
from batcache.model.pretrained import PretrainedMILModel
from batcache.model.start import start_model
from batcache.progress import Progress
from batcache.training.bat_heads import fit_bat_heads
from batcache.training.clips import simulated
from batcache.training.clips.simulated import Sound, simulate_sounds
from batcache.training.runs import BEST
from tests.small_world import CPU, SmallWorld, train_fully, tweak

MASK = torch.ones(6, 4, dtype=torch.bool)


def heads(*, hears_bats: bool = True) -> MILHeads:
    torch.manual_seed(0)
    return MILHeads(ModelConfig("max", heads=2, head_size=8, rnn_hidden_size=4), 5, 3, hears_bats=hears_bats).eval()


def test_species_are_doubted_as_much_as_a_bat_is() -> None:
    model, bags = heads(), 3 * torch.randn(6, 4, 1, 5, generator=torch.Generator().manual_seed(1))
    for head in model.bats:
        head.pool.classifier.weight.data *= 20  # else all are doubted about as much
        head.pool.classifier.bias.data += 4
    said, alone = model(bags, MASK), torch.stack([one.bag_logits for one in model.each(bags, MASK)]).mean(0)
    bats = said.bat_logits
    assert (bats < 0).any() and (bats > 0).any(), "both cases are there"
    torch.testing.assert_close(said.bag_logits, alone + bats.clamp(max=0)[:, None])
    assert torch.equal(said.bag_logits[bats > 0], alone[bats > 0]), "where a bat is likely, nothing changes"


def test_a_bat_in_a_long_bag_is_as_likely_as_in_a_short_one() -> None:
    """Whatever else is in an hour of recording, one pass is a bat."""
    model = heads()
    for head in model.bats:
        head.context.weight.data.zero_()  # neighbours say nothing, as in heads that have learnt nothing of them
    short = torch.randn(1, 4, 1, 5, generator=torch.Generator().manual_seed(3))
    long = torch.cat([short, short[:, :1].repeat(1, 500, 1, 1)], 1)
    of_short, of_long = (model(bag, torch.ones(bag.shape[:2], dtype=torch.bool)).bat_logits for bag in (short, long))
    torch.testing.assert_close(of_long, of_short)


def test_heads_of_species_start_the_same_whether_bats_are_heard_or_not() -> None:
    one, other = heads(hears_bats=True).heads.state_dict(), heads(hears_bats=False).heads.state_dict()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_heads_of_bats_learn_and_leave_those_of_species_alone() -> None:
    """Bags with a bat have one instance that points another way."""
    model, generator = heads(), torch.Generator().manual_seed(2)
    before = {name: value.clone() for name, value in model.heads.state_dict().items()}
    bags = [0.1 * torch.randn(4, 5, generator=generator) for _ in range(60)]
    has_bats = [i % 2 == 0 for i in range(60)]
    for bag, has in zip(bags, has_bats, strict=True):
        bag[1, 0] += 2.0 * has
    model.standardise_by(torch.cat(bags))
    fit_bat_heads(model, bags, has_bats, seed=0)
    said = model(torch.stack(bags).unsqueeze(-2), torch.ones(60, 4, dtype=torch.bool)).bat_logits
    assert torch.equal(said > 0, torch.tensor(has_bats))
    assert all(torch.equal(value, before[name]) for name, value in model.heads.state_dict().items())
    assert not any(part.training for part in model.bats)


def test_the_same_sounds_come_again_and_their_lengths_do_not_tell_of_bats() -> None:
    features = FeatureConfig(n_mels=32, fmax=90_000)
    sounds = simulate_sounds(12, features, (192_000, 256_000))
    simulated._last.clear()
    told: list[Progress] = []
    again = simulate_sounds(12, features, (192_000, 256_000), told.append)
    assert [(progress.stage, progress.done, progress.total) for progress in told] == [
        ("simulate", done, 12) for done in range(13)
    ]
    assert all(torch.equal(one.frames, other.frames) for one, other in zip(sounds, again, strict=True))
    assert [sound.has_bats for sound in sounds] == [True, False, False] * 4
    lengths = [len(sound.frames) for sound in sounds]
    assert len(set(lengths)) == 12, "drawn, not one for each kind"
    assert min(lengths) >= 499 and max(lengths) <= 5000


def test_sounds_have_the_rates_of_the_clips_and_rates_do_not_tell_of_bats() -> None:
    """Of a slow recorder the upper bands hold nothing, with bats and without."""
    features = FeatureConfig(n_mels=32)
    sounds = simulate_sounds(24, features, (192_000, 384_000))
    slow = [not sound.frames[:, -1].any() for sound in sounds]
    for has_bats in (True, False):
        of = [is_slow for is_slow, sound in zip(slow, sounds, strict=True) if sound.has_bats is has_bats]
        assert 0 < sum(of) < len(of)
    assert not any(not sound.frames[:, -1].any() for sound in simulate_sounds(6, features, (384_000,)))


def test_a_sound_shorter_than_an_instance_is_padded_and_a_longer_one_is_cut_to_whole_ones() -> None:
    short, long = Sound(torch.ones(30, 4).half(), True).cut(50), Sound(torch.ones(130, 4).half(), True).cut(50)
    assert short.shape == (1, 50, 4) and short[0, 30:].eq(0).all() and short[0, :30].eq(1).all()
    assert long.shape == (2, 50, 4) and long.eq(1).all()


def test_a_run_hears_bats_if_sounds_are_simulated_and_says_so_of_every_bag(
    small: SmallWorld, trained: Path, tmp_path: Path
) -> None:
    model = ModelConfig("max", init=trained, heads=2, head_size=8, rnn_hidden_size=4)
    config: Config = replace(tweak(small.config, training={"epochs": 1, "scheduler": "none"}), model=model)
    for sounds, hears in ((6, True), (0, False)):
        settings = tweak(config, training={"simulated_sounds": sounds})
        run, _ = train_fully(settings, small.store, small.manifest, tmp_path / str(sounds))
        checkpoint = load_checkpoint(run / BEST)
        assert checkpoint.hears_bats is hears
        frames = torch.rand(3, checkpoint.frames_per_instance, checkpoint.features.n_mels)
        bag = Instances("bag", 3, lambda first, count, all_of=frames: all_of[first : first + count])  # type: ignore[misc]
        (said,) = score_bags(checkpoint.restore(CPU), [bag], 1, 60)
        assert (said.bat is not None) is hears


@pytest.mark.slow
def test_on_the_trunk_that_ships_sounds_that_it_was_not_taught_by_are_told_apart() -> None:
    """Taught by 96 simulated sounds alone, judged on 48 others, of other species, nights and draws."""
    torch.manual_seed(0)
    model = start_model(ModelConfig(), FeatureConfig(), ("a", "b"), hears_bats=True).model
    assert isinstance(model, PretrainedMILModel)
    sounds = simulate_sounds(144, FeatureConfig(), (384_000,))
    with torch.no_grad():
        embedded = [model.trunk.embed(sound.cut(500).float()) for sound in sounds]
    known = [sound.has_bats for sound in sounds]
    model.heads.standardise_by(torch.cat(embedded[:96]))
    fit_bat_heads(model.heads, embedded[:96], known[:96], seed=0)
    said = [float(model.heads.score_pieces([bag.unsqueeze(1)]).bat_logits) > 0 for bag in embedded[96:]]  # type: ignore[arg-type]
    found = [says for says, has in zip(said, known[96:], strict=True) if has]
    false = [says for says, has in zip(said, known[96:], strict=True) if not has]
    assert sum(found) / len(found) >= 0.75 and sum(false) / len(false) <= 0.1
