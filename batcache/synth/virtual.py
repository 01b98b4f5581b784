"""Species that do not exist: voices drawn over the space that the world's echolocating bats fill.

A trunk that has heard only these and twenty real ones meets a species that nobody simulated between some that it knows.
Five families stand for the ways in which bats call, with shares that follow no census: sweeps that end flat (vespers,
many free-tailed bats), steep sweeps (Myotis, Kerivoula), soft sweeps with strong harmonics (long-eared and leaf-nosed
bats), flat calls that may alternate (molossids, emballonurids), constant frequency (horseshoe, roundleaf and mustached
bats). Low voices call longer and more slowly, as the wing beats of large bats do: durations and intervals grow with
``(40 kHz / f)^0.6``, which the species of the repertoire follow.
"""

import re
from functools import cache

import numpy as np

from batcache.synth.species import CallType, Partials, Species, Spread, slowness, spread_of

MOST = 10_000
"""So many virtual species have a name."""
_SEED = 20_260_501
_NAME = re.compile(r"Virtual (\d{4})")
_SHARES = {"flat-ended": 0.34, "steep": 0.20, "whispering": 0.12, "flat": 0.18, "constant": 0.16}


def virtual_name(number: int) -> str:
    """The name of a virtual species.

    >>> virtual_name(7)
    'Virtual 0007'
    """
    return f"Virtual {number:04d}"


def is_virtual(name: str) -> bool:
    """Whether a name is that of a virtual species.

    >>> is_virtual("Virtual 0007"), is_virtual("Myotis myotis")
    (True, False)
    """
    return _NAME.fullmatch(name) is not None


@cache
def draw_species(name: str) -> Species:
    """The virtual species of a name, the same one wherever it is asked for.

    >>> draw_species("Virtual 0007") == draw_species("Virtual 0007")
    True
    """
    found = _NAME.fullmatch(name)
    assert found, f"{name} is not the name of a virtual species"
    rng = np.random.default_rng([_SEED, int(found[1])])
    family = list(_SHARES)[int(rng.choice(len(_SHARES), p=list(_SHARES.values())))]
    return _DRAWS[family](name, rng)


def _log_uniform(low: float, high: float, rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _species(name: str, types: tuple[CallType, ...], level_db: float, buzz: float, rng: np.random.Generator,
             partials: Partials | None = None, interval: float = 100.0) -> Species:  # fmt: skip
    khz = types[0].knee_khz.mean
    slow = float(np.clip(slowness(khz), 0.45, 2.4))
    interval *= slow * float(np.exp(0.18 * rng.standard_normal()))
    height = float(np.clip(4.0 * slow**2, 1.5, 15.0))
    return Species(
        name, types, Spread(interval, 0.13 * interval, 0.5 * interval, 2.3 * interval),
        level_db=level_db + float(rng.normal(0, 2)),
        speed_m_s=float(np.clip(5.5 * slow + rng.normal(0, 0.6), 2.5, 11.0)),
        wingbeat_hz=float(np.clip(10.5 / slow**0.6 + rng.normal(0, 0.5), 5.5, 14.0)),
        height_m=(0.4 * height, 2.2 * height),
        alternates=float(rng.uniform(0.4, 0.95)) if len(types) > 1 else 0.0,
        buzz=buzz * float(rng.uniform(0.3, 1.3)),
        partials=partials or ((1.0, 0.0), (2.0, float(rng.uniform(-36, -14))), (3.0, float(rng.uniform(-46, -28)))),
        over_water=float(rng.choice([0.1, 0.1, 0.3, 0.8])),
    )  # fmt: skip


def _flat_ended(name: str, rng: np.random.Generator) -> Species:
    """A sweep into a long flat tail, loudest there: pipistrelles, serotines, many others."""
    knee = _log_uniform(17, 115, rng)
    start = min(knee * float(rng.uniform(1.2, 2.2)), 150.0)
    kind = CallType(
        spread_of(start, 0.09), spread_of(knee, float(rng.uniform(0.012, 0.03))),
        end_khz=-knee * float(rng.uniform(0.01, 0.06)), tail_khz=knee * float(rng.uniform(0.02, 0.12)),
        bend=float(rng.uniform(2.8, 7.0)), hook=float(rng.uniform(8, 13)),
        duration_ms=spread_of(6.3 * slowness(knee) * float(np.exp(0.25 * rng.standard_normal())), 0.13),
        peak_khz=knee * float(rng.uniform(0.0, 0.05)), spread_octaves=float(rng.uniform(0.3, 0.75)),
        attack=float(rng.uniform(0.7, 1.3)), release=float(rng.uniform(0.4, 0.9)),
    )  # fmt: skip
    return _species(name, (kind,), float(rng.uniform(112, 122)), 0.12, rng)


def _steep(name: str, rng: np.random.Generator) -> Species:
    """A steep sweep over an octave and more, with a slight knee: Myotis and their like."""
    start = float(rng.uniform(65, 165))
    knee = start * float(rng.uniform(0.30, 0.62))
    kind = CallType(
        spread_of(start, 0.075), spread_of(knee, float(rng.uniform(0.03, 0.06))),
        end_khz=-knee * float(rng.uniform(0.1, 0.42)), tail_khz=knee * float(rng.uniform(0.12, 0.5)),
        bend=float(rng.uniform(1.2, 3.0)), hook=float(rng.uniform(3, 7)),
        duration_ms=spread_of(4.0 * slowness(knee) * float(np.exp(0.25 * rng.standard_normal())), 0.14),
        peak_khz=knee * float(rng.uniform(0.03, 0.4)), spread_octaves=float(rng.uniform(0.6, 1.2)),
        attack=float(rng.uniform(0.8, 1.4)), release=float(rng.uniform(0.6, 1.0)),
    )  # fmt: skip
    return _species(name, (kind,), float(rng.uniform(102, 113)), 0.05, rng, interval=88.0)


def _whispering(name: str, rng: np.random.Generator) -> Species:
    """A soft, short sweep whose harmonics may be as loud as its fundamental."""
    knee = _log_uniform(20, 75, rng)
    start = knee * float(rng.uniform(1.3, 2.0))
    kind = CallType(
        spread_of(start, 0.06), spread_of(knee, 0.04),
        end_khz=-knee * float(rng.uniform(0.1, 0.3)), tail_khz=knee * float(rng.uniform(0.1, 0.3)),
        bend=float(rng.uniform(0.8, 2.6)), hook=float(rng.uniform(3, 6)),
        duration_ms=spread_of(2.7 * slowness(knee) * float(np.exp(0.25 * rng.standard_normal())), 0.15),
        peak_khz=knee * float(rng.uniform(0.0, 0.3)), spread_octaves=float(rng.uniform(0.4, 0.9)),
        attack=float(rng.uniform(0.6, 1.2)), release=float(rng.uniform(0.6, 1.0)),
    )  # fmt: skip
    partials = ((1.0, 0.0), (2.0, float(rng.uniform(-14, -3))), (3.0, float(rng.uniform(-26, -8))))
    return _species(name, (kind,), 98.0, 0.02, rng, partials, interval=75.0)


def _flat(name: str, rng: np.random.Generator) -> Species:
    """Nearly constant calls, of one pitch or of two or three in turns; some with their fundamental below."""
    knee, types = _log_uniform(11, 75, rng), []
    rises = rng.random() < 0.2
    for number in range(int(rng.choice([1, 2, 3], p=[0.45, 0.4, 0.15]))):
        pitch = knee * float(rng.uniform(1.08, 1.3)) ** number
        sweep = pitch * float(rng.uniform(0.01, 0.25))
        types.append(
            CallType(
                spread_of(pitch - 0.6 * sweep if rises else pitch + sweep, 0.03),
                spread_of(pitch, float(rng.uniform(0.012, 0.025))),
                end_khz=-pitch * float(rng.uniform(0.0, 0.05)), tail_khz=pitch * float(rng.uniform(0.005, 0.06)),
                bend=float(rng.uniform(3.0, 6.0)), hook=float(rng.uniform(8, 12)),
                duration_ms=spread_of(8.5 * slowness(pitch) * float(np.exp(0.3 * rng.standard_normal())), 0.13),
                peak_khz=pitch * 0.01, spread_octaves=float(rng.uniform(0.3, 0.5)),
                attack=float(rng.uniform(0.6, 1.2)), release=float(rng.uniform(0.5, 1.0)),
                level_db=float(rng.uniform(-2, 1)),
            )
        )  # fmt: skip
    below = ((0.5, float(rng.uniform(-34, -16))),) if rng.random() < 0.4 else ()
    partials = ((1.0, 0.0), *below, (2.0, float(rng.uniform(-36, -18))))
    return _species(name, tuple(types), float(rng.uniform(114, 124)), 0.1, rng, partials, interval=115.0)


def _constant(name: str, rng: np.random.Generator) -> Species:
    """A pure tone with a short rise before, a fall after, or both; long as horseshoe bats', or short as roundleaf's."""
    khz = _log_uniform(28, 155, rng)
    onset, fall = khz * float(rng.uniform(0.0, 0.14)), khz * float(rng.uniform(0.08, 0.24))
    is_long = rng.random() < 0.5
    duration = (30.0 if is_long else 6.0) * float(np.clip(np.exp(0.35 * rng.standard_normal()), 0.5, 1.9))
    sharp = 45.0 if is_long else float(rng.uniform(9, 18))
    kind = CallType(
        spread_of(khz - onset, 0.015), spread_of(khz, 0.006),
        end_khz=-fall, tail_khz=0.0, bend=sharp, hook=sharp * float(rng.uniform(0.5, 0.9)),
        duration_ms=spread_of(duration, 0.12), peak_khz=0.0,
        spread_octaves=float(rng.uniform(0.06, 0.2)), attack=float(rng.uniform(0.4, 0.8)),
        release=float(rng.uniform(0.4, 0.9)),
    )  # fmt: skip
    partials = ((1.0, 0.0), (0.5, float(rng.uniform(-38, -18))), (1.5, float(rng.uniform(-48, -30))))
    interval = 85.0 if is_long else 50.0
    return _species(name, (kind,), float(rng.uniform(104, 116)), 0.03, rng, partials, interval=interval)


_DRAWS = {
    "flat-ended": _flat_ended,
    "steep": _steep,
    "whispering": _whispering,
    "flat": _flat,
    "constant": _constant,
}
