"""The settings that decide the cached numbers, and their fingerprint."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, Literal

import msgspec
from pydantic import Field

from batcache.config.types import Count, NotNegative, Positive, Section, Whole
from batcache.errors import ConfigError

FRONT_END_VERSION = 3
"""Raised whenever code changes the cached numbers; the golden test fails when that was forgotten."""
PCEN = "pcen_"
"""What the names of the settings begin with that belong to PCEN alone."""
_EARLIEST_READ = 2
"""Version 1 hashed contents otherwise: copies of a clip would not be known as such beside what is hashed today."""


@dataclass(frozen=True)
class StftWindow:
    """How a recording is cut for its spectrum: ``rate`` in Hz, ``size`` and ``hop`` in samples at that rate."""

    rate: int
    size: int
    hop: int


@dataclass(frozen=True)
class FeatureConfig(Section):
    """The settings that decide the cached numbers. Frequencies in Hz.

    ``compression`` is what makes features of mel magnitudes: ``pcen``, by the settings of that name, or ``log``, which
    has none.
    """

    target_sample_rate: Annotated[Whole, Field(ge=8_000, le=2_000_000)] = 256_000
    n_fft: Annotated[Whole, Field(ge=16, multiple_of=2)] = 1024
    hop_length: Count = 256
    n_mels: Count = 128
    fmin: Positive = 10_000.0
    fmax: Positive = 100_000.0
    compression: Literal["pcen", "log"] = "pcen"
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
        self._refuse_idle_pcen()

    def _refuse_idle_pcen(self) -> None:
        for field in dataclasses.fields(FeatureConfig):
            value = getattr(self, field.name)
            if self.compression != "pcen" and field.name.startswith(PCEN) and value != field.default:
                finding = f"{value:g}, which does nothing where data.compression is {self.compression}"
                raise ConfigError(f"data.{field.name}", finding, "Leave it out, or write compression: pcen")

    @property
    def compressed_by(self) -> str:
        """``compression`` as a report says it."""
        return {"pcen": "PCEN", "log": "logarithm"}[self.compression]

    @property
    def in_words(self) -> str:
        """What a frame holds, as a report says it: mel bands, what became of their magnitudes, frames a second."""
        bands = f"{self.n_mels} mel bands, {self.fmin / 1000:g} to {self.fmax / 1000:g} kHz"
        return f"{bands}, {self.compressed_by}; {self.frames_per_second:g} frames a second"

    def differing(self, other: "FeatureConfig") -> list[str]:
        """The settings in which another config differs; those of PCEN only where both use it."""
        both = self.compression == other.compression
        there, here = vars(other), vars(self)
        return [name for name in here if here[name] != there[name] and (both or not name.startswith(PCEN))]

    @property
    def frames_per_second(self) -> float:
        """How many frames a second of true time has."""
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
        return digest({**self.to_record(), "front_end_version": version})

    def to_record(self) -> dict[str, Any]:
        """The settings that enter the fingerprint, as a store's attributes hold them; see ``settings_to_hash``."""
        return settings_to_hash(FeatureConfig, self, _FIRST_KEYS)

    def find_version(self, fingerprint: str) -> int | None:
        """Which version of the front end gives these settings this fingerprint; None where none that is read does."""
        known = range(FRONT_END_VERSION, _EARLIEST_READ - 1, -1)
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
"""The keys of ``FeatureConfig`` that enter every fingerprint; see ``settings_to_hash``."""


def settings_to_hash(kind: Any, settings: Any, first_keys: Set[str]) -> dict[str, Any]:
    """The settings of a dataclass ``kind`` that enter a digest: the first keys, and others that are not their default.

    A key added later must have for its default, for ever, what was done before there was the key: so adding it moves
    no digest.
    """
    given = {f.name: (getattr(settings, f.name), _default_of(f)) for f in dataclasses.fields(kind)}
    entering = {name: pair for name, pair in given.items() if name in first_keys or pair[0] != pair[1]}
    # 10_000 and 10_000.0 Hz are the same setting, but not the same JSON.
    return {name: float(value) if isinstance(default, float) else value for name, (value, default) in entering.items()}


def _default_of(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def digest(document: Any) -> str:
    """SHA-256 of a document's canonical JSON (sorted keys, no spaces)."""
    return hashlib.sha256(_canonical_json(document)).hexdigest()


def digest_with_rows(first: Sequence[Any], rows: Iterable[Any], last: Sequence[Any] = ()) -> str:
    """``digest([*first, [*rows], *last])``, for more rows than should be held as text. They hold texts, whole numbers
    and sequences of these.

    >>> digest_with_rows(["a"], iter([1, 2]), ["b"]) == digest(["a", [1, 2], "b"])
    True
    """
    text, rows, comma = hashlib.sha256(b"["), iter(rows), b""
    for one in first:
        text.update(_canonical_json(one) + b",")
    text.update(b"[")
    while some := list(islice(rows, 1024)):
        text.update(comma + _canonical_rows(some)[1:-1])
        comma = b","
    text.update(b"]")
    for one in last:
        text.update(b"," + _canonical_json(one))
    text.update(b"]")
    return text.hexdigest()


def _canonical_rows(rows: Sequence[Any]) -> bytes:
    """``_canonical_json`` of texts, whole numbers and sequences of these, mostly in a tenth of the time: msgspec writes
    them alike but for characters that are not ASCII, or its last, DEL."""
    try:
        text = msgspec.json.encode(rows)
    except UnicodeEncodeError:  # half of a surrogate pair, as in names that are not UTF-8
        return _canonical_json(rows)
    return text if text.isascii() and b"\x7f" not in text else _canonical_json(rows)


def _canonical_json(document: Any) -> bytes:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.encode()
