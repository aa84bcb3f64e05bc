"""The trials of a search as an Optuna storage file, which `optuna-dashboard` opens."""

import tempfile
from pathlib import Path

from fmnist_ray.records import write_whole
from fmnist_ray.search.journal import TrialState
from fmnist_ray.search.optuna_study import optuna_study, optuna_trial
from fmnist_ray.search.samplers import distributions_of
from fmnist_ray.search.space import SearchSpace


def write_optuna_storage(
    path: Path, name: str, space: SearchSpace, states: list[TrialState], metric: str, mode: str
) -> None:
    """Writes all trials as one study.

    Stopped and paused trials stand as pruned and failed ones as failed; each epoch is an intermediate value.

    Args:
        path: The SQLite file to write; it appears whole, in place of an earlier one.
        name: The study's name.
        space: What was searched.
        states: The trials.
        metric: The study's objective.
        mode: `max` or `min`.
    """
    import optuna

    known = optuna.trial.TrialState
    as_optuna = {"complete": known.COMPLETE, "stopped": known.PRUNED, "paused": known.PRUNED}
    distributions = distributions_of(space)
    trials = []
    for number, state in enumerate(states):
        best = state.best(metric, mode)
        status = as_optuna.get(state.status, known.FAIL) if best is not None else known.FAIL
        trials.append(
            optuna_trial(
                number,
                state,
                best[metric] if best is not None and status != known.FAIL else None,
                {key: state.config[key] for key in space.search},
                distributions,
                status,
                {row["epoch"]: row[metric] for row in state.rows if metric in row},
            )
        )
    with tempfile.TemporaryDirectory() as folder:
        aside = Path(folder) / "study.db"
        optuna_study(trials, mode, name, f"sqlite:///{aside}")
        write_whole(path, aside.read_bytes())
