"""Every setting, its default and its range, once: one frozen dataclass for each section of the YAML.

Layers are merged, the later winning: defaults, then what the cache was built with (where it exists), then the YAML
file, then flags. A key that does not exist is an error that names the nearest one that does.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from batcache.config.explain import explain
from batcache.config.yaml import read_sections
from batcache.errors import ConfigError
from batcache.storage.place import Place, check_endpoint, parse_place, reach

FRONT_END_VERSION = 3
"""Raised whenever code changes the cached numbers; the golden test fails when that was forgotten."""

PoolingType = Literal["max", "attention", "linear_softmax"]
Engine = Literal["auto", "nnaudio", "fft"]


def _refuse_yes_and_no(value: Any) -> Any:
    """YAML reads yes and no as booleans, which are 1 and 0 in Python."""
    if isinstance(value, bool):
        raise PydanticCustomError("number", "expected a number")
    return value


Real = Annotated[float, BeforeValidator(_refuse_yes_and_no)]
Whole = Annotated[int, BeforeValidator(_refuse_yes_and_no)]
Share = Annotated[Real, Field(ge=0, lt=1)]
Positive = Annotated[Real, Field(gt=0)]
NotNegative = Annotated[Real, Field(ge=0)]
Count = Annotated[Whole, Field(ge=1)]
Natural = Annotated[Whole, Field(ge=0)]
Size = Count | tuple[Count, Count]
KeepOnGpu = Annotated[Literal["auto", "off"], BeforeValidator(lambda value: "off" if value is False else value)]
"""YAML reads ``off`` as False."""
CachePlace = Annotated[Place, BeforeValidator(parse_place)]
Endpoint = Annotated[str, AfterValidator(check_endpoint)]


class _Section:
    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class StftWindow:
    """How a recording is cut for its spectrum: ``rate`` in Hz, ``size`` and ``hop`` in samples at that rate."""

    rate: int
    size: int
    hop: int


@dataclass(frozen=True)
class FeatureConfig(_Section):
    """The settings that decide the cached numbers. Frequencies in Hz."""

    target_sample_rate: Annotated[Whole, Field(ge=8_000, le=2_000_000)] = 256_000
    n_fft: Annotated[Whole, Field(ge=16, multiple_of=2)] = 1024
    hop_length: Count = 256
    n_mels: Count = 128
    fmin: Positive = 10_000.0
    fmax: Positive = 100_000.0
    pcen_gain: NotNegative = 0.98
    pcen_bias: NotNegative = 2.0
    pcen_power: Positive = 0.5
    pcen_time_constant_s: Positive = 0.1

    def __post_init__(self) -> None:
        nyquist = self.target_sample_rate / 2
        if not self.fmin < self.fmax <= nyquist:
            raise ConfigError(
                "data.fmin, data.fmax",
                f"{self.fmin:g} to {self.fmax:g} Hz, expected fmin < fmax <= {nyquist:g} (half target_sample_rate)",
                "Raise target_sample_rate or lower fmax",
            )
        if self.hop_length > self.n_fft:
            raise ConfigError(
                "data.hop_length", f"{self.hop_length}, expected at most n_fft ({self.n_fft})", "Lower it"
            )

    @property
    def frames_per_second(self) -> float:
        return self.target_sample_rate / self.hop_length

    def stft_window(self, true_rate: int) -> StftWindow:
        """How a recording of this rate is cut: in windows that last as long as ``n_fft`` samples at the target rate.

        Where window and hop are whole numbers of its own samples (1,536 and 384 at 384 kHz), they are cut from those:
        spectra of equally long windows have the same bins at any rate. Else it is resampled to the target rate first.
        """
        target = self.target_sample_rate
        (size, part), (hop, rest) = divmod(self.n_fft * true_rate, target), divmod(self.hop_length * true_rate, target)
        whole = not part and not rest and not size % 2
        return StftWindow(true_rate, size, hop) if whole else StftWindow(target, self.n_fft, self.hop_length)

    def frames(self, samples: int, true_rate: int) -> int:
        """Number of frames of a recording: the whole hops in ``ceil(samples * rate / true_rate)`` samples."""
        windows = self.stft_window(true_rate)
        return -(-samples * windows.rate // true_rate) // windows.hop

    @property
    def fingerprint(self) -> str:
        """SHA-256 of these settings and the version of the code that carries them out."""
        return self.fingerprint_by(FRONT_END_VERSION)

    def fingerprint_by(self, version: int) -> str:
        """What the fingerprint is where that version of the front end carries these settings out."""
        given = {f.name: (getattr(self, f.name), f.default) for f in dataclasses.fields(FeatureConfig)}
        entering = {n: pair for n, pair in given.items() if n in _FIRST_KEYS or pair[0] != pair[1]}
        # 10_000 and 10_000.0 Hz are the same setting, but not the same JSON.
        settings = {n: float(v) if isinstance(default, float) else v for n, (v, default) in entering.items()}
        return digest({**settings, "front_end_version": version})

    def find_version(self, fingerprint: str) -> int | None:
        """The version of the front end that gives these settings this fingerprint; None where no known one does."""
        known = range(FRONT_END_VERSION, 0, -1)
        return next((version for version in known if self.fingerprint_by(version) == fingerprint), None)


_FIRST_KEYS = {
    "target_sample_rate",
    "n_fft",
    "hop_length",
    "n_mels",
    "fmin",
    "fmax",
    "pcen_gain",
    "pcen_bias",
    "pcen_power",
    "pcen_time_constant_s",
}
"""The keys of ``FeatureConfig`` that enter every fingerprint. A key added later enters only where it differs from its
default, which for ever stays what the front end did before there was the key: so adding it moves no fingerprint."""


@dataclass(frozen=True)
class DataConfig(FeatureConfig):
    """What is read and how it is cut. ``sample_rate`` is the expected true rate of the recordings, Hz.

    ``bag_size`` is how many instances a batch is padded to at least, so that its shape and memory stay alike. Padding
    is masked and changes no number but for rounding.

    ``cache`` is a path or ``s3://bucket/path``, reached at ``endpoint`` and ``region`` (AWS's, where not given).
    ``engine`` computes the spectra, to the same numbers but for rounding; ``auto`` is nnAudio on a GPU, else the FFT.
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
    engine: Engine = "auto"

    @property
    def features(self) -> FeatureConfig:
        names = [f.name for f in dataclasses.fields(FeatureConfig)]
        return FeatureConfig(**{name: getattr(self, name) for name in names})

    @property
    def frames_per_instance(self) -> int:
        return max(1, round(self.instance_s * self.frames_per_second))

    @property
    def place(self) -> Place:
        """Where the cache lies, and how to reach it."""
        return reach(self.cache, self.endpoint, self.region)

    @property
    def csvs(self) -> tuple[Path, ...]:
        """The CSVs named here, train first, each once."""
        named = [csv for csv in (self.train_csv, self.val_csv, self.test_csv) if csv is not None]
        return tuple(dict.fromkeys(named))


@dataclass(frozen=True)
class ConvLayer(_Section):
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
class ModelConfig(_Section):
    pooling_type: PoolingType = "attention"
    conv_layers: tuple[NamedLayer, ...] = (ConvLayer(64), ConvLayer(128), ConvLayer(256))
    rnn_hidden_size: Count = 128
    rnn_layers: Count = 2
    dropout: Share = 0.5


@dataclass(frozen=True)
class TrainingConfig(_Section):
    """How a model is fitted.

    ``class_weights`` weigh a species' positive labels: ``balanced`` (negatives over positives, at most 100), one
    number a species in CSV order, or a mapping from species to number (the others get 1). ``keep_on_gpu``: ``auto``
    keeps all training bags in a GPU's memory where they take less than half of what is free there.
    """

    batch_size: Count = 8
    epochs: Count = 100
    learning_rate: Positive = 1e-3
    weight_decay: NotNegative = 1e-4
    class_weights: Literal["balanced"] | tuple[Positive, ...] | dict[str, Positive] | None = None
    scheduler: Literal["plateau", "one_cycle", "none"] = "plateau"
    patience: Count = 15
    grad_clip: Positive = 1.0
    max_instances: Count = 60
    validation_share: Annotated[Real, Field(gt=0, lt=1)] = 0.15
    workers: Natural = 1
    keep_on_gpu: KeepOnGpu = "auto"
    seed: Natural = 0
    run_dir: Path = Path("runs")


@dataclass(frozen=True)
class AugmentationConfig(_Section):
    """Applied to features of training bags only. Mask widths are upper bounds, in frames and mel bands."""

    time_masking: bool = True
    time_mask_param: Natural = 20
    freq_masking: bool = True
    freq_mask_param: Natural = 10
    noise_injection: bool = True
    noise_std: NotNegative = 0.01


@dataclass(frozen=True)
class WandbConfig(_Section):
    enabled: bool = False
    project: str = "batcache"
    entity: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class SynthConfig(_Section):
    """What ``batcache run`` simulates first, if anything: the rows of ``manifest``, rendered into ``out``."""

    manifest: Path | None = None
    out: Path | None = None


@dataclass(frozen=True)
class Config(_Section):
    synth: SynthConfig = field(default_factory=SynthConfig)
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    wandb: WandbConfig = field(default_factory=WandbConfig)


Layer = Mapping[str, Any]
"""Settings as nested mappings: section, then key. A value of None in a layer of flags means the flag was not given."""


def load_config(path: Path | None = None, *, base: Layer | None = None, flags: Layer | None = None) -> Config:
    """Merge defaults, ``base``, the YAML file at ``path`` and ``flags`` into one checked ``Config``.

    Raises:
        ConfigError: a file that cannot be read, an unknown section or key, or a value of the wrong type or range.
    """
    given_flags = {s: {k: v for k, v in keys.items() if v is not None} for s, keys in (flags or {}).items()}
    merged: dict[str, dict[str, Any]] = {}
    for layer in (base or {}, read_sections(path) if path else {}, given_flags):
        for section, keys in layer.items():
            merged[section] = {**merged.get(section, {}), **keys}
    try:
        return _adapter().validate_python(merged)
    except ValidationError as error:
        raise explain(error, path, _keys_in) from None


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


def digest(document: Any) -> str:
    """SHA-256 of a document's canonical JSON (sorted keys, no spaces)."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


_SECTIONS = {f.name: f.default_factory for f in dataclasses.fields(Config)}


@cache
def _adapter() -> TypeAdapter[Config]:
    return TypeAdapter(Config)


def _keys_in(where: Sequence[str]) -> list[str]:
    """The keys there are at a place in the settings."""
    if not where:
        return list(_SECTIONS)
    kind = ConvLayer if where[0] == "model" and len(where) > 1 else _SECTIONS[where[0]]
    return [f.name for f in dataclasses.fields(kind)]  # type: ignore[arg-type]
