"""Training that goes on from where a user's own earlier model stood."""

import shutil
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from msgspec import structs
from torch import Tensor

from batcache.config.load import load_config
from batcache.config.settings import Config, ModelConfig
from batcache.errors import RunError
from batcache.evaluation.evaluate import choose_clips, evaluate
from batcache.inference.score import score_bags
from batcache.manifest.manifest import Manifest
from batcache.model.checkpoint import Checkpoint, load_checkpoint
from batcache.training.clips.bags import instances_of, join
from batcache.training.events import RunStarted
from batcache.training.inputs import find_run
from batcache.training.lineage import EARLIER, Clips, Heard, describe_earlier, read_earlier, read_heard
from batcache.training.loop import resume
from batcache.training.runs import BEST
from tests.small_world import CPU, SETTINGS, SmallWorld, train_fully, tweak
from tests.training.same_run import assert_same_run, stop_after


@pytest.fixture(scope="module")
def config(small: SmallWorld, trained: Path) -> Config:
    model = ModelConfig("attention", init=trained, heads=2, head_size=8, rnn_hidden_size=4)
    settings = load_config(base={"data": SETTINGS["data"]})
    training = replace(settings.training, epochs=3, batch_size=4, simulated_sounds=0)
    return replace(settings, data=small.config.data, model=model, training=training)


@pytest.fixture(scope="module")
def earlier(small: SmallWorld, config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of heads, to go on from."""
    return train_fully(config, small.store, small.manifest, tmp_path_factory.mktemp("runs"))[0]


def going_on(config: Config, earlier: Path, **training: float) -> Config:
    return tweak(config, model={"init": earlier}, training=training)


def scores(small: SmallWorld, checkpoint: Checkpoint) -> Tensor:
    bags = join(small.manifest, small.store).bags
    frames = checkpoint.frames_per_instance
    scored = score_bags(checkpoint.restore(CPU), [instances_of(small.store, bag, frames) for bag in bags], 8, 60)
    return torch.stack([torch.from_numpy(bag.logits) for bag in scored])


def started(told: list[object]) -> RunStarted:
    assert isinstance(told[0], RunStarted)
    return told[0]


@pytest.mark.parametrize("learns", ["head", "all"])
def test_with_a_tiny_learning_rate_scores_stay_those_of_the_earlier_model(
    small: SmallWorld, config: Config, earlier: Path, tmp_path: Path, learns: str
) -> None:
    settings = tweak(going_on(config, earlier, epochs=1, learning_rate=1e-9), model={"train": learns})
    run, told = train_fully(settings, small.store, small.manifest, tmp_path)
    before, after = load_checkpoint(earlier / BEST), load_checkpoint(run / BEST)
    assert before.centres and after.centres == (before.centres if learns == "head" else 0)
    if learns == "all":  # the kernel stays behind: it compares embeddings of a trunk that will be another
        weights = {name: value for name, value in before.weights.items() if "kernel" not in name}
        before = replace(before, weights=weights)
    torch.testing.assert_close(scores(small, after), scores(small, before), atol=1e-5, rtol=1e-5)
    for name in ("heads.mean", "heads.std"):
        assert torch.equal(after.weights[name], before.weights[name])
    assert f"goes on from {earlier}: kept 3 species (Low, High, Sweep), 0 are new" in started(told).notes


def test_species_in_another_order_and_new_ones_leave_the_scores(
    small: SmallWorld, config: Config, earlier: Path, tmp_path: Path
) -> None:
    rows = [row.split(",") for row in small.rows()]
    reordered = [",".join([r[0], r[3], r[1], r[1], r[2], *r[4:]]) for r in rows]
    manifest = small.read(reordered, "filename,Sweep,New,Low,High,split,group")
    run, told = train_fully(
        going_on(config, earlier, epochs=1, learning_rate=1e-9), small.store, manifest, tmp_path
    )  # fmt: skip
    before, after = scores(small, load_checkpoint(earlier / BEST)), scores(small, load_checkpoint(run / BEST))
    torch.testing.assert_close(after[:, [2, 3, 0]], before, atol=1e-5, rtol=1e-5)
    assert f"goes on from {earlier}: kept 3 species (Sweep, Low, High), 1 is new (New)" in started(told).notes


def test_other_heads_take_the_trunk_alone_and_say_so(
    small: SmallWorld, config: Config, earlier: Path, tmp_path: Path
) -> None:
    settings = tweak(going_on(config, earlier, epochs=1), model={"head_size": 5})
    _, told = train_fully(settings, small.store, small.manifest, tmp_path)
    assert f"starts on the trunk of {earlier}. Not taken: heads (head_size 8 there, 5 here)" in started(told).notes


def test_a_run_that_went_on_from_a_model_that_is_gone_is_resumed(
    small: SmallWorld, config: Config, earlier: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(earlier, tmp_path / "earlier"))
    whole, _ = train_fully(going_on(config, copy), small.store, small.manifest, tmp_path / "whole")
    stopped = stop_after(going_on(config, copy), small, small.manifest, tmp_path / "stopped", 2)
    assert find_run(going_on(config, earlier), small.store, small.manifest) is None
    found = tweak(going_on(config, earlier), training={"run_dir": tmp_path / "whole"})
    assert find_run(found, small.store, small.manifest) == whole, "what is taken is the same"
    shutil.rmtree(copy)
    resume(stopped, small.store, small.manifest, CPU)
    assert_same_run(whole, stopped)


@pytest.fixture
def without_sweep(small: SmallWorld) -> Manifest:
    """Nobody says of any clip whether Sweep is in it."""
    rows = [row.split(",") for row in small.rows()]
    return small.read([",".join([*r[:3], "", *r[4:]]) for r in rows])


def test_a_species_without_labels_here_keeps_its_scores(
    small: SmallWorld, config: Config, earlier: Path, without_sweep: Manifest, tmp_path: Path
) -> None:
    settings = going_on(config, earlier, epochs=2)
    run, told = train_fully(settings, small.store, without_sweep, tmp_path / "whole")
    assert load_checkpoint(run / BEST).taught == ("Low", "High", "Sweep")
    (note,) = (note for note in started(told).notes if note.startswith("not taught"))
    assert "one label alone: Sweep. Their scores are those of the model before" in note
    stopped = stop_after(settings, small, without_sweep, tmp_path / "stopped", 1)
    resume(stopped, small.store, without_sweep, CPU)
    assert_same_run(run, stopped)
    other = tweak(settings, model={"pooling_type": "max"}, training={"epochs": 1})
    run, told = train_fully(other, small.store, without_sweep, tmp_path)
    assert load_checkpoint(run / BEST).taught == ("Low", "High"), "half a head's scores mean nothing"


def test_clips_that_an_earlier_model_has_learnt_from_are_never_judged(
    small: SmallWorld, config: Config, earlier: Path, tmp_path: Path
) -> None:
    """Nights 0 to 3 taught the earlier model; here they are to judge a model of nights 4 to 7."""
    swapped = [row.replace(",test,", ",train,") if ",train," not in row else row.replace(",train,", ",test,")
               for row in small.rows()]  # fmt: skip
    manifest = small.read(swapped)
    copy = Path(shutil.copytree(earlier, tmp_path / "earlier"))
    settings = going_on(config, copy, epochs=1)
    run, told = train_fully(settings, small.store, manifest, tmp_path / "second")
    assert any("has learnt from 12 of 12 clips of split test" in note for note in started(told).notes)
    third, _ = train_fully(going_on(config, run, epochs=1), small.store, manifest, tmp_path / "third")
    shutil.rmtree(copy)
    shutil.rmtree(run)
    assert "night 0" in read_earlier(third).learnt.groups
    with pytest.raises(RunError, match=r"trained on 12 of 12 clips.* or give their groups other names, if these are"):
        choose_clips(third / BEST, small.store, manifest, "test", as_trained=True)
    choosing = choose_clips(third / BEST, small.store, manifest, "val", as_trained=True)
    assert evaluate(choosing, CPU).metrics.clips == 6, "nobody has learnt from these"


def test_a_checkpoint_that_lies_in_no_run_may_have_heard_anything(
    small: SmallWorld, config: Config, earlier: Path, tmp_path: Path
) -> None:
    lone = Path(shutil.copy(earlier / BEST, tmp_path / "lone.pt"))
    _, told = train_fully(going_on(config, lone, epochs=1), small.store, small.manifest, tmp_path)
    assert any(note.startswith(f"not every clip that {lone} has learnt from is known") for note in started(told).notes)


def test_what_a_run_without_a_list_of_earlier_clips_started_from_is_unknown_where_it_was_a_file_of_the_users(
    small: SmallWorld, config: Config, earlier: Path, trained: Path, tmp_path: Path
) -> None:
    """Versions before ``earlier.csv`` wrote none. What such a run itself has learnt from is known all the same."""
    assert read_heard(trained).is_all, "it started from chance"
    old = Path(shutil.copytree(earlier, tmp_path / "old"))
    (old / "earlier.csv").unlink()
    run, told = train_fully(going_on(config, old, epochs=1), small.store, small.manifest, tmp_path / "runs")
    said = "not every clip that {} has learnt from is known: scores on such clips are too good"
    assert said.format(old) in started(told).notes
    shutil.rmtree(old)
    assert "night 0" in read_earlier(run).learnt.groups and not read_earlier(run).is_all
    notes = choose_clips(run / BEST, small.store, small.manifest, "test", as_trained=True).notes
    assert said.format("this model") in notes


def test_clips_on_which_an_earlier_model_chose_its_epoch_are_told_when_they_are_judged(
    small: SmallWorld, earlier: Path, tmp_path: Path
) -> None:
    """The heads of ``earlier`` chose no epoch; the model from chance below them did, on nights 4 and 5."""
    assert read_earlier(earlier).validated.groups == {"night 4", "night 5"}
    notes = choose_clips(earlier / BEST, small.store, small.manifest, "val", as_trained=True).notes
    said = "6 of 6 clips, or others of the same groups, validated while this model, or one before it, was trained"
    assert any(note.startswith(said) for note in notes)
    notes = choose_clips(earlier / BEST, small.store, small.manifest, "test", as_trained=True).notes
    assert not any("validated" in note for note in notes)


def test_a_group_that_was_heard_is_known_in_another_spelling(small: SmallWorld) -> None:
    """As in the rules of the manifest: other Unicode form, other letter case."""
    (one, *_), night = join(small.manifest, small.store).bags, "Fran\u00e7ois 1"
    heard = Heard(Clips(groups=frozenset({unicodedata.normalize("NFD", night)})))
    for spelt in (night, night.upper()):
        assert heard.among([structs.replace(one, clip=structs.replace(one.clip, group=spelt))])
    for other in (None, "Fran\u00e7ois 2"):
        assert not heard.among([structs.replace(one, clip=structs.replace(one.clip, group=other))])


@pytest.mark.parametrize("is_all", [True, False])
def test_what_was_heard_before_is_written_and_read_back(tmp_path: Path, is_all: bool) -> None:
    heard = Heard(Clips(frozenset("ab"), frozenset({"night 1"})), Clips(frozenset("bc"), frozenset({"n,2"})), is_all)
    (tmp_path / EARLIER).write_bytes(describe_earlier(heard))
    assert read_earlier(tmp_path) == heard


@pytest.mark.parametrize("text", ["", "content\n", "content,group\none\n", "content,group,kind\na,,heard\n"])
def test_a_damaged_list_of_earlier_clips_is_one_line_of_ours(tmp_path: Path, text: str) -> None:
    (tmp_path / "earlier.csv").write_text(text)
    with pytest.raises(RunError, match=r"earlier\.csv: cannot be read"):
        read_earlier(tmp_path)
