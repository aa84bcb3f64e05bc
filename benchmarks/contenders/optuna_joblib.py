"""Optuna with two joblib workers on one study, its TPE and its Hyperband pruner."""

from typing import Any

import optuna
from joblib import Parallel, delayed
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from benchmarks.contenders.task import (
    ACTIVATIONS,
    BATCHES,
    OPTIMIZERS,
    RATES,
    REDUCTION,
    Task,
    plain_training,
)


def objective(trial: optuna.Trial, task: Task) -> float:
    """Trains, tells each epoch and ends where the pruner says so."""
    config = {
        "learning_rate": trial.suggest_float("learning_rate", *RATES, log=True),
        "optimizer": trial.suggest_categorical("optimizer", OPTIMIZERS),
        "batch_size": trial.suggest_categorical("batch_size", BATCHES),
        "activation": trial.suggest_categorical("activation", ACTIVATIONS),
    }
    accuracy = 0.0
    for epoch, accuracy, seconds, _ in plain_training(config, task):
        task.tell(str(trial.number), epoch, accuracy, seconds)
        trial.report(accuracy, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return accuracy


def study_of(file: str, task: Task, worker: int) -> optuna.Study:
    """The study that the workers share; each has a sampler of its own."""
    return optuna.create_study(
        study_name="search",
        storage=JournalStorage(JournalFileBackend(file)),
        load_if_exists=True,
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=task.seed + worker),
        pruner=(
            optuna.pruners.HyperbandPruner(
                min_resource=1, max_resource=task.max_epochs, reduction_factor=REDUCTION
            )
            if task.early_stopping
            else optuna.pruners.NopPruner()
        ),
    )


def work(file: str, task: Task, worker: int, trials: int) -> None:
    """A worker's half of the trials."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def asked(trial: optuna.Trial) -> float:
        return objective(trial, task)

    study_of(file, task, worker).optimize(asked, n_trials=trials)


def main() -> None:
    """Searches."""
    task = Task.asked()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    file = str(task.folder / "study.log")
    begun = (task.folder / "study.log").exists()
    study: Any = study_of(file, task, 0)
    if not begun:
        for point in task.configurations():
            study.enqueue_trial(point)
    # Trials that a crash left running stay so for ever; as many new ones take their places.
    left = task.trials - sum(trial.state.is_finished() for trial in study.trials)
    halves = [(left + 1) // 2, left // 2]
    Parallel(n_jobs=2)(delayed(work)(file, task, *each) for each in enumerate(halves))


if __name__ == "__main__":
    main()
