"""Turns a search's events into its record while it runs."""

import time
from datetime import UTC, datetime
from typing import Any

from fmnist_ray.dispatch.epoch_lines import epoch_line
from fmnist_ray.errors import DiskError
from fmnist_ray.records import Record, write_json
from fmnist_ray.search.callbacks import StatelessCallback
from fmnist_ray.search.journal import Event, Journal, TrialState
from fmnist_ray.search.metrics import SearchMetrics
from fmnist_ray.search.progress import SearchProgress
from fmnist_ray.search.schedulers import JournalledScheduler, rungs, unit_name
from fmnist_ray.search.tensorboard import TensorBoardLogs
from fmnist_ray.search.watch import TrialWatch, errors_text, last_error
from fmnist_ray.training.ray_train import PLACEMENT_GROUP, release

_HISTORY_SHARE = 0.02
"""Of the time, for writing `history.csv`."""


class Recorder(StatelessCallback):
    """Keeps `history.csv` and `units/` up to date, and tells the display.

    The journal has every event already, written by the scheduler before Tune acts on it; this
    callback only adds the ends of trials and derives files from it.
    """

    def __init__(
        self,
        record: Record,
        journal: Journal,
        scheduler: JournalledScheduler,
        progress: SearchProgress,
        tensorboard: TensorBoardLogs | None,
        watch: TrialWatch,
        metrics: SearchMetrics,
    ) -> None:
        self._record, self._journal, self._scheduler = record, journal, scheduler
        self._progress, self._tensorboard = progress, tensorboard
        self._watch, self._metrics = watch, metrics
        self._states = journal.states
        journal.take()  # what was there before
        self._history = History(record, journal.states)
        progress.begin(self._states, rungs(scheduler))
        metrics.begin(self._states, rungs(scheduler))

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._take()
        unit = unit_name(trial)
        self._metrics.started(self._states[unit])
        actor = trial.temporary_state.ray_actor._actor_id.hex()
        self._log(unit, f"{_when(time.time())} runs on Ray's actor {actor}")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        for state in self._take():
            self._progress.epoch(state, rungs(self._scheduler))
            self._metrics.epoch(state, rungs(self._scheduler))
            if self._tensorboard is not None:
                self._tensorboard.add(state)
        self._history.write()

    def _release(self, trial: Any) -> None:
        """Frees the worker group of a trial that ended, stopped or failed."""
        group = (trial.last_result or {}).get(PLACEMENT_GROUP)
        if group:
            release(group)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        unit = unit_name(trial)
        self._release(trial)
        self._take()
        if self._states[unit].status == "paused":
            self._left(self._states[unit])
            return
        # A trial that ends before its last epoch and was not stopped has stopped early by itself.
        status, reason = self._states[unit].outcome or ("complete", "")
        self._end(unit, status, reason)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._release(trial)
        self._raise_if_of_the_disk(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._release(trial)
        self._raise_if_of_the_disk(trial)
        self._log(unit_name(trial), errors_text(trial))
        self._end(unit_name(trial), "failed", self._watch.reason(trial))

    def _raise_if_of_the_disk(self, trial: Any) -> None:
        """Ends the search if a trial could not write: no other could, and none is to blame."""
        name, _, message = last_error(trial).partition(": ")
        if name.rpartition(".")[2] == DiskError.__name__:
            raise DiskError(message)

    def _end(self, unit: str, status: str, reason: str = "") -> None:
        self._journal.append("end", unit=unit, status=status, reason=reason)
        self._take()
        self._left(self._states[unit])

    def _left(self, state: TrialState) -> None:
        """A trial gave back its place."""
        if self._tensorboard is not None:
            self._tensorboard.end(state)
        self._progress.ended(state)
        self._metrics.ended(state)
        self._history.write()

    def close(self) -> None:
        """Brings `history.csv` up to date."""
        self._history.write(now=True)

    def _take(self) -> list[TrialState]:
        """Applies the journal's new events; returns the trials whose epoch ended."""
        reported: list[TrialState] = []
        for event in self._journal.take():
            unit = event.get("unit")
            if unit is None:
                continue
            state = self._states[unit]
            self._write_unit(event, state)
            self._log(unit, _log_line(event))
            if event["event"] == "result":
                reported.append(state)
        return reported

    def _write_unit(self, event: Event, state: TrialState) -> None:
        """Writes what of a trial's `config.json` and `metrics.json` the event changed."""
        if event["event"] == "trial":
            write_json(self._record.unit(state.unit) / "config.json", state.config)
        write_trial(self._record, state)

    def _log(self, unit: str, text: str) -> None:
        folder = self._record.unit(unit)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "log.txt").open("a", encoding="utf-8") as stream:
            stream.write(text.rstrip() + "\n")


class History:
    """Keeps `history.csv`, which is always written whole, as new as that may cost.

    It grows with every epoch. Written each time, it would cost a search of many trials more and
    more; the journal has every epoch at once.
    """

    def __init__(self, record: Record, states: dict[str, TrialState]) -> None:
        self._record, self._states = record, states
        self._not_before = 0.0

    def write(self, now: bool = False) -> None:
        """Writes it, unless the last time was too short ago."""
        begun = time.monotonic()
        if begun < self._not_before and not now:
            return
        self._record.write_history(
            {"unit": state.unit, **row} for state in self._states.values() for row in state.rows
        )
        ended = time.monotonic()
        self._not_before = ended + (ended - begun) / _HISTORY_SHARE


def write_trial(record: Record, state: TrialState) -> None:
    """Writes the `metrics.json` of a trial."""
    record.write_metrics(
        {
            **(state.rows[-1] if state.rows else {}),
            "status": state.status,
            "reason": state.reason,
            "epochs": len(state.rows),
            "busy_seconds": sum(row.get("seconds", 0.0) for row in state.rows),
        },
        state.unit,
    )


def _when(seconds: float) -> str:
    """UTC, of seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _log_line(event: dict[str, Any]) -> str:
    match event["event"]:
        case "trial":
            what = f"configuration {event['config']}"
        case "result":
            what = f"{epoch_line(event['row'])} -> {event['decision'].lower()}"
        case _:
            what = " ".join([event["status"], event.get("reason", "")])
    return f"{_when(event['time'])} {what}"
