"""Where metrics go: always to ``logs/metrics.jsonl``, and to Weights & Biases where it is enabled.

wandb is never a reason to fail: without a key or a network it records offline, beside the run.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, Protocol

from batcache.config.settings import WandbConfig
from batcache.errors import RunError, brief, count
from batcache.storage.disk import write_file
from batcache.storage.exclusive import lock_file
from batcache.storage.listing import is_there
from batcache.storage.regular import read_regular
from batcache.storage.sealed import open_json, seal_json

if TYPE_CHECKING:
    import wandb


class Tracker(Protocol):
    """Somewhere to report numbers to. ``notes`` says in words what the user should know of it."""

    notes: tuple[str, ...]

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Report numbers under their names."""

    def log_table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Report rows that have the same columns."""

    def log_pictures(self, name: str, draw: Callable[[Path], Mapping[Path, str]]) -> None:
        """Report pictures that ``draw`` makes in the folder it is given, each with its caption."""

    def save(self, path: Path) -> None:
        """Keep a copy of a file with the run."""

    def finish(self) -> None:
        """Say that the run has ended."""


class NoTracker:
    """Stands in where wandb is not enabled, and does nothing."""

    notes: tuple[str, ...] = ()

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Do nothing."""
        return

    def log_table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Do nothing."""
        return

    def log_pictures(self, name: str, draw: Callable[[Path], Mapping[Path, str]]) -> None:
        """Do nothing, and draw nothing."""
        return

    def save(self, path: Path) -> None:
        """Do nothing."""
        return

    def finish(self) -> None:
        """Do nothing."""
        return


class WandbTracker:
    """Reports to Weights & Biases; a run of ours is one of theirs, under the folder's name.

    All processes that train, resume or judge a run add rows to that one. wandb drops a row whose step is not above
    those before, and offline it does not know what other processes have recorded: so the next step is kept in the run's
    folder, in ``logs/wandb_step``. Charts are drawn over epochs, which an evaluation between them does not move.
    """

    def __init__(self, config: WandbConfig, run: Path, settings: Mapping[str, Any]) -> None:
        import wandb

        def start(mode: Literal["online", "offline"] | None) -> "wandb.Run":
            return wandb.init(
                project=config.project,
                entity=config.entity,
                tags=list(config.tags),
                name=run.name,
                id=run.name,
                resume="allow",
                dir=run / "logs",
                config=dict(settings),
                mode=mode,
                settings=wandb.Settings(silent=True, init_timeout=30),
            )

        self.notes: tuple[str, ...] = ()
        try:
            has_key = bool(os.environ.get("WANDB_MODE")) or wandb.login(prompt=False)
            self._run = start(None if has_key else "offline")
        except Exception:  # whatever the network or the server does, training goes on
            self._run = start("offline")
        self._steps = run / "logs" / "wandb_step"
        self._report(lambda: self._run.define_metric("epoch"))
        self._report(lambda: self._run.define_metric("*", step_metric="epoch"))
        offline = bool(self._run.settings.mode == "offline")
        if offline:
            self.notes = (*self.notes, f"wandb records offline in {run / 'logs' / 'wandb'}")

    def log(self, metrics: Mapping[str, Any]) -> None:
        """Send the numbers; a failure becomes a note."""
        self._report(lambda: self._run.log(dict(metrics), step=self._take_step(metrics)))

    def log_table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Send a table; a failure becomes a note."""
        import wandb

        def send() -> None:
            columns = list(rows[0]) if rows else []
            self.log({name: wandb.Table(columns, [[row[column] for column in columns] for row in rows])})

        self._report(send)

    def log_pictures(self, name: str, draw: Callable[[Path], Mapping[Path, str]]) -> None:
        """Draw and send pictures; a failure becomes a note."""
        import wandb

        def send() -> None:
            with TemporaryDirectory() as folder:
                drawn = draw(Path(folder))
                self.log({name: [wandb.Image(str(path), caption=caption) for path, caption in drawn.items()]})

        self._report(send)

    def save(self, path: Path) -> None:
        """Upload a file; a failure becomes a note."""
        self._report(lambda: self._run.save(path, base_path=path.parent, policy="now"))

    def finish(self) -> None:
        """Close the run; a failure becomes a note."""
        self._report(self._run.finish)

    def _take_step(self, metrics: Mapping[str, Any]) -> int:
        """The step of a row, which no other has: at least its epoch, and no lower than wandb's server says."""
        with lock_file(self._steps.with_suffix(".lock")):
            free = int(self._steps.read_text()) if is_there(self._steps) else 0
            step = max(free, int(metrics.get("epoch", 0)), int(self._run.step))
            write_file(self._steps, f"{step + 1}".encode())
        return step

    def _report(self, send: Callable[[], object]) -> None:
        try:
            send()
        except Exception as error:
            note = f"wandb failed ({type(error).__name__}: {error}); logs/metrics.jsonl has every number"
            self.notes = tuple(dict.fromkeys((*self.notes, note)))


def open_tracker(config: WandbConfig, run: Path, settings: Mapping[str, Any]) -> Tracker:
    """Return wandb where it is enabled and works, else a stand-in that says why not."""
    if not config.enabled:
        return NoTracker()
    try:
        return WandbTracker(config, run, settings)
    except Exception as error:
        tracker = NoTracker()
        tracker.notes = (f"wandb is enabled but cannot start ({type(error).__name__}: {error}); training goes on",)
        return tracker


class MetricsLog:
    """``metrics.jsonl``: one JSON object an epoch, in order."""

    def __init__(self, path: Path, keep_epochs: int = 0) -> None:
        """Open the log, keeping the first ``keep_epochs`` epochs of what is there: a resumed run repeats the others."""
        self._path = path
        lines = _read_epochs(path, keep_epochs) if keep_epochs and is_there(path) else []
        write_file(path, b"".join(lines))

    def append(self, metrics: Mapping[str, Any]) -> None:
        """Write one epoch's numbers as the next line."""
        with self._path.open("ab") as file:
            file.write(seal_json(json.dumps(metrics).encode()) + b"\n")
            file.flush()
            os.fsync(file.fileno())  # as the state is that counts this epoch


def _read_epochs(path: Path, epochs: int) -> list[bytes]:
    """The lines of the first epochs, each checked.

    Raises:
        RunError: a line is damaged, missing, or of another epoch.
    """
    remedy = "Restore it from a copy, or delete it: the run then goes on without the numbers of its first epochs"
    try:
        lines = read_regular(path).splitlines(keepends=True)[:epochs]
        for number, line in enumerate(lines, 1):
            if open_json(line.removesuffix(b"\n")).get("epoch") != number or not line.endswith(b"\n"):
                raise ValueError(f"line {number} is not that of epoch {number}")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise RunError(path, f"cannot be read ({brief(error)})", remedy) from None
    if len(lines) < epochs:
        raise RunError(path, f"holds {count(len(lines), 'epoch')}, the run has {epochs}", remedy)
    return lines
