"""What the heads of a new model take from those of an earlier one: part by part, and species by species."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from batcache.config.settings import ModelConfig
from batcache.model.checkpoint import Checkpoint
from batcache.model.heads import EmbeddingHead, MILHeads

_PARTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "hidden": ("hidden layer", ()),
    "rnn": ("recurrent network", ("rnn_hidden_size", "rnn_layers")),
    "context": ("recurrent network", ("rnn_hidden_size", "rnn_layers")),
    "pool.classifier": ("classifier", ()),
    "pool.pooling": ("pooling", ("pooling_type",)),
}
"""The parts of an ``EmbeddingHead``, and the settings beside ``head_size`` that must agree for a part to be taken."""


_KERNEL_ROWS = ("kernel.weights", "kernel.bias", "kernel.share")
"""The weights of a kernel that have a row a species."""


@dataclass(frozen=True)
class Transfer:
    """What a new model takes from an earlier one beside its trunk.

    Attributes:
        species: of the new model, in their order.
        has_learnt: whether trunk or heads, as far as they are taken, have learnt from the clips of the earlier run.
        left: what is not taken, and which setting is the reason.
        kept: the species that the earlier model was taught, where heads are taken.
        whole: weights of ``MILHeads`` that are taken as they are, by name.
        rows: weights of ``MILHeads`` of which each species has a row, by name: the rows of ``kept``, in that order.
    """

    species: tuple[str, ...]
    has_learnt: bool
    left: tuple[str, ...]
    kept: tuple[str, ...] = ()
    whole: dict[str, Tensor] = field(default_factory=dict)
    rows: dict[str, Tensor] = field(default_factory=dict)

    @property
    def takes_heads(self) -> bool:
        """Whether heads are taken, or nothing but the trunk."""
        return bool(self.whole)

    @property
    def centres(self) -> int:
        """How many centres the kernel has that is taken; 0 where there is none."""
        return len(self.whole.get("kernel.moments", ()))

    @property
    def new(self) -> tuple[str, ...]:
        """The species that start from chance."""
        return tuple(name for name in self.species if name not in self.kept)

    @property
    def scored(self) -> tuple[str, ...]:
        """The species whose scores mean something from the start: those kept, where nothing is left behind."""
        return () if self.left else self.kept

    @torch.no_grad()
    def load_into(self, heads: MILHeads) -> None:
        """Give the heads of a new model what is taken; all else in them stays as it is."""
        own, places = heads.state_dict(), [self.species.index(name) for name in self.kept]
        for name, value in self.whole.items():
            own[name].copy_(value)
        for name, value in self.rows.items():
            own[name][places] = value.to(own[name])


def plan_transfer(earlier: Checkpoint, config: ModelConfig, species: Sequence[str]) -> Transfer:
    """Decide what a model of these settings and species takes from an earlier one.

    Heads are taken where ``head_size`` agrees: standardisation, and of each head the parts whose settings agree. Where
    the numbers of heads differ, as many are taken as both have. The kernel beside them is taken where the trunk, whose
    embeddings it compares, stays as it is.
    """
    then, names = earlier.model, tuple(species)
    trunk_learnt = earlier.trunk is None or then.train == "all"
    if earlier.trunk is None:
        return Transfer(names, trunk_learnt, ("heads (it was trained from chance, without such heads)",))
    if then.head_size != config.head_size:
        return Transfer(names, trunk_learnt, (f"heads ({_compare(then, config, 'head_size')})",))
    taught = {name for name, is_taught in zip(earlier.species, earlier.is_taught, strict=True) if is_taught}
    kept = tuple(name for name in names if name in taught)
    parts = tuple(f"{part}." for part, (_, settings) in _PARTS.items() if not _differing(then, config, settings))
    heads = {name.removeprefix("heads."): v for name, v in earlier.weights.items() if name.startswith("heads.")}
    if config.train == "head":
        parts += ("kernel.",)
    found = {name: value for name, value in heads.items() if _is_taken(name, parts, config.heads)}
    by_species = _find_rows(config, earlier.trunk.feature_dim)
    places = [earlier.species.index(name) for name in kept]
    rows = {n: value[places] for n, value in found.items() if n in _KERNEL_ROWS or _within_head(n) in by_species}
    whole = {name: value for name, value in found.items() if name not in rows}
    return Transfer(names, True, _list_left(then, config), kept, whole, rows)


def _list_left(then: ModelConfig, now: ModelConfig) -> tuple[str, ...]:
    left = {
        f"{title} ({', '.join(_compare(then, now, name) for name in differing)})"
        for title, settings in _PARTS.values()
        if (differing := _differing(then, now, settings))
    }
    heads = [f"every head ({_compare(then, now, 'heads')})"] if then.heads != now.heads else []
    return (*heads, *sorted(left))


def _differing(then: ModelConfig, now: ModelConfig, settings: Sequence[str]) -> list[str]:
    return [name for name in settings if getattr(then, name) != getattr(now, name)]


def _compare(then: ModelConfig, now: ModelConfig, name: str) -> str:
    return f"{name} {getattr(then, name)} there, {getattr(now, name)} here"


def _is_taken(name: str, parts: tuple[str, ...], heads: int) -> bool:
    """Whether a weight of ``MILHeads`` is of the standardisation, or of these parts of it or of its first heads."""
    if name in ("mean", "std"):
        return True
    if name.startswith("kernel."):
        return name.startswith(parts)
    if not name.startswith("heads."):
        return False  # heads of bats are taught anew
    return int(name.split(".")[1]) < heads and _within_head(name).startswith(parts)


def _within_head(name: str) -> str:
    """``pool.classifier.bias`` of ``heads.0.pool.classifier.bias``."""
    return name.split(".", 2)[-1]


def _find_rows(config: ModelConfig, feature_dim: int) -> set[str]:
    """The weights of a head that have a row a species: those whose shape follows the number of species."""
    with torch.device("meta"):  # nothing is allocated, and nothing drawn from torch's generator
        one, two = (EmbeddingHead(config, feature_dim, species).state_dict() for species in (1, 2))
    return {name for name, value in one.items() if value.shape != two[name].shape}
