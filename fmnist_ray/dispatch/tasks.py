"""Runs named Ray tasks side by side, and again when they fail.

The driver keeps count: at most so many run at once, the next starts before the last one's result
is looked at, and a task whose process dies or that raises is tried again while the others go on.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from fmnist_ray.dispatch.metrics import RunMetrics
from fmnist_ray.dispatch.room import Room
from fmnist_ray.dispatch.run_name import RunName
from fmnist_ray.dispatch.session import with_driver
from fmnist_ray.errors import DiskError, WorkError

_POLL_SECONDS = 0.2
# The death of a process says more of its machine than of its task: so many count as one failure.
DEATHS_PER_FAILURE = 5


@dataclass(frozen=True)
class Task:
    """One call to make.

    Attributes:
        name: Names it here and, after the run's, in Ray's list of tasks.
        arguments: Of the function; small, since they travel with the task. What is large goes
            into the object store first, and its reference within a list, lest Ray wait for it.
        model: What it fits, for the metrics; None for the run's.
    """

    name: str
    arguments: tuple[Any, ...]
    model: str | None = None


@dataclass(frozen=True)
class Outcome:
    """How a task ended.

    Attributes:
        name: The task's.
        value: What it returned; None if it failed for good.
        failures: Why each attempt failed that did.
        failed: Whether it failed for good.
    """

    name: str
    value: Any
    failures: tuple[str, ...]
    failed: bool


@dataclass(frozen=True)
class Tell:
    """What a task's function is given to tell the driver something while it runs.

    A call returns when the driver's side has it, so that nothing told is overtaken by the result.
    """

    name: str
    events: Any

    def __call__(self, payload: Any) -> None:
        import ray

        ray.get(self.events.add.remote(self.name, payload))


@dataclass
class _Course:
    """What became of a task so far.

    Attributes:
        failures: Why each attempt failed that did.
        told: What the attempt under way has told.
        most: The most that any attempt has told.
        failed_since: Deaths since an attempt got further than all before, an error that the
            function raised counting as several.
        raised: Whether the last attempt ended by an error in a process that lives on.
    """

    failures: list[str] = field(default_factory=list)
    told: int = 0
    most: int = 0
    failed_since: int = 0
    raised: bool = False

    def tell(self) -> None:
        self.told += 1
        if self.told > self.most:
            self.most, self.failed_since = self.told, 0

    def fail(self, reason: str, died: bool) -> None:
        self.failures.append(reason)
        self.failed_since += 1 if died else DEATHS_PER_FAILURE
        self.told, self.raised = 0, not died


class Events:
    """The actor that keeps what tasks tell until the driver takes it."""

    def __init__(self) -> None:
        self._events: list[tuple[str, Any]] = []

    def add(self, name: str, payload: Any) -> None:
        self._events.append((name, payload))

    def take(self) -> list[tuple[str, Any]]:
        """The events since the last call."""
        events, self._events = self._events, []
        return events


def run_tasks(
    function: Callable[..., Any],
    tasks: Sequence[Task],
    slots: int | Room,
    *,
    run: RunName | None = None,
    complete: int = 0,
    cpus: float = 1.0,
    gpus: float = 0.0,
    retries: int = 2,
    hopeless: tuple[type[Exception], ...] = (),
    on_tell: Callable[[str, Any], None] | None = None,
    on_retry: Callable[[str, str], None] | None = None,
) -> Iterator[Outcome]:
    """Calls a function once per task, at most `slots` at a time, and yields each outcome.

    CPU processes are reused from task to task. A GPU task's process ends with it, since it would
    keep its GPU memory. What raised is tried again in a process of its own, since the cause may
    be what went wrong in the old one before.

    Args:
        function: Called as `function(*arguments, tell)` in a process of its own.
        tasks: With distinct names; they start in this order.
        slots: How many run at once, or what says so while they run; Ray keeps them waiting if
            there is less room.
        run: Names the tasks in Ray and is told in metrics; None for work that no run records.
        complete: How many of the run's tasks were complete before.
        cpus: Of each task; 0 for tasks that only wait for others.
        gpus: Of each task.
        retries: Times a task is tried again that raises; one whose process dies,
            `DEATHS_PER_FAILURE` times as often. One that tells more than in any attempt before got
            further, and starts counting anew.
        hopeless: Errors of the function after which it would fail again, and is not tried.
        on_tell: Called with a task's name and what it tells.
        on_retry: Called with the name of a task that will be tried again, and why.

    Raises:
        DiskError: A task could not write; the others are cancelled.
    """
    import ray

    room = slots if isinstance(slots, Room) else Room(slots)
    metrics = RunMetrics(run)
    # Begun again if its process dies: what the tasks told and no one took is only news. It is asked
    # several times a second: in Ray's table of tasks its calls would bury the units.
    lasting = {"max_restarts": -1, "max_task_retries": -1, "enable_task_events": False}
    actor = ray.remote(num_cpus=0, **lasting)(Events)
    events = actor.options(scheduling_strategy=with_driver()).remote()
    # Ray's own retries are off: they know nothing of errors that the function raises.
    options: dict[str, Any] = {"num_cpus": cpus, "num_gpus": gpus, "max_retries": 0}
    if gpus:
        options["max_calls"] = 1
    remote = ray.remote(**options)(function)
    waiting = list(tasks)
    running: dict[Any, Task] = {}
    # An error that it raised, or the memory that it ate, is a task's own.
    own = (ray.exceptions.RayTaskError, ray.exceptions.OutOfMemoryError)
    by_name = {task.name: task for task in tasks}
    courses = {name: _Course() for name in by_name}
    ended = {"complete": complete, "failed": 0}

    def fill() -> None:
        while waiting and room.has_place(len(running)):
            task = waiting.pop(0)
            name = run.of(task.name) if run is not None else task.name
            reference = remote.options(
                name=name,
                label_selector=room.selector,
                runtime_env=_own_process(task.name, courses[task.name]),
            ).remote(*task.arguments, Tell(task.name, events))
            running[reference] = task
        metrics.units(waiting=len(waiting), running=len(running), **ended)

    try:
        fill()
        while running or waiting:
            if not running:  # no node has room for even one
                time.sleep(_POLL_SECONDS)
                fill()
                continue
            done, _ = ray.wait(list(running), num_returns=1, timeout=_POLL_SECONDS)
            for name, payload in ray.get(events.take.remote()):
                courses[name].tell()
                if isinstance(payload, dict) and "epoch" in payload:
                    metrics.epoch(name, payload, by_name[name].model)
                if on_tell is not None:
                    on_tell(name, payload)
            outcomes = []
            for reference in done:
                task = running.pop(reference)
                course = courses[task.name]
                try:
                    value = ray.get(reference)
                    outcomes.append(Outcome(task.name, value, tuple(course.failures), False))
                except ray.exceptions.RayError as error:
                    if isinstance(_cause(error), DiskError):  # no other task could write, either
                        raise _cause(error) from None
                    course.fail(_reason(error), died=not isinstance(error, own))
                    exhausted = course.failed_since > retries * DEATHS_PER_FAILURE
                    if exhausted or isinstance(_cause(error), hopeless):
                        outcomes.append(Outcome(task.name, None, tuple(course.failures), True))
                        continue
                    waiting.insert(0, task)
                    if on_retry is not None:
                        on_retry(task.name, course.failures[-1])
            for outcome in outcomes:
                ended["failed" if outcome.failed else "complete"] += 1
                metrics.ended(outcome.name)
            # Before the caller looks at the outcomes, so that no slot waits for it.
            fill()
            room.look()
            yield from outcomes
    finally:
        for reference in running:
            ray.cancel(reference, force=cpus > 0)
        room.close()
        ray.kill(events)
        metrics.close()


def _own_process(name: str, course: _Course) -> dict[str, Any] | None:
    """What makes Ray take a new process after an error: no other has this environment."""
    attempt = f"{name}/{len(course.failures) + 1}"
    return {"env_vars": {"FMNIST_RAY_ATTEMPT": attempt}} if course.raised else None


def _reason(error: BaseException) -> str:
    """One line: the error that a task raised, or what became of its process."""
    cause = _cause(error)
    lines = str(cause).strip().splitlines() or [""]
    if isinstance(cause, WorkError):
        return lines[0]
    return f"{type(cause).__name__}: {lines[0].rstrip()}"


def _cause(error: BaseException) -> BaseException:
    return getattr(error, "cause", None) or error
