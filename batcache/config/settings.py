"""Every setting, its default and its range, once: one frozen dataclass for each section of the YAML."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from batcache.config.features import FeatureConfig
from batcache.config.types import (
    CachePlace,
    Count,
    Endpoint,
    KeepOnGpu,
    Natural,
    NotNegative,
    Positive,
    Real,
    Section,
    Share,
    Size,
)
from batcache.errors import ConfigError
from batcache.storage.local_cache import LocalCache
from batcache.storage.place import Place, reach

PoolingType = Literal[
    "max",
    "attention",
    "linear_softmax",
    "gated_attention",
    "top_share",
    "mean",
    "exponential_softmax",
    "self_weighted",
    "autopool",
    "noisy_or",
]
Init = Literal["auto", "none", "simulated"] | Path
Engine = Literal["auto", "nnaudio", "fft"]
BEST_MODEL = Path("checkpoints") / "best_model.pt"
"""Where a run keeps its model, which ``model.init`` may name by its run."""


@dataclass(frozen=True)
class DataConfig(FeatureConfig):
    """What is read and how it is cut. ``sample_rate`` is the expected true rate of the recordings, Hz.

    ``bag_size`` is how many instances a batch of models from chance is padded to at least, so that its shape and memory
    stay alike. Padding is masked and changes no number but for rounding.

    ``cache`` is a path or ``s3://bucket/path``, reached at ``endpoint`` and ``region`` (AWS's, where not given).
    Features read from a bucket are kept in the folder ``local_cache``, if given, up to ``local_cache_gb`` (10^9 bytes).
    ``engine`` computes the spectra, to the same numbers but for rounding; ``auto`` is nnAudio on a GPU, else the FFT.
    Of each species training learns from at most ``clips_per_species`` that hold it; what is judged stays whole.
    """

    sample_rate: Count = 384_000
    instance_s: Positive = 0.5
    bag_size: Count = 10
    num_classes: Count | None = None
    data_dir: Path | None = None
    train_csv: Path | None = None
    val_csv: Path | None = None
    test_csv: Path | None = None
    cache: CachePlace = Path("features.zarr")
    endpoint: Endpoint | None = None
    region: str | None = None
    local_cache: Path | None = None
    local_cache_gb: Positive = 50.0
    engine: Engine = "auto"
    clips_per_species: Count | None = None

    @property
    def features(self) -> FeatureConfig:
        """The settings among these that decide the cached numbers."""
        names = [f.name for f in dataclasses.fields(FeatureConfig)]
        return FeatureConfig(**{name: getattr(self, name) for name in names})

    @property
    def frames_per_instance(self) -> int:
        """How many frames an instance has, at least one."""
        return max(1, round(self.instance_s * self.frames_per_second))

    @property
    def place(self) -> Place:
        """Where the cache lies, and how to reach it.

        Raises:
            ConfigError: a local cache of one that lies on a disk, or the size of one that has no folder.
        """
        if self.local_cache is None and self.local_cache_gb != DataConfig.local_cache_gb:
            raise ConfigError("data.local_cache_gb", "given without data.local_cache", "Say which folder")
        room = round(self.local_cache_gb * 1e9)
        local = None if self.local_cache is None else LocalCache(self.local_cache.absolute(), room)
        return reach(self.cache, self.endpoint, self.region, local)

    @property
    def csvs(self) -> tuple[Path, ...]:
        """The CSVs named here, train first, each once."""
        named = [csv for csv in (self.train_csv, self.val_csv, self.test_csv) if csv is not None]
        return tuple(dict.fromkeys(named))


@dataclass(frozen=True)
class ConvLayer(Section):
    """One convolution, BatchNorm, ReLU and a 2 x 2 MaxPool. Sizes are (time, frequency) or one for both."""

    filters: Count
    kernel_size: Size = 3
    stride: Size = 1
    padding: Natural | tuple[Natural, Natural] = 1


def _name_sizes(layer: Any) -> Any:
    """``64`` is short for ``{filters: 64}``, and ``[64, 3, 1, 1]`` gives the sizes in their order."""
    names = [f.name for f in dataclasses.fields(ConvLayer)]
    sizes = layer if isinstance(layer, list) else [layer]
    if isinstance(layer, Mapping | ConvLayer) or len(sizes) > len(names):
        return layer
    return dict(zip(names, sizes, strict=False))


NamedLayer = Annotated[ConvLayer, BeforeValidator(_name_sizes)]


@dataclass(frozen=True)
class ModelConfig(Section):
    """The network: convolutions within an instance, a recurrent network along the bag, a pooling over it.

    ``init`` says where its trunk, the convolutions, comes from: ``simulated`` ships with batcache, a path is that of a
    trunk's file, a checkpoint or a run, ``none`` starts from chance. Of a checkpoint or a run the heads are taken too,
    where their settings are the same: species that both models know keep what they learnt. ``auto`` is ``none`` where
    ``conv_layers`` are given, else ``simulated``: a trunk has layers of its own. ``train`` says what learns on a trunk:
    its ``head`` alone, or ``all``. What one head has: a hidden layer of ``head_size``, a recurrent network, a pooling;
    several are averaged. ``adapt``: before heads learn, a trunk's statistics of BatchNorm go this share of the way to
    those of the training clips, without their labels. ``species_groups``: species that cannot be told apart, by name of
    their group, beside genera, which are groups by themselves.
    """

    pooling_type: PoolingType = "top_share"
    conv_layers: tuple[NamedLayer, ...] | None = None
    rnn_hidden_size: Count = 32
    rnn_layers: Count = 1
    dropout: Share = 0.5
    init: Init = "auto"
    train: Literal["head", "all"] = "head"
    heads: Count = 5
    head_size: Count = 64
    adapt: Share = 0.5
    species_groups: dict[str, Annotated[tuple[str, ...], Field(min_length=2)]] = field(default_factory=dict, hash=False)

    @property
    def starts_from_trunk(self) -> bool:
        """Whether the convolutions come from elsewhere."""
        return self.init != "none" and (self.init != "auto" or self.conv_layers is None)

    @property
    def trains_heads_alone(self) -> bool:
        """Whether the trunk stays as it is."""
        return self.starts_from_trunk and self.train == "head"


@dataclass(frozen=True)
class TrainingConfig(Section):
    """How a model is fitted. These defaults are for heads on a trunk; see ``config.recipes`` for others.

    ``class_weights`` weigh a species' positive labels: ``balanced`` (negatives over positives, at most 100), one
    number a species in CSV order, or a mapping from species to number (the others get 1). ``keep_on_gpu``: ``auto``
    keeps all training bags in a GPU's memory where they take less than half of what is free there. ``batch_size`` left
    out is 8 clips, or as many as make fifty batches of all, but at most 64. ``simulated_sounds``, a third of them with
    bats, teach heads on a trunk beside the clips what is no bat at all; with none, they do not say. Such heads
    learn species that the simulator knows from simulated clips too, where fewer than ``simulated_clips`` hold them.
    ``guide`` is a CSV that tells it how others call, see ``synth.guide``.
    """

    batch_size: Count | None = None
    epochs: Count = 60
    learning_rate: Positive = 3e-3
    weight_decay: NotNegative = 1e-2
    class_weights: Literal["balanced"] | tuple[Positive, ...] | dict[str, Positive] | None = "balanced"
    scheduler: Literal["plateau", "one_cycle", "none"] = "none"
    patience: Count = 15
    grad_clip: Positive = 1.0
    max_instances: Count = 60
    validation_share: Annotated[Real, Field(gt=0, lt=1)] = 0.15
    simulated_sounds: Natural = 96
    simulated_clips: Annotated[Natural, Field(le=100)] = 6
    guide: Path | None = None
    workers: Natural = 1
    keep_on_gpu: KeepOnGpu = "auto"
    seed: Natural = 0
    run_dir: Path = Path("runs")

    def clips_a_batch(self, clips: int) -> int:
        """How many of so many clips a batch has."""
        return self.batch_size or min(max(clips // 50, 8), 64)


@dataclass(frozen=True)
class AugmentationConfig(Section):
    """Applied to features of training bags only; heads on a trunk learn from embeddings, without it.

    Mask widths are upper bounds, in frames and mel bands.

    ``bandwidth_masking`` is the share of instances whose upper bands become 0 from a random one of the upper half on,
    as recorders of a lower rate leave them.
    """

    time_masking: bool = True
    time_mask_param: Natural = 20
    freq_masking: bool = True
    freq_mask_param: Natural = 10
    noise_injection: bool = True
    noise_std: NotNegative = 0.01
    bandwidth_masking: Annotated[Real, Field(ge=0, le=1)] = 0.0


@dataclass(frozen=True)
class WandbConfig(Section):
    """Where metrics go besides ``metrics.jsonl``."""

    enabled: bool = False
    project: str = "batcache"
    entity: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class SynthConfig(Section):
    """What ``batcache run`` simulates first, if anything: the rows of ``manifest``, or so many ``clips``, into ``out``.

    Of made-up clips, ``seed`` decides who flies where; beside the twenty real species there are ``virtual_species``.
    Each night's recorder has one of ``rates``, Hz, drawn by the night's name; 384 kHz where there are none.
    With ``instance_labels`` each instance is labelled by the calls in it, in ``instances.csv`` of ``out``: the run then
    teaches a trunk, and keeps it as ``trunk.pt``.
    """

    manifest: Path | None = None
    out: Path | None = None
    clips: Count | None = None
    virtual_species: Annotated[Natural, Field(le=10_000)] = 0
    seed: Natural = 0
    rates: tuple[Annotated[Count, Field(ge=192_000, le=1_000_000)], ...] = ()
    instance_labels: bool = False


@dataclass(frozen=True)
class PredictConfig(Section):
    """What ``batcache run`` has the model judge last, if anything: new ``recordings``, a folder.

    With ``clips`` so many are simulated into it first: other nights than those of ``synth``, as ``seed`` decides.
    """

    recordings: Path | None = None
    clips: Count | None = None
    seed: Natural = 1


@dataclass(frozen=True)
class Config(Section):
    """All settings, a section each."""

    synth: SynthConfig = field(default_factory=SynthConfig)
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    wandb: WandbConfig = field(default_factory=WandbConfig)
    predict: PredictConfig = field(default_factory=PredictConfig)


def to_plain(config: Any) -> Any:
    """Return a config dataclass as mappings, lists, strings and numbers, fit for YAML and JSON."""
    if isinstance(config, Mapping):
        return {key: to_plain(value) for key, value in config.items()}
    if isinstance(config, Place):
        return config.as_posix()
    if dataclasses.is_dataclass(config):
        return {f.name: to_plain(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, tuple | list):
        return [to_plain(value) for value in config]
    return config
