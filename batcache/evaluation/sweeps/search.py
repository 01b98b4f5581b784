"""A search among settings: each trial is chosen by what those before it came to, with Optuna's sampler (TPE).

Its seed is fixed and its memory is the sweep's folder: the same search asks for the same trials in the same order, and
takes from there what has been done.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from batcache.config.features import digest
from batcache.config.load import Layer
from batcache.errors import ConfigError
from batcache.evaluation.folds import draw_folds
from batcache.evaluation.sweeps.folder import held, outcomes_in
from batcache.evaluation.sweeps.grid import SEED, Combination, Range, check_values, combine
from batcache.evaluation.sweeps.judge import Judge, plan
from batcache.evaluation.sweeps.standings import Outcome
from batcache.evaluation.sweeps.sweep import SweepReport, SweepStarted, conclude, require_different
from batcache.manifest.manifest import Manifest
from batcache.progress import OnProgress, Progress, ignore_progress
from batcache.store.reader import Store
from batcache.training.ranking import mean_defined

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class Space:
    """What is searched: values or a range by dotted key, over a config file and flags, see ``combine``.

    Each trial is judged with every value of ``training.seed``.
    """

    grid: Mapping[str, Sequence[Any] | Range]
    path: Path | None
    flags: Layer

    @property
    def seeds(self) -> Mapping[str, Sequence[Any]]:
        """The values of ``training.seed``, by its key; empty where they are not given."""
        return {key: values for key, values in self.grid.items() if key == SEED and not isinstance(values, Range)}

    @property
    def searched(self) -> Mapping[str, Sequence[Any] | Range]:
        """All else."""
        return {key: values for key, values in self.grid.items() if key != SEED}

    def steps(self) -> list[Combination]:
        """The first of all values, and each other value alone beside those; of a range its ends.

        Raises:
            ConfigError: a setting or a value that cannot be searched.
        """
        if isinstance(self.grid.get(SEED), Range):
            raise ConfigError(f"--over {SEED}", "a range, expected values", "Pass --over training.seed=0,1,2")
        if not self.searched:
            raise ConfigError("--trials", "no setting to search", "Pass --over training.learning_rate=1e-4..1e-2")
        tried = {key: _ends(key, v) if isinstance(v, Range) else v for key, v in self.grid.items()}
        for key, values in tried.items():
            check_values(key, values)
        first = {key: values[:1] for key, values in tried.items()}
        others = ({**first, key: [value]} for key, values in tried.items() for value in values[1:])
        return [combination for grid in (first, *others) for combination in combine(grid, self.path, self.flags)]

    def pick(self, suggested: Mapping[str, Any]) -> tuple[Combination, ...]:
        """The combinations of a trial, one a seed; a suggestion is a number, or which of the values it is."""
        chosen = {key: [_value(values, suggested[key])] for key, values in self.searched.items()}
        return combine({**chosen, **self.seeds}, self.path, self.flags)


def search(
    space: Space,
    trials: int,
    store: Store,
    manifest: Manifest,
    device: torch.device,
    out: Path,
    *,
    folds: int = 5,
    seed: int = 0,
    on_progress: OnProgress = ignore_progress,
) -> SweepReport:
    """Judge ``trials`` combinations of a space, as ``sweep`` does; a higher number goes on with the same search.

    What is sought is the highest macro average precision, its mean over seeds. ``seed`` draws folds and trials.

    Raises:
        ConfigError: Optuna is not installed, or nothing is left to search.
        BatcacheError: what ``sweep`` raises.
    """
    study = _start_study(seed)
    steps, drawn = space.steps(), draw_folds(manifest, store, folds, seed)
    inputs, notes = plan([combination.config for combination in steps], store, drawn)
    require_different(steps, inputs)
    distributions = {key: _distribution(values) for key, values in space.searched.items()}
    limits = {key: [v.low, v.high] if isinstance(v, Range) else [*map(repr, v)] for key, v in space.grid.items()}
    total = trials * len(next(iter(space.seeds.values()), [seed]))
    rows: dict[str, Outcome] = {}
    with held(out, [digest(["search", inputs, limits, seed])]):
        started = SweepStarted(total, min(outcomes_in(out), total), folds, len(drawn.bags), notes)
        on_progress(Progress("sweep", 0, total, started))
        judge = Judge(store, drawn, device, out, total, on_progress)
        for _ in range(trials):
            trial = study.ask(distributions)
            combinations = space.pick(trial.params)
            names, _ = plan([combination.config for combination in combinations], store, drawn)
            tried = {name: judge(combination, name) for combination, name in zip(combinations, names, strict=True)}
            mean = mean_defined([outcome.macro_average_precision for outcome in tried.values()])
            study.tell(trial, 0.0 if mean is None else mean)
            rows |= tried
    return conclude(out, list(rows.values()), drawn)


def _ends(key: str, values: Range) -> Sequence[Any]:
    if not (isfinite(values.high - values.low) and values.low < values.high):
        finding = f"{values.low}..{values.high}, expected the lower end first"
        raise ConfigError(f"--over {key}", finding, "Write both ends as numbers, as 1e-4..1e-2")
    return [values.low, values.high]


def _start_study(seed: int) -> "optuna.Study":
    try:
        import optuna
    except ImportError:
        raise ConfigError(
            "--trials", "needs Optuna, which is not installed", "pip install 'batcache[optuna]'"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))


def _distribution(values: Sequence[Any] | Range) -> "optuna.distributions.BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(values, Range):
        return CategoricalDistribution(range(len(values)))
    if isinstance(values.low, int) and isinstance(values.high, int):
        return IntDistribution(values.low, values.high, log=values.is_wide)
    return FloatDistribution(values.low, values.high, log=values.is_wide)


def _value(values: Sequence[Any] | Range, suggested: Any) -> Any:
    """What a suggestion stands for; numbers of a range with three digits, as one would write them."""
    if not isinstance(values, Range):
        return values[suggested]
    if isinstance(suggested, int):
        return suggested
    return min(max(float(f"{suggested:.3g}"), values.low), values.high)
