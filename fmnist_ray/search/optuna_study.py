"""The trials of a search as trials of Optuna: built here for its storage file and for its plots."""

from datetime import datetime
from typing import Any

from fmnist_ray.search.journal import TrialState


def optuna_trial(
    number: int,
    state: TrialState,
    value: float | None,
    params: dict[str, Any],
    distributions: dict[str, Any],
    status: Any,
    intermediate: dict[int, float] | None = None,
) -> Any:
    """One trial as Optuna's `FrozenTrial`.

    Args:
        number: Its place in the search.
        state: What the journal says of it.
        value: Its figure; None for one that failed.
        params: Its searched values.
        distributions: The domain of each of them.
        status: Optuna's `TrialState`.
        intermediate: The figure of each epoch.
    """
    import optuna

    return optuna.trial.FrozenTrial(
        number=number,
        trial_id=number,
        state=status,
        value=value,
        values=None,
        datetime_start=datetime.fromtimestamp(state.started),
        datetime_complete=datetime.fromtimestamp(state.ended or state.started),
        params=params,
        distributions=distributions,
        user_attrs={"unit": state.unit},
        system_attrs={},
        intermediate_values=intermediate or {},
    )


def optuna_study(
    trials: list[Any], mode: str, name: str | None = None, storage: str | None = None
) -> Any:
    """A study of trials that are over.

    Args:
        trials: As from `optuna_trial`.
        mode: `max` or `min`.
        name: The study's.
        storage: Its URL; None keeps it in memory.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        direction="maximize" if mode == "max" else "minimize",
    )
    study.add_trials(trials)
    return study
