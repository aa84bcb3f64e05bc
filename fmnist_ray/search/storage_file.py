"""The trials of a search as an Optuna storage file, which `optuna-dashboard` opens."""

import tempfile
from datetime import datetime
from pathlib import Path

from fmnist_ray.records import write_whole
from fmnist_ray.search.journal import TrialState
from fmnist_ray.search.samplers import distributions_of
from fmnist_ray.search.space import SearchSpace


def write_optuna_storage(
    path: Path, name: str, space: SearchSpace, states: list[TrialState], metric: str, mode: str
) -> None:
    """Writes all trials as one study.

    Stopped trials stand as pruned and failed ones as failed; each epoch is an intermediate value.

    Args:
        path: The SQLite file to write; it appears whole, in place of an earlier one.
        name: The study's name.
        space: What was searched.
        states: The trials.
        metric: The study's objective.
        mode: `max` or `min`.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    known = optuna.trial.TrialState
    as_optuna = {"complete": known.COMPLETE, "stopped": known.PRUNED}
    distributions = distributions_of(space)
    trials = []
    for number, state in enumerate(states):
        best = state.best(metric, mode)
        status = as_optuna.get(state.status, known.FAIL) if best is not None else known.FAIL
        values = {row["epoch"]: row[metric] for row in state.rows if metric in row}
        trials.append(
            optuna.trial.FrozenTrial(
                number=number,
                trial_id=number,
                state=status,
                value=best[metric] if best is not None and status != known.FAIL else None,
                values=None,
                datetime_start=datetime.fromtimestamp(state.started),
                datetime_complete=datetime.fromtimestamp(state.ended or state.started),
                params={key: state.config[key] for key in space.search},
                distributions=distributions,
                user_attrs={"unit": state.unit},
                system_attrs={},
                intermediate_values=values,
            )
        )
    with tempfile.TemporaryDirectory() as folder:
        aside = Path(folder) / "study.db"
        study = optuna.create_study(
            study_name=name,
            storage=f"sqlite:///{aside}",
            direction="maximize" if mode == "max" else "minimize",
        )
        study.add_trials(trials)
        write_whole(path, aside.read_bytes())
