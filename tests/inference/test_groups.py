"""Groups of species: which there are, their scores, labels, calibration, and when one is named."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from batcache.errors import ConfigError
from batcache.inference.calibration.calibrate import calibrate
from batcache.inference.calibration.measures import calibration_error, reliability
from batcache.inference.calibration.of_groups import calibrate_group_scores
from batcache.inference.calibration.thresholds import EVEN, PROMISED
from batcache.inference.groups import SpeciesGroup, back_off, find_groups, group_labels, group_scores
from batcache.model.provenance import HeldOut

SPECIES = ("Myotis brandtii", "Myotis mystacinus", "Myotis nattereri", "Nyctalus noctula", "Barn swallow", "Myotis")
TAUGHT = [True] * 6
WHISKERED = {"whiskered": ("Myotis mystacinus", "Myotis brandtii", "Myotis alcathoe")}
GROUPS = (SpeciesGroup("whiskered", (0, 1)), SpeciesGroup("Myotis sp.", (0, 1, 2)))


def test_genera_of_two_taught_species_or_more_are_groups_beside_those_that_are_named() -> None:
    assert find_groups(SPECIES, TAUGHT, {}) == GROUPS[1:]
    assert find_groups(SPECIES, TAUGHT, WHISKERED) == GROUPS
    assert find_groups(SPECIES, [False, False, True, True, True, True], WHISKERED) == ()
    assert find_groups(SPECIES, [False, *TAUGHT[1:]], WHISKERED) == (SpeciesGroup("Myotis sp.", (1, 2)),)
    named = {"mouse-eared": SPECIES[:3]}
    assert find_groups(SPECIES, TAUGHT, named) == (SpeciesGroup("mouse-eared", (0, 1, 2)),)
    assert find_groups(SPECIES, TAUGHT, {"Myotis sp.": SPECIES[:2]}) == (SpeciesGroup("Myotis sp.", (0, 1)),)


def test_a_group_of_a_species_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="'Nyctalus noctula' is the name of a species"):
        find_groups(SPECIES, TAUGHT, {"Nyctalus noctula": SPECIES[:2]})


@settings(deadline=None)
@given(scores=arrays(np.float32, (5, 6), elements=st.floats(0, 1, width=32)))
def test_a_groups_score_is_the_highest_of_its_members_and_never_below_one(scores: np.ndarray) -> None:
    of = group_scores(scores, GROUPS)
    for g, group in enumerate(GROUPS):
        members = scores[:, group.members]
        assert (of[:, g, None] >= members).all() and (of[:, g, None] == members).any(1).all()
    assert (of[:, 1] >= of[:, 0]).all()  # of groups that lie in each other too


def test_a_group_without_a_members_score_has_none() -> None:
    scores = np.array([[0.1, np.nan, 0.9, 0.5, 0.5, 0.5], [0.1, 0.3, 0.2, np.nan, 0.5, 0.5]])
    np.testing.assert_array_equal(group_scores(scores, GROUPS), [[np.nan, np.nan], [0.3, 0.3]])
    assert group_scores(scores, ()).shape == (2, 0)


def test_a_group_is_present_where_a_member_is_and_absent_where_all_are_known_to_be() -> None:
    labels = np.array([[1, 0, 0], [1, -1, -1], [0, 0, 0], [0, -1, 0], [0, 0, -1], [-1, -1, 1]], np.int8)
    wide = np.pad(labels, ((0, 0), (0, 3)), constant_values=-1)
    assert group_labels(wide, GROUPS).tolist() == [[1, 1], [1, 1], [0, 0], [-1, -1], [0, -1], [-1, 1]]


def named(scores: list[float], thresholds: tuple[float, float] = (0.4, 0.4)) -> list[str]:
    reached = np.array(scores) >= 0.6
    return [group.name for group in back_off(np.array(scores), reached, GROUPS, thresholds)]


def test_a_group_is_named_only_where_none_of_its_members_is() -> None:
    assert named([0.5, 0.5, 0.1, 0.1, 0.1, 0.1]) == ["whiskered"]  # the smallest that is reached
    assert named([0.1, 0.1, 0.5, 0.1, 0.1, 0.1]) == ["Myotis sp."]
    assert named([0.5, 0.5, 0.1, 0.1, 0.1, 0.1], (0.55, 0.4)) == ["Myotis sp."]
    assert named([0.5, 0.7, 0.1, 0.1, 0.1, 0.1]) == []  # a member is said
    assert named([0.5, 0.5, 0.7, 0.1, 0.1, 0.1]) == ["whiskered"]  # of the genus another is
    assert named([0.5, 0.5, 0.1, 0.9, 0.9, 0.9]) == ["whiskered"]  # a species of no group hides none
    assert named([0.3, 0.3, 0.3, 0.9, 0.9, 0.9]) == named([np.nan] * 6) == []
    assert named([0.5, 0.5, 0.1, 0.1, 0.1, 0.1], (np.inf, np.inf)) == []


def confused(nights: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits, labels and groups of clips of two species that sound alike, beside others that do not."""
    random = np.random.default_rng(seed)
    bat = random.integers(0, 6, nights)  # 0 and 1 alike, the others neither
    labels = np.stack([bat == 0, bat == 1], 1).astype(np.int8)
    alike = np.where(bat < 2, 2.0, -2.0) + random.normal(0, 1.5, nights)
    logits = alike[:, None] + random.normal(0, 0.8, (nights, 2))  # both hear the pair, neither which of it
    return logits, labels, np.arange(nights)


def test_the_probability_of_a_group_is_calibrated_where_its_species_are_confused() -> None:
    pair = (SpeciesGroup("pair", (0, 1)),)
    logits, labels, nights = confused(4_000, 0)
    of = calibrate(["pair"], group_scores(logits, pair), group_labels(labels, pair), nights, "validation")
    fresh_logits, fresh, _ = confused(20_000, 1)
    truth = group_labels(fresh, pair)[:, 0]
    probabilities = of.probabilities(group_scores(fresh_logits, pair))[:, 0]
    error = calibration_error(reliability(probabilities, truth))
    assert error is not None and error < 0.02
    singly = calibrate(["a", "b"], logits, labels, nights, "validation").probabilities(fresh_logits)
    product = 1 - (1 - singly).prod(1)
    worse = calibration_error(reliability(product, truth))
    assert worse is not None and worse > 2 * error  # the product of absences, whose errors go together
    assert ((probabilities > 0.9) & (truth == 1)).sum() > 10 * (
        singly.max(1) > 0.9
    ).sum()  # sure of the pair, not which


def test_what_is_promised_of_a_group_holds_where_it_is_named() -> None:
    """In all clips at its threshold more would be right: a member that is sure of itself is there too."""
    pair, promised, broken, everywhere = (SpeciesGroup("pair", (0, 1)),), 0, 0, 0
    fresh, labels, _ = often_sure(20_000, 99)
    truth, score = group_labels(labels, pair)[:, 0] == 1, group_scores(fresh, pair)[:, 0]
    for seed in range(60):
        logits, known, nights = often_sure(1_500, seed)
        species = calibrate(["a", "b"], logits, known, nights, "folds")
        held_out = HeldOut("folds", logits.astype(np.float32), known, nights)
        (at,) = calibrate_group_scores(pair, held_out, species).thresholds
        said = (1 / (1 + np.exp(-fresh)) >= species.values).any(1)
        named = ~said & (1 / (1 + np.exp(-score)) >= at.value)
        if at.basis == PROMISED and named.any():
            promised, broken = promised + 1, broken + (truth[named].mean() < 0.9)
        on_all = calibrate(
            ["pair"], score[:1_500, None], truth[:1_500, None].astype(np.int8), np.arange(1_500), "folds"
        )
        lax = ~said & (1 / (1 + np.exp(-score)) >= on_all.thresholds[0].value)
        everywhere += bool(lax.any() and truth[lax].mean() < 0.9)
    assert promised > 20 and broken <= 0.15 * promised  # 5 % are allowed to be; so few draws may bring some more
    assert everywhere > 50, "a threshold of all clips breaks it"


def test_a_group_that_is_likelier_absent_is_not_named() -> None:
    """Members tell nearly all that there is to tell: what they leave, the best F1 would name, mostly wrongly."""
    pair, rng, seen = (SpeciesGroup("pair", (0, 1)),), np.random.default_rng(0), 0
    for _ in range(20):
        labels = np.zeros((80, 2), np.int8)
        labels[:10, 0] = labels[10:18, 1] = 1
        logits = rng.normal(-4, 2, labels.shape) + np.where(labels == 1, 9.0, 0.0)
        logits[[0, 1, 10], [0, 0, 1]] = -5.0  # three clips that no score tells
        species = calibrate(["a", "b"], logits, labels, np.arange(80), "folds")
        held_out = HeldOut("folds", logits.astype(np.float32), labels, np.arange(80))
        of = calibrate_group_scores(pair, held_out, species)
        (at,), (platt,) = of.thresholds, of.platts
        if at.basis == EVEN and platt is not None:
            seen += 1
            likely = platt.probabilities(np.log([at.value / (1 - at.value)]))[0]
            assert likely == pytest.approx(0.5, abs=1e-4) and 0 < at.value < 1
    assert seen >= 10


def often_sure(nights: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As ``confused``, but half of the nights tell the member clearly."""
    logits, labels, of = confused(nights, seed)
    sure = np.random.default_rng(seed).random(nights) < 0.5
    return logits + np.where(sure[:, None] & (labels.any(1)[:, None]), 12.0 * labels - 4, 0.0), labels, of
