"""A whole search: data, plan, sweep, retraining, record."""

import statistics
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from fmnist_ray.dataset.splits import save_indices
from fmnist_ray.dispatch.plan import Node, Plan, plan
from fmnist_ray.dispatch.resources import fit_demand, fit_resources
from fmnist_ray.dispatch.room import Room
from fmnist_ray.dispatch.run_name import RunName
from fmnist_ray.dispatch.unit_records import adopt_model, checkpoint_place
from fmnist_ray.errors import RequestError, WorkError
from fmnist_ray.models.storage import save_model
from fmnist_ray.records import Record, write_predictions
from fmnist_ray.search.courses import SearchClock
from fmnist_ray.search.data import SearchData
from fmnist_ray.search.journal import JOURNAL_FILE, UNFINISHED, Journal, TrialState
from fmnist_ray.search.progress import SearchProgress, describe_configuration
from fmnist_ray.search.settings import SearchSettings
from fmnist_ray.search.space import SearchSpace, parse_space
from fmnist_ray.search.standing import best_trial
from fmnist_ray.search.sweep import Sweep, run_sweep
from fmnist_ray.training.checkpoint_store import CheckpointStore
from fmnist_ray.training.config import FitConfig
from fmnist_ray.training.contract import FitData
from fmnist_ray.training.ray_train import Resources


def plan_search(settings: SearchSettings, nodes: list[Node]) -> tuple[Plan, Resources]:
    """Trials at a time and what each gets.

    Raises:
        RequestError: A trial could never run on this cluster, or not under this scheduler.
    """
    if settings.scheduler == "pbt":
        _check_pbt(settings)
    resources = fit_resources(
        nodes,
        settings.workers_per_trial,
        settings.cpus_per_trial,
        settings.gpus_per_trial,
        settings.precision,
    )
    return plan(settings.trials, nodes, fit_demand(resources), settings.max_concurrent), resources


def _check_pbt(settings: SearchSettings) -> None:
    from fmnist_ray.search.schedulers import MUTABLE

    if settings.workers_per_trial:
        raise RequestError(
            f"--workers-per-trial is {settings.workers_per_trial}, but --scheduler pbt copies the "
            "state of trials that train in their own process. Use --workers-per-trial 0."
        )
    if settings.max_concurrent is not None:
        raise RequestError(
            f"--max-concurrent is {settings.max_concurrent}, but --scheduler pbt trains all trials "
            "by turns, as many at a time as there is room for. Ask for more --cpus-per-trial."
        )
    if not MUTABLE & settings.space["search"].keys():
        raise RequestError(
            f"{settings.space_source}: --scheduler pbt changes values while trials train, but none "
            f"of these is searched: {', '.join(sorted(MUTABLE))}. Search one of them, or use "
            "--scheduler asha."
        )


def run_search(
    record: Record,
    run: RunName,
    settings: SearchSettings,
    data: SearchData,
    nodes: list[Node],
    console: Console,
) -> dict[str, Any]:
    """Runs or goes on with a search inside a Ray session.

    Args:
        record: New, or that of the search to go on with.
        run: Names trials and fits in Ray's tables and metrics.
        settings: What is searched and how.
        data: From `prepare_data`.
        nodes: The cluster's.
        console: Where progress is shown; a quiet one shows nothing.

    Returns:
        The record's metrics.
    """
    space = parse_space(settings.space, settings.space_source)
    space = space.with_epochs_up_to(settings.max_epochs)
    places, resources = plan_search(settings, nodes)
    console.print(f"plan: {places.describe('trials')}", markup=False)
    journal = Journal(record.path / JOURNAL_FILE)
    progress = SearchProgress(
        None if console.quiet else console,
        settings.trials,
        places.slots,
        settings.metric,
        settings.mode,
        list(space.search),
    )
    place = checkpoint_place(record, settings.storage)
    room = Room.of(places, settings.max_concurrent, place, progress.say)
    sweep = Sweep(record, journal, settings, space, resources, room, progress, run)
    images, labels = data.dataset.train.images, data.dataset.train.labels
    with progress:
        states = run_sweep(sweep, FitData(images, labels, data.train, data.validation))
    metrics = sweep_metrics(states, journal, settings, room.most)
    record.write_metrics(metrics)
    if settings.time_budget is not None and not any(state.rows for state in states.values()):
        raise WorkError(
            f"No trial finished an epoch within --time-budget, {settings.time_budget:g} seconds. "
            "Go on with a longer one, or with fewer images (--train-size) in a new search."
        )
    _export_units(record, settings, data, states, space)
    if settings.retrain_seeds and best_trial(states, settings.metric, settings.mode):
        metrics |= _retrain(record, run, settings, space, data, states, nodes, resources, console)
        record.write_metrics(metrics)
    _drop_checkpoints(record, settings, states)
    return metrics


def sweep_metrics(
    states: dict[str, TrialState], journal: Journal, settings: SearchSettings, slots: int
) -> dict[str, Any]:
    """The sweep's figures, flat.

    `slots` are the most that there were, and `slot_overhead` is sweep_seconds x slots / busy_seconds: 1 would be slots that do nothing
    but train and validate.
    """
    busy = sum(row.get("seconds", 0.0) for state in states.values() for row in state.rows)
    seconds = SearchClock(journal.events).total
    metrics: dict[str, Any] = {
        "trials": len(states),
        **{
            f"trials_{status}": sum(state.status == status for state in states.values())
            for status in ("complete", "stopped", "diverged", "failed")
        },
        # Cut off by the time budget; a resume without one goes on with them.
        "trials_unfinished": sum(state.status in UNFINISHED for state in states.values()),
        "epochs": sum(len(state.rows) for state in states.values()),
        "slots": slots,
        "sweep_seconds": round(seconds, 1),
        "busy_seconds": round(busy, 1),
        "slot_overhead": round(seconds * slots / busy, 3) if busy else None,
    }
    best = best_trial(states, settings.metric, settings.mode)
    if best is not None:
        state, row = best
        metrics |= {
            "best_unit": state.unit,
            "best_epoch": row["epoch"],
            f"best_{settings.metric}": row[settings.metric],
        }
    return metrics


def _export_units(
    record: Record,
    settings: SearchSettings,
    data: SearchData,
    states: dict[str, TrialState],
    space: SearchSpace,
) -> None:
    """Writes each trial's model and validation predictions from its last checkpoint."""
    from fmnist_ray.search.storage_file import write_optuna_storage

    store = _store(record, settings)
    labels = data.dataset.train.labels[data.validation]
    for state in states.values():
        folder = record.unit(state.unit)
        checkpoint = store.load(state.unit)
        if checkpoint is None:
            continue
        architecture = FitConfig.checked(state.config, state.unit).architecture
        weights = checkpoint.best_weights or checkpoint.weights
        save_model(folder, architecture, weights, unit=state.unit)
        if checkpoint.probability is not None:
            write_predictions(
                folder / "predictions.npz", data.validation, labels, checkpoint.probability
            )
    write_optuna_storage(
        record.path / "optuna.db",
        record.name,
        space,
        list(states.values()),
        settings.metric,
        settings.mode,
    )


def _drop_checkpoints(
    record: Record, settings: SearchSettings, states: dict[str, TrialState]
) -> None:
    """Ended trials need no optimizer state any more; failed ones may be tried again."""
    store = _store(record, settings)
    for state in states.values():
        if state.status not in UNFINISHED and state.status != "failed":
            store.remove(state.unit)


def _store(record: Record, settings: SearchSettings) -> CheckpointStore:
    return CheckpointStore(checkpoint_place(record, settings.storage))


def _retrain(
    record: Record,
    run: RunName,
    settings: SearchSettings,
    space: SearchSpace,
    data: SearchData,
    states: dict[str, TrialState],
    nodes: list[Node],
    resources: Resources,
    console: Console,
) -> dict[str, Any]:
    from fmnist_ray.search.retrain import retrain, retrain_units

    best = best_trial(states, settings.metric, settings.mode)
    assert best is not None
    state, row = best
    config = FitConfig.checked(state.config, state.unit)
    console.print(
        f"best: {state.unit}, {settings.metric.replace('_', ' ')} {row[settings.metric]:.4f} "
        f"after epoch {row['epoch']}: {describe_configuration(state.config, list(space.search))}",
        markup=False,
    )
    units = retrain_units(config, settings.retrain_seeds, settings.seed, data.used)
    console.print(
        f"training it anew on all {len(data.used):,} images, {len(units)} seeds, "
        f"{config.epochs} epochs each",
        markup=False,
    )
    begun = time.monotonic()
    results = retrain(
        record,
        run,
        units,
        data.dataset,
        nodes,
        resources,
        settings.max_concurrent,
        console,
        [{"unit": each.unit, **row} for each in states.values() for row in each.rows],
        settings.storage,
    )
    # The first seed's model, whatever its score: choosing by the test set would flatter it.
    adopt_model(record, units[0].name)
    scores = [each["test_accuracy"] for each in results]
    return {
        "test_accuracy": scores[0],
        "test_accuracy_mean": statistics.mean(scores),
        "test_accuracy_deviation": statistics.stdev(scores) if len(scores) > 1 else 0.0,
        "test_accuracy_by_seed": scores,
        "retrain_seconds": round(time.monotonic() - begun, 1),
    }


def begin_record(record: Record, settings: SearchSettings, data: SearchData) -> None:
    """Begins a record: `split.npz` with the indices, and `run.json`, which makes it a record."""
    save_indices(record.path / "split.npz", train=data.train, validation=data.validation)
    record.start("tune", settings.model_dump(), settings.seed, data.facts)


def load_settings(record: Record, path: Path) -> SearchSettings:
    """The settings a record was begun with.

    Raises:
        RequestError: The record is not that of a search.
    """
    run = record.run()
    if run.get("verb") != "tune":
        raise RequestError(f"{path} is a record of `{run.get('verb')}`, not of a search.")
    return SearchSettings.checked(run["config"])
