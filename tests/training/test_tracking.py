from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wandb

from batcache.config.settings import WandbConfig
from batcache.training.events import RunStarted, TrainReport
from batcache.training.tracking import MetricsLog, NoTracker, WandbTracker, open_tracker
from tests.documents import read_lines
from tests.small_world import SmallWorld, train_fully, tweak

ON = WandbConfig(enabled=True, project="bats", entity="lab", tags=("a", "b"))


class FakeRun:
    """Stands in for a run of wandb. ``broken`` makes every report fail."""

    def __init__(self, mode: str | None = "online", broken: bool = False) -> None:
        self.settings, self.broken = SimpleNamespace(mode=mode), broken
        self.logged: list[dict[str, Any]] = []
        self.saved: list[Path] = []
        self.finished, self.step, self.steps = False, 0, []

    def define_metric(self, *_: object, **__: object) -> None:
        if self.broken:
            raise ConnectionError("gone")

    def log(self, metrics: dict[str, Any], step: int) -> None:
        if self.broken:
            raise ConnectionError("gone")
        self.logged.append(metrics)
        self.steps.append(step)

    def save(self, path: Path, **_: object) -> None:
        self.saved.append(path)

    def finish(self) -> None:
        if self.broken:
            raise ConnectionError("gone")
        self.finished = True


def test_not_enabled_wandb_is_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb, "init", lambda **_: pytest.fail("init was called"))
    tracker = open_tracker(WandbConfig(), tmp_path, {})
    assert isinstance(tracker, NoTracker)
    tracker.log({"a": 1})
    tracker.finish()
    assert tracker.notes == ()
    assert list(tmp_path.iterdir()) == []


def test_a_run_of_ours_is_one_of_theirs_with_the_users_project_entity_tags_and_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, given = FakeRun(), {}

    def init(**options: Any) -> FakeRun:
        given.update(options)
        return fake

    monkeypatch.setattr(wandb, "init", init)
    (tmp_path / "2026-max" / "logs").mkdir(parents=True)
    tracker = open_tracker(ON, tmp_path / "2026-max", {"model": {"dropout": 0.5}})
    tracker.log({"epoch": 1, "val_macro_ap": None})
    tracker.finish()
    expected = {
        "project": "bats",
        "entity": "lab",
        "tags": ["a", "b"],
        "name": "2026-max",
        "id": "2026-max",
        "resume": "allow",
        "config": {"model": {"dropout": 0.5}},
        "dir": tmp_path / "2026-max" / "logs",
    }
    assert {key: given[key] for key in expected} == expected
    assert fake.logged == [{"epoch": 1, "val_macro_ap": None}]
    assert fake.finished
    assert tracker.notes == ()


def test_a_wandb_that_cannot_start_is_said_and_training_goes_on(
    small: SmallWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: Any) -> None:
        raise RuntimeError("no service")

    monkeypatch.setattr(wandb, "init", fail)
    _, events = train_fully(tweak(small.config, wandb={"enabled": True}), small.store, small.manifest, tmp_path)
    assert isinstance(events[0], RunStarted)
    assert "wandb is enabled but cannot start (RuntimeError: no service); training goes on" in events[0].notes
    assert isinstance(events[-1], TrainReport)


@pytest.mark.parametrize("failing", ["login", "init"])
def test_what_cannot_be_reached_is_recorded_offline_and_this_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def init(mode: str | None, **_: Any) -> FakeRun:
        if mode != "offline":
            raise ConnectionError("no network")
        return FakeRun("offline")

    def login(**_: Any) -> bool:
        if failing == "login":
            raise ConnectionError("no network")
        return True

    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setattr(wandb, "login", login)
    tracker = open_tracker(ON, tmp_path, {})
    assert isinstance(tracker, WandbTracker)
    assert tracker.notes == (f"wandb records offline in {tmp_path / 'logs' / 'wandb'}",)


def test_without_a_key_wandb_records_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[str | None] = []

    def init(mode: str | None, **_: Any) -> FakeRun:
        modes.append(mode)
        return FakeRun(mode)

    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setattr(wandb, "login", lambda **_: False)
    open_tracker(ON, tmp_path, {})
    assert modes == ["offline"]


def test_a_wandb_that_breaks_on_the_way_stops_nothing_and_says_so_once(
    small: SmallWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wandb, "init", lambda **_: FakeRun(broken=True))
    config = tweak(small.config, wandb={"enabled": True})
    run, events = train_fully(config, small.store, small.manifest, tmp_path)
    assert isinstance(events[-1], TrainReport)
    assert len((run / "logs" / "metrics.jsonl").read_text().splitlines()) == 2
    tracker = open_tracker(config.wandb, run, {})
    for _ in range(3):
        tracker.log({"a": 1})
    tracker.finish()
    assert tracker.notes == ("wandb failed (ConnectionError: gone); logs/metrics.jsonl has every number",)


def test_rows_of_every_process_have_steps_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline wandb begins at 0 in each; online its server says where it is, which may be beyond what we know."""
    (tmp_path / "logs").mkdir()
    given: list[int] = []
    for there, rows in (
        (0, [{"epoch": 1}, {"epoch": 2}]),
        (0, [{"epoch": 2, "test/macro_ap": 0.5}, {"test/species": "a table"}]),
        (0, [{"epoch": 3}]),
        (9, [{"epoch": 4}]),
    ):
        fake = FakeRun()
        fake.step = there
        monkeypatch.setattr(wandb, "init", lambda run=fake, **_: run)
        tracker = open_tracker(ON, tmp_path, {})
        for row in rows:
            tracker.log(row)
        given += fake.steps
    assert given == [1, 2, 3, 4, 5, 9]


def test_a_run_that_an_earlier_version_began_goes_on_at_its_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "logs").mkdir()
    fake = FakeRun()
    monkeypatch.setattr(wandb, "init", lambda **_: fake)
    open_tracker(ON, tmp_path, {}).log({"epoch": 7})
    assert fake.steps == [7]


def test_pictures_that_cannot_be_drawn_are_a_note_and_without_wandb_none_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: Path) -> dict[Path, str]:
        raise OSError("no room")

    open_tracker(WandbConfig(), tmp_path, {}).log_pictures("test/clips", fail)
    monkeypatch.setattr(wandb, "init", lambda **_: FakeRun())
    tracker = open_tracker(ON, tmp_path, {})
    tracker.log_pictures("test/clips", fail)
    assert tracker.notes == ("wandb failed (OSError: no room); logs/metrics.jsonl has every number",)


@pytest.mark.slow
def test_offline_wandb_records_beside_the_run(
    small: SmallWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    config = tweak(small.config, wandb={"enabled": True, "tags": ("t",)})
    run, events = train_fully(config, small.store, small.manifest, tmp_path / "runs")
    assert isinstance(events[0], RunStarted)
    assert f"wandb records offline in {run / 'logs' / 'wandb'}" in events[0].notes
    assert isinstance(events[-1], TrainReport) and events[-1].notes == (), "said already"
    (record,) = (run / "logs" / "wandb").glob(f"offline-run-*/run-{run.name}.wandb")
    assert record.stat().st_size > 0
    assert capfd.readouterr().out == ""
    wandb.teardown()


def test_the_log_is_one_json_object_a_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    rows = [{"epoch": 1, "ap": None}, {"epoch": 2, "ap": 0.1 + 0.2}]
    for row in rows:
        log.append(row)
    assert read_lines(path) == rows


def test_a_log_keeps_the_epochs_that_count_and_drops_the_others_torn_ones_too(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"epoch": 1}\n{"epoch": 2}\n{"epo')
    log = MetricsLog(path, keep_epochs=1)
    log.append({"epoch": 2, "again": True})
    assert read_lines(path) == [{"epoch": 1}, {"epoch": 2, "again": True}]
    MetricsLog(path)
    assert path.read_text() == ""
