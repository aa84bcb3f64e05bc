"""Lets Ray Tune survive deaths of its actors that it does not expect."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_METHOD = "_actor_task_failed"


@contextmanager
def known_to_tune() -> Iterator[None]:
    """Tells Tune of every death of an actor in the one form that it knows, `RayActorError`.

    Ray 2.60's actor manager ends the whole experiment ("Caught unexpected exception") on other
    errors of Ray's own: of an actor that Ray's memory monitor killed (`OutOfMemoryError`), or whose
    answer was lost with its node.
    """
    import ray
    from ray.air.execution._internal.actor_manager import RayActorManager

    known = (ray.exceptions.RayActorError, ray.exceptions.RayTaskError)
    original = getattr(RayActorManager, _METHOD)

    def failed(manager: Any, tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, ray.exceptions.RayError) and not isinstance(exception, known):
            exception = ray.exceptions.RayActorError(error_msg=str(exception))
        original(manager, tracked_actor_task, exception)

    setattr(RayActorManager, _METHOD, failed)
    try:
        yield
    finally:
        setattr(RayActorManager, _METHOD, original)
