"""Runs the trials of a search under Ray Tune, from the beginning or from its journal."""

import logging
import math
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from fmnist_ray.dispatch.resources import PROCESS_MEMORY
from fmnist_ray.dispatch.room import Room
from fmnist_ray.dispatch.run_name import RunName
from fmnist_ray.dispatch.tasks import DEATHS_PER_FAILURE
from fmnist_ray.dispatch.unit_records import checkpoint_place
from fmnist_ray.errors import WorkError
from fmnist_ray.records import Record
from fmnist_ray.search.courses import SearchClock
from fmnist_ray.search.journal import UNFINISHED, Journal, TrialState, end_what_is_decided
from fmnist_ray.search.progress import SearchProgress
from fmnist_ray.search.samplers import build_sampler
from fmnist_ray.search.settings import SearchSettings
from fmnist_ray.search.space import SearchSpace
from fmnist_ray.training.checkpoint_store import remove_folder
from fmnist_ray.training.ray_train import Resources, train_here

# A trial that raises is begun again, from its checkpoint, this often; see also `TrialWatch`.
_RETRIES = 2


@dataclass(frozen=True)
class Sweep:
    """What a sweep needs besides its settings.

    Attributes:
        record: Where it is written.
        journal: Its events; what they tell is not done again.
        settings: What is searched and how.
        space: The settings' space, checked.
        resources: Of each trial.
        slots: Trials at a time, or what says so while the sweep lasts.
        progress: What a person sees.
        run: Names the trials in Ray's tables and metrics; None for a search that no record holds.
        fit: What trains; tests script it.
    """

    record: Record
    journal: Journal
    settings: SearchSettings
    space: SearchSpace
    resources: Resources
    slots: int | Room
    progress: SearchProgress
    run: RunName | None = None
    fit: Callable[..., Any] = train_here


def run_sweep(sweep: Sweep, data: Any) -> dict[str, TrialState]:
    """Runs every trial that the journal does not know as ended.

    Args:
        sweep: The search.
        data: `FitData`: images, labels, and the indices to train and to validate on.

    Returns:
        All trials, by unit.

    Raises:
        WorkError: Every trial failed.
        DiskError: The record or a checkpoint could not be written.
    """
    import ray

    shared = ray.put(data)
    ended = -1
    while True:
        more = _run_round(sweep, shared)
        states = sweep.journal.states
        waiting = {"paused"} if sweep.settings.promotes else set()
        left = sum(state.status in UNFINISHED - waiting for state in states.values())
        before, ended = ended, len(states) - left
        # Tune may give a trial up without telling anyone. What it left over is begun again, for
        # as long as that helps.
        if not left or ended == before or _budget(sweep) is not None:
            break
        sweep.progress.say(f"{left} trials that Ray Tune gave up are begun again")
    if not left and not more:
        _end_what_waits(sweep)
    failed = [state for state in states.values() if state.status == "failed"]
    if failed and len(failed) == len(states):
        raise WorkError(
            f"All {len(failed)} trials failed; {failed[0].unit}: {failed[0].reason}. "
            f"See {sweep.record.unit(failed[0].unit) / 'log.txt'}."
        )
    return states


def _budget(sweep: Sweep) -> float | None:
    """Seconds that are left of the time budget; None without one."""
    budget = sweep.settings.time_budget
    return None if budget is None else budget - SearchClock(sweep.journal.events).total


def _run_round(sweep: Sweep, shared: Any) -> bool:
    """Has Tune run what is left; `shared` is the reference to the data.

    Returns:
        Whether trials were to be begun or promoted still when it ended.
    """
    from ray import tune

    from fmnist_ray.search.metrics import SearchMetrics
    from fmnist_ray.search.recorder import Recorder, write_trial
    from fmnist_ray.search.schedulers import build_scheduler
    from fmnist_ray.search.searcher import SearcherWatch, UnitSearcher
    from fmnist_ray.search.tensorboard import TensorBoardLogs
    from fmnist_ray.search.trial import TrialSetup, run_trial
    from fmnist_ray.search.trial_names import TrialNames
    from fmnist_ray.search.tune_patches import forgetting_tune, known_to_tune
    from fmnist_ray.search.watch import TrialWatch

    settings, journal = sweep.settings, sweep.journal
    for state in end_what_is_decided(journal):
        write_trial(sweep.record, state)
    sampler = build_sampler(settings.searcher, sweep.space, settings.seed, settings.mode)
    scheduler = build_scheduler(settings, sweep.space, journal)
    room = _room(sweep)
    searcher = UnitSearcher(settings, sweep.space, sampler, journal, scheduler, room)
    budget = _budget(sweep)
    if not searcher.has_work or (budget is not None and budget <= 0):
        return searcher.has_work
    setup = TrialSetup(
        data=[shared],
        seed=settings.seed,
        resources=sweep.resources,
        storage=checkpoint_place(sweep.record, settings.storage),
        give_to_tune=settings.scheduler == "pbt",
        fit=sweep.fit,
    )
    logs = TensorBoardLogs(sweep.record.path / "tensorboard") if settings.tensorboard else None
    watch = TrialWatch(settings.trial_timeout or math.inf)
    metrics = SearchMetrics(sweep.run, settings.trials, settings.metric, settings.mode)
    recorder = Recorder(sweep.record, journal, scheduler, sweep.progress, logs, watch, metrics)
    names = [TrialNames(sweep.run)] if sweep.run is not None else []
    callbacks = [
        recorder,
        watch,
        SearcherWatch(searcher, room),
        *names,
        *_mlflow(settings, sweep.record),
    ]
    journal.append("session", number=sum(e["event"] == "session" for e in journal.events))
    begun = time.monotonic()
    # Tune wants a folder for its own snapshots. The journal does their work, so they go into a
    # temporary one, are written as seldom as Tune allows, and are thrown away. With PBT it also
    # has the states that trials take over from each other, on whichever nodes they run.
    folder = (
        f"{setup.storage}/tune"
        if setup.give_to_tune
        else tempfile.mkdtemp(prefix="fmnist_ray_tune_")
    )
    _set_tune_environment(settings)
    # What Tune logs of failed trials, the record's log files and the display tell better.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    try:
        tuner = tune.Tuner(
            tune.with_resources(_trainable(run_trial, setup, sweep.run), _placement(sweep)),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=scheduler,
                num_samples=-1,  # the searcher says when it is over
                time_budget_s=budget,
                reuse_actors=True,
                trial_name_creator=_unit_of,
                trial_dirname_creator=_unit_of,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=folder,
                callbacks=callbacks,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=_RETRIES * DEATHS_PER_FAILURE),
            ),
        )
        forgetting = nullcontext() if settings.scheduler == "pbt" else forgetting_tune()
        with known_to_tune(), forgetting:
            tuner.fit()
    except tune.TuneError as error:
        # Tune wraps what our scheduler and callbacks raise into the text of its traceback.
        raise error.__context__ or error from None
    finally:
        room.close()
        metrics.close()
        remove_folder(folder)
        journal.append("session_end", seconds=round(time.monotonic() - begun, 3))
        if logs is not None:
            logs.close()
        recorder.close()
    return searcher.has_work


def _end_what_waits(sweep: Sweep) -> None:
    """Ends trials that paused at a rung and were never among the best there."""
    from fmnist_ray.search.recorder import write_trial

    for state in sweep.journal.states.values():
        if state.status == "paused":
            sweep.journal.append("end", unit=state.unit, status="stopped")
            write_trial(sweep.record, state)


def _room(sweep: Sweep) -> Room:
    """How many trials Tune has under way, running or paused.

    PBT trains a population by turns and lets the weak take over from the strong: it needs all of
    them under way, and as many run as there is room for. The others run each trial to its end.
    """
    if sweep.settings.scheduler == "pbt":
        return Room(sweep.settings.trials)
    return sweep.slots if isinstance(sweep.slots, Room) else Room(sweep.slots)


def _trainable(
    function: Callable[..., None], setup: Any, run: RunName | None
) -> Callable[[dict[str, Any]], None]:
    def trial(config: dict[str, Any]) -> None:
        # So long may a trial that was stopped take to end, before Tune gives up the one that is to
        # have its actor. Two seconds by default, less than a trainer's workers take.
        os.environ.setdefault("TUNE_FUNCTION_THREAD_TIMEOUT_S", "60")
        function(config, setup)

    if run is not None:
        trial.__name__ = str(run)  # what Tune's actors are shown as
    return trial


def _placement(sweep: Sweep) -> Callable[[dict[str, Any]], Any]:
    """Says what a trial takes, and on which nodes, of its configuration."""
    bundle = _bundle(sweep)

    def placement(config: dict[str, Any]) -> Any:
        from ray import tune

        nodes = config["nodes"]
        where = {"bundle_label_selector": [nodes]} if nodes else {}
        return tune.PlacementGroupFactory([bundle], **where)

    return placement


def _bundle(sweep: Sweep) -> dict[str, float]:
    resources = sweep.resources
    if resources.workers:
        # The trial's own process only waits for its workers. It takes memory and no CPU, so
        # that as many trials fit as there are places for their workers.
        return {"memory": int(PROCESS_MEMORY)}
    bundle = {"CPU": resources.cpus}
    if resources.gpus:
        bundle["GPU"] = resources.gpus
    if sweep.settings.scheduler == "pbt":
        bundle["memory"] = int(PROCESS_MEMORY)  # else the slots see to it, see `_room`
    return bundle


def _unit_of(trial: Any) -> str:
    return str(trial.config["unit"])


def _mlflow(settings: SearchSettings, record: Record) -> list[Any]:
    if settings.mlflow is None:
        return []
    from fmnist_ray.search.mlflow_runs import MLflowRuns

    return [MLflowRuns(tracking_uri=settings.mlflow, experiment_name=record.name)]


def _set_tune_environment(settings: SearchSettings) -> None:
    os.environ.update(
        {
            # Its own loggers write what the record holds already.
            "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
            # Ctrl-C reaches us as KeyboardInterrupt; there is nothing that Tune has to save.
            "TUNE_DISABLE_SIGINT_HANDLER": "1",
            "TUNE_GLOBAL_CHECKPOINT_S": "3600",
            # A trial that goes on only to find that it had stopped early has nothing to report.
            "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
            "RAY_AIR_NEW_OUTPUT": "0",
            # With a searcher Tune lets one trial wait at a time: where several end at once, it would
            # use one of their processes again, end the others and start new ones one by one. How
            # many there may be is for the room to say, except under PBT, which has all under way.
            "TUNE_MAX_PENDING_TRIALS_PG": "auto" if settings.scheduler == "pbt" else "1000",
        }
    )
