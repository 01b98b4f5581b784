"""Files that others hand on execute nothing: a pickle that would, put wherever one could be read."""

import base64
import json
import os
import pickle
import socket
from pathlib import Path

import numpy as np
import pytest
import torch

from batcache.errors import BatcacheError, StoreError
from batcache.inference.predictions import read_predictions
from batcache.model.checkpoint import load_checkpoint
from batcache.store.format.commit import commit_path
from batcache.store.format.last_build import LAST_BUILD, read_last_build
from batcache.store.format.lock import LOCK, hold
from batcache.store.reader import Store
from batcache.store.summary import summarise
from tests.store.project import Project
from tests.store.records import signed


class Bomb:
    """Makes a folder where it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


@pytest.fixture
def bomb(tmp_path: Path) -> Bomb:
    return Bomb(tmp_path / "went off")


def test_the_bomb_is_live(bomb: Bomb) -> None:
    pickle.loads(pickle.dumps(bomb))
    assert bomb.target.is_dir()


@pytest.mark.parametrize("how", ["raw", "torch", "old torch", "in a dict"])
def test_a_checkpoint_executes_nothing(bomb: Bomb, tmp_path: Path, how: str) -> None:
    path = tmp_path / "best_model.pt"
    if how == "raw":
        path.write_bytes(pickle.dumps(bomb))
    elif how == "in a dict":
        torch.save({"format": "batcache-checkpoint", "format_version": 1, "weights": {"a": bomb}}, path)
    else:
        torch.save(bomb, path, _use_new_zipfile_serialization=how == "torch")
    with pytest.raises(BatcacheError):
        load_checkpoint(path)
    assert not bomb.target.exists()


@pytest.mark.parametrize("how", ["raw", "npy", "npz"])
def test_predictions_execute_nothing(bomb: Bomb, tmp_path: Path, how: str) -> None:
    path = tmp_path / "test_predictions.npz"
    with path.open("wb") as file:
        if how == "raw":
            file.write(pickle.dumps(bomb))
        elif how == "npy":
            np.save(file, np.array([bomb], object), allow_pickle=True)
        else:
            np.savez(file, scores=np.array([bomb], object), filenames=np.array(["a.wav"]))
    with pytest.raises(BatcacheError):
        read_predictions(path)
    assert not bomb.target.exists()


def plant(place: Path, change: dict[str, object]) -> None:
    place.write_text(json.dumps(json.loads(place.read_bytes()) | change))


def test_a_store_executes_nothing(bomb: Bomb, tmp_path: Path) -> None:
    """Its attributes, its array's codecs, its records, its note of the last build: all JSON, no name is looked up."""
    project = Project(tmp_path / "project")
    project.record("a.wav")
    project.list("a.wav")
    project.build()
    payload = base64.b64encode(pickle.dumps(bomb)).decode()
    hostile = [
        payload,
        {"py/object": "os.mkdir", "py/reduce": payload},
        f"!!python/object/apply:os.mkdir [{bomb.target}]",
    ]
    group, array, note = (project.cache / name for name in ("zarr.json", "instances/zarr.json", LAST_BUILD))
    record = commit_path(project.cache, 0)
    before = {place: place.read_bytes() for place in (group, array, note, record)}
    for value in hostile:
        attributes = json.loads(before[group])["attributes"]
        del attributes["digest"]
        commit = json.loads(before[record])
        commit["recordings"]["recorder"] = [value if isinstance(value, str) else str(value)]
        del commit["digest"]
        record.write_bytes(signed(commit))
        plant(group, {"attributes": attributes | {"versions": {"numpy": str(value)}, "more": value}})
        plant(array, {"codecs": [{"name": "numcodecs.pickle", "configuration": {"payload": value}}]})
        plant(note, {"rejected": {"b.wav": value}})
        store = Store(project.cache)
        store.last_build()
        store.read_frames(store.index.commits[0].recordings[0])
        for name in ("features", "layout"):
            plant(group, {"attributes": attributes | {name: value}})
            with pytest.raises(BatcacheError):
                Store(project.cache)
        for place, content in before.items():
            place.write_bytes(content)
    assert summarise(Store(project.cache))["recordings"].startswith("1 ")
    assert not bomb.target.exists()


@pytest.mark.parametrize(
    "told",
    [
        {"process": -1},
        {"process": 0},
        {"process": 10**30},
        {"process": float("inf")},
        {"process_began": 10**400},
        {"host": 7},
        {"since": []},
        {"process": {}},
        None,
    ],
)
def test_a_lock_that_someone_made_up_ends_in_one_line_or_is_taken_over(told: dict[str, object], tmp_path: Path) -> None:
    holder = {"host": socket.gethostname(), "process": os.getpid(), "process_began": 1.0, "since": "", "token": ""}
    place = tmp_path / LOCK
    place.write_text(json.dumps(holder | told) if told is not None else "[" * 100_000)
    try:
        with hold(tmp_path):
            pass
    except StoreError as error:
        assert "\n" not in str(error) and str(place) in str(error)


def test_a_note_of_the_last_build_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / LAST_BUILD).write_text("[" * 100_000)
    with pytest.raises(StoreError, match=r"last_build\.json: cannot be read"):
        read_last_build(tmp_path)
