"""A sweep over scripted fits, in the caller's Ray session."""

from pathlib import Path
from typing import Any

from rich.console import Console

from fmnist_ray.records import Record
from fmnist_ray.search.journal import Journal, TrialState
from fmnist_ray.search.progress import SearchProgress
from fmnist_ray.search.settings import SearchSettings
from fmnist_ray.search.space import parse_space
from fmnist_ray.search.sweep import Sweep, run_sweep
from fmnist_ray.training.ray_train import Resources


def sweep_over(
    folder: Path,
    fit: Any,
    rates: list[float],
    trial_timeout: float | None = None,
    max_epochs: int = 2,
    slots: int = 2,
) -> dict[str, TrialState]:
    """Tries a DNN with each of the learning rates, some at a time, in a record in a folder."""
    space = {"model": "dnn", "search": {"learning_rate": {"choice": rates}}}
    settings = SearchSettings(
        space=space,
        space_source="s",
        trials=len(rates),
        searcher="grid",
        max_epochs=max_epochs,
        tensorboard=False,
        trial_timeout=trial_timeout,
    )
    folder.mkdir(exist_ok=True)
    console = Console(quiet=True)
    sweep = Sweep(
        record=Record(folder),
        journal=Journal(folder / "journal.jsonl"),
        settings=settings,
        space=parse_space(space, "s").with_epochs_up_to(max_epochs),
        resources=Resources(cpus=1 / slots),
        slots=slots,
        progress=SearchProgress(console, len(rates), slots, "validation_accuracy", "max", []),
        fit=fit,
    )
    return run_sweep(sweep, {})
