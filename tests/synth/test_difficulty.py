"""One call tells the species as often as the literature reports, no more and no less.

PJ00: Parsons & Jones 2000, J. Exp. Biol. 203: 2641. Of five measures of a call of twelve British species (the two
      horseshoe bats are told at once and left out), discriminant analysis is right in 79 to 81 %, a neural network in
      85 to 87 %.
WA12: Walters et al. 2012, J. Appl. Ecol. 49: 1064. Neural networks on 34 European species: the median species 83.7 %,
      Myotis 49 to 81 %.

Here too a classifier learns from some bats and judges others; chance is 8 % of twelve and 5 % of twenty. Between seeds
the shares vary by 1 to 2 %. The tolerance is 5 to 7 % beyond the reported range, since these are other calls.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from statistics import fmean

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from batcache.synth.calls import Call, amplitude, frequency_hz
from batcache.synth.repertoire import SPECIES
from batcache.synth.sequence import draw_individual, utter
from batcache.synth.species import Species

TWELVE = (
    "Barbastella barbastellus",
    "Eptesicus serotinus",
    "Myotis bechsteinii",
    "Myotis brandtii",
    "Myotis daubentonii",
    "Myotis mystacinus",
    "Myotis nattereri",
    "Nyctalus leisleri",
    "Nyctalus noctula",
    "Pipistrellus pipistrellus",
    "Pipistrellus pygmaeus",
    "Plecotus auritus",
)
BATS, CALLS = 80, 2  # of a species on each side, and of a bat

Calls = tuple[NDArray[np.float64], NDArray[np.str_]]  # measures [n, 5], names [n]


def five_measures(call: Call) -> list[float]:
    """Logarithms of start and end within 20 dB of the maximum, peak, frequency in mid-call, and duration."""
    u = np.linspace(0.0, 1.0, 65)[1:-1]
    f = frequency_hz(call, u)
    a = amplitude(call, u, f)
    loud = f[a > 0.1 * a.max()]
    return np.log([loud[0], loud[-1], f[np.argmax(a)], f[len(f) // 2], call.duration_s]).tolist()


def search_calls(species: Species, rng: np.random.Generator) -> Iterator[Call]:
    """Some calls each of ``BATS`` bats."""
    for _ in range(BATS):
        said = utter(species, draw_individual(species, rng), (0.0, 3.0), None, rng)
        yield from (utterance.call for utterance in islice(said, CALLS))


def draw(rng: np.random.Generator) -> Calls:
    """Calls of all species, of bats that no other draw knows."""
    rows = [(five_measures(call), species.name) for species in SPECIES for call in search_calls(species, rng)]
    return np.array([measures for measures, _ in rows]), np.array([name for _, name in rows])


@pytest.fixture(scope="module")
def learnt_and_judged() -> tuple[Calls, Calls]:
    rng = np.random.default_rng(0)
    return draw(rng), draw(rng)


def share_right(
    classifier: QuadraticDiscriminantAnalysis | Pipeline, sides: tuple[Calls, Calls], names: Sequence[str]
) -> dict[str, float]:
    """Species to the share of its calls that are named rightly, where only ``names`` are to choose from."""
    (x, y), (x_judged, y_judged) = ((x[np.isin(y, names)], y[np.isin(y, names)]) for x, y in sides)
    said = classifier.fit(x, y).predict(x_judged)
    return {name: float(np.mean(said[y_judged == name] == name)) for name in names}


def network() -> Pipeline:
    return make_pipeline(StandardScaler(), MLPClassifier((40,), alpha=0.01, max_iter=600, random_state=0))


def test_discriminant_analysis_tells_twelve_species_as_often_as_pj00(learnt_and_judged: tuple[Calls, Calls]) -> None:
    right = share_right(QuadraticDiscriminantAnalysis(reg_param=0.01), learnt_and_judged, TWELVE)
    assert 0.74 < fmean(right.values()) < 0.88, right


def test_a_network_tells_twelve_species_as_often_as_pj00_and_myotis_as_wa12(
    learnt_and_judged: tuple[Calls, Calls],
) -> None:
    right = share_right(network(), learnt_and_judged, TWELVE)
    assert 0.80 < fmean(right.values()) < 0.92, right
    assert 0.49 < fmean(share for name, share in right.items() if name.startswith("Myotis")) < 0.81, right


def test_a_network_tells_all_twenty_species_as_often_as_wa12(learnt_and_judged: tuple[Calls, Calls]) -> None:
    right = share_right(network(), learnt_and_judged, [species.name for species in SPECIES])
    assert 0.78 < fmean(right.values()) < 0.90, right
