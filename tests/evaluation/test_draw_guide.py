"""What a guide says is drawn where it says it."""

from pathlib import Path

import numpy as np
import pytest

from batcache.errors import RunError
from batcache.evaluation.pictures import pages
from batcache.evaluation.pictures.panels import Panel
from batcache.features.bands import band_edges_hz

GUIDE = "species,shape,peak_khz,duration_ms\nLow,QCF,20,10\nHigh,CF,140,10\nHighest,CF,240,10\n"


@pytest.fixture
def guide(tmp_path: Path) -> Path:
    (tmp_path / "guide.csv").write_text(GUIDE)
    return tmp_path / "guide.csv"


def test_each_species_is_drawn_around_a_clear_call_at_its_frequency(
    guide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Panel] = []
    monkeypatch.setattr(pages, "draw_page", lambda output, panels, *rest: drawn.extend(panels))
    pages.draw_guide(guide, Path("a.png"), ["High", "Low"])
    centres = band_edges_hz(pages._OF_VOICES)[:, 1] / 1000
    for panel, khz in zip(drawn, (20, 140), strict=True):
        frames = panel.frames.astype(np.float32)
        loudest = centres[(frames - np.median(frames, 0)).max(0).argmax()]
        assert panel.calls and loudest == pytest.approx(khz, rel=0.08)
        middle = panel.start_s + len(frames) / pages._OF_VOICES.frames_per_second / 2
        assert any(call.start_s - 0.02 < middle < call.end_s + 0.02 for call in panel.calls)


def test_a_page_is_written_and_what_cannot_be_drawn_is_said(guide: Path, tmp_path: Path) -> None:
    ((voice, call),) = pages.draw_guide(guide, tmp_path / "a.png", ["Low"])
    assert (voice.name, call.shape) == ("Low", "QCF")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(RunError, match=r"Lower is no species of .*Did you mean Low"):
        pages.draw_guide(guide, tmp_path / "b.png", ["Lower"])
    with pytest.raises(RunError, match="nothing of Highest is heard at 384 kHz"):
        pages.draw_guide(guide, tmp_path / "b.png")
