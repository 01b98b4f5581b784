"""Species that the simulator knows are taught by simulated clips, as far as there are few of their own."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from batcache.config.features import FeatureConfig
from batcache.config.settings import Config, ModelConfig
from batcache.errors import ManifestError
from batcache.features.bands import band_edges_hz
from batcache.manifest.label_counts import SpeciesCounts, count_labels
from batcache.model.checkpoint import Checkpoint, load_checkpoint
from batcache.model.start import start_model
from batcache.model.summary import summarise_model
from batcache.progress import ignore_progress
from batcache.synth.guide import COLUMNS as SAID
from batcache.synth.guide import GuideCall, read_call
from batcache.synth.render import DURATION_S, RATE_HZ
from batcache.synth.repertoire import BY_NAME, SPECIES
from batcache.training.clips import known_species
from batcache.training.clips.bags import join
from batcache.training.clips.known_species import (
    SimulatedClip,
    check_names,
    list_known,
    list_strangers,
    list_twins,
    list_unknown,
    plan_clips,
    recall_clips,
)
from batcache.training.events import RunStarted
from batcache.training.inputs import choose_split, find_run
from batcache.training.loop import resume
from batcache.training.run_inputs import summarise_run
from batcache.training.runs import BEST, read_run, read_run_config, write_run, write_run_config
from batcache.training.trainer import Trainer
from tests.small_world import CPU, SmallWorld, train_fully, tweak
from tests.training.same_run import stop_after

FEATURES = FeatureConfig(n_mels=64, fmax=120_000)


def counted(**present: int) -> list[SpeciesCounts]:
    return [
        SpeciesCounts(name.replace("_", " "), Counter(train=clips, test=9), Counter(train=9))
        for name, clips in present.items()
    ]


def plan(
    rows: Sequence[SpeciesCounts],
    least: int,
    features: FeatureConfig = FEATURES,
    rates: Sequence[int] = (RATE_HZ,),
    kept: Sequence[str] = (),
    guide: Sequence[GuideCall] = (),
) -> tuple[SimulatedClip, ...]:
    return plan_clips(rows, least, features, rates, kept, guide)


def planned(least: int, **present: int) -> Counter[str]:
    return Counter(clip.voice.name for clip in plan(counted(**present), least))


def test_each_known_species_is_brought_to_as_many_clips_and_no_other() -> None:
    assert planned(6, Myotis_myotis=1, Nyctalus_noctula=5, Plecotus_auritus=6, Vespertilio_murinus=70, Myotis=2) == {
        "Myotis myotis": 5, "Nyctalus noctula": 1,
    }  # fmt: skip
    assert not planned(0, Myotis_myotis=1)
    assert not planned(6, Corynorhinus_townsendii=1, Low=1), "nobody has told the simulator how they call"


def test_a_species_that_the_clips_do_not_teach_is_not_taught_by_simulated_ones() -> None:
    """Nobody would know what such a score is worth on real recordings."""
    assert not planned(6, Myotis_myotis=0)
    always = SpeciesCounts("Myotis myotis", Counter(train=2), Counter(test=1))
    assert not plan([always], 6)


def test_a_species_that_an_earlier_model_knows_keeps_what_it_learnt() -> None:
    rows = counted(Myotis_myotis=1, Nyctalus_noctula=1)
    assert {clip.voice.name for clip in plan(rows, 6, kept=["Myotis myotis"])} == {"Nyctalus noctula"}


def test_a_species_that_two_columns_name_is_simulated_once_and_in_both() -> None:
    (clip,) = plan(counted(**{"Myotis myotis": 1, "Nyctalus noctula": 9, "greater mouse-eared bat": 5}), 2)
    assert (clip.voice.name, clip.labels) == ("Myotis myotis", (1, 0, 1))


def test_what_neither_features_nor_recorders_hear_is_not_simulated() -> None:
    """The lesser horseshoe bat calls at 110 kHz, which a rate of 192 kHz does not hold."""
    rows = counted(Rhinolophus_hipposideros=1, Myotis_myotis=1)
    assert {clip.voice.name for clip in plan(rows, 6)} == {"Rhinolophus hipposideros", "Myotis myotis"}
    for features, rates in ((FeatureConfig(), (RATE_HZ,)), (FEATURES, (192_000,))):
        assert {clip.voice.name for clip in plan(rows, 6, features, rates)} == {"Myotis myotis"}
    both = plan(rows, 60, FEATURES, (96_000, 192_000, RATE_HZ))
    heard_at = {row.species: {clip.rate_hz for clip in both if clip.voice.name == row.species} for row in rows}
    assert heard_at == {"Rhinolophus hipposideros": {RATE_HZ}, "Myotis myotis": {192_000, RATE_HZ}}
    assert not plan(rows, 6, FEATURES, (96_000,))


def test_what_was_planned_is_recalled_from_its_text() -> None:
    rows = counted(Myotis_myotis=1, Myotis=3, Nyctalus_noctula=2)
    clips = plan(rows, 4, rates=(256_000, RATE_HZ))
    assert recall_clips([clip.text for clip in clips], [row.species for row in rows]) == clips
    for wrong in ("384000 0 Myotis", "384000 Myotis myotis", "12 0 Myotis myotis"):
        with pytest.raises(ValueError):
            recall_clips([wrong], ["Myotis myotis"])


@pytest.mark.parametrize(
    "name", ["Pipistrellus_pipistrellus", "pipistrellus pipistrellus", "common pipistrelle", "PIPPIP"]
)
def test_species_are_known_by_any_of_their_names(name: str) -> None:
    assert planned(3, **{name: 1}) == {"Pipistrellus pipistrellus": 2}


def test_others_are_absent_and_what_is_no_single_species_is_unknown() -> None:
    """A simulated Daubenton's bat is a Myotis, a bat and, for all that is known, what the user calls ``type B``."""
    columns = {"Myotis daubentonii": 1, "Nyctalus noctula": 9, "Myotis": 9, "Bat": 9, "type B": 9, "MYMY": 9}
    (clip,) = plan(counted(**columns), 2)
    assert clip == SimulatedClip(BY_NAME["Myotis daubentonii"], 0, RATE_HZ, (1, 0, -1, -1, -1, -1))


def simulate(clips: Sequence[SimulatedClip]) -> list[np.ndarray]:
    return [frames.float().numpy() for frames in known_species._simulate(clips, FEATURES, ignore_progress)]


def test_what_stands_out_in_clips_lies_where_their_species_calls() -> None:
    """Horseshoe bats' tones move by Doppler's shift alone; neither calls where noctules end their calls."""
    khz = {"Rhinolophus hipposideros": (107, 116), "Rhinolophus ferrumequinum": (78, 86), "Nyctalus noctula": (17, 27)}
    centres = band_edges_hz(FEATURES)[:, 1] / 1000
    loudest = {}
    for latin in khz:
        clips = simulate([SimulatedClip(BY_NAME[latin], number, RATE_HZ, (1,)) for number in range(6)])
        stands_out = np.mean([(frames - np.median(frames, 0)).max(0) for frames in clips], 0)
        loudest[latin] = [stands_out[(centres > low) & (centres < high)].max() for low, high in khz.values()]
    table = np.array(list(loudest.values()))
    own, others = table.diagonal(), np.where(np.eye(3), 0, table).max(0)
    assert (own > 2 * others).all(), table.round(2)


def test_clips_are_the_same_again_differ_from_each_other_and_have_many_lengths() -> None:
    clips = [SimulatedClip(voice, number, RATE_HZ, (1,)) for voice in SPECIES[:3] for number in range(3)]
    once = simulate(clips)
    known_species._kept.clear()
    again = simulate(clips[::-1])[::-1]
    assert all(np.array_equal(one, other) for one, other in zip(once, again, strict=True))
    lengths = [len(frames) / FEATURES.frames_per_second for frames in once]
    assert len(set(lengths)) == len(clips) and min(lengths) >= 0.5 and max(lengths) <= DURATION_S
    assert min(lengths) < 1.5 and max(lengths) > 2


COLUMNS = "filename,Myotis myotis,Nyctalus noctula,Sweep,split,group"


def settings(small: SmallWorld, trained: Path, least: int, sounds: int = 0) -> Config:
    model = ModelConfig("max", init=trained, heads=1, head_size=8, rnn_hidden_size=4)
    quick = {"epochs": 2, "scheduler": "none", "simulated_sounds": sounds, "simulated_clips": least}
    return replace(tweak(small.config, training=quick), model=model)


def learn(small: SmallWorld, trained: Path, least: int, runs: Path) -> tuple[Checkpoint, list[str], Path]:
    named = small.read(small.rows(), COLUMNS)
    run, told = train_fully(settings(small, trained, least), small.store, named, runs / str(least))
    (started,) = (one for one in told if isinstance(one, RunStarted))
    notes = [note for note in started.notes if "simulated" in note]
    return load_checkpoint(run / BEST), notes, run


def test_where_there_are_clips_enough_nothing_is_simulated_and_the_model_is_the_same(
    small: SmallWorld, trained: Path, tmp_path: Path
) -> None:
    without, enough, few = (learn(small, trained, least, tmp_path) for least in (0, 2, 12))
    assert all(torch.equal(value, enough[0].weights[name]) for name, value in without[0].weights.items())
    assert not without[1] and not enough[1]
    differ = {name for name, value in few[0].weights.items() if not torch.equal(value, enough[0].weights[name])}
    assert "heads.kernel.moments" in differ and any(name.startswith("heads.heads.0") for name in differ)
    assert not any(name.startswith("trunk") for name in differ), "the trunk is that of the user's clips"
    assert not {"heads.mean", "heads.deviation"} & differ
    heard, learnt = few[0].trained_on, enough[0].trained_on
    assert heard is not None and learnt is not None and learnt.simulated == ()
    assert heard == replace(learnt, simulated=heard.simulated), "what is simulated does not count as heard"
    assert [min(12, of) + also for of, also in zip(heard.present, heard.simulated, strict=True)][:2] == [12, 12]
    some, none = few[1]
    assert "of 2 species with fewer than 12 teach too" in some
    assert "fewer than 12 training clips hold Sweep, and none are simulated" in none and "--guide" in none
    facts = summarise_model(few[2] / BEST)
    assert facts["  Myotis myotis"].endswith(f" clips, and {heard.simulated[0]} simulated")
    assert "simulated" not in facts["  Sweep"]


def test_a_resumed_run_goes_on_with_what_it_began_with(small: SmallWorld, trained: Path, tmp_path: Path) -> None:
    """Also one that began, in an earlier version, without: its settings do not say so."""
    named, config = small.read(small.rows(), COLUMNS), settings(small, trained, 12, sounds=6)
    for least in (12, 0):
        begun = tweak(config, training={"simulated_clips": least})
        whole, _ = train_fully(begun, small.store, named, tmp_path / f"whole{least}")
        stopped = stop_after(begun, small, named, tmp_path / f"stopped{least}", 1)
        about = read_run(stopped)
        assert bool(about["simulated"]) == bool(least)
        if not least:
            write_run(stopped, {name: value for name, value in about.items() if name != "simulated"})
            write_run_config(stopped, tweak(read_run_config(stopped), training={"simulated_clips": 6}))
        resume(stopped, small.store, named, CPU)
        one, other = load_checkpoint(whole / BEST).weights, load_checkpoint(stopped / BEST).weights
        assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_simulated_clips_count_in_the_weights_of_labels(small: SmallWorld, trained: Path, tmp_path: Path) -> None:
    named = small.read(small.rows(), COLUMNS)
    config = tweak(settings(small, trained, 12), training={"class_weights": "balanced"})
    split = choose_split(join(named, small.store), named, config)
    counts = count_labels((bag.clip for bag in split.train), named.species)
    clips = plan(counts, 12, small.store.features, (256_000,))
    simulated = Counter(clip.voice.name for clip in clips)
    there = [row.present["train"] + simulated[row.species] for row in counts]
    assert there[:2] == [12, 12] and there[2] == counts[2].present["train"]
    start = start_model(config.model, small.store.features, named.species)
    trainer = Trainer(config, small.store, named.species, replace(split, simulated=clips), tmp_path, start, CPU)
    absent = counts[0].absent["train"] + simulated["Nyctalus noctula"]
    assert float(trainer.weights[0]) == pytest.approx(absent / 12)


def flat(species: str, khz: float, columns: str = ",10,100") -> GuideCall:
    return read_call(f"{species},QCF,,{khz},{columns}".split(","))


def test_a_guide_tells_of_species_that_nobody_knew_by_any_of_their_names_and_wins() -> None:
    rows = counted(**{"Lasiurus borealis": 1, "type B": 2, "Myotis myotis": 5, "Myotis": 1, "Nyctalus noctula": 9})
    guide = [flat("LABO", 40), flat("type B", 60), flat("greater mouse-eared bat", 30), flat("Tadarida teniotis", 12)]
    clips = plan(rows, 6, guide=guide)
    assert Counter(clip.voice.name for clip in clips) == {"Lasiurus borealis": 5, "type B": 4, "Myotis myotis": 1}
    assert {clip.voice.types[0].knee_khz.mean for clip in clips} == {40, 60, 30}
    assert {clip.labels for clip in clips} == {(1, -1, 0, -1, 0), (-1, 1, -1, -1, -1), (0, -1, 1, -1, 0)}
    assert recall_clips([clip.text for clip in clips], [row.species for row in rows], guide) == clips
    columns = [row.species for row in rows]
    assert list_strangers(guide, columns) == ["Tadarida teniotis"]
    assert list_known(guide, columns) == [name for name in columns if name != "Myotis"]
    assert list_unknown([], columns) == ["Lasiurus borealis", "type B"], "of a genus no guide can tell"
    for khz in (9, 130):
        assert not plan(counted(odd=1), 6, guide=[flat("odd", khz)]), "features are from 10 to 120 kHz"
    near = [flat("odd", 90)]
    assert plan(counted(odd=1), 6, guide=near) and not plan(counted(odd=1), 6, guide=near, rates=[192_000])


@pytest.mark.parametrize("name", ["Myotis", "Myotis mystacinus/brandtii", "MYMY", "Pipistrellus sp."])
def test_a_guides_row_of_several_species_is_refused(name: str) -> None:
    with pytest.raises(ManifestError, match="is the name of a group, or of several species"):
        check_names([flat(name, 40)], Path("guide.csv"))


def test_a_run_learns_from_a_guide_keeps_it_and_knows_what_it_said(
    small: SmallWorld, trained: Path, tmp_path: Path
) -> None:
    named, place = small.read(small.rows(), COLUMNS), tmp_path / "guide.csv"
    text = ",".join(SAID) + "\nSweep,FM,80,70,60,5,100\nWarble,QCF,,30,,8,\n"
    place.write_text(text)
    config = tweak(settings(small, trained, 12), training={"guide": place, "run_dir": tmp_path / "runs"})
    whole, told = train_fully(config, small.store, named, tmp_path / "runs")
    (started,) = (one for one in told if isinstance(one, RunStarted))
    assert any("guide.csv: no column is Warble; those rows are not used" in note for note in started.notes)
    assert any("of 3 species with fewer than 12, 1 of them as your guide says, teach too" in n for n in started.notes)
    assert not any("none are simulated" in note for note in started.notes)
    heard = load_checkpoint(whole / BEST).trained_on
    assert heard is not None and heard.simulated[2] == 12 - heard.present[2] > 0
    assert find_run(config, small.store, named) == whole
    assert summarise_run(whole)["described by a guide"] == "Sweep, Warble"
    place.write_text(text.replace("80,70,60", "80,70,50"))
    assert find_run(config, small.store, named) is None
    moved = tmp_path / "elsewhere.csv"
    moved.write_text(text.replace("Warble,QCF,,30", "Warble,QCF,,31"))  # of which nothing is simulated
    assert find_run(tweak(config, training={"guide": moved}), small.store, named) == whole
    stopped = stop_after(tweak(config, training={"guide": moved}), small, named, tmp_path / "stopped", 1)
    moved.unlink()
    resume(stopped, small.store, named, CPU)
    one, other = load_checkpoint(whole / BEST).weights, load_checkpoint(stopped / BEST).weights
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert read_run(stopped)["inputs"] == read_run(whole)["inputs"]


def test_columns_that_name_one_species_are_told() -> None:
    columns = ["Myotis myotis", "MYOMYO", "Nyctalus noctula", "greater mouse-eared bat", "Myotis", "noctule", "type B"]
    assert list_twins(columns) == [
        ("Myotis myotis", "MYOMYO", "greater mouse-eared bat"),
        ("Nyctalus noctula", "noctule"),
    ]
