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
    """Bags and what their instances hold, in the bags' order. Shape: ``[N, S, feature_dim]`` float16 each."""

    bags: tuple[Bag, ...]
    steps: tuple[Tensor, ...]

    @property
    def counts(self) -> list[int]:
        """How many instances each bag has."""
        return [len(steps) for steps in self.steps]

    @property
    def embeddings(self) -> tuple[Tensor, ...]:
        """What heads hear of each bag. Shape: ``[N, feature_dim]`` each."""
        return tuple(steps.amax(1) for steps in self.steps)

    def instances(self) -> list[Instances]:
        """The bags as whoever scores them wants them: what instances hold in the place of frames."""
        return [
            Instances(bag.clip.filename, len(steps), lambda first, count, s=steps: s[first : first + count])  # type: ignore[misc]
            for bag, steps in zip(self.bags, self.steps, strict=True)
        ]


def embed_bags(
    trunk: FrozenTrunk,
    store: Store,
    bags: Sequence[Bag],
    frames_per_instance: int,
    device: torch.device,
    on_progress: OnProgress,
    *,
    by_steps: bool = False,
) -> Embedded:
    """Read every bag once and keep what the trunk makes of it, in memory: 4 kB a clip of 5 s.

    Of each instance it keeps the maximum over time, ``S = 1``, or, ``by_steps``, all: 60 kB a clip.

    Raises:
        StoreError: damage.
        RunError: see ``embed_frames``.
    """
    kept = []
    for bag in bags:
        read = read_bag(store, bag, frames_per_instance)
        kept.append(embed_frames(trunk, read, device, bag.clip.filename, by_steps=by_steps))
        on_progress(Progress("embed", len(kept), len(bags)))
    return Embedded(tuple(bags), tuple(kept))


@torch.no_grad()
def embed_frames(
    trunk: FrozenTrunk, frames: Tensor, device: torch.device, name: str, *, by_steps: bool = False
) -> Tensor:
    """What a trunk makes of a bag of this name. Shape: ``[N, T, M]`` -> ``[N, S, feature_dim]`` float16, on the CPU

    Raises:
        RunError: numbers that half precision cannot hold.
    """
    heard = (trunk.embed_steps(piece.to(device).float()) for piece in torch.split(frames, _PIECE))
    kept = torch.cat([(steps if by_steps else steps.amax(1, keepdim=True)).half().cpu() for steps in heard])
    if not kept.isfinite().all():
        most = torch.finfo(torch.float16).max
        finding = f"its trunk makes of {name} numbers that are not finite, or above {most:,.0f}"
        raise RunError("model.init", finding, "Pass --init simulated, or another trunk")
    return kept


class Embeddings:
    """Embeddings that several trainings share: what a trunk makes of a clip is computed once, and kept in memory.

    So are trunks that were adapted to clips.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str, str, int, int, int, bool], Tensor] = {}
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
        *,
        by_steps: bool = False,
    ) -> Embedded:
        """As ``embed_bags``, of which it asks only what is not there yet: the result is the same.

        Trunks are told apart by their weights, clips by their recording and their frames in it. Where all steps of a
        bag are there, their maximum is.
        """
        keys = [(*key, by_steps) for key in _keys(trunk, store, bags, frames_per_instance)]
        self._asked.update(keys)
        if not by_steps:
            there = {key: self._kept.get((*key[:-1], True)) for key in keys if key not in self._kept}
            self._kept |= {key: steps.amax(1, keepdim=True) for key, steps in there.items() if steps is not None}
        missing = {key: bag for key, bag in zip(keys, bags, strict=True) if key not in self._kept}
        about = frames_per_instance, device, on_progress
        new = embed_bags(trunk, store, tuple(missing.values()), *about, by_steps=by_steps)
        self._kept |= dict(zip(missing, new.steps, strict=True))
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
