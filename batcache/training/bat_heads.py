"""Bat or no bat: heads of their own, taught by the user's clips and by simulated sounds with and without bats."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from batcache.config.settings import Config
from batcache.features.frame_pulses import count_pulses
from batcache.model.heads import MILHeads, score_alongside
from batcache.model.pretrained import PretrainedMILModel
from batcache.progress import OnProgress
from batcache.store.reader import Store
from batcache.training.clips.bags import Bag, read_bag
from batcache.training.clips.simulated import list_rates, simulate_sounds

MOST_CLIPS = 128
"""So many of the user's clips with bats are enough, and so many without."""
LONGEST = 120
"""Instances of a clip without bats, at most: longer ones would be read whole to count their pulses."""
MOST_PULSES = 2
"""A clip in which no species is, all being known, and no more pulses than these, is taken for one without bats.

Others may hold a bat that is not among the species."""
_EPOCHS, _BATCH, _RATE, _DECAY = 30, 16, 3e-3, 1e-2


def teach_bat_heads(
    model: PretrainedMILModel,
    store: Store,
    bags: Sequence[Bag],
    embeddings: Sequence[Tensor],
    config: Config,
    on_progress: OnProgress,
) -> None:
    """Teach a model's bat heads by some of the user's clips, and by ``training.simulated_sounds``.

    Shape:
        embeddings: ``[N_i, feature_dim]``, of each of ``bags``
    """
    device, frames, settings = model.heads.mean.device, config.data.frames_per_instance, config.training
    chosen = list(_choose(store, bags, frames))
    sounds = simulate_sounds(settings.simulated_sounds, store.features, list_rates(store), on_progress)
    with torch.no_grad():
        simulated = [model.trunk.embed(sound.cut(frames).to(device).float()).cpu() for sound in sounds]
    known = [*(embeddings[i].float() for i, _ in chosen), *simulated]
    has_bats = [*(has for _, has in chosen), *(sound.has_bats for sound in sounds)]
    fit_bat_heads(model.heads, known, has_bats, settings.seed)


def _choose(store: Store, bags: Sequence[Bag], frames_per_instance: int) -> Iterator[tuple[int, bool]]:
    """Places of the user's clips of which it is known whether they hold bats."""
    left = {True: MOST_CLIPS, False: MOST_CLIPS}
    for i in np.random.default_rng(len(bags)).permutation(len(bags)).tolist():
        labels = bags[i].clip.labels
        has_bats = 1 in labels
        if not left[has_bats] or not (has_bats or set(labels) == {0}):
            continue
        if not has_bats and bags[i].instances(frames_per_instance) > LONGEST:
            continue
        if has_bats or _is_quiet(store, bags[i], frames_per_instance):
            left[has_bats] -= 1
            yield i, has_bats


def _is_quiet(store: Store, bag: Bag, frames_per_instance: int) -> bool:
    """Whether a clip has next to no pulses; of log-mel frames, in which they are not counted, it is not known."""
    if store.features.compression != "pcen":
        return False
    return count_pulses(read_bag(store, bag, frames_per_instance).numpy()) <= MOST_PULSES


def fit_bat_heads(heads: MILHeads, embeddings: Sequence[Tensor], has_bats: Sequence[bool], seed: int) -> None:
    """Teach the bat heads which of these bags hold bats; the heads of species stay as they are.

    Takes some seconds for three hundred bags: pass no more than are needed.

    Shape:
        embeddings: ``[N_i, feature_dim]`` each, not standardised
    """
    bats = list(heads.bats)
    labels = torch.tensor(has_bats, dtype=torch.float32)
    device, share = heads.mean.device, float(labels.mean())
    weight = torch.tensor((1 - share) / max(share, 1e-3), device=device)
    optimiser = torch.optim.AdamW(heads.bats.parameters(), _RATE, weight_decay=_DECAY)
    torch.manual_seed(seed)  # dropout
    rng = np.random.default_rng([seed, len(labels)])
    heads.bats.train()
    for _ in range(_EPOCHS):
        order = rng.permutation(len(labels))
        for batch in np.array_split(order, max(1, round(len(order) / _BATCH))):
            bags = torch.nn.utils.rnn.pad_sequence([embeddings[i] for i in batch], batch_first=True).to(device)
            mask = torch.arange(bags.shape[1]) < torch.tensor([len(embeddings[i]) for i in batch])[:, None]
            outputs = score_alongside(bats, heads.standardise(bags), mask)  # type: ignore[arg-type]
            logits = torch.stack([output.bag_logits[:, 0] for output in outputs])
            wanted = labels[batch].to(device).expand_as(logits)
            loss = F.binary_cross_entropy_with_logits(logits, wanted, pos_weight=weight)
            optimiser.zero_grad()
            (loss * len(bats)).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    heads.bats.eval()
