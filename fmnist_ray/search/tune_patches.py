"""What has to be changed within Ray Tune 2.60: deaths that it does not expect, trials that it keeps."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def forgetting_tune() -> Iterator[None]:
    """Has Tune drop trials that ended, of which it keeps 30 kB each and never makes use again.

    Only its own result would need them, and the journal has that. Not for PBT, whose trials take
    over from each other.
    """
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.progress_reporter import TrialProgressCallback

    step = TuneController.step

    def step_and_forget(controller: Any) -> None:
        callbacks = controller._callbacks._callbacks
        # It keeps all trials, too, and prints nothing when it is to be quiet.
        callbacks[:] = [each for each in callbacks if not isinstance(each, TrialProgressCallback)]
        step(controller)
        over = controller._stopped_trials | controller._failed_trials
        if not over:
            return
        controller._trials[:] = [trial for trial in controller._trials if trial not in over]
        for trial in over:
            controller._trial_metadata.pop(trial.trial_id, None)
        for kept in (
            controller._stopped_trials,
            controller._failed_trials,
            controller._trials_to_cache,
            controller._live_trials,
        ):
            kept -= over

    TuneController.step = step_and_forget
    try:
        yield
    finally:
        TuneController.step = step


@contextmanager
def known_to_tune() -> Iterator[None]:
    """Mends two ways in which Ray 2.60's Tune gives up over the death of an actor.

    Its actor manager ends the whole experiment ("Caught unexpected exception") on errors of Ray's
    own that it does not know: of an actor that Ray's memory monitor killed (`OutOfMemoryError`), or
    whose answer was lost with its node. They are told to it as `RayActorError`.

    An actor that dies while it is made ready for another trial (`reuse_actors`) is told of twice,
    by the actor and by its task: the first has the trial tried again, the second, which finds it
    waiting for that, ends it for good. And the trial is kept for one that is being made ready, for
    which no other actor is sought. So the second is left out, and the trial forgotten there.
    """
    import ray
    from ray.air.execution._internal.actor_manager import RayActorManager
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.experiment import Trial

    known = (ray.exceptions.RayActorError, ray.exceptions.RayTaskError)
    actor_task_failed = RayActorManager._actor_task_failed
    trial_task_failure = TuneController._trial_task_failure

    def actor_task_failed_known(
        manager: Any, tracked_actor_task: Any, exception: Exception
    ) -> None:
        if isinstance(exception, ray.exceptions.RayError) and not isinstance(exception, known):
            exception = ray.exceptions.RayActorError(error_msg=str(exception))
        actor_task_failed(manager, tracked_actor_task, exception)

    def trial_task_failure_once(controller: Any, trial: Any, exception: Exception) -> None:
        controller._resetting_trials.discard(trial)
        told = isinstance(exception, ray.exceptions.RayActorError)
        if not (told and trial.status == Trial.PENDING):
            trial_task_failure(controller, trial, exception)

    RayActorManager._actor_task_failed = actor_task_failed_known
    TuneController._trial_task_failure = trial_task_failure_once
    try:
        yield
    finally:
        RayActorManager._actor_task_failed = actor_task_failed
        TuneController._trial_task_failure = trial_task_failure
