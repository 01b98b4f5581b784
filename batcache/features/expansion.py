"""Time expansion: how many times slower than life a file plays, and on what ground that is believed.

Recorders of the tape age, and some programs still, write a call slowed ten times under a header rate a tenth of the
true one. The header does not say so, and a wrong factor poisons every feature. So its rate alone is never a ground:
below ``FULL_SPECTRUM_RATE`` someone who knows has to say it (the manifest, GUANO, WAMD), or the sound itself does.

From ``FULL_SPECTRUM_RATE`` on, no factor is looked for: eight times 192 kHz would be 1.5 MHz, which no bat recorder
samples at. A slowed tape that was digitised so fast needs its factor in the manifest.

What the sound can tell (``decide``): a bat's calls last 1 to 90 ms and lie between 15 and 125 kHz, so between calls as
they were and calls slowed eight times or more there is no overlap. Between the factors 8 and 32 there is, since a call
at 45 kHz slowed ten times could be one at 36 kHz slowed eight times. Only the rates that recorders have separate these.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batcache.features.audio import AudioHeader, read_blocks
from batcache.features.metadata import Metadata
from batcache.features.pulses import Pulses, find_pulses

HIGHEST_RATE = 2_000_000
"""Hz. No true rate lies above it."""

FULL_SPECTRUM_RATE = 192_000
"""Hz. Header rates from here on are true unless someone says otherwise."""

FACTORS = (10, 8, 16, 20, 32)
"""Factors in use, the most common first. The last three are too rare for the sound alone to be believed."""

_RECORDER_RATES = (
    *(192_000, 200_000, 250_000, 256_000, 288_000, 300_000),
    *(312_500, 320_000, 375_000, 384_000, 400_000, 500_000),
)
_COMMON_RATES = (
    *(8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000),  # sound cards
    *(12_500, 25_000, 50_000, 100_000, 125_000),  # laboratories
)
"""Header rates at which anything may have been recorded: a slowed tape, and also a bird."""

_SAME = 0.01  # factors that differ less are the same
_SAME_LENGTH = 0.2  # Length is that of another file after an edit, or rounded
_LEAST_SLOWED = 4.0  # below it a Length that differs speaks of a cut, not of a factor
_ENOUGH_PULSES = 5
_MARGIN = 4


@dataclass(frozen=True, slots=True)
class Expansion:
    """True rate = header rate x ``factor``. ``source`` says who knows; ``warning`` is empty, or why it may be wrong."""

    factor: float
    source: str
    warning: str = ""


def find_expansion(path: Path, header: AudioHeader, metadata: Metadata, told: float | None) -> Expansion:
    """Find a recording's factor: as the manifest tells it, else GUANO, else WAMD, else from its rate and sound.

    Raises:
        AudioError: the sound had to be looked at and cannot be decoded.
    """
    if told is not None:
        return Expansion(told, "manifest")
    said, warning = weigh_metadata(header, metadata)
    if said is not None:
        return said
    if header.rate >= FULL_SPECTRUM_RATE:
        return Expansion(1.0, "full-spectrum rate", warning)
    heard = decide(find_pulses(read_blocks(path, header, 1 << 16), header.rate), header.rate)
    return Expansion(heard.factor, heard.source, "; ".join(filter(None, (warning, heard.warning))))


def weigh_metadata(header: AudioHeader, metadata: Metadata) -> tuple[Expansion | None, str]:
    """What GUANO and WAMD say, if that can be believed; and why, where it cannot. Pure.

    GUANO has three witnesses: ``TE`` says the factor, ``Samplerate`` and ``Length`` the true rate and duration, which
    the header's rate and the number of samples make a factor of. A rate that the header calls full-spectrum is only
    multiplied where two of all witnesses agree. Whoever contradicts what is believed is named.
    """
    said = {"guano TE": metadata.guano_expansion, "guano Samplerate": _factor_of_rate(header, metadata)}
    said |= {"wamd": metadata.wamd_expansion}
    claims = {source: factor for source, factor in said.items() if factor is not None}
    slowed = _factor_of_length(header, metadata)
    odd_rate = ""
    if metadata.guano_rate is not None and "guano Samplerate" not in claims:
        ratio = metadata.guano_rate / header.rate
        odd_rate = f"guano Samplerate is {metadata.guano_rate:,.0f} Hz, {ratio:.3g} times the header's"

    def supported(source: str, factor: float) -> bool:
        others = [claim for other, claim in claims.items() if other != source]
        return any(abs(claim / factor - 1) < _SAME for claim in others) or is_near(slowed, factor)

    def is_near(slowed: float | None, factor: float) -> bool:
        return slowed is not None and abs(slowed / factor - 1) <= _SAME_LENGTH

    possible = {source: factor for source, factor in claims.items() if header.rate * factor <= HIGHEST_RATE}
    against = [f"{s} {f:g} makes {header.rate * f:,.0f} Hz" for s, f in claims.items() if s not in possible]
    if header.rate >= FULL_SPECTRUM_RATE:
        alone = {s: f for s, f in possible.items() if f != 1 and not supported(s, f)}
        against += [f"{source} says {factor:g}" for source, factor in alone.items()]
        possible = {source: factor for source, factor in possible.items() if source not in alone}
    if not possible:
        if slowed is not None and slowed >= _LEAST_SLOWED:
            against.append(f"guano Length says {slowed:.3g}")
        return None, "; ".join([*against, *filter(None, (odd_rate,))])
    source, factor = next(iter(possible.items()))
    if is_near(slowed, factor) and factor != 1:  # beside a TE that Length confirms, some write the header's rate
        possible = {s: f for s, f in possible.items() if (s, f) != ("guano Samplerate", 1)}
    against += [f"{s} says {f:g}" for s, f in possible.items() if abs(f / factor - 1) > _SAME]
    if slowed is not None and not is_near(slowed, factor) and (factor != 1 or slowed >= _LEAST_SLOWED):
        against.append(f"guano Length says {slowed:.3g}")  # a file that was resampled keeps both fields, and its length
    return Expansion(factor, source, "; ".join([*against, *filter(None, (odd_rate,))])), ""


def _factor_of_rate(header: AudioHeader, metadata: Metadata) -> float | None:
    """The factor that GUANO's ``Samplerate`` makes of the header's rate, where it is one in use, or its own ``TE``."""
    if metadata.guano_rate is None:
        return None
    ratio, said = metadata.guano_rate / header.rate, metadata.guano_expansion
    known = (1.0, *map(float, FACTORS)) if said is None else (1.0, said, *map(float, FACTORS))
    return next((factor for factor in known if abs(ratio / factor - 1) < _SAME), None)


def _factor_of_length(header: AudioHeader, metadata: Metadata) -> float | None:
    """The factor by which a recording lasts longer at the header's rate than GUANO's ``Length`` says."""
    if metadata.guano_length_s is None:
        return None
    return header.samples / header.rate / metadata.guano_length_s


def doubt_length(header: AudioHeader, metadata: Metadata, factor: float) -> str:
    """What to say where a file, read with this factor, is not as long as its GUANO says; empty where it is. Pure.

    Some write whole seconds, or one decimal.
    """
    said = metadata.guano_length_s
    if said is None:
        return ""
    there = header.samples / header.rate / factor
    rounding = 0.5 if said == round(said) else 0.05
    if abs(there - said) <= rounding + 0.01 * said:
        return ""
    return f"guano Length is {said:g} s, the samples last {there:.3g} s"


def decide(pulses: Pulses, rate: int) -> Expansion:
    """What the sound says at a header rate in Hz. Where it does not say enough, the factor is the likeliest one, or 1.

    The factor 1 is proven by bat calls above 18 kHz (at eight times that no bat calls), several times as many as there
    are under all other factors. An expansion is proven by many calls, few of them rising, at a header rate that nothing
    else is recorded at and that one factor alone, 8 or 10, makes a recorder's rate.
    """
    heard = len(pulses.hz)
    as_heard = int((_like_calls(pulses, 1) & (pulses.hz >= 18_000)).sum())
    fitting = {factor: _like_calls(pulses, factor) for factor in FACTORS if rate * factor <= HIGHEST_RATE}
    slowed = int(np.logical_or.reduce([*fitting.values(), np.zeros(heard, np.bool_)]).sum())
    if as_heard >= _ENOUGH_PULSES and as_heard >= _MARGIN * slowed:
        return Expansion(1.0, "band content")
    if slowed < max(_ENOUGH_PULSES, _MARGIN * as_heard, heard / 2):
        found = f"{as_heard} calls as if true, {slowed} as if slowed" if as_heard + slowed else "no bat calls"
        return Expansion(1.0, "assumed", f"{found} in {heard} pulses")
    known = [factor for factor in fitting if _is_plausible(rate, factor)]
    best = max(known or fitting, key=lambda factor: fitting[factor].sum())  # the first of equals: the most common
    if fitting[best].sum() < _ENOUGH_PULSES or not _is_paced(pulses, fitting[best], best):
        return Expansion(1.0, "assumed", f"{slowed} of {heard} pulses could be slowed calls, but not their intervals")
    return Expansion(float(best), "band content", _doubt(pulses, fitting[best], known, best, rate))


def _doubt(pulses: Pulses, fits: NDArray[np.bool_], known: list[int], best: int, rate: int) -> str:
    """Why a factor that the sound speaks for may still be another."""
    if not known:
        return f"calls sound slowed, but no factor makes {rate:,} Hz a recorder's rate"
    if len(known) > 1:
        return f"calls sound slowed, by {' or '.join(str(factor) for factor in sorted(known))}"
    if best not in FACTORS[:2]:
        return f"calls sound slowed by {best}, which is rare"
    if rate in _COMMON_RATES:
        return f"calls sound slowed by {best}, or they are no bats: {rate:,} Hz is a common rate"
    if pulses.falls[fits].mean() < 0.7:
        return f"calls sound slowed by {best}, but many of them rise"
    return ""


def _like_calls(pulses: Pulses, factor: float) -> NDArray[np.bool_]:
    """Which pulses could be bat calls under a factor. Sweeps (FM, QCF) are short, at constant frequency (CF) long."""
    hz, seconds = pulses.hz * factor, pulses.duration_s / factor
    sweep = (hz >= 15_000) & (hz <= 125_000) & (seconds >= 0.001) & (seconds <= 0.030)
    constant = (hz >= 65_000) & (hz <= 125_000) & (seconds > 0.030) & (seconds <= 0.090)
    return sweep | constant


def _is_paced(pulses: Pulses, fits: NDArray[np.bool_], factor: float) -> bool:
    """Whether calls follow each other as a bat's do: at 2 to 30 a second, or seldomer where several were missed."""
    return 0.03 <= float(np.median(np.diff(pulses.start_s[fits]))) / factor <= 1.0


def _is_plausible(rate: int, factor: int) -> bool:
    """Whether a header rate times a factor is a recorder's rate, or the file a digitised tape, slowed ten times."""
    digitised = factor == 10 and rate in _COMMON_RATES
    return digitised or any(abs(rate * factor / known - 1) < 1e-3 for known in _RECORDER_RATES)
