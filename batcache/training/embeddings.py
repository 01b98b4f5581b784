"""What a frozen trunk makes of each clip, computed once: an epoch then costs what its heads cost."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from batcache.inference.score import Instances
from batcache.model.trunk import FrozenTrunk
from batcache.progress import OnProgress, Progress
from batcache.store.reader import Store
from batcache.training.bags import Bag, read_bag

_PIECE = 64  # instances that pass a trunk at once


@dataclass(frozen=True)
class Embedded:
    """Bags and the embeddings of their instances. Shape: ``[N, feature_dim]`` float16 each, in the bags' order."""

    bags: tuple[Bag, ...]
    embeddings: tuple[Tensor, ...]

    @property
    def counts(self) -> list[int]:
        """How many instances each bag has."""
        return [len(embedding) for embedding in self.embeddings]

    def instances(self) -> list[Instances]:
        """The bags as whoever scores them wants them: embeddings in the place of frames."""
        return [
            Instances(bag.clip.filename, len(embedding), lambda first, count, e=embedding: e[first : first + count])  # type: ignore[misc]
            for bag, embedding in zip(self.bags, self.embeddings, strict=True)
        ]


@torch.no_grad()
def embed_bags(
    trunk: FrozenTrunk,
    store: Store,
    bags: Sequence[Bag],
    frames_per_instance: int,
    device: torch.device,
    on_progress: OnProgress,
) -> Embedded:
    """Read every bag once and keep what the trunk makes of it, in memory: 2 bytes a feature, 4 kB a clip of 5 s.

    Raises:
        StoreError: damage.
    """
    embeddings = []
    for bag in bags:
        read = read_bag(store, bag, frames_per_instance)
        pieces = [trunk.embed(piece.to(device).float()).half().cpu() for piece in torch.split(read, _PIECE)]
        embeddings.append(torch.cat(pieces))
        on_progress(Progress("embed", len(embeddings), len(bags)))
    return Embedded(tuple(bags), tuple(embeddings))
