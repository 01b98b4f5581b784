import numpy as np
import pytest

from batcache.manifest.manifest import read_manifest
from batcache.synth.create import create, write_plan
from batcache.synth.instances import CLEAR_SNR_DB, write_instances
from batcache.synth.render import RATE_HZ
from batcache.synth.repertoire import SPECIES
from batcache.synth.virtual import draw_species, virtual_name
from tests.synth.rendered import render_named

MANY = [draw_species(virtual_name(i)) for i in range(300)]


def test_virtual_species_keep_to_what_bats_can_do() -> None:
    for species in MANY:
        for kind in species.types:
            assert 5 < kind.knee_khz.low < kind.knee_khz.high < 0.97 * RATE_HZ / 2000, species.name
            assert 0.5 < kind.duration_ms.low < kind.duration_ms.high < 100, species.name
            assert 10 < species.interval_ms.mean < 400, species.name
            assert kind.end_khz + kind.knee_khz.mean > 5, species.name
        assert 0 < species.height_m[0] < species.height_m[1]
        assert 1 < species.speed_m_s < 15 and 4 < species.wingbeat_hz < 16


def test_they_fill_the_space_between_and_beyond_the_real_ones() -> None:
    knees = np.array([kind.knee_khz.mean for species in MANY for kind in species.types])
    for low, high in ((11, 20), (20, 40), (40, 60), (60, 90), (90, 150)):
        assert ((knees > low) & (knees < high)).mean() > 0.05, (low, high)
    nearest = [min(abs(np.log2(k.knee_khz.mean / knees))) for s in SPECIES for k in s.types]
    assert max(nearest) < 0.05, "an octave's twentieth from each real call there is a virtual one"


def test_a_name_stands_for_the_same_voice_everywhere_and_two_for_two() -> None:
    draw_species.cache_clear()
    assert [draw_species(virtual_name(i)) for i in range(300)] == MANY
    assert len({species.types for species in MANY}) == 300


@pytest.mark.parametrize("number", [0, 3, 8])
def test_a_virtual_species_is_heard_where_it_calls(number: int) -> None:
    name = virtual_name(number)
    knee = draw_species(name).types[0].knee_khz.mean
    events = [e for e in render_named("x.wav", [name], "group").events if e.phase == "search" and e.snr_db > 15]
    assert events
    assert all(e.low_khz * 0.8 < knee < e.high_khz * 1.25 or abs(e.peak_khz / knee - 1) < 0.4 for e in events)


def test_instances_are_labelled_by_the_calls_in_them(tmp_path) -> None:
    csv = write_plan(tmp_path, 5, ["Myotis myotis"], 0, force=False, virtual=2)
    manifest = read_manifest([csv])
    assert manifest.species == ("Myotis myotis", "Virtual 0000", "Virtual 0001")
    create(manifest, tmp_path)
    cut = read_manifest([write_instances(manifest, tmp_path, 0.5, 120_000.0)])
    assert len(cut.clips) == 50 and cut.splits.keys() <= {"train", "val"}
    known = {(clip.filename, clip.start_s): clip.labels for clip in cut.clips}
    seen = set()
    for line in (tmp_path / "events.csv").read_text().splitlines()[1:]:
        name, species, start, end, _, _, peak, _, snr, _, _ = line.split(",")
        middle = (float(start) + float(end)) / 2
        place = (name, 0.5 * min(max(int(middle / 0.5), 0), 9))
        label = known[place][manifest.species.index(species)]
        clear = float(snr) >= CLEAR_SNR_DB and float(peak) < 118
        assert label == 1 if clear else label != 0
        seen.add((*place, species))
    for (name, start), labels in known.items():
        for species, label in zip(manifest.species, labels, strict=True):
            assert label == 0 or (name, start, species) in seen
