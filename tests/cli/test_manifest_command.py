"""``batcache manifest`` as a user meets it."""

from pathlib import Path

import numpy as np
import pytest

from tests.command import batcache
from tests.conftest import noise


@pytest.fixture
def card(write_wav, tmp_path: Path) -> Path:
    names = "mill/MILL_20240412_221003.wav", "mill/MILL_20240413_031003.wav", "mead/MEAD_20240412_221003.wav"
    for seed, name in enumerate(names):
        write_wav(f"card/{name}", noise(0.02, 384_000, seed=seed))
    (tmp_path / "card" / "mead" / "20240412_221003T.WAV").write_bytes(b"RIFF")
    (tmp_path / "labels.csv").write_text(
        "file,species\nMILL_20240412_221003.wav,Pippip; Myotis sp.\nMILL_20240413_031003.wav,MYMY\n"
        "MEAD_20240412_221003.wav,Myotis nattereri\n"
    )
    return tmp_path


def test_it_says_what_it_made_and_what_comes_next(card: Path) -> None:
    done = batcache(
        "manifest", "card", "-o", "data.csv", "--labels", "labels.csv", "--species", "Myotis myotis", cwd=card
    )
    assert done.returncode == 0, done.stderr
    shown = [" ".join(line.split()) for line in done.stdout.splitlines()]
    for told in ("recordings 3", "nights 1", "sites 2 (told by the name)", "groups (site and night) 2"):
        assert told in shown, done.stdout
    for told in (
        "labels.csv table 3 3 0",
        "next: batcache split data.csv -o train.csv, then batcache build --csv train.csv",
    ):
        assert told in shown, done.stdout
    assert "20240412_221003T.WAV" in done.stdout and "AudioMoth" in done.stdout
    for told in ("MYMY is taken for Myotis myotis", "Myotis sp. leaves its species empty in 1 recording",
                 "3 recordings has no zone", "3 recordings without a place"):  # fmt: skip
        assert told in done.stderr, done.stderr
    lines = (card / "data.csv").read_text().splitlines()
    assert lines[0].startswith(
        "filename,group,time_expansion,Myotis myotis,Myotis nattereri,Pipistrellus pipistrellus,"
    )
    assert lines[2].startswith("card/mill/MILL_20240412_221003.wav,MILL 2024-04-12,1,,,1,2024-04-12T22:10:03,")
    built = batcache("build", "--csv", "data.csv", "--dry-run", cwd=card)
    assert built.returncode == 0 and built.stdout.count("\nbuild ") == 3


def test_recordings_without_a_sound_are_counted_and_three_are_named(write_wav, tmp_path: Path) -> None:
    for name in "abcd":
        write_wav(f"card/{name}.wav", np.zeros(4000))
    done = batcache("manifest", "card", "-o", "data.csv", "--species", "Pippip", cwd=tmp_path)
    said = "4 recordings with nothing but one value, so with no sound: card/a.wav, card/b.wav, card/c.wav and 1 more"
    assert done.returncode == 0 and said in " ".join(done.stderr.split()), done.stderr


def test_an_error_is_one_line_and_writes_nothing(card: Path) -> None:
    done = batcache("manifest", "card", "-o", "data.csv", "--labels", "labels.csv", cwd=card)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert "either of Myotis myotis, Myotis mystacinus" in done.stderr and not (card / "data.csv").exists()


def test_audit_lists_what_is_wrong_and_exits_with_0(card: Path) -> None:
    (card / "card" / "copy.wav").write_bytes((card / "card" / "mead" / "MEAD_20240412_221003.wav").read_bytes())
    (card / "data.csv").write_text(
        "filename,split,group,Bat\ncard/copy.wav,train,a,1\ncard/mead/MEAD_20240412_221003.wav,test,b,1\n"
        "card/mill/MILL_20240412_221003.wav,test,a,0\n"
    )
    done = batcache("audit", "--csv", "data.csv", cwd=card)
    assert done.returncode == 0, done.stderr
    shown = [" ".join(line.split()) for line in done.stdout.splitlines()]
    for told in ("in two splits 2", "contents under several names 1", "group a 1 train, 1 test", "Bat train 1 1"):
        assert told in shown, done.stdout
    assert "without --cache" in done.stderr
