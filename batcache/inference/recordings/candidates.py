"""Which recordings are still to be judged: all but those whose content a model has judged already.

Files are looked at while others are being judged, by the same code as in ``build``, but each is opened: recorders of
one schedule write files of the same names, sizes and times, and their cards are read at the same place.
"""

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field

from batcache.errors import AudioError
from batcache.inference.model_file import ModelFile
from batcache.inference.recordings.cached import Cached
from batcache.inference.recordings.framed import Framed, compute_framed, read_framed
from batcache.inference.recordings.journal import Journal
from batcache.manifest.find_recordings import Found
from batcache.storage.listing import is_there
from batcache.store.build.compute import FrameMaker
from batcache.store.build.hands import Hands, Threads
from batcache.store.build.plan import Placed
from batcache.store.build.scan import Known, Look, ScannedFile, describe
from batcache.store.format.commit import CachedRecording
from batcache.store.format.layout import Layout

Recordings = Found | Cached
"""Files, or a cache that holds their features."""


@dataclass
class Candidates:
    """All recordings of a call, and what has become known of them.

    Attributes:
        recordings: files, or a cache.
        journal: what the model has said so far.
        on_settled: told how many recordings are settled: judged now or earlier, copies of others, or rejected.
        rejected: the recordings that cannot be read, and why.
        known: what was seen of each other recording when it was looked at.
        failed: why a content could not be turned into frames.
        settled: how many recordings are.
    """

    recordings: Recordings
    journal: Journal
    on_settled: Callable[[int], None]
    rejected: dict[str, str] = field(default_factory=dict)
    known: dict[str, Known] = field(default_factory=dict)
    failed: dict[tuple[str, int], str] = field(default_factory=dict)
    settled: int = 0
    _taken: set[tuple[str, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.rejected |= self.recordings.rejected
        for _ in self.rejected:
            self.settle()

    def settle(self) -> None:
        """Take note that one recording more needs nothing any more."""
        self.settled += 1
        self.on_settled(self.settled)

    def to_judge(
        self, model: ModelFile, front_end: Callable[[], FrameMaker], workers: int
    ) -> Generator[Framed, None, None]:
        """Yield, in order, each content that is not in the journal, once."""
        frames_per_instance = model.checkpoint.frames_per_instance
        if isinstance(self.recordings, Found):
            placed = self.files_to_judge(self.recordings, model, Threads(workers))
            return compute_framed(placed, self.recordings.root, front_end(), workers, frames_per_instance)
        return read_framed(self.recordings.store, self._look_at_rows(self.recordings), frames_per_instance)

    def files_to_judge(self, found: Found, model: ModelFile, hands: Hands) -> Generator[Placed, None, None]:
        """Yield, in order, each file of a content that is not in the journal, once, as ``hands`` see it."""
        features = model.checkpoint.features
        layout = Layout(model.checkpoint.frames_per_instance, features.n_mels)
        files = tuple((name, None, 1) for name in found.names)
        with closing(hands.look(Look(files, found.root, features))) as looked:
            for name, file in zip(found.names, looked, strict=True):
                if isinstance(file, AudioError):
                    gone = not is_there(found.root / name)
                    self.rejected[name] = "gone since it was found. Run it again." if gone else file.reason
                    self.settle()
                elif self._is_new(name, file):
                    assert isinstance(file, ScannedFile), "nothing is recalled from an empty index"
                    frames = features.frames(file.header.samples, file.true_rate)
                    yield Placed(file, 0, layout.instances(frames), frames)

    def _look_at_rows(self, cached: Cached) -> Generator[CachedRecording, None, None]:
        for name in cached.names:
            row = cached.store.find(name)
            assert row is not None, "those without a row are rejected"
            if self._is_new(name, row):
                yield row

    def _is_new(self, name: str, fact: Known) -> bool:
        """Whether this is a content that is neither judged nor being judged."""
        self.known[name] = fact
        is_new = fact.key not in self.journal.scored and fact.key not in self._taken
        self._taken.add(fact.key)
        if not is_new:
            self.settle()
        return is_new

    def fail(self, name: str, reason: str) -> None:
        """Take note that a recording, and so all of the same content, could not be turned into frames."""
        self.failed[self.known[name].key] = reason

    def outcome(self) -> tuple[dict[str, CachedRecording], dict[str, str]]:
        """By name, once all are settled: what the index would say of each that was judged; why the others were not."""
        failed = {name: self.failed[fact.key] for name, fact in self.known.items() if fact.key in self.failed}
        rows = {
            name: fact if isinstance(fact, CachedRecording) else describe(fact, self.journal.scored[fact.key].row)
            for name, fact in sorted(self.known.items())
            if name not in failed
        }
        return rows, dict(sorted((self.rejected | failed).items()))
