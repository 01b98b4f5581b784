"""Combinations of settings, each judged in the same folds of the same clips; what is done is kept and not done again.

The folder of a sweep::

    sweep.json           which combinations it is about: written first, and never for another sweep
    outcomes/<id>.json   a combination's settings and metrics, written when it is done
    sweep.csv, sweep.png a row a combination, written last

An outcome's id is a digest of all that decides it: settings, trunk, features, clips, labels, groups, folds, known calls
and code.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from batcache.config.features import digest
from batcache.config.settings import Config, to_plain
from batcache.errors import ConfigError, RunError, brief, count
from batcache.evaluation.calls import list_calls
from batcache.evaluation.evaluate import EVALUATION_VERSION
from batcache.evaluation.folds import Folds, draw_folds, judge_folds, require_taught
from batcache.evaluation.outcomes import FOLDS
from batcache.evaluation.sweeps.draw_sweep import draw_sweep
from batcache.evaluation.sweeps.grid import Combination
from batcache.evaluation.sweeps.standings import Outcome, Standing, rank, write_outcomes
from batcache.manifest.label_counts import count_labels
from batcache.manifest.manifest import Manifest
from batcache.model.start import Start
from batcache.progress import OnProgress, Progress, ignore_progress
from batcache.storage.disk import write_file
from batcache.storage.exclusive import lock_file
from batcache.store.reader import Store
from batcache.training.clips.embeddings import Embed, Embeddings
from batcache.training.clips.splits import clip_key
from batcache.training.inputs import Split, describe_inputs, split_settings
from batcache.training.lineage import find_heard, list_heard_notes, start_unheard
from batcache.training.loss import class_weights
from batcache.training.notes import list_notes
from batcache.training.runs import require_kinds

FORMAT_VERSION = 1
_RECORD = "sweep.json"


@dataclass(frozen=True)
class SweepStarted:
    """What a sweep is about to do: ``done`` of its combinations are there already. ``notes`` say what to know first."""

    combinations: int
    done: int
    folds: int
    clips: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class SweepReport:
    """What a sweep came to.

    Attributes:
        rows: the outcome of each combination, in the grid's order.
        standings: the same, averaged over seeds where those were swept, the best first.
        folds: how many parts the clips were judged in.
        csv: ``rows`` as a table.
        picture: ``standings`` as a picture.
    """

    rows: tuple[Outcome, ...]
    standings: tuple[Standing, ...]
    folds: int
    csv: Path
    picture: Path


def sweep(
    combinations: Sequence[Combination],
    store: Store,
    manifest: Manifest,
    device: torch.device,
    out: Path,
    *,
    folds: int = 5,
    seed: int = 0,
    on_progress: OnProgress = ignore_progress,
) -> SweepReport:
    """Judge every combination in the same folds of all clips but those of split test, on which nothing is chosen.

    Args:
        combinations: what to compare.
        store: the features, the same for all.
        manifest: the clips and labels.
        device: where to compute.
        out: the sweep's folder. What is done of this sweep is taken from there; the models are not kept.
        folds: how many.
        seed: draws the folds, whatever ``training.seed`` a combination has: so its spread is that of training alone.
        on_progress: hears of the ``SweepStarted``, of each fold, and of each ``Outcome``. What it raises ends the
            sweep, which the same call goes on with after the last combination that was done.

    Raises:
        ConfigError, RunError: a setting or a trunk that cannot be used, or one that decides nothing, before anything is
            trained.
        RunError: ``out`` holds something else, or is in use.
        ManifestError: see ``draw_folds``, and what ``train`` raises.
    """
    drawn = draw_folds(manifest, store, folds, seed)
    for config in {split_settings(combination.config): combination.config for combination in combinations}.values():
        require_taught(config, store, drawn)
    inputs, notes = _plan([combination.config for combination in combinations], store, drawn)
    _require_different(combinations, inputs)
    with _held(out, inputs):
        embed, rows = Embeddings().embed, []
        there = sum(_place(out, name).exists() for name in inputs)
        started = SweepStarted(len(combinations), there, folds, len(drawn.bags), notes)
        on_progress(Progress("sweep", 0, len(combinations), started))
        for i, (combination, name) in enumerate(zip(combinations, inputs, strict=True)):
            place = _place(out, name)
            if not place.exists():
                tell = _prefixed(on_progress, f"combination {i + 1} of {len(combinations)}")
                _carry_out(combination.config, store, drawn, device, out, name, embed, tell)
            rows.append(_read_outcome(place, combination))
            on_progress(Progress("sweep", i + 1, len(combinations), rows[-1]))
    standings = rank(rows)
    table, picture = out / "sweep.csv", out / "sweep.png"
    write_outcomes(table, rows)
    draw_sweep(picture, standings, f"macro average precision in {folds} folds of {count(len(drawn.bags), 'clip')}")
    return SweepReport(tuple(rows), standings, folds, table, picture)


def _plan(configs: Sequence[Config], store: Store, folds: Folds) -> tuple[list[str], tuple[str, ...]]:
    """The digest of each combination, and what is to be noted of any; what cannot be trained is refused here."""
    species = folds.manifest.species
    bags = tuple(replace(bag, clip=replace(bag.clip, split="train")) for bag in folds.bags)
    counts, whole = count_labels((bag.clip for bag in bags), species), Split(bags, (), (), folds.notes)
    inputs: list[str] = []
    notes: list[str] = []
    for config in configs:
        start = start_unheard(config.model, store.features, species, folds.bags)
        transfer, init = start.transfer, config.model.init
        class_weights(config, folds.bags, species)
        inputs.append(_describe(config, store, folds, start))
        notes += list_notes(config, store, whole, counts, transfer, transfer.scored if transfer else ())
        if transfer is not None:
            notes += list_heard_notes(init, find_heard(init, transfer), ())
        if config.wandb.enabled:
            notes.append("nothing of a sweep goes to wandb")
    return inputs, tuple(dict.fromkeys(notes))


def _describe(config: Config, store: Store, folds: Folds, start: Start) -> str:
    """Digest of all that decides a combination's outcome."""
    learnt = describe_inputs(config, store, Split(folds.bags, (), ()), folds.manifest.species, start.digest)
    groups = sorted([*clip_key(bag), bag.clip.group or ""] for bag in folds.bags)
    return digest([EVALUATION_VERSION, learnt, config.data.clips_per_species, groups, list_calls(folds.calls)])


def _require_different(combinations: Sequence[Combination], inputs: Sequence[str]) -> None:
    """Refuse combinations that are the same training.

    Raises:
        ConfigError: names the settings in which they differ.
    """
    by_inputs = dict(zip(inputs, combinations, strict=True))
    pairs = [(each.values, by_inputs[name].values) for each, name in zip(combinations, inputs, strict=True)]
    if idle := [key for key in combinations[0].values if any(one[key] != other[key] for one, other in pairs)]:
        finding = "no effect here: combinations that differ in nothing else are the same training"
        raise ConfigError(f"--over {', '.join(idle)}", finding, "Name one value")


def _prefixed(on_progress: OnProgress, name: str) -> OnProgress:
    def tell(progress: Progress) -> None:
        on_progress(replace(progress, stage=f"{name}, {progress.stage}"))

    return tell


def _carry_out(
    config: Config,
    store: Store,
    folds: Folds,
    device: torch.device,
    out: Path,
    inputs: str,
    embed: Embed,
    on_progress: OnProgress,
) -> None:
    """Train and judge one combination in all folds, and write its outcome."""
    runs = out / FOLDS
    shutil.rmtree(runs, ignore_errors=True)  # of a sweep that was stopped
    settings = replace(
        config, training=replace(config.training, run_dir=runs), wandb=replace(config.wandb, enabled=False)
    )
    judged = judge_folds(settings, store, folds, device, embed, on_progress=on_progress)
    document = {
        "format_version": FORMAT_VERSION,
        "inputs": inputs,
        "cache": store.attributes["fingerprint"],
        "settings": to_plain(config),
        "seconds": sum(fold.seconds for fold in judged.folds),
        "metrics": judged.metrics.to_plain(),
        "folds": [asdict(fold) | {"metrics": fold.metrics.to_plain()} for fold in judged.folds],
    }
    write_file(_place(out, inputs), json.dumps(document, indent=1, ensure_ascii=False, default=str).encode())
    shutil.rmtree(runs, ignore_errors=True)


def _place(out: Path, inputs: str) -> Path:
    return out / "outcomes" / f"{inputs[:16]}.json"


def _read_outcome(place: Path, combination: Combination) -> Outcome:
    """What a combination came to.

    Raises:
        RunError: damaged, or of another format version.
    """
    document = _read(place, {})
    try:
        metrics, folds = document["metrics"], document["folds"]
        covered = [row for row in metrics["per_species"] if row["average_precision"] is not None]
        return Outcome(
            values=combination.values,
            macro_average_precision=metrics["macro_average_precision"],
            macro_roc_auc=metrics["macro_roc_auc"],
            species=len(covered),
            labels=sum(row["known"] for row in covered),
            on_a_call=(metrics["evidence"] or {"macro": {"on_a_call": None}})["macro"]["on_a_call"],
            train_clips=sum(fold["train_clips"] for fold in folds) / len(folds),
            seconds=float(document["seconds"]),
            file=place,
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise RunError(place, f"cannot be read ({brief(error)})", "Delete it") from None


def _read(place: Path, kinds: Mapping[str, type]) -> dict[str, Any]:
    try:
        document = dict(json.loads(place.read_bytes()))
        version = document["format_version"]
        if version == FORMAT_VERSION:
            require_kinds(document, kinds)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(place, f"cannot be read ({brief(error)})", "Delete it") from None
    if version != FORMAT_VERSION:
        raise RunError(place, f"format version {version}, this batcache reads {FORMAT_VERSION}", "Upgrade batcache")
    return document


@contextmanager
def _held(out: Path, inputs: Sequence[str]) -> Iterator[None]:
    """Take a folder for this sweep alone, which may be there already if it has no combinations but these.

    Raises:
        RunError: it holds something else, cannot be written, or another process sweeps into it.
    """
    record, lock, remedy = out / _RECORD, out / "sweep.lock", "Pass another --out"
    with ExitStack() as stack:
        try:
            out.mkdir(parents=True, exist_ok=True)
            if not lock.exists() and not record.exists() and any(out.iterdir()):  # a sweep makes its lock first
                raise RunError(out, "holds something else than a sweep", remedy)
            stack.enter_context(lock_file(lock, wait=False))
            if record.exists():
                _require_part(out, _read(record, {"inputs": list})["inputs"], inputs)
            document = {"format_version": FORMAT_VERSION, "inputs": list(inputs)}
            write_file(record, json.dumps(document, indent=1).encode())
        except BlockingIOError:
            raise RunError(out, "another process sweeps into it", "Wait for it, or pass another --out") from None
        except OSError as error:
            raise RunError(out, f"cannot hold a sweep ({brief(error)})", remedy) from None
        yield


def _require_part(out: Path, there: Sequence[str], inputs: Sequence[str]) -> None:
    if others := set(there) - set(inputs):
        finding = f"holds another sweep: {count(len(others), 'combination')} of other settings, clips or folds"
        raise RunError(out, finding, "Pass another --out")
