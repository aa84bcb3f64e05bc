"""Looks after trials: ends those that hang, and lets those that get on fail more often."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fmnist_ray.dispatch.tasks import DEATHS_PER_FAILURE
from fmnist_ray.search.callbacks import StatelessCallback
from fmnist_ray.search.schedulers import unit_name


class TrialWatch(StatelessCallback):
    """Kills the process of a trial that ends no epoch for too long, and forgives failures.

    The driver watches, and not the trial, whose own threads may be what hangs. To Tune the death
    of the process is a failure like any other: the trial is tried again from its last epoch. A
    trial that ended an epoch since it last failed starts counting anew, and the death of a process
    counts less than an error that it raised: a trial fails for good over what it cannot get past,
    and not over machines that come and go all night. Tune itself counts all alike.

    Args:
        seconds: An epoch may take, the start of the trial's process included.
        clock: Tells seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._since: dict[str, float] = {}
        self._epochs: dict[str, int] = {}
        self._killed: set[str] = set()

    def reason(self, trial: Any) -> str:
        """Why a trial failed last, in one line."""
        if unit_name(trial) in self._killed:
            return f"it hung: no epoch ended within {self._seconds:g} s (--trial-timeout)"
        if has_raised(trial):
            return last_error(trial)
        if has_no_memory(trial):
            return "its process was ended by Ray, since its machine ran out of memory"
        return "its process died: it was killed, or crashed"

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        unit = unit_name(trial)
        self._since[unit] = self._clock()
        self._killed.discard(unit)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        unit = unit_name(trial)
        self._since[unit] = self._clock()
        # What a trial tells again after a failure is no progress.
        if result["epoch"] > self._epochs.get(unit, 0):
            self._epochs[unit] = result["epoch"]
            trial.run_metadata.num_failures = 0

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        unit = unit_name(trial)
        self._since.pop(unit, None)
        if unit in self._killed or has_raised(trial) or has_no_memory(trial):
            trial.run_metadata.num_failures += DEATHS_PER_FAILURE - 1

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._since.pop(unit_name(trial), None)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._since.pop(unit_name(trial), None)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        late = self._clock() - self._seconds
        overdue = {unit for unit, since in self._since.items() if since < late}
        if overdue:
            for trial in trials:
                if unit_name(trial) in overdue and trial.status == "RUNNING":
                    self._kill(trial)

    def _kill(self, trial: Any) -> None:
        import ray

        actor = trial.temporary_state.ray_actor
        if actor is None:
            return
        unit = unit_name(trial)
        self._since.pop(unit)  # the next start sets it again
        self._killed.add(unit)
        ray.kill(actor)


def errors_text(trial: Any) -> str:
    """What went wrong in a trial's attempts, which Tune keeps in a file of the driver's machine."""
    path = Path(trial.error_file) if trial.error_file else None
    return path.read_text(encoding="utf-8") if path is not None and path.exists() else ""


def last_failure(trial: Any) -> str:
    """What went wrong in a trial's last attempt that failed."""
    return errors_text(trial).rpartition("Failure # ")[2]


def last_error(trial: Any) -> str:
    """The last line of that: the error itself, if it is one that the trial raised."""
    lines = [line.strip() for line in last_failure(trial).splitlines() if line.strip()]
    return lines[-1] if lines else "unknown error"


def has_raised(trial: Any) -> bool:
    """Whether a trial's last failure was an error that it raised, and not its process' death."""
    return '\n  File "' in last_failure(trial)


def has_no_memory(trial: Any) -> bool:
    """Whether Ray killed a trial's process last, since its machine ran out of memory."""
    return "low on memory" in last_failure(trial)
