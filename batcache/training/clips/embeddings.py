"""What a frozen trunk makes of each clip, computed once: an epoch then costs what its heads cost."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from batcache.errors import RunError
from batcache.inference.score import Instances
from batcache.model.trunk import FrozenTrunk
from batcache.progress import OnProgress, Progress
from batcache.store.reader import Store
from batcache.training.clips.adapt import adapt_trunk
from batcache.training.clips.bags import Bag, read_bag

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
        RunError: the trunk makes numbers that half precision cannot hold.
    """
    embeddings = []
    for bag in bags:
        read = read_bag(store, bag, frames_per_instance)
        pieces = [trunk.embed(piece.to(device).float()).half().cpu() for piece in torch.split(read, _PIECE)]
        embeddings.append(torch.cat(pieces))
        if not embeddings[-1].isfinite().all():
            most = torch.finfo(torch.float16).max
            finding = f"its trunk makes of {bag.clip.filename} numbers that are not finite, or above {most:,.0f}"
            raise RunError("model.init", finding, "Pass --init simulated, or another trunk")
        on_progress(Progress("embed", len(embeddings), len(bags)))
    return Embedded(tuple(bags), tuple(embeddings))


class Embeddings:
    """Embeddings that several trainings share: what a trunk makes of a clip is computed once, and kept in memory.

    So are trunks that were adapted to clips.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str, str, int, int, int], Tensor] = {}
        self._adapted: dict[tuple[object, ...], dict[str, Tensor]] = {}
        self._asked: set[tuple[object, ...]] = set()

    def adapt(
        self,
        trunk: FrozenTrunk,
        store: Store,
        bags: Sequence[Bag],
        frames_per_instance: int,
        share: float,
        device: torch.device,
    ) -> None:
        """As ``adapt_trunk``, computed once: the trunk is the same."""
        if not share:
            return
        key = (*_keys(trunk, store, bags, frames_per_instance), share)
        self._asked.add(key)
        if key not in self._adapted:
            adapt_trunk(trunk, store, bags, frames_per_instance, share, device)
            self._adapted[key] = {name: value.clone() for name, value in trunk.named_buffers()}
        for name, value in trunk.named_buffers():
            value.copy_(self._adapted[key][name])

    def embed(
        self,
        trunk: FrozenTrunk,
        store: Store,
        bags: Sequence[Bag],
        frames_per_instance: int,
        device: torch.device,
        on_progress: OnProgress,
    ) -> Embedded:
        """As ``embed_bags``, of which it asks only what is not there yet: the result is the same.

        Trunks are told apart by their weights, clips by their recording and their frames in it.
        """
        keys = _keys(trunk, store, bags, frames_per_instance)
        self._asked.update(keys)
        missing = {key: bag for key, bag in zip(keys, bags, strict=True) if key not in self._kept}
        new = embed_bags(trunk, store, tuple(missing.values()), frames_per_instance, device, on_progress)
        self._kept |= dict(zip(missing, new.embeddings, strict=True))
        return Embedded(tuple(bags), tuple(self._kept[key] for key in keys))

    def forget_unasked(self) -> None:
        """Drop what nobody has asked for since the last call: other settings, other trunks, take no memory for ever."""
        self._kept = {key: value for key, value in self._kept.items() if key in self._asked}
        self._adapted = {key: value for key, value in self._adapted.items() if key in self._asked}
        self._asked.clear()


def _keys(
    trunk: FrozenTrunk, store: Store, bags: Sequence[Bag], frames_per_instance: int
) -> list[tuple[str, str, str, int, int, int]]:
    of = _digest(trunk), str(store.path)
    return [(*of, bag.row.path, bag.start, bag.stop, frames_per_instance) for bag in bags]


def _digest(trunk: FrozenTrunk) -> str:
    text = hashlib.sha256()
    for name, value in sorted(trunk.state_dict().items()):
        text.update(name.encode() + value.cpu().numpy().tobytes())
    return text.hexdigest()
