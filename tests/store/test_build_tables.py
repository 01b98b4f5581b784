"""What a build says of names and labels that its recordings contradict."""

import shutil
import unicodedata

import pytest

from batcache.errors import ManifestError
from tests.store.project import Project


def test_a_name_in_another_unicode_form_or_case_is_told_what_is_there(tmp_path):
    project = Project(tmp_path)
    composed = "M\u00fchle/b\u00e4che 1.wav"
    decomposed = unicodedata.normalize("NFD", composed)
    (tmp_path / decomposed).parent.mkdir()
    project.record(decomposed)
    project.record("UPPER.WAV")
    project.list(composed, "upper.wav", "none.wav")
    rejected = project.build().report.rejected
    assert f"There is {decomposed}" in rejected[composed] and "There is UPPER.WAV" in rejected["upper.wav"]
    assert "There is" not in rejected["none.wav"]


def test_one_sound_under_two_names_with_opposite_labels_stops_a_build_before_its_work(tmp_path):
    project = Project(tmp_path)
    project.record("one.wav")
    shutil.copy(tmp_path / "one.wav", tmp_path / "copy.wav")
    project.csv.write_text("filename,a\none.wav,1\ncopy.wav,0\n")
    with pytest.raises(ManifestError, match=r"line 3: 'copy\.wav' is the same sound as 'one\.wav' at .* line 2"):
        project.build()
    assert not project.cache.exists() or not list((project.cache / "commits").glob("*"))
