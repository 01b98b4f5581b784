"""A model on a trunk that was taught elsewhere, and the file that such a trunk lies in.

``simulated.pt`` in this folder is the trunk that ships, taught by nothing but simulated bats, as
``pipelines/pretrain.yaml`` describes. A trunk's file holds its layers, the features it reads and its weights in half
precision. Nothing in it could run code when loaded.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from batcache.config.features import FeatureConfig
from batcache.config.settings import ModelConfig, to_plain
from batcache.errors import BatcacheError, RunError, brief, shorten
from batcache.model.crnn import select_real, spread
from batcache.model.heads import MILHeads
from batcache.model.pooling import BagOutput
from batcache.model.torch_file import read_torch, write_torch
from batcache.model.trunk import FrozenTrunk, Trunk, TrunkConfig
from batcache.storage.place import suggest_path

FORMAT = "batcache-trunk"
FORMAT_VERSION = 1
SIMULATED = Path(__file__).with_name("simulated.pt")


class PretrainedMILModel(nn.Module):
    """A bag of instances to one logit a species: a ``FrozenTrunk``, then ``MILHeads``.

    Shape:
        features: ``[B, N, T, M]``, mask: ``[B, N]``, true at real instances, which come first in each bag
        returns: a ``BagOutput`` with ``num_classes`` species
    """

    def __init__(
        self,
        config: ModelConfig,
        trunk: TrunkConfig,
        features: FeatureConfig,
        num_classes: int,
        *,
        hears_bats: bool = False,
        centres: int = 0,
    ) -> None:
        super().__init__()
        self.trunk = FrozenTrunk(trunk, features)
        self.heads = MILHeads(config, trunk.feature_dim, num_classes, hears_bats=hears_bats, centres=centres)

    def forward(self, features: Tensor, mask: Tensor) -> BagOutput:
        """Score a batch of bags. Shapes as the class says."""
        output: BagOutput = self.heads(spread(self.embed(select_real(features, mask)), mask), mask)
        return output

    def embed(self, instances: Tensor) -> Tensor:
        """What each real instance holds: for a kernel step by step, else at most.

        Shape:
            instances: ``[K, T, M]``, returns: ``[K, S, feature_dim]``, ``S = 1`` without a kernel
        """
        if self.heads.kernel is None:
            return self.trunk.embed(instances).unsqueeze(1)
        return self.trunk.embed_steps(instances)

    def each(self, steps: Tensor, mask: Tensor) -> list[BagOutput]:
        """What each head of species says of bags of embedded instances.

        Shape:
            steps: ``[K, S, feature_dim]``, the real instances, bag after bag; mask: ``[B, N]``
        """
        return self.heads.each(spread(steps, mask), mask)

    @torch.no_grad()
    def score_pieces(self, pieces: Iterable[Tensor]) -> BagOutput:
        """Judge one bag of any length, given as consecutive pieces, in the memory of one piece and all embeddings.

        Shape:
            pieces: ``[K_i, T, M]`` each, returns: a ``BagOutput`` with ``B = 1`` and ``N`` the sum of all ``K_i``
        """
        return self.heads.score_pieces(self.embed(piece) for piece in pieces)


@dataclass(frozen=True)
class Pretrained:
    """A trunk that was taught elsewhere; ``made`` says how."""

    config: TrunkConfig
    weights: Mapping[str, Tensor]
    made: str = ""


def save_pretrained(path: Path, trunk: Pretrained) -> None:
    """Write a trunk's file, weights in half precision, or leave what was there."""
    weights = {name: value.half() if value.is_floating_point() else value for name, value in trunk.weights.items()}
    head = {"format": FORMAT, "format_version": FORMAT_VERSION, "made": trunk.made}
    write_torch(path, {**head, "config": to_plain(trunk.config), "weights": weights})


def load_pretrained(path: Path) -> Pretrained:
    """Read a trunk's file.

    Raises:
        RunError: missing, damaged, or of another kind or format version.
    """
    remedy = "Pass a run, a file that batcache wrote, --init simulated or --init none"
    try:
        document, _ = read_torch(path)
    except FileNotFoundError:
        remedy = suggest_path(path, remedy, others=("simulated", "none"))
        raise RunError(path, "no such trunk, model or run", remedy) from None
    except OSError as error:
        raise RunError.of_disk(path, "not readable as a trunk", error, remedy) from None
    except ValueError as error:
        raise RunError(path, f"not readable as a trunk ({brief(error)})", remedy) from None
    return parse_pretrained(path, document)


def parse_pretrained(path: Path, document: Mapping[str, Any]) -> Pretrained:
    """The trunk in what was read of ``path``. Raises as ``load_pretrained``."""
    remedy = "Pass a run, a file that batcache wrote, --init simulated or --init none"
    if document.get("format") != FORMAT:
        raise RunError(path, "not a trunk of batcache", remedy)
    if document.get("format_version") != FORMAT_VERSION:
        finding = f"format version {shorten(str(document.get('format_version')))}, this batcache reads {FORMAT_VERSION}"
        raise RunError(path, finding, "Upgrade batcache")
    try:
        config = TypeAdapter(TrunkConfig).validate_python(document["config"])
        weights = {name: as_float(value) for name, value in document["weights"].items()}
        with torch.device("meta"):
            wanted = Trunk(config.conv_layers, config.features.n_mels, config.feature_dim).state_dict()
        if {n: v.shape for n, v in wanted.items()} != {n: v.shape for n, v in weights.items()}:
            raise ValueError("weights of other layers")
        return Pretrained(config, weights, str(document["made"]))
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError, OverflowError, BatcacheError) as error:
        raise RunError(path, f"a trunk that does not fit ({brief(error)})", remedy) from None


def as_float(value: Tensor) -> Tensor:
    """A weight in full precision; counts stay what they are."""
    return value.float() if value.is_floating_point() else value


def pick_trunk(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the trunk among those of a model."""
    found: dict[str, Any] = {}
    for name, value in weights.items():
        part, _, rest = name.partition(".")
        if part in ("crnn", "trunk") and rest.startswith(("convolutions.", "projection.")):
            found[rest] = value
    return found
